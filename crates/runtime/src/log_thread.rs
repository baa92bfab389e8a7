//! The thread that owns the write-ahead log: everything that waits is written and fsync'd together.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bezant_consensus::LogEntry;
use bezant_node::Input;
use bezant_storage::disk::Disk;
use bezant_storage::log::{Log, LogError, Preparer};
use bezant_types::LogIndex;

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
    Append(LogEntry),
    Release(LogIndex),
}

pub(crate) struct LogThread {
    pub(crate) log: Log,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) node: mpsc::Sender<Message>,
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

impl LogThread {
    /// Runs until nobody can send work any more, or until the disk fails.
    pub(crate) fn run(mut self, work: &mpsc::Receiver<LogWork>) {
        if let Err(error) = self.serve(work) {
            let reason = format!("{error}. Reads go on; stop the node, mend the disk, and start it again");
            tracing::error!("the log failed: {reason}");
            drop(self.node.send(Message::Event(Input::Failed { reason })));
        }
    }

    fn serve(&mut self, work: &mpsc::Receiver<LogWork>) -> Result<(), LogError> {
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
                Err(mpsc::RecvTimeoutError::Timeout) if !is_marked => {
                    self.log.mark()?;
                    is_marked = true;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return self.log.mark(),
            }
            if Instant::now() >= look_at {
                self.look_at_room(&mut is_pressed);
                look_at = Instant::now() + ROOM_INTERVAL;
            }
        }
    }

    /// True when entries were written.
    fn write(&mut self, work: impl Iterator<Item = LogWork>) -> Result<bool, LogError> {
        let (mut entries, mut bytes) = (0, 0);
        let mut release = None;
        for work in work {
            match work {
                LogWork::Append(entry) => {
                    entries += 1;
                    bytes += entry.payload.len();
                    self.log.append(&entry)?;
                }
                LogWork::Release(index) => release = Some(index),
            }
        }
        if entries > 0 {
            let start = Instant::now();
            let index = self.log.flush()?;
            drop(self.node.send(Message::Event(Input::Persisted(index))));
            observe(&self.shared.metrics.fsync_seconds, start);
            self.shared.metrics.log_bytes_written.inc_by(bytes as u64);
        }
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
