//! What can go wrong with the log, and what helps.

use bezant_types::LogIndex;
use thiserror::Error;

use crate::disk::DiskError;
use crate::record::RecordError;

/// Why the log was not opened, read or written. After one of these from a write, the log stays closed; but for
/// [`TooLarge`](Self::TooLarge) and [`NoRoom`](Self::NoRoom).
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogError {
    /// The disk does not hold what was written to it, at a place that was durable.
    #[error(
        "{file} is damaged at offset {offset}, where entry {expected_index} was expected: {reason}; nothing was changed: {advice}"
    )]
    Damaged {
        /// The segment.
        file: String,
        /// Where, in bytes.
        offset: u64,
        /// The entry that was looked for.
        expected_index: LogIndex,
        /// What is wrong, and how it is known that this is not a torn write.
        reason: &'static str,
        /// What can be done.
        advice: &'static str,
    },
    /// A file of the log is gone.
    #[error("the log has no file with entry {expected_index}: {reason}; nothing was changed: {advice}")]
    Missing {
        /// The first entry that is missing.
        expected_index: LogIndex,
        /// How it is known that there was one.
        reason: String,
        /// What can be done.
        advice: &'static str,
    },
    /// Written by another version of this program.
    #[error(
        "{file} has format version {found}, and this program knows version {known} alone: use the program that wrote it"
    )]
    UnknownVersion {
        /// The segment.
        file: String,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// An entry that fits in no segment. Nothing was staged; the log goes on.
    #[error("an entry of {size} bytes does not fit in the log, which takes {limit}")]
    TooLarge {
        /// Bytes of its payload.
        size: usize,
        /// Bytes that a payload may have.
        limit: usize,
    },
    /// There is no room. Nothing of what was to be done next was written, and the log is open: the same call again goes
    /// on when there is room.
    #[error(transparent)]
    NoRoom(DiskError),
    /// The note of a change under way cannot be read or written.
    #[error(transparent)]
    Record(RecordError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl From<RecordError> for LogError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::NoRoom(error) => Self::NoRoom(error),
            other => Self::Record(other),
        }
    }
}

/// What helps when a file is damaged or gone.
pub(super) const ADVICE: &str =
    "restore the whole folder from a copy or a replica, or look at it with `bezant inspect`";

impl LogError {
    pub(super) fn damaged(file: &str, offset: u64, expected_index: LogIndex, reason: &'static str) -> Self {
        Self::Damaged { file: file.to_owned(), offset, expected_index, reason, advice: ADVICE }
    }
}
