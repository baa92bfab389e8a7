//! Changes of the membership, and leadership transfer.
//!
//! A change is a value like any other, and is applied when it is decided. A change of the voters has two
//! steps; between them the configuration is joint. The leader proposes the second step as soon as the first
//! is applied. So does a new leader that finds a joint configuration.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bezant_consensus::{Change, ChangeError, EntryKind, LogEntry, Output, Part};
use bezant_types::{LogIndex, NodeId};

use crate::change::{change_of, payload};
use crate::engine::{Paxos, Position};
use crate::leader::Succession;
use crate::message::Message;
use crate::quorum::is_acceptor;

/// The most slots that a node may lack when it is made a voter or the leader. It receives so few within a
/// short time.
const LAG_MAX: u64 = 256;

impl Paxos {
    /// See [`Engine::change`](bezant_consensus::Engine::change).
    pub(crate) fn propose_change(&mut self, change: &Change) -> Result<Option<LogIndex>, ChangeError> {
        let Position::Leading(leader) = &self.position else { return Err(ChangeError::NotLeading) };
        if leader.successor.is_some() {
            return Err(ChangeError::NotLeading);
        }
        if self.is_change_pending() && !matches!(change, Change::Lead(_)) {
            return Err(ChangeError::UnderWay);
        }
        self.members.check(change)?;
        match change {
            Change::Promote(node) => self.check_may_promote(*node)?,
            Change::Lead(node) if *node == self.node => return Ok(None),
            Change::Lead(node) => {
                self.check_caught_up(*node)?;
                self.transfer_to(*node);
                return Ok(None);
            }
            Change::Remove(node) if *node == self.node => return Err(ChangeError::Leads),
            Change::Remove(node) => {
                self.members
                    .check_enough_stay(*node, |voter| voter == self.node || self.is_active_peer(voter))?;
            }
            Change::Add { .. } | Change::Meet { .. } | Change::Complete => {}
        }
        Ok(self.propose_value(EntryKind::Engine, payload(change)))
    }

    /// True while the log may contain a change that is not applied yet: this leader does not know whether it
    /// is decided.
    fn is_change_pending(&self) -> bool {
        let Position::Leading(leader) = &self.position else { return true };
        let committed = self.replica.committed();
        committed < leader.first || self.acceptor.values().changes_after(committed).next().is_some()
    }

    fn matched(&self, node: NodeId) -> LogIndex {
        match &self.position {
            Position::Leading(leader) => {
                leader.deliveries.get(&node).map_or(LogIndex(0), crate::delivery::Delivery::matched)
            }
            _ => LogIndex(0),
        }
    }

    /// A learner becomes a voter only with a value of this leader on its disk: then it has what it needs to be
    /// admitted. A voter that is not admitted counts for the size of a quorum, and never promises.
    fn check_may_promote(&self, node: NodeId) -> Result<(), ChangeError> {
        let Position::Leading(leader) = &self.position else { return Err(ChangeError::NotLeading) };
        if self.matched(node) < leader.first {
            return Err(self.lagging(node));
        }
        self.check_caught_up(node)
    }

    fn check_caught_up(&self, node: NodeId) -> Result<(), ChangeError> {
        let last = self.acceptor.values().last().slot;
        if self.matched(node).0 + LAG_MAX < last.0 || !self.is_active_peer(node) {
            return Err(self.lagging(node));
        }
        Ok(())
    }

    fn lagging(&self, node: NodeId) -> ChangeError {
        let last = self.acceptor.values().last().slot;
        ChangeError::Lagging(last.0.saturating_sub(self.matched(node).0))
    }

    /// Transfers leadership to the active voter with the longest matching log, if there is one.
    pub(crate) fn transfer_to_most_advanced(&mut self) {
        let others = self.members.voters().filter(|voter| *voter != self.node && self.is_active_peer(*voter));
        // Among equals the next higher number, so that repeated transfers reach every voter.
        let key = |voter: &NodeId| (self.matched(*voter), *voter > self.node, core::cmp::Reverse(*voter));
        let best = others.max_by_key(key);
        if let Some(best) = best {
            self.transfer_to(best);
        }
    }

    fn transfer_to(&mut self, node: NodeId) {
        if let Position::Leading(leader) = &mut self.position
            && leader.successor.is_none()
        {
            leader.successor = Some(Succession { node, since_tick: self.ticks, is_notified: false });
        }
    }

    /// Asks the successor to campaign once it has the whole log, so that its scout has nothing to learn.
    pub(crate) fn notify_successor(&mut self) {
        let last = self.acceptor.values().last().slot;
        let Position::Leading(leader) = &mut self.position else { return };
        let ballot = leader.ballot;
        let matched = |node| leader.deliveries.get(node).map(crate::delivery::Delivery::matched);
        if let Some(successor) = &mut leader.successor
            && !successor.is_notified
            && matched(&successor.node) >= Some(last)
        {
            successor.is_notified = true;
            let node = successor.node;
            self.send(node, Message::TransferLeadership { ballot });
        }
    }

    /// Starts the second step of a change after the first was applied. A leader that is leaving transfers
    /// leadership, and the next leader makes the step.
    pub(crate) fn complete_change(&mut self) {
        let may_propose = matches!(&self.position, Position::Leading(leader) if leader.successor.is_none());
        if !may_propose || !self.members.is_changing() || self.is_change_pending() {
            return;
        }
        if self.members.get(self.node).is_some_and(|member| member.part == Part::Leaving) {
            self.transfer_to_most_advanced();
        } else {
            self.propose_value(EntryKind::Engine, payload(&Change::Complete));
        }
    }

    /// Applies the change in a decided value. Two kinds of change have no effect, on every replica alike: a
    /// change that is already in the members (they came with a checkpoint or from the disk), and a change
    /// that does not fit the members.
    pub(crate) fn make(&mut self, entry: &LogEntry) {
        let Some(change) = change_of(entry) else { return };
        if entry.index <= self.members.index || self.members.check(&change).is_err() {
            return;
        }
        let members = self.members.after(&change, entry.index);
        // The previous leader may have proposed the step that removes this replica.
        let is_out = matches!(self.position, Position::Leading(_)) && !is_acceptor(&members, self.node);
        if is_out {
            self.announce_own_removal();
        }
        self.members = members;
        self.outputs.push_back(Output::Members(self.members.clone()));
        if let Position::Leading(leader) = &mut self.position {
            leader.update_members(self.node, &self.members, self.acceptor.values(), &BTreeMap::new());
        }
    }

    /// Announces the decision that removes this leader, while it still has connections. Without this leader,
    /// the voters of the old list may lack a quorum to find out about it.
    fn announce_own_removal(&mut self) {
        let decided = self.replica.decided();
        if let Position::Leading(leader) = &self.position {
            let ballot = leader.ballot;
            let others: Vec<NodeId> = leader.deliveries.keys().copied().collect();
            others.into_iter().for_each(|node| self.send(node, Message::Decision { ballot, decided }));
        }
        self.step_down();
    }
}
