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

/// What a read must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Everything that was acknowledged, by any node, before the read was asked for.
    Linearizable,
    /// Everything up to this entry: what the client has seen before.
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
    /// Every write up to this one is durable.
    Persisted(WriteNumber),
    /// The votes of every write up to this one are durable; their entries may not be.
    VoteKept(WriteNumber),
    /// A write still waits for space: the disk is full, but does not hang.
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
    /// What was fetched from a peer cannot be used; it is fetched anew.
    InstallFailed,
    /// The disk failed. For the rest of this incarnation the replica only answers reads, and if it has a
    /// group it takes part in nothing.
    Failed {
        /// What happened, with advice.
        reason: String,
    },
    /// The disk records that this replica had stopped before this start: see [`Output::Stopped`].
    Stopped(Conflict),
    /// The disk is nearly full (the reason), or has space again (`None`).
    Pressure(Option<String>),
    /// This node's clock must stamp no entries (the reason), or may again (`None`). While it leads it refuses
    /// clients, and does not offer leadership by itself: see [`Input::TransferLeadershipTo`].
    Hold(Option<String>),
    /// The disk records that this replica may vote.
    Admit,
    /// The node is about to stop: another should lead.
    TransferLeadership,
    /// This node should lead. It has no effect while this replica does not lead, or while that node lags;
    /// repeat it then.
    TransferLeadershipTo(NodeId),
    /// [`TICK_NANOS`](crate::TICK_NANOS) have passed.
    Tick,
}

/// Why a replica does not serve its state yet: the state may lack what was acknowledged to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoState {
    /// Its disk is empty, and no leader has sent a message: the cluster may be new, or have what it lacks.
    Meeting,
    /// Its disk is new, or was damaged: the other replicas have what it lacks.
    Filling,
    /// It has not applied yet what its own disk records as committed.
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

/// Why a command was refused or has no outcome, or why a read has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A queue is full; nothing was done.
    Overloaded,
    /// The replica takes no writes, for this reason. Whether the command was done is not known.
    ReadOnly(String),
    /// The leader takes no writes for now, for this reason. Nothing was done.
    NotTaken(String),
    /// No replica leads: a majority of them cannot be reached. Nothing was done.
    NoLeader,
    /// The leader changed while the command was on its way, or its outcome did not arrive in time. Whether it
    /// was done is not known here: the client repeats it with the same ids.
    Interrupted,
    /// The replica has no state to serve yet, and the read asks for this replica's state. Another replica may
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
    /// The end of the history that belongs to the checkpoint; all those rows are there.
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
    /// The members from now on: the list must be on disk before any later output is carried out.
    Members(Members),
    /// Read these rows of the history; answer with [`Input::Fetched`].
    Fetch {
        /// The entry that needs them.
        index: LogIndex,
        /// Its term, to be named in the answer.
        term: Term,
        /// The rows, and how recent they must be.
        prefetch: Prefetch<M::Key>,
    },
    /// Rows for the history; append them before any later output is carried out.
    Rows(M::Rows),
    /// The command is durable and applied.
    Answer {
        /// The ticket of the request.
        ticket: Ticket,
        /// The entry that carried it.
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
    /// The client may read the history once it has reached this position.
    BarrierPassed {
        /// The ticket of the barrier.
        ticket: Ticket,
        /// The last entry that the position includes.
        index: LogIndex,
        /// Everything that the read must see lies before it.
        position: HistoryPosition,
    },
    /// A checkpoint begins.
    CheckpointBegin {
        /// It holds everything up to this entry.
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
    /// The log up to this entry is not needed any more.
    Release(LogIndex),
    /// A lagging peer asks for a part of this replica's newest checkpoint, or for rows of its history. Read
    /// it, and send it as [`PeerMessage::Chunk`]; if that is not possible, send nothing.
    Serve {
        /// The peer that asks.
        to: NodeId,
        /// The part that it asks for.
        pull: Pull,
    },
    /// Append these rows of a peer to the history; answer with [`Input::RowsInstalled`], or with
    /// [`Input::InstallFailed`] when they cannot be decoded.
    InstallRows {
        /// Their start: the present end of the history.
        from: HistoryPosition,
        /// Their end.
        until: HistoryPosition,
        /// In the history's own format.
        bytes: Bytes,
    },
    /// Make this the newest checkpoint, and let the log begin anew after it, in an order that survives a
    /// crash at any point; answer with [`Input::Installed`].
    InstallCheckpoint(Installable),
    /// This replica has caught up, and may vote from now on: record that on disk, and answer with
    /// [`Input::Admit`].
    CaughtUp,
    /// The terms of the committed log so far: they must be on disk before a checkpoint that begins or is
    /// installed later.
    Terms(Terms),
    /// The other replicas continue without entries that this one knows to be committed. From now on it takes
    /// part in nothing, answers only stale reads, and changes nothing on its disk: record there that it
    /// starts in this state.
    Stopped(Conflict),
    /// A peer reports that it has stopped for this conflict.
    PeerStopped {
        /// The peer.
        from: NodeId,
        /// Its conflict.
        conflict: Conflict,
    },
    /// The state that a peer sent cannot be read. It is requested again after a while until it can: the
    /// peer's disk may be damaged, or its program newer.
    Unreadable {
        /// The sender.
        from: NodeId,
        /// The index of its checkpoint.
        index: LogIndex,
        /// What cannot be read, for the operator.
        reason: String,
    },
    /// The states of these replicas differ from this one's. It is not known yet which is wrong, or theirs
    /// are.
    Differs {
        /// The entry after which the states were compared.
        index: LogIndex,
        /// The replicas that differ.
        others: Vec<NodeId>,
    },
    /// This replica's state differs from that of the others. It takes part in nothing from now on.
    Diverged {
        /// The entry after which the states were compared.
        index: LogIndex,
        /// True when a majority of the voters has the same state: the next start must fetch it from them.
        /// False when there is no such majority, so that it is not known which state is right.
        is_outvoted: bool,
        /// What was compared, with advice, for the operator.
        reason: String,
    },
}
