//! Errors of the history.

use thiserror::Error;

use crate::disk::DiskError;

/// Advice for a damaged row.
pub(crate) const RESTORE_ROWS: &str =
    "these rows exist nowhere else on this node: restore the data folder from a backup or another replica";
/// Advice for a position that the folder's files do not reach.
pub(crate) const RESTORE_FOLDER: &str =
    "checkpoint and history do not belong together: restore the whole data folder from one backup";

/// Why an operation of the history failed.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum HistoryError {
    /// The disk failed. After a failed write the history accepts no more rows.
    #[error("the disk of the history failed: {0}")]
    Disk(#[from] DiskError),
    /// The disk is full. The rows stay in memory and are written once there is space.
    #[error(transparent)]
    NoSpace(DiskError),
    /// The disk does not hold what was written. Such rows are never returned to a reader.
    #[error("{file} is damaged at offset {offset}: {advice}")]
    Damaged {
        /// Name of the file.
        file: String,
        /// Offset of the damaged page, in bytes.
        offset: u64,
        /// What the operator can do.
        advice: &'static str,
    },
    /// A newer program wrote the file.
    #[error("{file} has format version {version}, which this program cannot read: use a newer program")]
    Version {
        /// Name of the file.
        file: String,
        /// Format version of the file.
        version: u16,
    },
    /// An earlier write failed. The contents of the disk are unknown, so nothing more is written.
    #[error(
        "the history accepts no more rows because a write failed ({reason}): \
         repair the disk, then start again"
    )]
    Poisoned {
        /// Message of the first failure.
        reason: String,
    },
}
