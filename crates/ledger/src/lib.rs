//! The rules of money: accounts and transfers as a deterministic state machine.
//!
//! [`Ledger`] takes log entries in order and answers each event with a status. It holds accounts, pending
//! transfers, names and assets in memory; movements leave for the history on disk, and the few old rows
//! that a check needs come back as [`Fetched`](bezant_types::Fetched).
//!
//! Source: the contract of accounts and transfers in `docs/data-model.md`. The way of a transfer through
//! this room: `batch` (chains, places in time) → `create_transfers` (checks, movement) or `two_phase` (post,
//! void, expiry) → `chain` (hash) → `window` (rows).
//!
//! Always holds: debits equal credits, posted and pending, in every ledger after every event; timestamps
//! grow strictly; an id has one outcome. Never: a clock, randomness, a float, the order of a hash map.
#![no_std]
#![deny(clippy::float_arithmetic)]

extern crate alloc;

mod accounts;
mod assets;
mod batch;
pub mod chain;
mod checkpoint;
mod create_accounts;
mod create_transfers;
mod expiry;
mod found;
mod hash;
mod keyed;
mod machine;
mod operation;
mod pending;
mod query;
mod rules;
mod scope;
mod session;
mod snapshot;
mod two_phase;
mod window;

pub use accounts::AccountScan;
pub use create_accounts::compare_accounts;
pub use keyed::{KEYED_HEAD_SIZE, KeyedHead};
pub use machine::Ledger;
pub use operation::{
    ASSET_SIZE, CHANGE_BOUNDS_SIZE, ChangeBounds, EXTENDED_ACCOUNT_SIZE, EXTENDED_TRANSFER_SIZE, Event,
    ExtendedAccount, ExtendedTransfer, Operation, SET_BOUNDS_SIZE, SET_EXPIRY_SIZE, SET_NAME_SIZE, SetBounds,
    SetExpiry, SetName, name_from_bytes, name_to_bytes,
};
pub use query::{Books, HoldScan, LedgerAnswer, LedgerQuery, LedgerTotals};
pub use session::{SESSION_ANSWER_SIZE, SESSION_HEAD_SIZE, SessionAnswer, SessionHead, SessionOutcome};
pub use two_phase::compare_transfers;
