//! Changes of who takes part, and of who leads.
//!
//! A change is a value like any other, and made when it is decided. One that touches who votes has two steps: the leader
//! proposes the second as soon as the first is made, and so does whoever leads after it, for it finds the members joint.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bezant_consensus::{Change, ChangeError, EntryKind, LogEntry, Output, Part};
use bezant_types::{LogIndex, NodeId};

use crate::change::{change_of, payload};
use crate::engine::{Paxos, Position};
use crate::leader::Succession;
use crate::message::Message;
use crate::quorum::is_acceptor;

/// Slots that a node may lack and be given a vote: it has them before anybody notices.
const BEHIND_MAX: u64 = 256;

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
            Change::Promote(node) => self.check_caught_up(*node)?,
            Change::Lead(node) if *node == self.node => return Ok(None),
            Change::Lead(node) => {
                self.check_caught_up(*node)?;
                self.give_lead_to(*node);
                return Ok(None);
            }
            Change::Remove(node) if *node == self.node => return Err(ChangeError::Leads),
            Change::Remove(node) => {
                self.members.check_enough_stay(*node, |voter| voter == self.node || self.is_heard(voter))?;
            }
            Change::Add { .. } | Change::Meet { .. } | Change::Complete => {}
        }
        Ok(self.give_out(EntryKind::Engine, payload(change)))
    }

    /// True while a change in the log is not made, or may be in it without this leader's knowing whether it is agreed.
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

    fn check_caught_up(&self, node: NodeId) -> Result<(), ChangeError> {
        let last = self.acceptor.values().last().slot;
        let matched = self.matched(node);
        if matched.0 + BEHIND_MAX < last.0 || !self.is_heard(node) {
            return Err(ChangeError::Lagging(last.0.saturating_sub(matched.0)));
        }
        Ok(())
    }

    /// Asks the replica that is best prepared to lead, if there is one: the lowest number among equals.
    pub(crate) fn give_lead_away(&mut self) {
        let others = self.members.voters().filter(|voter| *voter != self.node && self.is_heard(*voter));
        // Among equals the next number, so that none is passed over when each hands over at once.
        let key = |voter: &NodeId| (self.matched(*voter), *voter > self.node, core::cmp::Reverse(*voter));
        let best = others.max_by_key(key);
        if let Some(best) = best {
            self.give_lead_to(best);
        }
    }

    fn give_lead_to(&mut self, node: NodeId) {
        if let Position::Leading(leader) = &mut self.position
            && leader.successor.is_none()
        {
            leader.successor = Some(Succession { node, since_tick: self.ticks, is_told: false });
        }
    }

    /// The successor is told when it has everything: then it has nothing to learn.
    pub(crate) fn tell_successor(&mut self) {
        let last = self.acceptor.values().last().slot;
        let Position::Leading(leader) = &mut self.position else { return };
        let ballot = leader.ballot;
        let matched = |node| leader.deliveries.get(node).map(crate::delivery::Delivery::matched);
        if let Some(successor) = &mut leader.successor
            && !successor.is_told
            && matched(&successor.node) >= Some(last)
        {
            successor.is_told = true;
            let node = successor.node;
            self.send(node, Message::Lead { ballot });
        }
    }

    /// The second step of a change, when the first was made. A leader that is about to leave lets another one make it.
    pub(crate) fn complete_change(&mut self) {
        let may_propose = matches!(&self.position, Position::Leading(leader) if leader.successor.is_none());
        if !may_propose || !self.members.is_changing() || self.is_change_pending() {
            return;
        }
        if self.members.get(self.node).is_some_and(|member| member.part == Part::Leaving) {
            self.give_lead_away();
        } else {
            self.give_out(EntryKind::Engine, payload(&Change::Complete));
        }
    }

    /// A value is decided. A change that was made already (its outcome came with a checkpoint, or lay on the disk) and one
    /// that fits no more change nothing, on every replica alike.
    pub(crate) fn make(&mut self, entry: &LogEntry) {
        let Some(change) = change_of(entry) else { return };
        if entry.index <= self.members.index || self.members.check(&change).is_err() {
            return;
        }
        let members = self.members.after(&change, entry.index);
        // The leader before may have proposed the step that takes this one out.
        let is_out = matches!(self.position, Position::Leading(_)) && !is_acceptor(&members, self.node);
        if is_out {
            self.say_farewell();
        }
        self.members = members;
        self.outputs.push_back(Output::Members(self.members.clone()));
        if let Position::Leading(leader) = &mut self.position {
            leader.meet(self.node, &self.members, self.acceptor.values(), &BTreeMap::new());
        }
    }

    /// The others hear that this leader's removal is decided, while it has connections: those of the old list alone may
    /// lack a quorum without it.
    fn say_farewell(&mut self) {
        let decided = self.replica.decided();
        if let Position::Leading(leader) = &self.position {
            let ballot = leader.ballot;
            let others: Vec<NodeId> = leader.deliveries.keys().copied().collect();
            others.into_iter().for_each(|node| self.send(node, Message::Decision { ballot, decided }));
        }
        self.step_down();
    }
}
