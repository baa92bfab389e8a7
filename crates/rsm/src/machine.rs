//! The trait that every replicated state machine implements.

use alloc::vec::Vec;
use core::fmt;

use bezant_types::{HistoryPosition, LogIndex, Nanos};
use bytes::Bytes;

use crate::{Command, Entry};

/// What applying an entry gave.
#[derive(Clone, Debug)]
pub struct Applied<Rows> {
    /// One answer a command, in order.
    pub results: Vec<Bytes>,
    /// What the history must keep of it.
    pub rows: Rows,
}

/// Rows that an entry needs from the history before it can be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefetch<Key> {
    /// May be empty: then the entry can be applied at once.
    pub keys: Vec<Key>,
    /// What was left out of the keys is known of the rows before this position alone: whatever is found
    /// counts as no fresher.
    pub position: HistoryPosition,
}

/// How far a query has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress<Query, Answer> {
    /// It is answered.
    Done(Answer),
    /// There is more to look at: ask again with this.
    More(Query),
}

/// Bytes that are no checkpoint of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreError {
    /// What was being read.
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
/// The order of calls for an entry: [`prefetch`](Self::prefetch) when it is committed or before,
/// [`apply`](Self::apply) with what was found. `apply` says `None`, and changes nothing, when what was found
/// is too old for the window of recent rows that the machine keeps: then prefetch again and retry.
pub trait StateMachine: Sized + fmt::Debug {
    /// Names a row of the history.
    type Key: fmt::Debug;
    /// What the history holds under the keys; made from a position: nothing is found as of it.
    type Found: From<HistoryPosition> + fmt::Debug;
    /// What one entry adds to the history.
    type Rows: fmt::Debug;
    /// Asks for something that memory holds.
    type Query: fmt::Debug;
    /// What memory holds.
    type Answer: fmt::Debug;
    /// The newest rules by which it applies entries; see [`Entry::rules`]. A change of what an entry does takes the next
    /// number, and the machine goes on applying entries of the numbers before as it did.
    const RULES: u8 = 0;

    /// Cluster time of the last entry that was applied; 0 before the first.
    fn time(&self) -> Nanos;

    /// How many rows the entries so far have added to the history.
    fn position(&self) -> HistoryPosition;

    /// Which rows of the history the entry needs.
    fn prefetch(&self, entry: &Entry) -> Prefetch<Self::Key>;

    /// Applies an entry.
    fn apply(&mut self, index: LogIndex, entry: &Entry, found: Self::Found) -> Option<Applied<Self::Rows>>;

    /// The command that must be put in the log because time went on (an expiry, say).
    fn due(&self, now: Nanos) -> Option<Command>;

    /// The earliest moment at which [`due`](Self::due) may have a command.
    fn due_at(&self) -> Option<Nanos>;

    /// Answers from memory.
    fn query(&self, query: Self::Query) -> Self::Answer {
        let mut query = query;
        loop {
            match self.query_step(query) {
                Progress::Done(answer) => return answer,
                Progress::More(rest) => query = rest,
            }
        }
    }

    /// Works on a query for about a millisecond: the answer, or the query with what it has found so far.
    fn query_step(&self, query: Self::Query) -> Progress<Self::Query, Self::Answer>;

    /// Begins to cut a checkpoint of the state as it is now. Later changes do not show in it.
    fn begin_checkpoint(&mut self);

    /// The next piece of the checkpoint, about `size` bytes; `None` when it is whole.
    fn poll_checkpoint(&mut self, size: usize) -> Option<Vec<u8>>;

    /// Reads the pieces of a checkpoint, put together.
    fn restore(checkpoint: &[u8]) -> Result<Self, RestoreError>;
}
