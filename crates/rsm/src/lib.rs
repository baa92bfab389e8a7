//! The interface of a replicated state machine: commands go in, results and rows come out.
//!
//! The state of a machine is in memory and changes only by entries of the log: every replica applies the same
//! entries in the same order and has the same state, byte for byte. Rows that only queries need leave through
//! [`Applied::rows`] to a history on disk. The few old rows that a command needs are fetched before the
//! command is applied, and are passed as `found`, so that applying never waits for the disk.
//!
//! What always holds: applying uses no clock, no randomness and no iteration order of a hash map; the time is
//! in the [`Entry`]. A machine never depends on how its replicas reach consensus, or on where its bytes are
//! stored.
#![no_std]
#![deny(clippy::float_arithmetic)]

extern crate alloc;

#[cfg(feature = "macro")]
mod declaration;
mod entry;
#[cfg(feature = "macro")]
#[doc(hidden)]
pub mod export;
mod machine;
#[cfg(feature = "macro")]
mod saved;
mod service;
mod sessions;
#[cfg(feature = "macro")]
mod shape;
#[cfg(feature = "macro")]
mod subscription;

pub use entry::{Command, Entry, EntryError};
pub use machine::{Applied, Prefetch, Progress, RestoreError, StateMachine};
#[cfg(feature = "macro")]
pub use saved::SavedState;
pub use service::{Call, Caller, Event, Freshness, Service, UnknownCall, UnreadableAnswer, UnwritableCall};
pub use sessions::{Admission, Context, Session, SessionRequest, Sessions};
#[cfg(feature = "macro")]
pub use subscription::Subscription;
