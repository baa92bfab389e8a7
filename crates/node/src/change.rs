//! Changes of who takes part: asked for at any node, made by the leader, answered when they are agreed.
//!
//! A change travels as a command with an operation of its own, so that it is forwarded, refused and answered like
//! any other; but it never enters an entry of the machine's: the engine makes an entry of it.

use alloc::vec::Vec;

use bezant_consensus::{Change, ChangeError, Engine, encode_outcome};
use bezant_rsm::{Command, StateMachine};
use bezant_types::NodeId;
use bytes::Bytes;

use crate::event::{Output, Refusal};
use crate::message::Outcome;
use crate::node::Node;
use crate::queue::Origin;

/// The operation of a change; no machine may use it.
pub(crate) const CHANGE_OPERATION: u16 = u16::MAX;

/// The command that asks for a change. Its result is read by [`bezant_consensus::decode_outcome`].
pub fn change_command(change: &Change) -> Command {
    Command { operation: CHANGE_OPERATION, events: 0, body: change.encode() }
}

impl<M: StateMachine, E: Engine> Node<M, E> {
    /// The other members.
    pub(crate) fn peers(&self) -> Vec<NodeId> {
        let others = self.engine.members().nodes.iter().filter(|member| member.node != self.options.node);
        others.map(|member| member.node).collect()
    }

    /// This node leads, and somebody wants the members changed.
    pub(crate) fn handle_change(&mut self, origin: Origin, body: &Bytes) {
        let made = match Change::decode(body) {
            Some(Change::Complete) | None => Err(ChangeError::Unknown),
            Some(change) => self.engine.change(change),
        };
        match made {
            Ok(Some(index)) => self.proposed = Some((index, None, alloc::vec![origin])),
            Ok(None) => self.answer_change(origin, Ok(())),
            Err(ChangeError::NotLeading) => self.refuse(origin, Refusal::NoLeader),
            Err(error) => self.answer_change(origin, Err(error)),
        }
        self.drain_engine();
    }

    pub(crate) fn answer_change(&mut self, origin: Origin, outcome: Result<(), ChangeError>) {
        let (index, time, results) = (self.applied, self.time, encode_outcome(outcome));
        match origin {
            Origin::Client(ticket) => {
                self.outputs.push_back(Output::Answer { ticket, index, time, events: 0, results });
            }
            Origin::Peer(node, number) => {
                self.send_outcome(node, number, Outcome::Done { index, time, results });
            }
            Origin::Own => {}
        }
    }
}
