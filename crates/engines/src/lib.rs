//! The one room that knows every engine: it makes the one that a cluster was made with, for the runtime and for the
//! simulator alike.
//!
//! Always holds: both engines are given the same, and as much patience. Never: a decision of its own.
#![deny(clippy::float_arithmetic)]

use bezant_consensus::{Describe, Engine, EngineKind, LogEntry, Members, Vote};
use bezant_paxos::{Paxos, PaxosOptions, PaxosState};
use bezant_raft::{Raft, RaftOptions, RaftState};
use bezant_types::{LogIndex, NodeId, Term};

/// Ticks of 10 ms without a word from the leader after which it is doubted.
const ELECTION_TICKS: u32 = 20;
/// Ticks between a leader's signs of life.
const HEARTBEAT_TICKS: u32 = 4;

/// What a replica's engine begins with.
#[derive(Debug)]
pub struct Beginning {
    /// This node.
    pub node: NodeId,
    /// Who takes part, as far as the disk knows.
    pub members: Members,
    /// False for a disk that is new and may have been lost before.
    pub may_vote: bool,
    /// Different on every node and in every life of it.
    pub seed: u64,
    /// The last promise; `None` when there was none.
    pub vote: Option<Vote>,
    /// The newest checkpoint's last entry and its term; zeros for none.
    pub checkpoint: (LogIndex, Term),
    /// The log behind it.
    pub entries: Vec<LogEntry>,
}

/// Makes an engine. `None` when the log holds an entry that no version of it wrote.
pub fn begin(kind: EngineKind, beginning: Beginning) -> Option<Box<dyn Engine + Send>> {
    let Beginning { node, members, may_vote, seed, vote, checkpoint, entries } = beginning;
    let (election_ticks, heartbeat_ticks) = (ELECTION_TICKS, HEARTBEAT_TICKS);
    Some(match kind {
        EngineKind::Raft => {
            let options = RaftOptions { node, members, election_ticks, heartbeat_ticks, may_vote, seed };
            Box::new(Raft::new(&options, RaftState { vote, checkpoint, entries })?)
        }
        EngineKind::Paxos => {
            let options = PaxosOptions { node, members, election_ticks, heartbeat_ticks, may_vote, seed };
            Box::new(Paxos::new(&options, PaxosState { vote, checkpoint, entries })?)
        }
    })
}

/// How an engine's messages are put on one line.
pub fn describe(kind: EngineKind) -> Describe {
    match kind {
        EngineKind::Raft => bezant_raft::describe,
        EngineKind::Paxos => bezant_paxos::describe,
    }
}
