//! What the threads of the connections to peers share: the open connections, and who may have one.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Instant;

use bezant_consensus::{Change, ChangeError};
use bezant_types::limits::MEMBERS_MAX;
use bezant_types::{LogIndex, NodeId};
use bytes::Bytes;

use super::handshake::{HandshakeError, Met, Own};
use super::incarnation::{self, Dialed, Encounter, Incarnation, LastReceived, Verdict};
use super::queue::Queue;
use super::stream;
use crate::clock::{Clock, Reading};
use crate::group::directory::Directory;

/// An event of the connections to peers.
#[derive(Debug)]
pub(crate) enum PeerEvent {
    /// A peer's message.
    Message {
        /// The sender.
        from: NodeId,
        /// The disk with which the sender was admitted.
        disk: u128,
        /// The message; never empty.
        bytes: Bytes,
    },
    /// A connection with this peer was opened, in either direction.
    Met {
        /// The peer.
        node: NodeId,
        /// True when its disk has neither voted nor held an entry.
        is_fresh: bool,
        /// The reading of its clock.
        clock: Reading,
    },
    /// A node asks for admission.
    Asks {
        /// The peer.
        node: NodeId,
        /// The address at which it is reached.
        address: String,
    },
    /// A connection with this peer ended, in either direction.
    Lost {
        /// The peer.
        node: NodeId,
    },
}

/// The connection to one peer, and the thread that keeps it.
pub(super) struct Link {
    /// The entry that added the peer, and its address.
    pub(super) of: (LogIndex, String),
    pub(super) queue: Arc<Queue>,
    pub(super) thread: JoinHandle<()>,
}

/// A connection that this node accepted.
pub(super) struct Accepted {
    pub(super) number: u64,
    pub(super) stream: stream::Stream,
    /// The process at its other end; `None` when it sent no incarnation.
    pub(super) incarnation: Option<Incarnation>,
    pub(super) address: SocketAddr,
    pub(super) received: Arc<LastReceived>,
}

/// State that all threads share.
pub(super) struct Shared {
    pub(super) directory: Arc<Directory>,
    /// The incarnation of this process.
    pub(super) incarnation: Incarnation,
    pub(super) clock: Clock,
    pub(super) events: Box<dyn Fn(PeerEvent) + Send + Sync>,
    pub(super) links: RwLock<BTreeMap<NodeId, Link>>,
    /// The connections that this node accepted, by peer: a newer one of the same process ends the older.
    pub(super) accepted: Mutex<BTreeMap<NodeId, Accepted>>,
    /// Notified when one of them has ended.
    pub(super) has_ended: Condvar,
    /// The process that answered at the address of each peer, while that connection is open.
    pub(super) dialed: Dialed,
    /// Nodes with two processes: the text of the refusal, and its time.
    pub(super) duplicates: Mutex<BTreeMap<NodeId, (String, Instant)>>,
    pub(super) is_stopping: AtomicBool,
    /// Why there is no connection to a peer, when one refuses the other.
    pub(super) refusals: Mutex<BTreeMap<NodeId, String>>,
    pub(super) dropped: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
    /// True when a node that asks is added without an operator.
    pub(super) grows: bool,
}

impl Shared {
    pub(super) fn own(&self) -> Own {
        Own {
            token: self.directory.token(),
            node: self.directory.node(),
            disk: self.directory.disk_id(),
            is_fresh: self.directory.is_fresh(),
            since: Some(self.directory.since()),
            engine: Some(self.directory.engine()),
            members: self.directory.members(),
            incarnation: Some(self.incarnation),
            clock: self.clock.clone(),
        }
    }

    /// Adopts a newer list of members from the peer; true when it was newer.
    pub(super) fn learn(&self, met: &Met) -> Result<bool, HandshakeError> {
        if !met.is_member() {
            return Ok(false);
        }
        self.directory.learn(&met.members).map_err(HandshakeError::Refused)
    }

    /// Decides whether the peer is a member with this disk.
    pub(super) fn admit(&self, met: &Met) -> Result<(), HandshakeError> {
        if self.grows
            && let Some(address) = met.asks_at()
        {
            self.request_admission(met.node, address)?;
        }
        self.directory.admit(met.claim()).map_err(|error| HandshakeError::Refused(error.to_string()))
    }

    /// Requests the admission of a node that asks for it. A node that is a member already needs nothing.
    fn request_admission(&self, node: NodeId, address: &str) -> Result<(), HandshakeError> {
        let address = address.to_owned();
        let members = self.directory.members();
        let known = members.get(node).map(|member| &member.address);
        if let Some(known) = known.filter(|known| **known != address) {
            return Err(HandshakeError::Refused(format!(
                "node {node} is a member already, and reached at {known}: use another number, or remove that member first"
            )));
        }
        let reason = match members.check(&Change::Add { node, address: address.clone() }) {
            Err(ChangeError::Known) => return Ok(()),
            Ok(()) | Err(ChangeError::UnderWay) => {
                (self.events)(PeerEvent::Asks { node, address });
                return Err(HandshakeError::NotYet);
            }
            Err(ChangeError::Full) => format!("the cluster has {MEMBERS_MAX} members: remove one first"),
            Err(_) => format!(
                "{address} is not a valid address, or it is another member's: choose another one, or remove that member first"
            ),
        };
        Err(HandshakeError::Refused(reason))
    }

    pub(super) fn refusals(&self) -> MutexGuard<'_, BTreeMap<NodeId, String>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn announce_met(&self, met: &Met) {
        let Met { node, is_fresh, clock, .. } = *met;
        (self.events)(PeerEvent::Met { node, is_fresh, clock });
    }

    pub(super) fn accepted(&self) -> MutexGuard<'_, BTreeMap<NodeId, Accepted>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn duplicates(&self) -> MutexGuard<'_, BTreeMap<NodeId, (String, Instant)>> {
        self.duplicates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes this the connection of that node, and ends the older one. Refuses it if the older one is alive
    /// and of another process. Waits for at most two seconds while that is not decided.
    pub(super) fn enter(&self, node: NodeId, connection: Accepted) -> Result<(), HandshakeError> {
        let arrived = Instant::now();
        let mut accepted = self.accepted();
        while let Some(older) = accepted.get(&node) {
            if self.is_stopping.load(Ordering::Acquire) {
                return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into());
            }
            let dialed = self.dialed.of(node);
            let (newer, received) = (connection.incarnation, &*older.received);
            let encounter = Encounter { older: older.incarnation, newer, dialed, received, arrived };
            match encounter.verdict(Instant::now()) {
                Verdict::Take => break,
                Verdict::Refuse => {
                    let of = |connection: &Accepted| (connection.incarnation, connection.address);
                    let text = incarnation::explain(node, self.directory.node(), of(older), of(&connection));
                    self.duplicates().insert(node, (text.clone(), Instant::now()));
                    return Err(HandshakeError::Refused(text));
                }
                Verdict::Wait(pause) => {
                    let waited = self.has_ended.wait_timeout(accepted, pause);
                    accepted = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        if let Some(older) = accepted.insert(node, connection) {
            stream::shut_down(&older.stream);
        }
        Ok(())
    }

    /// Handles the end of an accepted connection: when it was the node's current one, the event is reported.
    pub(super) fn leave(&self, node: NodeId, number: u64) {
        let mut accepted = self.accepted();
        if accepted.get(&node).is_none_or(|current| current.number != number) {
            return;
        }
        accepted.remove(&node);
        // Reported under the lock, so that the loss of this connection is reported before the start of its
        // successor.
        (self.events)(PeerEvent::Lost { node });
        drop(accepted);
        self.has_ended.notify_all();
    }
}
