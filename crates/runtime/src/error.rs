//! Why a call of the handle has no outcome or no answer. Each text says what the caller can do.

use std::time::Duration;

use bezant_replica::NoState;
use thiserror::Error;

/// Why a command has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExecuteError {
    /// Too many commands or bytes wait already. Nothing was done.
    #[error("the server is overloaded: retry after {} ms", retry_after.as_millis())]
    Overloaded {
        /// The time after which to retry.
        retry_after: Duration,
    },
    /// The disk failed: the node answers reads only. It cannot tell whether the command was done: after a
    /// repair, retry with the same ids.
    #[error("the node takes no writes: {reason}")]
    ReadOnly {
        /// What happened, and what helps.
        reason: String,
    },
    /// The leader takes no writes for now, because its clock is wrong or its disk full; or it cannot take this
    /// command, which is too large, or was forwarded by another version. Nothing was done.
    #[error("the node takes no writes: {reason}")]
    NotTaken {
        /// What is wrong, and what helps.
        reason: String,
    },
    /// The deadline passed. The command may still be applied: retry with the same ids.
    #[error("the deadline passed before the outcome was known: retry with the same ids")]
    DeadlineExceeded,
    /// The node is being stopped. The command may have been applied: retry with the same ids.
    #[error("the node is stopping: retry with the same ids")]
    Stopping,
    /// No node leads: an election is under way, or a majority of the nodes cannot be reached. Nothing was
    /// done.
    #[error(
        "no node leads: an election is under way, or a majority of the cluster cannot be reached from here; try again, or \
         another node"
    )]
    NoLeader,
    /// No node leads yet: a new cluster elects no leader before all its nodes have met. Nothing was done. The
    /// text names the nodes that are missing.
    #[error("no node leads yet: {0}; start them all, then try again")]
    FirstStart(String),
    /// The leader changed while the command was on its way, or did not report the outcome in time. The
    /// command may have been applied: retry with the same ids.
    #[error(
        "the leader changed, or did not answer in time, before the outcome was known: retry with the same ids"
    )]
    Interrupted,
}

/// Why a read has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Too many reads wait already.
    #[error("the server is overloaded: retry after {} ms", retry_after.as_millis())]
    Overloaded {
        /// The time after which to retry.
        retry_after: Duration,
    },
    /// The disk holds other bytes than were written; such bytes are never served.
    #[error("the history cannot be read: {reason}")]
    Damaged {
        /// The file, and the offset in it.
        reason: String,
    },
    /// The deadline passed.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// The node is being stopped.
    #[error("the node is stopping")]
    Stopping,
    /// No leader confirms that this node is up to date: there is none, or a majority cannot be reached.
    #[error(
        "no node leads: an election is under way, or a majority of the cluster cannot be reached from here; try again, or \
         another node"
    )]
    NoLeader,
    /// As [`ExecuteError::FirstStart`].
    #[error("no node leads yet: {0}; start them all, then try again")]
    FirstStart(String),
    /// This node has no state to show yet, and the read may be answered by this node alone: another node may
    /// answer.
    #[error("this node shows nothing yet: {reason}; ask another node, or this one later")]
    NoState {
        /// What it waits for.
        reason: NoState,
    },
}
