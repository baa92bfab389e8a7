//! Reads the entries of the log after a start, in order, one at a time.
//!
//! At most one window of a segment is in memory. Every byte that is read is checked. An invalid byte is an
//! error, because everything that a replay covers was durable when the log was opened.

use std::sync::Arc;

use bezant_consensus::LogEntry;
use bezant_types::LogIndex;
use bytes::Bytes;

use super::error::LogError;
use super::segment::SegmentHeader;
use super::walk::{Step, Walk, damaged};
use crate::disk::{Disk, OpenMode};

/// The entries after the checkpoint, as they were when the log was opened.
#[derive(Debug)]
pub struct Replay {
    disk: Arc<dyn Disk>,
    /// Segments not yet read; the next one is last.
    segments: Vec<SegmentHeader>,
    walk: Option<Walk>,
    checkpoint: LogIndex,
    last_index: LogIndex,
    /// Index of the last entry that was returned or skipped.
    passed_index: LogIndex,
    /// The highest index that a padding read so far records as committed; 0 when there is none.
    committed: LogIndex,
}

impl Replay {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        segments: &[SegmentHeader],
        checkpoint: LogIndex,
        last_index: LogIndex,
    ) -> Self {
        let passed_index = segments.first().map_or(last_index, |first| LogIndex(first.first_index.0 - 1));
        let segments = segments.iter().rev().copied().collect();
        Self { disk, segments, walk: None, checkpoint, last_index, passed_index, committed: LogIndex(0) }
    }

    /// The highest index that the log records as committed, in the frames read so far. See also
    /// [`Recovered::committed`](super::Recovered).
    pub const fn committed(&self) -> LogIndex {
        self.committed
    }

    /// The next entry; `None` after the last.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator of results makes it easy to skip an error; this signature does not"
    )]
    pub fn next(&mut self) -> Result<Option<LogEntry>, LogError> {
        while self.passed_index < self.last_index {
            let walk = match &mut self.walk {
                Some(walk) => walk,
                None => match self.segments.pop() {
                    Some(header) => {
                        // Bypasses the page cache where possible: the cache may hold bytes that never reached
                        // the disk.
                        let file = self.disk.open(&header.name(), OpenMode::WriteDirect)?;
                        self.walk.insert(Walk::new(file, header))
                    }
                    None => return Ok(None),
                },
            };
            if walk.next_index != self.passed_index.next() {
                let reason = "the segment does not begin where the one before it ends";
                return Err(LogError::damaged(walk.window.file_name(), 0, self.passed_index.next(), reason));
            }
            match walk.step()? {
                Step::Frame(frame, offset) if frame.kind.is_entry() => {
                    self.passed_index = frame.index;
                    if frame.index > self.checkpoint {
                        let payload = Bytes::copy_from_slice(walk.payload(&frame, offset)?);
                        let (index, term, kind) = (frame.index, frame.term, frame.kind.entry_kind());
                        return Ok(Some(LogEntry { index, term, kind, payload }));
                    }
                }
                Step::Frame(..) => self.committed = self.committed.max(walk.committed),
                Step::Fault(fault) => return Err(damaged(walk, &fault, fault.reason)),
                Step::Blank | Step::Full => self.end_segment()?,
            }
        }
        Ok(None)
    }

    /// Ends the current segment; the next one must begin with the next entry.
    fn end_segment(&mut self) -> Result<(), LogError> {
        let Some(walk) = self.walk.take() else { return Ok(()) };
        let expected = self.segments.last().map_or_else(|| self.last_index.next(), |next| next.first_index);
        if walk.next_index != expected {
            let reason = "the segment ends here, and later entries were durable";
            return Err(LogError::damaged(walk.window.file_name(), walk.offset, walk.next_index, reason));
        }
        Ok(())
    }
}
