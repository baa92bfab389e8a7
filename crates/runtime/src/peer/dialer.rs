//! The threads that dial, one for each peer in the directory: each keeps the connection to its peer and sends
//! the messages that wait for it.

use std::io::{ErrorKind, Read};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bezant_types::NodeId;
use bytes::Bytes;

use super::frame;
use super::handshake::{self, HandshakeError, Met};
use super::queue::{Queue, Taken};
use super::shared::{Link, PeerEvent, Shared};
use super::stream::{self, HEARTBEAT_INTERVAL};

/// The wait after the first failure; it doubles up to the longest.
const WAIT_FIRST: Duration = Duration::from_millis(20);
const WAIT_LONGEST: Duration = Duration::from_secs(1);
/// The wait after a refusal, which an operator must resolve.
pub(super) const WAIT_REFUSED: Duration = Duration::from_secs(2);
/// The interval at which an unchanged refusal is logged.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Drops the connections of nodes that are no longer peers, and begins to dial new peers.
pub(super) fn follow_directory(shared: &Arc<Shared>) {
    let mut links = shared.links.write().unwrap_or_else(PoisonError::into_inner);
    // Read under the lock: of two concurrent calls, the second must not bring an older list back.
    let peers = shared.directory.peers();
    // The connections are being stopped: no new one is begun.
    if shared.is_stopping.load(Ordering::Acquire) {
        return;
    }
    links.retain(|peer, link| {
        let stays = peers.get(peer) == Some(&link.of);
        if !stays {
            link.queue.stop();
            // A new node with this number connects again.
            if let Some(accepted) = shared.accepted().remove(peer) {
                stream::shut_down(&accepted.stream);
                shared.has_ended.notify_all();
            }
        }
        stays
    });
    for (peer, of) in peers {
        if links.contains_key(&peer) {
            continue;
        }
        let queue = Arc::<Queue>::default();
        let (dials, dialing, to) = (Arc::clone(shared), Arc::clone(&queue), of.1.clone());
        let body = move || run(&dials, &dialing, peer, &to);
        match std::thread::Builder::new().name(format!("bezant-to-{peer}")).spawn(body) {
            Ok(thread) => {
                links.insert(peer, Link { of, queue, thread });
            }
            Err(error) => tracing::error!(node = peer.0, "node {peer} cannot be dialed: {error}"),
        }
    }
}

/// Adopts a newer list of members from the peer and follows it, then decides whether the peer is a member
/// with this disk.
pub(super) fn admit(shared: &Arc<Shared>, met: &Met) -> Result<(), HandshakeError> {
    if shared.learn(met)? {
        follow_directory(shared);
    }
    shared.admit(met)
}

/// Runs until the node stops.
fn run(shared: &Arc<Shared>, queue: &Queue, peer: NodeId, address: &str) {
    let mut wait = WAIT_FIRST;
    let mut refusal_log = RefusalLog::default();
    while !queue.is_stopping() {
        let result = connect(shared, peer, address);
        match &result {
            Err(HandshakeError::Refused(reason)) => shared.refusals().insert(peer, reason.clone()),
            Ok(_) | Err(HandshakeError::Io(_) | HandshakeError::NotYet) => shared.refusals().remove(&peer),
        };
        let pause = match result {
            Ok((stream, dialed)) => {
                wait = WAIT_FIRST;
                tracing::debug!(node = peer.0, address, "connected");
                queue.set_open(true);
                send(queue, stream);
                queue.set_open(false);
                shared.dialed.remove(peer, dialed);
                (shared.events)(PeerEvent::Lost { node: peer });
                WAIT_FIRST
            }
            Err(HandshakeError::Refused(reason)) => {
                refusal_log.log(&format!("no connection with node {peer} at {address}: {reason}"));
                WAIT_REFUSED
            }
            Err(error @ (HandshakeError::Io(_) | HandshakeError::NotYet)) => {
                tracing::debug!(node = peer.0, address, %error, "no connection");
                let pause = wait;
                wait = (wait * 2).min(WAIT_LONGEST);
                pause
            }
        };
        if queue.wait_for_stop(pause) {
            return;
        }
    }
}

/// Logs refusals once a minute, or when they change.
#[derive(Default)]
pub(super) struct RefusalLog {
    reason: String,
    at: Option<Instant>,
}

impl RefusalLog {
    pub(super) fn log(&mut self, reason: &str) {
        let is_due = self.at.is_none_or(|at| at.elapsed() >= LOG_INTERVAL);
        if is_due || self.reason != reason {
            tracing::error!("{reason}");
            reason.clone_into(&mut self.reason);
            self.at = Some(Instant::now());
        }
    }
}

/// Connects, and returns the connection with its number among those that were dialed.
fn connect(
    shared: &Arc<Shared>,
    peer: NodeId,
    address: &str,
) -> Result<(stream::Stream, u64), HandshakeError> {
    let mut stream = stream::dial(address)?;
    let met = handshake::dial(&mut stream::TimedStream::new(&mut stream), &shared.own(), peer, |met| {
        admit(shared, met)
    })?;
    stream.set_read_timeout(None)?;
    let dialed = shared.dialed.insert(peer, met.incarnation);
    shared.announce_met(&met);
    Ok((stream, dialed))
}

/// Sends until the connection breaks, or the node stops.
fn send(queue: &Queue, mut stream: stream::Stream) {
    // The peer sends nothing more on this connection: all that can be read is its end.
    let Ok(watched) = stream.try_clone() else { return };
    let watcher = watch(watched);
    loop {
        let messages = match queue.take(HEARTBEAT_INTERVAL) {
            Taken::Messages(messages) => messages,
            Taken::Nothing => vec![Bytes::new()],
            Taken::Stopping => break,
        };
        if watcher.as_ref().is_none_or(std::thread::JoinHandle::is_finished) {
            break;
        }
        if let Err(error) = frame::write_all(&mut stream, &messages) {
            tracing::debug!(%error, "a connection to a peer broke");
            break;
        }
    }
    stream::shut_down(&stream);
    if let Some(watcher) = watcher {
        drop(watcher.join());
    }
}

/// Notices the end of a connection while nothing is sent on it.
fn watch(mut stream: stream::Stream) -> Option<std::thread::JoinHandle<()>> {
    let body = move || {
        let mut byte = [0; 1];
        loop {
            match stream.read(&mut byte) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                _ => break,
            }
        }
        stream::shut_down(&stream);
    };
    std::thread::Builder::new().name("bezant-watch".to_owned()).spawn(body).ok()
}
