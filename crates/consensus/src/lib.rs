//! The interface between a replica and its consensus engine: inputs go in, outputs come out.
//!
//! An engine is a value without clock, disk or network. The replica passes events to it ([`Input`]), and it
//! returns the actions that the replica must take ([`Output`]). The payloads of the log are opaque bytes to
//! it.
//!
//! Every engine guarantees:
//! - An entry is committed ([`Output::Commit`]) only when a majority has it on disk, and in the order of the
//!   log. It is returned only once it is on this replica's disk, too.
//! - Persist before send: data that must be on this disk before a peer may learn of it is a [`Write`]. The
//!   engine holds the messages that depend on a write until [`Input::Persisted`] has its number. So the
//!   replica may always send an [`Output::Send`] at once.
//! - An entry that is known to be committed, from the disk or since the start, is never replaced.
//!   When a leader has another entry there, the engine returns [`Output::Conflict`] and from then on does
//!   nothing.
//! - A confirmed read ([`Output::Readable`]) sees every entry that was committed before the read was
//!   requested.
#![no_std]
#![deny(clippy::float_arithmetic)]

extern crate alloc;

mod begin;
mod describe;
mod floor;
mod kind;
mod members;
mod solo;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use bezant_types::{LogIndex, NodeId, Term};
use bytes::Bytes;

pub use begin::{EngineOptions, EngineState};
pub use describe::{Describe, Description, MessageKind};
pub use floor::{Conflict, Terms};
pub use kind::{EngineKind, UnknownEngine};
pub use members::{Change, ChangeError, Member, Members, Part, decode_outcome, encode_outcome};
pub use solo::Solo;

/// Origin of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Proposed by a replica; the payload is for the state machine.
    Command,
    /// Made by the engine (a leader's first entry, a change of the membership); never passed to the state
    /// machine.
    Engine,
}

/// An entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Position in the log.
    pub index: LogIndex,
    /// Term in which the entry was proposed.
    pub term: Term,
    /// Origin of the entry.
    pub kind: EntryKind,
    /// Content, opaque to engine and log.
    pub payload: Bytes,
}

/// The durable promise of a replica: it takes part in no earlier term, and votes for no other node in this
/// term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Vote {
    /// The highest term that this replica has learned of; 0 before the first.
    pub term: Term,
    /// The node that has this replica's vote in that term; 0 for none.
    pub voted_for: NodeId,
}

/// Number of a write, counted from 1 since the engine began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct WriteNumber(pub u64);

/// Data that must be completely on this disk before any action that depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The number for [`Input::Persisted`].
    pub number: WriteNumber,
    /// Replaces the stored vote; must be durable before the entries. `None` = the vote does not change.
    pub vote: Option<Vote>,
    /// Entries to append to the log, without gaps; may be empty. If the log already has an entry at the index
    /// of the first one, the log is first truncated before that index; the removed entries were never
    /// committed.
    pub entries: Vec<LogEntry>,
}

/// Number of a read, chosen by the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ReadNumber(pub u64);

/// An event for the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// This write and all earlier ones are durable on this node's disk.
    Persisted(WriteNumber),
    /// The vote of this write and all earlier votes are durable on this node's disk. The entries of these
    /// writes may not be, for example because the disk is full; messages that depend on no entry need not
    /// wait for them. [`Persisted`](Self::Persisted) follows.
    VoteKept(WriteNumber),
    /// A peer's message.
    Message {
        /// The sender.
        from: NodeId,
        /// The message in the format of the engine.
        bytes: Bytes,
    },
    /// The connection to this peer ended: recently sent messages may be lost.
    Lost(NodeId),
    /// A checkpoint up to this entry is durable. The log may no longer have the entries up to it.
    Released {
        /// The last entry in the checkpoint.
        index: LogIndex,
        /// Term of that entry.
        term: Term,
    },
    /// The checkpoint that [`Output::Install`] requested is installed: state and log now begin after this
    /// entry.
    Installed {
        /// The last entry in the checkpoint; it may be later than the requested one.
        index: LogIndex,
        /// Term of that entry.
        term: Term,
        /// The membership at that entry or at a later one.
        members: Members,
    },
    /// This replica may vote: it is certain that its disk has lost nothing, and the disk records that.
    Admit,
    /// One tick has passed.
    Tick,
}

/// An action that the replica must take, in the order in which the engine returns them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Write this to disk, and answer with [`Input::Persisted`] when it is durable.
    Persist(Write),
    /// This entry is committed: it never changes.
    Commit(LogEntry),
    /// Send this to a peer. It may be lost, duplicated or delayed.
    Send {
        /// The receiver.
        to: NodeId,
        /// The message in the format of the engine.
        bytes: Bytes,
    },
    /// A read requested by [`Engine::read`] may be answered when every entry up to `index` is applied.
    Readable {
        /// The number of the read.
        read: ReadNumber,
        /// The last entry that the read must see.
        index: LogIndex,
    },
    /// No peer has the entries that this replica lacks: fetch a checkpoint of `index` or later from `from`,
    /// and answer with [`Input::Installed`].
    Install {
        /// The peer that has a checkpoint.
        from: NodeId,
        /// The checkpoint must include at least this entry.
        index: LogIndex,
    },
    /// The membership from now on. It must be on disk before a checkpoint that includes the entry of the
    /// change is durable, because the log may then drop that entry.
    Members(Members),
    /// This replica, which may not vote yet, has on its disk every entry that was committed when it began:
    /// note on disk that it may vote, and answer with [`Input::Admit`].
    CaughtUp,
    /// A leader has other entries in place of entries that are known here to be committed. The engine
    /// returns no further output.
    Conflict {
        /// The contradiction; its `events` are not counted yet.
        conflict: Conflict,
        /// The entries from `conflict.first` to `conflict.committed`, as far as they are in memory.
        entries: Vec<LogEntry>,
    },
}

/// Role of a replica in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It orders the group's commands.
    Leader,
    /// It follows a leader, or waits for one.
    Follower,
    /// It asks for votes.
    Candidate,
}

/// State of a peer on the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStanding {
    /// The peer.
    pub node: NodeId,
    /// The last entry that the peer is known to have on disk.
    pub matched: LogIndex,
    /// True when the leader has recently received a message from the peer.
    pub is_active: bool,
}

/// State of a replica in its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Role of the replica.
    pub role: Role,
    /// Current term of the replica.
    pub term: Term,
    /// The leader; `None` while no leader is known.
    pub leader: Option<NodeId>,
    /// The last committed entry.
    pub committed: LogIndex,
    /// The last entry that a leader has announced as committed; this replica may not have it yet.
    pub announced: LogIndex,
    /// Ticks since the last message from the leader, or since this replica learned of the leader; 0 on the
    /// leader.
    pub ticks_since_leader: u64,
    /// On the leader: the states of its peers. Empty on other replicas.
    pub peers: Vec<PeerStanding>,
}

/// A consensus engine. Call [`poll`](Self::poll) until it returns `None` after every call with `&mut self`.
pub trait Engine: core::fmt::Debug {
    /// Proposes an entry and returns its index. `None`, and no change, when this replica may not propose now.
    fn propose(&mut self, payload: Bytes) -> Option<LogIndex>;

    /// Requests the index that a linearizable read must see. The engine repeats the request, also while there
    /// is no leader, until [`Output::Readable`] or until the engine is dropped. The caller decides how long
    /// to wait.
    fn read(&mut self, read: ReadNumber);

    /// Proposes a change of the membership and returns the index of its entry, or `None` for a change that
    /// needs no entry. The change takes effect when that entry is committed, and [`Output::Members`]
    /// announces it.
    ///
    /// # Errors
    /// When the change cannot be made now; nothing is changed.
    fn change(&mut self, change: Change) -> Result<Option<LogIndex>, ChangeError>;

    /// The current membership.
    fn members(&self) -> &Members;

    /// Transfers the leadership to the replica with the most complete log. Does nothing when this replica
    /// does not lead or is alone.
    fn transfer_leadership(&mut self);

    /// Handles an event.
    fn handle(&mut self, input: Input);

    /// The next action; `None` when there is none.
    fn poll(&mut self) -> Option<Output>;

    /// False while this replica takes no part in elections, because its disk is new and may replace one that
    /// was lost.
    fn may_vote(&self) -> bool;

    /// True while this replica leads and may propose.
    fn is_leader(&self) -> bool;

    /// The leader; `None` while no leader is known.
    fn leader(&self) -> Option<NodeId>;

    /// State of the replica in its group, for status output and metrics.
    fn standing(&self) -> Standing;
}

impl<E: Engine + ?Sized> Engine for alloc::boxed::Box<E> {
    fn propose(&mut self, payload: Bytes) -> Option<LogIndex> {
        (**self).propose(payload)
    }

    fn read(&mut self, read: ReadNumber) {
        (**self).read(read);
    }

    fn change(&mut self, change: Change) -> Result<Option<LogIndex>, ChangeError> {
        (**self).change(change)
    }

    fn members(&self) -> &Members {
        (**self).members()
    }

    fn transfer_leadership(&mut self) {
        (**self).transfer_leadership();
    }

    fn handle(&mut self, input: Input) {
        (**self).handle(input);
    }

    fn poll(&mut self) -> Option<Output> {
        (**self).poll()
    }

    fn may_vote(&self) -> bool {
        (**self).may_vote()
    }

    fn is_leader(&self) -> bool {
        (**self).is_leader()
    }

    fn leader(&self) -> Option<NodeId> {
        (**self).leader()
    }

    fn standing(&self) -> Standing {
        (**self).standing()
    }
}
