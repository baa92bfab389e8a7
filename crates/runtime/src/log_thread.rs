//! The thread that owns the write-ahead log: everything that waits is written and fsync'd together.
//!
//! Where there is no room for something, nothing of it was written: the thread waits until there is, as it would for a
//! disk that hangs, and goes on. Among others the node is silent meanwhile.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bezant_consensus::{Write, WriteNumber};
use bezant_node::Input;
use bezant_replica::Machine;
use bezant_storage::disk::Disk;
use bezant_storage::log::{Log, LogError, Preparer};
use bezant_storage::record::{RecordError, VoteStore};
use bezant_types::{LogIndex, Term};
use thiserror::Error;

use crate::handle::{Health, Message, Shared};
use crate::metrics::gauge;
use crate::node_thread::observe;

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
        matches!(self, Self::Log(LogError::NoRoom(_)) | Self::Vote(RecordError::NoRoom(_)))
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
    pub(crate) fn run(mut self, work: &mpsc::Receiver<LogWork>) {
        if let Err(error) = self.serve(work) {
            if error.lacks_room() && self.is_stopping() {
                // The log is whole. Who waits for the write hears that it was not done here.
                let reason = format!("the node stops while its disk is full: {error}");
                tracing::warn!("what waited for room was not written: {reason}");
                drop(self.node.send(Message::Event(Input::Failed { reason })));
                return;
            }
            let reason = format!("{error}. Reads go on; stop the node, mend the disk, and start it again");
            tracing::error!("the log failed: {reason}");
            drop(self.node.send(Message::Event(Input::Failed { reason })));
        }
    }

    fn serve(&mut self, work: &mpsc::Receiver<LogWork>) -> Result<(), WriteError> {
        let mut is_marked = true;
        let mut look_at = Instant::now();
        loop {
            match work.recv_timeout(IDLE) {
                Ok(first) => {
                    let waits = std::iter::once(first).chain(work.try_iter());
                    if self.write(waits)? {
                        is_marked = false;
                    }
                }
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

    /// What was applied was committed: the next write of the log says so.
    fn note_committed(&mut self) {
        let applied = *self.shared.applied.borrow();
        self.log.note_committed(applied);
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
                    std::thread::sleep(ROOM_RETRY);
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
    fn wait_for_history(&mut self) {
        while self.shared.lacks_rows_room() && !self.is_stopping() {
            self.press(Some(
                "the disk is full: the history has no room; make some, and writes go on".to_owned(),
            ));
            std::thread::sleep(ROOM_RETRY);
        }
    }

    /// True when entries were written.
    fn write(&mut self, work: impl Iterator<Item = LogWork>) -> Result<bool, WriteError> {
        self.wait_for_history();
        let mut written = None;
        let (mut entries, mut bytes) = (0, 0);
        let mut release = None;
        let start = Instant::now();
        for work in work {
            match work {
                LogWork::Persist(write) => {
                    entries += write.entries.len();
                    bytes += write.entries.iter().map(|entry| entry.payload.len()).sum::<usize>();
                    written = Some(self.stage(&write)?);
                }
                LogWork::Release(index) => release = Some(index),
                LogWork::PlanReset(index, term, reply) => {
                    self.flush(written.take(), start)?;
                    self.until_room(|thread| Ok(thread.log.plan_reset(index, term)?))?;
                    confirm(&reply);
                }
                LogWork::CancelReset => self.log.cancel_reset()?,
                LogWork::Reset(index, term, reply) => {
                    self.flush(written.take(), start)?;
                    self.until_room(|thread| Ok(thread.log.reset(index, term)?))?;
                    release = None;
                    confirm(&reply);
                }
            }
        }
        self.flush(written, start)?;
        self.shared.metrics.log_bytes_written.inc_by(bytes as u64);
        if let Some(index) = release {
            self.log.release(index)?;
        }
        if self.log.needs_prepare() {
            // When a wish waits already, one segment is on its way.
            self.prepare.try_send(()).unwrap_or_default();
        }
        self.shared.metrics.log_bytes.set(gauge(self.log.size_bytes()));
        Ok(entries > 0)
    }

    /// Saves the vote, and lays the entries ready for the next flush.
    fn stage(&mut self, write: &Write) -> Result<WriteNumber, WriteError> {
        if let Some(vote) = write.vote {
            self.until_room(|thread| Ok(thread.votes.save(vote)?))?;
        }
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
            drop(self.node.send(Message::Event(Input::Persisted(number))));
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
            match self.votes.keep_room() {
                Ok(true) => {}
                Ok(false) => tracing::warn!("no room can be kept for the next vote"),
                // Writing the vote itself tells whether the disk failed.
                Err(error) => tracing::warn!("no room can be kept for the next vote: {error}"),
            }
        }
        drop(self.node.send(Message::Event(Input::Pressure(reason))));
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
    use bezant_consensus::Vote;
    use bezant_ledger::Ledger;
    use bezant_storage::log::LogOptions;
    use bezant_storage::{FaultPlan, History, MemoryDisk};
    use bezant_types::{HistoryPosition, NodeId};

    /// A log on an empty disk, and what the node is told.
    fn thread(disk: &MemoryDisk) -> (LogThread<Ledger>, mpsc::Receiver<Message<Ledger>>) {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let options = LogOptions { segment_size: 256 << 10, reserve_size: 0 };
        let (log, _) = Log::open(Arc::clone(&shared), options, LogIndex(0)).unwrap();
        let (votes, _) = VoteStore::open(Arc::clone(&shared)).unwrap();
        let history = History::open(Arc::new(MemoryDisk::new()), HistoryPosition::default()).unwrap();
        let (node, told) = mpsc::channel();
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
        };
        (thread, told)
    }

    fn fill(disk: &MemoryDisk) {
        disk.set_faults(FaultPlan { capacity_bytes: Some(disk.used_bytes()), ..FaultPlan::default() });
    }

    fn vote(term: u64) -> Vote {
        Vote { term: Term(term), voted_for: NodeId(1) }
    }

    #[test]
    fn a_vote_has_room_again_once_the_disk_had_some() {
        let disk = MemoryDisk::new();
        let (mut thread, _told) = thread(&disk);
        fill(&disk);
        thread.look_at_room();
        assert!(matches!(thread.votes.save(vote(1)), Err(RecordError::NoRoom(_))));
        disk.set_faults(FaultPlan::default());
        thread.look_at_room();
        fill(&disk);
        thread.votes.save(vote(1)).unwrap();
    }

    #[test]
    fn a_stop_with_a_full_disk_ends_and_is_no_failure_of_the_log() {
        let disk = MemoryDisk::new();
        let (thread, told) = thread(&disk);
        fill(&disk);
        let shared = Arc::clone(&thread.shared);
        let (to_log, work) = mpsc::channel();
        let write = Write { number: WriteNumber(1), vote: Some(vote(1)), entries: Vec::new() };
        to_log.send(LogWork::Persist(write)).unwrap();
        let running = std::thread::spawn(move || thread.run(&work));
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
}
