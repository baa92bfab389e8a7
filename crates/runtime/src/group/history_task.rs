//! The task that stores what the applied log produced: it appends rows, and sends index runs to be built.

use std::sync::Arc;
use std::time::Instant;

use bezant_recovery::Machine;
use bezant_replica::Input;
use bezant_storage::{History, HistoryError, Job, RowChunk};
use bezant_types::{HistoryPosition, MovementNumber};

use crate::group::message::Message;
use crate::group::metrics::gauge;
use crate::group::shared::{SPACE_RETRY, Shared};
use crate::group::work::{HistoryWork, Reply};
use crate::process::mailbox::{Mailbox, Sender};
use crate::process::pool::{Next, Task};

/// The most work that is done in one run.
const WORK_MAX: usize = 4096;

/// Work that waits for space on the disk.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Rows that readers see and that are not written.
    rows: usize,
    /// Flushes without an answer.
    flushes: Vec<Reply<HistoryPosition>>,
    /// An index run was not built.
    has_job: bool,
    /// Rows from a peer are not written.
    has_installed: bool,
}

impl Waiting {
    const fn is_empty(&self) -> bool {
        self.rows == 0 && self.flushes.is_empty() && !self.has_job && !self.has_installed
    }
}

/// Ends when it is sent a stop, or when every sender of work is dropped. When the disk fails, the rows of
/// entries that were applied before the replica received the failure are still taken into memory, because
/// readers wait for them.
pub(crate) struct HistoryTask<M: Machine> {
    history: History,
    shared: Arc<Shared>,
    replica: Sender<Message<M>>,
    jobs: Sender<Job>,
    work: Mailbox<HistoryWork>,
    /// While true no index is built: merged runs need their space twice, until a checkpoint has passed them.
    is_pressed: bool,
    has_failed: bool,
    /// Work that is retried until there is space.
    waiting: Waiting,
    /// The time of the next retry, while work waits for space.
    retry_at: Option<Instant>,
}

impl<M: Machine> HistoryTask<M> {
    /// The task, after it has sent the jobs that an earlier start left.
    pub(crate) fn new(
        history: History,
        shared: Arc<Shared>,
        replica: Sender<Message<M>>,
        jobs: Sender<Job>,
        work: Mailbox<HistoryWork>,
    ) -> Self {
        let (waiting, is_pressed, has_failed) = (Waiting::default(), false, false);
        let mut task =
            Self { history, shared, replica, jobs, work, is_pressed, has_failed, waiting, retry_at: None };
        task.send_jobs();
        task
    }

    /// What comes next when no work is left. Work that waits for space is retried when no other work came for a
    /// while.
    fn wait(&mut self, now: Instant, has_worked: bool) -> Next {
        if has_worked {
            self.retry_at = None;
        } else if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
            let retried = self.try_again();
            self.note(retried);
        }
        if self.waiting.is_empty() {
            return Next::Wait;
        }
        Next::At(*self.retry_at.get_or_insert_with(|| Instant::now() + SPACE_RETRY))
    }

    /// Notes the result of some work; reports the first failure.
    fn note(&mut self, done: Result<(), HistoryError>) {
        let Err(error) = done else { return };
        if std::mem::replace(&mut self.has_failed, true) {
            return;
        }
        self.waiting = Waiting::default();
        self.shared.set_rows_without_space(0);
        self.shared.note_damage(&error);
        let reason =
            format!("{error}. Reads still work; stop the node, repair the disk, and start the node again");
        tracing::error!("the history failed: {reason}");
        drop(self.replica.send(Message::Event(Input::Failed { reason })));
    }

    /// Retries the work that waits for space.
    fn try_again(&mut self) -> Result<(), HistoryError> {
        let written = self.history.write_waiting().map(drop);
        self.waiting.has_installed &= matches!(written, Err(HistoryError::NoSpace(_)));
        self.note_written(written, 0)?;
        for reply in std::mem::take(&mut self.waiting.flushes) {
            self.flush(reply)?;
        }
        self.waiting.has_job = false;
        self.send_jobs();
        Ok(())
    }

    /// Notes that `count` rows were written, with all rows that waited before; or that they wait as well.
    fn note_written(&mut self, written: Result<(), HistoryError>, count: usize) -> Result<(), HistoryError> {
        let rows = self.waiting.rows + count;
        let lacks_space = matches!(written, Err(HistoryError::NoSpace(_)));
        self.waiting.rows = if lacks_space { rows } else { 0 };
        self.shared.set_rows_without_space(self.waiting.rows);
        if lacks_space {
            return Ok(());
        }
        self.shared.metrics.history_backlog.dec_by(gauge(rows as u64));
        written
    }

    fn flush(&mut self, mut reply: Reply<HistoryPosition>) -> Result<(), HistoryError> {
        match self.history.flush() {
            Ok(position) => {
                reply.send(position);
                Ok(())
            }
            Err(HistoryError::NoSpace(_)) => {
                self.waiting.flushes.push(reply);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn take(&mut self, work: HistoryWork) -> Result<(), HistoryError> {
        let metrics = &self.shared.metrics;
        match work {
            HistoryWork::Rows(rows) => {
                let count = rows.movements.len() + rows.refusals.len();
                let appended = self.history.append(rows.movements, rows.refusals).map(drop);
                // Readers see the rows even when they could not be written.
                let position = self.shared.reader.position();
                metrics.history_movements.set(gauge(position.movements));
                self.shared.show_rows(MovementNumber(position.movements));
                self.note_written(appended, count)?;
            }
            HistoryWork::Install { from, until, bytes } => {
                let input = self.install(from, until, &bytes)?;
                drop(self.replica.send(Message::Event(input)));
            }
            HistoryWork::Flush(reply) => self.flush(reply)?,
            HistoryWork::Checkpointed(position) => self.history.handle_checkpointed(position)?,
            HistoryWork::Built(finished) => {
                let finished = finished?;
                self.waiting.has_job = finished.lacks_space();
                self.history.complete(finished)?;
                metrics.index_jobs.inc();
                metrics.index_jobs_waiting.dec();
            }
            HistoryWork::Pressure(is_pressed) => self.is_pressed = is_pressed,
            HistoryWork::Stop => {}
        }
        let unindexed = self.history.unindexed_rows();
        self.shared.metrics.history_unindexed.set(gauge(unindexed.movements + unindexed.refusals));
        self.send_jobs();
        Ok(())
    }

    /// Appends rows from a peer when they are the requested ones.
    fn install(
        &mut self,
        from: HistoryPosition,
        until: HistoryPosition,
        bytes: &[u8],
    ) -> Result<Input<M>, HistoryError> {
        let failed = |reason: &str| {
            tracing::warn!("rows of another node are fetched again: {reason}");
            Ok(Input::InstallFailed)
        };
        let chunk = match RowChunk::decode(bytes) {
            Ok(chunk) => chunk,
            Err(error) => return failed(&error.to_string()),
        };
        let end = HistoryPosition {
            movements: from.movements + chunk.movements.len() as u64,
            refusals: from.refusals + chunk.refusals.len() as u64,
        };
        if chunk.from != from || end != until || self.shared.reader.position() != from {
            return failed("the rows belong to another place");
        }
        match self.history.append(chunk.movements, chunk.refusals) {
            // These rows are written before the checkpoint to which they belong is stored.
            Err(HistoryError::NoSpace(_)) => self.waiting.has_installed = true,
            appended => drop(appended?),
        }
        // The replica's task reports the rows to readers together with the state to which they belong.
        self.shared.metrics.history_movements.set(gauge(end.movements));
        Ok(Input::RowsInstalled)
    }

    fn send_jobs(&mut self) {
        while !self.is_pressed
            && !self.waiting.has_job
            && !self.waiting.has_installed
            && let Some(job) = self.history.next_job()
        {
            self.shared.metrics.index_jobs_waiting.inc();
            drop(self.jobs.send(job));
        }
    }
}

impl<M: Machine> Task for HistoryTask<M> {
    fn run(&mut self, now: Instant) -> Next {
        for count in 0..WORK_MAX {
            match self.work.next() {
                Some(HistoryWork::Stop) => return Next::End,
                // Dropping the reply of a flush reports that there is none.
                Some(work) if self.has_failed && !matches!(work, HistoryWork::Rows(_)) => drop(work),
                Some(work) => {
                    let done = self.take(work);
                    self.note(done);
                }
                None if !self.work.has_senders() => return Next::End,
                None => return self.wait(now, count > 0),
            }
        }
        Next::Again
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::group::metrics::Metrics;
    use crate::group::work::CheckpointWork;
    use crate::process::mailbox::mailbox;
    use crate::process::pool::tests::detached;
    use bezant_ledger::Ledger;
    use bezant_storage::{FaultPlan, MemoryDisk};
    use bezant_types::{
        Balances, Head, HistoryRows, Movement, MovementKind, Nanos, RowBatch, Transfer, TransferId,
    };

    pub(crate) fn movements(numbers: std::ops::Range<u64>) -> RowBatch<Movement> {
        let movement = |number: u64| Movement {
            transfer: Transfer { id: TransferId(u128::from(number) + 1), ..Transfer::default() },
            kind: MovementKind::SinglePhase,
            timestamp: Nanos(number + 1),
            debit: Balances::default(),
            credit: Balances::default(),
            debit_head: Head::NONE,
            credit_head: Head::NONE,
        };
        RowBatch::new(numbers.map(movement).collect())
    }

    fn rows(numbers: std::ops::Range<u64>) -> HistoryWork {
        HistoryWork::Rows(HistoryRows { movements: movements(numbers), refusals: RowBatch::default() })
    }

    /// What a test receives from the task, and what it sends to it.
    struct Ends {
        shared: Arc<Shared>,
        to_task: Sender<HistoryWork>,
        jobs: Mailbox<Job>,
        events: Mailbox<Message<Ledger>>,
    }

    /// A task on that disk, which the test runs.
    fn task(disk: &MemoryDisk) -> (HistoryTask<Ledger>, Ends) {
        let history = History::open(Arc::new(disk.clone()), HistoryPosition::default()).unwrap();
        let shared = Arc::new(Shared::new(Metrics::new(), history.reader()));
        let (to_index, jobs) = mailbox(&detached());
        let (to_task, work) = mailbox(&detached());
        let (replica, events) = mailbox(&detached());
        let task = HistoryTask::new(history, Arc::clone(&shared), replica, to_index, work);
        (task, Ends { shared, to_task, jobs, events })
    }

    #[test]
    fn no_index_is_built_while_the_disk_is_nearly_full() {
        let (mut task, mut ends) = task(&MemoryDisk::new());
        task.take(HistoryWork::Pressure(true)).unwrap();
        // The rows of a full run.
        task.take(rows(0..98_304)).unwrap();
        assert!(ends.jobs.next().is_none(), "an index takes space");
        task.take(HistoryWork::Pressure(false)).unwrap();
        ends.jobs.next().unwrap().run().map(drop).unwrap();
    }

    #[test]
    fn rows_of_a_peer_wait_for_space() {
        let disk = MemoryDisk::new();
        let (mut task, mut ends) = task(&disk);
        // The rows of a full run, and more rows from a peer than one write holds, for which there is no
        // space.
        task.take(rows(0..98_304)).unwrap();
        let finished = ends.jobs.next().unwrap().run();
        let from = HistoryPosition { movements: 98_304, refusals: 0 };
        let chunk = RowChunk { from, movements: movements(98_304..104_304), refusals: RowBatch::default() };
        let until = HistoryPosition { movements: 104_304, refusals: 0 };
        let full = FaultPlan { capacity_bytes: Some(0), ..FaultPlan::default() };
        disk.set_faults(full);
        task.take(HistoryWork::Install { from, until, bytes: chunk.encode() }).unwrap();
        assert!(!task.waiting.is_empty());
        disk.set_faults(FaultPlan::default());
        task.take(HistoryWork::Built(finished)).unwrap();
        assert!(!task.waiting.is_empty(), "the rows still wait");
        disk.set_faults(full);
        task.try_again().unwrap();
        assert!(!task.waiting.is_empty(), "there is still no space");
        disk.set_faults(FaultPlan::default());
        task.try_again().unwrap();
        assert!(task.waiting.is_empty());
    }

    #[test]
    fn acknowledged_rows_are_visible_after_the_disk_failed() {
        let disk = MemoryDisk::new();
        let (mut task, Ends { shared, to_task, mut events, .. }) = task(&disk);
        let (_asks, mut answers) = mailbox(&detached());
        let reply = Reply::new(&answers, CheckpointWork::HistoryDurable);
        // More rows than one write holds, and an entry that was applied before the replica received the
        // failure.
        disk.set_faults(FaultPlan { fail_at: Some(disk.counts().total() + 1), ..FaultPlan::default() });
        for work in [rows(0..4000), rows(4000..4010), HistoryWork::Flush(reply), HistoryWork::Stop] {
            assert!(to_task.send(work).is_ok());
        }
        assert_eq!(task.run(Instant::now()), Next::End);
        drop(task);
        assert_eq!(*shared.visible.borrow(), MovementNumber(4010));
        let answer = answers.next();
        assert!(
            matches!(answer, Some(CheckpointWork::HistoryDurable(None))),
            "nothing was made durable: {answer:?}"
        );
        let failures = std::iter::from_fn(|| events.next())
            .filter(|it| matches!(it, Message::Event(Input::Failed { .. })));
        assert_eq!(failures.count(), 1, "the failure is reported once");
        let ids = vec![TransferId(1), TransferId(4010)];
        let found = shared
            .reader
            .read(&bezant_storage::HistoryQuery::Transfers(ids), MovementNumber(u64::MAX))
            .unwrap();
        assert_eq!(found.len(), 2);
    }
}
