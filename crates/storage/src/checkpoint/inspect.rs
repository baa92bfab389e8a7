//! Examines the checkpoints of a stopped node, every byte of them. Never writes.

use bezant_types::{HistoryPosition, LogIndex, Nanos, Term};

use super::read::scan;
use super::{CheckpointError, FINISHED, UNFINISHED, file_name, index_of};
use crate::disk::{Disk, OpenMode};

/// One checkpoint file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSummary {
    /// Name of the file.
    pub file: String,
    /// Bytes of the file.
    pub size_bytes: u64,
    /// Index of the last entry that it covers.
    pub index: LogIndex,
    /// True when it was never completed: the next start removes it, and its content is not examined.
    pub is_unfinished: bool,
    /// Fields of the checkpoint; `None` when it is damaged or unfinished.
    pub content: Option<CheckpointContent>,
    /// The fault of the checkpoint; `None` when it is intact or unfinished.
    pub damage: Option<CheckpointError>,
}

/// Fields of an intact checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointContent {
    /// Term of the last entry.
    pub term: Term,
    /// Cluster time of the last entry.
    pub time: Nanos,
    /// Number of rows of the history that belong to it.
    pub history: HistoryPosition,
    /// Bytes of the state.
    pub content_bytes: u64,
    /// SHA-256 of the state.
    pub digest: [u8; 32],
}

/// Reads all checkpoints, oldest first. An error means that the disk cannot be read.
pub fn inspect(disk: &dyn Disk) -> Result<Vec<CheckpointSummary>, CheckpointError> {
    let mut summaries = Vec::new();
    for name in disk.list()? {
        if let Some(index) = index_of(&name, FINISHED) {
            summaries.push(inspect_finished(disk, name, index)?);
        } else if let Some(index) = index_of(&name, UNFINISHED) {
            let size_bytes = disk.open(&name, OpenMode::Read)?.size()?;
            summaries.push(CheckpointSummary {
                file: name,
                size_bytes,
                index,
                is_unfinished: true,
                content: None,
                damage: None,
            });
        }
    }
    Ok(summaries)
}

fn inspect_finished(
    disk: &dyn Disk,
    file: String,
    index: LogIndex,
) -> Result<CheckpointSummary, CheckpointError> {
    let size_bytes = disk.open(&file_name(index, FINISHED), OpenMode::Read)?.size()?;
    let (content, damage) = match scan(disk, index, OpenMode::Read, &mut |_, _| {}) {
        Ok((head, trailer)) => {
            let content = CheckpointContent {
                term: head.term,
                time: trailer.time,
                history: trailer.history,
                content_bytes: trailer.size,
                digest: trailer.digest,
            };
            (Some(content), None)
        }
        Err(CheckpointError::Disk(error)) => return Err(error.into()),
        Err(damage) => (None, Some(damage)),
    };
    Ok(CheckpointSummary { file, size_bytes, index, is_unfinished: false, content, damage })
}
