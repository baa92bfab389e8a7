//! Seed: what a replica begins with, and who makes the beginning.
//!
//! A group that has no history waits for nobody: its voters try to lead one after the other, the lowest number first. One with
//! a history waits for its leader's word, as after any start.

use bezant_consensus::{EngineState, Members, Vote};
use bezant_types::{LogIndex, NodeId, Term};

use crate::ballot::{Ballot, Mark};
use crate::change::change_of;
use crate::timeouts::Timeouts;
use crate::values::Values;

/// A beginning.
#[derive(Debug)]
pub(crate) struct Seed {
    /// What was promised.
    pub(crate) promised: Ballot,
    /// What the disk has of that: less, after a crash between a checkpoint of a later round and the promise of it.
    pub(crate) written: Ballot,
    pub(crate) values: Values,
    /// The newest list that is certainly agreed.
    pub(crate) members: Members,
    /// Ticks until this replica tries to lead; `None` to wait for a leader.
    pub(crate) stands_in: Option<u64>,
}

impl Seed {
    /// From what the disk held. `None` when that is no log of this engine.
    pub(crate) fn new(node: NodeId, members: &Members, state: EngineState) -> Option<Self> {
        let changes = state.entries.iter().filter_map(|entry| Some((entry.index, change_of(entry)?)));
        let members = members.catch_up(changes);
        let (index, term) = state.checkpoint;
        let values = Values::new(Mark::new(index, term), state.entries)?;
        let written = state.vote.unwrap_or_default();
        // Whoever has values of a round is in it.
        let last_round = values.last().round;
        let vote =
            if written.term < last_round { Vote { term: last_round, ..Vote::default() } } else { written };
        let is_first = vote.term == Term(0) && values.last().slot == LogIndex(0);
        let stands_in = is_first.then(|| rank(&members, node, None)).map(Timeouts::turn);
        Some(Self { promised: Ballot::of(vote), written: Ballot::of(written), values, members, stands_in })
    }
}

/// How many voters stand before this one, when `absent` does not.
pub(crate) fn rank(members: &Members, node: NodeId, absent: Option<NodeId>) -> u64 {
    members.voters().filter(|voter| *voter < node && Some(*voter) != absent).count() as u64
}
