//! A node in this process with any state machine, from its first start to its shutdown.
//!
//! [`Member`](crate::Member) runs a service in it; a machine that is not a service, such as the ledger, runs
//! in it directly.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bezant_runtime::{
    Change, ChangeError, ClusterOptions, ClusterStatus, ExecuteError, Handle, Machine, Options, Running,
    StartError, StartReport, start_member,
};
use bezant_types::{LogIndex, NodeId};

use crate::error::{CallError, OpenError, RemoveError};
use crate::handle::{deadline_in, pause};
use crate::options::{MemberOptions, Place, check_address, node_at};

/// The number of the node that begins a cluster, unless the options have one.
const FIRST: NodeId = NodeId(1);
/// The wait before a change of members is requested again.
const CHANGE_WAIT: Duration = Duration::from_millis(50);

/// What a member can do at present.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It takes commands and answers queries.
    Serving,
    /// It takes commands, but has no state yet, so it cannot answer stale and session queries.
    NoState {
        /// What it waits for.
        reason: String,
    },
    /// It answers queries and takes no commands: a write or sync failed, the disk is full, or its state
    /// differs from the others'.
    ReadOnly {
        /// What happened, and what helps.
        reason: String,
    },
    /// It was removed from the cluster, and receives nothing new. To bring it back, shut it down, and let it
    /// join with an empty folder.
    Removed,
    /// It is being shut down.
    Stopping,
}

/// The identity of a member, among all members that ever had its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Membership {
    node: NodeId,
    /// The entry that added it.
    since: LogIndex,
}

impl Membership {
    fn of<M: Machine>(node: NodeId, handle: &Handle<M>) -> Self {
        let found = handle.cluster().nodes.into_iter().find(|status| status.node == node);
        Self { node, since: found.map_or(LogIndex(0), |status| status.since) }
    }

    fn is_in(self, status: &ClusterStatus) -> bool {
        status.nodes.iter().any(|status| status.node == self.node && status.since == self.since)
    }

    /// What the member can do at present.
    pub(crate) fn health<M: Machine>(self, handle: &Handle<M>) -> Health {
        match handle.health() {
            bezant_runtime::Health::Stopping => Health::Stopping,
            _ if !self.is_in(&handle.cluster()) => Health::Removed,
            bezant_runtime::Health::ReadOnly { reason } => Health::ReadOnly { reason },
            bezant_runtime::Health::NoState { reason } => Health::NoState { reason: reason.to_string() },
            bezant_runtime::Health::Serving => Health::Serving,
        }
    }

    /// Returns once it is removed; never when it is shut down first.
    pub(crate) async fn removed<M: Machine>(self, handle: &Handle<M>) {
        let mut cluster = handle.watch_cluster();
        if cluster.wait_for(|status| !self.is_in(status)).await.is_err() {
            pending::<()>().await;
        }
    }
}

/// A replica of a state machine, with the node that runs it, in this process: a [`Member`](crate::Member)
/// without a service. Its [`handle`](Self::handle) is that of the node, without sessions. So a caller that
/// retries a command must make that harmless, as the ledger does with ids.
///
/// Dropping it stops the node without waiting for the end; [`shutdown`](Self::shutdown) transfers leadership
/// first.
#[derive(Debug)]
pub struct MachineMember<M: Machine> {
    running: Running<M>,
    membership: Membership,
    address: String,
    timeout: Duration,
}

impl<M: Machine> MachineMember<M> {
    /// See [`Member::seed`](crate::Member::seed).
    pub async fn seed(options: MemberOptions) -> Result<Self, OpenError> {
        let place = options.place()?;
        let node = options.identify(FIRST)?;
        let nodes = vec![(node, place.address.clone())];
        Self::open(options, place, node, nodes, Vec::new()).await
    }

    /// See [`Member::join`](crate::Member::join).
    pub async fn join(
        options: MemberOptions,
        members: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, OpenError> {
        let members: Vec<String> = members.into_iter().map(Into::into).collect();
        members.iter().try_for_each(|address| check_address(address))?;
        if members.is_empty() {
            return Err(OpenError::NoMemberToJoin);
        }
        let place = options.place()?;
        let node = options.identify(node_at(&place.address))?;
        Self::open(options, place, node, Vec::new(), members).await
    }

    async fn open(
        options: MemberOptions,
        place: Place,
        node: NodeId,
        nodes: Vec<(NodeId, String)>,
        join: Vec<String>,
    ) -> Result<Self, OpenError> {
        let Place { listener, address } = place;
        let (timeout, waited) = (options.timeout, options.join_timeout);
        // The flag is also set when the caller no longer waits for the start.
        let give_up = GiveUp(Arc::default());
        let cluster = ClusterOptions {
            node,
            token: options.token.trim().to_owned(),
            engine: options.engine,
            nodes,
            join,
            give_up: Arc::clone(&give_up.0),
            listener,
            growth: Some(address.clone()),
        };
        let mut node_options = Options::new(&options.data_dir);
        node_options.node.checkpoint_interval_bytes = options.checkpoint_interval_bytes;
        node_options.is_clock_accepted = options.is_clock_accepted;
        let mut start = tokio::task::spawn_blocking(move || start_member::<M>(&node_options, cluster));
        let started = if let Ok(started) = tokio::time::timeout(waited, &mut start).await {
            started
        } else {
            give_up.0.store(true, Ordering::Release);
            start.await
        };
        let running = match started.map_err(|_| OpenError::Interrupted)? {
            Ok(running) => running,
            Err(StartError::GaveUp { reason }) => return Err(OpenError::NotAdmitted { waited, reason }),
            Err(error) => return Err(error.into()),
        };
        let membership = Membership::of(node, &running.handle());
        Ok(Self { running, membership, address, timeout })
    }

    /// The handle of the node, for any task.
    pub fn handle(&self) -> Handle<M> {
        self.running.handle()
    }

    pub(crate) const fn membership(&self) -> Membership {
        self.membership
    }

    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// This node's number.
    pub const fn node(&self) -> NodeId {
        self.membership.node
    }

    /// The address at which the others reach this node. A node that joins needs it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The cluster in this node's view: its members, its leader, its progress.
    pub fn status(&self) -> ClusterStatus {
        self.handle().cluster()
    }

    /// What this node can do at present.
    pub fn health(&self) -> Health {
        self.membership.health(&self.handle())
    }

    /// What the start found on the disk.
    pub const fn report(&self) -> &StartReport {
        self.running.report()
    }

    /// See [`Member::remove`](crate::Member::remove).
    pub async fn remove(&self, node: NodeId) -> Result<(), RemoveError> {
        let deadline = deadline_in(self.timeout);
        let mut may_be_done = false;
        loop {
            let change = Change::Remove(node);
            let made = self.handle().change(&change, Some(deadline)).await;
            let wait = match made {
                Ok(Ok(_)) => return Ok(()),
                // An earlier try, whose outcome was not known, has removed it.
                Ok(Err(ChangeError::Unknown)) if may_be_done => return Ok(()),
                Ok(Err(ChangeError::UnderWay | ChangeError::NotLeading))
                | Err(ExecuteError::NoLeader | ExecuteError::FirstStart(_)) => CHANGE_WAIT,
                Ok(Err(reason)) => return Err(RemoveError::Refused { node, reason }),
                Err(ExecuteError::Overloaded { retry_after }) => retry_after,
                Err(ExecuteError::Interrupted) => {
                    may_be_done = true;
                    CHANGE_WAIT
                }
                Err(ExecuteError::ReadOnly { reason } | ExecuteError::NotTaken { reason }) => {
                    return Err(CallError::ReadOnly { reason }.into());
                }
                Err(ExecuteError::Stopping) => return Err(CallError::ShutDown.into()),
                Err(ExecuteError::DeadlineExceeded) => return Err(CallError::DeadlineExceeded.into()),
                Err(_) => return Err(CallError::OutcomeUnknown.into()),
            };
            pause(wait, deadline).await?;
        }
    }

    /// Transfers leadership, finishes what is under way, and unlocks the folder. The node stays a member, and
    /// may be started again at any time.
    pub async fn shutdown(self) {
        let Self { running, .. } = self;
        if tokio::task::spawn_blocking(move || running.stop()).await.is_err() {
            tracing::error!("the shutdown of the member was interrupted");
        }
    }
}

/// Makes a start that still waits for admission give up when this is dropped: the caller no longer waits, or
/// the start is over.
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
