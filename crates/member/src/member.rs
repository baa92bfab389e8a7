//! A member: a node with a service.

use bezant_rsm::{Event, Freshness, Service};
use bezant_runtime::{ClusterStatus, StartReport};
use bezant_types::NodeId;
use bytes::Bytes;

use crate::error::{CallError, OpenError, RemoveError};
use crate::handle::MemberHandle;
use crate::hosted::Hosted;
use crate::machine_member::{Health, MachineMember};
use crate::options::MemberOptions;

/// A replica of a service, with the node that runs it, in this process.
///
/// Dropping it stops the node without waiting for the end; [`shutdown`](Self::shutdown) transfers leadership
/// first.
#[derive(Debug)]
pub struct Member<S: Service + Default> {
    machine: MachineMember<Hosted<S>>,
    handle: MemberHandle<S>,
}

impl<S: Service + Default> Member<S> {
    /// Begins a cluster of one node, which works at once and admits every node that joins. On a folder that
    /// has been in use, continues from its state.
    ///
    /// After the loss of its folder a node must not seed, because that would begin another cluster: it
    /// [joins](Self::join) the others.
    pub async fn seed(options: MemberOptions) -> Result<Self, OpenError> {
        Ok(Self::over(MachineMember::seed(options).await?))
    }

    /// Adds a replica to a cluster: asks the members at these addresses for admission, fetches the state from
    /// them, and votes when it has caught up. One running member is enough, and several are better. With a
    /// folder that has been in use, it continues from its state, whichever member is asked. Such a node must
    /// keep its address, because the others dial it.
    ///
    /// Returns when the members have admitted it. It votes once the cluster has enough nodes: one of one or
    /// two nodes votes, three of three or four, and five of more. So another node never makes the cluster
    /// weaker.
    pub async fn join(
        options: MemberOptions,
        members: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, OpenError> {
        Ok(Self::over(MachineMember::join(options, members).await?))
    }

    fn over(machine: MachineMember<Hosted<S>>) -> Self {
        let handle = MemberHandle::new(machine.handle(), machine.membership(), machine.timeout());
        Self { machine, handle }
    }

    /// A handle for tasks: all handles share one session.
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
        self.machine.node()
    }

    /// The address at which the others reach this node. A node that joins needs it.
    pub fn address(&self) -> &str {
        self.machine.address()
    }

    /// The cluster in this node's view: its members, its leader, its progress.
    pub fn status(&self) -> ClusterStatus {
        self.machine.status()
    }

    /// What this node can do at present.
    pub fn health(&self) -> Health {
        self.machine.health()
    }

    /// What the start found on the disk.
    pub const fn report(&self) -> &StartReport {
        self.machine.report()
    }

    /// Removes a node from the cluster for good: one that will not come back, or whose disk is lost. With an
    /// empty folder it may join again.
    pub async fn remove(&self, node: NodeId) -> Result<(), RemoveError> {
        self.machine.remove(node).await
    }

    /// Transfers leadership, finishes what is under way, and unlocks the folder. The node stays a member, and
    /// may be started again at any time.
    pub async fn shutdown(self) {
        self.machine.shutdown().await;
    }
}
