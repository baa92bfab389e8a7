//! The way to the other nodes: plain TCP, one connection for each direction.
//!
//! A node dials every other node, and only sends on the connections that it dialed; on those that it
//! accepted it only receives. Each peer has a thread and a queue of its own, so that one which is slow holds
//! up nobody else. Sending never blocks. A message may be lost, and whoever sends it must be prepared for
//! that; it is never damaged, and what is delivered comes in the order in which it was sent on one connection.
//!
//! Where TLS goes: `wrap` in `stream` makes the stream that everything else here reads and writes.

mod acceptor;
mod dialer;
mod frame;
mod handshake;
mod queue;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bezant_types::NodeId;
use bytes::Bytes;

use handshake::{Met, Own};
use queue::Queue;

/// Who this node is, and who the others are.
#[derive(Debug)]
pub(crate) struct PeerOptions {
    /// Digest of the cluster's token.
    pub(crate) token: [u8; 32],
    /// This node.
    pub(crate) node: NodeId,
    /// Random number of this node's data folder.
    pub(crate) disk: u128,
    /// True while this disk has neither voted nor held an entry.
    pub(crate) fresh: Arc<AtomicBool>,
    /// The other nodes and their addresses; names are looked up anew for every connection.
    pub(crate) peers: Vec<(NodeId, String)>,
    /// Bound.
    pub(crate) listener: TcpListener,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum PeerEvent {
    /// A peer's message.
    Message {
        /// Who sent it.
        from: NodeId,
        /// Never empty.
        bytes: Bytes,
    },
    /// A connection with this peer came about, in either direction.
    Met {
        /// Who.
        node: NodeId,
        /// True when its disk has neither voted nor held an entry.
        is_fresh: bool,
        /// Its clock less this node's.
        clock_offset_nanos: i64,
    },
    /// A connection with this peer ended, in either direction.
    Lost {
        /// Who.
        node: NodeId,
    },
}

/// What all threads share.
struct Shared {
    token: [u8; 32],
    node: NodeId,
    nodes: u64,
    disk: u128,
    fresh: Arc<AtomicBool>,
    admit: Box<dyn Fn(NodeId, u128) -> Result<(), String> + Send + Sync>,
    events: Box<dyn Fn(PeerEvent) + Send + Sync>,
    queues: BTreeMap<NodeId, Arc<Queue>>,
    /// The connections that this node accepted, by peer: a newer one ends the older.
    accepted: Mutex<BTreeMap<NodeId, (u64, stream::Stream)>>,
    is_stopping: AtomicBool,
    dropped: AtomicU64,
}

impl Shared {
    fn own(&self) -> Own {
        Own {
            token: self.token,
            node: self.node,
            nodes: self.nodes,
            disk: self.disk,
            is_fresh: self.fresh.load(Ordering::Acquire),
        }
    }

    fn admit(&self, met: &Met) -> Result<(), String> {
        (self.admit)(met.node, met.disk)
    }

    fn tell_met(&self, met: &Met) {
        let Met { node, is_fresh, clock_offset_nanos, .. } = *met;
        (self.events)(PeerEvent::Met { node, is_fresh, clock_offset_nanos });
    }

    fn accepted(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, (u64, stream::Stream)>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checksum of the numbers of all nodes, in their order.
fn checksum_of(node: NodeId, peers: &[(NodeId, String)]) -> u64 {
    let numbers: BTreeSet<NodeId> = peers.iter().map(|(peer, _)| *peer).chain([node]).collect();
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.0.to_le_bytes()).collect();
    bezant_codec::checksum(&bytes)
}

/// The way to all peers.
pub(crate) struct Peers {
    shared: Arc<Shared>,
    address: SocketAddr,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Peers").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Peers {
    /// Begins to dial and to accept. `admit` decides about a peer with its disk, and says why not; `events` is
    /// called from many threads and must not block.
    pub(crate) fn start(
        options: PeerOptions,
        admit: impl Fn(NodeId, u128) -> Result<(), String> + Send + Sync + 'static,
        events: impl Fn(PeerEvent) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let PeerOptions { token, node, disk, fresh, peers, listener } = options;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            token,
            node,
            nodes: checksum_of(node, &peers),
            disk,
            fresh,
            admit: Box::new(admit),
            events: Box::new(events),
            queues: peers.iter().map(|(peer, _)| (*peer, Arc::default())).collect(),
            accepted: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
        });
        let mut threads = Vec::new();
        for (peer, address) in peers {
            let shared = Arc::clone(&shared);
            let body = move || dialer::run(&shared, peer, &address);
            threads.push(std::thread::Builder::new().name(format!("bezant-to-{peer}")).spawn(body)?);
        }
        let accepting = Arc::clone(&shared);
        let body = move || acceptor::run(&accepting, &listener);
        threads.push(std::thread::Builder::new().name("bezant-peers".to_owned()).spawn(body)?);
        Ok(Self { shared, address, threads: Mutex::new(threads) })
    }

    /// Sends a message, which is not empty. Never blocks.
    pub(crate) fn send(&self, to: NodeId, bytes: Bytes) {
        assert!(!bytes.is_empty(), "an empty frame is a sign of life");
        let is_taken = bytes.len() <= frame::PAYLOAD_SIZE_MAX
            && self.shared.queues.get(&to).is_some_and(|queue| queue.push(bytes));
        if !is_taken {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// True while messages to this peer have a connection.
    pub(crate) fn is_connected(&self, to: NodeId) -> bool {
        self.shared.queues.get(&to).is_some_and(|queue| queue.is_open())
    }

    /// Messages that were dropped since the beginning: a queue was full, or there was no connection.
    pub(crate) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Ends all connections and threads.
    pub(crate) fn stop(&self) {
        self.shared.is_stopping.store(true, Ordering::Release);
        self.shared.queues.values().for_each(|queue| queue.stop());
        for (_, stream) in self.shared.accepted().values() {
            stream::shut_down(stream);
        }
        // Wakes the thread that accepts.
        drop(std::net::TcpStream::connect_timeout(&self.address, stream::CONNECT_TIMEOUT));
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the way to the peers ended by a panic");
            }
        }
    }
}

#[cfg(test)]
mod tests;
