//! What happens in the world.

use bezant_replica::{Input, Output, PeerMessage, Ticket};
use bezant_storage::HistoryAnswer;
use bezant_types::{GroupId, LogIndex, NodeId};

use crate::bug::FlawedLedger;
use crate::faults::Fault;
use crate::machine::ReplicaId;
use crate::trace::MessageNumber;

/// An event. A number after a replica is that of a process: the event is for this process only.
#[derive(Debug)]
pub(super) enum Event {
    Tick(ReplicaId, u64),
    Deliver {
        group: GroupId,
        from: NodeId,
        /// The sender's disk: messages of an earlier disk are dropped.
        disk: u64,
        to: NodeId,
        message: PeerMessage,
        /// The recorder's number of the message; `None` when it is not recorded.
        number: Option<MessageNumber>,
    },
    Flush(ReplicaId, u64),
    Input(ReplicaId, u64, Input<FlawedLedger>),
    /// A client's request reaches a replica.
    Ask {
        replica: ReplicaId,
        ticket: Ticket,
    },
    /// The operator of a group takes its next step.
    Operate(GroupId),
    /// A client of a group continues, unless it has a newer plan.
    Wake(GroupId, usize, u64),
    /// An answer reaches a client.
    Answer {
        group: GroupId,
        ticket: Ticket,
        output: Output<FlawedLedger>,
    },
    /// Rows of the history reach a client.
    History {
        group: GroupId,
        ticket: Ticket,
        index: LogIndex,
        rows: HistoryAnswer,
    },
    Fault(Fault),
    /// A process sends its heartbeats.
    Heartbeat(NodeId, u64),
    /// A heartbeat of a process reaches a machine.
    Hear {
        node: NodeId,
        from: NodeId,
        incarnation: u64,
    },
    /// A process checks which other machines answer, and which resting replicas must wake.
    Liveness(NodeId, u64),
    /// A machine loses its power after a vote, and gets it back after a duration.
    LosePower(NodeId, u64),
    Restart(NodeId),
    /// A disk has unlimited space again.
    FreeSpace(NodeId),
    /// A peer notices that a connection ended.
    Lost {
        node: NodeId,
        peer: NodeId,
    },
}

impl Event {
    /// The group of the event; `None` when it belongs to a machine.
    pub(super) const fn group(&self) -> Option<GroupId> {
        match self {
            Self::Tick(replica, _)
            | Self::Flush(replica, _)
            | Self::Input(replica, ..)
            | Self::Ask { replica, .. } => Some(replica.group),
            Self::Deliver { group, .. }
            | Self::Operate(group)
            | Self::Wake(group, ..)
            | Self::Answer { group, .. }
            | Self::History { group, .. } => Some(*group),
            Self::Fault(_)
            | Self::Heartbeat(..)
            | Self::Hear { .. }
            | Self::Liveness(..)
            | Self::LosePower(..)
            | Self::Restart(_)
            | Self::FreeSpace(_)
            | Self::Lost { .. } => None,
        }
    }
}
