//! What one of several replicas does about a damaged disk: it forgets what is damaged, and gets it from the others.
//!
//! Here lies what storage has to do for it: damage that was found while the node runs is noted for the next start
//! ([`DamageNote`]), a damaged file is kept beside for a look at it, and everything but the small records can be
//! forgotten ([`forget_all`]). When that may be done is decided by the room `replica`. A damaged end of the log
//! is repaired by [`log::repair`](crate::log::repair).

use bezant_codec::{DecodeError, Reader};
use bezant_consensus::Part;
use bezant_types::NodeId;

use crate::checkpoint::{CheckpointError, CheckpointStore};
use crate::disk::{Disk, DiskError};
use crate::history::HistoryError;
use crate::log::{LogError, forget_log};
use crate::record::{self, RecordError, RecordKind};

/// What the name of a file ends with that was damaged and is kept for a look at it.
const SET_ASIDE: &str = ".damaged";
/// What the names of all files of the history begin with.
const HISTORY: &str = "history-";

/// True when nobody but that node votes, as the list on its disk says: then nobody else has what the disk may have lost.
pub fn is_only_voter(disk: &dyn Disk, node: NodeId) -> Result<bool, RecordError> {
    Ok(other_voters(disk, node)? == Some(0))
}

/// How many others vote; `None` when there is no list, or that node has no vote.
pub(crate) fn other_voters(disk: &dyn Disk, node: NodeId) -> Result<Option<usize>, RecordError> {
    let Some(members) = record::load_members(disk)? else { return Ok(None) };
    // One that joins or leaves counts already, or still.
    let voters = || members.nodes.iter().filter(|member| member.part != Part::Learner);
    let votes = voters().any(|voter| voter.node == node);
    Ok(votes.then(|| voters().count() - 1))
}

/// Gives a damaged file another name, so that nobody reads it any more; nothing when it is gone.
pub(crate) fn set_aside(disk: &dyn Disk, file: &str) -> Result<(), DiskError> {
    match disk.rename(file, &format!("{file}{SET_ASIDE}")) {
        Err(DiskError::NotFound { .. }) => Ok(()),
        other => other,
    }
}

/// Removes what an earlier repair has set aside: there is one repair's worth of it at most.
pub fn remove_set_aside(disk: &dyn Disk) -> Result<(), DiskError> {
    for file in disk.list()?.iter().filter(|file| file.ends_with(SET_ASIDE)) {
        disk.remove(file)?;
    }
    disk.sync_folder()
}

/// Forgets state, history and log, and keeps the small records: the next opening finds an empty folder of its
/// node. `damaged` is kept beside. A crash in the middle leaves something that is damaged still, or is empty.
///
/// The log's note comes first: once the last checkpoint is gone, whatever the log holds is void.
pub fn forget_all(disk: &dyn Disk, damaged: &str) -> Result<(), LogError> {
    forget_log(disk)?;
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
    Ok(DamageNote::forget(disk)?)
}

impl CheckpointError {
    /// The damaged file; `None` when something else went wrong.
    pub fn damaged_file(&self) -> Option<&str> {
        match self {
            Self::Damaged { file, .. } => Some(file),
            _ => None,
        }
    }
}

impl HistoryError {
    /// The damaged or missing file; `None` when something else went wrong.
    pub fn damaged_file(&self) -> Option<&str> {
        match self {
            Self::Damaged { file, .. } | Self::Disk(DiskError::NotFound { file }) => Some(file),
            _ => None,
        }
    }
}

/// Damage of the history that was found while the node ran: a start looks at the newest rows alone, and would not
/// find it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamageNote {
    /// The damaged file.
    pub file: String,
    /// Where, in bytes.
    pub offset: u64,
}

impl DamageNote {
    /// What is to be noted of this error; `None` when it tells of no damage.
    pub fn of(error: &HistoryError) -> Option<Self> {
        match error {
            HistoryError::Damaged { file, offset, .. } => Some(Self { file: file.clone(), offset: *offset }),
            _ => None,
        }
    }

    /// What was noted. A note that is damaged itself is one.
    pub fn load(disk: &dyn Disk) -> Result<Option<Self>, RecordError> {
        let unknown = Self { file: "the history".to_owned(), offset: 0 };
        match record::load(disk, RecordKind::Damage) {
            Ok(content) => Ok(content.map(|content| Self::decode(&content).unwrap_or(unknown))),
            Err(RecordError::Damaged { .. }) => Ok(Some(unknown)),
            Err(error) => Err(error),
        }
    }

    /// Notes it; durable on return.
    pub fn store(&self, disk: &dyn Disk) -> Result<(), RecordError> {
        let mut content = self.offset.to_le_bytes().to_vec();
        content.extend_from_slice(self.file.as_bytes());
        record::store(disk, RecordKind::Damage, &content)
    }

    fn forget(disk: &dyn Disk) -> Result<(), RecordError> {
        record::remove(disk, RecordKind::Damage)
    }

    fn decode(content: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(content);
        let offset = reader.u64()?;
        let name = content.get(8..).and_then(|name| str::from_utf8(name).ok()).ok_or(DecodeError::Value)?;
        Ok(Self { file: name.to_owned(), offset })
    }
}
