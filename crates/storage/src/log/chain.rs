//! The chain of segments: which files make up the log, and a check that none of them is missing.
//!
//! This module reads only the headers, one block per file. The frames between two headers are checked during
//! replay: the later header proves that all of them were durable.

use bezant_types::LogIndex;

use super::error::{ADVICE, LogError};
use super::frame::FORMAT_VERSION;
use super::segment::{SegmentFault, SegmentHeader, first_index_of};
use super::walk::{Step, Walk};
use crate::aligned::AlignedBuffer;
use crate::disk::{BLOCK_SIZE, Disk, OpenMode};

/// The segments that a folder holds.
#[derive(Debug)]
pub(super) struct Chain {
    /// Headers of the segments with entries after the checkpoint, oldest first, without gaps.
    pub(super) needed: Vec<SegmentHeader>,
    /// Names of segments whose entries are all in a checkpoint.
    pub(super) obsolete: Vec<String>,
}

/// Reads the headers of all segments that hold entries after `checkpoint`.
pub(super) fn load(disk: &dyn Disk, mode: OpenMode, checkpoint: LogIndex) -> Result<Chain, LogError> {
    let mut first_indexes: Vec<_> = disk.list()?.iter().filter_map(|name| first_index_of(name)).collect();
    first_indexes.sort_unstable();
    if first_indexes.is_empty() {
        if checkpoint == LogIndex(0) {
            return Ok(Chain { needed: Vec::new(), obsolete: Vec::new() });
        }
        return Err(missing(checkpoint, "a checkpoint covers it".to_owned()));
    }
    let next = checkpoint.next();
    let begins_before = first_indexes.partition_point(|first| *first <= next);
    let Some(first_needed) = begins_before.checked_sub(1) else {
        return Err(missing(next, format!("the oldest file begins at {}", first_indexes[0])));
    };
    let obsolete = first_indexes.drain(..first_needed).map(super::segment::segment_name).collect();
    let mut needed: Vec<SegmentHeader> = Vec::with_capacity(first_indexes.len());
    for first_index in first_indexes {
        let header = read_header(disk, mode, first_index)?;
        if let Some(previous) = needed.last()
            && header.previous_sequence != previous.sequence
        {
            return Err(missing_before(disk, mode, previous, &header)?);
        }
        needed.push(header);
    }
    Ok(Chain { needed, obsolete })
}

/// Reads and checks one header, and that the file has the size that the header names.
pub(super) fn read_header(
    disk: &dyn Disk,
    mode: OpenMode,
    first_index: LogIndex,
) -> Result<SegmentHeader, LogError> {
    let name = super::segment::segment_name(first_index);
    let file = disk.open(&name, mode)?;
    let damaged = |reason| LogError::damaged(&name, 0, first_index, reason);
    let size = file.size()?;
    if size < BLOCK_SIZE as u64 {
        return Err(damaged("the file is shorter than its header"));
    }
    let mut block = AlignedBuffer::zeroed(BLOCK_SIZE);
    file.read_at(0, &mut block)?;
    let block = block.first_chunk().expect("invariant: a whole block was read");
    let header = SegmentHeader::decode(block).map_err(|fault| match fault {
        SegmentFault::Broken => damaged("the segment's header fails its checksum"),
        SegmentFault::Version(found) => {
            LogError::UnknownVersion { file: name.clone(), found, known: u32::from(FORMAT_VERSION) }
        }
    })?;
    if header.first_index != first_index {
        return Err(damaged("the file has the name of another segment"));
    }
    if header.size != size || !size.is_multiple_of(BLOCK_SIZE as u64) || size < 3 * BLOCK_SIZE as u64 {
        return Err(damaged("the file does not have the size that its header names"));
    }
    Ok(header)
}

fn missing(expected_index: LogIndex, reason: String) -> LogError {
    LogError::Missing { expected_index, reason, advice: ADVICE }
}

/// The error for a missing segment: `header` names it as its predecessor.
fn missing_before(
    disk: &dyn Disk,
    mode: OpenMode,
    previous: &SegmentHeader,
    header: &SegmentHeader,
) -> Result<LogError, LogError> {
    let mut walk = Walk::new(disk.open(&previous.name(), mode)?, *previous);
    while let Step::Frame(..) = walk.step()? {}
    let reason = format!(
        "{} is segment {} and names segment {} as its predecessor, but the file before it is {}, \
         which is segment {}",
        header.name(),
        header.sequence,
        header.previous_sequence,
        previous.name(),
        previous.sequence,
    );
    Ok(missing(walk.next_index, reason))
}
