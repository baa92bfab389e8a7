//! Seed: the state from which a replica starts, and the first campaign of a group.
//!
//! In a group without a history no replica waits for a leader: the voters campaign one after another, the
//! lowest number first. A replica with a history waits for a leader, as after any start.

use bezant_consensus::{EngineState, Members, Vote};
use bezant_types::{LogIndex, NodeId, Term};

use crate::ballot::{Ballot, Mark};
use crate::change::change_of;
use crate::timeouts::Timeouts;
use crate::values::Values;

/// The state from which a replica starts.
#[derive(Debug)]
pub(crate) struct Seed {
    /// The promise of the acceptor. It is later than `written` when a checkpoint of a later round was stored,
    /// and a crash came before the promise of that round was.
    pub(crate) promised: Ballot,
    /// The promise on the disk.
    pub(crate) written: Ballot,
    pub(crate) values: Values,
    /// The newest list of members that is certainly decided.
    pub(crate) members: Members,
    /// Ticks until this replica campaigns; `None` to draw an election timeout and wait for a leader.
    pub(crate) campaign_in: Option<u64>,
}

impl Seed {
    /// From the state of the disk. `None` when this engine did not write that log.
    pub(crate) fn new(node: NodeId, members: &Members, state: EngineState) -> Option<Self> {
        let changes = state.entries.iter().filter_map(|entry| Some((entry.index, change_of(entry)?)));
        let members = members.catch_up(changes);
        let (index, term) = state.checkpoint;
        let values = Values::new(Mark::new(index, term), state.entries)?;
        let written = state.vote.unwrap_or_default();
        // A replica whose log ends with a value of a round takes part in no earlier round.
        let last_round = values.last().round;
        let vote =
            if written.term < last_round { Vote { term: last_round, ..Vote::default() } } else { written };
        let is_first = vote.term == Term(0) && values.last().slot == LogIndex(0);
        let campaign_in = is_first.then(|| rank(&members, node, None)).map(Timeouts::staggered);
        Some(Self { promised: Ballot::of(vote), written: Ballot::of(written), values, members, campaign_in })
    }
}

/// The number of voters that campaign before this one. `absent` is a voter that does not campaign.
pub(crate) fn rank(members: &Members, node: NodeId, absent: Option<NodeId>) -> u64 {
    members.voters().filter(|voter| *voter < node && Some(*voter) != absent).count() as u64
}
