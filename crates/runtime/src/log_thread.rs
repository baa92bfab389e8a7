//! The thread that owns the write-ahead log: everything that waits is written and fsync'd together.
//!
//! Where there is no room for something, nothing of it was written: the thread waits until there is, and goes on. Votes have
//! room of their own and do not wait with it, and the log is released meanwhile. The node hears that the disk is full and
//! does not hang: it takes part in all that needs no entry on its disk.

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

/// After so long without work, the log notes that all of it was acknowledged.
const IDLE: Duration = Duration::from_millis(50);
/// How often the room on the disk is looked at.
const ROOM_INTERVAL: Duration = Duration::from_millis(500);
/// How often something is tried again that found no room.
pub(crate) const ROOM_RETRY: Duration = Duration::from_millis(100);

/// What the log is told.
#[derive(Debug)]
pub(crate) enum LogWork {
    Persist(Write),
    Release(LogIndex),
    /// A checkpoint of a peer will be made durable: when it is, the log is void. Answered when that is on disk.
    PlanReset(LogIndex, Term, mpsc::Sender<()>),
    /// It will not become durable after all: the log goes on as it was.
    CancelReset,
    /// It is durable: the log begins anew behind it. Answered when that is on disk.
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
    /// True when nothing was written, and the same can be done when there is room.
    const fn lacks_room(&self) -> bool {
        matches!(self, Self::Log(LogError::NoSpace(_)) | Self::Vote(RecordError::NoSpace(_)))
    }
}

pub(crate) struct LogThread<M: Machine> {
    pub(crate) log: Log,
    pub(crate) votes: VoteStore,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) node: mpsc::Sender<Message<M>>,
    /// Wakes the thread that makes the next segment ready.
    pub(crate) prepare: mpsc::SyncSender<()>,
    /// See [`Options`](crate::Options).
    pub(crate) room_kept: u64,
    /// The node was told that the disk is nearly full.
    pub(crate) is_pressed: bool,
    /// One of several nodes: it votes, and keeps room for that.
    pub(crate) is_member: bool,
    /// Where work comes from.
    pub(crate) work: mpsc::Receiver<LogWork>,
    pub(crate) taken: Taken,
}

/// What has come and is not done yet.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Oldest first.
    work: VecDeque<LogWork>,
    /// Votes in it that are not on disk yet.
    votes: usize,
    /// What a checkpoint holds up to here is not needed any more, and still there.
    releasable: Option<LogIndex>,
}

/// Makes segments ready off the way of the payments, until nobody can ask any more.
pub(crate) fn run_preparer(preparer: &Preparer, wishes: &mpsc::Receiver<()>) {
    for () in wishes {
        if let Err(error) = preparer.prepare() {
            // Not fatal: the log makes the segment itself when it needs it, and tells if it cannot.
            tracing::warn!("the next log segment could not be made ready: {error}");
        }
    }
}

impl<M: Machine> LogThread<M> {
    /// Runs until nobody can send work any more, or until the disk fails.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.serve() {
            if error.lacks_room() && self.is_stopping() {
                // The log is whole. Who waits for the write hears that it was not done here.
                let reason = format!("the node stops while its disk is full: {error}");
                tracing::warn!("what waited for room was not written: {reason}");
                self.tell(Input::Failed { reason });
                return;
            }
            let reason = format!("{error}. Reads go on; stop the node, mend the disk, and start it again");
            tracing::error!("the log failed: {reason}");
            self.tell(Input::Failed { reason });
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
                        self.until_room(|thread| Ok(thread.log.mark()?))?;
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
                self.look_at_room();
                look_at = Instant::now() + ROOM_INTERVAL;
            }
        }
    }

    /// Takes all that has come, once something has.
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

    /// What was applied was committed: the next write of the log says so.
    fn note_committed(&mut self) {
        let applied = *self.shared.applied.borrow();
        self.log.note_committed(applied);
    }

    fn tell(&self, input: Input<M>) {
        // A node that has ended needs to hear nothing.
        drop(self.node.send(Message::Event(input)));
    }

    /// Does something again and again while there is no room for it, and the node goes on.
    fn until_room<T>(
        &mut self,
        mut step: impl FnMut(&mut Self) -> Result<T, WriteError>,
    ) -> Result<T, WriteError> {
        let mut has_waited = false;
        loop {
            match step(self) {
                Err(error) if error.lacks_room() && !self.is_stopping() => {
                    self.press(Some(format!("the disk is full: {error}; make room, and writes go on")));
                    has_waited = true;
                    self.wait_for_room()?;
                }
                done => {
                    if has_waited {
                        self.look_at_room();
                    }
                    return done;
                }
            }
        }
    }

    fn is_stopping(&self) -> bool {
        *self.shared.health.borrow() == Health::Stopping
    }

    /// The rows of what was written before have no room: what comes would only fill the memory.
    fn wait_for_history(&mut self) -> Result<(), WriteError> {
        while self.shared.lacks_rows_room() && !self.is_stopping() {
            self.press(Some(
                "the disk is full: the history has no room; make some, and writes go on".to_owned(),
            ));
            self.wait_for_room()?;
        }
        Ok(())
    }

    /// Waits for a while. Votes that come meanwhile have their room, and entries that wait are no reason to keep others from
    /// being elected; what a checkpoint holds is released, which may be all the room that is needed.
    fn wait_for_room(&mut self) -> Result<(), WriteError> {
        let until = Instant::now() + ROOM_RETRY;
        self.tell(Input::SpaceAwaited);
        loop {
            match self.keep_votes() {
                Err(error) if error.lacks_room() => {}
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

    /// Saves the votes of all that was taken, in their order and before any entry of it: a vote may always be on disk before
    /// what came before it.
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
                drop(self.node.send(Message::Event(Input::VoteKept(write.number))));
            }
        }
        assert_eq!(self.taken.votes, 0, "every vote that was taken is saved once");
        Ok(())
    }

    /// Frees what the newest checkpoint holds.
    fn release(&mut self) -> Result<(), WriteError> {
        let durable = self.log.durable_index();
        // Of a log that begins anew nothing is left anyway.
        if !self.log.is_reset_planned()
            && let Some(index) = self.taken.releasable.take_if(|index| *index <= durable)
        {
            self.log.release(index)?;
            self.shared.metrics.log_bytes.set(gauge(self.log.size_bytes()));
        }
        Ok(())
    }

    /// Does what was taken; true when entries were written.
    fn write(&mut self) -> Result<bool, WriteError> {
        self.wait_for_history()?;
        let mut written = None;
        let (mut entries, mut bytes) = (0, 0);
        let start = Instant::now();
        loop {
            self.until_room(Self::keep_votes)?;
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
                    self.until_room(|thread| Ok(thread.log.plan_reset(index, term)?))?;
                    confirm(&reply);
                }
                LogWork::CancelReset => self.log.cancel_reset()?,
                LogWork::Reset(index, term, reply) => {
                    self.flush(written.take(), start)?;
                    self.until_room(|thread| Ok(thread.log.reset(index, term)?))?;
                    confirm(&reply);
                }
            }
        }
        self.flush(written, start)?;
        self.shared.metrics.log_bytes_written.inc_by(bytes as u64);
        self.release()?;
        if self.log.needs_prepare() {
            // When a wish waits already, one segment is on its way.
            self.prepare.try_send(()).unwrap_or_default();
        }
        self.shared.metrics.log_bytes.set(gauge(self.log.size_bytes()));
        Ok(entries > 0)
    }

    /// Lays the entries ready for the next flush; the vote is saved already.
    fn stage(&mut self, write: &Write) -> Result<WriteNumber, WriteError> {
        assert!(write.vote.is_none(), "a vote is durable before the entries that come with it");
        if let Some(first) = write.entries.first()
            && first.index <= self.log.last_index()
        {
            let after = LogIndex(first.index.0 - 1);
            self.until_room(|thread| Ok(thread.log.truncate(after)?))?;
        }
        for entry in &write.entries {
            self.log.append(entry)?;
        }
        Ok(write.number)
    }

    /// Makes durable what is staged, and tells the node.
    fn flush(&mut self, written: Option<WriteNumber>, start: Instant) -> Result<(), WriteError> {
        if let Some(number) = written {
            self.note_committed();
            self.until_room(|thread| Ok(thread.log.flush()?))?;
            // What lies where nobody finds it is not durable.
            self.log.check_place()?;
            self.tell(Input::Persisted(number));
            observe(&self.shared.metrics.fsync_seconds, start);
        }
        Ok(())
    }

    /// Tells the node when the disk is nearly full, and when it has room again.
    fn look_at_room(&mut self) {
        let Ok(available) = self.disk.available_bytes() else { return };
        self.shared.metrics.disk_available.set(gauge(available));
        let kept = self.room_kept;
        self.press((available < kept).then(|| {
            format!(
                "the disk is nearly full: {} MiB are left and {} MiB are kept free; make room, and writes go on",
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
        tracing::warn!("room on the disk: {}", reason.as_deref().unwrap_or("enough again"));
        if reason.is_none() && self.is_member {
            // The room that was kept may be used up, or was not there when the node started.
            match self.votes.reserve_space() {
                Ok(true) => {}
                Ok(false) => tracing::warn!("no room can be kept for the next vote"),
                // Writing the vote itself tells whether the disk failed.
                Err(error) => tracing::warn!("no room can be kept for the next vote: {error}"),
            }
        }
        self.tell(Input::Pressure(reason));
    }
}

fn confirm(reply: &mpsc::Sender<()>) {
    if reply.send(()).is_err() {
        tracing::debug!("nobody waits for the log any more: the node is being stopped");
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

    /// What a log is given, and what the node is told.
    type Ways = (mpsc::Sender<LogWork>, mpsc::Receiver<Message<Ledger>>);

    /// A log on an empty disk.
    fn thread(disk: &MemoryDisk) -> (LogThread<Ledger>, Ways) {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let options = LogOptions { segment_size: SEGMENT_SIZE, reserve_size: 0 };
        let (log, _) = Log::open(Arc::clone(&shared), options, LogIndex(0)).unwrap();
        let (votes, _) = VoteStore::open(Arc::clone(&shared)).unwrap();
        let history = History::open(Arc::new(MemoryDisk::new()), HistoryPosition::default()).unwrap();
        let (node, told) = mpsc::channel();
        let (to_log, work) = mpsc::channel();
        let thread = LogThread {
            log,
            votes,
            disk: shared,
            shared: Arc::new(Shared::new(Metrics::new(), history.reader())),
            node,
            prepare: mpsc::sync_channel(1).0,
            room_kept: 1 << 20,
            is_pressed: false,
            is_member: true,
            work,
            taken: Taken::default(),
        };
        (thread, (to_log, told))
    }

    const SEGMENT_SIZE: u64 = 64 << 10;

    fn fill(disk: &MemoryDisk) {
        disk.set_faults(FaultPlan { capacity_bytes: Some(disk.used_bytes()), ..FaultPlan::default() });
    }

    fn vote(term: u64) -> Vote {
        Vote { term: Term(term), voted_for: NodeId(1) }
    }

    #[test]
    fn a_vote_has_room_again_once_the_disk_had_some() {
        let disk = MemoryDisk::new();
        let (mut thread, _ways) = thread(&disk);
        fill(&disk);
        thread.look_at_room();
        assert!(matches!(thread.votes.save(vote(1)), Err(RecordError::NoSpace(_))));
        disk.set_faults(FaultPlan::default());
        thread.look_at_room();
        fill(&disk);
        thread.votes.save(vote(1)).unwrap();
    }

    #[test]
    fn a_stop_with_a_full_disk_ends_and_is_no_failure_of_the_log() {
        let disk = MemoryDisk::new();
        let (thread, (to_log, told)) = thread(&disk);
        fill(&disk);
        let shared = Arc::clone(&thread.shared);
        let write = Write { number: WriteNumber(1), vote: Some(vote(1)), entries: Vec::new() };
        to_log.send(LogWork::Persist(write)).unwrap();
        let running = std::thread::spawn(move || thread.run());
        let pressed = told.recv().unwrap();
        assert!(matches!(pressed, Message::Event(Input::Pressure(Some(_)))), "it waits for room");
        shared.tell_stop();
        running.join().unwrap();
        let ends = told.iter().find_map(|it| match it {
            Message::Event(Input::Failed { reason }) => Some(reason),
            _ => None,
        });
        assert!(ends.as_ref().is_some_and(|it| it.starts_with("the node stops")), "{ends:?}");
    }

    /// Fills a segment but for a few blocks; more do not fit.
    fn entries(number: u64) -> LogWork {
        let (index, payload) = (LogIndex(number), bytes::Bytes::from(vec![7; 40 << 10]));
        let entry = LogEntry { index, term: Term(1), kind: EntryKind::Command, payload };
        LogWork::Persist(Write { number: WriteNumber(number), vote: None, entries: vec![entry] })
    }

    /// Waits until the node is told something, and hears nothing else that matters before it.
    fn hear(told: &mpsc::Receiver<Message<Ledger>>, is_it: impl Fn(&Input<Ledger>) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match told.recv_timeout(left).expect("the node is told in time") {
                Message::Event(input) if is_it(&input) => return,
                Message::Event(Input::Pressure(_) | Input::SpaceAwaited) => {}
                other => panic!("the node was told {other:?}"),
            }
        }
    }

    /// A thread that waits for room for its third write: two segments are all that the disk takes.
    fn waiting() -> (MemoryDisk, Arc<Shared>, std::thread::JoinHandle<()>, Ways) {
        let disk = MemoryDisk::new();
        let (mut thread, ways) = thread(&disk);
        thread.votes.save(vote(1)).unwrap();
        thread.votes.reserve_space().unwrap();
        let capacity_bytes = Some(disk.used_bytes() + SEGMENT_SIZE);
        disk.set_faults(FaultPlan { capacity_bytes, ..FaultPlan::default() });
        let shared = Arc::clone(&thread.shared);
        let running = std::thread::spawn(move || thread.run());
        for number in 1..=2 {
            ways.0.send(entries(number)).unwrap();
            hear(&ways.1, |it| matches!(it, Input::Persisted(written) if *written == WriteNumber(number)));
        }
        ways.0.send(entries(3)).unwrap();
        hear(&ways.1, |it| matches!(it, Input::SpaceAwaited));
        (disk, shared, running, ways)
    }

    #[test]
    fn votes_do_not_wait_for_entries_that_wait_for_room() {
        let (disk, _shared, running, (to_log, told)) = waiting();
        for term in 2..10 {
            let number = WriteNumber(term + 2);
            to_log
                .send(LogWork::Persist(Write { number, vote: Some(vote(term)), entries: Vec::new() }))
                .unwrap();
            hear(&told, |it| matches!(it, Input::VoteKept(kept) if *kept == number));
            let saved = VoteStore::open(Arc::new(disk.crash(term))).unwrap().1;
            assert_eq!(saved, Some(vote(term)), "it survives the loss of power");
        }
        disk.set_faults(FaultPlan::default());
        hear(&told, |it| matches!(it, Input::Persisted(WriteNumber(3))));
        drop(to_log);
        running.join().unwrap();
    }

    #[test]
    fn a_log_that_is_released_makes_the_room_that_it_waits_for() {
        let (_disk, _shared, running, (to_log, told)) = waiting();
        to_log.send(LogWork::Release(LogIndex(1))).unwrap();
        hear(&told, |it| matches!(it, Input::Persisted(WriteNumber(3))));
        drop(to_log);
        running.join().unwrap();
    }
}
