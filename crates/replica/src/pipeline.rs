//! The entries of the log that are not applied yet, in order and without gaps. The first is the next to be
//! applied.
//!
//! An entry is added when its write is output. Before it is applied, the engine must commit it, and its rows
//! must be fetched. It is removed when it is applied, or when a leader replaces it, which happens only to
//! entries that were never committed.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bezant_consensus::{EntryKind, LogEntry, WriteNumber};
use bezant_rsm::{Entry, EntryError};
use bezant_types::limits::ENTRIES_IN_FLIGHT_MAX;
use bezant_types::{LogIndex, Nanos, Term};

use crate::origin::Origin;

/// An entry that this replica proposed, and the origins of its commands. `None` instead of the entry for a
/// change of the membership.
pub(crate) type Proposed = (Option<Entry>, Vec<Origin>);

/// A write that is not durable yet.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) number: WriteNumber,
    /// The tick at which it was output, or at which it last waited for space.
    pub(crate) since: u64,
    /// Its first entry; `None` for a vote alone.
    pub(crate) first: Option<LogIndex>,
}

/// An entry that is in the log and not applied yet.
#[derive(Debug)]
pub(crate) struct InFlight<Found> {
    pub(crate) index: LogIndex,
    pub(crate) term: Term,
    /// `None` for the engine's own entry, which does not reach the machine.
    pub(crate) entry: Option<Entry>,
    /// If this replica proposed the entry: one origin for each command, or one for a change of the
    /// membership. Otherwise empty.
    pub(crate) origins: Vec<Origin>,
    /// The rows that the entry needs; `None` until they were fetched.
    pub(crate) found: Option<Found>,
    pub(crate) is_committed: bool,
    /// Bytes of the payload.
    pub(crate) size: usize,
}

impl<Found> InFlight<Found> {
    /// An entry of the log; `proposed` is `None` if this replica did not propose it. `rules` are the newest
    /// rules that the machine supports.
    pub(crate) fn new(log: &LogEntry, proposed: Option<Proposed>, rules: u8) -> Result<Self, EntryError> {
        let (entry, origins) = match (log.kind, proposed) {
            (_, Some(proposed)) => proposed,
            (EntryKind::Engine, None) => (None, Vec::new()),
            (EntryKind::Command, None) => (Some(Entry::decode_within(&log.payload, rules)?), Vec::new()),
        };
        let (index, term, size) = (log.index, log.term, log.payload.len());
        Ok(Self { index, term, entry, origins, found: None, is_committed: false, size })
    }
}

/// The entries in flight.
#[derive(Debug)]
pub(crate) struct Pipeline<Found> {
    entries: VecDeque<InFlight<Found>>,
    /// The next entry whose rows were not requested yet.
    fetch_next: LogIndex,
}

impl<Found> Pipeline<Found> {
    /// No entries after `applied`.
    pub(crate) const fn new(applied: LogIndex) -> Self {
        Self { entries: VecDeque::new(), fetch_next: applied.next() }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &InFlight<Found>> {
        self.entries.iter()
    }

    pub(crate) fn front_mut(&mut self) -> Option<&mut InFlight<Found>> {
        self.entries.front_mut()
    }

    /// Removes the first entry, which was applied.
    pub(crate) fn pop(&mut self) -> Option<InFlight<Found>> {
        let first = self.entries.pop_front()?;
        self.fetch_next = self.fetch_next.max(first.index.next());
        Some(first)
    }

    pub(crate) fn get_mut(&mut self, index: LogIndex) -> Option<&mut InFlight<Found>> {
        let first = self.entries.front()?.index;
        let at = usize::try_from(index.0.checked_sub(first.0)?).ok()?;
        self.entries.get_mut(at)
    }

    /// Marks everything up to `index` as committed.
    pub(crate) fn commit_until(&mut self, index: LogIndex) {
        for entry in self.entries.iter_mut().take_while(|entry| entry.index <= index) {
            entry.is_committed = true;
        }
    }

    /// The last entry here that is known to be committed.
    pub(crate) fn last_committed(&self) -> Option<LogIndex> {
        self.entries.iter().take_while(|entry| entry.is_committed).last().map(|entry| entry.index)
    }

    /// Adds an entry at the end.
    pub(crate) fn push(&mut self, entry: InFlight<Found>) {
        if let Some(last) = self.entries.back() {
            assert!(entry.index == last.index.next(), "entries have no gaps");
        }
        self.entries.push_back(entry);
    }

    /// Removes the entries from `index` on, which were never committed. Returns them, the last one first.
    pub(crate) fn truncate(&mut self, index: LogIndex) -> Vec<InFlight<Found>> {
        let mut removed = Vec::new();
        while let Some(last) = self.entries.pop_back_if(|entry| entry.index >= index) {
            assert!(!last.is_committed, "a committed entry is never replaced");
            removed.push(last);
        }
        self.fetch_next = self.fetch_next.min(index);
        removed
    }

    /// Removes everything: the state starts again after `applied`.
    pub(crate) fn restart(&mut self, applied: LogIndex) -> VecDeque<InFlight<Found>> {
        self.fetch_next = applied.next();
        core::mem::take(&mut self.entries)
    }

    /// The next entry whose rows are to be fetched. `None` while the entry is far from being applied: rows
    /// that are fetched too early become stale.
    pub(crate) fn next_to_fetch(&mut self) -> Option<LogIndex> {
        let first = self.entries.front()?.index;
        self.fetch_next = self.fetch_next.max(first);
        let near = LogIndex(first.0 + ENTRIES_IN_FLIGHT_MAX as u64);
        if self.fetch_next >= near || self.get_mut(self.fetch_next).is_none() {
            return None;
        }
        let next = self.fetch_next;
        self.fetch_next = next.next();
        Some(next)
    }

    /// Cluster time of the newest entry.
    pub(crate) fn time(&self) -> Option<Nanos> {
        self.entries.iter().filter_map(|entry| entry.entry.as_ref()).map(|entry| entry.time).max()
    }

    /// Takes the origins out of all entries, which stay.
    pub(crate) fn take_origins(&mut self) -> Vec<Origin> {
        self.entries.iter_mut().flat_map(|entry| core::mem::take(&mut entry.origins)).collect()
    }

    /// True when an entry in flight cuts a checkpoint.
    pub(crate) fn cuts_checkpoint(&self) -> bool {
        self.entries.iter().any(|entry| entry.entry.as_ref().is_some_and(|entry| entry.checkpoint))
    }
}
