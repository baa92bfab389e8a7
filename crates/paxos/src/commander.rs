//! The commander: phase 2 of one slot or of several, in one ballot. It counts the acceptors that have
//! accepted, and ends when they are a quorum.
//!
//! The first commander of a leader has the slots that the scout adopted, and the leader's no-op after them.
//! The adopted values keep their older rounds. An acceptor that has accepted the no-op counts as having
//! accepted them in this ballot, because scouts compare logs by the round of the last value. Every later
//! commander has one slot.

use alloc::vec::Vec;

use bezant_consensus::Members;
use bezant_types::{LogIndex, NodeId};

/// Phase 2 of one slot or several.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Commander {
    /// The first slot that is not decided.
    first: LogIndex,
    last: LogIndex,
    /// The acceptors that have accepted all of these slots.
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

    /// That node is not a member any more, or has another disk: its acceptance does not count any more.
    pub(crate) fn remove(&mut self, node: NodeId) {
        self.accepted.retain(|accepted| *accepted != node);
    }

    /// Whether a quorum of these members has accepted.
    pub(crate) fn is_done(&self, members: &Members) -> bool {
        members.is_quorum(|node| self.accepted.contains(&node))
    }

    /// Everything up to that slot is decided, and the value in it changes the members. The slots after it
    /// need a quorum of the new members.
    pub(crate) fn continue_after(&mut self, slot: LogIndex) {
        self.first = slot.next();
    }
}
