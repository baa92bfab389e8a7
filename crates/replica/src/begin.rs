//! What a node begins with: who it is, its machine, and the log behind it.

use bezant_consensus::{LogEntry, Terms};
use bezant_rsm::StateMachine;
use bezant_types::{LogIndex, NodeId};

use crate::pipeline::{InFlight, Pipeline};

/// Who a node is, and how it behaves.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// This node.
    pub node: NodeId,
    /// True for a node that has no group: nobody else can know better.
    pub is_alone: bool,
    /// Drawn anew whenever the node begins: tells answers to this life from those to an earlier one.
    pub incarnation: u64,
    /// Bytes of log after which a checkpoint is cut; more where the checkpoint itself is larger.
    pub checkpoint_interval_bytes: usize,
}

impl Default for ReplicaOptions {
    fn default() -> Self {
        Self { node: NodeId(1), is_alone: true, incarnation: 0, checkpoint_interval_bytes: 64 << 20 }
    }
}

/// What a node begins with: a machine, and the log behind it.
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
    /// A machine that has applied everything up to `applied`, of which the checkpoint on disk holds everything
    /// up to `checkpoint`; `log_bytes` lie in the log between the two.
    pub const fn new(machine: M, applied: LogIndex, checkpoint: LogIndex, log_bytes: usize) -> Self {
        let pipeline = Pipeline::new(applied);
        Self { machine, applied, checkpoint, log_bytes, pipeline, floor: applied, terms: Terms::new() }
    }

    /// What the disk says to be committed, and the terms of the log up to `applied` or further.
    #[must_use]
    pub fn with_floor(mut self, floor: LogIndex, terms: Terms) -> Self {
        self.floor = floor;
        self.terms = terms;
        self
    }

    /// The entries of the log behind `applied`, which may not be agreed yet; those up to it are passed over. `Err` names one
    /// that is none.
    pub fn with_entries(mut self, entries: &[LogEntry]) -> Result<Self, LogIndex> {
        for entry in entries.iter().filter(|entry| entry.index > self.applied) {
            self.pipeline.push(InFlight::new(entry, None, M::RULES).map_err(|_| entry.index)?);
        }
        Ok(self)
    }
}
