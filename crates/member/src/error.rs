//! What can go wrong, and what helps.

use std::io;
use std::time::Duration;

use bezant_rsm::{UnknownCall, UnreadableAnswer, UnwritableCall};
use bezant_runtime::{ChangeError, StartError};
use bezant_types::NodeId;
use bezant_types::limits::ADDRESS_SIZE_MAX;
use thiserror::Error;

use crate::hosted::{ANSWER_SIZE_MAX, COMMAND_SIZE_MAX};
use crate::options::TOKEN_LENGTH_MIN;

/// Why a member does not start. Nothing that was acknowledged was changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Too easy to guess.
    #[error(
        "the cluster's token is shorter than {} characters: `head -c 24 /dev/urandom | base64` draws one",
        TOKEN_LENGTH_MIN
    )]
    Token,
    /// Nobody could be reached there.
    #[error("{address:?} is no address: write HOST:PORT, at most {} bytes", ADDRESS_SIZE_MAX)]
    Address {
        /// What was given.
        address: String,
    },
    /// A node that listens on all interfaces does not know which of them the others see.
    #[error(
        "the others cannot reach this node at {address}: say with MemberOptions::advertise where they can"
    )]
    Unspecified {
        /// Where it listens.
        address: String,
    },
    /// Nodes are numbered from 1 on.
    #[error("a node's number is 1 or more")]
    Node,
    /// There is nobody to be joined.
    #[error("a member joins a cluster at the address of one of its nodes at least")]
    NobodyToJoin,
    /// The address is taken, say.
    #[error("cannot listen on {address} for the other nodes: {source}")]
    Listen {
        /// Where.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The members did not take it in.
    #[error("after {} s no member had taken this node in, and the last that was heard is: {reason}", waited.as_secs())]
    NotAdmitted {
        /// How long.
        waited: Duration,
        /// What the last that was asked said.
        reason: String,
    },
    /// The folder, or what it holds, cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The thread that starts it ended.
    #[error("the start was interrupted")]
    Interrupted,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallError {
    /// This version of the service, on the node that was asked or on the replicas, does not know it. Nothing was changed.
    #[error(transparent)]
    Unknown(#[from] UnknownCall),
    /// A command was done; its answer is of another version.
    #[error(transparent)]
    Unreadable(#[from] UnreadableAnswer),
    /// A call's arguments do not fit into the format. Nothing was sent.
    #[error(transparent)]
    Unwritable(#[from] UnwritableCall),
    /// Nothing was done.
    #[error("the command has {size} bytes, and may have {}: split it", COMMAND_SIZE_MAX)]
    CommandTooLarge {
        /// Its bytes.
        size: usize,
    },
    /// The command was done; its answer cannot be had.
    #[error(
        "the command is done, and its answer of {size} bytes is larger than {}: answer less, and let queries tell the rest",
        ANSWER_SIZE_MAX
    )]
    AnswerTooLarge {
        /// Its bytes.
        size: u64,
    },
    /// Whether a command was done is not known, and it may be done yet: until a call of this handle is answered that began
    /// when none of those before it was waited for any more.
    #[error(
        "the deadline passed before the outcome was known: is a majority of the members running? It may be done yet: \
         let all calls of this handle end, have one more answered, and look at the state before you call this again"
    )]
    DeadlineExceeded,
    /// The session was forgotten, for many others were used since or replies take too much room, and the command may have
    /// been done before.
    #[error("whether the command was done is not known any more: look at the state before you call again")]
    OutcomeUnknown,
    /// The disk of this node failed. Whether a command was done is not known.
    #[error("this node takes no commands: {reason}")]
    ReadOnly {
        /// What happened, and what helps.
        reason: String,
    },
    /// The member is shut down. Whether a command was done is not known.
    #[error("the member is shut down")]
    ShutDown,
    /// The service panicked over a query; its state is as it was.
    #[error("the service panicked over the query: the standard error says where")]
    Panicked,
    /// Events of the stream behind the one that was named were forgotten.
    #[error(
        "events up to {last} were forgotten: read the state by a query, and go on behind what it shows, or behind {last}"
    )]
    EventsForgotten {
        /// The last event of the stream that was.
        last: u64,
    },
}

/// Why the members were not changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// Whether it was removed is not known.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It was not.
    #[error("node {node} cannot be removed now: {reason:?}")]
    Refused {
        /// Which.
        node: NodeId,
        /// Why.
        reason: ChangeError,
    },
}
