//! The pvalues that an acceptor has accepted: the end of the log in memory.
//!
//! It starts after the newest checkpoint, or some slots earlier, so that a replica that lags by a few slots
//! does not need the whole checkpoint. The engine and the log's writer share the memory of the payloads.
//!
//! What always holds: slots have no gaps, and rounds never decrease from slot to slot.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bezant_consensus::LogEntry;
use bezant_types::{LogIndex, Term};

use crate::ballot::Mark;
use crate::change::change_of;

/// Values that the checkpoint covers are kept while all values in memory take at most so many bytes.
const RETAINED_BYTES_MAX: usize = 32 << 20;

/// Bytes of a value, on the wire and in memory.
const fn size(value: &LogEntry) -> usize {
    value.payload.len() + size_of::<LogEntry>()
}

/// Accepted pvalues, the newest checkpoint, and the slots of the changes of members among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Values {
    /// The mark before the first value in memory.
    before: Mark,
    /// The newest checkpoint of this replica.
    checkpoint: Mark,
    entries: VecDeque<LogEntry>,
    /// The size of all values in memory.
    bytes: usize,
    /// Slots of the values in memory that change the members.
    changes: VecDeque<LogIndex>,
}

impl Values {
    /// The log on the disk. `None` when this engine did not write it.
    pub(crate) fn new(checkpoint: Mark, entries: Vec<LogEntry>) -> Option<Self> {
        let (before, bytes) = (checkpoint, 0);
        let mut values =
            Self { before, checkpoint, entries: VecDeque::new(), bytes, changes: VecDeque::new() };
        let follows = |last: Mark, entry: &LogEntry| {
            entry.index == last.slot.next() && entry.term >= last.round && crate::change::is_ours(entry)
        };
        for entry in entries {
            if !follows(values.last(), &entry) {
                return None;
            }
            values.push(entry);
        }
        Some(values)
    }

    /// The mark of the last value.
    pub(crate) fn last(&self) -> Mark {
        self.entries.back().map_or(self.before, Mark::of)
    }

    /// The mark before the first value in memory.
    pub(crate) const fn before(&self) -> Mark {
        self.before
    }

    /// The newest checkpoint of this replica.
    pub(crate) const fn checkpoint(&self) -> Mark {
        self.checkpoint
    }

    fn at(&self, slot: LogIndex) -> Option<usize> {
        usize::try_from(slot.0.checked_sub(self.before.slot.0)?.checked_sub(1)?).ok()
    }

    pub(crate) fn entry(&self, slot: LogIndex) -> Option<&LogEntry> {
        self.entries.get(self.at(slot)?)
    }

    /// The mark of a slot in memory, or of the slot directly before them.
    pub(crate) fn mark(&self, slot: LogIndex) -> Option<Mark> {
        if slot == self.before.slot { Some(self.before) } else { self.entry(slot).map(Mark::of) }
    }

    pub(crate) fn holds(&self, mark: Mark) -> bool {
        self.mark(mark.slot) == Some(mark)
    }

    /// The last slot, at or before the mark's slot, whose round is at most the mark's round. Up to that slot
    /// this log may equal a log that has the mark. The rounds of slots before the values in memory are not
    /// known; for a mark there, returns the mark's own slot.
    pub(crate) fn last_until(&self, mark: Mark) -> LogIndex {
        let Some(end) = self.at(mark.slot.next()) else { return mark.slot };
        let end = end.min(self.entries.len());
        let count = self.entries.range(..end).rev().take_while(|entry| entry.term > mark.round).count();
        let is_before = count == end && self.before.round > mark.round;
        LogIndex((self.before.slot.0 + (end - count) as u64).saturating_sub(u64::from(is_before)))
    }

    /// Values from `first` on: one value, and more as long as all of them together have at most `size_max`
    /// bytes.
    pub(crate) fn batch(&self, first: LogIndex, size_max: usize) -> Vec<LogEntry> {
        let from = self.at(first).unwrap_or(usize::MAX).min(self.entries.len());
        let mut bytes = 0;
        let fitting = self.entries.range(from..).enumerate().take_while(|(number, entry)| {
            bytes += size(entry);
            *number == 0 || bytes <= size_max
        });
        fitting.map(|(_, entry)| entry.clone()).collect()
    }

    /// The slots in memory after `after` whose values change the members.
    pub(crate) fn changes_after(&self, after: LogIndex) -> impl Iterator<Item = LogIndex> {
        self.changes.iter().copied().filter(move |slot| *slot > after)
    }

    fn push(&mut self, entry: LogEntry) {
        self.bytes += size(&entry);
        if change_of(&entry).is_some() {
            self.changes.push_back(entry.index);
        }
        self.entries.push_back(entry);
    }

    /// Appends values. Existing values in the slot of the first one and later are dropped first.
    pub(crate) fn append(&mut self, entries: &[LogEntry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.before.slot, "a value in a checkpoint is never overwritten");
        assert!(first.index <= self.last().slot.next(), "slots have no gaps");
        while let Some(entry) = self.entries.pop_back_if(|entry| entry.index >= first.index) {
            self.bytes -= size(&entry);
        }
        while self.changes.pop_back_if(|slot| *slot >= first.index).is_some() {}
        entries.iter().cloned().for_each(|entry| self.push(entry));
    }

    /// A checkpoint is durable: drops old values that it covers.
    pub(crate) fn release(&mut self, slot: LogIndex, round: Term) {
        if slot <= self.checkpoint.slot {
            return;
        }
        assert!(slot <= self.last().slot, "a checkpoint covers only values of this log");
        self.checkpoint = Mark::new(slot, round);
        while self.bytes > RETAINED_BYTES_MAX
            && let Some(entry) = self.entries.pop_front_if(|entry| entry.index <= slot)
        {
            self.before = Mark::of(&entry);
            self.bytes -= size(&entry);
        }
        while self.changes.pop_front_if(|change| *change <= self.before.slot).is_some() {}
    }

    /// Restarts the log after a checkpoint that came from another replica.
    pub(crate) fn restart(&mut self, mark: Mark) {
        assert!(
            mark.slot >= self.checkpoint.slot,
            "a checkpoint that was fetched is not older than the own one"
        );
        self.entries.clear();
        self.changes.clear();
        self.bytes = 0;
        self.before = mark;
        self.checkpoint = mark;
    }
}
