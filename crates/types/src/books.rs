//! Sums over the accounts: of the whole ledger, and of one ledger number.

use alloc::vec::Vec;

use crate::{HistoryPosition, LedgerNumber, Nanos, Total};

/// A summary of the whole ledger.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Books {
    /// Cluster time of the last entry that was applied.
    pub time: Nanos,
    /// Number of rows in the history.
    pub history: HistoryPosition,
    /// Number of accounts.
    pub accounts: u64,
    /// Number of pending transfers without post, void or expiry.
    pub pending: u64,
    /// True while an import is in progress: no imported pending transfer expires.
    pub expiry_is_paused: bool,
    /// One row per ledger, in order of the ledgers.
    pub ledgers: Vec<LedgerTotals>,
}

/// Sums over the accounts of one ledger. Debits always equal credits, posted and pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LedgerTotals {
    /// The ledger of these accounts.
    pub ledger: LedgerNumber,
    /// Number of accounts.
    pub accounts: u64,
    /// Reserved debits.
    pub debits_pending: Total,
    /// Posted debits.
    pub debits_posted: Total,
    /// Reserved credits.
    pub credits_pending: Total,
    /// Posted credits.
    pub credits_posted: Total,
}

impl LedgerTotals {
    /// True when debits equal credits.
    pub fn is_balanced(&self) -> bool {
        self.debits_pending == self.credits_pending && self.debits_posted == self.credits_posted
    }
}
