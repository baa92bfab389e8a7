//! Supplies a replica that lags too far with this replica's newest checkpoint and history, one piece at a
//! time.
//!
//! The replica that asks decides the pace and keeps the position. The supplier only keeps one open file for
//! each such replica, so that it can read a checkpoint to its end even if a newer one replaces it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bezant_replica::{Chunk, ChunkHead, ChunkPart, Installable, Pull};
use bezant_storage::checkpoint::{CheckpointError, CheckpointReader, CheckpointStore};
use bezant_storage::disk::Disk;
use bezant_storage::record::{RecordError, load_members, load_terms};
use bezant_storage::{HistoryError, HistoryReader};
use bezant_types::{HistoryPosition, LogIndex, NodeId};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Bytes of a piece.
const PIECE_SIZE: usize = 1 << 20;

/// Why a piece cannot be supplied. The replica that asked repeats its request.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SupplyError {
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The history cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The list of members cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Answers the pulls of other replicas.
#[derive(Debug)]
pub struct Supplier {
    disk: Arc<dyn Disk>,
    store: CheckpointStore,
    history: HistoryReader,
    readers: BTreeMap<NodeId, CheckpointReader>,
}

impl Supplier {
    /// Supplies from these checkpoints and this history. The members are those of the record on `disk`, which
    /// is never older than a checkpoint on it.
    pub const fn new(disk: Arc<dyn Disk>, store: CheckpointStore, history: HistoryReader) -> Self {
        Self { disk, store, history, readers: BTreeMap::new() }
    }

    /// The piece that `to` asks for; `None` while this replica has no checkpoint that `to` can use.
    pub fn supply(&mut self, to: NodeId, pull: Pull) -> Result<Option<Chunk>, SupplyError> {
        let holds_it = self.readers.get(&to).is_some_and(|reader| reader.index() == pull.index);
        if !holds_it {
            let Some(newest) = self.store.open_newest()? else { return Ok(None) };
            self.readers.insert(to, newest);
        }
        let Some(reader) = self.readers.get_mut(&to) else { return Ok(None) };
        let head = ChunkHead {
            index: reader.index(),
            term: reader.term(),
            time: reader.time(),
            position: reader.history(),
            size: reader.size(),
            digest: reader.digest(),
        };
        if !head.position.reaches(pull.position) {
            // The replica that asks already has rows of a newer checkpoint.
            self.readers.remove(&to);
            return Ok(None);
        }
        let part = if pull.position == head.position {
            let offset = if pull.index == head.index { pull.offset } else { 0 };
            let bytes = Bytes::from(reader.read(offset, PIECE_SIZE)?);
            if offset + bytes.len() as u64 == head.size {
                self.readers.remove(&to);
            }
            let members = load_members(&*self.disk)?.unwrap_or_default();
            // The record is never older than a checkpoint on this disk. A record that cannot be read counts
            // as empty.
            let terms = load_terms(&*self.disk).unwrap_or_default();
            ChunkPart::State { offset, members, terms, bytes }
        } else {
            let rows = self.history.chunk(pull.position, head.position, PIECE_SIZE)?;
            let until = HistoryPosition {
                movements: pull.position.movements + rows.movements.len() as u64,
                refusals: pull.position.refusals + rows.refusals.len() as u64,
            };
            ChunkPart::Rows { from: pull.position, until, bytes: rows.encode() }
        };
        Ok(Some(Chunk { head, part }))
    }

    /// Closes the checkpoint that was open for this peer; its next pull begins with the newest one.
    pub fn close(&mut self, peer: NodeId) {
        self.readers.remove(&peer);
    }
}

/// True when the fetched bytes have the SHA-256 digest that the supplier's checkpoint names.
pub fn verify(installable: &Installable) -> bool {
    installable.index != LogIndex(0)
        && <[u8; 32]>::from(Sha256::digest(&installable.bytes)) == installable.digest
}
