//! Applies the log again after a restart, entry by entry, before the replica takes requests.

use bezant_consensus::{EntryKind, LogEntry};
use bezant_rsm::{Entry, Prefetch, StateMachine};
use bezant_types::LogIndex;
use core::fmt;

/// Why an entry of the log cannot be applied again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayError<E> {
    /// This entry has the right checksum, but cannot be decoded: another version or a defect wrote it.
    Entry(LogIndex),
    /// The history could not be read.
    Fetch(E),
}

impl<E: fmt::Display> fmt::Display for ReplayError<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(index) => write!(formatter, "log entry {index} cannot be read by this version"),
            Self::Fetch(error) => write!(formatter, "the history cannot be read: {error}"),
        }
    }
}

impl<E: core::error::Error> core::error::Error for ReplayError<E> {}

/// Applies one entry, and returns its rows; `None` for an entry of the engine. `fetch` reads the history,
/// which must contain the rows of all earlier entries and no later ones.
pub fn replay<M: StateMachine, E>(
    machine: &mut M,
    entry: &LogEntry,
    mut fetch: impl FnMut(&Prefetch<M::Key>) -> Result<M::Found, E>,
) -> Result<Option<M::Rows>, ReplayError<E>> {
    if entry.kind == EntryKind::Engine {
        return Ok(None);
    }
    let decoded =
        Entry::decode_within(&entry.payload, M::RULES).map_err(|_| ReplayError::Entry(entry.index))?;
    let prefetch = machine.prefetch(&decoded);
    let found = if prefetch.keys.is_empty() {
        M::Found::from(prefetch.position)
    } else {
        fetch(&prefetch).map_err(ReplayError::Fetch)?
    };
    let applied = machine.apply(entry.index, &decoded, found);
    Ok(Some(applied.expect("invariant: the fetch saw every row before this entry").rows))
}
