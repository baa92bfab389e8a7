//! The trait that every replicated state machine implements.

use alloc::vec::Vec;
use core::fmt;

use bezant_types::{HistoryPosition, LogIndex, Nanos};
use bytes::Bytes;

use crate::{Command, Entry};

/// The result of applying an entry.
#[derive(Clone, Debug)]
pub struct Applied<Rows> {
    /// One answer for each command, in order.
    pub results: Vec<Bytes>,
    /// The rows that the history must store.
    pub rows: Rows,
}

/// Rows that an entry needs from the history before it can be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefetch<Key> {
    /// Keys of the rows; when empty, the entry can be applied at once.
    pub keys: Vec<Key>,
    /// The machine has all rows from this position on in memory, and omits their keys. The fetch must cover
    /// all rows before this position. Its result counts as covering only these, even when the history was
    /// longer.
    pub position: HistoryPosition,
}

/// The state of a query after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress<Query, Answer> {
    /// The query is complete.
    Done(Answer),
    /// The query is not complete: continue with this value.
    More(Query),
}

/// The bytes are not a checkpoint of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreError {
    /// The part of the checkpoint that could not be read.
    pub section: &'static str,
}

impl fmt::Display for RestoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the checkpoint's section '{}' cannot be read", self.section)
    }
}

impl core::error::Error for RestoreError {}

/// A deterministic machine.
///
/// For each entry, first call [`prefetch`](Self::prefetch), before or after the entry is committed, and then
/// [`apply`](Self::apply) with the rows that were found. The machine keeps a window of recent rows in memory.
/// When the fetch was made before the begin of that window, `apply` changes nothing and returns `None`: then
/// prefetch again and retry.
pub trait StateMachine: Sized + fmt::Debug {
    /// Names a row of the history.
    type Key: fmt::Debug;
    /// The rows that the history has for the keys. `From<HistoryPosition>` makes the empty result of a fetch
    /// that covered the history up to that position.
    type Found: From<HistoryPosition> + fmt::Debug;
    /// The rows that one entry adds to the history.
    type Rows: fmt::Debug;
    /// A question that is answered from memory.
    type Query: fmt::Debug;
    /// The answer to a query.
    type Answer: fmt::Debug;
    /// The newest rules by which the machine applies entries; see [`Entry::rules`]. A change of the effect of
    /// entries needs the next number. The machine still applies entries with earlier numbers by the rules of
    /// those numbers.
    const RULES: u8 = 0;

    /// Cluster time of the last entry that was applied; 0 before the first.
    fn time(&self) -> Nanos;

    /// Number of rows that all applied entries have added to the history.
    fn position(&self) -> HistoryPosition;

    /// The rows of the history that the entry needs.
    fn prefetch(&self, entry: &Entry) -> Prefetch<Self::Key>;

    /// Applies an entry. `None`, and no change, when `found` is too old: see the trait.
    fn apply(&mut self, index: LogIndex, entry: &Entry, found: Self::Found) -> Option<Applied<Self::Rows>>;

    /// True when a peer may forward the command on behalf of a client. The leader calls this before it
    /// proposes the command, because the bytes of a peer are not trusted: a committed entry is applied by
    /// every replica, at every start.
    ///
    /// The answer must be true for every command that a correct program of this version forwards. It is false
    /// for a command whose [`events`](Command::events) do not match its body, and for one that only the leader
    /// itself proposes ([`due`](Self::due)). The replica limits the size and the number of events itself. The
    /// default accepts every command, which is right for a machine that can apply any bytes and any number of
    /// events.
    ///
    /// [`apply`](Self::apply) must not rely on this: the log may contain what another version accepted.
    fn accepts(_: &Command) -> bool {
        true
    }

    /// The command that must be proposed because of the time, for example an expiry; `None` when there is
    /// none.
    fn due(&self, now: Nanos) -> Option<Command>;

    /// The earliest time at which [`due`](Self::due) may return a command; `None` when no command is
    /// scheduled.
    fn due_at(&self) -> Option<Nanos>;

    /// Answers a query from memory.
    fn query(&self, query: Self::Query) -> Self::Answer {
        let mut query = query;
        loop {
            match self.query_step(query) {
                Progress::Done(answer) => return answer,
                Progress::More(rest) => query = rest,
            }
        }
    }

    /// Works on a query for about a millisecond. Returns the answer, or the query with its partial result.
    fn query_step(&self, query: Self::Query) -> Progress<Self::Query, Self::Answer>;

    /// Begins a checkpoint of the current state. Later changes are not in it.
    fn begin_checkpoint(&mut self);

    /// The next piece of the checkpoint, about `size` bytes; `None` after the last piece.
    fn poll_checkpoint(&mut self, size: usize) -> Option<Vec<u8>>;

    /// Restores a machine from the concatenated pieces of a checkpoint.
    fn restore(checkpoint: &[u8]) -> Result<Self, RestoreError>;
}
