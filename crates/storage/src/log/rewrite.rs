//! The two changes of the log that write over durable bytes: a truncation and a reset.
//!
//! A new leader may replace entries that were never committed, though they are durable here. A checkpoint of
//! another replica makes the whole log void. Both changes are recorded before anything is touched. So a crash
//! in the middle is not reported as damage, and the next opening completes the change.

use std::sync::Arc;

use bezant_codec::Reader;
use bezant_types::{LogIndex, Term};

use super::error::LogError;
use super::segment::{SegmentHeader, first_index_of, segment_name};
use super::tail::{self, Tail};
use super::walk::{BLOCK, Step, Walk, damaged, is_zero};
use crate::aligned::AlignedBuffer;
use crate::disk::{BLOCK_SIZE, Disk, DiskFile, OpenMode};
use crate::record::{self, RecordError, RecordKind};

/// A change under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rewrite {
    /// Everything after this entry is removed. A reset may be planned at the same time.
    Truncate(LogIndex, Option<Reset>),
    /// A planned reset; nothing is changed yet.
    Reset(Reset),
}

/// Once a checkpoint of entry `index` exists, the log restarts after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reset {
    pub(super) index: LogIndex,
    /// Term of entry `index`.
    pub(super) term: Term,
}

const TRUNCATE: u64 = 1;
const RESET: u64 = 2;
const TRUNCATE_AND_RESET: u64 = 3;

impl Rewrite {
    /// The change that an earlier process began and did not end; `None` when there is none.
    pub(super) fn load(disk: &dyn Disk) -> Result<Option<Self>, LogError> {
        let Some(content) = record::load(disk, RecordKind::Rewrite)? else { return Ok(None) };
        let mut reader = Reader::new(&content);
        let mut next = || reader.u64().map_err(|_| unreadable());
        let rewrite = match next()? {
            TRUNCATE => Self::Truncate(LogIndex(next()?), None),
            RESET => Self::Reset(Reset { index: LogIndex(next()?), term: Term(next()?) }),
            TRUNCATE_AND_RESET => {
                let after = LogIndex(next()?);
                Self::Truncate(after, Some(Reset { index: LogIndex(next()?), term: Term(next()?) }))
            }
            _ => return Err(unreadable()),
        };
        Ok(Some(rewrite))
    }

    /// The reset to do once its checkpoint exists.
    pub(super) const fn reset(self) -> Option<Reset> {
        match self {
            Self::Truncate(_, reset) => reset,
            Self::Reset(reset) => Some(reset),
        }
    }

    /// Records the change; durable on return.
    pub(super) fn store(self, disk: &dyn Disk) -> Result<(), LogError> {
        let fields = match self {
            Self::Truncate(after, None) => [TRUNCATE, after.0, 0, 0],
            Self::Truncate(after, Some(reset)) => [TRUNCATE_AND_RESET, after.0, reset.index.0, reset.term.0],
            Self::Reset(reset) => [RESET, reset.index.0, reset.term.0, 0],
        };
        let content: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
        Ok(record::store(disk, RecordKind::Rewrite, &content)?)
    }
}

fn unreadable() -> LogError {
    LogError::Record(RecordError::Damaged {
        file: "log-rewrite.bzr".to_owned(),
        reason: "it does not describe a change of the log",
        advice: super::error::ADVICE,
    })
}

/// Removes the record: the change is done or void.
pub(super) fn clear(disk: &dyn Disk) -> Result<(), LogError> {
    Ok(record::remove(disk, RecordKind::Rewrite)?)
}

/// The end of the log after a truncation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Truncated {
    /// Where the next flush begins, in bytes.
    pub(super) offset: u64,
    pub(super) last_term: Term,
    pub(super) marked_index: LogIndex,
    /// Number of the last flush of which frames are left. The next flush gets the next number, as after an
    /// opening.
    pub(super) flush_number: u64,
}

/// Removes everything after entry `after`: whole segments, newest first, then the rest of the segment that
/// contains that entry. Marks of that entry stay. The removal is idempotent: a repetition completes an
/// interrupted one.
pub(super) fn truncate(
    disk: &Arc<dyn Disk>,
    segments: &mut Vec<SegmentHeader>,
    after: LogIndex,
) -> Result<Truncated, LogError> {
    while segments.len() > 1
        && let Some(last) = segments.pop_if(|segment| segment.first_index > after.next())
    {
        disk.remove(&last.name())?;
        disk.sync_folder()?;
    }
    let Some(last) = segments.last().copied() else { return Err(unreadable()) };
    let file = disk.open(&last.name(), OpenMode::WriteDirect)?;
    let mut walk = Walk::new(Arc::clone(&file), last);
    while walk.next_index <= after {
        match walk.step()? {
            Step::Frame(..) => {}
            Step::Fault(fault) => return Err(damaged(&walk, &fault, fault.reason)),
            Step::Blank | Step::Full => {
                let reason = "the log ends here, and later entries were durable";
                return Err(LogError::damaged(&last.name(), walk.offset, walk.next_index, reason));
            }
        }
    }
    pass_marks(&mut walk)?;
    // A begun block is always closed: the power may have failed before its padding was written.
    let flush_end = walk.offset.next_multiple_of(BLOCK);
    let end = written_end(&mut walk)?.max(flush_end);
    if end > walk.offset {
        tail::cut(&*file, &mut walk, end)?;
    }
    let seal = AlignedBuffer::zeroed(BLOCK_SIZE);
    file.write_at(last.frames_end(), &seal)?;
    file.sync()?;
    Ok(Truncated {
        offset: walk.offset.next_multiple_of(BLOCK),
        last_term: walk.term,
        marked_index: walk.marked_index,
        flush_number: walk.flush_number,
    })
}

/// Makes durable what an opening has read and relies on, cuts what must be cut, and ends the change under
/// way. A reset without its checkpoint is void.
///
/// A cut is recorded as a truncation before it is done. A cut whose zeros never reach the disk can still read
/// as zeros at the next opening; the record makes that opening write them again. So when there is no record,
/// everything after the last flush in the last segment is zero on the disk.
pub(super) fn settle(
    disk: &dyn Disk,
    file: &dyn DiskFile,
    walk: &mut Walk,
    under_way: Option<Rewrite>,
    tail: &Tail,
) -> Result<(), LogError> {
    tail::write_again(file, walk)?;
    let mut is_recorded = matches!(under_way, Some(Rewrite::Truncate(..)));
    if tail.cut.is_some() && !is_recorded {
        // The entries that stay must be durable before the record is.
        file.sync()?;
        Rewrite::Truncate(tail.last_index, None).store(disk)?;
        is_recorded = true;
    }
    let end = if is_recorded { walk.header.size } else { walk.offset };
    tail::cut(file, walk, end)?;
    clear(disk)
}

/// Passes the padding and the marks after the last entry, up to the next entry.
fn pass_marks(walk: &mut Walk) -> Result<(), LogError> {
    while walk.offset < walk.header.frames_end()
        && let Ok(frame) = walk.decode(walk.offset)?
        && !frame.kind.is_entry()
        && let Step::Frame(..) = walk.step()?
    {}
    Ok(())
}

/// The end of the last block after the walk's position that has a byte other than zero; the position itself
/// when all are zero.
fn written_end(walk: &mut Walk) -> Result<u64, LogError> {
    let (start, end) = (walk.offset, walk.header.frames_end());
    let mut written_end = start;
    let mut block = start - start % BLOCK;
    while block < end {
        let from = block.max(start);
        if !is_zero(walk.window.bytes(from, block + BLOCK - from)?) {
            written_end = block + BLOCK;
        }
        block += BLOCK;
    }
    Ok(written_end)
}

/// Removes all segments.
pub(super) fn remove_all(disk: &dyn Disk) -> Result<(), LogError> {
    for first_index in disk.list()?.iter().filter_map(|name| first_index_of(name)) {
        disk.remove(&segment_name(first_index))?;
    }
    Ok(disk.sync_folder()?)
}
