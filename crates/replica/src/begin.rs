//! What a replica starts with: its options, its machine, and the log after it.

use bezant_consensus::{LogEntry, Terms};
use bezant_rsm::StateMachine;
use bezant_types::{LogIndex, NodeId};

use crate::pipeline::{InFlight, Pipeline};

/// The identity of a replica, and its settings.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// The node of this replica.
    pub node: NodeId,
    /// True for a replica without a group: no other replica can have a newer state.
    pub is_alone: bool,
    /// Random number of this start. It distinguishes answers to this incarnation from answers to an earlier
    /// one.
    pub incarnation: u64,
    /// A checkpoint is cut after so many bytes of log, or after as many bytes as the last checkpoint had, if
    /// that is more.
    pub checkpoint_interval_bytes: usize,
}

impl Default for ReplicaOptions {
    fn default() -> Self {
        Self { node: NodeId(1), is_alone: true, incarnation: 0, checkpoint_interval_bytes: 64 << 20 }
    }
}

/// The state that a replica starts with: a machine, and the log after it.
#[derive(Debug)]
pub struct Restored<M, Found> {
    pub(crate) machine: M,
    pub(crate) applied: LogIndex,
    pub(crate) checkpoint: LogIndex,
    pub(crate) log_bytes: usize,
    pub(crate) pipeline: Pipeline<Found>,
    pub(crate) floor: LogIndex,
    pub(crate) terms: Terms,
}

impl<M: StateMachine> Restored<M, M::Found> {
    /// A machine that has applied everything up to `applied`. The checkpoint on disk contains everything up
    /// to `checkpoint`; the entries between the two have `log_bytes` bytes.
    pub const fn new(machine: M, applied: LogIndex, checkpoint: LogIndex, log_bytes: usize) -> Self {
        let pipeline = Pipeline::new(applied);
        Self { machine, applied, checkpoint, log_bytes, pipeline, floor: applied, terms: Terms::new() }
    }

    /// Adds `floor`, the last index that the disk records as committed, and the terms of the log, at least up
    /// to `applied`.
    #[must_use]
    pub fn with_floor(mut self, floor: LogIndex, terms: Terms) -> Self {
        self.floor = floor;
        self.terms = terms;
        self
    }

    /// Adds the entries of the log after `applied`, which may not be committed. Entries up to `applied` are
    /// skipped. `Err` names an entry that cannot be decoded.
    pub fn with_entries(mut self, entries: &[LogEntry]) -> Result<Self, LogIndex> {
        for entry in entries.iter().filter(|entry| entry.index > self.applied) {
            self.pipeline.push(InFlight::new(entry, None, M::RULES).map_err(|_| entry.index)?);
        }
        Ok(self)
    }
}
