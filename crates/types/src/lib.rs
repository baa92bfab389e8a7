//! The vocabulary of Bezant: ids, amounts, time, records, statuses and limits.
//!
//! Every other crate uses these types. So this crate depends on no other crate of the workspace, contains no
//! behaviour beyond the meaning of a single value, and never allocates without a bound. Amounts are `u128`
//! minor units (cents, not euros), never floats. The byte formats of these types are in the crate `codec`.
#![no_std]
#![deny(clippy::float_arithmetic)]

extern crate alloc;

mod account;
mod asset;
mod books;
mod compare;
mod event;
mod fetch;
mod filter;
mod hold;
mod id;
mod iso4217;
pub mod limits;
mod movement;
mod name;
mod status;
mod time;
mod total;
mod transfer;

pub use account::{Account, AccountFlags, AccountView, Balances, Bounds, Chain, ChainSide};
pub use asset::{Asset, AssetCode, AssetError, parse_amount};
pub use books::{Books, LedgerTotals};
pub use compare::{compare_account_records, compare_accounts, compare_transfers};
pub use event::{ChangeBounds, ExtendedAccount, ExtendedTransfer, SetBounds, SetExpiry, SetName};
pub use fetch::{
    FetchKey, Fetched, FetchedTransfer, HistoryPosition, HistoryRows, Refusal, Resolution, RowBatch,
};
pub use filter::{AccountFilter, AccountFilterFlags, HoldFilter, MovementFilter, QueryFilter};
pub use hold::{Hold, HoldPlace, HoldState, TransferView};
pub use id::{
    AccountId, ClientId, GroupId, Head, LedgerNumber, LogIndex, MovementNumber, NodeId, SessionNumber, Term,
    TransferId,
};
pub use iso4217::ISO_4217;
pub use movement::{AccountBalance, Movement, MovementKind};
pub use name::{name_from_bytes, name_to_bytes};
pub use status::{
    AccountChangeStatus, AssetStatus, CreateAccountStatus, CreateTransferStatus, EventResult, ExpiryStatus,
    UnknownStatus,
};
pub use time::Nanos;
pub use total::Total;
pub use transfer::{Transfer, TransferFlags};
