//! Leading: the actions of a replica whose scout has adopted a log.

use alloc::vec::Vec;

use bezant_consensus::EntryKind;
use bezant_types::{LogIndex, NodeId};

use crate::acceptor::MESSAGE_SIZE_MAX;
use crate::ballot::Ballot;
use crate::change::no_op;
use crate::delivery::Delivery;
use crate::engine::{Paxos, Position};
use crate::leader::Leader;
use crate::message::Message;

impl Paxos {
    /// The scout has adopted a log: this replica leads.
    pub(crate) fn start_leading(&mut self) {
        let Position::Scouting(scout) = &self.position else { return };
        let values = self.acceptor.values();
        let mut leader = Leader::new(scout.ballot(), values.last().slot, self.replica.decided(), self.ticks);
        leader.update_members(self.node, &self.members, values, scout.promises());
        self.position = Position::Leading(leader);
        self.pre_emptions = 0;
        self.follow(Some(self.node));
        self.propose_value(EntryKind::Engine, no_op());
    }

    pub(crate) fn handle_accepted(&mut self, from: NodeId, ballot: Ballot, last: LogIndex) {
        let end = self.acceptor.values().last().slot;
        let Position::Leading(leader) = &mut self.position else { return };
        if leader.ballot != ballot || last > end {
            return;
        }
        let before = if from == self.node {
            leader.own_accepted(last)
        } else if let Some(delivery) = leader.deliveries.get_mut(&from) {
            let before = delivery.matched();
            delivery.handle_accepted(last);
            before
        } else {
            return;
        };
        leader.handle_accepted(from, before, last);
    }

    /// Does everything that a leader can do now.
    pub(crate) fn advance_leader(&mut self) {
        if !matches!(self.position, Position::Leading(_)) {
            return;
        }
        self.decide();
        self.answer_reads();
        self.complete_change();
        self.notify_successor();
        self.deliver();
    }

    /// Decides slots in their order. It stops after a change of members until that change is applied, because
    /// the change determines the quorum for the later slots.
    fn decide(&mut self) {
        loop {
            let values = self.acceptor.values();
            let decided = self.replica.decided();
            let is_change_open =
                values.changes_after(self.replica.committed()).next().is_some_and(|change| change <= decided);
            let change = values.changes_after(decided).next();
            let Position::Leading(leader) = &mut self.position else { return };
            if is_change_open {
                return;
            }
            let Some(slot) = leader.decide(&self.members, change) else { return };
            let is_durable = |node| leader.accepted_by(self.node, node) >= slot;
            assert!(self.members.is_quorum(is_durable), "a decided slot is durable at a quorum");
            assert!(slot <= values.last().slot, "a leader decides only values that it has");
            self.replica.handle_decided(slot);
            if decided < leader.first && slot >= leader.first {
                leader.reads.handle_first_decision(slot);
            }
            self.commit();
        }
    }

    fn answer_reads(&mut self) {
        let Position::Leading(leader) = &mut self.position else { return };
        let mut done = leader.reads.take_confirmed(self.node, &self.members);
        let begins = leader.reads.start_confirmation();
        if begins {
            // A group of one is a quorum by itself.
            done.extend(leader.reads.take_confirmed(self.node, &self.members));
        }
        for (request, index) in done {
            let reply =
                Message::ReadIndexReply { incarnation: request.incarnation, read: request.read, index };
            self.send(request.node, reply);
        }
        if begins {
            self.send_heartbeats();
        }
    }

    fn send_heartbeats(&mut self) {
        let decided = self.replica.decided();
        let Position::Leading(leader) = &mut self.position else { return };
        let (ballot, sequence) = (leader.ballot, leader.reads.sequence());
        let peers: Vec<NodeId> = leader.deliveries.keys().copied().collect();
        leader.deliveries.values_mut().for_each(|delivery| delivery.announced = decided);
        for peer in peers {
            self.send(peer, Message::Heartbeat { ballot, decided, sequence });
        }
    }

    /// Sends to each replica the messages that it may receive now.
    fn deliver(&mut self) {
        let (values, decided) = (self.acceptor.values(), self.replica.decided());
        let last = values.last().slot;
        let mut messages = Vec::new();
        let Position::Leading(leader) = &mut self.position else { return };
        let ballot = leader.ballot;
        for (node, delivery) in &mut leader.deliveries {
            while delivery.is_ready(last) {
                let Some(after) = values.mark(LogIndex(delivery.next().0 - 1)) else {
                    let last = values.checkpoint();
                    messages.push((*node, Message::Checkpoint { ballot, last }));
                    delivery.handle_checkpoint(last.slot);
                    break;
                };
                let batch = if delivery.is_probing() {
                    Vec::new()
                } else {
                    values.batch(delivery.next(), MESSAGE_SIZE_MAX)
                };
                delivery.handle_sent(batch.last().map_or(after.slot, |value| value.index));
                delivery.announced = decided;
                messages.push((*node, Message::Accept { ballot, after, values: batch, decided }));
            }
            if delivery.announced < decided && !delivery.is_probing() {
                delivery.announced = decided;
                messages.push((*node, Message::Decision { ballot, decided }));
            }
        }
        for (to, message) in messages {
            self.send(to, message);
        }
    }

    pub(crate) fn lead_tick(&mut self) {
        let (ticks, election_ticks) = (self.ticks, self.timeouts.election_ticks());
        let Position::Leading(leader) = &mut self.position else { return };
        if leader.successor.is_some_and(|successor| successor.since_tick + election_ticks <= ticks) {
            // The successor did not become the leader in time.
            leader.successor = None;
        }
        let is_due = ticks.is_multiple_of(self.timeouts.heartbeat_ticks());
        if is_due {
            leader.deliveries.values_mut().for_each(Delivery::handle_heartbeat);
        }
        let is_recent = leader.since_tick + election_ticks > ticks;
        if !is_recent && !self.members.is_quorum(|node| node == self.node || self.is_active_peer(node)) {
            self.step_down();
        } else if is_due {
            self.send_heartbeats();
        }
    }
}
