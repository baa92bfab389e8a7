//! What happens to a node, and what it wants done.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bezant_consensus::{Conflict, Members, Terms, Write, WriteNumber};
use bezant_rsm::{Command, Prefetch, StateMachine};
use bezant_types::{HistoryPosition, LogIndex, Nanos, NodeId, Term};
use bytes::Bytes;

use crate::message::{PeerMessage, Pull};

/// Names a request that waits for its answer; chosen by the driver, never reused by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What the driver's clocks show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Wall clock; may jump either way.
    pub wall: Nanos,
}

/// What a read must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Everything that was acknowledged, by any node, before the read was asked for.
    Linearizable,
    /// Everything up to this entry: what the client has seen before.
    AtLeast(LogIndex),
    /// Whatever this replica has.
    Stale,
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
        /// How fresh.
        consistency: Consistency,
    },
    /// A client wants to read the history.
    Barrier {
        /// For the answer.
        ticket: Ticket,
        /// How fresh.
        consistency: Consistency,
    },
    /// A peer's message.
    Message {
        /// Who sent it.
        from: NodeId,
        /// What.
        message: PeerMessage,
    },
    /// The connection to this peer ended.
    Lost(NodeId),
    /// Every write up to this one is durable.
    Persisted(WriteNumber),
    /// The votes of every write up to this one are durable; their entries may not be.
    VoteKept(WriteNumber),
    /// What is to be written found no room again: the disk is full, and does not hang.
    RoomAwaited,
    /// The rows that an entry needs.
    Fetched {
        /// Which entry.
        index: LogIndex,
        /// Its term, as it was asked for.
        term: Term,
        /// What was found.
        found: M::Found,
    },
    /// A piece of the checkpoint was taken: another may follow.
    CheckpointPieceTaken,
    /// The checkpoint of that index is durable.
    CheckpointWritten {
        /// The last entry in it.
        index: LogIndex,
        /// SHA-256 of the state: equal on all replicas.
        digest: [u8; 32],
    },
    /// The checkpoint of that index could not be written for want of room, and left nothing behind. The log
    /// is kept, and another checkpoint is cut after as much log again.
    CheckpointAbandoned(LogIndex),
    /// The rows of [`Output::InstallRows`] are in the history.
    RowsInstalled,
    /// What [`Output::InstallCheckpoint`] asked for is done.
    Installed,
    /// What was fetched from a peer cannot be used; it is fetched anew.
    InstallFailed,
    /// The disk failed. From now on the node answers reads only, for good, and a replica among others takes no
    /// part in anything.
    Failed {
        /// What happened, and what helps.
        reason: String,
    },
    /// This replica had stopped before it began, and the disk says why: see [`Output::Stopped`].
    Stopped(Conflict),
    /// The disk is nearly full (a reason), or has room again (none).
    Pressure(Option<String>),
    /// This node's clock must stamp no entries (a reason), or may do so (none). While it leads it refuses clients, and offers
    /// the lead to no one by itself: see [`Input::TransferLeadershipTo`].
    Hold(Option<String>),
    /// It is on disk that this replica may vote.
    Admit,
    /// The node will be stopped: another one should lead.
    TransferLeadership,
    /// That one should lead. Nothing comes of it while this node does not lead, or that one lags; ask again then.
    TransferLeadershipTo(NodeId),
    /// Time went on by [`TICK_NANOS`](crate::TICK_NANOS).
    Tick,
}

/// Why a replica shows its state to nobody yet: it would deny what clients were told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoState {
    /// Its disk is empty, and it has heard of no leader: the cluster may be new, or have what it lacks.
    Meeting,
    /// Its disk is new, or was damaged: others have what it lacks.
    Filling,
    /// It has not applied yet what its own disk says to be committed.
    Replaying,
}

impl fmt::Display for NoState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Meeting => "it is new, and waits to meet the other nodes",
            Self::Filling => {
                "its disk is new or was damaged, and it does not have yet what the other nodes have"
            }
            Self::Replaying => "it has just started, and still applies what its log holds",
        })
    }
}

/// Why a command was not taken or has no outcome, or a read no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too much waits; nothing was done.
    Overloaded,
    /// The node takes no writes; the reason. Whether the command was done is not known.
    ReadOnly(String),
    /// The leader takes no writes for now; the reason. Nothing was done.
    NotTaken(String),
    /// No replica leads: a majority of them cannot be reached. Nothing was done.
    NoLeader,
    /// The leader changed while the command was on its way, or its outcome did not come in time. Whether it was done is
    /// not known here: try again with the same ids.
    Interrupted,
    /// The replica has no state to show yet, and the read does not ask for more than this replica has. Another one may
    /// answer it.
    NoState(NoState),
}

/// A checkpoint of a peer, complete and readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installable {
    /// The last entry that it holds.
    pub index: LogIndex,
    /// That entry's term.
    pub term: Term,
    /// Cluster time of that entry.
    pub time: Nanos,
    /// How much of the history belongs to it; all of that is there.
    pub position: HistoryPosition,
    /// What SHA-256 of the bytes must be.
    pub digest: [u8; 32],
    /// The state.
    pub bytes: Bytes,
}

/// What must be done, in the order in which it comes out.
#[derive(Debug)]
pub enum Output<M: StateMachine> {
    /// Put this on the disk; answer with [`Input::Persisted`] when it is durable.
    Persist(Write),
    /// Send this to a peer.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: PeerMessage,
    },
    /// These take part from now on: on disk before anything that comes out later is done.
    Members(Members),
    /// Read these rows of the history; answer with [`Input::Fetched`].
    Fetch {
        /// The entry that needs them.
        index: LogIndex,
        /// Its term, to be named in the answer.
        term: Term,
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
    /// The command was not taken or has no outcome, or the read has no answer.
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
        /// The last entry that shows in it.
        index: LogIndex,
        /// What.
        answer: M::Answer,
    },
    /// The history may be read once it has reached this position.
    BarrierPassed {
        /// Whose.
        ticket: Ticket,
        /// The last entry that shows in it.
        index: LogIndex,
        /// All that the read must see lies before it.
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
    /// A peer that is far behind asks for a part of this node's newest checkpoint, or for rows of its history.
    /// Read it, and send it as [`PeerMessage::Chunk`]; when that cannot be done, say nothing.
    Serve {
        /// Who asks.
        to: NodeId,
        /// For what.
        pull: Pull,
    },
    /// Put these rows, from a peer, at the end of the history; answer with [`Input::RowsInstalled`], or with
    /// [`Input::InstallFailed`] when they are none.
    InstallRows {
        /// Where they begin: the end of the history as it is.
        from: HistoryPosition,
        /// Where they end.
        until: HistoryPosition,
        /// In the history's own format.
        bytes: Bytes,
    },
    /// Make this the newest checkpoint, and let the log begin anew behind it, in an order that survives a
    /// crash at any point; answer with [`Input::Installed`].
    InstallCheckpoint(Installable),
    /// This replica may not vote yet, and has caught up: note on disk that it may, and answer with
    /// [`Input::Admit`].
    CaughtUp,
    /// The terms of the committed log, up to here: on disk before a checkpoint that begins or is installed later.
    Terms(Terms),
    /// Others go on without entries that this replica knows to be committed. It takes part in nothing from now on, answers
    /// stale reads alone, and changes nothing of what it has: note on disk that it comes back so.
    Stopped(Conflict),
    /// A peer says that it has stopped for that.
    PeerStopped {
        /// Which.
        from: NodeId,
        /// Why.
        conflict: Conflict,
    },
    /// The state that a peer sent cannot be read. It is asked for again, after a while, until it can: the peer's disk may be
    /// damaged, or its program a later one.
    Unreadable {
        /// Who sent it.
        from: NodeId,
        /// Its checkpoint.
        index: LogIndex,
        /// For people: what cannot be read.
        reason: String,
    },
    /// These replicas' states are not this one's. Which is wrong is not known yet, or it is theirs.
    Differs {
        /// At which entry.
        index: LogIndex,
        /// Whose.
        others: Vec<NodeId>,
    },
    /// This replica's state is not that of the others. It takes part in nothing from now on.
    Diverged {
        /// At which entry.
        index: LogIndex,
        /// True when a majority of the voters has the same state: the next start must fetch it from them. False when
        /// there is no such majority, and nobody knows who is right.
        is_outvoted: bool,
        /// For people: what was compared, and what helps.
        reason: String,
    },
}
