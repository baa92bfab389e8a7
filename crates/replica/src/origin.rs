//! Where a command came from, and which commands the leader may propose.

use bezant_rsm::{Command, StateMachine};
use bezant_types::NodeId;

use crate::event::Ticket;
use crate::message::ForwardNumber;

/// The operation of a change of the membership; no machine may use it.
pub(crate) const CHANGE_OPERATION: u16 = u16::MAX;

/// Where a command came from, and where its outcome goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client of this node.
    Client(Ticket),
    /// A client of another node.
    Peer(NodeId, ForwardNumber),
    /// The replica itself.
    Own,
}

/// True when the leader may propose that command of a peer. A change of the membership is checked when it is
/// made.
pub(crate) fn accepts<M: StateMachine>(command: &Command) -> bool {
    command.operation == CHANGE_OPERATION || M::accepts(command)
}
