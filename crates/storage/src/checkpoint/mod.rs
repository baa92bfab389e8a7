//! Checkpoints: the whole state at one index, in one file, so that the log before it can be freed.
//!
//! A checkpoint is written beside its predecessor under a temporary name, made durable, and only then given
//! its name; so a file with the name of a checkpoint is whole, or damaged since. The format is in
//! `docs/formats/checkpoint.md`.
//!
//! What always holds: the predecessor is removed only after its successor is durable; and a damaged newest
//! checkpoint is refused, never passed over for an older one, whose log is gone.
//!
//! It knows nothing of what the content means.

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
    /// The newest checkpoint is not what was written.
    #[error("{file} is damaged at offset {offset}: {reason}; nothing was changed: {advice}")]
    Damaged {
        /// The file.
        file: String,
        /// Where, in bytes.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
        /// What can be done.
        advice: &'static str,
    },
    /// Written by another version of this program.
    #[error(
        "{file} has format version {found}, and this program knows version {known} alone: use the program that wrote it"
    )]
    UnknownVersion {
        /// The file.
        file: String,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// An earlier write of this checkpoint failed; begin another one only after a new start.
    #[error("an earlier write of the checkpoint failed")]
    Abandoned,
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A checkpoint that was read, every byte of it checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last entry that it holds.
    pub index: LogIndex,
    /// That entry's term.
    pub term: Term,
    /// Cluster time of that entry.
    pub time: Nanos,
    /// How much of the history belongs to it.
    pub history: HistoryPosition,
    /// The state, in the state machine's own format.
    pub bytes: Vec<u8>,
    /// SHA-256 of the state: equal on all replicas at equal index.
    pub digest: [u8; 32],
}

/// The checkpoints of a folder.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    disk: Arc<dyn Disk>,
}

impl CheckpointStore {
    /// The checkpoints of `disk`'s folder. Looks at nothing yet.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk }
    }

    /// Begins to write the state after entry `index` of `term`.
    pub fn begin(&self, index: LogIndex, term: Term) -> Result<CheckpointWriter, CheckpointError> {
        self.remove_unfinished()?;
        CheckpointWriter::create(Arc::clone(&self.disk), index, term)
    }

    /// Removes what was written of a checkpoint that will not be finished.
    pub fn abandon(&self) -> Result<(), CheckpointError> {
        Ok(self.remove_unfinished()?)
    }

    /// Reads the newest checkpoint, if there is one, and removes what an earlier process left unfinished. What is
    /// read is durable.
    pub fn load_newest(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        // It got its name when its content was durable; the name of a process that died then may not be.
        self.disk.sync_folder()?;
        let newest = indexes(&*self.disk)?.last().map(|index| read::load(&*self.disk, *index)).transpose()?;
        self.remove_unfinished()?;
        Ok(newest)
    }

    /// Opens the newest checkpoint, if there is one, to be read in pieces.
    pub fn open_newest(&self) -> Result<Option<CheckpointReader>, CheckpointError> {
        loop {
            let Some(index) = indexes(&*self.disk)?.last().copied() else { return Ok(None) };
            match CheckpointReader::open(&*self.disk, index) {
                // A newer one took its place between the look at the folder and the opening.
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

/// What helps when a checkpoint is damaged.
const ADVICE: &str = "restore the whole folder from a copy or a replica, or look at it with `bezant inspect`";
const FINISHED: &str = ".bzc";
const UNFINISHED: &str = ".tmp";

/// `checkpoint-<index, 16 hexadecimal digits><extension>`.
fn file_name(index: LogIndex, extension: &str) -> String {
    format!("checkpoint-{:016x}{extension}", index.0)
}

/// The index that a name speaks of; `None` for other names. No log reaches 2^63.
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
