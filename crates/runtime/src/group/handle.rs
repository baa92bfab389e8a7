//! The handle of a running node: what the server, tests and embedding programs call.
//!
//! A handle is cheap to clone and usable from any task. A write goes through the log and is answered when it
//! is durable and applied. A linearizable read shows everything that was acknowledged before the read began.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use bezant_consensus::{Change, ChangeError, decode_outcome};
use bezant_recovery::Machine;
use bezant_replica::{Consistency, Input, NoState, PeerMessage, change_command};
use bezant_rsm::Command;
use bezant_storage::disk::Disk;
use bezant_storage::repair::DamageNote;
use bezant_storage::{HistoryAnswer, HistoryError, HistoryQuery, HistoryReader};
use bezant_types::{
    FetchKey, FetchedTransfer, HistoryPosition, LogIndex, MovementNumber, Nanos, NodeId, TransferId,
    TransferView, limits,
};
use bytes::Bytes;
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::cluster::{Acquaintance, ClusterStatus};
use crate::error::{ExecuteError, ReadError};
use crate::group::metrics::Metrics;

/// The outcome of a command that is durable and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The log entry that carried it.
    pub index: LogIndex,
    /// The timestamp of the command's last event.
    pub time: Nanos,
    /// The results, 16 bytes for each event, in order.
    pub results: Bytes,
}

/// What a read found, and how fresh it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<Answer> {
    /// The last log entry that the answer reflects: a later read at least at this index never goes backwards.
    pub index: LogIndex,
    /// What was found.
    pub answer: Answer,
}

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

/// A message to the replica's thread.
#[derive(Debug)]
pub(crate) enum Message<M: Machine> {
    Execute {
        command: Command,
        admission: Admission,
        reply: oneshot::Sender<Result<Committed, ExecuteError>>,
    },
    Query {
        query: M::Query,
        consistency: Consistency,
        reply: oneshot::Sender<Result<Read<M::Answer>, ReadError>>,
    },
    Barrier {
        consistency: Consistency,
        reply: oneshot::Sender<Result<Read<HistoryPosition>, ReadError>>,
    },
    /// An input from one of the node's own threads.
    Event(Input<M>),
    /// A message from a peer.
    FromPeer {
        from: NodeId,
        /// The disk with which the peer was admitted.
        disk: u128,
        message: PeerMessage,
    },
    /// A handshake with a peer has succeeded.
    Met {
        node: NodeId,
        acquaintance: Acquaintance,
    },
    /// A node asks for admission, with the address at which it is reached.
    Asks {
        node: NodeId,
        address: String,
    },
    /// Finish what is in flight, then end the thread.
    Stop,
}

/// State that the handles and threads of one node share.
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
    /// Commands sent to the replica's thread and not answered, and the bytes of their bodies.
    commands: AtomicUsize,
    bytes: AtomicUsize,
    /// Rows of the history that wait in memory for space on the disk.
    rows_without_space: AtomicUsize,
    /// Reads without an answer, over all handles.
    reads_waiting: AtomicUsize,
    /// Permits for reads of the history; each read holds a thread.
    reads: Arc<Semaphore>,
    /// The disk on which damage of the history is recorded for the next start. `None` for a node that is
    /// alone, and after the damage is recorded.
    damage: Mutex<Option<Arc<dyn Disk>>>,
}

/// The limit of commands without an answer, over all handles; more are refused. The replica's own queue holds
/// fewer, so this limit covers only the commands on their way to it.
const COMMANDS_MAX: usize = 2 * limits::REQUESTS_WAITING_MAX;
/// The limit of the bytes of their bodies.
const COMMAND_BYTES_MAX: usize = 2 * limits::REQUEST_BYTES_WAITING_MAX;
/// The limit of concurrent reads of the history: each holds a thread and a few pages.
const READS_MAX: usize = 16;
/// The limit of rows that wait in memory for space on the disk; above it nothing more is written to the log.
/// A row takes 336 bytes.
const ROWS_WITHOUT_SPACE_MAX: usize = 1 << 18;
/// The limit of reads without an answer; more are refused.
const READS_WAITING_MAX: usize = 4096;
/// The time after which waiting work is likely to be done.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(50);

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

    /// Announces that the node ends. A thread that waits for space on the disk reads it here, even after the
    /// replica's thread has ended.
    pub(crate) fn announce_stop(&self) {
        self.health.send_replace(Health::Stopping);
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

/// A command's share of the limits; given back when dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    shared: Arc<Shared>,
    size: usize,
}

impl Admission {
    fn new(shared: &Arc<Shared>, size: usize) -> Option<Self> {
        let commands = shared.commands.fetch_add(1, Ordering::Relaxed);
        let bytes = shared.bytes.fetch_add(size, Ordering::Relaxed);
        let admission = Self { shared: Arc::clone(shared), size };
        (commands < COMMANDS_MAX && bytes + size <= COMMAND_BYTES_MAX).then_some(admission)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.shared.commands.fetch_sub(1, Ordering::Relaxed);
        self.shared.bytes.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// A read's share of the limit; given back when dropped.
#[derive(Debug)]
struct ReadAdmission<'shared>(&'shared Shared);

impl<'shared> ReadAdmission<'shared> {
    fn new(shared: &'shared Shared) -> Result<Self, ReadError> {
        let waiting = shared.reads_waiting.fetch_add(1, Ordering::Relaxed);
        let admission = Self(shared);
        if waiting < READS_WAITING_MAX {
            return Ok(admission);
        }
        shared.metrics.overloaded.inc();
        Err(ReadError::Overloaded { retry_after: RETRY_AFTER })
    }
}

impl Drop for ReadAdmission<'_> {
    fn drop(&mut self) {
        self.0.reads_waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A running node.
#[derive(Debug)]
pub struct Handle<M: Machine> {
    pub(crate) replica: mpsc::Sender<Message<M>>,
    pub(crate) shared: Arc<Shared>,
}

impl<M: Machine> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { replica: self.replica.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<M: Machine> Handle<M> {
    /// Puts a command in the log; returns when it is durable and applied.
    pub async fn execute(
        &self,
        command: Command,
        deadline: Option<Instant>,
    ) -> Result<Committed, ExecuteError> {
        let Some(admission) = Admission::new(&self.shared, command.body.len()) else {
            self.shared.metrics.overloaded.inc();
            return Err(ExecuteError::Overloaded { retry_after: RETRY_AFTER });
        };
        let (reply, answer) = oneshot::channel();
        let message = Message::Execute { command, admission, reply };
        self.replica.send(message).map_err(|_| ExecuteError::Stopping)?;
        match by(deadline, answer).await {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(ExecuteError::Stopping),
            None => Err(ExecuteError::DeadlineExceeded),
        }
    }

    /// Changes the membership or the leader of the cluster. Any node may be asked. The change is committed on
    /// return. A change of voters has a second step, which follows by itself: see [`cluster`](Self::cluster).
    /// The change applies to the member that has that number now, in the view of this node.
    ///
    /// # Errors The outer error is as for [`execute`](Self::execute): the change may have been made. If it
    /// was, the same request is refused the next time, because the node is known or unknown already. The
    /// inner error is the reason why the change was not made.
    pub async fn change(
        &self,
        change: &Change,
        deadline: Option<Instant>,
    ) -> Result<Result<LogIndex, ChangeError>, ExecuteError> {
        let node = change.member();
        let member = self.cluster().nodes.into_iter().find(|status| Some(status.node) == node);
        let since = member.map_or(LogIndex(0), |member| member.since);
        let committed = self.execute(change_command(change, since), deadline).await?;
        let outcome = decode_outcome(&committed.results).ok_or(ExecuteError::Interrupted)?;
        Ok(outcome.map(|()| committed.index))
    }

    /// Queries the state machine; the answer shows everything that was acknowledged before.
    pub async fn query(&self, query: M::Query, deadline: Option<Instant>) -> Result<M::Answer, ReadError> {
        let read = self.query_at(query, Consistency::Linearizable, deadline).await?;
        Ok(read.answer)
    }

    /// Queries the state machine with a given consistency.
    pub async fn query_at(
        &self,
        query: M::Query,
        consistency: Consistency,
        deadline: Option<Instant>,
    ) -> Result<Read<M::Answer>, ReadError> {
        let _admission = ReadAdmission::new(&self.shared)?;
        let (reply, answer) = oneshot::channel();
        self.replica.send(Message::Query { query, consistency, reply }).map_err(|_| ReadError::Stopping)?;
        match by(deadline, answer).await {
            Some(answer) => answer.map_err(|_| ReadError::Stopping)?,
            None => Err(ReadError::DeadlineExceeded),
        }
    }

    /// Queries transfers; the answer shows everything that was acknowledged before.
    pub async fn query_history(
        &self,
        query: HistoryQuery,
        deadline: Option<Instant>,
    ) -> Result<HistoryAnswer, ReadError> {
        let read = self.query_history_at(query, Consistency::Linearizable, deadline).await?;
        Ok(read.answer)
    }

    /// Queries transfers with a given consistency.
    pub async fn query_history_at(
        &self,
        query: HistoryQuery,
        consistency: Consistency,
        deadline: Option<Instant>,
    ) -> Result<Read<HistoryAnswer>, ReadError> {
        self.read_history(consistency, deadline, move |reader, end| reader.read(&query, end)).await
    }

    /// Like [`query_history_at`](Self::query_history_at), with the outcome of pending transfers as of the
    /// same log entry.
    pub async fn query_transfers_at(
        &self,
        query: HistoryQuery,
        consistency: Consistency,
        deadline: Option<Instant>,
    ) -> Result<Read<Vec<TransferView>>, ReadError> {
        self.read_history(consistency, deadline, move |reader, end| reader.read_transfers(&query, end)).await
    }

    async fn read_history<Answer: Send + 'static>(
        &self,
        consistency: Consistency,
        deadline: Option<Instant>,
        read: impl FnOnce(&HistoryReader, MovementNumber) -> Result<Answer, HistoryError> + Send + 'static,
    ) -> Result<Read<Answer>, ReadError> {
        let _admission = ReadAdmission::new(&self.shared)?;
        match by(deadline, self.read_rows(consistency, read)).await {
            Some(answer) => answer,
            None => Err(ReadError::DeadlineExceeded),
        }
    }

    /// The end of the history at this call: every row that any node had reported to a client before the call
    /// is before this end.
    pub async fn history_end(&self, deadline: Option<Instant>) -> Result<Read<HistoryPosition>, ReadError> {
        let _admission = ReadAdmission::new(&self.shared)?;
        match by(deadline, self.barrier(Consistency::Linearizable)).await {
            Some(answer) => answer,
            None => Err(ReadError::DeadlineExceeded),
        }
    }

    async fn barrier(&self, consistency: Consistency) -> Result<Read<HistoryPosition>, ReadError> {
        let (reply, answer) = oneshot::channel();
        self.replica.send(Message::Barrier { consistency, reply }).map_err(|_| ReadError::Stopping)?;
        answer.await.map_err(|_| ReadError::Stopping)?
    }

    /// The rows of the history with these ids: transfers, and refusals that used the id up. Absent ids are
    /// left out.
    pub async fn outcomes(
        &self,
        ids: &[TransferId],
        deadline: Option<Instant>,
    ) -> Result<Vec<FetchedTransfer>, ReadError> {
        let _admission = ReadAdmission::new(&self.shared)?;
        let keys: Vec<_> = ids.iter().copied().map(FetchKey::Transfer).collect();
        let read = self.read_rows(Consistency::Linearizable, move |reader, _| {
            reader.fetch(&keys).map(|fetched| fetched.transfers)
        });
        let read = by(deadline, read).await;
        read.unwrap_or(Err(ReadError::DeadlineExceeded)).map(|read| read.answer)
    }

    async fn read_rows<Answer: Send + 'static>(
        &self,
        consistency: Consistency,
        read: impl FnOnce(&HistoryReader, MovementNumber) -> Result<Answer, HistoryError> + Send + 'static,
    ) -> Result<Read<Answer>, ReadError> {
        let Read { index, answer: position } = self.barrier(consistency).await?;
        let mut visible = self.shared.visible.subscribe();
        visible
            .wait_for(|_| self.shared.reader.position().reaches(position))
            .await
            .map_err(|_| ReadError::Stopping)?;
        let places = Arc::clone(&self.shared.reads);
        let place = places.acquire_owned().await.map_err(|_| ReadError::Stopping)?;
        let shared = Arc::clone(&self.shared);
        let read = move || {
            // Held by the thread, which continues when its caller no longer waits for the answer.
            let _place = place;
            let end = MovementNumber(position.movements);
            read(&shared.reader, end).inspect_err(|error| shared.note_damage(error))
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(answer)) => Ok(Read { index, answer }),
            Ok(Err(error)) => Err(ReadError::Damaged { reason: error.to_string() }),
            Err(_) => Err(ReadError::Stopping),
        }
    }

    /// Transfers leadership to another node that can lead, if there is one: this node will be stopped.
    pub fn transfer_leadership(&self) {
        // A replica that has ended does not lead, so a failed send is ignored.
        drop(self.replica.send(Message::Event(Input::TransferLeadership)));
    }

    /// The bytes that are free on the node's disk; 0 before the first measurement.
    pub fn disk_available(&self) -> u64 {
        u64::try_from(self.shared.metrics.disk_available.get()).unwrap_or(0)
    }

    /// The node's current view of the cluster.
    pub fn cluster(&self) -> ClusterStatus {
        self.shared.cluster.borrow().clone()
    }

    /// Follows the node's view of the cluster: for a caller that waits for its removal, for example.
    pub fn watch_cluster(&self) -> watch::Receiver<ClusterStatus> {
        self.shared.cluster.subscribe()
    }

    /// Whether the node takes writes now.
    pub fn health(&self) -> Health {
        self.shared.health.borrow().clone()
    }

    /// Follows whether the node takes writes: for health checks that wait.
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    /// Follows the number of movements that can be read: for change events.
    pub fn watch_movements(&self) -> watch::Receiver<MovementNumber> {
        self.shared.visible.subscribe()
    }

    /// Follows the last applied entry: for a caller that waits for a state.
    pub fn watch_applied(&self) -> watch::Receiver<LogIndex> {
        self.shared.applied.subscribe()
    }

    /// Registers all metrics of the node.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
    }
}

/// The future's output, or `None` when the deadline comes first.
async fn by<F: Future>(deadline: Option<Instant>, future: F) -> Option<F::Output> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline.into(), future).await.ok(),
        None => Some(future.await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bezant_storage::{History, MemoryDisk};

    #[test]
    fn reads_beyond_the_limit_are_refused_until_one_has_ended() {
        let history = History::open(Arc::new(MemoryDisk::new()), HistoryPosition::default()).unwrap();
        let shared = Shared::new(Metrics::new(), history.reader());
        let mut waiting: Vec<_> =
            (0..READS_WAITING_MAX).map(|_| ReadAdmission::new(&shared).unwrap()).collect();
        for _ in 0..3 {
            let refused = ReadAdmission::new(&shared).unwrap_err();
            assert_eq!(refused, ReadError::Overloaded { retry_after: RETRY_AFTER });
        }
        waiting.pop();
        ReadAdmission::new(&shared).unwrap();
    }
}
