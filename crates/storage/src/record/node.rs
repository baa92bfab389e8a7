//! The identity of a node whose groups have folders: `node.bzi` of format version 2.
//!
//! Version 0.1 refuses that format. So the record is stored before anything else of a folder of version 0.1
//! is moved to the folder of its group: a program of version 0.1 never opens a folder that is moved in part.

use bezant_codec::{DecodeError, Reader};
use bezant_types::NodeId;

use super::{GroupIdentity, Identity, RecordError, RecordKind, copy, damaged, load_from};
use crate::disk::Disk;

/// Version of the format of this record. Version 1 is that of [`Identity`].
pub(super) const FORMAT_VERSION: u32 = 2;
/// Stages of a folder.
const WHOLE: u8 = 0;
const MOVING: u8 = 1;

/// The identity of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// SHA-256 of the cluster's token; `None` for a node without a token.
    pub token: Option<[u8; 32]>,
    /// Number of the node.
    pub node: NodeId,
    /// While a folder of version 0.1 is moved to the folder of its group: the identity that the group's
    /// folder gets. Otherwise `None`.
    pub moving: Option<GroupIdentity>,
}

/// The identity in a data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Of a folder of version 0.1, in which the node has one group without a folder.
    Old(Identity),
    /// Of a folder whose groups have folders.
    Now(NodeIdentity),
}

impl NodeIdentity {
    /// Reads the identity in a data folder and makes its file name durable; `None` when there is none.
    pub fn load(disk: &dyn Disk) -> Result<Option<Found>, RecordError> {
        disk.sync_folder()?;
        let kind = RecordKind::Identity;
        let Some(record) = load_from(disk, kind.file_name(), kind)? else { return Ok(None) };
        let found = if record.version == FORMAT_VERSION {
            Self::decode(&record.content).map(Found::Now)
        } else {
            Identity::decode(&record.content).map(Found::Old)
        };
        found.map(Some).map_err(|_| damaged(kind, "it does not hold an identity"))
    }

    /// Replaces the identity, of either version; durable on return.
    ///
    /// # Panics
    /// When the token is 32 zeros, which stand for no token.
    pub fn store(&self, disk: &dyn Disk) -> Result<(), RecordError> {
        copy::store(disk, RecordKind::Identity, FORMAT_VERSION, &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        assert!(self.token != Some([0; 32]), "zeros stand for no token");
        let mut content = self.token.unwrap_or_default().to_vec();
        content.extend_from_slice(&self.node.0.to_le_bytes());
        let stage = if self.moving.is_some() { MOVING } else { WHOLE };
        content.extend_from_slice(&[stage, 0, 0, 0, 0, 0, 0, 0]);
        if let Some(group) = &self.moving {
            content.extend_from_slice(&group.encode());
        }
        content
    }

    pub(super) fn decode(content: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(content);
        let token = Some(reader.array()?).filter(|token| *token != [0; 32]);
        let node = NodeId(reader.u64()?);
        let [stage, 0, 0, 0, 0, 0, 0, 0] = reader.array::<8>()? else { return Err(DecodeError::Reserved) };
        let moving = match stage {
            WHOLE => {
                reader.finish()?;
                None
            }
            MOVING => Some(GroupIdentity::decode(reader.rest())?),
            _ => return Err(DecodeError::Value),
        };
        Ok(Self { token, node, moving })
    }
}
