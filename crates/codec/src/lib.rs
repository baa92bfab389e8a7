//! Canonical bytes of every record, and the checksums that protect them.
//!
//! All integers are little-endian. The records that clients send most ([`Account`], [`Transfer`], filters,
//! results) have the byte layout of TigerBeetle's binary protocol. So the client's bytes are written to the
//! log unparsed, and reading a field is a load at a fixed offset. Decoding is total: bytes of the wrong size
//! or with unknown values are an error, never a panic.
//! The hash [`chain`] of a history is defined on these bytes.
//!
//! [`Account`]: bezant_types::Account
//! [`Transfer`]: bezant_types::Transfer
#![deny(clippy::float_arithmetic)]

mod batches;
pub mod chain;
mod checksum;
mod field;
mod filter;
mod movement;
mod operation;
mod reader;
mod record;

pub use batches::{Batches, put_trailer, trailer_size};
pub use checksum::{Checksum, checksum, checksum_seeded};
pub use filter::{
    ACCOUNT_FILTER_SIZE, QUERY_FILTER_SIZE, account_filter_from_bytes, account_filter_to_bytes,
    query_filter_from_bytes, query_filter_to_bytes,
};
pub use movement::{MOVEMENT_SIZE, movement_from_bytes, movement_to_bytes};
pub use operation::{Creates, Event, KEYED_HEAD_SIZE, KeyedHead, Operation, TaggedAccount, TaggedTransfer};
pub use reader::{DecodeError, Reader};
pub use record::{
    ACCOUNT_BALANCE_SIZE, account_balance_from_bytes, account_balance_to_bytes, account_from_bytes,
    account_to_bytes, records, result_from_bytes, result_to_bytes, transfer_from_bytes, transfer_to_bytes,
};
