//! The write-ahead log: the one truth. What it has flushed survives the loss of power.
//!
//! Entries are staged in memory and flushed together: few large aligned writes, one sync for all that waits.
//! The log lies in preallocated segments; those whose entries are in a checkpoint are released. The
//! format is in `docs/formats/log.md`.
//!
//! What always holds:
//! - Entries have no gaps, and their terms never go back.
//! - A block that was made durable is never written again, so that no crash can tear it; but for the two changes
//!   of `rewrite`, which are noted first, and for the same bytes in the same place, at an opening.
//! - Bytes that were acknowledged are never cut: damage is refused ([`LogError::Damaged`]), and only a
//!   torn write that nobody was told of is cut, and reported.
//! - A full disk is no broken one: where there is no room for the next segment, nothing of it was written, and the same
//!   call goes on when there is ([`LogError::NoRoom`]).
//! - After a failed write or sync the log is closed for good: every later call answers the same error. It
//!   never syncs again over a failure, for the system may have forgotten what it could not write. The next process
//!   may still read it: an opening writes what it relies on again, and syncs that.
//!
//! It never interprets a payload, and never starts a thread: the caller decides who flushes and who
//! prepares segments.

mod chain;
mod error;
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

use crate::aligned::AlignedBuffer;
use crate::disk::{BLOCK_SIZE, Disk, DiskFile, OpenMode};
pub use error::LogError;
pub use frame::FrameKind;
use frame::{FRAME_HEADER_SIZE, FrameHeader};
pub use inspect::{FrameSummary, LogSummary, SegmentSummary, inspect, inspect_frames};
pub use prepare::Preparer;
use prepare::{begin_segment, create_first};
pub(crate) use repair::forget_log;
pub use repair::repair;
pub use replay::Replay;
use rewrite::{Reset, Rewrite};
use segment::SegmentHeader;
use staging::{Staging, Stamp};
pub use tail::CutTail;
use walk::Walk;

/// How the log lies on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Bytes of a new segment; a multiple of [`BLOCK_SIZE`], at least five blocks.
    pub segment_size: u64,
    /// Bytes that must stay free on the disk after a new segment was made: room for the checkpoint that
    /// will release segments.
    pub reserve_size: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_size: 32 << 20, reserve_size: 64 << 20 }
    }
}

/// What the log has done since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LogStats {
    /// Entries that were made durable.
    pub entries: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Bytes written, everything in but the zeros of new segments.
    pub written_bytes: u64,
    /// Flushes that had something to do.
    pub flushes: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Segments begun.
    pub segments: u64,
    /// Marks written.
    pub marks: u64,
}

/// What was found when the log was opened.
#[derive(Debug)]
pub struct Recovered {
    /// The entries after the checkpoint.
    pub entries: Replay,
    /// The first entry after the checkpoint; one past `last_index` when there is none.
    pub first_index: LogIndex,
    /// The last entry of the log; 0 when there has never been one.
    pub last_index: LogIndex,
    /// Its term; 0 when there has never been one.
    pub last_term: Term,
    /// The torn write that was cut, if there was one: to be told to the operator.
    pub cut: Option<CutTail>,
    /// The last entry that the newest segment says to be committed; 0 when it says nothing. What the others say comes from
    /// [`Replay::committed`] once all entries were read.
    pub committed: LogIndex,
}

/// The log, open for writing.
#[derive(Debug)]
pub struct Log {
    disk: Arc<dyn Disk>,
    /// Oldest first; the last is being written.
    segments: Vec<SegmentHeader>,
    /// Of the last segment.
    file: Arc<dyn DiskFile>,
    staging: Staging,
    /// Pieces of the group under way that are durable; `None` while no flush waits for room.
    flushing: Option<usize>,
    /// The committed index that the group under way says; `None` = it says none.
    saying: Option<LogIndex>,
    /// What the mark in the group under way says to be acknowledged; `None` = there is no mark in it.
    marking: Option<LogIndex>,
    preparer: Preparer,
    segment_size: u64,
    payload_size_max: usize,
    last_index: LogIndex,
    last_term: Term,
    durable_index: LogIndex,
    marked_index: LogIndex,
    /// The last entry that is known to be committed, and what of that the disk says.
    committed: LogIndex,
    noted: LogIndex,
    /// Number of the last flush.
    group: u64,
    /// A reset that was noted and is not done.
    planned: Option<Reset>,
    failed: Option<LogError>,
    stats: LogStats,
}

impl Log {
    /// Opens the log of a folder, or makes one; `checkpoint` is the index of the newest checkpoint, 0 when
    /// there is none. What it says was found is durable.
    ///
    /// # Panics
    /// When the options do not hold what they must.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: LogOptions,
        checkpoint: LogIndex,
    ) -> Result<(Self, Recovered), LogError> {
        assert!(options.segment_size.is_multiple_of(BLOCK_SIZE as u64), "segments are whole blocks");
        assert!(
            options.segment_size >= 5 * BLOCK_SIZE as u64,
            "a segment holds at least an entry and a mark"
        );
        let preparer = Preparer::new(Arc::clone(&disk), options.segment_size, options.reserve_size);
        // The names that a killed process gave and took may not be durable; what is done here builds on them.
        disk.sync_folder()?;
        let mut rewrite = Rewrite::load(&*disk)?;
        if let Some(reset) = rewrite.and_then(Rewrite::reset).filter(|reset| reset.index == checkpoint) {
            rewrite::remove_all(&*disk)?;
            create_first(&*disk, &preparer, options.segment_size, reset.index, reset.term)?;
            rewrite::forget(&*disk)?;
            rewrite = None;
        }
        let mut chain = chain::load(&*disk, OpenMode::WriteDirect, checkpoint)?;
        if let Some(Rewrite::Truncate(after, _)) = rewrite {
            rewrite::truncate(&disk, &mut chain.needed, after)?;
        }
        let Some(last) = chain.needed.last().copied() else {
            // A reset without its checkpoint is void.
            rewrite::forget(&*disk)?;
            return Self::create(disk, preparer, options.segment_size);
        };
        let file = disk.open(&last.name(), OpenMode::WriteDirect)?;
        let mut walk = Walk::new(Arc::clone(&file), last);
        let tail = tail::find(&mut walk, checkpoint)?;
        // Everything was checked that must hold before the folder may be changed.
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
            saying: None,
            marking: None,
            segments: chain.needed,
            preparer,
            segment_size: options.segment_size,
            payload_size_max: payload_size_max(options.segment_size),
            last_index: tail.last_index,
            last_term: tail.last_term,
            durable_index: tail.last_index,
            marked_index: tail.marked_index,
            committed: tail.committed,
            noted: tail.committed,
            group: tail.group,
            planned: None,
            failed: None,
            stats: LogStats::default(),
        };
        log.staging.committed = log.committed;
        Ok((log, recovered))
    }

    /// The first segment of an empty folder.
    fn create(
        disk: Arc<dyn Disk>,
        preparer: Preparer,
        segment_size: u64,
    ) -> Result<(Self, Recovered), LogError> {
        let zero = LogIndex(0);
        let (header, file) = create_first(&*disk, &preparer, segment_size, zero, Term(0))?;
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
            staging: Staging::new(header, BLOCK_SIZE as u64, segment_size),
            flushing: None,
            saying: None,
            marking: None,
            segments: vec![header],
            preparer,
            segment_size,
            payload_size_max: payload_size_max(segment_size),
            last_index: zero,
            last_term: Term(0),
            durable_index: zero,
            marked_index: zero,
            committed: zero,
            noted: zero,
            group: 0,
            planned: None,
            failed: None,
            stats: LogStats::default(),
        };
        Ok((log, recovered))
    }

    /// The last entry that was appended; 0 when there has never been one.
    pub const fn last_index(&self) -> LogIndex {
        self.last_index
    }

    /// The last entry that is durable.
    pub const fn durable_index(&self) -> LogIndex {
        self.durable_index
    }

    /// Bytes that the log's files take on the disk.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// What was done since it was opened.
    pub const fn stats(&self) -> LogStats {
        self.stats
    }

    /// Bytes that are staged and not yet flushed.
    pub fn staged_bytes(&self) -> usize {
        self.staging.bytes.len()
    }

    /// True when the next segment should be made ready: less than a half of this one is left.
    pub fn needs_prepare(&self) -> bool {
        self.segments.last().is_some_and(|segment| self.staging.room() < segment.size / 2)
            && !self.preparer.is_prepared()
    }

    /// Makes segments ready, from another thread if that suits.
    pub fn preparer(&self) -> Preparer {
        self.preparer.clone()
    }

    /// Makes the next segment ready on this thread; a failure here does not close the log.
    pub fn prepare(&mut self) -> Result<(), LogError> {
        self.check_failed()?;
        Ok(self.preparer.prepare()?)
    }

    /// Stages an entry for the next [`flush`](Self::flush). No I/O.
    ///
    /// Whoever puts another entry in the place of one that is there calls [`truncate`](Self::truncate) first.
    ///
    /// # Panics
    /// When the entry does not follow the last one, or a flush waits for room: that one is to be ended first.
    pub fn append(&mut self, entry: &LogEntry) -> Result<(), LogError> {
        self.check_failed()?;
        assert_eq!(self.flushing, None, "a group that is being written takes no more entries");
        assert_eq!(entry.index, self.last_index.next(), "entries have no gaps");
        assert!(entry.term >= self.last_term, "terms never go back");
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

    /// Everything up to here is committed: the next flush says so on the disk, and costs nothing more for it. No I/O.
    pub fn note_committed(&mut self, index: LogIndex) {
        self.committed = self.committed.max(index.min(self.last_index));
        self.staging.committed = self.committed;
    }

    /// The last entry of which the disk says that it is committed.
    pub const fn noted(&self) -> LogIndex {
        self.noted
    }

    /// True when the disk does not say yet what is known to be committed: [`mark`](Self::mark) says it.
    pub fn needs_note(&self) -> bool {
        self.noted < self.committed
    }

    /// Makes everything staged durable; says up to where the log is durable then.
    pub fn flush(&mut self) -> Result<LogIndex, LogError> {
        self.check_failed()?;
        if !self.staging.is_empty() {
            self.write_staged().map_err(|error| self.fail(error))?;
        }
        Ok(self.durable_index)
    }

    /// An error when the folder or the file that is being written was deleted or replaced: what lies there then is not
    /// what an opening finds. Closes the log for good.
    pub fn check_place(&mut self) -> Result<(), LogError> {
        self.check_failed()?;
        let checked = self.file.check_place().and_then(|()| self.disk.check_place());
        checked.map_err(|error| self.fail(error.into()))
    }

    /// Writes down that everything appended so far is acknowledged, so that later damage to the last group is
    /// known for damage. For idle moments and a clean stop; does nothing when it was said already. A mark that finds no
    /// room is written by the next call of this, or of [`flush`](Self::flush).
    pub fn mark(&mut self) -> Result<(), LogError> {
        self.flush()?;
        if self.marked_index < self.durable_index || self.needs_note() {
            let index = self.durable_index;
            self.staging.push(self.stamp(FrameKind::Mark, index, Term(0)), &[]);
            self.marking = Some(index);
            self.write_staged().map_err(|error| self.fail(error))?;
        }
        Ok(())
    }

    /// Forgets every entry behind `after`: they were never agreed. Durable on return. A [`Replay`] of them ends
    /// with an error, if it is not at its end.
    ///
    /// # Panics
    /// When `after` lies before what the log holds.
    pub fn truncate(&mut self, after: LogIndex) -> Result<(), LogError> {
        self.flush()?;
        if after < self.last_index {
            self.try_truncate(after).map_err(|error| self.fail(error))?;
        }
        Ok(())
    }

    fn try_truncate(&mut self, after: LogIndex) -> Result<(), LogError> {
        let is_held = self.segments.first().is_some_and(|oldest| oldest.first_index <= after.next());
        assert!(is_held, "what a checkpoint holds is never forgotten");
        Rewrite::Truncate(after, self.planned).store(&*self.disk)?;
        let end = rewrite::truncate(&self.disk, &mut self.segments, after)?;
        match self.planned {
            Some(reset) => Rewrite::Reset(reset).store(&*self.disk)?,
            None => rewrite::forget(&*self.disk)?,
        }
        let last = self.segments.last().copied().expect("invariant: one segment is left");
        self.file = self.disk.open(&last.name(), OpenMode::WriteDirect)?;
        self.staging = Staging::new(last, end.offset, self.segment_size);
        self.last_index = after;
        self.last_term = end.last_term;
        self.durable_index = after;
        self.marked_index = end.marked_index;
        // What said it may have been cut off: the next flush says it again.
        self.committed = self.committed.min(after);
        self.staging.committed = self.committed;
        self.noted = LogIndex(0);
        self.group = end.group;
        Ok(())
    }

    /// Notes that a checkpoint of `index` from another replica will be made durable, and that everything in the
    /// log is void then. Durable on return. [`reset`](Self::reset) follows; when a crash comes before it, the
    /// next [`open`](Self::open) does it if the checkpoint is there, and nothing if it is not. What is appended
    /// meanwhile is void with the rest, and the node makes no checkpoint of its own at that index.
    pub fn plan_reset(&mut self, index: LogIndex, term: Term) -> Result<(), LogError> {
        self.flush()?;
        let reset = Reset { index, term };
        Rewrite::Reset(reset).store(&*self.disk).map_err(|error| self.fail(error))?;
        self.planned = Some(reset);
        Ok(())
    }

    /// Forgets what [`plan_reset`](Self::plan_reset) has noted, because that checkpoint will not be made. Whoever
    /// leaves the plan there and makes a checkpoint of its own at that index loses the log behind it when a crash
    /// comes. Durable on return; does nothing when nothing is planned.
    pub fn cancel_reset(&mut self) -> Result<(), LogError> {
        self.check_failed()?;
        if self.planned.take().is_some() {
            rewrite::forget(&*self.disk).map_err(|error| self.fail(error))?;
        }
        Ok(())
    }

    /// Begins anew behind the checkpoint of `index`, which is durable. Durable on return.
    ///
    /// # Panics
    /// When another reset or none was planned: a crash in the middle could not be told from a loss.
    pub fn reset(&mut self, index: LogIndex, term: Term) -> Result<(), LogError> {
        self.flush()?;
        assert_eq!(self.planned, Some(Reset { index, term }), "a reset is planned before it is done");
        self.try_reset(index, term).map_err(|error| self.fail(error))
    }

    fn try_reset(&mut self, index: LogIndex, term: Term) -> Result<(), LogError> {
        rewrite::remove_all(&*self.disk)?;
        let (header, file) = create_first(&*self.disk, &self.preparer, self.segment_size, index, term)?;
        rewrite::forget(&*self.disk)?;
        self.file = file;
        self.staging = Staging::new(header, BLOCK_SIZE as u64, self.segment_size);
        self.segments = vec![header];
        self.last_index = index;
        self.last_term = term;
        self.durable_index = index;
        self.marked_index = index;
        self.committed = index;
        self.staging.committed = index;
        self.noted = index;
        self.group = 0;
        self.planned = None;
        Ok(())
    }

    /// True from the plan of a reset until it is done or cancelled: there is nothing to release then.
    pub const fn is_reset_planned(&self) -> bool {
        self.planned.is_some()
    }

    /// Frees the segments whose entries are all at or before `below`, of which there is a durable checkpoint. A flush that
    /// waits for room is not disturbed: it may go on then.
    ///
    /// # Panics
    /// When `below` is past what is durable, or a reset is planned: its segments may be gone already.
    pub fn release(&mut self, below: LogIndex) -> Result<(), LogError> {
        self.check_failed()?;
        assert!(self.planned.is_none(), "a reset removes all segments itself");
        assert!(below <= self.durable_index, "a checkpoint holds what the log has made durable");
        let count =
            self.segments.partition_point(|segment| segment.first_index <= below.next()).saturating_sub(1);
        if count > 0 {
            self.remove_segments(count).map_err(|error| self.fail(error))?;
        }
        Ok(())
    }

    fn remove_segments(&mut self, count: usize) -> Result<(), LogError> {
        for segment in self.segments.drain(..count) {
            self.disk.remove(&segment.name())?;
        }
        Ok(self.disk.sync_folder()?)
    }

    fn stamp(&self, kind: FrameKind, index: LogIndex, term: Term) -> Stamp {
        Stamp {
            kind,
            index,
            term,
            durable_index: self.durable_index,
            group: self.group + 1,
            previous_term: self.last_term,
            next_index: self.last_index.next(),
        }
    }

    fn write_staged(&mut self) -> Result<(), LogError> {
        let begun = self.flushing.unwrap_or_else(|| {
            self.group += 1;
            let is_said = self.staging.close(self.group, self.durable_index);
            self.saying = is_said.then_some(self.committed);
            0
        });
        for number in begun..self.staging.pieces.len() {
            self.flushing = Some(number);
            let piece = self.staging.pieces[number];
            let bytes = self.staging.piece_bytes(number);
            self.stats.written_bytes += bytes.len() as u64;
            self.stats.syncs += 1;
            if piece.offset == 0 {
                let file = begin_segment(&*self.disk, &self.preparer, &piece.segment, bytes)?;
                self.seal(&piece.segment)?;
                self.file = file;
                self.segments.push(piece.segment);
                self.stats.segments += 1;
            } else {
                // Of two pieces, the first is durable before the second is begun: a segment proves all before it.
                self.file.write_at(piece.offset, bytes)?;
                self.file.sync()?;
            }
        }
        self.staging.clear();
        // What was committed when the group was closed: more may be by now, if the disk had no room for a while.
        if let Some(committed) = self.saying.take() {
            self.noted = committed;
        }
        if let Some(index) = self.marking.take() {
            self.marked_index = index;
            self.stats.marks += 1;
        }
        self.flushing = None;
        self.stats.flushes += 1;
        self.stats.entries += self.last_index.0 - self.durable_index.0;
        self.durable_index = self.last_index;
        Ok(())
    }

    /// Says in the last segment's last block that `next` came after it.
    fn seal(&mut self, next: &SegmentHeader) -> Result<(), LogError> {
        let Some(sealed) = self.segments.last() else { return Ok(()) };
        let last_index = LogIndex(next.first_index.0 - 1);
        let header = FrameHeader {
            kind: FrameKind::Seal,
            index: last_index,
            term: Term(0),
            durable_index: last_index,
            group: next.group,
            sequence: sealed.sequence,
            payload_size: 0,
            payload_checksum: bezant_codec::checksum_seeded(last_index.0, &[]),
        };
        let mut block = AlignedBuffer::with_capacity(BLOCK_SIZE);
        block.extend(&header.encode(sealed.frames_end()));
        block.extend_zeros(BLOCK_SIZE - FRAME_HEADER_SIZE);
        self.file.write_at(sealed.frames_end(), &block)?;
        self.file.sync()?;
        self.stats.syncs += 1;
        Ok(())
    }

    fn check_failed(&self) -> Result<(), LogError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Closes the log for good, but where nothing was written for want of room.
    fn fail(&mut self, error: LogError) -> LogError {
        if !matches!(error, LogError::NoRoom(_)) {
            self.failed = Some(error.clone());
        }
        error
    }
}

/// Bytes that an entry's payload may have: it fits, with a mark before it, in a segment of its own.
fn payload_size_max(segment_size: u64) -> usize {
    let taken = 3 * BLOCK_SIZE + FRAME_HEADER_SIZE;
    walk::in_memory(segment_size).saturating_sub(taken).min(limits::ENTRY_SIZE_MAX)
}
