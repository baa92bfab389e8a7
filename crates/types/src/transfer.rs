//! Transfers. A transfer is an immutable movement of money between two accounts of one ledger.

use crate::account::flags;
use crate::{AccountId, LedgerNumber, Nanos, TransferId};

/// The record of a transfer, which debits one account and credits another. 128 bytes on the wire, in this
/// order of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Transfer {
    /// Chosen by the client; an id exists at most once. Not 0, not `u128::MAX`.
    pub id: TransferId,
    /// The account that is debited. A post or void may give 0 for the account of the pending transfer.
    pub debit_account_id: AccountId,
    /// The account that is credited. A post or void may give 0 for the account of the pending transfer.
    pub credit_account_id: AccountId,
    /// Minor units; 0 is allowed. In a post, `u128::MAX` means the whole pending amount; in a void, 0 does.
    pub amount: u128,
    /// The pending transfer that this one posts or voids; 0 otherwise.
    pub pending_id: TransferId,
    /// A key that the client may query by; 0 = none.
    pub user_data_128: u128,
    /// A key that the client may query by; 0 = none.
    pub user_data_64: u64,
    /// A key that the client may query by; 0 = none.
    pub user_data_32: u32,
    /// Seconds until a pending transfer expires; 0 = never.
    pub timeout_seconds: u32,
    /// Ledger of both accounts; not 0. A post or void may give 0 for the ledger of the pending transfer.
    pub ledger: LedgerNumber,
    /// A category that the client defines; not 0. A post or void may give 0 for the code of the pending
    /// transfer.
    pub code: u16,
    /// Kind of the transfer.
    pub flags: TransferFlags,
    /// Cluster time at which the transfer was created; 0 in a request unless `imported`.
    pub timestamp: Nanos,
}

impl Transfer {
    /// Time at which a pending transfer expires; `None` without a timeout, or when it is after
    /// [`Nanos::MAX`].
    pub fn expires_at(&self) -> Option<Nanos> {
        if self.timeout_seconds == 0 {
            return None;
        }
        self.timestamp.checked_add(u64::from(self.timeout_seconds) * Nanos::PER_SECOND)
    }
}

flags! {
    /// Kind of a transfer and its options, one bit each.
    TransferFlags {
        /// Chained with the next event of the request: all succeed or all fail.
        LINKED = 0 "linked",
        /// Reserves the amount.
        PENDING = 1 "pending",
        /// Moves the amount, or a part of it, that a pending transfer reserved.
        POST_PENDING = 2 "post_pending_transfer",
        /// Releases the amount that a pending transfer reserved.
        VOID_PENDING = 3 "void_pending_transfer",
        /// Reduces the amount to the amount that the debit account can spend.
        BALANCING_DEBIT = 4 "balancing_debit",
        /// Reduces the amount to the amount that the credit account can receive.
        BALANCING_CREDIT = 5 "balancing_credit",
        /// Closes the debit account (only on a pending transfer).
        CLOSING_DEBIT = 6 "closing_debit",
        /// Closes the credit account (only on a pending transfer).
        CLOSING_CREDIT = 7 "closing_credit",
        /// Keeps the client's timestamp.
        IMPORTED = 8 "imported",
    }
}
