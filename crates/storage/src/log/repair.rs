//! Repairs a damaged log by dropping every entry after the damage. Only for a replica whose group has others.
//! It gets the dropped entries from them, and takes no part in elections until it has those entries.
//!
//! A crash in the middle of a repair is safe: the change is recorded like any other change of the log (see
//! `rewrite`), and files are removed newest first. The next [`open`](super::Log::open) completes it.

use bezant_types::{LogIndex, Term};

use super::error::LogError;
use super::rewrite::{Reset, Rewrite};
use super::segment::{first_index_of, segment_name};
use crate::disk::Disk;
use crate::record::RecordError;
use crate::repair::set_aside;

impl LogError {
    /// True when the disk does not hold what was written: a case for [`repair`].
    pub const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. } | Self::Missing { .. } | Self::Record(RecordError::Damaged { .. })
        )
    }

    /// The damaged file.
    fn file(&self) -> Option<&str> {
        match self {
            Self::Damaged { file, .. } => Some(file),
            _ => None,
        }
    }

    /// Index of the last entry before the damage.
    fn whole_until(&self) -> LogIndex {
        match self {
            Self::Damaged { expected_index, .. } | Self::Missing { expected_index, .. } => {
                LogIndex(expected_index.0.saturating_sub(1))
            }
            _ => LogIndex(0),
        }
    }
}

/// Records that everything after the damage is dropped, and removes the segments after it; returns the index
/// of the last entry that is kept. When no entry after the checkpoint is kept, the log restarts after the
/// checkpoint.
///
/// The next opening may report other damage at an earlier place. A second repair then keeps fewer entries.
pub fn repair(
    disk: &dyn Disk,
    checkpoint: (LogIndex, Term),
    damage: &LogError,
) -> Result<LogIndex, LogError> {
    let under_way = match Rewrite::load(disk) {
        Ok(rewrite) => rewrite,
        // The record is unreadable: which entries it dropped is unknown, so no entry can be kept.
        Err(error) if error.is_damage() => Some(Rewrite::Truncate(LogIndex(0), None)),
        Err(error) => return Err(error),
    };
    let mut kept = damage.whole_until();
    if let Some(Rewrite::Truncate(after, _)) = under_way {
        // Entries that a truncation removes must not come back.
        kept = kept.min(after);
    }
    let (index, term) = checkpoint;
    if kept <= index {
        Rewrite::Reset(Reset { index, term }).store(disk)?;
        if let Some(file) = damage.file() {
            set_aside(disk, file)?;
            disk.sync_folder()?;
        }
        return Ok(index);
    }
    Rewrite::Truncate(kept, None).store(disk)?;
    let mut segments: Vec<_> = disk.list()?.iter().filter_map(|name| first_index_of(name)).collect();
    segments.sort_unstable();
    for segment in segments.into_iter().rev().take_while(|first_index| *first_index > kept) {
        let name = segment_name(segment);
        if damage.file() == Some(&*name) {
            set_aside(disk, &name)?;
        } else {
            disk.remove(&name)?;
        }
        disk.sync_folder()?;
    }
    Ok(kept)
}

/// Records that the whole log is void once no checkpoint exists. Durable on return.
pub(crate) fn void_log(disk: &dyn Disk) -> Result<(), LogError> {
    Rewrite::Reset(Reset { index: LogIndex(0), term: Term(0) }).store(disk)
}
