//! What an event of an operation asks for, where it is more than the record of an account or transfer.
//!
//! The bytes of these events are in the crate `codec`.

use crate::{Account, AccountId, Bounds, Head, Transfer, limits};

/// An account to create, with the fields that the record of 128 bytes does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedAccount {
    /// The record.
    pub account: Account,
    /// Minimum and maximum balance.
    pub bounds: Bounds,
    /// Padded with zeros; all zero = no name.
    pub name: [u8; limits::NAME_SIZE_MAX],
}

/// A transfer to create, with the field that the record of 128 bytes does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedTransfer {
    /// The record.
    pub transfer: Transfer,
    /// The expected head of the debit account's spends; [`Head::NONE`] = any.
    pub prev_hash: Head,
}

/// A change of both bounds of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetBounds {
    /// The account that is changed.
    pub account_id: AccountId,
    /// The new bounds.
    pub bounds: Bounds,
}

/// A change of one or both bounds of an account; `None` leaves a bound as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeBounds {
    /// The account that is changed.
    pub account_id: AccountId,
    /// The new minimum; `i128::MIN` = no limit, `None` = unchanged.
    pub minimum: Option<i128>,
    /// The new maximum; `i128::MAX` = no limit, `None` = unchanged.
    pub maximum: Option<i128>,
}

/// Whether imported pending transfers expire. While expiry is paused, they may have a timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetExpiry {
    /// Expiry runs.
    Runs,
    /// Expiry is paused until the next [`Runs`](Self::Runs) or the next transfer event that is not imported.
    Paused {
        /// The expected number of movements in the ledger; with another number the pause is refused.
        movements: u64,
    },
}

/// A name for an account that has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetName {
    /// The account that is named.
    pub account_id: AccountId,
    /// Padded with zeros.
    pub name: [u8; limits::NAME_SIZE_MAX],
}
