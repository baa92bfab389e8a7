//! Who a replica is, and what its disk held.

use alloc::vec::Vec;

use bezant_consensus::{LogEntry, Members, Vote};
use bezant_types::{LogIndex, NodeId, Term};

/// Who a replica is, and how patient.
#[derive(Clone, Debug)]
pub struct PaxosOptions {
    /// This node; not 0.
    pub node: NodeId,
    /// Who takes part, as far as the disk knows. It may be ahead of the log: what was agreed is agreed.
    pub members: Members,
    /// Ticks without a word from the leader after which nobody keeps faith with it; more than `heartbeat_ticks`. Times to
    /// wait are drawn from a sign of life more to twice as many.
    pub election_ticks: u32,
    /// Ticks between a leader's signs of life; at least 1.
    pub heartbeat_ticks: u32,
    /// False for a disk that is new and may have been lost before: see [`Input::Admit`](bezant_consensus::Input::Admit).
    pub may_vote: bool,
    /// Seeds the times to wait; different on every node and in every life of it, for it also names the life.
    pub seed: u64,
}

/// What the disk of a replica held.
#[derive(Clone, Debug, Default)]
pub struct PaxosState {
    /// The last promise: its round and who has it; `None` when there was none.
    pub vote: Option<Vote>,
    /// The newest checkpoint's last entry and its term; zeros for none.
    pub checkpoint: (LogIndex, Term),
    /// The log behind it.
    pub entries: Vec<LogEntry>,
}
