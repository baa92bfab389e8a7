//! The thread that writes checkpoints: first the history is made durable up to the cut, then the checkpoint.

use std::sync::{Arc, mpsc};
use std::time::Instant;

use bezant_node::Input;
use bezant_storage::checkpoint::{CheckpointError, CheckpointStore, CheckpointWriter};
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
                    writer = Some(self.store.begin(index, term)?);
                }
                CheckpointWork::Piece(piece) => {
                    if let Some(writer) = &mut writer {
                        writer.write(&piece)?;
                    }
                    drop(self.node.send(Message::Event(Input::CheckpointPieceTaken)));
                }
                CheckpointWork::End { index, time, position } => {
                    let Some(writer) = writer.take() else { continue };
                    let Some(durable) = self.flush_history() else { return Ok(()) };
                    assert!(durable.reaches(position), "rows before the cut were handed over before it");
                    writer.finish(position, time)?;
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

    /// `None` when the history has ended: it has told why.
    fn flush_history(&self) -> Option<HistoryPosition> {
        let (reply, answer) = mpsc::channel();
        self.history.send(HistoryWork::Flush(reply)).ok()?;
        answer.recv().ok()
    }
}
