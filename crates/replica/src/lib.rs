//! A replica as a value that is driven by events: the engine, the state machine and the log position of one
//! group on one node.
//!
//! [`Replica::handle`] takes inputs, and [`Replica::poll`] returns outputs. Nothing else goes in or out: no
//! clock, no thread, no socket, no file. The runtime and the simulator run the same code.
//!
//! The path of a command:
//! 1. It waits in the `queue` of the node that received it. A follower sends it to the leader (`forward`).
//! 2. The leader merges waiting commands into an entry, stamps it with cluster time and proposes it
//!    (`replica`).
//! 3. Every replica writes the entry ([`Output::Persist`]), and at the same time fetches the rows that the
//!    entry needs ([`Output::Fetch`]).
//! 4. When a majority has the entry on disk, the engine commits it. Each replica applies committed entries in
//!    order (`apply`), and their rows go to the history ([`Output::Rows`]).
//! 5. Only then the node that received the command answers it ([`Output::Answer`]).
//!
//! A linearizable read waits until a majority confirms the leader (`reads`). A replica that lags too far
//! fetches a checkpoint (`install`). A change of the membership is requested like a command and becomes an
//! entry of the engine (`change`). Checkpoints are cut at the same entries on all replicas (`checkpointing`),
//! and their digests are compared (`compare`). A group with nothing to do rests (`rest`).
//!
//! What always holds:
//! - An answer is output after its entry is durable and applied, and after the entry's rows.
//! - Entries are applied in the order of the log, without gaps.
//! - Cluster time only grows.
//! - A replica whose disk failed or hangs sends no messages of its engine.
#![no_std]
#![deny(clippy::float_arithmetic)]

extern crate alloc;

mod apply;
mod begin;
mod change;
mod checkpoint;
mod checkpointing;
mod checks;
mod compare;
mod conflict;
mod describe;
mod digests;
mod event;
mod forward;
mod forwards;
mod install;
mod install_driver;
mod liveness;
mod message;
mod origin;
mod pipeline;
mod queue;
mod reads;
mod replay;
mod replica;
mod rest;
mod rest_driver;
mod shown;
mod trouble;

pub use begin::{ReplicaOptions, Restored};
pub use change::change_command;
pub use event::{Consistency, Input, Installable, NoState, Now, Output, Refusal, Ticket};
pub use liveness::{HEARTBEAT_MILLIS, Liveness, Millis, UNRESPONSIVE_MILLIS};
pub use message::{Chunk, ChunkHead, ChunkPart, ForwardNumber, Outcome, PeerMessage, Pull};
pub use replay::{ReplayError, replay};
pub use replica::{Replica, TICK_NANOS};
