//! What happened, as far as anybody outside a node can know it: the checkers look at nothing else.

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
    /// When the client wished it first.
    pub(crate) since: u64,
    /// When it was told.
    pub(crate) at: u64,
    pub(crate) command: Command,
    /// What it was told.
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
    /// All up to this entry shows; what came later may.
    pub(crate) index: LogIndex,
    /// What was asked for.
    pub(crate) ids: Vec<TransferId>,
    pub(crate) rows: HistoryAnswer,
}

/// The whole run.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) acknowledged: Vec<Acknowledged>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) shown: Vec<Shown>,
    /// What was applied anywhere, by index.
    pub(crate) log: BTreeMap<LogIndex, LogEntry>,
    pub(crate) leaders: BTreeMap<Term, NodeId>,
}
