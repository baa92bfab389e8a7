//! A member: its node, and its life from the first start to the hand-over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bezant_rsm::{Event, Freshness, Service};
use bezant_runtime::{
    Change, ClusterOptions, ClusterStatus, ExecuteError, Health, Options, Running, StartError, StartReport,
    start_member,
};
use bezant_types::NodeId;
use bytes::Bytes;

use crate::error::{CallError, OpenError, RemoveError};
use crate::handle::{MemberHandle, pause};
use crate::hosted::Hosted;
use crate::options::{MemberOptions, Place, check_address, node_at};

/// The node that begins a cluster, unless it is said.
const FIRST: NodeId = NodeId(1);
/// The wait before a change of members is asked for again.
const CHANGE_WAIT: std::time::Duration = std::time::Duration::from_millis(50);

/// A replica of a service, with the node that keeps it, in this process.
///
/// Dropping it stops the node without waiting for that; [`shutdown`](Self::shutdown) hands the lead over first.
#[derive(Debug)]
pub struct Member<S: Service + Default> {
    running: Running<Hosted<S>>,
    handle: MemberHandle<S>,
    node: NodeId,
    address: String,
}

impl<S: Service + Default> Member<S> {
    /// Begins a cluster of one, which works at once and takes in whoever joins. On a folder that has been in use, goes on
    /// where it was.
    ///
    /// A folder that was lost cannot come back like this, for it would begin another cluster: it [joins](Self::join)
    /// the others.
    pub async fn seed(options: MemberOptions) -> Result<Self, OpenError> {
        let place = options.place()?;
        let node = options.identify(FIRST)?;
        let nodes = vec![(node, place.address.clone())];
        Self::open(options, place, node, nodes, Vec::new()).await
    }

    /// Adds a replica to a cluster: asks the members at these addresses to take it in, fetches the state from them, and
    /// votes when it has caught up. Any running member will do, and several are better. On a folder that has been in use,
    /// goes on where it was, whoever is asked.
    ///
    /// Returns when the members have taken it in. It votes once there are enough of them for that: of one or two nodes
    /// one votes, of three or four three, of more five, so that a node more never makes the cluster weaker.
    pub async fn join(
        options: MemberOptions,
        members: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, OpenError> {
        let members: Vec<String> = members.into_iter().map(Into::into).collect();
        members.iter().try_for_each(|address| check_address(address))?;
        if members.is_empty() {
            return Err(OpenError::NobodyToJoin);
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
        // Set also when nobody waits for the start any more.
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
        let mut start =
            tokio::task::spawn_blocking(move || start_member::<Hosted<S>>(&node_options, cluster));
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
        let handle = MemberHandle::new(running.handle(), timeout);
        Ok(Self { running, handle, node, address })
    }

    /// A handle for tasks: all of them are one session.
    pub fn handle(&self) -> MemberHandle<S> {
        self.handle.clone()
    }

    /// See [`MemberHandle::invoke`].
    pub async fn invoke(&self, command: &[u8]) -> Result<Bytes, CallError> {
        self.handle.invoke(command).await
    }

    /// See [`MemberHandle::query`].
    pub async fn query(&self, query: &[u8], freshness: Freshness) -> Result<Bytes, CallError> {
        self.handle.query(query, freshness).await
    }

    /// See [`MemberHandle::next_event`].
    pub async fn next_event(&self, stream: u32, after: u64) -> Result<Event, CallError> {
        self.handle.next_event(stream, after).await
    }

    /// This node's number.
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// Where the others reach this node: what one that joins is told.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The cluster as this node sees it: who takes part, who leads, how far it is.
    pub fn status(&self) -> ClusterStatus {
        self.handle.node().cluster()
    }

    /// Whether this node takes commands.
    pub fn health(&self) -> Health {
        self.handle.node().health()
    }

    /// What the start found on the disk.
    pub const fn report(&self) -> &StartReport {
        self.running.report()
    }

    /// Takes a node out of the cluster for good: one that will not come back, or whose disk is lost. With an empty folder
    /// it may join again.
    pub async fn remove(&self, node: NodeId) -> Result<(), RemoveError> {
        let deadline = self.handle.deadline();
        loop {
            let change = Change::Remove(node);
            let made = self.handle.node().change(&change, Some(deadline)).await;
            let reason = match made {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(bezant_runtime::ChangeError::UnderWay)) | Err(ExecuteError::NoLeader) => {
                    pause(CHANGE_WAIT, deadline).await?;
                    continue;
                }
                Ok(Err(reason)) => reason,
                Err(ExecuteError::ReadOnly { reason }) => return Err(CallError::ReadOnly { reason }.into()),
                Err(ExecuteError::Stopping) => return Err(CallError::ShutDown.into()),
                Err(ExecuteError::DeadlineExceeded) => return Err(CallError::DeadlineExceeded.into()),
                Err(_) => return Err(CallError::OutcomeUnknown.into()),
            };
            return Err(RemoveError::Refused { node, reason });
        }
    }

    /// Lets another node lead, finishes what is under way and lets go of the folder. The node stays a member: it may
    /// come back whenever it likes.
    pub async fn shutdown(self) {
        let Self { running, .. } = self;
        if tokio::task::spawn_blocking(move || running.stop()).await.is_err() {
            tracing::error!("the member's end was interrupted");
        }
    }
}

/// Gives up when it is dropped: nobody waits for the start any more, or it is over.
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
