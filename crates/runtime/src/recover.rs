//! What the disk holds becomes the state again.
//!
//! The order is fixed: newest checkpoint, history cut back to it, log after it applied again. Damage in any
//! of them stops the start with the file, the place and what can be done; nothing is cut in silence.

use std::sync::Arc;

use bezant_ledger::Ledger;
use bezant_node::{ReplayError, replay};
use bezant_rsm::{RestoreError, StateMachine};
use bezant_storage::checkpoint::{CheckpointError, CheckpointStore};
use bezant_storage::disk::{Disk, DiskError};
use bezant_storage::log::{CutTail, Log, LogError, LogOptions};
use bezant_storage::{History, HistoryError};
use bezant_types::LogIndex;
use thiserror::Error;

use crate::fetch_thread::fetch;

/// Why a node does not start. Nothing that was acknowledged was changed; the start can be tried again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The folder cannot be used: another process holds it, or the system refused.
    #[error("the data folder cannot be used: {0}")]
    Disk(#[from] DiskError),
    /// The checkpoint cannot be read.
    #[error("the checkpoint cannot be read: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint's bytes are sound, but not a ledger's.
    #[error("the checkpoint cannot be used: {0}")]
    Restore(#[from] RestoreError),
    /// The history cannot be read.
    #[error("the history cannot be read: {0}")]
    History(#[from] HistoryError),
    /// The log cannot be read.
    #[error("the log cannot be read: {0}")]
    Log(#[from] LogError),
    /// An entry of the log cannot be applied.
    #[error("the log cannot be applied: {0}")]
    Replay(#[from] ReplayError<HistoryError>),
    /// The system gives no thread.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}

/// What the disk held.
#[derive(Debug)]
pub struct Recovered {
    /// Where checkpoints go.
    pub store: CheckpointStore,
    /// The state after the last entry of the log.
    pub machine: Ledger,
    /// Its rows.
    pub history: History,
    /// Ready for the next entry.
    pub log: Log,
    /// The checkpoint that the state began with; 0 = none.
    pub checkpoint: LogIndex,
    /// The last entry of the log.
    pub applied: LogIndex,
    /// Bytes of the entries after the checkpoint.
    pub log_bytes: usize,
    /// How many those are.
    pub entries_replayed: u64,
    /// The end of the log that a crash had torn, and that nobody was told of.
    pub cut: Option<CutTail>,
}

/// Reads everything back.
pub fn recover(disk: Arc<dyn Disk>, options: LogOptions) -> Result<Recovered, StartError> {
    let store = CheckpointStore::new(Arc::clone(&disk));
    let (mut machine, checkpoint) = match store.load_newest()? {
        Some(checkpoint) => (Ledger::restore(&checkpoint.bytes)?, checkpoint.index),
        None => (Ledger::new(), LogIndex(0)),
    };
    let mut history = History::open(Arc::clone(&disk), machine.position())?;
    let (log, mut recovered) = Log::open(disk, options, checkpoint)?;
    let reader = history.reader();
    let (mut applied, mut log_bytes, mut entries_replayed) = (checkpoint, 0, 0);
    while let Some(entry) = recovered.entries.next()? {
        let rows = replay(&mut machine, &entry, |prefetch| fetch(&reader, prefetch))?;
        history.append(rows.movements, rows.refusals)?;
        while let Some(job) = history.next_job() {
            history.complete(job.run()?)?;
        }
        applied = entry.index;
        log_bytes += entry.payload.len();
        entries_replayed += 1;
    }
    Ok(Recovered {
        store,
        machine,
        history,
        log,
        checkpoint,
        applied,
        log_bytes,
        entries_replayed,
        cut: recovered.cut,
    })
}
