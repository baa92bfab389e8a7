//! Which engine the nodes of a run agree with.

use bezant_consensus::{Engine, LogEntry, Members, Vote};
use bezant_paxos::{Paxos, PaxosOptions, PaxosState};
use bezant_raft::{Raft, RaftOptions, RaftState};
use bezant_types::{LogIndex, NodeId, Term};

/// How many replicas agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum EngineChoice {
    /// Raft.
    #[default]
    Raft,
    /// Multi-Paxos.
    Paxos,
}

/// What a replica begins with.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) node: NodeId,
    pub(crate) members: Members,
    pub(crate) may_vote: bool,
    pub(crate) seed: u64,
    pub(crate) vote: Option<Vote>,
    pub(crate) checkpoint: (LogIndex, Term),
    pub(crate) entries: Vec<LogEntry>,
}

const ELECTION_TICKS: u32 = 20;
const HEARTBEAT_TICKS: u32 = 4;

impl EngineChoice {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Raft, Self::Paxos];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raft => "raft",
            Self::Paxos => "paxos",
        }
    }

    /// The engine of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|engine| engine.name() == name)
    }

    /// A replica; `None` when the log was written by no such engine.
    pub(crate) fn begin(self, beginning: Beginning) -> Option<Box<dyn Engine>> {
        let Beginning { node, members, may_vote, seed, vote, checkpoint, entries } = beginning;
        let (election_ticks, heartbeat_ticks) = (ELECTION_TICKS, HEARTBEAT_TICKS);
        Some(match self {
            Self::Raft => {
                let options = RaftOptions { node, members, election_ticks, heartbeat_ticks, may_vote, seed };
                Box::new(Raft::new(&options, RaftState { vote, checkpoint, entries })?)
            }
            Self::Paxos => {
                let options = PaxosOptions { node, members, election_ticks, heartbeat_ticks, may_vote, seed };
                Box::new(Paxos::new(&options, PaxosState { vote, checkpoint, entries })?)
            }
        })
    }
}
