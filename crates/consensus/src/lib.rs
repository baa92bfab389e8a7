//! The seam between a node and the engine that makes its replicas agree: input in, output out.
//!
//! An engine is a value without clock, disk or network. It is told what happened ([`Input`]) and says what
//! must be done ([`Output`]). The log's payloads are opaque bytes to it.
//!
//! What binds every engine:
//! - An entry comes out as [`Output::Commit`] only once a majority has it on disk, in the order of the log.
//! - Persist before send: what must be on this disk before a peer may hear of it is a [`Write`], and the
//!   engine keeps the messages that speak of it until [`Input::Persisted`] has named its number. So an
//!   [`Output::Send`] may always be sent at once.
//! - What a replica knows to be committed, from its disk or in this life, is never replaced: a leader that has something else
//!   there is answered by [`Output::Conflict`], and the engine takes part in nothing from then on.
//! - A read that was confirmed ([`Output::Readable`]) sees everything that was committed before it was asked for.
#![no_std]
#![deny(clippy::float_arithmetic)]

extern crate alloc;

mod begin;
mod describe;
mod floor;
mod kind;
mod members;
mod solo;

use alloc::vec::Vec;

use bezant_types::{LogIndex, NodeId, Term};
use bytes::Bytes;

pub use begin::{EngineOptions, EngineState};
pub use describe::{Describe, Description, MessageKind};
pub use floor::{Conflict, Terms};
pub use kind::{EngineKind, UnknownEngine};
pub use members::{Change, ChangeError, Member, Members, Part, decode_outcome, encode_outcome};
pub use solo::Solo;

/// Whose an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Proposed by a node: its payload is the state machine's.
    Command,
    /// The engine's own (a leader's first entry, a change of members): the state machine never sees it.
    Engine,
}

/// An entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place.
    pub index: LogIndex,
    /// The reign in which it was proposed.
    pub term: Term,
    /// Whose it is.
    pub kind: EntryKind,
    /// Opaque to engine and log.
    pub payload: Bytes,
}

/// What a replica has promised: it takes part in no earlier term, and votes for nobody else in this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Vote {
    /// The highest term seen; 0 before the first.
    pub term: Term,
    /// Who has this replica's vote in it; 0 for nobody.
    pub voted_for: NodeId,
}

/// Numbers the writes of one engine since it began, from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct WriteNumber(pub u64);

/// What must be on this disk, whole, before anything that depends on it is said or done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// To be named by [`Input::Persisted`].
    pub number: WriteNumber,
    /// To be kept in place of the one before, if there is one; it must be durable before the entries.
    pub vote: Option<Vote>,
    /// To be put at the end of the log, without gaps. When the first has an index that the log has already,
    /// the log forgets what it has from there on: it was never agreed. May be empty.
    pub entries: Vec<LogEntry>,
}

/// Names a read, chosen by the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ReadNumber(pub u64);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Everything up to this write is on this node's disk, fsync'd.
    Persisted(WriteNumber),
    /// The vote of this write, and every vote before it, is on this node's disk, fsync'd. Entries of these writes may not
    /// be, for want of room say: what speaks of no entry need not wait for them. [`Persisted`](Self::Persisted) follows.
    VoteKept(WriteNumber),
    /// A peer's message.
    Message {
        /// Who sent it.
        from: NodeId,
        /// The engine's own format.
        bytes: Bytes,
    },
    /// The connection to this peer ended: what was sent lately may be lost.
    Lost(NodeId),
    /// A checkpoint of everything up to here is durable: older entries will be asked for no more.
    Released {
        /// The last entry in it.
        index: LogIndex,
        /// That entry's term.
        term: Term,
    },
    /// What [`Output::Install`] asked for is done: state and log now begin behind this entry.
    Installed {
        /// The last entry in the checkpoint; it may be a later one than was asked for.
        index: LogIndex,
        /// That entry's term.
        term: Term,
        /// Who took part then, or at a later entry.
        members: Members,
    },
    /// This replica may vote: it is certain, and on disk, that its disk has lost nothing.
    Admit,
    /// Time went on by one tick.
    Tick,
}

/// What must be done, in the order in which it comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Put this on the disk, and answer with [`Input::Persisted`] when it is durable.
    Persist(Write),
    /// This entry is agreed: it will never change.
    Commit(LogEntry),
    /// Send this to a peer. It may be lost, doubled or late.
    Send {
        /// To whom.
        to: NodeId,
        /// The engine's own format.
        bytes: Bytes,
    },
    /// A read asked for by [`Engine::read`] may be answered once everything up to `index` is applied.
    Readable {
        /// Which read.
        read: ReadNumber,
        /// What it must see.
        index: LogIndex,
    },
    /// The entries that this replica lacks are gone: fetch a checkpoint of `index` or later from `from`, and
    /// answer with [`Input::Installed`].
    Install {
        /// Who has one.
        from: NodeId,
        /// The least that it must hold.
        index: LogIndex,
    },
    /// These take part from now on. They must be on the disk before anything that says so is let go of: before a
    /// checkpoint of the entry that made them members is durable.
    Members(Members),
    /// This replica, which may not vote yet, has on its disk all that was agreed when it began: note on disk
    /// that it may vote, and answer with [`Input::Admit`].
    CaughtUp,
    /// Somebody leads who has something else in place of entries that this replica knows to be committed. Nothing else
    /// comes out from now on.
    Conflict {
        /// What contradicts what; its events are not counted yet.
        conflict: Conflict,
        /// The entries from its first to its last committed one, as far as they lie in memory.
        entries: Vec<LogEntry>,
    },
}

/// What a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It orders the group's commands.
    Leader,
    /// It follows a leader, or waits for one.
    Follower,
    /// It asks for votes.
    Candidate,
}

/// How a peer does, as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStanding {
    /// Who.
    pub node: NodeId,
    /// The last entry that it is known to have on disk.
    pub matched: LogIndex,
    /// Whether it was heard of lately.
    pub is_active: bool,
}

/// Where a replica stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it is.
    pub role: Role,
    /// In which term.
    pub term: Term,
    /// Who leads; `None` while nobody is known to.
    pub leader: Option<NodeId>,
    /// The last entry that is agreed.
    pub committed: LogIndex,
    /// The last entry that a leader has said to be agreed, whether this replica has it or not.
    pub announced: LogIndex,
    /// Ticks since the leader was heard of, or since it was known to lead; 0 for the leader itself.
    pub ticks_since_leader: u64,
    /// Of the leader: how the others do. Empty otherwise.
    pub peers: Vec<PeerStanding>,
}

/// How a group agrees. Call [`poll`](Self::poll) until `None` after every call that changes something.
pub trait Engine: core::fmt::Debug {
    /// Proposes an entry; its index, or `None` and no change when this replica may not propose now.
    fn propose(&mut self, payload: Bytes) -> Option<LogIndex>;

    /// Asks for the index that a linearizable read must see. It is asked for again while nobody leads, until
    /// [`Output::Readable`] comes or the engine ends: who asked decides how long to wait.
    fn read(&mut self, read: ReadNumber);

    /// Proposes a change of the members; the index of its entry, or `None` for one that needs no entry. It is made
    /// when that entry is committed, and announced by [`Output::Members`].
    ///
    /// # Errors
    /// When it cannot be made now; nothing is changed.
    fn change(&mut self, change: Change) -> Result<Option<LogIndex>, ChangeError>;

    /// Who takes part.
    fn members(&self) -> &Members;

    /// Gives the leadership to the replica that is best prepared for it; nothing when not leading or alone.
    fn transfer_leadership(&mut self);

    /// Takes what happened.
    fn handle(&mut self, input: Input);

    /// What must be done next.
    fn poll(&mut self) -> Option<Output>;

    /// False while this replica takes no part in elections: its disk is new, and may have been lost before.
    fn may_vote(&self) -> bool;

    /// True while this replica leads and may propose.
    fn is_leader(&self) -> bool;

    /// Who leads; `None` while nobody is known to.
    fn leader(&self) -> Option<NodeId>;

    /// The replica's standing, for people and metrics.
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
