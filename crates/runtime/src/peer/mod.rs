//! The connections to the other nodes: plain TCP, one connection for each direction.
//!
//! A node dials every other node, and only sends on the connections that it dialed; on those that it accepted
//! it only receives. Each peer has its own thread and queue, so that a slow peer delays no other. Sending
//! never blocks. A message may be lost, and its sender must be prepared for that. It is never damaged, and
//! messages on one connection arrive in the order in which they were sent.
//!
//! Where TLS belongs: `wrap` in `stream` makes the stream that everything else here reads and writes.

mod acceptor;
mod dialer;
mod frame;
mod handshake;
mod incarnation;
mod join;
mod queue;
mod stream;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bezant_consensus::{Change, ChangeError};
use bezant_types::limits::MEMBERS_MAX;
use bezant_types::{LogIndex, NodeId};
use bytes::Bytes;

use crate::clock::{Clock, Reading};
use crate::group::directory::Directory;
use handshake::{HandshakeError, Met};
use incarnation::{Dialed, Encounter, Incarnation, LastReceived, Verdict};
use queue::Queue;

pub(crate) use handshake::Own;
pub(crate) use join::join;

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
struct Link {
    /// The entry that added the peer, and its address.
    of: (LogIndex, String),
    queue: Arc<Queue>,
    thread: JoinHandle<()>,
}

/// A connection that this node accepted.
struct Accepted {
    number: u64,
    stream: stream::Stream,
    /// The process at its other end; `None` when it sent no incarnation.
    incarnation: Option<Incarnation>,
    address: SocketAddr,
    received: Arc<LastReceived>,
}

/// How long the refusal of a second process with a node's number is reported after its last try.
const DUPLICATE_SHOWN: Duration = Duration::from_secs(10);

/// State that all threads share.
struct Shared {
    directory: Arc<Directory>,
    /// The incarnation of this process.
    incarnation: Incarnation,
    clock: Clock,
    events: Box<dyn Fn(PeerEvent) + Send + Sync>,
    links: RwLock<BTreeMap<NodeId, Link>>,
    /// The connections that this node accepted, by peer: a newer one of the same process ends the older.
    accepted: Mutex<BTreeMap<NodeId, Accepted>>,
    /// Notified when one of them has ended.
    has_ended: Condvar,
    /// The process that answered at the address of each peer, while that connection is open.
    dialed: Dialed,
    /// Nodes with two processes: the text of the refusal, and its time.
    duplicates: Mutex<BTreeMap<NodeId, (String, Instant)>>,
    is_stopping: AtomicBool,
    /// Why there is no connection to a peer, when one refuses the other.
    refusals: Mutex<BTreeMap<NodeId, String>>,
    dropped: AtomicU64,
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    /// True when a node that asks is added without an operator.
    grows: bool,
}

impl Shared {
    fn own(&self) -> Own {
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

    /// Adopts a newer list of members from the peer, and decides whether the peer is a member with this disk.
    fn admit(self: &Arc<Self>, met: &Met) -> Result<(), HandshakeError> {
        if met.is_member() && self.directory.learn(&met.members).map_err(HandshakeError::Refused)? {
            self.follow_directory();
        }
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

    fn refusals(&self) -> MutexGuard<'_, BTreeMap<NodeId, String>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce_met(&self, met: &Met) {
        let Met { node, is_fresh, clock, .. } = *met;
        (self.events)(PeerEvent::Met { node, is_fresh, clock });
    }

    fn accepted(&self) -> MutexGuard<'_, BTreeMap<NodeId, Accepted>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn duplicates(&self) -> MutexGuard<'_, BTreeMap<NodeId, (String, Instant)>> {
        self.duplicates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes this the connection of that node, and ends the older one. Refuses it if the older one is alive
    /// and of another process. Waits for at most two seconds while that is not decided.
    fn enter(&self, node: NodeId, connection: Accepted) -> Result<(), HandshakeError> {
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
    fn leave(&self, node: NodeId, number: u64) {
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

    /// Drops the connections of nodes that are no longer peers, and begins to dial new peers.
    fn follow_directory(self: &Arc<Self>) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock: of two concurrent calls, the second must not bring an older list back.
        let peers = self.directory.peers();
        // The connections are being stopped: no new one is begun.
        if self.is_stopping.load(Ordering::Acquire) {
            return;
        }
        links.retain(|peer, link| {
            let stays = peers.get(peer) == Some(&link.of);
            if !stays {
                link.queue.stop();
                // A new node with this number connects again.
                if let Some(accepted) = self.accepted().remove(peer) {
                    stream::shut_down(&accepted.stream);
                    self.has_ended.notify_all();
                }
            }
            stays
        });
        for (peer, of) in peers {
            if links.contains_key(&peer) {
                continue;
            }
            let queue = Arc::<Queue>::default();
            let (shared, dialing, to) = (Arc::clone(self), Arc::clone(&queue), of.1.clone());
            let body = move || dialer::run(&shared, &dialing, peer, &to);
            match std::thread::Builder::new().name(format!("bezant-to-{peer}")).spawn(body) {
                Ok(thread) => {
                    links.insert(peer, Link { of, queue, thread });
                }
                Err(error) => tracing::error!(node = peer.0, "node {peer} cannot be dialed: {error}"),
            }
        }
    }
}

/// The connections to all peers.
pub(crate) struct Peers {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Peers").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Peers {
    /// Begins to dial the peers in the directory, and to accept on the listener. In a cluster that `grows`, a
    /// node that asks is added. `events` is called from many threads and must not block.
    pub(crate) fn start(
        directory: Arc<Directory>,
        listener: TcpListener,
        grows: bool,
        clock: Clock,
        events: impl Fn(PeerEvent) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            directory,
            incarnation: Incarnation::draw(),
            clock,
            events: Box::new(events),
            links: RwLock::default(),
            accepted: Mutex::default(),
            has_ended: Condvar::new(),
            dialed: Dialed::default(),
            duplicates: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            refusals: Mutex::default(),
            dropped: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            grows,
        });
        let accepting = Arc::clone(&shared);
        let body = move || acceptor::run(&accepting, &listener);
        let acceptor = std::thread::Builder::new().name("bezant-peers".to_owned()).spawn(body)?;
        shared.follow_directory();
        Ok(Self { shared, address, acceptor: Mutex::new(Some(acceptor)) })
    }

    /// Follows a change of the directory.
    pub(crate) fn follow_directory(&self) {
        self.shared.follow_directory();
    }

    fn with_queue<T>(&self, to: NodeId, with: impl FnOnce(&Queue) -> T) -> Option<T> {
        let links = self.shared.links.read().unwrap_or_else(PoisonError::into_inner);
        links.get(&to).map(|link| with(&link.queue))
    }

    /// Sends a message, which is not empty. Never blocks. False when it was dropped.
    pub(crate) fn send(&self, to: NodeId, bytes: Bytes) -> bool {
        assert!(!bytes.is_empty(), "an empty frame is a heartbeat");
        let size = bytes.len();
        let is_taken = size <= frame::PAYLOAD_SIZE_MAX
            && self.with_queue(to, |queue| queue.push(bytes)).unwrap_or(false);
        if is_taken {
            self.shared.sent.fetch_add(1, Ordering::Relaxed);
            self.shared.sent_bytes.fetch_add(size as u64, Ordering::Relaxed);
        } else {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        is_taken
    }

    /// True while there is a connection for messages to this peer.
    pub(crate) fn is_connected(&self, to: NodeId) -> bool {
        self.with_queue(to, Queue::is_open).unwrap_or(false)
    }

    /// Why there is no connection to a peer, when one refuses the other; and for a node with two processes,
    /// the refusal of the second.
    pub(crate) fn refusals(&self) -> BTreeMap<NodeId, String> {
        let mut refusals = self.shared.refusals().clone();
        let mut duplicates = self.shared.duplicates();
        duplicates.retain(|_, (_, at)| at.elapsed() < DUPLICATE_SHOWN);
        refusals.extend(duplicates.iter().map(|(node, (text, _))| (*node, text.clone())));
        refusals
    }

    /// The number of messages dropped since the start: a queue was full, or there was no connection.
    pub(crate) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// The number of messages sent since the start, and their bytes.
    pub(crate) fn sent(&self) -> (u64, u64) {
        (self.shared.sent.load(Ordering::Relaxed), self.shared.sent_bytes.load(Ordering::Relaxed))
    }

    /// Ends all connections and threads; a second call does nothing.
    pub(crate) fn stop(&self) {
        if self.shared.is_stopping.swap(true, Ordering::AcqRel) {
            return;
        }
        let links = std::mem::take(&mut *self.shared.links.write().unwrap_or_else(PoisonError::into_inner));
        links.values().for_each(|link| link.queue.stop());
        for accepted in self.shared.accepted().values() {
            stream::shut_down(&accepted.stream);
        }
        self.shared.has_ended.notify_all();
        // Wakes the thread that accepts.
        drop(std::net::TcpStream::connect_timeout(&self.address, stream::CONNECT_TIMEOUT));
        let acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner).take();
        for thread in links.into_values().map(|link| link.thread).chain(acceptor) {
            if thread.join().is_err() {
                tracing::error!("a thread of the connections to peers ended by a panic");
            }
        }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
