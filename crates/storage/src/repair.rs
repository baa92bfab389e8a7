//! The part of storage in a repair: one of several replicas drops what is damaged on its disk and gets it
//! from the other replicas.
//!
//! This module records damage that is found while the node runs, for the next start ([`DamageNote`]). It
//! renames a damaged file so that it can be examined, and removes everything but the small records
//! ([`remove_state`]). The crate `recovery` decides when that is allowed. A damaged end of the log is
//! repaired by [`log::repair`](crate::log::repair).

use bezant_codec::{DecodeError, Reader};
use bezant_consensus::Part;
use bezant_types::NodeId;

use crate::checkpoint::{CheckpointError, CheckpointStore};
use crate::disk::{Disk, DiskError};
use crate::history::HistoryError;
use crate::log::{LogError, void_log};
use crate::record::{self, RecordError, RecordKind};

/// Extension of a damaged file that is kept for examination.
const SET_ASIDE: &str = ".damaged";
/// Prefix of all files of the history.
const HISTORY: &str = "history-";

/// True when `node` is the only voter in the list on its disk. Then no other node has what the disk may have
/// lost.
pub fn is_only_voter(disk: &dyn Disk, node: NodeId) -> Result<bool, RecordError> {
    Ok(other_voters(disk, node)? == Some(0))
}

/// Number of other voters; `None` when there is no list, or `node` has no vote.
pub(crate) fn other_voters(disk: &dyn Disk, node: NodeId) -> Result<Option<usize>, RecordError> {
    let Some(members) = record::load_members(disk)? else { return Ok(None) };
    // Voters that join or leave in a change under way count.
    let voters = || members.nodes.iter().filter(|member| member.part != Part::Learner);
    let votes = voters().any(|voter| voter.node == node);
    Ok(votes.then(|| voters().count() - 1))
}

/// Renames a damaged file so that it is not read any more; does nothing when it does not exist.
pub(crate) fn set_aside(disk: &dyn Disk, file: &str) -> Result<(), DiskError> {
    match disk.rename(file, &format!("{file}{SET_ASIDE}")) {
        Err(DiskError::NotFound { .. }) => Ok(()),
        other => other,
    }
}

/// Removes the damaged files that an earlier repair kept, so that only the files of the newest repair are
/// kept.
pub fn remove_set_aside(disk: &dyn Disk) -> Result<(), DiskError> {
    for file in disk.list()?.iter().filter(|file| file.ends_with(SET_ASIDE)) {
        disk.remove(file)?;
    }
    disk.sync_folder()
}

/// Removes checkpoints, history and log. Keeps the small records, so the next opening finds an empty folder
/// of the same node. The file `damaged` is renamed, not removed. After a crash in the middle the folder is
/// still damaged, or empty.
///
/// The log is declared void first: from then on, everything in it is void once the last checkpoint is
/// removed.
pub fn remove_state(disk: &dyn Disk, damaged: &str) -> Result<(), LogError> {
    void_log(disk)?;
    for file in CheckpointStore::files(disk)? {
        if file == damaged {
            set_aside(disk, &file)?;
        } else {
            disk.remove(&file)?;
        }
        disk.sync_folder()?;
    }
    for file in disk.list()?.iter().filter(|file| file.starts_with(HISTORY) && !file.ends_with(SET_ASIDE)) {
        if file == damaged {
            set_aside(disk, file)?;
        } else {
            disk.remove(file)?;
        }
    }
    disk.sync_folder()?;
    Ok(DamageNote::remove(disk)?)
}

impl CheckpointError {
    /// Name of the damaged file; `None` for all other errors.
    pub fn damaged_file(&self) -> Option<&str> {
        match self {
            Self::Damaged { file, .. } => Some(file),
            _ => None,
        }
    }
}

impl HistoryError {
    /// Name of the damaged or missing file; `None` for all other errors.
    pub fn damaged_file(&self) -> Option<&str> {
        match self {
            Self::Damaged { file, .. } | Self::Disk(DiskError::NotFound { file }) => Some(file),
            _ => None,
        }
    }
}

/// Damage of the history that was found while the node ran. A start reads only the newest rows and would not
/// find it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamageNote {
    /// Name of the damaged file.
    pub file: String,
    /// Offset of the damage, in bytes.
    pub offset: u64,
}

impl DamageNote {
    /// The damage that an error reports; `None` for all other errors.
    pub fn of(error: &HistoryError) -> Option<Self> {
        match error {
            HistoryError::Damaged { file, offset, .. } => Some(Self { file: file.clone(), offset: *offset }),
            _ => None,
        }
    }

    /// Reads the record; `None` when there is none. A damaged record counts as damage of an unknown file.
    pub fn load(disk: &dyn Disk) -> Result<Option<Self>, RecordError> {
        let unknown = Self { file: "the history".to_owned(), offset: 0 };
        match record::load(disk, RecordKind::Damage) {
            Ok(content) => Ok(content.map(|content| Self::decode(&content).unwrap_or(unknown))),
            Err(RecordError::Damaged { .. }) => Ok(Some(unknown)),
            Err(error) => Err(error),
        }
    }

    /// Stores the record; durable on return.
    pub fn store(&self, disk: &dyn Disk) -> Result<(), RecordError> {
        let mut content = self.offset.to_le_bytes().to_vec();
        content.extend_from_slice(self.file.as_bytes());
        record::store(disk, RecordKind::Damage, &content)
    }

    fn remove(disk: &dyn Disk) -> Result<(), RecordError> {
        record::remove(disk, RecordKind::Damage)
    }

    fn decode(content: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(content);
        let offset = reader.u64()?;
        let name = content.get(8..).and_then(|name| str::from_utf8(name).ok()).ok_or(DecodeError::Value)?;
        Ok(Self { file: name.to_owned(), offset })
    }
}
