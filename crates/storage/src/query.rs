//! What can be asked of the history on disk.

use bezant_types::{AccountFilter, Movement, MovementFilter, MovementNumber, QueryFilter, TransferId};

/// A question about transfers. Answers are rows and their numbers; expiries show in `Movements` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryQuery {
    /// Transfers by id, in the order of the ids; unknown ones are left out.
    Transfers(Vec<TransferId>),
    /// Transfers of one account, oldest first unless reversed. Nothing when the filter is not valid.
    AccountTransfers(AccountFilter),
    /// Transfers by what they carry, oldest first unless reversed. Nothing when the filter is not valid.
    QueryTransfers(QueryFilter),
    /// All movements in commit order. Nothing when the filter is not valid.
    Movements(MovementFilter),
}

/// Rows of the history with their places in it.
pub type HistoryAnswer = Vec<(MovementNumber, Movement)>;
