//! Recovery: how a replica's state comes back from its disk after a restart ([`recover`]), and how a replica
//! that lags too far gets the state of another ([`Supplier`], [`verify`]).
//!
//! The runtime and the simulator share this crate, so that the simulator tests what runs in production. It
//! reads and writes through `storage`, and has no threads, clocks or connections.
//!
//! Always holds: the newest checkpoint is read first, then the history is opened at its position, then the
//! log after it is read. Damage in any of them is an error with file and place; in a group of several
//! replicas it is a [`Repair`] with file and place. Nothing is cut without a report.
#![deny(clippy::float_arithmetic)]

mod machine;
mod recover;
mod repair;
mod supply;

pub use machine::Machine;
pub use recover::{Mode, RecoverError, Recovered, fetch, recover};
pub use repair::Repair;
pub use supply::{Supplier, SupplyError, verify};
