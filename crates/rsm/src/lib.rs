//! What a replicated state machine is to the rest of Bezant: commands in, results and rows out.
//!
//! A machine lives in memory and is driven by the log: every replica applies the same entries in the same
//! order and holds the same state, byte for byte. Rows that only queries need leave through
//! [`Applied::rows`] to a history on disk; the few old rows that a command needs come back as *found*
//! before it is applied, so that applying never waits for the disk.
//!
//! Always holds: applying reads no clock, no randomness, no order of a hash map; time is in the [`Entry`].
//! Never: a machine does not know how its replicas agree, nor where its bytes lie.
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
