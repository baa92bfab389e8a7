//! The write-ahead log of one replica. Entries that it has flushed survive a power failure.
//!
//! Entries are staged in memory as frames. One flush writes all staged frames with few large aligned writes
//! and one sync. The log consists of preallocated segments. Segments whose entries are all in a checkpoint
//! are removed. The format is in `docs/formats/log.md`.
//!
//! What always holds:
//! - Entries have no gaps, and their terms never decrease.
//! - A block that is durable is never written again, so no crash can tear it. There are two exceptions: the
//!   two changes of `rewrite`, which are recorded first, and an opening, which writes the same bytes in the
//!   same place.
//! - Acknowledged bytes are never cut. Damage is an error ([`LogError::Damaged`]). Only a torn write, which
//!   was never acknowledged, is cut, and the cut is reported.
//! - A full disk does not close the log. If there is no space for the next segment, nothing of it was
//!   written, and the same call succeeds once there is space ([`LogError::NoSpace`]).
//! - After a failed write or sync the log is closed for good: every later call returns the same error. It
//!   never syncs again after a failure, because the operating system may have dropped what it could not
//!   write. The next process may still read that from the cache, so an opening writes again what it relies
//!   on, and syncs that.
//!
//! Assertions come in pairs: what is checked before it is written is checked again after it was read. Bytes
//! from the disk are never asserted: a broken rule is an error then.
//!
//! | rule | before it is written | after it was read |
//! |---|---|---|
//! | indexes have no gaps, terms never decrease | `append` | `walk`: `LogError::Damaged` |
//! | a segment follows the one before it; only one without an entry is replaced | `flush` | `chain`: `LogError::Missing` |
//! | acknowledged ≤ durable ≤ last, recorded as committed ≤ committed ≤ last | every flush, truncation and reset | every opening |
//! | nothing that is acknowledged is cut | `tail::cut` | `tail::find`: `LogError::Damaged` |
//! | nothing that is committed is truncated or reset | `truncate`, `plan_reset` | `reset` |
//! | only what a durable checkpoint covers is released | `release` | `chain` and `tail`: an error |
//!
//! It never interprets a payload and never starts a thread: the caller chooses the threads that flush and
//! prepare segments.

mod chain;
mod error;
mod flush;
pub(crate) mod frame;
mod inspect;
mod prepare;
mod repair;
mod replay;
mod rewrite;
mod segment;
mod staging;
mod tail;
mod walk;

use std::sync::Arc;

use bezant_consensus::LogEntry;
use bezant_types::{LogIndex, Term, limits};

use crate::disk::{BLOCK_SIZE, Disk, DiskFile, OpenMode};
pub use error::LogError;
use frame::FRAME_HEADER_SIZE;
pub use frame::FrameKind;
pub use inspect::{FrameSummary, LogSummary, SegmentSummary, inspect, inspect_frames};
pub use prepare::Preparer;
use prepare::create_first;
pub use repair::repair;
pub(crate) use repair::void_log;
pub use replay::Replay;
use rewrite::{Reset, Rewrite};
use segment::SegmentHeader;
use staging::Staging;
pub use tail::CutTail;
use walk::Walk;

/// True when the folder has a segment of a log, also one that a repair has set aside.
pub fn has_segments(disk: &dyn Disk) -> Result<bool, LogError> {
    Ok(disk.list()?.iter().any(|name| name.starts_with("log-") && name.contains(".bzl")))
}

/// Sizes that the log uses. Sizes of segments are multiples of [`BLOCK_SIZE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Bytes of the largest segments, at least five blocks. The largest entry must fit into one.
    pub segment_size: u64,
    /// Bytes of the first segment of a log, and of the first after a reset; at least four blocks, at most
    /// `segment_size`. Each further segment has four times the size of the segment that was full, until the
    /// largest size is reached. So the log of a group without traffic stays small.
    pub segment_size_first: u64,
    /// Bytes that must stay free on the disk after a new segment was made: space for the checkpoint after
    /// which segments can be removed.
    pub reserve_size: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_size: 32 << 20, segment_size_first: 256 << 10, reserve_size: 64 << 20 }
    }
}

impl LogOptions {
    /// All segments have one size, and no space is reserved.
    pub const fn fixed(segment_size: u64) -> Self {
        Self { segment_size, segment_size_first: segment_size, reserve_size: 0 }
    }

    /// # Panics
    /// When a rule of these options is broken.
    fn check(&self) {
        for size in [self.segment_size, self.segment_size_first] {
            assert!(size.is_multiple_of(BLOCK_SIZE as u64), "segments are whole blocks");
        }
        assert!(self.segment_size >= 5 * BLOCK_SIZE as u64, "a segment holds at least an entry and a mark");
        assert!(self.segment_size_first >= 4 * BLOCK_SIZE as u64, "the first segment holds two blocks");
        assert!(self.segment_size_first <= self.segment_size, "the first segment is not the largest");
    }
}

/// Counts of what the log has done since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LogStats {
    /// Entries that were made durable.
    pub entries: u64,
    /// Bytes of the payloads of these entries.
    pub payload_bytes: u64,
    /// Bytes written, without the zeros of new segments.
    pub written_bytes: u64,
    /// Flushes that wrote something.
    pub flushes: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Segments begun.
    pub segments: u64,
    /// Marks written.
    pub marks: u64,
}

/// The state of the log after it was opened.
#[derive(Debug)]
pub struct Recovered {
    /// The entries after the checkpoint.
    pub entries: Replay,
    /// Index of the first entry after the checkpoint; `last_index + 1` when there is none.
    pub first_index: LogIndex,
    /// Index of the last entry; 0 when the log never had one.
    pub last_index: LogIndex,
    /// Term of the last entry; 0 when the log never had one.
    pub last_term: Term,
    /// The torn write that was cut, for a report to the operator; `None` when nothing was cut.
    pub cut: Option<CutTail>,
    /// The highest index that the newest segment records as committed; 0 when it records none. For the other
    /// segments, see [`Replay::committed`] after all entries were read.
    pub committed: LogIndex,
}

/// The log, open for writing.
#[derive(Debug)]
pub struct Log {
    disk: Arc<dyn Disk>,
    /// Oldest first; new entries go to the last.
    segments: Vec<SegmentHeader>,
    /// File of the last segment.
    file: Arc<dyn DiskFile>,
    staging: Staging,
    /// How many pieces of the unfinished flush are durable; `None` unless a flush waits for space.
    flushing: Option<usize>,
    /// The committed index that the unfinished flush records; `None` when it records none.
    flushing_committed: Option<LogIndex>,
    /// The acknowledged index that the mark in the unfinished flush records; `None` when it has no mark.
    flushing_mark: Option<LogIndex>,
    preparer: Preparer,
    options: LogOptions,
    payload_size_max: usize,
    last_index: LogIndex,
    last_term: Term,
    durable_index: LogIndex,
    marked_index: LogIndex,
    /// The highest index that is known to be committed.
    committed: LogIndex,
    /// The highest index that [`note_committed`](Self::note_committed) has named since the opening.
    named: LogIndex,
    /// The highest committed index that the disk records; 0 when unknown.
    noted: LogIndex,
    /// Number of the last flush.
    flush_number: u64,
    /// A reset that is recorded and not yet done.
    planned: Option<Reset>,
    failed: Option<LogError>,
    stats: LogStats,
}

impl Log {
    /// Opens the log of a folder, or creates one. `checkpoint` is the index of the newest checkpoint, 0 when
    /// there is none. Everything in the returned [`Recovered`] is durable.
    ///
    /// # Panics
    /// When the options break the rules of [`LogOptions`].
    pub fn open(
        disk: Arc<dyn Disk>,
        options: LogOptions,
        checkpoint: LogIndex,
    ) -> Result<(Self, Recovered), LogError> {
        options.check();
        let preparer = Preparer::new(Arc::clone(&disk), options.reserve_size);
        // A killed process may have created, renamed or removed files without a sync of the folder; the steps
        // below need durable names.
        disk.sync_folder()?;
        let mut rewrite = Rewrite::load(&*disk)?;
        if let Some(reset) = rewrite.and_then(Rewrite::reset).filter(|reset| reset.index == checkpoint) {
            rewrite::remove_all(&*disk)?;
            create_first(&*disk, &preparer, options.segment_size_first, reset.index, reset.term)?;
            rewrite::clear(&*disk)?;
            rewrite = None;
        }
        let mut chain = chain::load(&*disk, OpenMode::WriteDirect, checkpoint)?;
        if let Some(Rewrite::Truncate(after, _)) = rewrite {
            rewrite::truncate(&disk, &mut chain.needed, after)?;
        }
        let Some(last) = chain.needed.last().copied() else {
            // If a reset is recorded, its checkpoint does not exist: the reset is void.
            rewrite::clear(&*disk)?;
            return Self::create(disk, preparer, options);
        };
        let file = disk.open(&last.name(), OpenMode::WriteDirect)?;
        let mut walk = Walk::new(Arc::clone(&file), last);
        let tail = tail::find(&mut walk, checkpoint)?;
        // All checks have passed, so the folder may be changed.
        rewrite::settle(&*disk, &*file, &mut walk, rewrite, &tail)?;
        preparer.remove_old()?;
        for name in &chain.obsolete {
            disk.remove(name)?;
        }
        disk.sync_folder()?;
        let recovered = Recovered {
            entries: Replay::new(Arc::clone(&disk), &chain.needed, checkpoint, tail.last_index),
            first_index: checkpoint.next(),
            last_index: tail.last_index,
            last_term: tail.last_term,
            cut: tail.cut,
            committed: tail.committed,
        };
        let mut log = Self {
            disk,
            file,
            staging: Staging::new(last, tail.offset, options.segment_size),
            flushing: None,
            flushing_committed: None,
            flushing_mark: None,
            segments: chain.needed,
            preparer,
            options,
            payload_size_max: payload_size_max(options.segment_size),
            last_index: tail.last_index,
            last_term: tail.last_term,
            durable_index: tail.last_index,
            marked_index: tail.marked_index,
            committed: tail.committed,
            named: LogIndex(0),
            noted: tail.committed,
            flush_number: tail.flush_number,
            planned: None,
            failed: None,
            stats: LogStats::default(),
        };
        log.staging.committed = log.committed;
        log.preparer.set_next_size(log.staging.next_size());
        log.check_indexes();
        Ok((log, recovered))
    }

    /// Creates the first segment of an empty folder.
    fn create(
        disk: Arc<dyn Disk>,
        preparer: Preparer,
        options: LogOptions,
    ) -> Result<(Self, Recovered), LogError> {
        let zero = LogIndex(0);
        let (header, file) = create_first(&*disk, &preparer, options.segment_size_first, zero, Term(0))?;
        let recovered = Recovered {
            entries: Replay::new(Arc::clone(&disk), &[], zero, zero),
            first_index: LogIndex(1),
            last_index: zero,
            last_term: Term(0),
            cut: None,
            committed: zero,
        };
        let log = Self {
            disk,
            file,
            staging: Staging::new(header, BLOCK_SIZE as u64, options.segment_size),
            flushing: None,
            flushing_committed: None,
            flushing_mark: None,
            segments: vec![header],
            preparer,
            options,
            payload_size_max: payload_size_max(options.segment_size),
            last_index: zero,
            last_term: Term(0),
            durable_index: zero,
            marked_index: zero,
            committed: zero,
            named: zero,
            noted: zero,
            flush_number: 0,
            planned: None,
            failed: None,
            stats: LogStats::default(),
        };
        log.preparer.set_next_size(log.staging.next_size());
        Ok((log, recovered))
    }

    /// Index of the last entry that was appended; 0 when there never was one.
    pub const fn last_index(&self) -> LogIndex {
        self.last_index
    }

    /// Index of the last durable entry.
    pub const fn durable_index(&self) -> LogIndex {
        self.durable_index
    }

    /// Bytes of the log's files on the disk.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// Counts since the log was opened.
    pub const fn stats(&self) -> LogStats {
        self.stats
    }

    /// Bytes that are staged and not yet flushed.
    pub fn staged_bytes(&self) -> usize {
        self.staging.bytes.len()
    }

    /// True when the next segment should be prepared: less than half of the current one is left.
    pub fn needs_prepare(&self) -> bool {
        self.segments.last().is_some_and(|segment| self.staging.remaining() < segment.size / 2)
            && !self.preparer.is_prepared()
    }

    /// A handle that prepares segments, on any thread.
    pub fn preparer(&self) -> Preparer {
        self.preparer.clone()
    }

    /// Prepares the next segment on this thread. A failure here does not close the log.
    pub fn prepare(&mut self) -> Result<(), LogError> {
        self.check_failed()?;
        Ok(self.preparer.prepare()?)
    }

    /// Stages an entry for the next [`flush`](Self::flush). No I/O.
    ///
    /// To replace existing entries, call [`truncate`](Self::truncate) first.
    ///
    /// # Panics
    /// When the entry does not follow the last one, or a flush waits for space and has not ended.
    pub fn append(&mut self, entry: &LogEntry) -> Result<(), LogError> {
        self.check_failed()?;
        assert_eq!(self.flushing, None, "no entry is added to a flush that is being written");
        assert_eq!(entry.index, self.last_index.next(), "entries have no gaps");
        assert!(entry.term >= self.last_term, "terms never decrease");
        if entry.payload.len() > self.payload_size_max {
            return Err(LogError::TooLarge { size: entry.payload.len(), limit: self.payload_size_max });
        }
        self.staging
            .push(self.stamp(FrameKind::of_entry(entry.kind), entry.index, entry.term), &entry.payload);
        self.last_index = entry.index;
        self.last_term = entry.term;
        self.stats.payload_bytes += entry.payload.len() as u64;
        Ok(())
    }

    /// Everything up to `index` is committed. The next flush records that on the disk at no extra cost. No
    /// I/O.
    pub fn note_committed(&mut self, index: LogIndex) {
        self.named = self.named.max(index.min(self.last_index));
        self.committed = self.committed.max(self.named);
        self.staging.committed = self.committed;
    }

    /// The highest index that the disk records as committed.
    pub const fn noted(&self) -> LogIndex {
        self.noted
    }

    /// True when the disk does not yet record everything that is known to be committed; [`mark`](Self::mark)
    /// does.
    pub fn needs_note(&self) -> bool {
        self.noted < self.committed
    }

    /// Makes everything staged durable; returns the durable index.
    pub fn flush(&mut self) -> Result<LogIndex, LogError> {
        self.check_failed()?;
        if !self.staging.is_empty() {
            self.write_staged().map_err(|error| self.fail(error))?;
        }
        Ok(self.durable_index)
    }

    /// Checks that the folder and the current file were not deleted or replaced: an opening would not find
    /// what is written to them now. An error closes the log for good.
    pub fn check_place(&mut self) -> Result<(), LogError> {
        self.check_failed()?;
        let checked = self.file.check_place().and_then(|()| self.disk.check_place());
        checked.map_err(|error| self.fail(error.into()))
    }

    /// Writes a mark: everything appended so far is acknowledged. Then later damage of the last flush cannot
    /// pass for a torn write. Called when the log is idle and at a clean stop. Does nothing when the disk
    /// records that already, or when marks alone fill the segment: then the next entry records it. If there
    /// is no space for the mark, the next call of this or of [`flush`](Self::flush) writes it.
    pub fn mark(&mut self) -> Result<(), LogError> {
        self.flush()?;
        let is_due = self.marked_index < self.durable_index || self.needs_note();
        if is_due && self.has_space_for_mark() {
            let index = self.durable_index;
            self.staging.push(self.stamp(FrameKind::Mark, index, Term(0)), &[]);
            self.flushing_mark = Some(index);
            self.write_staged().map_err(|error| self.fail(error))?;
        }
        Ok(())
    }

    /// Removes every entry after `after`; these entries must not be committed. Durable on return. A
    /// [`Replay`] that has not read them yet ends with an error.
    ///
    /// # Panics
    /// When `after` precedes the first entry of the log, or an entry that was named as committed.
    pub fn truncate(&mut self, after: LogIndex) -> Result<(), LogError> {
        self.flush()?;
        if after < self.last_index {
            self.try_truncate(after).map_err(|error| self.fail(error))?;
        }
        Ok(())
    }

    fn try_truncate(&mut self, after: LogIndex) -> Result<(), LogError> {
        let is_held = self.segments.first().is_some_and(|oldest| oldest.first_index <= after.next());
        assert!(is_held, "entries that a checkpoint covers are never removed by a truncation");
        assert!(after >= self.named, "an entry that is known to be committed is never removed");
        Rewrite::Truncate(after, self.planned).store(&*self.disk)?;
        let end = rewrite::truncate(&self.disk, &mut self.segments, after)?;
        match self.planned {
            Some(reset) => Rewrite::Reset(reset).store(&*self.disk)?,
            None => rewrite::clear(&*self.disk)?,
        }
        let last = self.segments.last().copied().expect("invariant: one segment is left");
        self.file = self.disk.open(&last.name(), OpenMode::WriteDirect)?;
        self.staging = Staging::new(last, end.offset, self.options.segment_size);
        self.preparer.set_next_size(self.staging.next_size());
        self.last_index = after;
        self.last_term = end.last_term;
        self.durable_index = after;
        self.marked_index = end.marked_index;
        // The frame that recorded it may have been cut: the next flush records it again.
        self.committed = self.committed.min(after);
        self.staging.committed = self.committed;
        self.noted = LogIndex(0);
        self.flush_number = end.flush_number;
        self.check_indexes();
        Ok(())
    }

    /// Records that a checkpoint of `index` from another replica will be stored, and that the whole log is
    /// void from then on. Durable on return. The caller stores the checkpoint, then calls
    /// [`reset`](Self::reset). After a crash in between, the next [`open`](Self::open) does the reset if the
    /// checkpoint exists, and nothing otherwise. Entries appended in between are void as well. The replica
    /// must not make its own checkpoint at `index`.
    pub fn plan_reset(&mut self, index: LogIndex, term: Term) -> Result<(), LogError> {
        self.flush()?;
        assert!(index >= self.named, "another replica's checkpoint covers what is committed here");
        let reset = Reset { index, term };
        Rewrite::Reset(reset).store(&*self.disk).map_err(|error| self.fail(error))?;
        self.planned = Some(reset);
        Ok(())
    }

    /// Removes the record of [`plan_reset`](Self::plan_reset), because that checkpoint will not be made. If
    /// the plan stayed and the caller made its own checkpoint at that index, a crash would lose the log after
    /// it. Durable on return. Does nothing when no reset is planned.
    pub fn cancel_reset(&mut self) -> Result<(), LogError> {
        self.check_failed()?;
        if self.planned.take().is_some() {
            rewrite::clear(&*self.disk).map_err(|error| self.fail(error))?;
        }
        Ok(())
    }

    /// Restarts the log after the checkpoint of `index`, which must be durable. Durable on return.
    ///
    /// # Panics
    /// When this reset was not planned: a crash in the middle would look like lost files.
    pub fn reset(&mut self, index: LogIndex, term: Term) -> Result<(), LogError> {
        self.flush()?;
        assert_eq!(self.planned, Some(Reset { index, term }), "a reset is planned before it is done");
        assert!(index >= self.named, "another replica's checkpoint covers what is committed here");
        self.try_reset(index, term).map_err(|error| self.fail(error))
    }

    fn try_reset(&mut self, index: LogIndex, term: Term) -> Result<(), LogError> {
        rewrite::remove_all(&*self.disk)?;
        let first_size = self.options.segment_size_first;
        let (header, file) = create_first(&*self.disk, &self.preparer, first_size, index, term)?;
        rewrite::clear(&*self.disk)?;
        self.file = file;
        self.staging = Staging::new(header, BLOCK_SIZE as u64, self.options.segment_size);
        self.preparer.set_next_size(self.staging.next_size());
        self.segments = vec![header];
        self.last_index = index;
        self.last_term = term;
        self.durable_index = index;
        self.marked_index = index;
        self.committed = index;
        self.named = index;
        self.staging.committed = index;
        self.noted = index;
        self.flush_number = 0;
        self.planned = None;
        self.check_indexes();
        Ok(())
    }

    /// True from the plan of a reset until it is done or cancelled. Meanwhile no segment may be released.
    pub const fn is_reset_planned(&self) -> bool {
        self.planned.is_some()
    }

    /// Removes the segments whose entries are all at or before `below`; a checkpoint that covers them must be
    /// durable. A flush that waits for space can continue after this.
    ///
    /// # Panics
    /// When `below` is greater than the durable index, or a reset is planned (its segments may be
    /// gone).
    pub fn release(&mut self, below: LogIndex) -> Result<(), LogError> {
        self.check_failed()?;
        assert!(self.planned.is_none(), "a reset removes all segments itself");
        assert!(below <= self.durable_index, "a checkpoint covers only durable entries");
        let count =
            self.segments.partition_point(|segment| segment.first_index <= below.next()).saturating_sub(1);
        if count > 0 {
            self.remove_segments(count).map_err(|error| self.fail(error))?;
        }
        Ok(())
    }

    fn remove_segments(&mut self, count: usize) -> Result<(), LogError> {
        assert!(count < self.segments.len(), "the segment that takes new entries stays");
        for segment in self.segments.drain(..count) {
            self.disk.remove(&segment.name())?;
        }
        Ok(self.disk.sync_folder()?)
    }

    /// What holds after every change of the log, and after it was opened.
    fn check_indexes(&self) {
        assert!(self.durable_index <= self.last_index, "what is durable was appended");
        assert!(self.marked_index <= self.durable_index, "what is acknowledged is durable");
        assert!(self.committed <= self.last_index, "what is committed was appended");
        assert!(self.noted <= self.committed, "the disk records no more than what is committed");
    }

    fn check_failed(&self) -> Result<(), LogError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Closes the log for good, except when nothing was written because the disk is full.
    fn fail(&mut self, error: LogError) -> LogError {
        if !matches!(error, LogError::NoSpace(_)) {
            self.failed = Some(error.clone());
        }
        error
    }
}

/// Bytes of a frame with a payload of that size.
fn padded_frame_size(payload_size: usize) -> u64 {
    (FRAME_HEADER_SIZE + payload_size.next_multiple_of(FRAME_HEADER_SIZE)) as u64
}

/// Maximal bytes of a payload: it fits, with a mark before it, into one segment of the largest size.
fn payload_size_max(segment_size: u64) -> usize {
    let taken = 3 * BLOCK_SIZE + FRAME_HEADER_SIZE;
    walk::in_memory(segment_size).saturating_sub(taken).min(limits::ENTRY_SIZE_MAX)
}
