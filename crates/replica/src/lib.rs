//! A replica as a value: engine, state machine and log position of one group on one node, driven by events.
//!
//! [`Replica::handle`] takes inputs, and [`Replica::poll`] returns outputs. Nothing else goes in or out: no
//! clock, no thread, no socket, no file. The real runtime and the simulator run the same code, so that each can
//! replay a failure that the other found.
//!
//! A command takes this way. It waits (`queue`), is merged with others into an entry that is stamped with
//! cluster time and proposed (`replica`), or it is sent to the leader (`forward`). Every replica writes the
//! entry ([`Output::Persist`]) and at the same time fetches the rows that it needs ([`Output::Fetch`]). The
//! engine commits it when a majority has it on disk. It is applied in order (`pipeline`), its rows go to the
//! history ([`Output::Rows`]), and only then the node that the client asked answers it ([`Output::Answer`]).
//!
//! A linearizable read waits until a majority confirms the leader (`reads`). A replica that lags too far
//! fetches a checkpoint (`install`). A change of the membership is requested like a command and becomes an
//! entry of the engine (`change`). Checkpoints are cut at the same entries on all replicas, and their digests
//! are compared (`digests`).
//!
//! Always holds: an answer comes out after its entry is durable and applied, and after its rows; entries are
//! applied in the order of the log without gaps; cluster time only grows; a replica whose disk failed or
//! hangs sends no messages of its engine.
#![no_std]
#![deny(clippy::float_arithmetic)]

extern crate alloc;

mod begin;
mod change;
mod checkpoint;
mod checks;
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
