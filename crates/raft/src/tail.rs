//! The end of the log in memory, from which raft-rs reads entries.
//!
//! It starts after the newest checkpoint, or some entries earlier, so that a follower that lags by a few
//! entries does not need the whole checkpoint. The engine and the log's writer share the memory of the
//! payloads.

use std::collections::VecDeque;

use bezant_consensus::{LogEntry, Members, Vote};
use bezant_types::{LogIndex, Term};
use raft::eraftpb::{Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Result, Storage, StorageError};

use crate::conf::conf_state;
use crate::wire::raft_entry;

/// Entries that the checkpoint covers are kept while all entries in memory take at most so many bytes.
const RETAINED_BYTES_MAX: usize = 32 << 20;

/// Bytes of an entry in memory.
fn size(entry: &Entry) -> usize {
    entry.data.len() + size_of::<Entry>()
}

/// Entries, the newest checkpoint, and the members.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Index and term of the entry before the first one in memory.
    before: (u64, u64),
    entries: VecDeque<Entry>,
    /// Index and term of the last entry in the newest checkpoint.
    checkpoint: (u64, u64),
    /// The size of all entries in memory.
    bytes: usize,
    members: Members,
    vote: Vote,
}

impl Tail {
    /// The state of the disk: the newest checkpoint, and the entries after it. `None` when an entry cannot be
    /// converted.
    pub(crate) fn new(
        checkpoint: (LogIndex, Term),
        entries: Vec<LogEntry>,
        vote: Vote,
        members: Members,
    ) -> Option<Self> {
        let checkpoint = (checkpoint.0.0, checkpoint.1.0);
        let entries = entries.into_iter().map(raft_entry).collect::<Option<VecDeque<_>>>()?;
        let bytes = entries.iter().map(size).sum();
        Some(Self { before: checkpoint, entries, checkpoint, bytes, members, vote })
    }

    pub(crate) const fn members(&self) -> &Members {
        &self.members
    }

    pub(crate) fn set_members(&mut self, members: Members) {
        self.members = members;
    }

    pub(crate) fn last(&self) -> u64 {
        self.before.0 + self.entries.len() as u64
    }

    /// Appends entries. Existing entries at the index of the first one and later are dropped first.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.before.0, "an entry in a checkpoint is never overwritten");
        assert!(first.index <= self.last() + 1, "entries have no gaps");
        assert!(self.term_of(first.index - 1) <= Some(first.term), "terms never decrease");
        while self.last() >= first.index {
            self.bytes -= self.entries.pop_back().as_ref().map_or(0, size);
        }
        self.bytes += entries.iter().map(size).sum::<usize>();
        self.entries.extend(entries.iter().cloned());
    }

    /// A checkpoint is durable: drops old entries that it covers.
    pub(crate) fn release(&mut self, index: u64, term: u64) {
        if index <= self.checkpoint.0 {
            return;
        }
        assert!(index <= self.last(), "a checkpoint covers only entries of this log");
        self.checkpoint = (index, term);
        while self.bytes > RETAINED_BYTES_MAX
            && let Some(entry) = self.entries.pop_front_if(|entry| entry.index <= index)
        {
            self.before = (entry.index, entry.term);
            self.bytes -= size(&entry);
        }
    }

    /// Restarts the log after a checkpoint that came from another replica.
    pub(crate) fn restart(&mut self, index: u64, term: u64) {
        assert!(index >= self.checkpoint.0, "a checkpoint that was fetched is not older than the own one");
        self.entries.clear();
        self.bytes = 0;
        self.before = (index, term);
        self.checkpoint = (index, term);
    }

    /// An entry in memory.
    pub(crate) fn entry(&self, index: u64) -> Option<&Entry> {
        self.entries.get(self.at(index).ok()?)
    }

    /// The term of an entry in memory, or of the entry directly before them.
    pub(crate) fn term_of(&self, index: u64) -> Option<u64> {
        if index == self.before.0 { Some(self.before.1) } else { self.entry(index).map(|entry| entry.term) }
    }

    /// The entries from `first` to `last` that are in memory.
    pub(crate) fn range(&self, first: u64, last: u64) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| (first..=last).contains(&entry.index))
    }

    fn at(&self, index: u64) -> Result<usize> {
        match index.checked_sub(self.before.0 + 1) {
            None => Err(Error::Store(StorageError::Compacted)),
            Some(at) => usize::try_from(at).map_err(|_| Error::Store(StorageError::Unavailable)),
        }
    }
}

impl Storage for Tail {
    fn initial_state(&self) -> Result<RaftState> {
        let (term, vote) = (self.vote.term.0, self.vote.voted_for.0);
        let hard_state = HardState { term, vote, commit: self.checkpoint.0, ..HardState::default() };
        Ok(RaftState::new(hard_state, conf_state(&self.members)))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        let (from, to) = (self.at(low)?, self.at(high)?);
        let size_max = max_size.into().unwrap_or(u64::MAX);
        let mut size = 0;
        let entries = self.entries.range(from..to.min(self.entries.len()));
        let fitting = entries.enumerate().take_while(|(number, entry)| {
            size += entry.data.len() as u64 + 64;
            *number == 0 || size <= size_max
        });
        Ok(fitting.map(|(_, entry)| entry.clone()).collect())
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index == self.before.0 {
            return Ok(self.before.1);
        }
        let at = self.at(index)?;
        self.entries.get(at).map(|entry| entry.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.before.0 + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> Result<Snapshot> {
        if self.checkpoint.0 == 0 || self.checkpoint.0 < request_index {
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = self.checkpoint.0;
        metadata.term = self.checkpoint.1;
        metadata.set_conf_state(conf_state(&self.members));
        Ok(snapshot)
    }
}
