//! The thread that writes checkpoints: first the history is made durable up to the cut, then the checkpoint.

use std::sync::{Arc, mpsc};
use std::time::Instant;

use bezant_node::Input;
use bezant_storage::checkpoint::{CheckpointError, CheckpointStore, CheckpointWriter};
use bezant_storage::disk::DiskError;
use bezant_types::{HistoryPosition, LogIndex, Nanos, Term};

use crate::handle::{Message, Shared};
use crate::history_thread::HistoryWork;
use crate::metrics::gauge;
use crate::node_thread::observe;

/// What the checkpoint thread is told.
#[derive(Debug)]
pub(crate) enum CheckpointWork {
    Begin { index: LogIndex, term: Term },
    Piece(Vec<u8>),
    End { index: LogIndex, time: Nanos, position: HistoryPosition },
}

pub(crate) struct CheckpointThread {
    pub(crate) store: CheckpointStore,
    pub(crate) shared: Arc<Shared>,
    pub(crate) node: mpsc::Sender<Message>,
    pub(crate) history: mpsc::Sender<HistoryWork>,
}

impl CheckpointThread {
    /// Runs until nobody can send work any more, or until the disk fails.
    pub(crate) fn run(mut self, work: &mpsc::Receiver<CheckpointWork>) {
        if let Err(error) = self.serve(work) {
            let reason = format!("{error}. Reads go on; stop the node, mend the disk, and start it again");
            tracing::error!("the checkpoint failed: {reason}");
            drop(self.node.send(Message::Event(Input::Failed { reason })));
        }
    }

    fn serve(&mut self, work: &mpsc::Receiver<CheckpointWork>) -> Result<(), CheckpointError> {
        let mut writer: Option<CheckpointWriter> = None;
        let mut start = Instant::now();
        for work in work {
            match work {
                CheckpointWork::Begin { index, term } => {
                    start = Instant::now();
                    writer = self.unless_full(|store| store.begin(index, term))?;
                }
                CheckpointWork::Piece(piece) => {
                    if let Some(unfinished) = &mut writer
                        && self.unless_full(|_| unfinished.write(&piece))?.is_none()
                    {
                        writer = None;
                    }
                    drop(self.node.send(Message::Event(Input::CheckpointPieceTaken)));
                }
                CheckpointWork::End { index, time, position } => {
                    let Some(durable) = self.flush_history() else { return Ok(()) };
                    assert!(durable.reaches(position), "rows before the cut were handed over before it");
                    let written = match writer.take() {
                        Some(unfinished) => self.unless_full(|_| unfinished.finish(position, time))?,
                        None => None,
                    };
                    if written.is_none() {
                        drop(self.node.send(Message::Event(Input::CheckpointAbandoned(index))));
                        continue;
                    }
                    self.shared.metrics.checkpoints.inc();
                    self.shared.metrics.checkpoint_index.set(gauge(index.0));
                    observe(&self.shared.metrics.checkpoint_seconds, start);
                    drop(self.history.send(HistoryWork::Checkpointed(position)));
                    drop(self.node.send(Message::Event(Input::CheckpointWritten(index))));
                }
            }
        }
        Ok(())
    }

    /// Writes a part of a checkpoint. `None` when there is no room for it: then what was written so far is
    /// removed, nothing is lost, and the log goes on without a checkpoint until there is room.
    fn unless_full<T>(
        &self,
        write: impl FnOnce(&CheckpointStore) -> Result<T, CheckpointError>,
    ) -> Result<Option<T>, CheckpointError> {
        match write(&self.store) {
            Ok(written) => Ok(Some(written)),
            Err(CheckpointError::Disk(error @ DiskError::Full { .. })) => {
                tracing::warn!("no checkpoint for now: {error}");
                self.store.abandon()?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// `None` when the history has ended: it has told why.
    fn flush_history(&self) -> Option<HistoryPosition> {
        let (reply, answer) = mpsc::channel();
        self.history.send(HistoryWork::Flush(reply)).ok()?;
        answer.recv().ok()
    }
}
