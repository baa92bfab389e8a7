//! The end of the log in memory: what the crate reads entries from.
//!
//! It begins behind the newest checkpoint, or a little before it, so that a follower which lags by a few
//! entries does not need the whole checkpoint. Its bytes are the same memory that the node and the log's
//! writer hold.

use std::collections::VecDeque;

use bezant_consensus::{LogEntry, Members, Vote};
use bezant_types::{LogIndex, Term};
use raft::eraftpb::{Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Result, Storage, StorageError};

use crate::members::conf_state;
use crate::wire::raft_entry;

/// Bytes of entries that stay in memory behind a checkpoint, for followers that lag a little.
const BYTES_BEHIND_CHECKPOINT: usize = 32 << 20;

/// What an entry costs in memory.
fn size(entry: &Entry) -> usize {
    entry.data.len() + size_of::<Entry>()
}

/// Entries, the checkpoint before them, and the members.
#[derive(Debug)]
pub(crate) struct Tail {
    /// The entry before the first that is held, and its term.
    before: (u64, u64),
    entries: VecDeque<Entry>,
    /// The newest checkpoint.
    checkpoint: (u64, u64),
    /// Of all entries held.
    bytes: usize,
    members: Members,
    vote: Vote,
}

impl Tail {
    /// What the disk held: the newest checkpoint, and the entries behind it. `None` when one cannot be read.
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

    /// Puts entries at the end; what lies there already from the first one's index on is forgotten.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.before.0, "what a checkpoint holds is never overwritten");
        assert!(first.index <= self.last() + 1, "entries have no gaps");
        while self.last() >= first.index {
            self.bytes -= self.entries.pop_back().as_ref().map_or(0, size);
        }
        self.bytes += entries.iter().map(size).sum::<usize>();
        self.entries.extend(entries.iter().cloned());
    }

    /// A checkpoint is durable: lets go of old entries.
    pub(crate) fn release(&mut self, index: u64, term: u64) {
        if index <= self.checkpoint.0 {
            return;
        }
        self.checkpoint = (index, term);
        while self.bytes > BYTES_BEHIND_CHECKPOINT
            && let Some(entry) = self.entries.pop_front_if(|entry| entry.index <= index)
        {
            self.before = (entry.index, entry.term);
            self.bytes -= size(&entry);
        }
    }

    /// The log begins anew behind a checkpoint of another replica.
    pub(crate) fn restart(&mut self, index: u64, term: u64) {
        self.entries.clear();
        self.bytes = 0;
        self.before = (index, term);
        self.checkpoint = (index, term);
    }

    /// An entry that is held.
    pub(crate) fn entry(&self, index: u64) -> Option<&Entry> {
        self.entries.get(self.at(index).ok()?)
    }

    /// The term of an entry that is held, or of the one before the first.
    pub(crate) fn term_of(&self, index: u64) -> Option<u64> {
        if index == self.before.0 { Some(self.before.1) } else { self.entry(index).map(|entry| entry.term) }
    }

    /// The entries from `first` to `last` that are held.
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
