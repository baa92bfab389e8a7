//! Transfers: one immutable movement of money between two accounts of one ledger.

use crate::account::flags;
use crate::{AccountId, LedgerNumber, Nanos, TransferId};

/// Debits one account and credits another. 128 bytes on the wire, in this order of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Transfer {
    /// Chosen by the client; an id exists at most once. Not 0, not `u128::MAX`.
    pub id: TransferId,
    /// Who pays. 0 on post and void: taken from the pending transfer.
    pub debit_account_id: AccountId,
    /// Who is paid. 0 on post and void: taken from the pending transfer.
    pub credit_account_id: AccountId,
    /// Minor units; 0 is allowed. `u128::MAX` on post: all that is pending.
    pub amount: u128,
    /// The pending transfer that this one posts or voids; 0 otherwise.
    pub pending_id: TransferId,
    /// The client's own key; 0 = none.
    pub user_data_128: u128,
    /// The client's own key; 0 = none.
    pub user_data_64: u64,
    /// The client's own key; 0 = none.
    pub user_data_32: u32,
    /// Seconds until a pending transfer expires; 0 = never.
    pub timeout_seconds: u32,
    /// Which asset; equal to that of both accounts. 0 on post and void: taken from the pending transfer.
    pub ledger: LedgerNumber,
    /// The client's category; not 0, but on post and void: taken from the pending transfer.
    pub code: u16,
    /// What kind of transfer this is.
    pub flags: TransferFlags,
    /// When the cluster accepted it; 0 in a request unless `imported`.
    pub timestamp: Nanos,
}

impl Transfer {
    /// When a pending transfer expires: `None` without timeout, or past the end of time.
    pub fn expires_at(&self) -> Option<Nanos> {
        if self.timeout_seconds == 0 {
            return None;
        }
        self.timestamp.checked_add(u64::from(self.timeout_seconds) * Nanos::PER_SECOND)
    }
}

flags! {
    /// Kind of a transfer, a bit each.
    TransferFlags {
        /// Chained with the next event of the request: all succeed or all fail.
        LINKED = 0 "linked",
        /// Reserves the amount.
        PENDING = 1 "pending",
        /// Moves what a pending transfer reserved.
        POST_PENDING = 2 "post_pending_transfer",
        /// Releases what a pending transfer reserved.
        VOID_PENDING = 3 "void_pending_transfer",
        /// Caps the amount by what the debit account can spend.
        BALANCING_DEBIT = 4 "balancing_debit",
        /// Caps the amount by what the credit account can take.
        BALANCING_CREDIT = 5 "balancing_credit",
        /// Closes the debit account (only on a pending transfer).
        CLOSING_DEBIT = 6 "closing_debit",
        /// Closes the credit account (only on a pending transfer).
        CLOSING_CREDIT = 7 "closing_credit",
        /// Keeps the client's timestamp.
        IMPORTED = 8 "imported",
    }
}
