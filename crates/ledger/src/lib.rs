//! The rules of money: accounts and transfers as a deterministic state machine.
//!
//! [`Ledger`] applies log entries in order and answers each event with a status. It holds accounts, pending
//! transfers, names and assets in memory. Movements go to the history on disk. The few old rows that a check
//! needs are fetched from there and passed in as [`Fetched`](bezant_types::Fetched).
//!
//! Source: the contract of accounts and transfers in `docs/data-model.md`. The path of a transfer through
//! this crate: `batch` (chains, timestamps) → `create_transfers` (checks, movement) or `two_phase` (post,
//! void, expiry) → `chain` (hash) → `window` (rows).
//!
//! What always holds: debits equal credits, posted and pending, in every ledger after every event; timestamps
//! grow strictly; an id has one outcome. The crate never uses a clock, randomness, a float or the order of a
//! hash map.
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
