//! The seam between a node and the engine that makes its replicas agree: input in, output out.
//!
//! An engine is a value without clock, disk or network. It is told what happened ([`Input`]) and says what
//! must be done ([`Output`]). The log's payloads are opaque bytes to it. Two promises bind every engine:
//! an entry comes out as [`Output::Commit`] only once a majority has it on disk, and what it sends to
//! peers, it sends after the entries that the message speaks of were handed to the disk and confirmed by
//! [`Input::Persisted`].
#![no_std]
#![deny(clippy::float_arithmetic)]

extern crate alloc;

mod solo;

use bezant_types::{LogIndex, NodeId, Term};
use bytes::Bytes;

pub use solo::Solo;

/// An entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place.
    pub index: LogIndex,
    /// The reign in which it was proposed.
    pub term: Term,
    /// Opaque to engine and log.
    pub payload: Bytes,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The node wants this to become an entry.
    Propose(Bytes),
    /// Everything up to this index, handed out by [`Output::Append`], is on this node's disk, fsync'd.
    Persisted(LogIndex),
    /// A peer's message.
    Message {
        /// Who sent it.
        from: NodeId,
        /// The engine's own format.
        bytes: Bytes,
    },
    /// Time went on.
    Tick,
}

/// What must be done, in the order in which it comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Put this entry at the end of the log; answer with [`Input::Persisted`] when it is durable.
    Append(LogEntry),
    /// This entry is agreed: it will never change.
    Commit(LogEntry),
    /// Send this to a peer.
    Send {
        /// To whom.
        to: NodeId,
        /// The engine's own format.
        bytes: Bytes,
    },
}

/// How a group agrees.
pub trait Engine {
    /// Takes what happened.
    fn handle(&mut self, input: Input);

    /// What must be done; call until `None` after every [`handle`](Self::handle).
    fn poll(&mut self) -> Option<Output>;

    /// True while this replica may propose.
    fn is_leader(&self) -> bool;

    /// The last index handed out by [`Output::Append`].
    fn last_index(&self) -> LogIndex;
}
