//! The task that writes checkpoints: first the history is made durable up to the cut, then the checkpoint.
//!
//! It waits for the history and for the log, which never wait for a task of its pool.

use std::sync::{Arc, mpsc};
use std::time::Instant;

use bezant_consensus::Terms;
use bezant_recovery::{Machine, verify};
use bezant_replica::{Input, Installable};
use bezant_storage::checkpoint::{CheckpointError, CheckpointStore, CheckpointWriter};
use bezant_storage::disk::{Disk, DiskError};
use bezant_storage::record::{RecordError, store_terms};
use bezant_types::{HistoryPosition, LogIndex, Nanos, Term};

use crate::group::message::Message;
use crate::group::metrics::gauge;
use crate::group::shared::{Shared, observe};
use crate::group::work::{CheckpointWork, HistoryWork, LogWork};
use crate::process::mailbox::{Mailbox, Sender};
use crate::process::pool::{Next, Task};

/// Ends when every sender of work is dropped, or when the disk fails.
pub(crate) struct CheckpointTask<M: Machine> {
    pub(crate) store: CheckpointStore,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) replica: Sender<Message<M>>,
    pub(crate) history: Sender<HistoryWork>,
    pub(crate) log: Sender<LogWork>,
    pub(crate) work: Mailbox<CheckpointWork>,
    pub(crate) unfinished: Unfinished,
}

/// A checkpoint that is not complete yet.
#[derive(Default)]
pub(crate) struct Unfinished {
    /// Terms that are not on disk yet.
    terms: Option<Terms>,
    /// What is written so far; `None` also after the disk was full.
    writer: Option<CheckpointWriter>,
    begun: Option<Instant>,
}

impl<M: Machine> Task for CheckpointTask<M> {
    /// Does one piece of work.
    fn run(&mut self, _now: Instant) -> Next {
        let Some(work) = self.work.next() else {
            return if self.work.has_senders() { Next::Wait } else { Next::End };
        };
        match self.take(work) {
            Ok(Some(())) => Next::Again,
            Ok(None) => Next::End,
            Err(error) => {
                let reason = format!(
                    "{error}. Reads still work; stop the node, repair the disk, and start the node again"
                );
                tracing::error!("the checkpoint failed: {reason}");
                self.report(Input::Failed { reason });
                Next::End
            }
        }
    }
}

impl<M: Machine> CheckpointTask<M> {
    /// `None` when the history or the log has failed or ended: it has reported why.
    fn take(&mut self, work: CheckpointWork) -> Result<Option<()>, CheckpointError> {
        match work {
            CheckpointWork::Terms(terms) => self.unfinished.terms = Some(terms),
            CheckpointWork::Begin { index, term } => {
                self.unfinished.begun = Some(Instant::now());
                self.unfinished.writer = self.begin(index, term)?;
            }
            CheckpointWork::Piece(piece) => {
                if let Some(mut writer) = self.unfinished.writer.take()
                    && self.unless_full(|_| writer.write(&piece))?.is_some()
                {
                    self.unfinished.writer = Some(writer);
                }
                self.report(Input::CheckpointPieceTaken);
            }
            CheckpointWork::End { index, time, position } => return self.end(index, time, position),
            CheckpointWork::Install(installable) => {
                self.unfinished.writer = None;
                let Some(result) = self.install(&installable)? else { return Ok(None) };
                self.report(result);
            }
        }
        Ok(Some(()))
    }

    /// Finishes a checkpoint after the rows before it are durable.
    fn end(
        &mut self,
        index: LogIndex,
        time: Nanos,
        position: HistoryPosition,
    ) -> Result<Option<()>, CheckpointError> {
        let Some(durable) = self.flush_history() else { return Ok(None) };
        assert!(durable.reaches(position), "the rows before the cut were sent to the history before it");
        let written = match self.unfinished.writer.take() {
            Some(writer) => self.unless_full(|_| writer.finish(position, time))?,
            None => None,
        };
        let Some(written) = written else {
            self.report(Input::CheckpointAbandoned(index));
            return Ok(Some(()));
        };
        self.shared.metrics.checkpoints.inc();
        self.shared.metrics.checkpoint_index.set(gauge(index.0));
        if let Some(begun) = self.unfinished.begun {
            observe(&self.shared.metrics.checkpoint_seconds, begun);
        }
        drop(self.history.send(HistoryWork::Checkpointed(position)));
        self.report(Input::CheckpointWritten { index, digest: written.digest });
        Ok(Some(()))
    }

    fn report(&self, input: Input<M>) {
        // A replica that has ended needs no report.
        drop(self.replica.send(Message::Event(input)));
    }

    /// Begins a checkpoint after the terms of its log are on disk. `None` when the disk is full.
    fn begin(&mut self, index: LogIndex, term: Term) -> Result<Option<CheckpointWriter>, CheckpointError> {
        if let Some(terms) = &self.unfinished.terms
            && self.unless_full(|_| write_terms(&*self.disk, terms))?.is_none()
        {
            return Ok(None);
        }
        self.unfinished.terms = None;
        self.unless_full(|store| store.begin(index, term))
    }

    /// Writes a part of a checkpoint. `None` when the disk is full: then the part that was written is
    /// removed, nothing is lost, and the log grows without a checkpoint until there is space.
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

    /// Replaces this replica's state by a peer's checkpoint. First the plan is recorded in the log, then the
    /// checkpoint is made durable, then the log is reset. So a crash at any point leaves the old state or the
    /// new one. `None` when the history or the log has ended: it has reported why.
    fn install(&mut self, installable: &Installable) -> Result<Option<Input<M>>, CheckpointError> {
        let Installable { index, term, time, position, .. } = *installable;
        let failed = |reason: &str| {
            tracing::warn!(index = index.0, "the checkpoint of another node is fetched again: {reason}");
            Ok(Some(Input::InstallFailed))
        };
        if !verify(installable) {
            return failed("the bytes differ from the peer's checkpoint");
        }
        let Some(durable) = self.flush_history() else { return Ok(None) };
        if !durable.reaches(position) {
            return failed("rows of the history are missing");
        }
        if self.ask_log(|reply| LogWork::PlanReset(index, term, reply)).is_none() {
            return Ok(None);
        }
        let written = match self.begin(index, term)? {
            Some(mut writer) => self.unless_full(|_| {
                writer.write(&installable.bytes)?;
                writer.finish(position, time)
            })?,
            None => None,
        };
        if written.is_none() {
            drop(self.log.send(LogWork::CancelReset));
            return failed("there is no space for the checkpoint");
        }
        if self.ask_log(|reply| LogWork::Reset(index, term, reply)).is_none() {
            return Ok(None);
        }
        self.shared.metrics.checkpoint_index.set(gauge(index.0));
        drop(self.history.send(HistoryWork::Checkpointed(position)));
        tracing::info!(index = index.0, "the state of another node was installed");
        Ok(Some(Input::Installed))
    }

    /// `None` when the log has failed: it has reported why.
    fn ask_log(&self, work: impl FnOnce(mpsc::Sender<()>) -> LogWork) -> Option<()> {
        let (reply, answer) = mpsc::channel();
        self.log.send(work(reply)).ok()?;
        answer.recv().ok()
    }

    /// `None` when the history has failed: it has reported why.
    fn flush_history(&self) -> Option<HistoryPosition> {
        let (reply, answer) = mpsc::channel();
        self.history.send(HistoryWork::Flush(reply)).ok()?;
        answer.recv().ok()
    }
}

fn write_terms(disk: &dyn Disk, terms: &Terms) -> Result<(), CheckpointError> {
    store_terms(disk, terms).map_err(|error| match error {
        RecordError::NoSpace(error) | RecordError::Disk(error) => CheckpointError::Disk(error),
        // Writing reads nothing, so it finds neither damage nor an unknown version.
        other => unreachable!("writing a record has no other failure: {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bezant_storage::{FaultPlan, MemoryDisk};

    #[test]
    fn terms_without_space_report_a_full_disk() {
        let disk = MemoryDisk::new();
        disk.set_faults(FaultPlan { capacity_bytes: Some(0), ..FaultPlan::default() });
        let written = write_terms(&disk, &Terms::default());
        assert!(matches!(written, Err(CheckpointError::Disk(DiskError::Full { .. }))), "{written:?}");
        disk.set_faults(FaultPlan::default());
        write_terms(&disk, &Terms::default()).unwrap();
    }
}
