//! Why the history cannot do what it was asked.

use thiserror::Error;

use crate::disk::DiskError;

/// What to do about a damaged row.
pub(crate) const RESTORE_ROWS: &str =
    "these rows exist nowhere else on this node: restore the data folder from a backup or another replica";
/// What to do about a position that the folder does not reach.
pub(crate) const RESTORE_FOLDER: &str =
    "checkpoint and history do not belong together: restore the whole data folder from one backup";

/// Why the history cannot do what it was asked.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum HistoryError {
    /// The disk refused; after a failed write the history takes no more rows.
    #[error("the disk failed under the history: {0}")]
    Disk(#[from] DiskError),
    /// There is no room. What was to be written waits in memory: it goes on when there is room.
    #[error(transparent)]
    NoRoom(DiskError),
    /// The disk holds something else than what was written. Such rows are never served.
    #[error("{file} is damaged at offset {offset}: {advice}")]
    Damaged {
        /// Which file.
        file: String,
        /// The byte where the damaged page begins.
        offset: u64,
        /// What helps.
        advice: &'static str,
    },
    /// A newer program wrote it.
    #[error("{file} has format version {version}, which this program does not know: use a newer one")]
    Version {
        /// Which file.
        file: String,
        /// The version that it names.
        version: u16,
    },
    /// An earlier write failed: what is on the disk is not known, so nothing more is written.
    #[error(
        "the history takes no more rows since a write failed ({reason}): repair the disk, then start again"
    )]
    Poisoned {
        /// The first failure.
        reason: String,
    },
}
