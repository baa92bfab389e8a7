//! One node as a value: engine and state machine, driven by events.
//!
//! [`Node::handle`] takes what happened, [`Node::poll`] gives what must be done, nothing else: no clock, no
//! thread, no socket, no file. The real runtime and the simulator run the same node, so that a failure found
//! by one is replayed by the other.
//!
//! The way of a command: it waits (`queue`), is merged with others into an entry that is stamped with
//! cluster time and proposed (`propose` in `node`), written by [`Output::Append`], fetched for at the same
//! time ([`Output::Fetch`]), committed by the engine once [`Input::Persisted`] has reached it, applied in
//! order, its rows handed to the history ([`Output::Rows`]) and only then answered ([`Output::Answer`]).
//!
//! Always holds: an answer comes out after its entry is durable and applied, and after its rows; entries are
//! applied in order of the log without gaps; cluster time only grows.
#![no_std]
#![deny(clippy::float_arithmetic)]

extern crate alloc;

mod checkpoint;
mod event;
mod node;
mod queue;
mod replay;

pub use event::{Input, Now, Output, Refusal, Ticket};
pub use node::{Node, NodeOptions};
pub use replay::{ReplayError, replay};
