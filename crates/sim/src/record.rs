//! The record of a run: the answers to clients, and the entries that the replicas applied. The checkers of
//! order, time and answers use only this record; other checkers inspect the nodes.

use std::collections::BTreeMap;

use bezant_consensus::LogEntry;
use bezant_replica::Consistency;
use bezant_rsm::Command;
use bezant_storage::HistoryAnswer;
use bezant_types::{AccountView, LogIndex, Nanos, NodeId, Term, TransferId};
use bytes::Bytes;

/// A write that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    /// When the client first sent it, in ns since the beginning of the run.
    pub(crate) since: u64,
    /// When the client received the answer, in ns since the beginning of the run.
    pub(crate) at: u64,
    pub(crate) command: Command,
    /// The log entry of the command, as the answer names it.
    pub(crate) index: LogIndex,
    /// The cluster time of the command, as the answer names it.
    pub(crate) time: Nanos,
    pub(crate) results: Bytes,
}

/// A read of accounts that was answered. `since` and `at` are those of [`Acknowledged`].
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) since: u64,
    pub(crate) at: u64,
    pub(crate) consistency: Consistency,
    /// The last entry that the answer reflects.
    pub(crate) index: LogIndex,
    pub(crate) accounts: Vec<AccountView>,
}

/// A read of the history that was answered. `since` and `at` are those of [`Acknowledged`].
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) since: u64,
    pub(crate) at: u64,
    pub(crate) consistency: Consistency,
    /// The answer includes everything up to this entry, and may include later entries.
    pub(crate) index: LogIndex,
    /// The transfers that the client asked for.
    pub(crate) ids: Vec<TransferId>,
    pub(crate) rows: HistoryAnswer,
}

/// The record of a run.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) acknowledged: Vec<Acknowledged>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) shown: Vec<Shown>,
    /// For each index, the entry of the replica that applied it first.
    pub(crate) log: BTreeMap<LogIndex, LogEntry>,
    /// The leader of each term that had one.
    pub(crate) leaders: BTreeMap<Term, NodeId>,
}
