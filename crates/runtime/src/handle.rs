//! The door to a running node: what server, tests and embedding programs call.
//!
//! A handle is cheap to clone and usable from any task. Writes go through the log and are answered when
//! they are durable and applied; reads see everything that was acknowledged before they began.

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
use thiserror::Error;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::cluster::{Acquaintance, ClusterStatus};
use crate::metrics::Metrics;

/// What became of a command: it is durable and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The log entry that carried it.
    pub index: LogIndex,
    /// Timestamp of the command's last event.
    pub time: Nanos,
    /// 16 bytes an event, in order.
    pub results: Bytes,
}

/// Why a command has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExecuteError {
    /// Too much waits already. Nothing was done.
    #[error("the server is overloaded: retry after {} ms", retry_after.as_millis())]
    Overloaded {
        /// When it is worth another try.
        retry_after: Duration,
    },
    /// The disk failed: the node answers reads only. Whether the command was done is not known to it:
    /// after a repair, retry with the same ids.
    #[error("the node takes no writes: {reason}")]
    ReadOnly {
        /// What happened, and what helps.
        reason: String,
    },
    /// The leader takes no writes for now: its clock cannot be trusted, or its disk is full. Nothing was done.
    #[error("the node takes no writes: {reason}")]
    NotTaken {
        /// What is wrong, and what helps.
        reason: String,
    },
    /// The deadline passed. The command may still be applied: retry with the same ids.
    #[error("the deadline passed before the outcome was known: retry with the same ids")]
    DeadlineExceeded,
    /// The node is being stopped. The command may have been applied: retry with the same ids.
    #[error("the node is stopping: retry with the same ids")]
    Stopping,
    /// No node leads: an election is under way, or a majority of them cannot be reached. Nothing was done.
    #[error(
        "no node leads: an election is under way, or a majority of the cluster cannot be reached from here; try again, or \
         another node"
    )]
    NoLeader,
    /// No node leads yet: a new cluster elects no leader before all its nodes have met. Nothing was done. Says for which.
    #[error("no node leads yet: {0}; start them all, then try again")]
    FirstStart(String),
    /// The leader changed while the command was on its way, or did not tell the outcome in time. It may have been applied:
    /// retry with the same ids.
    #[error(
        "the leader changed, or did not answer in time, before the outcome was known: retry with the same ids"
    )]
    Interrupted,
}

/// Why a read has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Too many reads wait already.
    #[error("the server is overloaded: retry after {} ms", retry_after.as_millis())]
    Overloaded {
        /// When it is worth another try.
        retry_after: Duration,
    },
    /// The disk holds something else than what was written; it is never served.
    #[error("the history cannot be read: {reason}")]
    Damaged {
        /// Which file, where.
        reason: String,
    },
    /// The deadline passed.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// The node is being stopped.
    #[error("the node is stopping")]
    Stopping,
    /// No leader confirms that this node is up to date: there is none, or a majority cannot be reached.
    #[error(
        "no node leads: an election is under way, or a majority of the cluster cannot be reached from here; try again, or \
         another node"
    )]
    NoLeader,
    /// As [`ExecuteError::FirstStart`].
    #[error("no node leads yet: {0}; start them all, then try again")]
    FirstStart(String),
    /// This node has no state to show yet, and the read asks for no more than it has: another one may answer.
    #[error("this node shows nothing yet: {reason}; ask another node, or this one later")]
    NoState {
        /// What it waits for.
        reason: NoState,
    },
}

/// What a read found, and how fresh it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<Answer> {
    /// The last log entry that shows in it: a later read at least at this index never goes backwards.
    pub index: LogIndex,
    /// What was found.
    pub answer: Answer,
}

/// Whether the node takes writes, and answers all reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Reads and writes.
    Serving,
    /// It hands writes and fresh reads on, and has nothing yet to answer others with.
    NoState {
        /// What it waits for.
        reason: NoState,
    },
    /// Reads only: a write or sync failed, or the disk is full.
    ReadOnly {
        /// What happened, and what helps.
        reason: String,
    },
    /// Neither: the node is being stopped.
    Stopping,
}

/// What the node thread is told.
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
    /// From one of the node's own threads.
    Event(Input<M>),
    /// From a peer.
    FromPeer {
        from: NodeId,
        /// The disk that it was admitted with.
        disk: u128,
        message: PeerMessage,
    },
    /// A peer was met.
    Met {
        node: NodeId,
        acquaintance: Acquaintance,
    },
    /// A node wants to join, and to be reached there.
    Asks {
        node: NodeId,
        address: String,
    },
    /// Finish what is in flight, then end.
    Stop,
}

/// What handles and threads of one node share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) metrics: Metrics,
    pub(crate) health: watch::Sender<Health>,
    /// Movements that readers can see.
    pub(crate) visible: watch::Sender<MovementNumber>,
    /// The last entry that was applied.
    pub(crate) applied: watch::Sender<LogIndex>,
    /// Where the node stands among the others.
    pub(crate) cluster: watch::Sender<ClusterStatus>,
    pub(crate) reader: HistoryReader,
    /// Commands handed to the node and not answered, and the bytes of their bodies.
    commands: AtomicUsize,
    bytes: AtomicUsize,
    /// Rows of the history that have no room on the disk.
    rows_without_room: AtomicUsize,
    /// Reads without an answer, over all handles.
    reads_waiting: AtomicUsize,
    /// Places for reads of the history, which each hold a thread.
    reads: Arc<Semaphore>,
    /// Where damage of the history is noted for the next start, until it is; `None` for a node that is alone.
    damage: Mutex<Option<Arc<dyn Disk>>>,
}

/// Commands without an answer, over all handles; more are refused. The node's own queue holds fewer, so that
/// this bounds only the way to it.
const COMMANDS_MAX: usize = 2 * limits::REQUESTS_WAITING_MAX;
/// Bytes of their bodies.
const COMMAND_BYTES_MAX: usize = 2 * limits::REQUEST_BYTES_WAITING_MAX;
/// Reads of the history at the same time: each holds a thread and a few pages.
const READS_MAX: usize = 16;
/// Rows that may wait in memory for room on the disk; past it nothing more is written to the log. 336 bytes each.
const ROWS_WITHOUT_ROOM_MAX: usize = 1 << 18;
/// Reads without an answer; more are refused.
const READS_WAITING_MAX: usize = 4096;
/// After so long, what waited is likely to be done.
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
            rows_without_room: AtomicUsize::new(0),
            reads_waiting: AtomicUsize::new(0),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            damage: Mutex::new(None),
        }
    }

    /// From now on damage of the history is noted on this disk: the next start repairs it from other nodes.
    pub(crate) fn repair_from_others(&self, disk: Arc<dyn Disk>) {
        *self.damage.lock().unwrap_or_else(PoisonError::into_inner) = Some(disk);
    }

    /// The node has ended: a handle that outlives it does not hold the folder.
    pub(crate) fn let_go_of_disk(&self) {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The node is to end. A thread that waits for room on the disk hears of it here, even when the node's has ended.
    pub(crate) fn tell_stop(&self) {
        self.health.send_replace(Health::Stopping);
    }

    /// So many rows of the history have no room on the disk.
    pub(crate) fn set_rows_without_room(&self, count: usize) {
        self.rows_without_room.store(count, Ordering::Relaxed);
    }

    /// True while more of them would fill the memory.
    pub(crate) fn lacks_rows_room(&self) -> bool {
        self.rows_without_room.load(Ordering::Relaxed) > ROWS_WITHOUT_ROOM_MAX
    }

    /// Commands without an answer.
    pub(crate) fn commands_waiting(&self) -> usize {
        self.commands.load(Ordering::Relaxed)
    }

    /// The state is not that of the majority. The next start forgets it, and fetches theirs.
    pub(crate) fn note_divergence(&self, index: LogIndex) {
        let Some(disk) = self.damage.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let file = format!("the state behind entry {index}, which is not that of the majority");
        if let Err(error) = (DamageNote { file, offset: 0 }).store(&*disk) {
            tracing::error!("that cannot be noted for the next start: {error}. Replace this node");
        }
    }

    /// The history could not be read. When it is damaged, that is noted, once.
    pub(crate) fn note_damage(&self, error: &HistoryError) {
        let Some(note) = DamageNote::of(error) else { return };
        let Some(disk) = self.damage.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        match note.store(&*disk) {
            Ok(()) => tracing::warn!("{error}. Start this node again: it will be repaired from the others"),
            Err(failure) => tracing::error!("{error}; and that cannot be noted: {failure}"),
        }
    }
}

/// A command's place among those without an answer; given back when dropped.
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

/// A read's place among those without an answer; given back when dropped.
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
    pub(crate) node: mpsc::Sender<Message<M>>,
    pub(crate) shared: Arc<Shared>,
}

impl<M: Machine> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { node: self.node.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<M: Machine> Handle<M> {
    /// Puts a command in the log; answers when it is durable and applied.
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
        self.node.send(message).map_err(|_| ExecuteError::Stopping)?;
        match by(deadline, answer).await {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(ExecuteError::Stopping),
            None => Err(ExecuteError::DeadlineExceeded),
        }
    }

    /// Changes who takes part in the cluster, or who leads it. Any node may be asked. The change is agreed on return;
    /// one of voters has a second step, which follows by itself: see [`cluster`](Self::cluster). The member that is meant
    /// is the one that this node knows by that number now.
    ///
    /// # Errors
    /// The outer one as for [`execute`](Self::execute): whether the change was made is not known; asked for again, one
    /// that was made is refused as known or unknown. The inner one says why it was not made.
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

    /// Asks the state machine; sees everything that was acknowledged before.
    pub async fn query(&self, query: M::Query, deadline: Option<Instant>) -> Result<M::Answer, ReadError> {
        let read = self.query_at(query, Consistency::Linearizable, deadline).await?;
        Ok(read.answer)
    }

    /// Asks the state machine, as fresh as is asked for.
    pub async fn query_at(
        &self,
        query: M::Query,
        consistency: Consistency,
        deadline: Option<Instant>,
    ) -> Result<Read<M::Answer>, ReadError> {
        let _admission = ReadAdmission::new(&self.shared)?;
        let (reply, answer) = oneshot::channel();
        self.node.send(Message::Query { query, consistency, reply }).map_err(|_| ReadError::Stopping)?;
        match by(deadline, answer).await {
            Some(answer) => answer.map_err(|_| ReadError::Stopping)?,
            None => Err(ReadError::DeadlineExceeded),
        }
    }

    /// Asks about transfers; sees everything that was acknowledged before.
    pub async fn query_history(
        &self,
        query: HistoryQuery,
        deadline: Option<Instant>,
    ) -> Result<HistoryAnswer, ReadError> {
        let read = self.query_history_at(query, Consistency::Linearizable, deadline).await?;
        Ok(read.answer)
    }

    /// Asks about transfers, as fresh as is asked for.
    pub async fn query_history_at(
        &self,
        query: HistoryQuery,
        consistency: Consistency,
        deadline: Option<Instant>,
    ) -> Result<Read<HistoryAnswer>, ReadError> {
        self.read_history(consistency, deadline, move |reader, end| reader.read(&query, end)).await
    }

    /// The same for transfers, with what has become of those that reserve, as of the same log entry.
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

    /// How far the history goes, in all that was acknowledged before: what lies after that, no node has told anybody.
    pub async fn history_end(&self, deadline: Option<Instant>) -> Result<Read<HistoryPosition>, ReadError> {
        let _admission = ReadAdmission::new(&self.shared)?;
        match by(deadline, self.barrier(Consistency::Linearizable)).await {
            Some(answer) => answer,
            None => Err(ReadError::DeadlineExceeded),
        }
    }

    async fn barrier(&self, consistency: Consistency) -> Result<Read<HistoryPosition>, ReadError> {
        let (reply, answer) = oneshot::channel();
        self.node.send(Message::Barrier { consistency, reply }).map_err(|_| ReadError::Stopping)?;
        answer.await.map_err(|_| ReadError::Stopping)?
    }

    /// What the history holds under ids: transfers, and refusals that used the id up. Absent ones are left out.
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
            // Held by the thread, which goes on when nobody waits for its answer any more.
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

    /// Lets another node lead, if there is one that can: this one will be stopped.
    pub fn transfer_leadership(&self) {
        // A node that has ended does not lead.
        drop(self.node.send(Message::Event(Input::TransferLeadership)));
    }

    /// Bytes that are left on the node's disk; 0 before it looked for the first time.
    pub fn disk_available(&self) -> u64 {
        u64::try_from(self.shared.metrics.disk_available.get()).unwrap_or(0)
    }

    /// Where the node stands among the others, now.
    pub fn cluster(&self) -> ClusterStatus {
        self.shared.cluster.borrow().clone()
    }

    /// Tells where the node stands among the others, whenever that changes: for whoever waits for its removal, say.
    pub fn watch_cluster(&self) -> watch::Receiver<ClusterStatus> {
        self.shared.cluster.subscribe()
    }

    /// Whether the node takes writes, now.
    pub fn health(&self) -> Health {
        self.shared.health.borrow().clone()
    }

    /// Tells whether the node takes writes, whenever that changes: for health checks that wait.
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    /// Tells how many movements can be read, whenever that grows: for change events.
    pub fn watch_movements(&self) -> watch::Receiver<MovementNumber> {
        self.shared.visible.subscribe()
    }

    /// Tells which entry was applied last, whenever that grows: for whoever waits for what the state shows.
    pub fn watch_applied(&self) -> watch::Receiver<LogIndex> {
        self.shared.applied.subscribe()
    }

    /// Registers the node's metrics (log, fsync, entries, queue, checkpoint, history) under their names.
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
