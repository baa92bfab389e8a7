//! Examines the log of a stopped node: its contents and its faults. Never writes.

use std::sync::Arc;

use bezant_types::{LogIndex, Term};

use super::error::LogError;
use super::frame::{FrameHeader, FrameKind};
use super::rewrite::Rewrite;
use super::segment::{SegmentHeader, first_index_of};
use super::tail::{CutTail, find};
use super::walk::{Step, Walk, damaged};
use super::{chain, tail};
use crate::disk::{Disk, OpenMode};
use crate::record::RecordError;

/// Contents of the log in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSummary {
    /// All segments, oldest first.
    pub segments: Vec<SegmentSummary>,
    /// A torn write at the end, which the next start cuts.
    pub torn: Option<CutTail>,
    /// True when a truncation or a reset is recorded and not completed; the next start completes it first.
    /// What is reported as torn or damaged may be its half-done work.
    pub is_rewriting: bool,
    /// Damaged or missing parts; the node does not start with them.
    pub damage: Vec<LogError>,
}

/// Contents of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Name of the file.
    pub file: String,
    /// Bytes of the file.
    pub size_bytes: u64,
    /// Number of the segment among all that were ever made, from 1.
    pub sequence: u32,
    /// Index of the first entry that it may hold.
    pub first_index: LogIndex,
    /// Index of the last entry before its end or the first fault; `first_index - 1` when it holds none.
    pub last_index: LogIndex,
    /// Term of that entry.
    pub last_term: Term,
    /// Number of entries.
    pub entries: u64,
    /// Bytes of the entries' payloads.
    pub payload_bytes: u64,
    /// Number of flushes that wrote to it.
    pub flushes: u64,
    /// Number of marks.
    pub marks: u64,
    /// Offset at which the frames end, in bytes.
    pub end_offset: u64,
    /// True when it is sealed: another segment follows.
    pub sealed: bool,
}

/// One frame, for `bezant inspect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSummary {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Entry, mark, padding or seal.
    pub kind: FrameKind,
    /// The entry's index; of a mark, the index of the entry before it; of padding, 0.
    pub index: LogIndex,
    /// The entry's term; of padding, the committed index that it records; 0 for marks and seals.
    pub term: Term,
    /// Bytes of its payload.
    pub payload_size: u32,
    /// Number of the flush that wrote it.
    pub flush_number: u64,
    /// The index up to which everything was durable before this frame was written.
    pub durable_index: LogIndex,
}

impl FrameSummary {
    fn new(frame: &FrameHeader, offset: u64) -> Self {
        Self {
            offset,
            kind: frame.kind,
            index: frame.index,
            term: frame.term,
            payload_size: frame.payload_size,
            flush_number: frame.flush_number,
            durable_index: frame.durable_index,
        }
    }
}

/// Reads the whole log. Damage is part of the answer; an error means that the disk cannot be read.
/// `checkpoint` is the index of the newest checkpoint, 0 when there is none.
pub fn inspect(disk: &dyn Disk, checkpoint: LogIndex) -> Result<LogSummary, LogError> {
    let mut summary =
        LogSummary { segments: Vec::new(), torn: None, is_rewriting: false, damage: Vec::new() };
    match Rewrite::load(disk) {
        Ok(rewrite) => summary.is_rewriting = rewrite.is_some(),
        Err(error) => add_fault(&mut summary, error)?,
    }
    if let Err(error) = chain::load(disk, OpenMode::Read, checkpoint) {
        add_fault(&mut summary, error)?;
    }
    let mut names: Vec<_> = disk.list()?.iter().filter_map(|name| first_index_of(name)).collect();
    names.sort_unstable();
    let mut headers = Vec::with_capacity(names.len());
    for first_index in names {
        match chain::read_header(disk, OpenMode::Read, first_index) {
            Ok(header) => headers.push(header),
            Err(error) => add_fault(&mut summary, error)?,
        }
    }
    for (number, header) in headers.iter().enumerate() {
        let next = headers.get(number + 1);
        inspect_segment(disk, header, next, &mut summary)?;
    }
    if let Some(last) = headers.last() {
        let mut walk = Walk::new(disk.open(&last.name(), OpenMode::Read)?, *last);
        match find(&mut walk, checkpoint) {
            Ok(tail::Tail { cut, .. }) => summary.torn = cut,
            Err(error) => add_fault(&mut summary, error)?,
        }
    }
    Ok(summary)
}

/// Calls `visit` with every frame of one segment up to its end; returns an error at the first fault.
pub fn inspect_frames(
    disk: &dyn Disk,
    file: &str,
    visit: &mut dyn FnMut(&FrameSummary),
) -> Result<(), LogError> {
    let Some(first_index) = first_index_of(file) else {
        return Err(crate::disk::DiskError::NotFound { file: file.to_owned() }.into());
    };
    let header = chain::read_header(disk, OpenMode::Read, first_index)?;
    let mut walk = Walk::new(disk.open(file, OpenMode::Read)?, header);
    loop {
        match walk.step()? {
            Step::Frame(frame, offset) => visit(&FrameSummary::new(&frame, offset)),
            Step::Blank | Step::Full => return Ok(()),
            Step::Fault(fault) => return Err(damaged(&walk, &fault, fault.reason)),
        }
    }
}

fn inspect_segment(
    disk: &dyn Disk,
    header: &SegmentHeader,
    next: Option<&SegmentHeader>,
    summary: &mut LogSummary,
) -> Result<(), LogError> {
    let mut walk = Walk::new(Arc::clone(&disk.open(&header.name(), OpenMode::Read)?), *header);
    let sealed = matches!(walk.decode(header.frames_end())?, Ok(frame) if frame.kind == FrameKind::Seal);
    let mut segment = SegmentSummary {
        file: header.name(),
        size_bytes: header.size,
        sequence: header.sequence,
        first_index: header.first_index,
        last_index: walk.last_index(),
        last_term: header.previous_term,
        entries: 0,
        payload_bytes: 0,
        flushes: 0,
        marks: 0,
        end_offset: walk.offset,
        sealed,
    };
    let mut flush_number = None;
    loop {
        match walk.step()? {
            Step::Frame(frame, _) => {
                segment.flushes += u64::from(flush_number != Some(frame.flush_number));
                flush_number = Some(frame.flush_number);
                segment.entries += u64::from(frame.kind.is_entry());
                segment.marks += u64::from(frame.kind == FrameKind::Mark);
                if frame.kind.is_entry() {
                    segment.payload_bytes += u64::from(frame.payload_size);
                }
            }
            // `find` examines the end of the last segment: it can tell a torn write from damage.
            Step::Fault(fault) if next.is_some() => {
                add_fault(summary, damaged(&walk, &fault, fault.reason))?;
                break;
            }
            Step::Fault(_) => break,
            Step::Blank | Step::Full => {
                if next.is_some_and(|next| next.first_index != walk.next_index) {
                    let reason = "the segment ends here, and later entries were durable";
                    let error = LogError::damaged(&header.name(), walk.offset, walk.next_index, reason);
                    add_fault(summary, error)?;
                }
                break;
            }
        }
    }
    segment.last_index = walk.last_index();
    segment.last_term = walk.term;
    segment.end_offset = walk.offset;
    summary.segments.push(segment);
    Ok(())
}

/// Adds a fault of the log to the summary; returns a fault of the disk as an error.
fn add_fault(summary: &mut LogSummary, error: LogError) -> Result<(), LogError> {
    if matches!(error, LogError::Disk(_) | LogError::NoSpace(_) | LogError::Record(RecordError::Disk(_))) {
        return Err(error);
    }
    if !summary.damage.contains(&error) {
        summary.damage.push(error);
    }
    Ok(())
}
