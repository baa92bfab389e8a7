//! The inputs of a replica, and its outputs.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bezant_consensus::{Conflict, Members, Terms, Write, WriteNumber};
use bezant_rsm::{Command, Prefetch, StateMachine};
use bezant_types::{HistoryPosition, LogIndex, Nanos, NodeId, Term};
use bytes::Bytes;

use crate::message::{PeerMessage, Pull};

/// Identifies a request that waits for its answer; chosen by the driver, which never reuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// The time on the driver's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Wall clock; may jump either way.
    pub wall: Nanos,
}

/// Which entries a read must include.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Everything that any node had acknowledged before the read was requested.
    Linearizable,
    /// Everything up to this entry, the last that the client has seen.
    AtLeast(LogIndex),
    /// Whatever this replica has applied.
    Stale,
}

/// An event that the driver passes in.
#[derive(Debug)]
pub enum Input<M: StateMachine> {
    /// A client's command for the log.
    Request {
        /// Named by the answer.
        ticket: Ticket,
        /// The command.
        command: Command,
    },
    /// A client's query of the state in memory.
    Query {
        /// Named by the answer.
        ticket: Ticket,
        /// The query.
        query: M::Query,
        /// What it must see.
        consistency: Consistency,
    },
    /// A client's request to read the history.
    Barrier {
        /// Named by the answer.
        ticket: Ticket,
        /// What it must see.
        consistency: Consistency,
    },
    /// A message of a peer.
    Message {
        /// The sender.
        from: NodeId,
        /// The message.
        message: PeerMessage,
    },
    /// The connection to this peer ended.
    Lost(NodeId),
    /// This peer can be reached: its connection began, or something arrived from its node again after
    /// [`Input::Unresponsive`].
    Met(NodeId),
    /// Nothing arrived from this peer's node for some time, although its connection is open: see
    /// [`Liveness`](crate::Liveness).
    Unresponsive(NodeId),
    /// A [`PeerMessage::Rest`] could not be queued for its receiver.
    RestLost,
    /// Every write up to this one is durable.
    Persisted(WriteNumber),
    /// The votes of every write up to this one are durable; their entries may not be.
    VoteKept(WriteNumber),
    /// A write still waits for disk space. The disk is full, but does not hang.
    SpaceAwaited,
    /// The rows that an entry needs.
    Fetched {
        /// The entry.
        index: LogIndex,
        /// The term of [`Output::Fetch`].
        term: Term,
        /// The rows.
        found: M::Found,
    },
    /// The driver has taken a piece of the checkpoint: another may follow.
    CheckpointPieceTaken,
    /// The checkpoint of that index is durable.
    CheckpointWritten {
        /// The last entry in it.
        index: LogIndex,
        /// SHA-256 of the state: equal on all replicas.
        digest: [u8; 32],
    },
    /// The checkpoint of that index could not be written for lack of space, and no part of it is left. The
    /// log is kept, and another checkpoint is cut after the same amount of log.
    CheckpointAbandoned(LogIndex),
    /// The rows of [`Output::InstallRows`] are in the history.
    RowsInstalled,
    /// [`Output::InstallCheckpoint`] is done.
    Installed,
    /// The rows or the checkpoint of a peer cannot be used; they are fetched anew.
    InstallFailed,
    /// The disk failed. For the rest of this incarnation, a replica without a group only answers reads. A
    /// replica of a group only answers stale reads and those of a session, and takes no part in the group.
    Failed {
        /// What happened, with advice.
        reason: String,
    },
    /// The disk records that this replica had stopped before this start: see [`Output::Stopped`].
    Stopped(Conflict),
    /// The disk is nearly full (the reason), or has space again (`None`).
    Pressure(Option<String>),
    /// This node's clock must not stamp entries (the reason), or may again (`None`). Meanwhile, if this
    /// replica leads, it refuses commands of clients. It does not transfer leadership by itself: the driver
    /// chooses the next leader ([`Input::TransferLeadershipTo`]).
    Hold(Option<String>),
    /// The disk records that this replica may vote.
    Admit,
    /// The node is about to stop: another node should lead.
    TransferLeadership,
    /// The named node should lead. It has no effect while this replica does not lead, or while that node
    /// lags. The driver repeats it then.
    TransferLeadershipTo(NodeId),
    /// [`TICK_NANOS`](crate::TICK_NANOS) have passed.
    Tick,
}

/// Why a replica does not serve its state yet: the state may lack entries that were acknowledged to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoState {
    /// Its disk is empty, and no leader has sent a message yet. The cluster may be new, or may have data that
    /// this replica lacks.
    Meeting,
    /// Its disk is new, or was damaged, and the other replicas have data that it lacks.
    Filling,
    /// It has not yet applied all entries that its own disk records as committed.
    Replaying,
}

impl fmt::Display for NoState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Meeting => "it is new, and waits to meet the other nodes",
            Self::Filling => {
                "its disk is new or was damaged, and it still lacks data that the other nodes have"
            }
            Self::Replaying => "it has just started, and still applies its log",
        })
    }
}

/// Why a command was refused or has no outcome, or why a read has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A queue is full; nothing was done.
    Overloaded,
    /// The replica takes no writes, for this reason. It is not known whether the command was done.
    ReadOnly(String),
    /// The leader does not take the command, for this reason: it takes none for now, or this one is malformed
    /// or too large. Nothing was done.
    NotTaken(String),
    /// No replica leads: a majority of them cannot be reached. Nothing was done.
    NoLeader,
    /// The leader changed while the command was in flight, or its outcome did not arrive in time. It is not
    /// known whether the command was done: the client repeats it with the same ids.
    Interrupted,
    /// The read asks for the state of this replica, which serves none yet. Another replica may answer.
    NoState(NoState),
}

/// A checkpoint of a peer, complete and readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installable {
    /// The last entry that the checkpoint includes.
    pub index: LogIndex,
    /// That entry's term.
    pub term: Term,
    /// Cluster time of that entry.
    pub time: Nanos,
    /// The end of the history at that entry. All rows up to it are in this replica's history already.
    pub position: HistoryPosition,
    /// The expected SHA-256 of `bytes`.
    pub digest: [u8; 32],
    /// The encoded state.
    pub bytes: Bytes,
}

/// An effect that the driver must carry out, in the order in which `poll` returns them.
#[derive(Debug)]
pub enum Output<M: StateMachine> {
    /// Write this to the disk; answer with [`Input::Persisted`] when it is durable.
    Persist(Write),
    /// Send this to a peer.
    Send {
        /// The receiver.
        to: NodeId,
        /// The message.
        message: PeerMessage,
    },
    /// The members from now on. The list must be on disk before any later output is carried out.
    Members(Members),
    /// Read these rows of the history; answer with [`Input::Fetched`].
    Fetch {
        /// The entry that needs them.
        index: LogIndex,
        /// Its term, to be named in the answer.
        term: Term,
        /// The keys of the rows, and how recent the rows must be.
        prefetch: Prefetch<M::Key>,
    },
    /// Rows for the history; append them before any later output is carried out.
    Rows(M::Rows),
    /// The command is durable and applied.
    Answer {
        /// The ticket of the request.
        ticket: Ticket,
        /// The entry that contains the command.
        index: LogIndex,
        /// Timestamp of the command's last event.
        time: Nanos,
        /// The number of events of the command.
        events: u32,
        /// The machine's answer.
        results: Bytes,
    },
    /// The command was refused or has no outcome, or the read has no answer.
    Refuse {
        /// The ticket of the request.
        ticket: Ticket,
        /// The reason.
        refusal: Refusal,
    },
    /// The result of a query of the state in memory.
    QueryAnswer {
        /// The ticket of the query.
        ticket: Ticket,
        /// The last entry that the answer includes.
        index: LogIndex,
        /// The result.
        answer: M::Answer,
    },
    /// The client may read the history once the history has reached this position.
    BarrierPassed {
        /// The ticket of the barrier.
        ticket: Ticket,
        /// The last entry that the position includes.
        index: LogIndex,
        /// All rows that the read must include are before it.
        position: HistoryPosition,
    },
    /// A checkpoint begins.
    CheckpointBegin {
        /// The last entry that the checkpoint includes.
        index: LogIndex,
        /// The term of that entry.
        term: Term,
    },
    /// The next bytes of the checkpoint; answer with [`Input::CheckpointPieceTaken`].
    CheckpointPiece(Vec<u8>),
    /// The checkpoint is complete. Make the history durable up to `position`, then the checkpoint, then
    /// answer with [`Input::CheckpointWritten`].
    CheckpointEnd {
        /// The index of [`Output::CheckpointBegin`].
        index: LogIndex,
        /// Cluster time of that entry.
        time: Nanos,
        /// Rows of the history at that entry.
        position: HistoryPosition,
    },
    /// The log up to this entry is no longer needed.
    Release(LogIndex),
    /// A lagging peer requests a part of this replica's newest checkpoint, or rows of its history. Read that
    /// part, and send it as [`PeerMessage::Chunk`]; if that is not possible, send nothing.
    Serve {
        /// The peer that asks.
        to: NodeId,
        /// The requested part.
        pull: Pull,
    },
    /// Append these rows of a peer to the history; answer with [`Input::RowsInstalled`], or with
    /// [`Input::InstallFailed`] when they cannot be decoded.
    InstallRows {
        /// The position of the first row, which is the present end of the history.
        from: HistoryPosition,
        /// The position after the last row.
        until: HistoryPosition,
        /// In the history's own format.
        bytes: Bytes,
    },
    /// Make this the newest checkpoint, and restart the log after it. Do it in an order that survives a crash
    /// at any point. Answer with [`Input::Installed`].
    InstallCheckpoint(Installable),
    /// This replica has caught up, and may vote from now on. Record that on disk, and answer with
    /// [`Input::Admit`].
    CaughtUp,
    /// The terms of the committed log so far. They must be on disk before any checkpoint that begins or is
    /// installed later.
    Terms(Terms),
    /// The other replicas continue without entries that this one knows to be committed. From now on this
    /// replica takes no part in the group, answers only stale reads and those of a session, and changes
    /// nothing on its disk. Record on the disk that it has stopped, so that it starts in this state.
    Stopped(Conflict),
    /// A peer reports that it has stopped for this conflict.
    PeerStopped {
        /// The peer.
        from: NodeId,
        /// Its conflict.
        conflict: Conflict,
    },
    /// The state that a peer sent cannot be decoded: the peer's disk may be damaged, or its program may be
    /// newer. The replica requests it again after some time, until it can be decoded.
    Unreadable {
        /// The sender.
        from: NodeId,
        /// The index of its checkpoint.
        index: LogIndex,
        /// What cannot be decoded, for the operator.
        reason: String,
    },
    /// The states of these replicas differ from this one's. Either the others are wrong, or it is not known
    /// yet which state is wrong.
    Differs {
        /// The entry after which the states were compared.
        index: LogIndex,
        /// The replicas that differ.
        others: Vec<NodeId>,
    },
    /// This replica's state differs from that of other replicas. From now on it takes no part in the group.
    Diverged {
        /// The entry after which the states were compared.
        index: LogIndex,
        /// True when a majority of the voters has the same state: the next start must fetch it from them.
        /// False when no majority has the same state, so that it is not known which state is right.
        is_outvoted: bool,
        /// What was compared, with advice, for the operator.
        reason: String,
    },
}
