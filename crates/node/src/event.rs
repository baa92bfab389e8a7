//! What happens to a node, and what it wants done.

use alloc::string::String;
use alloc::vec::Vec;

use bezant_consensus::LogEntry;
use bezant_rsm::{Command, Prefetch, StateMachine};
use bezant_types::{HistoryPosition, LogIndex, Nanos, Term};
use bytes::Bytes;

/// Names a request that waits for its answer; chosen by the driver, never reused by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What the driver's clocks show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Wall clock; may jump either way.
    pub wall: Nanos,
}

/// What happened.
#[derive(Debug)]
pub enum Input<M: StateMachine> {
    /// A client wants this in the log.
    Request {
        /// For the answer.
        ticket: Ticket,
        /// What.
        command: Command,
    },
    /// A client asks memory.
    Query {
        /// For the answer.
        ticket: Ticket,
        /// What.
        query: M::Query,
    },
    /// A client wants to read the history, and to see all that was acknowledged before.
    Barrier {
        /// For the answer.
        ticket: Ticket,
    },
    /// The log is durable up to here.
    Persisted(LogIndex),
    /// The rows that an entry needs.
    Fetched {
        /// Which entry.
        index: LogIndex,
        /// What was found.
        found: M::Found,
    },
    /// A piece of the checkpoint was taken: another may follow.
    CheckpointPieceTaken,
    /// The checkpoint of that index is durable.
    CheckpointWritten(LogIndex),
    /// The checkpoint of that index could not be written for want of room, and left nothing behind. The log
    /// is kept, and another checkpoint is cut after as much log again.
    CheckpointAbandoned(LogIndex),
    /// The disk failed. From now on the node answers reads only, for good.
    Failed {
        /// What happened, and what helps.
        reason: String,
    },
    /// The disk is nearly full (a reason), or has room again (none).
    Pressure(Option<String>),
    /// Time went on.
    Tick,
}

/// Why a command was not taken or has no outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too much waits; nothing was done.
    Overloaded,
    /// The node takes no writes; the reason. Whether the command was done is not known.
    ReadOnly(String),
}

/// What must be done, in the order in which it comes out.
#[derive(Debug)]
pub enum Output<M: StateMachine> {
    /// Put this at the end of the log; answer with [`Input::Persisted`] when it is durable.
    Append(LogEntry),
    /// Read these rows of the history; answer with [`Input::Fetched`].
    Fetch {
        /// The entry that needs them.
        index: LogIndex,
        /// Which, and how fresh.
        prefetch: Prefetch<M::Key>,
    },
    /// Rows for the history, before anything that comes out later is done.
    Rows(M::Rows),
    /// The command is durable and applied.
    Answer {
        /// Whose.
        ticket: Ticket,
        /// The entry that carried it.
        index: LogIndex,
        /// Timestamp of its last event.
        time: Nanos,
        /// How many events the command had.
        events: u32,
        /// The machine's answer.
        results: Bytes,
    },
    /// The command was not taken or has no outcome.
    Refuse {
        /// Whose.
        ticket: Ticket,
        /// Why.
        refusal: Refusal,
    },
    /// What memory holds.
    QueryAnswer {
        /// Whose.
        ticket: Ticket,
        /// What.
        answer: M::Answer,
    },
    /// The history may be read once it has reached this position.
    BarrierPassed {
        /// Whose.
        ticket: Ticket,
        /// All that was acknowledged lies before it.
        position: HistoryPosition,
    },
    /// A checkpoint begins.
    CheckpointBegin {
        /// It holds everything up to this entry.
        index: LogIndex,
        /// Of that entry.
        term: Term,
    },
    /// The next bytes of the checkpoint; answer with [`Input::CheckpointPieceTaken`].
    CheckpointPiece(Vec<u8>),
    /// The checkpoint is whole. Make the history durable up to `position`, then the checkpoint, then answer
    /// with [`Input::CheckpointWritten`].
    CheckpointEnd {
        /// As in the beginning.
        index: LogIndex,
        /// Cluster time of that entry.
        time: Nanos,
        /// Rows of the history at that entry.
        position: HistoryPosition,
    },
    /// The log up to this entry is not needed any more.
    Release(LogIndex),
}
