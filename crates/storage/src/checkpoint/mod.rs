//! Checkpoints: the whole state at one index in one file, so that the log before it can be removed.
//!
//! A checkpoint is written under a temporary name beside its predecessor, made durable, and only then
//! renamed. So a file with the name of a checkpoint is complete, unless it was damaged later. The format is
//! in `docs/formats/checkpoint.md`.
//!
//! What always holds: the predecessor is removed only after its successor is durable. A damaged newest
//! checkpoint is an error; an older one is never used instead, because its log is gone.
//!
//! This module never interprets the content.

mod inspect;
mod page;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use bezant_types::{HistoryPosition, LogIndex, Nanos, Term};
use thiserror::Error;

use crate::disk::{Disk, DiskError};
pub use inspect::{CheckpointContent, CheckpointSummary, inspect};
pub use read::CheckpointReader;
pub use write::{CheckpointWriter, WrittenCheckpoint};

/// Why a checkpoint was not read or written.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The newest checkpoint on the disk is not what was written.
    #[error("{file} is damaged at offset {offset}: {reason}; nothing was changed: {advice}")]
    Damaged {
        /// Name of the file.
        file: String,
        /// Offset of the damage, in bytes.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
        /// What the operator can do.
        advice: &'static str,
    },
    /// Another version of this program wrote the checkpoint.
    #[error(
        "{file} has format version {found}, and this program reads only version {known}: \
         use the program that wrote it"
    )]
    UnknownVersion {
        /// Name of the file.
        file: String,
        /// Format version of the checkpoint.
        found: u32,
        /// Format version that this program reads.
        known: u32,
    },
    /// An earlier write of this checkpoint failed. Another one may be begun only after a restart.
    #[error("an earlier write of the checkpoint failed")]
    Abandoned,
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A checkpoint that was read and completely checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Index of the last entry that it covers.
    pub index: LogIndex,
    /// Term of that entry.
    pub term: Term,
    /// Cluster time of that entry.
    pub time: Nanos,
    /// Number of rows of the history that belong to it.
    pub history: HistoryPosition,
    /// The state, in the format of the state machine.
    pub bytes: Vec<u8>,
    /// SHA-256 of the state; equal on all replicas at equal index.
    pub digest: [u8; 32],
}

/// The checkpoints of a folder.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    disk: Arc<dyn Disk>,
}

impl CheckpointStore {
    /// The checkpoints in `disk`'s folder. Reads nothing yet.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk }
    }

    /// Begins to write the state after entry `index`, which has `term`.
    pub fn begin(&self, index: LogIndex, term: Term) -> Result<CheckpointWriter, CheckpointError> {
        self.remove_unfinished()?;
        CheckpointWriter::create(Arc::clone(&self.disk), index, term)
    }

    /// Removes the unfinished file of a checkpoint that will not be completed.
    pub fn abandon(&self) -> Result<(), CheckpointError> {
        Ok(self.remove_unfinished()?)
    }

    /// Reads the newest checkpoint, if there is one, and removes unfinished files of an earlier process. What
    /// is read is durable.
    pub fn load_newest(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        // The file was renamed after its content was durable, but a process that died then may not have
        // synced the folder.
        self.disk.sync_folder()?;
        let newest = indexes(&*self.disk)?.last().map(|index| read::load(&*self.disk, *index)).transpose()?;
        self.remove_unfinished()?;
        Ok(newest)
    }

    /// Opens the newest checkpoint, if there is one, for reading in pieces.
    pub fn open_newest(&self) -> Result<Option<CheckpointReader>, CheckpointError> {
        loop {
            let Some(index) = indexes(&*self.disk)?.last().copied() else { return Ok(None) };
            match CheckpointReader::open(&*self.disk, index) {
                // A newer checkpoint replaced it between the listing and the opening.
                Err(CheckpointError::Disk(DiskError::NotFound { .. })) => {}
                other => return other.map(Some),
            }
        }
    }

    /// The files of all finished checkpoints, the newest last.
    pub(crate) fn files(disk: &dyn Disk) -> Result<Vec<String>, DiskError> {
        Ok(indexes(disk)?.into_iter().map(|index| file_name(index, FINISHED)).collect())
    }

    fn remove_unfinished(&self) -> Result<(), DiskError> {
        for name in self.disk.list()? {
            if index_of(&name, UNFINISHED).is_some() {
                self.disk.remove(&name)?;
            }
        }
        Ok(())
    }
}

/// Advice for a damaged checkpoint.
const ADVICE: &str = "restore the whole folder from a copy or a replica, or examine its files";
const FINISHED: &str = ".bzc";
const UNFINISHED: &str = ".tmp";

/// `checkpoint-<index, 16 hexadecimal digits><extension>`.
fn file_name(index: LogIndex, extension: &str) -> String {
    format!("checkpoint-{:016x}{extension}", index.0)
}

/// The index that a file's name contains; `None` for all other names. No log reaches 2^63.
fn index_of(name: &str, extension: &str) -> Option<LogIndex> {
    let digits = name.strip_prefix("checkpoint-")?.strip_suffix(extension)?;
    let index = u64::from_str_radix(digits, 16).ok().map(LogIndex)?;
    (file_name(index, extension) == name && index.0 < 1 << 63).then_some(index)
}

/// The indexes of all finished checkpoints, the newest last.
fn indexes(disk: &dyn Disk) -> Result<Vec<LogIndex>, DiskError> {
    let mut indexes: Vec<_> = disk.list()?.iter().filter_map(|name| index_of(name, FINISHED)).collect();
    indexes.sort_unstable();
    Ok(indexes)
}
