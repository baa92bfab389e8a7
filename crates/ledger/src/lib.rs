//! The rules of money: accounts and transfers as a deterministic state machine.
//!
//! Source: the contract of accounts and transfers in `docs/data-model.md`.
#![no_std]
#![deny(clippy::float_arithmetic)]

extern crate alloc;

mod operation;
mod query;

pub use operation::{
    ASSET_SIZE, EXTENDED_ACCOUNT_SIZE, EXTENDED_TRANSFER_SIZE, Event, ExtendedAccount, ExtendedTransfer,
    Operation, SET_BOUNDS_SIZE, SET_NAME_SIZE, SetBounds, SetName, name_from_bytes, name_to_bytes,
};
pub use query::{Books, LedgerAnswer, LedgerQuery, LedgerTotals};
