//! The scout: phase 1 of one ballot. It asks the acceptors for their promise, and learns the pvalues that
//! they have accepted.
//!
//! A promise carries the mark at the end of the acceptor's log. The greatest of these marks names the log
//! that must be adopted: the log that was written in the latest round, and of those the longest. Any other
//! value in another log was never decided:
//! - Let a value be decided in round *r*. A majority has accepted a value of round *r* in that slot or a
//!   later one, and so the whole log of round *r*'s leader up to there.
//! - Some acceptor of that majority has promised this ballot. It accepts nothing of earlier rounds any more,
//!   so its mark has round *r* or a later one.
//! - So the greatest mark has round *r* or a later one, and its log contains the value: the leader of that
//!   round proposed the value, or had adopted it by the same argument.
//!
//! The scout needs promises from a majority of the voters. The voters are those of the newest members that
//! its disk and its log show as decided, learned values included. When a learned value adds voters, the scout
//! asks these too.
//!
//! A promise is sent as soon as the promise itself is durable. It may report values that are not durable yet,
//! and a crash of the acceptor can lose these. They never counted as accepted, since an acceptance is sent
//! only after its values are durable. So when an acceptor does not have the values that it reported, the
//! scout asks for its promise again.
//!
//! The scout ends when it adopts the log, or when an acceptor has promised a later ballot.

use alloc::collections::{BTreeMap, BTreeSet};

use bezant_consensus::Members;
use bezant_types::{LogIndex, NodeId};

use crate::ballot::{Ballot, Mark};

/// How many times a scout asks the same acceptor for a new promise. After a crash an acceptor reports only
/// durable values, so one new promise is enough. The rest allows for old promises that arrive late.
const RENEWALS_MAX: u32 = 4;

/// Phase 1 of a ballot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scout {
    ballot: Ballot,
    /// The acceptors that have promised, each with the mark at the end of its log at that time.
    promises: BTreeMap<NodeId, Mark>,
    /// The acceptors that have promised another node in this round.
    refused: BTreeSet<NodeId>,
    /// The open request for values: the acceptor, and the slot before the first requested value. `None` when
    /// no request is open.
    asked: Option<(NodeId, LogIndex)>,
    /// How many promises of each acceptor were dropped.
    renewals: BTreeMap<NodeId, u32>,
}

/// The next step of a scout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Wait for more promises.
    Wait,
    /// That acceptor's log is later than this one: learn its values.
    Learn(NodeId),
    /// Adopt the log of this replica.
    Adopt,
}

impl Scout {
    pub(crate) const fn new(ballot: Ballot) -> Self {
        Self {
            ballot,
            promises: BTreeMap::new(),
            refused: BTreeSet::new(),
            asked: None,
            renewals: BTreeMap::new(),
        }
    }

    pub(crate) const fn ballot(&self) -> Ballot {
        self.ballot
    }

    pub(crate) fn has_promised(&self, node: NodeId) -> bool {
        self.promises.contains_key(&node)
    }

    /// The acceptors that have promised, with the marks at the end of their logs.
    pub(crate) const fn promises(&self) -> &BTreeMap<NodeId, Mark> {
        &self.promises
    }

    /// Handles a promise. Only the first one of an acceptor counts: a second one may report values that it
    /// accepted from the leader of this ballot.
    pub(crate) fn handle_promise(&mut self, from: NodeId, accepted: Mark) {
        self.promises.entry(from).or_insert(accepted);
    }

    /// Drops the promise of an acceptor that does not have the values that it reported, so that the scout
    /// asks for a new one. Returns false and keeps the promise after [`RENEWALS_MAX`] times: then a crash is
    /// not the reason.
    pub(crate) fn drop_promise(&mut self, from: NodeId) -> bool {
        let renewals = self.renewals.entry(from).or_default();
        if *renewals == RENEWALS_MAX {
            return false;
        }
        *renewals += 1;
        self.asked = None;
        self.promises.remove(&from).is_some()
    }

    /// An acceptor has promised another node in this round: true when too few are left for a quorum.
    pub(crate) fn handle_refused(&mut self, from: NodeId, members: &Members) -> bool {
        self.refused.insert(from);
        !members.is_quorum(|node| !self.refused.contains(&node))
    }

    /// `own` is the end of this replica's log; `members` is the newest list of members that is certainly
    /// decided.
    pub(crate) fn step(&self, own: Mark, members: &Members) -> Step {
        if !members.is_quorum(|node| self.has_promised(node)) {
            return Step::Wait;
        }
        // Among equal marks, the acceptor with the lowest number.
        let latest = self.promises.iter().max_by_key(|(node, mark)| (**mark, core::cmp::Reverse(**node)));
        match latest {
            Some((node, mark)) if *mark > own => Step::Learn(*node),
            _ => Step::Adopt,
        }
    }

    /// Records that the values after that slot are requested from that acceptor.
    pub(crate) const fn ask(&mut self, from: NodeId, after: LogIndex) {
        self.asked = Some((from, after));
    }

    /// The open request.
    pub(crate) const fn asked(&self) -> Option<(NodeId, LogIndex)> {
        self.asked
    }

    /// Closes the open request, and returns true, if the answer is for it.
    pub(crate) fn take_answer(&mut self, from: NodeId, after: LogIndex) -> bool {
        self.asked.take_if(|asked| *asked == (from, after)).is_some()
    }
}
