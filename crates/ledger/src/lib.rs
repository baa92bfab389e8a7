//! The rules of money: accounts and transfers as a deterministic state machine.
//!
//! [`Ledger`] applies log entries in order and answers each event with a status. It holds accounts, pending
//! transfers, names and assets in memory. Movements go to the history on disk. The few old rows that a check
//! needs are fetched from there and passed in as [`Fetched`](bezant_types::Fetched).
//!
//! Source: the contract of accounts and transfers in `docs/data-model.md`. The path of a transfer through
//! this crate: `batch` (chains, timestamps) → `create_transfers` (checks, movement) or `two_phase` (post,
//! void, expiry) → `bezant_codec::chain` (hash) → `window` (rows).
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
mod changes;
mod checkpoint;
mod command;
mod create_accounts;
mod create_transfers;
mod expiry;
mod found;
mod hash;
mod keyed;
mod machine;
mod pending;
mod query;
mod rules;
mod scope;
mod session;
mod snapshot;
mod two_phase;
mod window;

pub use accounts::AccountScan;
pub use command::{ToCommand, ToKeyedCommand};
pub use machine::Ledger;
pub use query::{HoldScan, LedgerAnswer, LedgerQuery};
pub use session::{SESSION_ANSWER_SIZE, SESSION_HEAD_SIZE, SessionAnswer, SessionHead, SessionOutcome};

// The records and bytes of the operations, which clients also know, for those who use the ledger.
pub use bezant_codec::{
    Creates, Event, KEYED_HEAD_SIZE, KeyedHead, Operation, TaggedAccount, TaggedTransfer,
};
pub use bezant_types::{
    Books, ChangeBounds, ExtendedAccount, ExtendedTransfer, LedgerTotals, SetBounds, SetExpiry, SetName,
    compare_accounts, compare_transfers, name_from_bytes, name_to_bytes,
};
