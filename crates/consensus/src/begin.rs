//! What an engine begins with: who it is, how patient, and what its disk held.

use alloc::vec::Vec;

use bezant_types::{LogIndex, NodeId, Term};

use crate::{LogEntry, Members, Vote};

/// Ticks of 10 ms without a word from the leader after which it is doubted.
const ELECTION_TICKS: u32 = 20;
/// Ticks between a leader's signs of life.
const HEARTBEAT_TICKS: u32 = 4;

/// Who a replica is, and how patient.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// This node; not 0.
    pub node: NodeId,
    /// Who takes part, as far as the disk knows. It may be ahead of the log: what was agreed is agreed.
    pub members: Members,
    /// Ticks without a word from the leader after which nobody keeps faith with it; more than `heartbeat_ticks`. Times to
    /// wait are drawn from a sign of life more to twice as many.
    pub election_ticks: u32,
    /// Ticks between a leader's signs of life; at least 1.
    pub heartbeat_ticks: u32,
    /// False for a disk that is new and may have been lost before: see [`Input::Admit`](crate::Input::Admit).
    pub may_vote: bool,
    /// Seeds the times to wait; different on every node and in every life of it, for it also names the life.
    pub seed: u64,
}

impl EngineOptions {
    /// As patient as a node is in production.
    pub const fn new(node: NodeId, members: Members, may_vote: bool, seed: u64) -> Self {
        let (election_ticks, heartbeat_ticks) = (ELECTION_TICKS, HEARTBEAT_TICKS);
        Self { node, members, election_ticks, heartbeat_ticks, may_vote, seed }
    }
}

/// What the disk of a replica held.
#[derive(Clone, Debug, Default)]
pub struct EngineState {
    /// The last promise; `None` when there was none.
    pub vote: Option<Vote>,
    /// The newest checkpoint's last entry and its term; zeros for none.
    pub checkpoint: (LogIndex, Term),
    /// The log behind it.
    pub entries: Vec<LogEntry>,
    /// The last entry that was known to be committed; 0 when nothing is known. It counts no further than the log reaches.
    pub committed: LogIndex,
}

impl EngineState {
    /// The last entry that is known to be committed, of those that are here.
    pub fn floor(&self) -> LogIndex {
        let last = self.entries.last().map_or(self.checkpoint.0, |entry| entry.index);
        self.committed.min(last).max(self.checkpoint.0)
    }
}
