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
mod shared;
mod stream;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use bezant_types::NodeId;
use bytes::Bytes;

use crate::clock::Clock;
use crate::group::directory::Directory;
use incarnation::{Dialed, Incarnation};
use queue::Queue;
use shared::Shared;

pub(crate) use handshake::Own;
pub(crate) use join::join;
pub(crate) use shared::PeerEvent;

/// How long the refusal of a second process with a node's number is reported after its last try.
const DUPLICATE_SHOWN: Duration = Duration::from_secs(10);

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
        dialer::follow_directory(&shared);
        Ok(Self { shared, address, acceptor: Mutex::new(Some(acceptor)) })
    }

    /// Follows a change of the directory.
    pub(crate) fn follow_directory(&self) {
        dialer::follow_directory(&self.shared);
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
