//! The Rust client of the Bezant ledger.
//!
//! ```no_run
//! use bezant_client::{Client, NewAccount, NewTransfer, ids::IdGenerator};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), bezant_client::ClientError> {
//! let client = Client::connect("http://127.0.0.1:7070").await?;
//! let ids = IdGenerator::new();
//! let (alice, bob, euro) = (ids.account_id(), ids.account_id(), 978);
//! client.create_accounts(&[NewAccount::new(alice, euro, 1), NewAccount::new(bob, euro, 1)]).await?;
//! let payment = NewTransfer::new(ids.transfer_id(), alice, bob, 10_50, euro, 1);
//! let outcomes = client.create_transfers(&[payment]).await?;
//! println!("{}", outcomes[0].status);
//! # Ok(())
//! # }
//! ```
//!
//! [`Client`] calls one or more servers over gRPC. Writes are sent in batches on the fast path and are retried
//! with the same ids until their outcome is known or the deadline passes. This is always safe, because an id
//! exists at most once. The ledger's decision on an event is a typed status in the answer. An error
//! ([`ClientError`]) means that there is no answer, and says what the caller can do.
//!
//! What always holds: outcomes are in the order of the events, a chain of linked events always travels in one
//! request, and amounts are integers in minor units. The client never invents an id, never sends an event
//! again with another id, and never holds more than one connection to a server.
//!
//! Two programs that pay from the same balance can detect each other: a payment names the spend that must
//! precede it.
//!
//! ```no_run
//! # async fn example() -> Result<(), bezant_client::ClientError> {
//! use bezant_client::{Client, CreateTransferStatus, NewTransfer, ids::IdGenerator};
//!
//! let client = Client::connect("http://127.0.0.1:7070").await?;
//! let accounts = client.lookup_accounts_by_name(&["users:alice:main", "users:bob:main"]).await?;
//! if let [alice, bob] = accounts.as_slice() {
//!     let id = IdGenerator::new().transfer_id();
//!     let euro = 978;
//!     let payment = NewTransfer::new(id, alice.account.id, bob.account.id, 10_50, euro, 1)
//!         .prev_hash(alice.spends.head);
//!     match client.create_transfers(&[payment]).await?[0].status {
//!         CreateTransferStatus::Created => println!("paid"),
//!         CreateTransferStatus::PrevHashMismatch => println!("another payment came first"),
//!         refusal => println!("{refusal}: {}", refusal.meaning()),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
#![deny(clippy::float_arithmetic)]

mod batch;
mod client;
mod config;
mod convert;
mod create;
mod error;
mod event;
mod events;
pub mod ids;
pub mod pages;
mod position;
mod read;
mod retry;

pub use bezant_api::token::SessionToken;
pub use bezant_api::v1::{
    ClusterChange, ClusterGroup, ClusterMember, ClusterNode, GetClusterReply as ClusterReply,
};
pub use bezant_codec::Operation;
pub use bezant_types::{
    Account, AccountBalance, AccountChangeStatus, AccountFilter, AccountFilterFlags, AccountFlags, AccountId,
    AccountView, Asset, AssetCode, AssetStatus, Balances, Bounds, Chain, CreateAccountStatus,
    CreateTransferStatus, ExpiryStatus, GroupId, Head, Hold, HoldFilter, HoldPlace, HoldState, LedgerNumber,
    Movement, MovementFilter, MovementKind, MovementNumber, Nanos, QueryFilter, Transfer, TransferFlags,
    TransferId, TransferView,
};
pub use bezant_types::{Books, LedgerTotals};
pub use client::Client;
pub use config::{ClientBuilder, Reads};
pub use create::Submitted;
pub use error::ClientError;
pub use event::{AccountOutcome, NewAccount, NewTransfer, Outcome, TransferOutcome};
pub use events::{ChangeEvent, Events, EventsPage};
pub use position::Position;
pub use retry::RetryPolicy;
