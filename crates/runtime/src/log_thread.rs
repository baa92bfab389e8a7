//! The thread that owns the write-ahead log: all waiting work is written and fsync'd together.
//!
//! Work without enough space is not written at all: the thread waits until there is space, and continues.
//! Votes have their own space and do not wait, and the log is released meanwhile. The thread reports a full
//! disk to the replica, which does not hang: it takes part in everything that needs no entry on its disk.

use std::collections::VecDeque;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bezant_consensus::{Write, WriteNumber};
use bezant_recovery::Machine;
use bezant_replica::Input;
use bezant_storage::disk::Disk;
use bezant_storage::log::{Log, LogError, Preparer};
use bezant_storage::record::{RecordError, VoteStore};
use bezant_types::{LogIndex, Term};
use thiserror::Error;

use crate::handle::{Health, Message, Shared};
use crate::metrics::gauge;
use crate::replica_thread::observe;

/// After this time without work, the log records that all of it was acknowledged.
const IDLE: Duration = Duration::from_millis(50);
/// The interval of the check of the disk's space.
const SPACE_INTERVAL: Duration = Duration::from_millis(500);
/// The interval of retries of work that waits for space.
pub(crate) const SPACE_RETRY: Duration = Duration::from_millis(100);

/// Work for the log thread.
#[derive(Debug)]
pub(crate) enum LogWork {
    Persist(Write),
    Release(LogIndex),
    /// A checkpoint of a peer will be made durable, after which the log is void. Answered when this plan is
    /// on disk.
    PlanReset(LogIndex, Term, mpsc::Sender<()>),
    /// The checkpoint will not become durable after all: the log continues as it was.
    CancelReset,
    /// The checkpoint is durable: the log begins again after it. Answered when that is on disk.
    Reset(LogIndex, Term, mpsc::Sender<()>),
}

/// Why the log is closed.
#[derive(Debug, Error)]
enum WriteError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Vote(#[from] RecordError),
}

impl WriteError {
    /// True when nothing was written, and the write can be retried when there is space.
    const fn lacks_space(&self) -> bool {
        matches!(self, Self::Log(LogError::NoSpace(_)) | Self::Vote(RecordError::NoSpace(_)))
    }
}

pub(crate) struct LogThread<M: Machine> {
    pub(crate) log: Log,
    pub(crate) votes: VoteStore,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) replica: mpsc::Sender<Message<M>>,
    /// Wakes the thread that prepares the next segment.
    pub(crate) prepare: mpsc::SyncSender<()>,
    /// See [`Options`](crate::Options).
    pub(crate) space_kept: u64,
    /// True after a nearly full disk was reported to the replica.
    pub(crate) is_pressed: bool,
    /// True for one of several nodes: it votes, and keeps space for votes.
    pub(crate) is_member: bool,
    /// The queue of work.
    pub(crate) work: mpsc::Receiver<LogWork>,
    pub(crate) taken: Taken,
}

/// Work that was received and is not done yet.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// The oldest first.
    work: VecDeque<LogWork>,
    /// The number of votes in it that are not on disk yet.
    votes: usize,
    /// Everything up to this index is in a checkpoint and can be released from the log; `None` when nothing
    /// is left to release.
    releasable: Option<LogIndex>,
}

/// Prepares segments on a separate thread, until every sender of requests is dropped.
pub(crate) fn run_preparer(preparer: &Preparer, requests: &mpsc::Receiver<()>) {
    for () in requests {
        if let Err(error) = preparer.prepare() {
            // This is not fatal: the log prepares the segment itself when it needs it, and reports a failure
            // then.
            tracing::warn!("the next log segment could not be prepared: {error}");
        }
    }
}

impl<M: Machine> LogThread<M> {
    /// Runs until every sender of work is dropped, or until the disk fails.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.serve() {
            if error.lacks_space() && self.is_stopping() {
                // The log is whole. The report makes the replica refuse the waiting requests.
                let reason = format!("the node stops while its disk is full: {error}");
                tracing::warn!("what waited for space was not written: {reason}");
                self.report(Input::Failed { reason });
                return;
            }
            let reason = format!(
                "{error}. Reads still work; stop the node, repair the disk, and start the node again"
            );
            tracing::error!("the log failed: {reason}");
            self.report(Input::Failed { reason });
        }
    }

    fn serve(&mut self) -> Result<(), WriteError> {
        let mut is_marked = true;
        let mut look_at = Instant::now();
        loop {
            match self.wait_for_work() {
                Ok(()) => is_marked &= !self.write()?,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    self.note_committed();
                    if !is_marked || self.log.needs_note() {
                        self.until_space(|thread| Ok(thread.log.mark()?))?;
                        is_marked = true;
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    self.note_committed();
                    return Ok(self.log.mark()?);
                }
            }
            if Instant::now() >= look_at {
                self.log.check_place()?;
                self.check_space();
                look_at = Instant::now() + SPACE_INTERVAL;
            }
        }
    }

    /// Takes all available work, after waiting for the first.
    fn wait_for_work(&mut self) -> Result<(), mpsc::RecvTimeoutError> {
        if self.taken.work.is_empty() {
            let first = self.work.recv_timeout(IDLE)?;
            self.take(first);
        }
        while let Ok(work) = self.work.try_recv() {
            self.take(work);
        }
        Ok(())
    }

    fn take(&mut self, work: LogWork) {
        match work {
            LogWork::Release(index) => self.taken.releasable = self.taken.releasable.max(Some(index)),
            LogWork::Persist(Write { vote: Some(_), .. }) => {
                self.taken.votes += 1;
                self.taken.work.push_back(work);
            }
            work => self.taken.work.push_back(work),
        }
    }

    /// Tells the log what was applied, and therefore committed: its next write records that.
    fn note_committed(&mut self) {
        let applied = *self.shared.applied.borrow();
        self.log.note_committed(applied);
    }

    fn report(&self, input: Input<M>) {
        // A replica that has ended needs no report.
        drop(self.replica.send(Message::Event(input)));
    }

    /// Retries a step while there is no space for it, and reports that.
    fn until_space<T>(
        &mut self,
        mut step: impl FnMut(&mut Self) -> Result<T, WriteError>,
    ) -> Result<T, WriteError> {
        let mut has_waited = false;
        loop {
            match step(self) {
                Err(error) if error.lacks_space() && !self.is_stopping() => {
                    self.press(Some(format!(
                        "the disk is full: {error}; free some space, and writes continue"
                    )));
                    has_waited = true;
                    self.wait_for_space()?;
                }
                done => {
                    if has_waited {
                        self.check_space();
                    }
                    return done;
                }
            }
        }
    }

    fn is_stopping(&self) -> bool {
        *self.shared.health.borrow() == Health::Stopping
    }

    /// Waits while the rows of earlier entries have no space: more entries would only fill the memory.
    fn wait_for_history(&mut self) -> Result<(), WriteError> {
        while self.shared.lacks_row_space() && !self.is_stopping() {
            self.press(Some(
                "the disk is full: the history has no space; free some, and writes continue".to_owned(),
            ));
            self.wait_for_space()?;
        }
        Ok(())
    }

    /// Waits for a while. Votes that come meanwhile have their own space and are saved: entries that wait
    /// must not prevent an election. The part of the log that a checkpoint covers is released, which may free
    /// enough space.
    fn wait_for_space(&mut self) -> Result<(), WriteError> {
        let until = Instant::now() + SPACE_RETRY;
        self.report(Input::SpaceAwaited);
        loop {
            match self.keep_votes() {
                Err(error) if error.lacks_space() => {}
                kept => kept?,
            }
            self.release()?;
            let left = until.saturating_duration_since(Instant::now());
            match self.work.recv_timeout(left) {
                Ok(work) => self.take(work),
                Err(mpsc::RecvTimeoutError::Timeout) => return Ok(()),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(left);
                    return Ok(());
                }
            }
        }
    }

    /// Saves the votes of all the work that was taken, in their order and before any entry of that work. A
    /// vote may be on disk earlier than the writes before it.
    fn keep_votes(&mut self) -> Result<(), WriteError> {
        if self.taken.votes == 0 {
            return Ok(());
        }
        for work in &mut self.taken.work {
            if let LogWork::Persist(write) = work
                && let Some(vote) = write.vote
            {
                self.votes.save(vote)?;
                write.vote = None;
                self.taken.votes -= 1;
                drop(self.replica.send(Message::Event(Input::VoteKept(write.number))));
            }
        }
        assert_eq!(self.taken.votes, 0, "every vote that was taken is saved once");
        Ok(())
    }

    /// Releases the part of the log that the newest checkpoint covers.
    fn release(&mut self) -> Result<(), WriteError> {
        let durable = self.log.durable_index();
        // A log that is about to be reset keeps nothing anyway.
        if !self.log.is_reset_planned()
            && let Some(index) = self.taken.releasable.take_if(|index| *index <= durable)
        {
            self.log.release(index)?;
            self.shared.metrics.log_bytes.set(gauge(self.log.size_bytes()));
        }
        Ok(())
    }

    /// Does the work that was taken; true when entries were written.
    fn write(&mut self) -> Result<bool, WriteError> {
        self.wait_for_history()?;
        let mut written = None;
        let (mut entries, mut bytes) = (0, 0);
        let start = Instant::now();
        loop {
            self.until_space(Self::keep_votes)?;
            let Some(work) = self.taken.work.pop_front() else { break };
            match work {
                LogWork::Persist(write) => {
                    entries += write.entries.len();
                    bytes += write.entries.iter().map(|entry| entry.payload.len()).sum::<usize>();
                    written = Some(self.stage(&write)?);
                }
                LogWork::Release(index) => self.taken.releasable = self.taken.releasable.max(Some(index)),
                LogWork::PlanReset(index, term, reply) => {
                    self.flush(written.take(), start)?;
                    self.until_space(|thread| Ok(thread.log.plan_reset(index, term)?))?;
                    confirm(&reply);
                }
                LogWork::CancelReset => self.log.cancel_reset()?,
                LogWork::Reset(index, term, reply) => {
                    self.flush(written.take(), start)?;
                    self.until_space(|thread| Ok(thread.log.reset(index, term)?))?;
                    confirm(&reply);
                }
            }
        }
        self.flush(written, start)?;
        self.shared.metrics.log_bytes_written.inc_by(bytes as u64);
        self.release()?;
        if self.log.needs_prepare() {
            // If a request waits already, it prepares the same segment.
            self.prepare.try_send(()).unwrap_or_default();
        }
        self.shared.metrics.log_bytes.set(gauge(self.log.size_bytes()));
        Ok(entries > 0)
    }

    /// Stages the entries for the next flush; the vote is saved already.
    fn stage(&mut self, write: &Write) -> Result<WriteNumber, WriteError> {
        assert!(write.vote.is_none(), "a vote is durable before the entries that come with it");
        if let Some(first) = write.entries.first()
            && first.index <= self.log.last_index()
        {
            let after = LogIndex(first.index.0 - 1);
            self.until_space(|thread| Ok(thread.log.truncate(after)?))?;
        }
        for entry in &write.entries {
            self.log.append(entry)?;
        }
        Ok(write.number)
    }

    /// Makes the staged entries durable, and reports it to the replica.
    fn flush(&mut self, written: Option<WriteNumber>, start: Instant) -> Result<(), WriteError> {
        if let Some(number) = written {
            self.note_committed();
            self.until_space(|thread| Ok(thread.log.flush()?))?;
            // A file that cannot be found by its name is not durable.
            self.log.check_place()?;
            self.report(Input::Persisted(number));
            observe(&self.shared.metrics.fsync_seconds, start);
        }
        Ok(())
    }

    /// Reports to the replica when the disk is nearly full, and when it has space again.
    fn check_space(&mut self) {
        let Ok(available) = self.disk.available_bytes() else { return };
        self.shared.metrics.disk_available.set(gauge(available));
        let kept = self.space_kept;
        self.press((available < kept).then(|| {
            format!(
                "the disk is nearly full: {} MiB are left and {} MiB are kept free; free some space, and writes continue",
                available >> 20,
                kept >> 20
            )
        }));
    }

    fn press(&mut self, reason: Option<String>) {
        if reason.is_some() == self.is_pressed {
            return;
        }
        self.is_pressed = reason.is_some();
        tracing::warn!("space on the disk: {}", reason.as_deref().unwrap_or("enough again"));
        if reason.is_none() && self.is_member {
            // The space that was kept may be used up, or was missing when the node started.
            match self.votes.reserve_space() {
                Ok(true) => {}
                Ok(false) => tracing::warn!("no space can be kept for the next vote"),
                // Writing the vote itself reports whether the disk failed.
                Err(error) => tracing::warn!("no space can be kept for the next vote: {error}"),
            }
        }
        self.report(Input::Pressure(reason));
    }
}

fn confirm(reply: &mpsc::Sender<()>) {
    if reply.send(()).is_err() {
        tracing::debug!("no thread waits for the log any more: the node is being stopped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use bezant_consensus::{EntryKind, LogEntry, Vote};
    use bezant_ledger::Ledger;
    use bezant_storage::log::LogOptions;
    use bezant_storage::{FaultPlan, History, MemoryDisk};
    use bezant_types::{HistoryPosition, NodeId};

    /// The sender of the log's work, and the receiver of what it reports.
    type Channels = (mpsc::Sender<LogWork>, mpsc::Receiver<Message<Ledger>>);

    /// A log on an empty disk.
    fn thread(disk: &MemoryDisk) -> (LogThread<Ledger>, Channels) {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let options = LogOptions::fixed(SEGMENT_SIZE);
        let (log, _) = Log::open(Arc::clone(&shared), options, LogIndex(0)).unwrap();
        let (votes, _) = VoteStore::open(Arc::clone(&shared)).unwrap();
        let history = History::open(Arc::new(MemoryDisk::new()), HistoryPosition::default()).unwrap();
        let (replica, reports) = mpsc::channel();
        let (to_log, work) = mpsc::channel();
        let thread = LogThread {
            log,
            votes,
            disk: shared,
            shared: Arc::new(Shared::new(Metrics::new(), history.reader())),
            replica,
            prepare: mpsc::sync_channel(1).0,
            space_kept: 1 << 20,
            is_pressed: false,
            is_member: true,
            work,
            taken: Taken::default(),
        };
        (thread, (to_log, reports))
    }

    const SEGMENT_SIZE: u64 = 64 << 10;

    fn fill(disk: &MemoryDisk) {
        disk.set_faults(FaultPlan { capacity_bytes: Some(disk.used_bytes()), ..FaultPlan::default() });
    }

    fn vote(term: u64) -> Vote {
        Vote { term: Term(term), voted_for: NodeId(1) }
    }

    #[test]
    fn vote_space_is_kept_again_after_a_full_disk() {
        let disk = MemoryDisk::new();
        let (mut thread, _channels) = thread(&disk);
        fill(&disk);
        thread.check_space();
        assert!(matches!(thread.votes.save(vote(1)), Err(RecordError::NoSpace(_))));
        disk.set_faults(FaultPlan::default());
        thread.check_space();
        fill(&disk);
        thread.votes.save(vote(1)).unwrap();
    }

    #[test]
    fn a_stop_with_a_full_disk_is_no_log_failure() {
        let disk = MemoryDisk::new();
        let (thread, (to_log, reports)) = thread(&disk);
        fill(&disk);
        let shared = Arc::clone(&thread.shared);
        let write = Write { number: WriteNumber(1), vote: Some(vote(1)), entries: Vec::new() };
        to_log.send(LogWork::Persist(write)).unwrap();
        let running = std::thread::spawn(move || thread.run());
        let pressed = reports.recv().unwrap();
        assert!(matches!(pressed, Message::Event(Input::Pressure(Some(_)))), "it waits for space");
        shared.announce_stop();
        running.join().unwrap();
        let ends = reports.iter().find_map(|it| match it {
            Message::Event(Input::Failed { reason }) => Some(reason),
            _ => None,
        });
        assert!(ends.as_ref().is_some_and(|it| it.starts_with("the node stops")), "{ends:?}");
    }

    /// An entry that fills a segment except for a few blocks; a second one does not fit.
    fn entries(number: u64) -> LogWork {
        let (index, payload) = (LogIndex(number), bytes::Bytes::from(vec![7; 40 << 10]));
        let entry = LogEntry { index, term: Term(1), kind: EntryKind::Command, payload };
        LogWork::Persist(Write { number: WriteNumber(number), vote: None, entries: vec![entry] })
    }

    /// Waits for a report, and fails on any other report that matters before it.
    fn expect_report(reports: &mpsc::Receiver<Message<Ledger>>, is_it: impl Fn(&Input<Ledger>) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match reports.recv_timeout(left).expect("the report comes in time") {
                Message::Event(input) if is_it(&input) => return,
                Message::Event(Input::Pressure(_) | Input::SpaceAwaited) => {}
                other => panic!("an unexpected report: {other:?}"),
            }
        }
    }

    /// A thread that waits for space for its third write: the disk holds two segments only.
    fn waiting() -> (MemoryDisk, Arc<Shared>, std::thread::JoinHandle<()>, Channels) {
        let disk = MemoryDisk::new();
        let (mut thread, channels) = thread(&disk);
        thread.votes.save(vote(1)).unwrap();
        thread.votes.reserve_space().unwrap();
        let capacity_bytes = Some(disk.used_bytes() + SEGMENT_SIZE);
        disk.set_faults(FaultPlan { capacity_bytes, ..FaultPlan::default() });
        let shared = Arc::clone(&thread.shared);
        let running = std::thread::spawn(move || thread.run());
        for number in 1..=2 {
            channels.0.send(entries(number)).unwrap();
            expect_report(
                &channels.1,
                |it| matches!(it, Input::Persisted(written) if *written == WriteNumber(number)),
            );
        }
        channels.0.send(entries(3)).unwrap();
        expect_report(&channels.1, |it| matches!(it, Input::SpaceAwaited));
        (disk, shared, running, channels)
    }

    #[test]
    fn votes_do_not_wait_for_entries_without_space() {
        let (disk, _shared, running, (to_log, reports)) = waiting();
        for term in 2..10 {
            let number = WriteNumber(term + 2);
            to_log
                .send(LogWork::Persist(Write { number, vote: Some(vote(term)), entries: Vec::new() }))
                .unwrap();
            expect_report(&reports, |it| matches!(it, Input::VoteKept(kept) if *kept == number));
            let saved = VoteStore::open(Arc::new(disk.crash(term))).unwrap().1;
            assert_eq!(saved, Some(vote(term)), "it survives the loss of power");
        }
        disk.set_faults(FaultPlan::default());
        expect_report(&reports, |it| matches!(it, Input::Persisted(WriteNumber(3))));
        drop(to_log);
        running.join().unwrap();
    }

    #[test]
    fn a_released_log_frees_the_space_it_waits_for() {
        let (_disk, _shared, running, (to_log, reports)) = waiting();
        to_log.send(LogWork::Release(LogIndex(1))).unwrap();
        expect_report(&reports, |it| matches!(it, Input::Persisted(WriteNumber(3))));
        drop(to_log);
        running.join().unwrap();
    }
}
