//! The errors of members and calls, with advice for the caller.

use std::io;
use std::time::Duration;

use bezant_rsm::{UnknownCall, UnreadableAnswer, UnwritableCall};
use bezant_runtime::{ChangeError, EngineKind, Removal, StartError};
use bezant_types::NodeId;
use bezant_types::limits::ADDRESS_SIZE_MAX;
use thiserror::Error;

use crate::hosted::{ANSWER_SIZE_MAX, COMMAND_SIZE_MAX};
use crate::options::TOKEN_LENGTH_MIN;

/// Why a member does not start. The failed start changed no acknowledged data.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The token is too easy to guess.
    #[error(
        "the cluster's token is shorter than {} characters: `head -c 24 /dev/urandom | base64` draws one",
        TOKEN_LENGTH_MIN
    )]
    Token,
    /// The text is not an address.
    #[error("{address:?} is no address: write HOST:PORT, at most {} bytes", ADDRESS_SIZE_MAX)]
    Address {
        /// The given text.
        address: String,
    },
    /// A node that listens on all interfaces needs the address at which the others reach it.
    #[error(
        "the other members cannot reach this node at {address}: set MemberOptions::advertise to an address where they can"
    )]
    Unspecified {
        /// The address on which it listens.
        address: String,
    },
    /// Nodes are numbered from 1 on.
    #[error("a node's number is 1 or more")]
    Node,
    /// No address of a member was given.
    #[error("a member needs the address of at least one node of the cluster that it joins")]
    NoMemberToJoin,
    /// The address cannot be used, for example because it is in use.
    #[error("cannot listen on {address} for the other nodes: {source}")]
    Listen {
        /// The address.
        address: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The members did not admit this node in time.
    #[error("after {} s no member had admitted this node; the last answer was: {reason}", waited.as_secs())]
    NotAdmitted {
        /// How long this node waited.
        waited: Duration,
        /// The last answer, or why there was none.
        reason: String,
    },
    /// The list of members has another address for this node.
    #[error(
        "the other members have {known} as the address of node {node}, but it was started at {own}: listen at {known}, or set that with \
         MemberOptions::advertise; or remove the node, and let it join with an empty folder"
    )]
    OtherAddress {
        /// The node.
        node: NodeId,
        /// The address in the list of members.
        known: String,
        /// The address at which it was started.
        own: String,
    },
    /// The folder is another member's.
    #[error(
        "the folder belongs to node {found}, but MemberOptions::node is {wanted}: leave that option out, or choose another folder"
    )]
    OtherNode {
        /// The node to which the folder belongs.
        found: NodeId,
        /// The node that was started on it.
        wanted: NodeId,
    },
    /// The folder is another cluster's.
    #[error(
        "the folder belongs to node {node} of a cluster with another token: check the token, or choose another folder"
    )]
    OtherToken {
        /// The node to which the folder belongs.
        node: NodeId,
    },
    /// The folder's cluster has another engine.
    #[error(
        "the folder's cluster uses the engine {found}, but MemberOptions::engine is {wanted}: leave that option out, or begin another cluster \
         with an empty folder"
    )]
    OtherEngine {
        /// The engine of the folder's cluster.
        found: EngineKind,
        /// The engine that was asked for.
        wanted: EngineKind,
    },
    /// The node is not a member of the cluster any more.
    #[error("this folder's node is no longer a member of the cluster: {reason}")]
    Removed {
        /// The node, why it was removed, and what to do.
        reason: String,
    },
    /// The folder's list of members is lost.
    #[error(
        "the folder holds the data of node {node}, but {damage}. Nothing was changed. Copy members.bzm into it from the folder of another \
         member, which has the same list; or remove the node, and let it join with an empty folder"
    )]
    NoMembers {
        /// The node to which the folder belongs.
        node: NodeId,
        /// What was found in place of the list of the members.
        damage: String,
    },
    /// The folder is not a member's.
    #[error(
        "the folder holds {file}, which is not a file of a member: choose an empty folder, or one that does not exist yet"
    )]
    Foreign {
        /// The name of a file that is not a member's.
        file: String,
    },
    /// The folder holds data without a node's identity.
    #[error(
        "the folder holds a log or checkpoints, but not the node's identity (node.bzi): restore the whole folder, or choose an empty one"
    )]
    NotEmpty,
    /// The clock does not fit the log, and there is no other node to compare it with.
    #[error(
        "this machine's clock shows {clock}, and the last entry of the log is of {ledger}: {problem}. Set the clock; when it \
         is right, open the member with MemberOptions::accept_clock"
    )]
    Clock {
        /// The time that the clock shows.
        clock: String,
        /// The time of the last entry; "none" where there is none.
        ledger: String,
        /// Why the clock is refused.
        problem: &'static str,
    },
    /// The folder, or what it holds, cannot be used.
    #[error(transparent)]
    Start(StartError),
    /// The thread that starts the member ended before the start was complete.
    #[error("the start was interrupted")]
    Interrupted,
}

impl From<StartError> for OpenError {
    /// Translates an error into advice for a program that has options and no command line.
    fn from(error: StartError) -> Self {
        match error {
            StartError::OtherAddress { node, known, own } => Self::OtherAddress { node, known, own },
            StartError::OtherNode { found, wanted } => Self::OtherNode { found, wanted },
            StartError::OtherCluster { node } => Self::OtherToken { node },
            StartError::OtherEngine { found, wanted, .. } => Self::OtherEngine { found, wanted },
            StartError::Removed(Removal::OtherDisk { node }) => Self::Removed {
                reason: format!(
                    "the cluster knows node {node} with another disk. If that disk is lost, remove the node \
                     (Member::remove), and let it join with an empty folder"
                ),
            },
            StartError::Removed(removal) => Self::Removed { reason: removal.to_string() },
            StartError::Clock { clock, ledger, problem } => Self::Clock { clock, ledger, problem },
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
    /// The version of the service that runs on this node, or on the replicas that applied the command, has no
    /// such call. Nothing was changed.
    #[error(transparent)]
    Unknown(#[from] UnknownCall),
    /// The command was done; its answer has the format of another version.
    #[error(transparent)]
    Unreadable(#[from] UnreadableAnswer),
    /// A call's arguments cannot be written in the format. Nothing was sent.
    #[error(transparent)]
    Unwritable(#[from] UnwritableCall),
    /// The command is too large. Nothing was done.
    #[error("the command has {size} bytes, and at most {} are allowed: split it", COMMAND_SIZE_MAX)]
    CommandTooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// The command was done; its answer is too large to be returned.
    #[error(
        "the command is done, but its answer of {size} bytes is larger than {}: return less, and read the rest by queries",
        ANSWER_SIZE_MAX
    )]
    AnswerTooLarge {
        /// Its size in bytes.
        size: u64,
    },
    /// The outcome of the command is not known: it may have been done, and it may still be done later.
    ///
    /// To make it certain, wait until no call of this handle and its clones is waiting. Then send another
    /// command with the handle. When that command is answered, the replicas refuse every earlier command of
    /// the handle, so a query shows whether the earlier command was done.
    #[error(
        "the deadline passed before the outcome was known. Check that a majority of the members is running. A command may still be done: \
         before you repeat it, let all calls of this handle end, make one more call and await its answer, and query the state"
    )]
    DeadlineExceeded,
    /// The replicas dropped the session or the reply, because many other sessions were used since, or because
    /// replies take too much space. An earlier try of the command may have been done.
    #[error("whether the command was done is not known any more: query the state before you call again")]
    OutcomeUnknown,
    /// The disk of this node failed. If the call sent a command, its outcome is not known.
    #[error("this node takes no commands: {reason}")]
    ReadOnly {
        /// What happened, and what to do.
        reason: String,
    },
    /// This member was removed. If the call sent a command, its outcome is not known.
    #[error(
        "this node was removed from the cluster: shut it down; to bring it back, let it join with an empty folder"
    )]
    Removed,
    /// The member is shut down. If the call sent a command, its outcome is not known.
    #[error("the member is shut down")]
    ShutDown,
    /// The service panicked in a query; its state is unchanged.
    #[error("the service panicked in the query: the standard error has the place")]
    Panicked,
    /// The requested number is greater than that of the newest event. The cluster was restored from an older
    /// copy, or the number is from another cluster.
    #[error(
        "there is no event {after} yet, the last one is {last}: read the state by a query, and continue after {last}"
    )]
    EventNotYet {
        /// The number in the request.
        after: u64,
        /// The newest event, over all streams.
        last: u64,
    },
    /// The replicas have dropped some of the stream's events that follow the requested number.
    #[error(
        "events up to {last} were dropped: read the state by a query, and continue after the event that it reflects, or after {last}"
    )]
    EventsDropped {
        /// The last dropped event of the stream.
        last: u64,
    },
}

/// Why a call that removes a node failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// The call failed; whether the node was removed is not known.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The node was not removed.
    #[error("node {node} cannot be removed now: {}", advice(*reason))]
    Refused {
        /// The node.
        node: NodeId,
        /// The reason.
        reason: ChangeError,
    },
}

/// Why a node is not removed, and what the caller can do.
fn advice(reason: ChangeError) -> &'static str {
    match reason {
        ChangeError::Unknown => "there is no such member",
        ChangeError::UnderWay => "another change is under way; try again when it is complete",
        ChangeError::TooFew => {
            "too few of the voters that would stay can be reached to form a majority: start them first"
        }
        ChangeError::Leads => "it leads: shut it down, so that another node leads, and then remove it",
        ChangeError::NotLeading => "no node leads just now; try again",
        ChangeError::Outdated => "it was removed and added again meanwhile; try again to remove the new one",
        ChangeError::Alone => "a node that is alone has no members",
        ChangeError::Known => "it is a member already",
        ChangeError::Votes => "it is a voter already",
        ChangeError::Lagging(_) => "it lacks entries of the log: wait until it has caught up",
        ChangeError::NoVote => "it is not a voter and cannot lead",
        ChangeError::Full => "the cluster has as many members as it may have",
        ChangeError::Address => "its address is not valid, or is another member's",
        ChangeError::NotMet => "it has not connected yet: is it started?",
    }
}
