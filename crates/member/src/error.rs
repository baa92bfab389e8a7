//! What can go wrong, and what helps.

use std::io;
use std::time::Duration;

use bezant_rsm::{UnknownCall, UnreadableAnswer, UnwritableCall};
use bezant_runtime::{ChangeError, EngineKind, StartError};
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
    /// The others look for this node where it is not any more.
    #[error(
        "the others reach node {node} at {known}, and it is at {own} now: listen where they look for it, or say with \
         MemberOptions::advertise that it is there; or remove it, and let it join on an empty folder"
    )]
    OtherAddress {
        /// Which.
        node: NodeId,
        /// Where the others look for it.
        known: String,
        /// Where it would be.
        own: String,
    },
    /// The folder is another member's.
    #[error(
        "the folder is that of node {found}, and MemberOptions::node says {wanted}: leave that out, or choose another folder"
    )]
    OtherNode {
        /// Whose it is.
        found: NodeId,
        /// Who wanted it.
        wanted: NodeId,
    },
    /// The folder is another cluster's.
    #[error(
        "the folder is that of node {node} of a cluster with another token: check the token, or choose another folder"
    )]
    OtherToken {
        /// Whose it is.
        node: NodeId,
    },
    /// The folder's cluster agrees with another engine.
    #[error(
        "the folder's cluster agrees by {found}, and MemberOptions::engine says {wanted}: leave that out, or begin another cluster \
         on an empty folder"
    )]
    OtherEngine {
        /// What it agrees with.
        found: EngineKind,
        /// What was asked for.
        wanted: EngineKind,
    },
    /// The cluster went on without it.
    #[error("this folder takes part in the cluster no more: {reason}")]
    Removed {
        /// Which node, why, and what helps.
        reason: String,
    },
    /// The folder is not whole.
    #[error(
        "the folder holds the data of node {node}, and {damage}. Nothing was changed. Copy members.bzm into it from the folder of another \
         member, which has the same one; or remove the node, and let it join on an empty folder"
    )]
    NoMembers {
        /// Whose it is.
        node: NodeId,
        /// What was found in place of the list of the members.
        damage: String,
    },
    /// The folder is not a member's.
    #[error(
        "the folder holds {file}, which is no file of a member: choose an empty folder, or one that does not exist yet"
    )]
    Foreign {
        /// What was found.
        file: String,
    },
    /// The folder is not a member's.
    #[error(
        "the folder holds a log or checkpoints, and does not say whose (node.bzi): put the whole folder back, or choose an empty one"
    )]
    NotEmpty,
    /// The folder, or what it holds, cannot be used.
    #[error(transparent)]
    Start(StartError),
    /// The thread that starts it ended.
    #[error("the start was interrupted")]
    Interrupted,
}

impl From<StartError> for OpenError {
    /// In the words of one who has options, and no command line.
    fn from(error: StartError) -> Self {
        match error {
            StartError::OtherAddress { node, known, own } => Self::OtherAddress { node, known, own },
            StartError::OtherNode { found, wanted } => Self::OtherNode { found, wanted },
            StartError::OtherCluster { node } => Self::OtherToken { node },
            StartError::OtherEngine { found, wanted, .. } => Self::OtherEngine { found, wanted },
            StartError::Removed { reason } => Self::Removed { reason },
            StartError::NoMembers { node, damage } => Self::NoMembers { node, damage },
            StartError::Foreign { file } => Self::Foreign { file },
            StartError::NotEmpty { .. } | StartError::NoIdentity { .. } => Self::NotEmpty,
            other => Self::Start(other),
        }
    }
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
    /// The cluster goes on without this member. Whether a command that was under way was done is not known.
    #[error("this node was removed from the cluster: shut it down; to come back it joins on an empty folder")]
    Removed,
    /// The member is shut down. Whether a command was done is not known.
    #[error("the member is shut down")]
    ShutDown,
    /// The service panicked over a query; its state is as it was.
    #[error("the service panicked over the query: the standard error says where")]
    Panicked,
    /// No event has that number yet, on any member: the state was restored from an older copy, or the number is that of
    /// another cluster.
    #[error(
        "there is no event {after} yet, the last one is {last}: read the state by a query, and go on after {last}"
    )]
    EventNotYet {
        /// The number that was named.
        after: u64,
        /// The newest event, over all streams.
        last: u64,
    },
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
    #[error("node {node} cannot be removed now: {}", words(*reason))]
    Refused {
        /// Which.
        node: NodeId,
        /// Why.
        reason: ChangeError,
    },
}

/// Why a node is not removed, and what helps.
fn words(reason: ChangeError) -> String {
    let text = match reason {
        ChangeError::Unknown => "there is no such member",
        ChangeError::UnderWay => "another change is under way; try again when it is complete",
        ChangeError::TooFew => {
            "too few of the voters that would stay are heard of to agree on anything: start them first"
        }
        ChangeError::Leads => "it leads: shut it down, so that another one leads, and remove it then",
        ChangeError::NotLeading => "nobody leads just now; try again",
        ChangeError::Outdated => "it was removed and added again meanwhile; try again if that one is meant",
        ChangeError::Alone => "a node that is alone has no members",
        ChangeError::Known
        | ChangeError::Votes
        | ChangeError::Lagging(_)
        | ChangeError::NoVote
        | ChangeError::Full
        | ChangeError::Address
        | ChangeError::NotMet => return format!("{reason:?}"),
    };
    text.to_owned()
}
