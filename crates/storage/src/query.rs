//! Queries of the history on disk.

use bezant_types::{AccountFilter, Movement, MovementFilter, MovementNumber, QueryFilter, TransferId};

/// A query for transfers. Answers are rows and their numbers; only `Movements` includes expiries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryQuery {
    /// Transfers by id, in the order of the ids; unknown ids are left out.
    Transfers(Vec<TransferId>),
    /// Transfers of one account, oldest first unless reversed; none when the filter is invalid.
    AccountTransfers(AccountFilter),
    /// Transfers that match a filter, oldest first unless reversed; none when the filter is invalid.
    QueryTransfers(QueryFilter),
    /// All movements in commit order; none when the filter is invalid.
    Movements(MovementFilter),
}

/// Rows of the history and their numbers.
pub type HistoryAnswer = Vec<(MovementNumber, Movement)>;
