//! A replica of a state machine on its disk: how its state comes back after a restart ([`recover`]), and how one
//! that is far behind gets the state of another ([`Supplier`], [`verify`]).
//!
//! Runtime and simulator share this room, so that the simulator tries what runs in production. It reads and
//! writes through `storage`, and knows neither threads nor clocks nor peers.
//!
//! Always holds: the order newest checkpoint, history cut back to it, log behind it. Damage in any of them is
//! an error that names file and place, or, for one of several replicas, a [`Repair`] that does; nothing is cut in
//! silence.
#![deny(clippy::float_arithmetic)]

mod machine;
mod recover;
mod repair;
mod supply;

pub use machine::Machine;
pub use recover::{Mode, RecoverError, Recovered, fetch, recover};
pub use repair::Repair;
pub use supply::{Supplier, SupplyError, verify};
