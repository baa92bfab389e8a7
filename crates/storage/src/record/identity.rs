//! The identity of a node and its folder in a cluster, as version 0.1 writes it: `node.bzi` of format version
//! 1. The folder has no folders for groups.

use bezant_codec::{DecodeError, Reader};
use bezant_consensus::EngineKind;
use bezant_types::{LogIndex, NodeId};

use super::{FORMAT_VERSION, RecordError, RecordKind, copy, damaged, load};
use crate::disk::Disk;

/// Maximal number of other nodes in an identity.
const KNOWN_MAX: usize = 64;

/// The code of an engine in an identity; 0 when it is not known.
pub(super) fn engine_code(engine: Option<EngineKind>) -> u8 {
    engine.map_or(0, |engine| engine as u8)
}

pub(super) fn engine_of(code: u8) -> Result<Option<EngineKind>, DecodeError> {
    match code {
        0 => Ok(None),
        code => EngineKind::from_code(code).map(Some).ok_or(DecodeError::Value),
    }
}

/// Appends the list of known nodes.
pub(super) fn encode_known(known: &[KnownDisk], content: &mut Vec<u8>) {
    assert!(known.len() <= KNOWN_MAX, "an identity holds at most 64 other nodes");
    content.extend_from_slice(&(known.len() as u64).to_le_bytes());
    for known in known {
        content.extend_from_slice(&known.node.0.to_le_bytes());
        content.extend_from_slice(&known.since.0.to_le_bytes());
        content.extend_from_slice(&known.disk.to_le_bytes());
    }
}

pub(super) fn decode_known(reader: &mut Reader<'_>) -> Result<Vec<KnownDisk>, DecodeError> {
    let count = reader.u64()?;
    if count > KNOWN_MAX as u64 {
        return Err(DecodeError::Value);
    }
    let mut known = Vec::new();
    for _ in 0..count {
        let (node, since) = (NodeId(reader.u64()?), LogIndex(reader.u64()?));
        known.push(KnownDisk { node, since, disk: u128::from_le_bytes(reader.array()?) });
    }
    Ok(known)
}

/// The identity of a node and its folder in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// SHA-256 of the cluster's token.
    pub token: [u8; 32],
    /// Number of the node.
    pub node: NodeId,
    /// Random number of this folder: if the folder is lost, the new one gets another number.
    pub disk: u128,
    /// Index of the entry that made this node a member, from the member list at the time when the folder was
    /// created; 0 for the first members. A node that is removed and added again gets a new folder and a new
    /// index.
    pub since: LogIndex,
    /// True when this folder is known to have lost nothing, so that its node may vote.
    pub is_admitted: bool,
    /// Consensus engine of the cluster. `None` while it is unknown, and in a folder from before the engine
    /// could be chosen; such a folder uses Raft.
    pub engine: Option<EngineKind>,
    /// Other nodes that this node has met, and their folders; at most 64.
    pub known: Vec<KnownDisk>,
}

/// The folder of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownDisk {
    /// Number of the node.
    pub node: NodeId,
    /// Index of the entry that made the node a member. A node that is removed and added again gets a new
    /// folder and a new index.
    pub since: LogIndex,
    /// Random number of its folder.
    pub disk: u128,
}

impl Identity {
    /// Reads the identity and makes its file name durable; `None` when the folder belongs to no cluster.
    pub fn load(disk: &dyn Disk) -> Result<Option<Self>, RecordError> {
        disk.sync_folder()?;
        let identity = load(disk, RecordKind::Identity)?.map(|content| Self::decode(&content)).transpose();
        identity.map_err(|_| damaged(RecordKind::Identity, "it does not hold an identity"))
    }

    /// Replaces the identity; durable on return.
    ///
    /// # Panics
    /// When `known` has more than 64 nodes.
    pub fn store(&self, disk: &dyn Disk) -> Result<(), RecordError> {
        copy::store(disk, RecordKind::Identity, FORMAT_VERSION, &self.encode())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut content = Vec::new();
        content.extend_from_slice(&self.token);
        content.extend_from_slice(&self.node.0.to_le_bytes());
        content.extend_from_slice(&self.disk.to_le_bytes());
        content.extend_from_slice(&self.since.0.to_le_bytes());
        let engine = engine_code(self.engine);
        content.extend_from_slice(&[u8::from(self.is_admitted), engine, 0, 0, 0, 0, 0, 0]);
        encode_known(&self.known, &mut content);
        content
    }

    pub(super) fn decode(content: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(content);
        let token = reader.array()?;
        let node = NodeId(reader.u64()?);
        let disk = u128::from_le_bytes(reader.array()?);
        let since = LogIndex(reader.u64()?);
        let [admitted, engine, ..] = reader.array::<8>()?;
        let is_admitted = admitted != 0;
        let engine = engine_of(engine)?;
        let known = decode_known(&mut reader)?;
        reader.finish()?;
        Ok(Self { token, node, disk, since, is_admitted, engine, known })
    }
}
