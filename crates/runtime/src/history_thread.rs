//! The threads behind the applied log: one appends rows, one builds index runs.

use std::sync::{Arc, mpsc};

use rustix::process::setpriority_process;

use bezant_ledger::LedgerRows;
use bezant_node::Input;
use bezant_storage::{Finished, History, HistoryError, Job};
use bezant_types::{HistoryPosition, MovementNumber};

use crate::handle::{Message, Shared};
use crate::metrics::gauge;

/// What the history is told.
#[derive(Debug)]
pub(crate) enum HistoryWork {
    Rows(LedgerRows),
    /// Make everything durable that came before; the position then.
    Flush(mpsc::Sender<HistoryPosition>),
    /// A checkpoint of that position is durable.
    Checkpointed(HistoryPosition),
    /// A run was built.
    Built(Result<Finished, HistoryError>),
    /// The node has ended: nothing comes any more that matters.
    Stop,
}

pub(crate) struct HistoryThread {
    pub(crate) history: History,
    pub(crate) shared: Arc<Shared>,
    pub(crate) node: mpsc::Sender<Message>,
    pub(crate) jobs: mpsc::Sender<Job>,
}

impl HistoryThread {
    /// Runs until nobody can send work any more, or until the disk fails.
    pub(crate) fn run(mut self, work: &mpsc::Receiver<HistoryWork>) {
        for work in work {
            if matches!(work, HistoryWork::Stop) {
                return;
            }
            if let Err(error) = self.take(work) {
                let reason =
                    format!("{error}. Reads go on; stop the node, mend the disk, and start it again");
                tracing::error!("the history failed: {reason}");
                drop(self.node.send(Message::Event(Input::Failed { reason })));
                return;
            }
        }
    }

    fn take(&mut self, work: HistoryWork) -> Result<(), HistoryError> {
        let metrics = &self.shared.metrics;
        match work {
            HistoryWork::Rows(rows) => {
                let count = gauge(rows.movements.len() as u64);
                let position = self.history.append(rows.movements, rows.refusals)?;
                metrics.history_backlog.dec_by(count);
                metrics.history_movements.set(gauge(position.movements));
                self.shared.visible.send_replace(MovementNumber(position.movements));
            }
            HistoryWork::Flush(reply) => {
                let position = self.history.flush()?;
                if reply.send(position).is_err() {
                    tracing::debug!("nobody waits for the flushed history: the node is being stopped");
                }
            }
            HistoryWork::Checkpointed(position) => self.history.handle_checkpointed(position)?,
            HistoryWork::Built(finished) => {
                self.history.complete(finished?)?;
                metrics.index_jobs.inc();
                metrics.index_jobs_waiting.dec();
            }
            HistoryWork::Stop => {}
        }
        let unindexed = self.history.unindexed_rows().movements;
        self.shared.metrics.history_unindexed.set(gauge(unindexed));
        while let Some(job) = self.history.next_job() {
            self.shared.metrics.index_jobs_waiting.inc();
            drop(self.jobs.send(job));
        }
        Ok(())
    }
}

/// How much the building of runs yields to payments: index runs are wanted soon, answers at once.
const INDEX_NICENESS: i32 = 10;

/// Builds index runs until nobody can send jobs any more.
pub(crate) fn run_jobs(jobs: &mpsc::Receiver<Job>, history: &mpsc::Sender<HistoryWork>) {
    // On Linux a thread has a priority of its own.
    if let Err(error) = setpriority_process(Some(rustix::thread::gettid()), INDEX_NICENESS) {
        tracing::debug!("the index thread keeps its priority: {error}");
    }
    for job in jobs {
        if history.send(HistoryWork::Built(job.run())).is_err() {
            return;
        }
    }
}
