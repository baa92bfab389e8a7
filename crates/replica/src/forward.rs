//! Forwarded commands: a follower sends its clients' commands to the leader, and the leader answers with
//! their outcomes.
//!
//! A forwarded command is bytes from a peer. So the leader checks it before it proposes it: a committed entry
//! that no replica can apply would stop all of them, at every start.

use bezant_consensus::Engine;
use bezant_rsm::{Command, StateMachine};
use bezant_types::NodeId;

use crate::event::{Output, Refusal};
use crate::message::{ForwardNumber, Outcome, PeerMessage};
use crate::origin::{Origin, accepts};
use crate::replica::Replica;

impl<M: StateMachine, E: Engine> Replica<M, E> {
    /// Forwards waiting commands to the leader.
    pub(crate) fn forward(&mut self, leader: NodeId) {
        while self.forwards.has_capacity(self.ticks)
            && let Some((origin, command)) = self.queue.pop()
        {
            match origin {
                Origin::Client(ticket) => {
                    let number = self.forwards.push(ticket, command.clone(), self.ticks);
                    let message = PeerMessage::Forward(number, command);
                    self.outputs.push_back(Output::Send { to: leader, message });
                }
                Origin::Peer(..) | Origin::Own => self.refuse(origin, Refusal::NoLeader),
            }
        }
    }

    /// A peer forwarded a command of its client. Nothing is done with one that is malformed.
    pub(crate) fn handle_forward(&mut self, from: NodeId, number: ForwardNumber, command: Command) {
        let origin = Origin::Peer(from, number);
        if !self.engine.is_leader() {
            self.send_outcome(from, number, Outcome::NotDone);
        } else if accepts::<M>(&command) {
            self.handle_request(origin, command);
        } else {
            let Command { operation, events, body } = command;
            let reason = alloc::format!(
                "the leader cannot read the command that node {from} forwarded (operation {operation}, {} bytes, number of \
                 events {events}); nothing was done. Does one of the two nodes run another version?",
                body.len()
            );
            self.refuse(origin, Refusal::NotTaken(reason));
        }
    }

    pub(crate) fn send_outcome(&mut self, to: NodeId, number: ForwardNumber, outcome: Outcome) {
        self.outputs.push_back(Output::Send { to, message: PeerMessage::Outcome(number, outcome) });
    }

    pub(crate) fn handle_outcome(&mut self, number: ForwardNumber, outcome: Outcome) {
        let Some(forwarded) = self.forwards.take(number) else { return };
        let ticket = forwarded.ticket;
        match outcome {
            Outcome::Done { index, time, results } => {
                let events = forwarded.command.events;
                self.outputs.push_back(Output::Answer { ticket, index, time, events, results });
            }
            Outcome::NotDone => {
                self.forwards.handle_denied(self.ticks);
                self.queue.push_first(Origin::Client(ticket), forwarded.command, self.ticks);
            }
            Outcome::Overloaded => self.refuse(Origin::Client(ticket), Refusal::Overloaded),
            Outcome::ReadOnly(reason) => self.refuse(Origin::Client(ticket), Refusal::ReadOnly(reason)),
            Outcome::NotTaken(reason) => self.refuse(Origin::Client(ticket), Refusal::NotTaken(reason)),
            Outcome::Unknown => self.refuse(Origin::Client(ticket), Refusal::Interrupted),
        }
    }
}
