//! The work that the tasks of one group send to each other.

use std::sync::mpsc;

use bezant_consensus::{Terms, Write};
use bezant_replica::{Installable, Pull};
use bezant_rsm::Prefetch;
use bezant_storage::{Finished, HistoryError};
use bezant_types::{FetchKey, HistoryPosition, HistoryRows, LogIndex, Nanos, NodeId, Term};
use bytes::Bytes;

use crate::process::mailbox::Sender;

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
    PlanReset(LogIndex, Term, mpsc::Sender<()>),
    /// The checkpoint will not become durable after all: the log continues as it was.
    CancelReset,
    /// The checkpoint is durable: the log begins again after it. Answered when that is on disk.
    Reset(LogIndex, Term, mpsc::Sender<()>),
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
    Flush(mpsc::Sender<HistoryPosition>),
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
}

/// A pull request of another replica.
#[derive(Debug)]
pub(crate) struct Supply {
    pub(crate) to: NodeId,
    pub(crate) pull: Pull,
}
