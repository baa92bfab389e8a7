//! The messages to a group's replica, and what its callers get back.

use bezant_recovery::Machine;
use bezant_replica::{Consistency, Input, PeerMessage};
use bezant_rsm::Command;
use bezant_types::{HistoryPosition, LogIndex, Nanos, NodeId};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::clock::Reading;
use crate::error::{ExecuteError, ReadError};
use crate::group::admission::Admission;

/// The outcome of a command that is durable and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The log entry that carried it.
    pub index: LogIndex,
    /// The timestamp of the command's last event.
    pub time: Nanos,
    /// The results, 16 bytes for each event, in order.
    pub results: Bytes,
}

/// What a read found, and how fresh it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<Answer> {
    /// The last log entry that the answer reflects: a later read at least at this index never goes backwards.
    pub index: LogIndex,
    /// What was found.
    pub answer: Answer,
}

/// What a peer reported of itself in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acquaintance {
    pub(crate) is_fresh: bool,
    /// The reading of its clock.
    pub(crate) clock: Reading,
}

/// A message to the replica's task.
#[derive(Debug)]
pub(crate) enum Message<M: Machine> {
    Execute {
        command: Command,
        admission: Admission,
        reply: oneshot::Sender<Result<Committed, ExecuteError>>,
    },
    Query {
        query: M::Query,
        consistency: Consistency,
        reply: oneshot::Sender<Result<Read<M::Answer>, ReadError>>,
    },
    Barrier {
        consistency: Consistency,
        reply: oneshot::Sender<Result<Read<HistoryPosition>, ReadError>>,
    },
    /// An input from one of the group's own tasks.
    Event(Input<M>),
    /// A message from a peer.
    FromPeer {
        from: NodeId,
        /// The disk with which the peer was admitted.
        disk: u128,
        message: PeerMessage,
    },
    /// A handshake with a peer has succeeded.
    Met {
        node: NodeId,
        acquaintance: Acquaintance,
    },
    /// A node asks for admission, with the address at which it is reached.
    Asks {
        node: NodeId,
        address: String,
    },
    /// Finish what is in flight, then end the task.
    Stop,
}
