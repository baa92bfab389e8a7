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

/// A replica of a service, with the node that keeps it, in this process.
///
/// Dropping it stops the node without waiting for that; [`shutdown`](Self::shutdown) hands the lead over first.
#[derive(Debug)]
pub struct Member<S: Service + Default> {
    machine: MachineMember<Hosted<S>>,
    handle: MemberHandle<S>,
}

impl<S: Service + Default> Member<S> {
    /// Begins a cluster of one, which works at once and takes in whoever joins. On a folder that has been in use, goes on
    /// where it was.
    ///
    /// A folder that was lost cannot come back like this, for it would begin another cluster: it [joins](Self::join)
    /// the others.
    pub async fn seed(options: MemberOptions) -> Result<Self, OpenError> {
        Ok(Self::over(MachineMember::seed(options).await?))
    }

    /// Adds a replica to a cluster: asks the members at these addresses to take it in, fetches the state from them, and
    /// votes when it has caught up. Any running member will do, and several are better. On a folder that has been in use,
    /// goes on where it was, whoever is asked; at the address that it had, for the others look for it there.
    ///
    /// Returns when the members have taken it in. It votes once there are enough of them for that: of one or two nodes
    /// one votes, of three or four three, of more five, so that a node more never makes the cluster weaker.
    pub async fn join(
        options: MemberOptions,
        members: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, OpenError> {
        Ok(Self::over(MachineMember::join(options, members).await?))
    }

    fn over(machine: MachineMember<Hosted<S>>) -> Self {
        let handle = MemberHandle::new(machine.handle(), machine.seat(), machine.timeout());
        Self { machine, handle }
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
        self.machine.node()
    }

    /// Where the others reach this node: what one that joins is told.
    pub fn address(&self) -> &str {
        self.machine.address()
    }

    /// The cluster as this node sees it: who takes part, who leads, how far it is.
    pub fn status(&self) -> ClusterStatus {
        self.machine.status()
    }

    /// Whether this node takes part.
    pub fn health(&self) -> Health {
        self.machine.health()
    }

    /// What the start found on the disk.
    pub const fn report(&self) -> &StartReport {
        self.machine.report()
    }

    /// Takes a node out of the cluster for good: one that will not come back, or whose disk is lost. With an empty folder
    /// it may join again.
    pub async fn remove(&self, node: NodeId) -> Result<(), RemoveError> {
        self.machine.remove(node).await
    }

    /// Lets another node lead, finishes what is under way and lets go of the folder. The node stays a member: it may
    /// come back whenever it likes.
    pub async fn shutdown(self) {
        self.machine.shutdown().await;
    }
}
