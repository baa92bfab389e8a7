//! Errors of the log, with advice for the operator.

use bezant_types::LogIndex;
use thiserror::Error;

use crate::disk::DiskError;
use crate::record::RecordError;

/// Why the log was not opened, read or written. After a failed write every later call returns the same error,
/// except after [`TooLarge`](Self::TooLarge) and [`NoSpace`](Self::NoSpace).
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogError {
    /// A part of the log that was durable has other content than was written.
    #[error(
        "{file} is damaged at offset {offset}, where entry {expected_index} was expected: {reason}; \
         nothing was changed: {advice}"
    )]
    Damaged {
        /// Name of the segment.
        file: String,
        /// Offset of the damage in the file, in bytes.
        offset: u64,
        /// Index of the entry that was expected there.
        expected_index: LogIndex,
        /// What is wrong, and why it cannot be a torn write.
        reason: &'static str,
        /// What the operator can do.
        advice: &'static str,
    },
    /// A file of the log is missing.
    #[error("the log has no file with entry {expected_index}: {reason}; nothing was changed: {advice}")]
    Missing {
        /// Index of the first missing entry.
        expected_index: LogIndex,
        /// The proof that the file existed.
        reason: String,
        /// What the operator can do.
        advice: &'static str,
    },
    /// The segment has a format version that this program does not read.
    #[error(
        "{file} has format version {found}, and this program reads only version {known}: \
         use the program that wrote it"
    )]
    UnknownVersion {
        /// Name of the segment.
        file: String,
        /// Format version of the segment.
        found: u32,
        /// Format version that this program reads.
        known: u32,
    },
    /// An entry is larger than a segment can hold. It was not staged, and the log stays open.
    #[error("an entry of {size} bytes does not fit into the log, whose limit is {limit}")]
    TooLarge {
        /// Bytes of the entry's payload.
        size: usize,
        /// Maximal bytes of a payload.
        limit: usize,
    },
    /// The disk is full. The log stays open. The step that failed wrote nothing. The same call succeeds once
    /// there is space.
    #[error(transparent)]
    NoSpace(DiskError),
    /// The file that records an unfinished truncation or reset of the log cannot be read or written.
    #[error(transparent)]
    Record(RecordError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl From<RecordError> for LogError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::NoSpace(error) => Self::NoSpace(error),
            other => Self::Record(other),
        }
    }
}

/// Advice for a damaged or missing file.
pub(super) const ADVICE: &str = "restore the whole folder from a copy or a replica, or examine its files";

impl LogError {
    pub(super) fn damaged(file: &str, offset: u64, expected_index: LogIndex, reason: &'static str) -> Self {
        Self::Damaged { file: file.to_owned(), offset, expected_index, reason, advice: ADVICE }
    }
}
