//! The state that the handles and tasks of one group share, and the names that several of them use.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bezant_consensus::Engine;
use bezant_replica::{NoState, Replica};
use bezant_storage::disk::Disk;
use bezant_storage::repair::DamageNote;
use bezant_storage::{HistoryError, HistoryReader};
use bezant_types::{HistoryPosition, LogIndex, MovementNumber};
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{Semaphore, watch};

use crate::group::metrics::{Metrics, seconds};
use crate::group::status::ClusterStatus;
use crate::process::pool::Slot;

/// A replica with any engine.
pub(crate) type DrivenReplica<M> = Replica<M, Box<dyn Engine + Send>>;

/// The interval of retries of work that waits for space.
pub(crate) const SPACE_RETRY: Duration = Duration::from_millis(100);
/// The limit of concurrent reads of the history: each holds a thread and a few pages.
const READS_MAX: usize = 16;
/// The limit of rows that wait in memory for space on the disk; above it nothing more is written to the log.
/// A row takes 336 bytes.
const ROWS_WITHOUT_SPACE_MAX: usize = 1 << 18;

/// Whether the node takes writes, and answers all reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Reads and writes.
    Serving,
    /// It forwards writes and fresh reads, and has no state yet for other reads.
    NoState {
        /// What it waits for.
        reason: NoState,
    },
    /// Reads only, for example because a write or sync failed, or because the disk is full.
    ReadOnly {
        /// What happened, and what helps.
        reason: String,
    },
    /// Neither reads nor writes: the node is being stopped.
    Stopping,
}

/// State that the handles and tasks of one group share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) metrics: Metrics,
    pub(crate) health: watch::Sender<Health>,
    /// The number of movements that readers can see.
    pub(crate) visible: watch::Sender<MovementNumber>,
    /// The last entry that was applied.
    pub(crate) applied: watch::Sender<LogIndex>,
    /// The node's view of the cluster.
    pub(crate) cluster: watch::Sender<ClusterStatus>,
    pub(crate) reader: HistoryReader,
    /// The task that waits for rows of the history.
    row_waiter: OnceLock<Arc<Slot>>,
    /// True while it waits.
    awaits_rows: AtomicBool,
    /// Commands sent to the replica's task and not answered, and the bytes of their bodies.
    pub(super) commands: AtomicUsize,
    pub(super) bytes: AtomicUsize,
    /// Rows of the history that wait in memory for space on the disk.
    rows_without_space: AtomicUsize,
    /// Reads without an answer, over all handles.
    pub(super) reads_waiting: AtomicUsize,
    /// Permits for reads of the history; each read holds a thread.
    pub(super) reads: Arc<Semaphore>,
    /// The disk on which damage of the history is recorded for the next start. `None` for a node that is
    /// alone, and after the damage is recorded.
    damage: Mutex<Option<Arc<dyn Disk>>>,
}

impl Shared {
    pub(crate) fn new(metrics: Metrics, reader: HistoryReader) -> Self {
        let visible = MovementNumber(reader.position().movements);
        Self {
            metrics,
            health: watch::Sender::new(Health::Serving),
            visible: watch::Sender::new(visible),
            applied: watch::Sender::new(LogIndex(0)),
            cluster: watch::Sender::new(ClusterStatus::alone()),
            reader,
            row_waiter: OnceLock::new(),
            awaits_rows: AtomicBool::new(false),
            commands: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            rows_without_space: AtomicUsize::new(0),
            reads_waiting: AtomicUsize::new(0),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            damage: Mutex::new(None),
        }
    }

    /// From now on, damage of the history is recorded on this disk: the next start repairs it from other
    /// nodes.
    pub(crate) fn repair_from_others(&self, disk: Arc<dyn Disk>) {
        *self.damage.lock().unwrap_or_else(PoisonError::into_inner) = Some(disk);
    }

    /// Drops the disk when the node has ended: a handle that outlives the node does not keep the folder
    /// locked.
    pub(crate) fn release_disk(&self) {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Announces that the node ends. A task that waits for space on the disk reads it here, even after the
    /// replica's task has ended.
    pub(crate) fn announce_stop(&self) {
        self.health.send_replace(Health::Stopping);
    }

    /// From now on, the task in this slot runs when rows come for which it waits: see
    /// [`has_rows`](Self::has_rows). One task only.
    pub(crate) fn wake_on_rows(&self, slot: &Arc<Slot>) {
        let is_first = self.row_waiter.set(Arc::clone(slot)).is_ok();
        assert!(is_first, "one task waits for rows");
    }

    /// True when readers see the rows up to this position. If not, the task that waits for rows runs again when
    /// there are more.
    pub(crate) fn has_rows(&self, position: HistoryPosition) -> bool {
        if self.reader.position().reaches(position) {
            return true;
        }
        self.awaits_rows.store(true, Ordering::Release);
        // The reader's lock orders this look and an append: rows that it does not see are shown after the flag.
        self.reader.position().reaches(position)
    }

    /// Shows rows to readers that wait for them; the history has them already.
    pub(crate) fn show_rows(&self, movements: MovementNumber) {
        self.visible.send_replace(movements);
        if self.awaits_rows.load(Ordering::Acquire)
            && self.awaits_rows.swap(false, Ordering::AcqRel)
            && let Some(slot) = self.row_waiter.get()
        {
            slot.wake();
        }
    }

    /// Sets the number of rows of the history that wait for space.
    pub(crate) fn set_rows_without_space(&self, count: usize) {
        self.rows_without_space.store(count, Ordering::Relaxed);
    }

    /// True while more such rows would fill the memory.
    pub(crate) fn lacks_row_space(&self) -> bool {
        self.rows_without_space.load(Ordering::Relaxed) > ROWS_WITHOUT_SPACE_MAX
    }

    /// Commands without an answer.
    pub(crate) fn commands_waiting(&self) -> usize {
        self.commands.load(Ordering::Relaxed)
    }

    /// Records that the state differs from that of the majority. The next start drops the state and fetches
    /// theirs.
    pub(crate) fn note_divergence(&self, index: LogIndex) {
        let Some(disk) = self.damage.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let file = format!("the state after entry {index}, which is not that of the majority");
        if let Err(error) = (DamageNote { file, offset: 0 }).store(&*disk) {
            tracing::error!(
                "the difference cannot be recorded for the next start: {error}. Replace this node"
            );
        }
    }

    /// Handles a failed read of the history: if the history is damaged, that is recorded, once.
    pub(crate) fn note_damage(&self, error: &HistoryError) {
        let Some(note) = DamageNote::of(error) else { return };
        let Some(disk) = self.damage.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        match note.store(&*disk) {
            Ok(()) => tracing::warn!("{error}. Start this node again: it will be repaired from the others"),
            Err(failure) => tracing::error!("{error}; the damage cannot be recorded: {failure}"),
        }
    }
}

/// Adds the time that has passed since `since` to a metric.
pub(crate) fn observe(histogram: &Histogram, since: Instant) {
    histogram.observe(seconds(since.elapsed()));
}
