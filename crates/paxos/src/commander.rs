//! The commander: phase 2 of a slot, or of several, in one ballot. It counts who has accepted, and ends when they are a quorum.
//!
//! The first commander of a leader has the slots that the scout adopted, and the leader's no-op behind them: an acceptor has
//! accepted them in this ballot when it has accepted the no-op, for a log's ballot is that of its last value. Every later one has
//! one slot.

use alloc::vec::Vec;

use bezant_consensus::Members;
use bezant_types::{LogIndex, NodeId};

use crate::quorum::is_quorum;

/// Phase 2 of one slot or several.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Commander {
    /// The first slot that is not decided.
    first: LogIndex,
    last: LogIndex,
    /// Who has accepted all of it.
    accepted: Vec<NodeId>,
}

impl Commander {
    pub(crate) const fn new(first: LogIndex, last: LogIndex) -> Self {
        Self { first, last, accepted: Vec::new() }
    }

    pub(crate) const fn first(&self) -> LogIndex {
        self.first
    }

    pub(crate) const fn last(&self) -> LogIndex {
        self.last
    }

    /// That node has accepted everything up to that slot.
    pub(crate) fn handle_accepted(&mut self, from: NodeId, last: LogIndex) {
        if last >= self.last && !self.accepted.contains(&from) {
            self.accepted.push(from);
        }
    }

    /// That node takes part no more, or is another one now: its word counts no more.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.accepted.retain(|accepted| *accepted != node);
    }

    /// Whether enough of these have accepted.
    pub(crate) fn is_done(&self, members: &Members) -> bool {
        is_quorum(members, |node| self.accepted.contains(&node))
    }

    /// A part is decided: the rest is decided by other members.
    pub(crate) fn go_on_behind(&mut self, slot: LogIndex) {
        self.first = slot.next();
    }
}
