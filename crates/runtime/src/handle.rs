//! The door to a running node: what server, tests and embedding programs call.
//!
//! A handle is cheap to clone and usable from any task. Writes go through the log and are answered when
//! they are durable and applied; reads see everything that was acknowledged before they began.

use std::time::{Duration, Instant};

use bezant_ledger::{LedgerAnswer, LedgerQuery};
use bezant_rsm::Command;
use bezant_storage::{HistoryAnswer, HistoryQuery};
use bezant_types::{LogIndex, MovementNumber, Nanos};
use bytes::Bytes;
use thiserror::Error;

/// What became of a command: it is durable and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The log entry that carried it.
    pub index: LogIndex,
    /// Timestamp of the command's last event.
    pub time: Nanos,
    /// 16 bytes an event, in order.
    pub results: Bytes,
}

/// Why a command has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExecuteError {
    /// Too much waits already. Nothing was done.
    #[error("the server is overloaded: retry after {} ms", retry_after.as_millis())]
    Overloaded {
        /// When it is worth another try.
        retry_after: Duration,
    },
    /// The disk failed: the node answers reads only. Whether the command was done is not known to it:
    /// after a repair, retry with the same ids.
    #[error("the node takes no writes: {reason}")]
    ReadOnly {
        /// What happened, and what helps.
        reason: String,
    },
    /// The deadline passed. The command may still be applied: retry with the same ids.
    #[error("the deadline passed before the outcome was known: retry with the same ids")]
    DeadlineExceeded,
    /// The node is being stopped. The command may have been applied: retry with the same ids.
    #[error("the node is stopping: retry with the same ids")]
    Stopping,
}

/// Why a read has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Too many reads wait already.
    #[error("the server is overloaded: retry after {} ms", retry_after.as_millis())]
    Overloaded {
        /// When it is worth another try.
        retry_after: Duration,
    },
    /// The disk holds something else than what was written; it is never served.
    #[error("the history cannot be read: {reason}")]
    Damaged {
        /// Which file, where.
        reason: String,
    },
    /// The deadline passed.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// The node is being stopped.
    #[error("the node is stopping")]
    Stopping,
}

/// Whether the node takes writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Reads and writes.
    Serving,
    /// Reads only: a write or sync failed, or the disk is full.
    ReadOnly {
        /// What happened, and what helps.
        reason: String,
    },
    /// Neither: the node is being stopped.
    Stopping,
}

/// A running node.
#[derive(Clone, Debug)]
pub struct Handle {}

#[expect(clippy::unused_async, unused_variables, reason = "being built")]
impl Handle {
    /// Puts a command in the log; answers when it is durable and applied.
    pub async fn execute(
        &self,
        command: Command,
        deadline: Option<Instant>,
    ) -> Result<Committed, ExecuteError> {
        unimplemented!()
    }

    /// Asks about accounts, assets and books.
    pub async fn query_ledger(
        &self,
        query: LedgerQuery,
        deadline: Option<Instant>,
    ) -> Result<LedgerAnswer, ReadError> {
        unimplemented!()
    }

    /// Asks about transfers.
    pub async fn query_history(
        &self,
        query: HistoryQuery,
        deadline: Option<Instant>,
    ) -> Result<HistoryAnswer, ReadError> {
        unimplemented!()
    }

    /// Whether the node takes writes, now.
    pub fn health(&self) -> Health {
        unimplemented!()
    }

    /// Tells how many movements can be read, whenever that grows: for change events.
    pub fn watch_movements(&self) -> tokio::sync::watch::Receiver<MovementNumber> {
        unimplemented!()
    }

    /// Registers the node's metrics (log, fsync, entries, queue, checkpoint, history) under their names.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        unimplemented!()
    }
}
