//! The work that the tasks of one group send to each other.

use bezant_consensus::{Terms, Write};
use bezant_replica::{Installable, Pull};
use bezant_rsm::Prefetch;
use bezant_storage::{Finished, HistoryError};
use bezant_types::{FetchKey, HistoryPosition, HistoryRows, LogIndex, Nanos, NodeId, Term};
use bytes::Bytes;

use crate::process::mailbox::{Mailbox, Sender};

/// The senders of the replica's task to the other tasks.
#[derive(Debug)]
pub(crate) struct Workers {
    pub(crate) log: Sender<LogWork>,
    pub(crate) fetch: Sender<Fetch>,
    pub(crate) history: Sender<HistoryWork>,
    pub(crate) checkpoint: Sender<CheckpointWork>,
}

/// Work for the log's task.
#[derive(Debug)]
pub(crate) enum LogWork {
    Persist(Write),
    Release(LogIndex),
    /// A checkpoint of a peer will be made durable, after which the log is void. Answered when this plan is
    /// on disk.
    PlanReset(LogIndex, Term, Reply<()>),
    /// The checkpoint will not become durable after all: the log continues as it was.
    CancelReset,
    /// The checkpoint is durable: the log begins again after it. Answered when that is on disk.
    Reset(LogIndex, Term, Reply<()>),
}

/// The rows that an entry needs.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) index: LogIndex,
    pub(crate) term: Term,
    pub(crate) prefetch: Prefetch<FetchKey>,
}

/// Work for the history's task.
#[derive(Debug)]
pub(crate) enum HistoryWork {
    Rows(HistoryRows),
    /// Rows from a peer; they begin at the end of the history.
    Install {
        from: HistoryPosition,
        until: HistoryPosition,
        bytes: Bytes,
    },
    /// Make all earlier rows durable; the reply is the position then.
    Flush(Reply<HistoryPosition>),
    /// A checkpoint at that position is durable.
    Checkpointed(HistoryPosition),
    /// The disk is nearly full (true), or has space again.
    Pressure(bool),
    /// An index run was built, or failed.
    Built(Result<Finished, HistoryError>),
    /// The node has ended: no later work matters.
    Stop,
}

/// Work for the task of checkpoints.
#[derive(Debug)]
pub(crate) enum CheckpointWork {
    /// The terms of the log, to be written before the next checkpoint.
    Terms(Terms),
    Begin {
        index: LogIndex,
        term: Term,
    },
    Piece(Vec<u8>),
    End {
        index: LogIndex,
        time: Nanos,
        position: HistoryPosition,
    },
    /// Replace this replica's state by a peer's checkpoint.
    Install(Installable),
    /// The history's answer to a flush; `None` when it has failed or ended.
    HistoryDurable(Option<HistoryPosition>),
    /// The log has done what it was asked; `None` when it has failed or ended.
    LogDone(Option<()>),
}

/// An answer that the history or the log owes to the task of checkpoints. Dropped without an answer, it answers
/// `None`.
pub(crate) struct Reply<T> {
    to: Sender<CheckpointWork>,
    work: fn(Option<T>) -> CheckpointWork,
    is_sent: bool,
}

impl<T> Reply<T> {
    /// A reply to the task with this mailbox, and the work that it becomes there.
    pub(crate) fn new(to: &Mailbox<CheckpointWork>, work: fn(Option<T>) -> CheckpointWork) -> Self {
        Self { to: to.sender(), work, is_sent: false }
    }

    /// Answers, once.
    pub(crate) fn send(&mut self, answer: T) {
        assert!(!self.is_sent, "a reply is sent once");
        self.is_sent = true;
        drop(self.to.send((self.work)(Some(answer))));
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if !self.is_sent {
            drop(self.to.send((self.work)(None)));
        }
    }
}

impl<T> std::fmt::Debug for Reply<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reply").field("is_sent", &self.is_sent).finish_non_exhaustive()
    }
}

/// A pull request of another replica.
#[derive(Debug)]
pub(crate) struct Supply {
    pub(crate) to: NodeId,
    pub(crate) pull: Pull,
}
