//! The identity of a group's folder: `group.bzi`.
//!
//! It names the group, the kind of its state machine and its engine, and the folder itself. A group that is
//! destroyed and made again on the same node has lost its votes, so each folder has a separate random number.

use std::fmt::{Display, Formatter};

use bezant_codec::{DecodeError, Reader};
use bezant_consensus::EngineKind;
use bezant_types::{GroupId, LogIndex, NodeId};

use super::identity::{decode_known, encode_known, engine_code, engine_of};
use super::{FORMAT_VERSION, KnownDisk, RecordError, RecordKind, copy, damaged, load};
use crate::disk::Disk;

/// Codes of the state of a group.
const IN_USE: u8 = 1;
const DESTROYED: u8 = 2;

/// The label of a kind of state machine, such as `ledger`: 1 to 16 visible ASCII characters. A group is never
/// started with a machine of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineKind([u8; Self::SIZE_MAX]);

impl MachineKind {
    /// Maximal bytes of a label.
    pub const SIZE_MAX: usize = 16;

    /// # Panics
    /// When the label is empty or longer than 16 bytes, or has another character than visible ASCII.
    pub const fn new(label: &str) -> Self {
        let label = label.as_bytes();
        assert!(!label.is_empty(), "a kind of machine has a label");
        assert!(label.len() <= Self::SIZE_MAX, "the label of a machine has at most 16 bytes");
        let mut bytes = [0; Self::SIZE_MAX];
        let mut at = 0;
        while at < label.len() {
            assert!(label[at].is_ascii_graphic(), "the label of a machine is visible ASCII");
            bytes[at] = label[at];
            at += 1;
        }
        Self(bytes)
    }

    /// The kind of 16 bytes; `None` for all zeros.
    fn decode(bytes: [u8; Self::SIZE_MAX]) -> Result<Option<Self>, DecodeError> {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(Self::SIZE_MAX);
        let (label, padding) = bytes.split_at(end);
        if !label.iter().all(u8::is_ascii_graphic) || !padding.iter().all(|byte| *byte == 0) {
            return Err(DecodeError::Value);
        }
        Ok((end > 0).then_some(Self(bytes)))
    }

    /// The label.
    pub fn label(&self) -> &str {
        str::from_utf8(&self.0).map(|label| label.trim_end_matches('\0')).unwrap_or_default()
    }
}

impl Display for MachineKind {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.label())
    }
}

/// The identity of the folder of a group on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupIdentity {
    /// Number of the group.
    pub group: GroupId,
    /// True when the group was destroyed on this node: what is left in the folder is void.
    pub is_destroyed: bool,
    /// Consensus engine of the group; `None` while it is unknown.
    pub engine: Option<EngineKind>,
    /// True when this folder is known to have lost nothing, so that its replica may vote.
    pub is_admitted: bool,
    /// Number of the node.
    pub node: NodeId,
    /// Index of the entry that made this node a member of the group, from the list of members at the time
    /// when the folder was created; 0 for the first members. A node that is removed and added again gets a
    /// new folder and a new index.
    pub since: LogIndex,
    /// Random number of this folder: if the folder is lost, or the group is made again, the new one gets
    /// another number.
    pub disk: u128,
    /// Kind of the state machine; `None` in a folder of version 0.1 until the group's first start.
    pub kind: Option<MachineKind>,
    /// Other nodes that this replica has met, and their folders of this group; at most 64.
    pub known: Vec<KnownDisk>,
}

impl GroupIdentity {
    /// Reads the identity of a group's folder and makes its file name durable; `None` when there is none.
    pub fn load(disk: &dyn Disk) -> Result<Option<Self>, RecordError> {
        disk.sync_folder()?;
        let identity = load(disk, RecordKind::Group)?.map(|content| Self::decode(&content)).transpose();
        identity.map_err(|_| damaged(RecordKind::Group, "it does not hold the identity of a group"))
    }

    /// Replaces the identity; durable on return.
    ///
    /// # Panics
    /// When `known` has more than 64 nodes.
    pub fn store(&self, disk: &dyn Disk) -> Result<(), RecordError> {
        copy::store(disk, RecordKind::Group, FORMAT_VERSION, &self.encode())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut content = self.group.0.to_le_bytes().to_vec();
        let state = if self.is_destroyed { DESTROYED } else { IN_USE };
        content.extend_from_slice(&[state, engine_code(self.engine), u8::from(self.is_admitted), 0]);
        content.extend_from_slice(&self.node.0.to_le_bytes());
        content.extend_from_slice(&self.since.0.to_le_bytes());
        content.extend_from_slice(&self.disk.to_le_bytes());
        content.extend_from_slice(&self.kind.map_or([0; MachineKind::SIZE_MAX], |kind| kind.0));
        encode_known(&self.known, &mut content);
        content
    }

    pub(super) fn decode(content: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(content);
        let group = GroupId(reader.u32()?);
        let [state, engine, admitted, 0] = reader.array::<4>()? else { return Err(DecodeError::Reserved) };
        let is_destroyed = match state {
            IN_USE => false,
            DESTROYED => true,
            _ => return Err(DecodeError::Value),
        };
        if admitted > 1 {
            return Err(DecodeError::Value);
        }
        let identity = Self {
            group,
            is_destroyed,
            engine: engine_of(engine)?,
            is_admitted: admitted == 1,
            node: NodeId(reader.u64()?),
            since: LogIndex(reader.u64()?),
            disk: u128::from_le_bytes(reader.array()?),
            kind: MachineKind::decode(reader.array()?)?,
            known: decode_known(&mut reader)?,
        };
        reader.finish()?;
        Ok(identity)
    }
}
