//! What happened, as far as it is visible outside a node: the checkers use nothing else.

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
    /// When the client first sent it, in ns.
    pub(crate) since: u64,
    /// When the client received the answer, in ns.
    pub(crate) at: u64,
    pub(crate) command: Command,
    /// The entry, time and results of the answer.
    pub(crate) index: LogIndex,
    pub(crate) time: Nanos,
    pub(crate) results: Bytes,
}

/// A read that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) since: u64,
    pub(crate) at: u64,
    pub(crate) consistency: Consistency,
    pub(crate) index: LogIndex,
    pub(crate) accounts: Vec<AccountView>,
}

/// A read of the history that was answered.
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
    /// The entries that any replica applied, by index.
    pub(crate) log: BTreeMap<LogIndex, LogEntry>,
    pub(crate) leaders: BTreeMap<Term, NodeId>,
}
