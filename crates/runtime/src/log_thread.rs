//! The thread that owns the write-ahead log: everything that waits is written and fsync'd together.

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

use crate::handle::{Message, Shared};
use crate::metrics::gauge;
use crate::node_thread::observe;

/// After so long without work, the log notes that all of it was acknowledged.
const IDLE: Duration = Duration::from_millis(50);
/// How often the room on the disk is looked at.
const ROOM_INTERVAL: Duration = Duration::from_millis(500);
/// With less room than this the node takes no writes, before the disk is really full: enough for the
/// entries in flight, their rows, a checkpoint of a million accounts and a new segment.
const ROOM_RESERVE: u64 = 512 << 20;

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

pub(crate) struct LogThread<M: Machine> {
    pub(crate) log: Log,
    pub(crate) votes: VoteStore,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) node: mpsc::Sender<Message<M>>,
    /// Wakes the thread that makes the next segment ready.
    pub(crate) prepare: mpsc::SyncSender<()>,
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
            let reason = format!("{error}. Reads go on; stop the node, mend the disk, and start it again");
            tracing::error!("the log failed: {reason}");
            drop(self.node.send(Message::Event(Input::Failed { reason })));
        }
    }

    fn serve(&mut self, work: &mpsc::Receiver<LogWork>) -> Result<(), WriteError> {
        let mut is_marked = true;
        let mut is_pressed = false;
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
                        self.log.mark()?;
                        is_marked = true;
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    self.note_committed();
                    return Ok(self.log.mark()?);
                }
            }
            if Instant::now() >= look_at {
                self.look_at_room(&mut is_pressed);
                look_at = Instant::now() + ROOM_INTERVAL;
            }
        }
    }

    /// What was applied was committed: the next write of the log says so.
    fn note_committed(&mut self) {
        let applied = *self.shared.applied.borrow();
        self.log.note_committed(applied);
    }

    /// True when entries were written.
    fn write(&mut self, work: impl Iterator<Item = LogWork>) -> Result<bool, WriteError> {
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
                    self.log.plan_reset(index, term)?;
                    confirm(&reply);
                }
                LogWork::CancelReset => self.log.cancel_reset()?,
                LogWork::Reset(index, term, reply) => {
                    self.flush(written.take(), start)?;
                    self.log.reset(index, term)?;
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
            self.votes.save(vote)?;
        }
        if let Some(first) = write.entries.first()
            && first.index <= self.log.last_index()
        {
            self.log.truncate(LogIndex(first.index.0 - 1))?;
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
            self.log.flush()?;
            drop(self.node.send(Message::Event(Input::Persisted(number))));
            observe(&self.shared.metrics.fsync_seconds, start);
        }
        Ok(())
    }

    /// Tells the node when the disk is nearly full, and when it has room again.
    fn look_at_room(&self, is_pressed: &mut bool) {
        let Ok(available) = self.disk.available_bytes() else { return };
        self.shared.metrics.disk_available.set(gauge(available));
        let presses = available < ROOM_RESERVE;
        if presses != *is_pressed {
            *is_pressed = presses;
            let reason = presses.then(|| {
                format!(
                    "the disk is nearly full: {} MiB are left and {} MiB are kept free; make room, and writes go on",
                    available >> 20,
                    ROOM_RESERVE >> 20
                )
            });
            tracing::warn!(
                available,
                reserve = ROOM_RESERVE,
                "room on the disk: {}",
                if presses { "low" } else { "enough again" }
            );
            drop(self.node.send(Message::Event(Input::Pressure(reason))));
        }
    }
}

fn confirm(reply: &mpsc::Sender<()>) {
    if reply.send(()).is_err() {
        tracing::debug!("nobody waits for the log any more: the node is being stopped");
    }
}
