//! Ballots, and positions in the log.

use core::fmt;

use bezant_consensus::{LogEntry, Vote};
use bezant_types::{LogIndex, NodeId, Term};

/// A ballot: an attempt of a node to lead. An acceptor promises at most one node in a round, so a round has
/// at most one leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Ballot {
    pub(crate) round: Term,
    /// The node that campaigns; 0 when a replica entered the round without a promise to a node.
    pub(crate) node: NodeId,
}

impl Ballot {
    pub(crate) const fn of(vote: Vote) -> Self {
        Self { round: vote.term, node: vote.voted_for }
    }

    /// True when an acceptor that has promised `earlier` may promise this ballot: it is of a later round, or
    /// of the same round and no other node has been promised in it.
    pub(crate) fn follows(self, earlier: Self) -> bool {
        self.round > earlier.round
            || (self.round == earlier.round && (earlier.node.0 == 0 || earlier.node == self.node))
    }

    pub(crate) const fn vote(self) -> Vote {
        Vote { term: self.round, voted_for: self.node }
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.round, self.node)
    }
}

/// A mark names a pvalue in the log: its slot, and the round in which its value was proposed. Two logs that
/// have a mark in common are equal up to it. Marks are ordered by round, and within a round by slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Mark {
    pub(crate) round: Term,
    pub(crate) slot: LogIndex,
}

impl Mark {
    pub(crate) const fn new(slot: LogIndex, round: Term) -> Self {
        Self { round, slot }
    }

    pub(crate) const fn of(entry: &LogEntry) -> Self {
        Self { round: entry.term, slot: entry.index }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.slot, self.round)
    }
}
