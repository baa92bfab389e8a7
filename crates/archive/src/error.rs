//! Why an export cannot be written, read or verified.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::walk::Broken;

/// Why an export cannot be written, read or verified.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The file does not exist, or may not be read.
    #[error("{} cannot be read: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The content is something else than an export: nothing says that it is damaged.
    #[error("{}line 1: {found}", path.as_ref().map_or_else(String::new, |path| format!("{}, ", path.display())))]
    NotAnExport {
        /// The file; `None` for a source without a path.
        path: Option<PathBuf>,
        /// The content that was found.
        found: NotAnExport,
    },
    /// A line that was changed, moved, cut off or lost.
    #[error("line {line}{}: {damage}", record.as_ref().map_or_else(String::new, |record| format!(" ({record})")))]
    Damaged {
        /// The number of the line, counted from 1.
        line: u64,
        /// The record of the line; `None` = it cannot be read.
        record: Option<DamagedRecord>,
        /// The kind of damage.
        damage: Damage,
    },
    /// A row that does not follow from the rows before it, or an account that does not match its rows.
    #[error("{broken}")]
    Broken {
        /// The first error of the history.
        broken: Broken,
        /// True when a CSV file was read as an export of all accounts and lacks rows: it may be the export of
        /// one account, which CSV does not name.
        is_maybe_of_one: bool,
    },
    /// The disk cannot be read.
    #[error("the export cannot be read: {0}")]
    Read(#[source] io::Error),
    /// The destination cannot be written.
    #[error("the export cannot be written: {0}")]
    Write(#[source] io::Error),
    /// A record cannot be written as a line of JSON.
    #[error("a record cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A movement cannot be written as a line of CSV.
    #[error("a movement cannot be written as CSV: {0}")]
    Csv(#[from] csv::Error),
}

impl ArchiveError {
    /// The error for a broken history of known extent.
    pub(crate) const fn broken(broken: Broken) -> Self {
        Self::Broken { broken, is_maybe_of_one: false }
    }

    /// The error for a damaged line of an unknown record.
    pub(crate) const fn damaged(line: u64, damage: Damage) -> Self {
        Self::Damaged { line, record: None, damage }
    }
}

/// The record of a damaged line. Its ids are text, since they may be damaged, too.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DamagedRecord {
    /// A row of the history.
    #[error("movement {position}, transfer {transfer_id}")]
    Movement {
        /// The number of the movement.
        position: String,
        /// The id of its transfer.
        transfer_id: String,
    },
    /// An account.
    #[error("account {id}")]
    Account {
        /// The id of the account.
        id: String,
    },
}

/// The content of a file that is no export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotAnExport {
    /// Another content, or a later version of the format.
    #[error("this is no export of Bezant that this version reads")]
    Other,
    /// A compressed file, other than gzip.
    #[error("the file {0}")]
    Packed(&'static str),
    /// Text in another encoding.
    #[error("this is UTF-16, an export is UTF-8: convert it with `iconv -f UTF-16 -t UTF-8`")]
    Utf16,
}

/// What is wrong with a line of an export.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Damage {
    /// There is no first line.
    #[error("the file is empty")]
    Empty,
    /// The line has no checksum.
    #[error("it is cut off")]
    CutOff,
    /// The checksum is not that of this line after the lines before it.
    #[error("its checksum does not match: it was changed or moved, or the line before it was")]
    Checksum,
    /// The gzip file does not unpack.
    #[error("{0}")]
    Packed(String),
    /// The checksum matches, but the line is no record.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// The row names a kind of movement that does not exist.
    #[error("a kind of movement that does not exist")]
    Kind,
    /// A header that is not on the first line.
    #[error("an export begins within another")]
    SecondHeader,
    /// All accounts come before the first movement.
    #[error("an account follows the first movement")]
    LateAccount,
    /// A record after the last line.
    #[error("it follows the end")]
    AfterEnd,
    /// The last line is missing.
    #[error("the file ends without its last line: it is cut off")]
    NoEnd,
    /// The last line counts other records than the file holds.
    #[error(
        "it counts {accounts} accounts and {movements} movements, the file holds {accounts_found} and \
         {movements_found}"
    )]
    Counts {
        /// The count of accounts on the last line.
        accounts: u64,
        /// The count of movements on the last line.
        movements: u64,
        /// The accounts in the file.
        accounts_found: u64,
        /// The movements in the file.
        movements_found: u64,
    },
}
