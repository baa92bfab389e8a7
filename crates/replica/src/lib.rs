//! One node as a value: engine and state machine, driven by events.
//!
//! [`Replica::handle`] takes what happened, [`Replica::poll`] gives what must be done, nothing else: no clock, no
//! thread, no socket, no file. The real runtime and the simulator run the same node, so that a failure found
//! by one is replayed by the other.
//!
//! The way of a command: it waits (`queue`), is merged with others into an entry that is stamped with
//! cluster time and proposed (`node`), or sent to the node that leads (`forward`). The entry is written by
//! [`Output::Persist`] on every replica, fetched for at the same time ([`Output::Fetch`]), committed by the
//! engine once a majority has it on disk, applied in order (`pipeline`), its rows handed to the history
//! ([`Output::Rows`]) and only then answered ([`Output::Answer`]) by the node that its client asked.
//!
//! Reads wait for a majority's word (`reads`). A replica that is too far behind fetches a checkpoint
//! (`install`). A change of who takes part is asked for like a command and becomes an entry of the engine's own
//! (`change`). Checkpoints are cut at the same entries on all replicas, and compared (`digests`).
//!
//! Always holds: an answer comes out after its entry is durable and applied, and after its rows; entries are
//! applied in order of the log without gaps; cluster time only grows; a replica whose disk failed or hangs is
//! not heard of by the others.
#![no_std]
#![deny(clippy::float_arithmetic)]

extern crate alloc;

mod begin;
mod change;
mod checkpoint;
mod conflict;
mod describe;
mod digests;
mod event;
mod follow;
mod forward;
mod install;
mod message;
mod pipeline;
mod queue;
mod reads;
mod replay;
mod replica;
mod shown;
mod trouble;

pub use begin::{ReplicaOptions, Restored};
pub use change::change_command;
pub use event::{Consistency, Input, Installable, NoState, Now, Output, Refusal, Ticket};
pub use message::{Chunk, ChunkHead, ChunkPart, ForwardNumber, Outcome, PeerMessage, Pull};
pub use replay::{ReplayError, replay};
pub use replica::{Replica, TICK_NANOS};
