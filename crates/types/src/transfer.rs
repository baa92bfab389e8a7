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

    /// The record of this post or void of `pending`: a field that is zero has the value of the pending transfer.
    #[must_use]
    pub fn resolving(&self, pending: &Self, amount: u128, timestamp: Nanos) -> Self {
        let or = |given: u128, inherited: u128| if given == 0 { inherited } else { given };
        Self {
            id: self.id,
            debit_account_id: pending.debit_account_id,
            credit_account_id: pending.credit_account_id,
            amount,
            pending_id: self.pending_id,
            user_data_128: or(self.user_data_128, pending.user_data_128),
            user_data_64: if self.user_data_64 == 0 { pending.user_data_64 } else { self.user_data_64 },
            user_data_32: if self.user_data_32 == 0 { pending.user_data_32 } else { self.user_data_32 },
            timeout_seconds: 0,
            ledger: pending.ledger,
            code: pending.code,
            flags: self.flags,
            timestamp,
        }
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
