//! The handle of a running node: what the server, tests and embedding programs call.
//!
//! A handle is cheap to clone and usable from any task. A write goes through the log and is answered when it
//! is durable and applied. A linearizable read shows everything that was acknowledged before the read began.

use std::sync::Arc;
use std::time::Instant;

use bezant_consensus::{Change, ChangeError, decode_outcome};
use bezant_recovery::Machine;
use bezant_replica::{Consistency, Input, change_command};
use bezant_rsm::Command;
use bezant_storage::{HistoryAnswer, HistoryError, HistoryQuery, HistoryReader};
use bezant_types::{
    FetchKey, FetchedTransfer, HistoryPosition, LogIndex, MovementNumber, TransferId, TransferView,
};
use prometheus_client::registry::Registry;
use tokio::sync::{oneshot, watch};

use crate::error::{ExecuteError, ReadError};
use crate::group::admission::{Admission, RETRY_AFTER, ReadAdmission};
use crate::group::message::{Committed, Message, Read};
use crate::group::shared::{Health, Shared};
use crate::group::status::ClusterStatus;
use crate::process::mailbox::Sender;

/// A running node.
#[derive(Debug)]
pub struct Handle<M: Machine> {
    pub(crate) replica: Sender<Message<M>>,
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
