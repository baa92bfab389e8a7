//! The scout: phase 1 of one ballot. It asks the acceptors for their promise, and learns what they have accepted.
//!
//! A promise says where the acceptor's log ends. The latest of these marks tells which log must be adopted: the one that was
//! written to in the latest round, and of those the longest. What any other log has besides was never decided:
//! - Let a value be decided in round *r*: a majority has accepted a value of round *r* in its slot or behind it, and thereby the
//!   whole log of that leader up to there.
//! - Some acceptor of that majority has promised this ballot. It accepts nothing of earlier rounds any more, so its mark is one
//!   of round *r* or later.
//! - So the latest mark is one of round *r* or later, and that log has the value: that leader had adopted it, by the same
//!   argument, or proposed it.
//!
//! The scout needs a promise from a majority of the voters that its own log and disk know to be agreed, the values that it
//! has learnt included: what it learns may say that there are newer voters, and then it asks those as well.
//!
//! It ends with the adoption of that log, or when somebody has promised a later ballot.

use alloc::collections::{BTreeMap, BTreeSet};

use bezant_consensus::Members;
use bezant_types::{LogIndex, NodeId};

use crate::ballot::{Ballot, Mark};
use crate::quorum::is_quorum;

/// Phase 1 of a ballot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scout {
    ballot: Ballot,
    /// Who has promised, and where its log ended then.
    promises: BTreeMap<NodeId, Mark>,
    /// Who has promised another node in this round.
    refused: BTreeSet<NodeId>,
    /// The slot behind which was asked for values, and whom.
    asked: Option<(NodeId, LogIndex)>,
}

/// What must happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// More promises.
    Wait,
    /// That acceptor's log is later than this one: its values must be learnt.
    Learn(NodeId),
    /// The own log is the one to go on from.
    Adopt,
}

impl Scout {
    pub(crate) const fn new(ballot: Ballot) -> Self {
        Self { ballot, promises: BTreeMap::new(), refused: BTreeSet::new(), asked: None }
    }

    pub(crate) const fn ballot(&self) -> Ballot {
        self.ballot
    }

    pub(crate) fn has_promised(&self, node: NodeId) -> bool {
        self.promises.contains_key(&node)
    }

    /// Where the logs of those who promised ended.
    pub(crate) const fn promises(&self) -> &BTreeMap<NodeId, Mark> {
        &self.promises
    }

    /// The first promise of an acceptor counts: a second one may be of a moment when it had accepted from this ballot's leader.
    pub(crate) fn handle_promise(&mut self, from: NodeId, accepted: Mark) {
        self.promises.entry(from).or_insert(accepted);
    }

    /// An acceptor has promised another node in this round: true when too few are left for a quorum.
    pub(crate) fn handle_refused(&mut self, from: NodeId, members: &Members) -> bool {
        self.refused.insert(from);
        !is_quorum(members, |node| !self.refused.contains(&node))
    }

    /// `own` is the end of this replica's log; `members` the newest list that is certainly agreed.
    pub(crate) fn step(&self, own: Mark, members: &Members) -> Step {
        if !is_quorum(members, |node| self.has_promised(node)) {
            return Step::Wait;
        }
        // The lowest number among equals.
        let latest = self.promises.iter().max_by_key(|(node, mark)| (**mark, core::cmp::Reverse(**node)));
        match latest {
            Some((node, mark)) if *mark > own => Step::Learn(*node),
            _ => Step::Adopt,
        }
    }

    /// Values behind that slot are asked for of that acceptor.
    pub(crate) const fn ask(&mut self, from: NodeId, after: LogIndex) {
        self.asked = Some((from, after));
    }

    /// What was asked for.
    pub(crate) const fn asked(&self) -> Option<(NodeId, LogIndex)> {
        self.asked
    }

    /// Takes the answer to a question: true when it is the one to the last.
    pub(crate) fn take_answer(&mut self, from: NodeId, after: LogIndex) -> bool {
        self.asked.take_if(|asked| *asked == (from, after)).is_some()
    }
}
