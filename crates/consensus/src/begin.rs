//! The input of a new engine: its options, and the state that was recovered from disk.

use alloc::vec::Vec;

use bezant_types::{LogIndex, NodeId, Term};

use crate::{LogEntry, Members, Vote};

/// Ticks of 10 ms without a message from the leader after which a replica no longer relies on it.
const ELECTION_TICKS: u32 = 20;
/// Ticks of 10 ms between a leader's heartbeats.
const HEARTBEAT_TICKS: u32 = 4;

/// Identity, membership and timeouts of a replica.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// This node; not 0.
    pub node: NodeId,
    /// The membership on disk. It may be newer than the log: a membership is stored only once it is
    /// committed.
    pub members: Members,
    /// Ticks without a message from the leader after which a replica no longer relies on it; greater than
    /// `heartbeat_ticks`. Election timeouts are drawn from `election_ticks + heartbeat_ticks` up to, but not
    /// including, twice `election_ticks`.
    pub election_ticks: u32,
    /// Ticks between a leader's heartbeats; at least 1.
    pub heartbeat_ticks: u32,
    /// False for a new disk, which may replace a disk that was lost: see
    /// [`Input::Admit`](crate::Input::Admit).
    pub may_vote: bool,
    /// Seed of the random timeouts. It is different on every node and in every incarnation, because it also
    /// identifies the incarnation.
    pub seed: u64,
}

impl EngineOptions {
    /// Options with the timeouts that are used in production.
    pub const fn new(node: NodeId, members: Members, may_vote: bool, seed: u64) -> Self {
        let (election_ticks, heartbeat_ticks) = (ELECTION_TICKS, HEARTBEAT_TICKS);
        Self { node, members, election_ticks, heartbeat_ticks, may_vote, seed }
    }
}

/// The state that a replica recovered from its disk.
#[derive(Clone, Debug, Default)]
pub struct EngineState {
    /// The last stored vote; `None` when there is none.
    pub vote: Option<Vote>,
    /// Index and term of the last entry in the newest checkpoint; zeros for none.
    pub checkpoint: (LogIndex, Term),
    /// The log entries after the checkpoint.
    pub entries: Vec<LogEntry>,
    /// The last entry that was known to be committed; 0 when none was. It may be greater than the last entry
    /// of the log; see [`floor`](Self::floor).
    pub committed: LogIndex,
}

impl EngineState {
    /// The last entry that is known to be committed and is in the log or the checkpoint.
    pub fn floor(&self) -> LogIndex {
        let last = self.entries.last().map_or(self.checkpoint.0, |entry| entry.index);
        self.committed.min(last).max(self.checkpoint.0)
    }
}
