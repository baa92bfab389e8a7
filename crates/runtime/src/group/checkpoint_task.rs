//! The task that writes checkpoints: first the history is made durable up to the cut, then the checkpoint.
//!
//! It asks the history and the log for what must be done first, and does other work of its own only after their
//! answers. It holds no thread meanwhile: a log may wait for space for long.

use std::collections::VecDeque;
use std::sync::Arc;
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
use crate::group::work::{CheckpointWork, HistoryWork, LogWork, Reply};
use crate::process::mailbox::{Mailbox, Sender};
use crate::process::pool::{Next, Task};

/// Ends when every sender of work is dropped, or when a disk fails.
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

/// What the task has begun.
#[derive(Default)]
pub(crate) struct Unfinished {
    /// Terms that are not on disk yet.
    terms: Option<Terms>,
    /// What is written of a checkpoint so far; `None` also after the disk was full.
    writer: Option<CheckpointWriter>,
    begun: Option<Instant>,
    /// The answer for which the task waits.
    awaits: Awaits,
    /// Work that came meanwhile, the oldest first.
    later: VecDeque<CheckpointWork>,
}

/// An answer for which the task waits, and what it is for.
#[derive(Default)]
enum Awaits {
    /// It waits for no answer.
    #[default]
    Nothing,
    /// The history is made durable, for the checkpoint that ends there.
    Rows { index: LogIndex, time: Nanos, position: HistoryPosition },
    /// The history is made durable, for the checkpoint of a peer.
    InstalledRows(Installable),
    /// The log records that it will be void.
    Plan(Installable),
    /// The log begins again.
    Reset(Installable),
}

/// What the task does after a piece of work.
enum Then {
    GoOn,
    /// The history or the log has failed or ended: it has reported why.
    End,
}

impl<M: Machine> Task for CheckpointTask<M> {
    /// Does one piece of work.
    fn run(&mut self, _now: Instant) -> Next {
        let is_free = matches!(self.unfinished.awaits, Awaits::Nothing);
        let later = if is_free { self.unfinished.later.pop_front() } else { None };
        let Some(work) = later.or_else(|| self.work.next()) else {
            return if self.work.has_senders() { Next::Wait } else { Next::End };
        };
        match self.take(work, is_free) {
            Ok(Then::GoOn) => Next::Again,
            Ok(Then::End) => Next::End,
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
    fn take(&mut self, work: CheckpointWork, is_free: bool) -> Result<Then, CheckpointError> {
        match work {
            CheckpointWork::HistoryDurable(Some(durable)) => return self.go_on_with_rows(durable),
            CheckpointWork::LogDone(Some(())) => return self.go_on_with_log(),
            CheckpointWork::HistoryDurable(None) | CheckpointWork::LogDone(None) => return Ok(Then::End),
            work if !is_free => self.unfinished.later.push_back(work),
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
            CheckpointWork::End { index, time, position } => {
                self.ask_history(Awaits::Rows { index, time, position });
            }
            CheckpointWork::Install(installable) => {
                self.unfinished.writer = None;
                if verify(&installable) {
                    self.ask_history(Awaits::InstalledRows(installable));
                } else {
                    self.install_failed(&installable, "the bytes differ from the peer's checkpoint");
                }
            }
        }
        Ok(Then::GoOn)
    }

    /// The history is durable up to this position.
    fn go_on_with_rows(&mut self, durable: HistoryPosition) -> Result<Then, CheckpointError> {
        match std::mem::take(&mut self.unfinished.awaits) {
            Awaits::Rows { index, time, position } => {
                assert!(
                    durable.reaches(position),
                    "the rows before the cut were sent to the history before it"
                );
                self.end(index, time, position)?;
            }
            Awaits::InstalledRows(installable) if durable.reaches(installable.position) => {
                // First the plan is recorded in the log, then the checkpoint is made durable, then the log is
                // reset. So a crash at any point leaves the old state or the new one.
                let Installable { index, term, .. } = installable;
                self.ask_log(Awaits::Plan(installable), |reply| LogWork::PlanReset(index, term, reply));
            }
            Awaits::InstalledRows(installable) => {
                self.install_failed(&installable, "rows of the history are missing");
            }
            _ => unreachable!("invariant: the history answers only what it was asked"),
        }
        Ok(Then::GoOn)
    }

    /// The log has done what it was asked.
    fn go_on_with_log(&mut self) -> Result<Then, CheckpointError> {
        match std::mem::take(&mut self.unfinished.awaits) {
            Awaits::Plan(installable) => self.install(installable)?,
            Awaits::Reset(Installable { index, position, .. }) => {
                self.shared.metrics.checkpoint_index.set(gauge(index.0));
                drop(self.history.send(HistoryWork::Checkpointed(position)));
                tracing::info!(index = index.0, "the state of another node was installed");
                self.report(Input::Installed);
            }
            _ => unreachable!("invariant: the log answers only what it was asked"),
        }
        Ok(Then::GoOn)
    }

    fn ask_history(&mut self, awaits: Awaits) {
        self.unfinished.awaits = awaits;
        // A reply that is dropped answers that there is none.
        drop(self.history.send(HistoryWork::Flush(Reply::new(&self.work, CheckpointWork::HistoryDurable))));
    }

    fn ask_log(&mut self, awaits: Awaits, work: impl FnOnce(Reply<()>) -> LogWork) {
        self.unfinished.awaits = awaits;
        drop(self.log.send(work(Reply::new(&self.work, CheckpointWork::LogDone))));
    }

    /// Finishes a checkpoint; the rows before it are durable.
    fn end(
        &mut self,
        index: LogIndex,
        time: Nanos,
        position: HistoryPosition,
    ) -> Result<(), CheckpointError> {
        let written = match self.unfinished.writer.take() {
            Some(writer) => self.unless_full(|_| writer.finish(position, time))?,
            None => None,
        };
        let Some(written) = written else {
            self.report(Input::CheckpointAbandoned(index));
            return Ok(());
        };
        self.shared.metrics.checkpoints.inc();
        self.shared.metrics.checkpoint_index.set(gauge(index.0));
        if let Some(begun) = self.unfinished.begun {
            observe(&self.shared.metrics.checkpoint_seconds, begun);
        }
        drop(self.history.send(HistoryWork::Checkpointed(position)));
        self.report(Input::CheckpointWritten { index, digest: written.digest });
        Ok(())
    }

    /// Writes the checkpoint of a peer, after the log has recorded that it will be void.
    fn install(&mut self, installable: Installable) -> Result<(), CheckpointError> {
        let Installable { index, term, time, position, .. } = installable;
        let written = match self.begin(index, term)? {
            Some(mut writer) => self.unless_full(|_| {
                writer.write(&installable.bytes)?;
                writer.finish(position, time)
            })?,
            None => None,
        };
        if written.is_some() {
            self.ask_log(Awaits::Reset(installable), |reply| LogWork::Reset(index, term, reply));
        } else {
            drop(self.log.send(LogWork::CancelReset));
            self.install_failed(&installable, "there is no space for the checkpoint");
        }
        Ok(())
    }

    fn install_failed(&self, installable: &Installable, reason: &str) {
        let index = installable.index.0;
        tracing::warn!(index, "the checkpoint of another node is fetched again: {reason}");
        self.report(Input::InstallFailed);
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
    use crate::group::metrics::Metrics;
    use crate::process::mailbox::mailbox;
    use crate::process::pool::tests::detached;
    use bezant_ledger::Ledger;
    use bezant_storage::{FaultPlan, History, MemoryDisk};
    use sha2::{Digest, Sha256};

    /// The task, and what it sends to the others.
    struct Rig {
        task: CheckpointTask<Ledger>,
        to_task: Sender<CheckpointWork>,
        history: Mailbox<HistoryWork>,
        log: Mailbox<LogWork>,
        events: Mailbox<Message<Ledger>>,
    }

    impl Rig {
        fn new() -> Self {
            let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
            let rows = History::open(Arc::clone(&disk), HistoryPosition::default()).unwrap();
            let shared = Arc::new(Shared::new(Metrics::new(), rows.reader()));
            let (to_history, history) = mailbox(&detached());
            let (to_log, log) = mailbox(&detached());
            let (replica, events) = mailbox(&detached());
            let (to_task, work) = mailbox(&detached());
            let (store, unfinished) = (CheckpointStore::new(Arc::clone(&disk)), Unfinished::default());
            let (history_end, log_end) = (history, log);
            let (history, log) = (to_history, to_log);
            let task = CheckpointTask { store, disk, shared, replica, history, log, work, unfinished };
            Self { task, to_task, history: history_end, log: log_end, events }
        }

        /// Sends this, and runs the task until it waits.
        fn give(&mut self, work: impl IntoIterator<Item = CheckpointWork>) {
            for work in work {
                assert!(self.to_task.send(work).is_ok());
            }
            self.run();
        }

        fn run(&mut self) {
            while self.task.run(Instant::now()) == Next::Again {}
        }

        fn event(&mut self) -> Option<Input<Ledger>> {
            match self.events.next()? {
                Message::Event(input) => Some(input),
                other => panic!("{other:?}"),
            }
        }

        fn flush(&mut self) -> Reply<HistoryPosition> {
            match self.history.next() {
                Some(HistoryWork::Flush(reply)) => reply,
                other => panic!("the history is not made durable: {other:?}"),
            }
        }
    }

    fn begin(index: u64) -> CheckpointWork {
        CheckpointWork::Begin { index: LogIndex(index), term: Term(1) }
    }

    fn end(index: u64) -> CheckpointWork {
        let position = HistoryPosition::default();
        CheckpointWork::End { index: LogIndex(index), time: Nanos(index), position }
    }

    fn installable(index: u64) -> Installable {
        let bytes = bytes::Bytes::from_static(b"the state");
        let digest = Sha256::digest(&bytes).into();
        let position = HistoryPosition::default();
        Installable { index: LogIndex(index), term: Term(1), time: Nanos(1), position, digest, bytes }
    }

    #[test]
    fn later_work_waits_for_the_history() {
        let mut rig = Rig::new();
        rig.give([begin(1), CheckpointWork::Piece(vec![1]), end(1), begin(2), end(2)]);
        assert!(matches!(rig.event(), Some(Input::CheckpointPieceTaken)));
        let mut reply = rig.flush();
        assert!(rig.event().is_none() && rig.history.next().is_none(), "it waits");
        reply.send(HistoryPosition::default());
        rig.run();
        let written = rig.event();
        assert!(matches!(written, Some(Input::CheckpointWritten { index: LogIndex(1), .. })), "{written:?}");
        assert!(matches!(rig.history.next(), Some(HistoryWork::Checkpointed(_))));
        rig.flush().send(HistoryPosition::default());
        rig.run();
        assert!(matches!(rig.event(), Some(Input::CheckpointWritten { index: LogIndex(2), .. })));
        assert_eq!(rig.task.store.load_newest().unwrap().map(|newest| newest.index), Some(LogIndex(2)));
    }

    #[test]
    fn a_peers_checkpoint_is_stored_between_plan_and_reset() {
        let mut rig = Rig::new();
        rig.give([CheckpointWork::Install(installable(5))]);
        rig.flush().send(HistoryPosition::default());
        rig.run();
        let Some(LogWork::PlanReset(LogIndex(5), Term(1), mut planned)) = rig.log.next() else {
            panic!("the plan comes first")
        };
        assert!(rig.task.store.load_newest().unwrap().is_none());
        planned.send(());
        rig.run();
        let Some(LogWork::Reset(LogIndex(5), Term(1), mut reset)) = rig.log.next() else {
            panic!("then the log begins again")
        };
        assert_eq!(rig.task.store.load_newest().unwrap().map(|newest| newest.index), Some(LogIndex(5)));
        assert!(rig.event().is_none(), "it is not installed yet");
        reset.send(());
        rig.run();
        assert!(matches!(rig.event(), Some(Input::Installed)));
    }

    #[test]
    fn a_checkpoint_ends_with_a_failed_log_or_history() {
        let mut rig = Rig::new();
        rig.give([CheckpointWork::Install(installable(5))]);
        rig.flush().send(HistoryPosition::default());
        rig.run();
        drop(rig.log.next());
        assert_eq!(rig.task.run(Instant::now()), Next::End, "the log has failed");
        let mut rig = Rig::new();
        rig.give([begin(1)]);
        drop(std::mem::replace(&mut rig.history, mailbox(&detached()).1));
        assert!(rig.to_task.send(end(1)).is_ok());
        assert_eq!(rig.task.run(Instant::now()), Next::Again);
        assert_eq!(rig.task.run(Instant::now()), Next::End, "the history has ended");
    }

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
