//! The log's entries that are not applied yet, in order and without gaps: the next to be applied comes first.
//!
//! An entry enters when it is handed to the disk, is fetched for when its turn is near, is committed by the
//! engine, and leaves when it is applied, or when the leader overwrites it because it was never agreed.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bezant_consensus::{EntryKind, LogEntry};
use bezant_rsm::{Entry, EntryError};
use bezant_types::limits::ENTRIES_IN_FLIGHT_MAX;
use bezant_types::{LogIndex, Nanos, Term};

use crate::queue::Origin;

/// What this node has proposed, and who waits for it; no entry for a change of members.
pub(crate) type Proposed = (Option<Entry>, Vec<Origin>);

/// An entry between log and machine.
#[derive(Debug)]
pub(crate) struct InFlight<Found> {
    pub(crate) index: LogIndex,
    pub(crate) term: Term,
    /// `None` for an entry of the engine's own, which the machine never sees.
    pub(crate) entry: Option<Entry>,
    /// One a command, or one for a change of members, where this node proposed it; empty otherwise.
    pub(crate) origins: Vec<Origin>,
    /// There when what it needs was fetched.
    pub(crate) found: Option<Found>,
    pub(crate) is_committed: bool,
    /// Bytes of its payload.
    pub(crate) size: usize,
}

impl<Found> InFlight<Found> {
    /// An entry of the log; `None` in place of the origins where this node did not propose it. `rules` are the newest
    /// that the machine knows.
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

/// The entries.
#[derive(Debug)]
pub(crate) struct Pipeline<Found> {
    entries: VecDeque<InFlight<Found>>,
    /// The next entry for which nobody has asked yet what it needs.
    fetch_next: LogIndex,
}

impl<Found> Pipeline<Found> {
    /// Nothing behind `applied`.
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

    /// Takes out the entry that was applied.
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

    /// Everything up to `index` is known to be committed.
    pub(crate) fn commit_until(&mut self, index: LogIndex) {
        for entry in self.entries.iter_mut().take_while(|entry| entry.index <= index) {
            entry.is_committed = true;
        }
    }

    /// The last entry that is known to be committed, of those that wait.
    pub(crate) fn last_committed(&self) -> Option<LogIndex> {
        self.entries.iter().take_while(|entry| entry.is_committed).last().map(|entry| entry.index)
    }

    /// Puts an entry at the end.
    pub(crate) fn push(&mut self, entry: InFlight<Found>) {
        if let Some(last) = self.entries.back() {
            assert!(entry.index == last.index.next(), "entries have no gaps");
        }
        self.entries.push_back(entry);
    }

    /// Takes out everything from `index` on, the last first: it was never agreed.
    pub(crate) fn truncate(&mut self, index: LogIndex) -> Vec<InFlight<Found>> {
        let mut removed = Vec::new();
        while let Some(last) = self.entries.pop_back_if(|entry| entry.index >= index) {
            assert!(!last.is_committed, "what was agreed never changes");
            removed.push(last);
        }
        self.fetch_next = self.fetch_next.min(index);
        removed
    }

    /// Takes out everything: the state begins anew behind `applied`.
    pub(crate) fn restart(&mut self, applied: LogIndex) -> VecDeque<InFlight<Found>> {
        self.fetch_next = applied.next();
        core::mem::take(&mut self.entries)
    }

    /// The next entry to be fetched for, when its turn is near: what is fetched long before is stale.
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

    /// Takes away everybody who waits for an entry, but not the entries.
    pub(crate) fn take_origins(&mut self) -> Vec<Origin> {
        self.entries.iter_mut().flat_map(|entry| core::mem::take(&mut entry.origins)).collect()
    }

    /// True when an entry in flight cuts a checkpoint.
    pub(crate) fn cuts_checkpoint(&self) -> bool {
        self.entries.iter().any(|entry| entry.entry.as_ref().is_some_and(|entry| entry.checkpoint))
    }
}
