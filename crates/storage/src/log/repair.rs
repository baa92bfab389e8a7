//! A log that is damaged, made whole again by forgetting what lies behind the damage. For one of several replicas
//! alone: it gets the rest from the others, and takes no part in elections before it has.
//!
//! Nothing is done here but what a crash leaves half done safely: the change is noted as any other change of the
//! log (see `rewrite`), and files go newest first. The next [`open`](super::Log::open) does the rest.

use bezant_types::{LogIndex, Term};

use super::error::LogError;
use super::rewrite::{Reset, Rewrite};
use super::segment::{first_index_of, segment_name};
use crate::disk::Disk;
use crate::record::RecordError;
use crate::repair::set_aside;

impl LogError {
    /// True when the disk does not hold what was written, so that a repair helps.
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

    /// The last entry before the damage.
    fn whole_until(&self) -> LogIndex {
        match self {
            Self::Damaged { expected_index, .. } | Self::Missing { expected_index, .. } => {
                LogIndex(expected_index.0.saturating_sub(1))
            }
            _ => LogIndex(0),
        }
    }
}

/// Notes that everything behind the damage is forgotten, and takes whole files behind it away; says which entry
/// is the last that stays. When nothing of the log behind the checkpoint stays, it begins anew behind it.
///
/// A log that is opened again may name another damage, before this one: each repair keeps less.
pub fn repair(
    disk: &dyn Disk,
    checkpoint: (LogIndex, Term),
    damage: &LogError,
) -> Result<LogIndex, LogError> {
    let under_way = match Rewrite::load(disk) {
        Ok(rewrite) => rewrite,
        // What was to be forgotten is not known any more.
        Err(error) if error.is_damage() => Some(Rewrite::Truncate(LogIndex(0), None)),
        Err(error) => return Err(error),
    };
    let mut kept = damage.whole_until();
    if let Some(Rewrite::Truncate(after, _)) = under_way {
        // What was never agreed does not come back.
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

/// Notes that the whole log is void once there is no checkpoint any more. Durable on return.
pub(crate) fn forget_log(disk: &dyn Disk) -> Result<(), LogError> {
    Rewrite::Reset(Reset { index: LogIndex(0), term: Term(0) }).store(disk)
}
