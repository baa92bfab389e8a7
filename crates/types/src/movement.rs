//! Movements: the rows of the history.

use crate::{AccountId, Balances, Head, Nanos, Transfer, TransferFlags};

/// Kind of event that changed the balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum MovementKind {
    /// A transfer that moved its amount at once.
    SinglePhase = 0,
    /// A transfer that reserved its amount.
    Pending = 1,
    /// A transfer that moved a reserved amount.
    Posted = 2,
    /// A transfer that released a reserved amount.
    Voided = 3,
    /// The timeout of a pending transfer passed and its amount was released. There is no separate transfer
    /// for it.
    Expired = 4,
}

impl MovementKind {
    /// The kind with that number; `None` for an unknown number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::SinglePhase,
            1 => Self::Pending,
            2 => Self::Posted,
            3 => Self::Voided,
            4 => Self::Expired,
            _ => return None,
        })
    }

    /// The kind of movement that a transfer with those flags makes.
    pub const fn of(flags: TransferFlags) -> Self {
        if flags.contains(TransferFlags::PENDING) {
            Self::Pending
        } else if flags.contains(TransferFlags::POST_PENDING) {
            Self::Posted
        } else if flags.contains(TransferFlags::VOID_PENDING) {
            Self::Voided
        } else {
            Self::SinglePhase
        }
    }

    /// The name in every API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SinglePhase => "single_phase",
            Self::Pending => "two_phase_pending",
            Self::Posted => "two_phase_posted",
            Self::Voided => "two_phase_voided",
            Self::Expired => "two_phase_expired",
        }
    }
}

/// One row of the history: a transfer that was applied, or a pending transfer that expired. It contains the
/// balances of both accounts after it, and the heads that its hash covers.
///
/// A movement is self-contained. Its hash is SHA-256 over the transfer's 128 bytes, `debit_head` and
/// `credit_head`. That hash is the `debit_head` of the debit account's next spend and the `credit_head` of
/// the credit account's next receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Movement {
    /// The final record. For an expiry: the pending transfer that expired.
    pub transfer: Transfer,
    /// The kind of event.
    pub kind: MovementKind,
    /// The transfer's timestamp, or the time of the expiry. Strictly increasing along the history.
    pub timestamp: Nanos,
    /// Balances of the debit account after this movement.
    pub debit: Balances,
    /// Balances of the credit account after this movement.
    pub credit: Balances,
    /// Head of the debit account's spends before this movement. [`Head::NONE`] for an expiry, which is in no
    /// chain.
    pub debit_head: Head,
    /// Head of the credit account's receipts before this movement. [`Head::NONE`] for an expiry.
    pub credit_head: Head,
}

impl Movement {
    /// The balances of `account` after this movement; `None` when the movement neither debits nor credits it.
    pub fn balances_of(&self, account: AccountId) -> Option<Balances> {
        if self.transfer.debit_account_id == account {
            Some(self.debit)
        } else if self.transfer.credit_account_id == account {
            Some(self.credit)
        } else {
            None
        }
    }
}

/// An account's balances just after one of its transfers. 128 bytes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AccountBalance {
    /// The four sums, in minor units.
    pub balances: Balances,
    /// The transfer's timestamp.
    pub timestamp: Nanos,
}
