//! The two changes of the log that write over what was durable: forgetting its end, and beginning anew.
//!
//! A new leader may overrule entries that were never agreed, though they are durable here; and a checkpoint of
//! another replica makes the whole log void. Both are noted in a record before anything is touched, so that
//! a crash in the middle is told from damage, and the change is done again to its end at the next opening.

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
    /// Everything behind this entry is forgotten. A reset may be planned meanwhile.
    Truncate(LogIndex, Option<Reset>),
    /// Nothing is changed yet.
    Reset(Reset),
}

/// Once there is a checkpoint of this entry, the log begins anew behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reset {
    pub(super) index: LogIndex,
    /// That entry's.
    pub(super) term: Term,
}

const TRUNCATE: u64 = 1;
const RESET: u64 = 2;
const TRUNCATE_AND_RESET: u64 = 3;

impl Rewrite {
    /// The change that an earlier process did not end.
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

    /// The reset that is to be done when there is its checkpoint.
    pub(super) const fn reset(self) -> Option<Reset> {
        match self {
            Self::Truncate(_, reset) => reset,
            Self::Reset(reset) => Some(reset),
        }
    }

    /// Notes the change; durable on return.
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
        reason: "it is no change of a log",
        advice: super::error::ADVICE,
    })
}

/// The change is done, or void.
pub(super) fn forget(disk: &dyn Disk) -> Result<(), LogError> {
    Ok(record::remove(disk, RecordKind::Rewrite)?)
}

/// The end of the log after its rest was forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) struct Truncated {
    /// Where the next group begins.
    pub(super) offset: u64,
    pub(super) last_term: Term,
    pub(super) marked_index: LogIndex,
    /// Number of the last flush of which something is left: the next one follows it, as after an opening.
    pub(super) group: u64,
}

/// Removes everything behind entry `after`: whole segments, the newest first, then the rest of the one in which
/// that entry lies. Marks of that entry stay. Doing it again changes nothing, and ends what was begun.
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
    // A block that is begun is closed in any case: the power may have failed before its padding was written.
    let group_end = walk.offset.next_multiple_of(BLOCK);
    let end = written_end(&mut walk)?.max(group_end);
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
        group: walk.group,
    })
}

/// Makes durable what an opening has read and relies on, cuts what must be cut, and ends the change that was under
/// way. A reset without its checkpoint is void.
///
/// A cut is noted as a truncation: if its zeros never reach the disk, the next opening may see them all the same, and
/// must know that they have to be written again. So behind a last segment without a note all is zero for certain.
pub(super) fn settle(
    disk: &dyn Disk,
    file: &dyn DiskFile,
    walk: &mut Walk,
    under_way: Option<Rewrite>,
    tail: &Tail,
) -> Result<(), LogError> {
    tail::write_again(file, walk)?;
    let mut is_noted = matches!(under_way, Some(Rewrite::Truncate(..)));
    if tail.cut.is_some() && !is_noted {
        // What stays is durable before it is noted that it does.
        file.sync()?;
        Rewrite::Truncate(tail.last_index, None).store(disk)?;
        is_noted = true;
    }
    let end = if is_noted { walk.header.size } else { walk.offset };
    tail::cut(file, walk, end)?;
    forget(disk)
}

/// Passes what lies before the next entry: the padding behind the last one, and marks of it.
fn pass_marks(walk: &mut Walk) -> Result<(), LogError> {
    while walk.offset < walk.header.frames_end()
        && let Ok(frame) = walk.decode(walk.offset)?
        && !frame.kind.is_entry()
        && let Step::Frame(..) = walk.step()?
    {}
    Ok(())
}

/// Where the last written byte lies behind the place where the walk stands; that place when there is none.
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
