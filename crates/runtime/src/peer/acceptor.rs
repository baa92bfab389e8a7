//! The thread that accepts connections of peers, and the threads that receive on them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::dialer::{self, RefusalLog};
use super::frame;
use super::handshake::{self, HandshakeError, Met};
use super::incarnation::LastReceived;
use super::shared::{Accepted, PeerEvent, Shared};
use super::stream::{self, IDLE_MAX};

/// The limit of connections whose peer is not authenticated yet.
const UNAUTHENTICATED_MAX: usize = 64;
/// The limit of those from one address, so that one machine cannot take all places.
const UNAUTHENTICATED_OF_ADDRESS_MAX: usize = 16;

/// The number of unauthenticated connections, by address.
#[derive(Debug, Default)]
struct Unauthenticated(Mutex<BTreeMap<IpAddr, usize>>);

impl Unauthenticated {
    /// Takes a place for one more connection, if there is one.
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = counts.values().sum();
        let own = counts.get(&address).copied().unwrap_or(0);
        if all >= UNAUTHENTICATED_MAX || own >= UNAUTHENTICATED_OF_ADDRESS_MAX {
            return None;
        }
        counts.insert(address, own + 1);
        Some(Place { unauthenticated: Arc::clone(self), address })
    }
}

/// The place of an unauthenticated connection; given back when dropped.
#[derive(Debug)]
struct Place {
    unauthenticated: Arc<Unauthenticated>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.unauthenticated.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut own) = counts.entry(self.address) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}
/// The wait after `accept` has failed.
const ERROR_WAIT: Duration = Duration::from_millis(50);

/// Runs until the node stops.
pub(super) fn run(shared: &Arc<Shared>, listener: &TcpListener) {
    let unauthenticated = Arc::new(Unauthenticated::default());
    let numbers = AtomicU64::new(0);
    let refusal_log = Arc::new(Mutex::new(RefusalLog::default()));
    loop {
        let accepted = listener.accept();
        if shared.is_stopping.load(Ordering::Acquire) {
            return;
        }
        let Ok((socket, address)) = accepted else {
            // The process may be out of file descriptors; the wait lets connections close.
            std::thread::sleep(ERROR_WAIT);
            continue;
        };
        let Some(place) = unauthenticated.enter(address.ip()) else { continue };
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let (shared, refusal_log) = (Arc::clone(shared), Arc::clone(&refusal_log));
        let body = move || {
            let received = Arc::new(LastReceived::new());
            let met = greet(&shared, (socket, address), number, &received);
            drop(place);
            match met {
                Ok(Some((met, stream))) => {
                    receive(&shared, &met, stream, &received);
                    shared.leave(met.node, number);
                }
                Ok(None) => {}
                Err(HandshakeError::NotYet) => {
                    tracing::info!("a node at {} asks for admission", address.ip());
                }
                Err(HandshakeError::Refused(reason)) => {
                    let mut refusal_log = refusal_log.lock().unwrap_or_else(PoisonError::into_inner);
                    refusal_log.log(&format!("a node at {} was refused: {reason}", address.ip()));
                }
                Err(HandshakeError::Io(error)) => tracing::debug!(%address, %error, "no handshake"),
            }
        };
        // If no thread can be started, the connection is closed.
        drop(std::thread::Builder::new().name("bezant-from".to_owned()).spawn(body));
    }
}

/// Authenticates the dialer; from then on this is the connection of that peer. `None` for a node that only
/// asked for the list of members.
fn greet(
    shared: &Arc<Shared>,
    (socket, address): (TcpStream, SocketAddr),
    number: u64,
    received: &Arc<LastReceived>,
) -> Result<Option<(Met, stream::Stream)>, HandshakeError> {
    let mut stream = stream::accepted(socket)?;
    let mut watched = Some(stream.try_clone()?);
    let mut entered = None;
    let accepted = handshake::accept(&mut stream::TimedStream::new(&mut stream), &shared.own(), |met| {
        dialer::admit(shared, met)?;
        if let Some(stream) = watched.take().filter(|_| met.is_member()) {
            let (incarnation, received) = (met.incarnation, Arc::clone(received));
            shared.enter(met.node, Accepted { number, stream, incarnation, address, received })?;
            entered = Some(met.node);
            // Announced before the peer receives the acceptance: the peer must not have met this node before
            // this node has met the peer.
            shared.announce_met(met);
        }
        Ok(())
    });
    let timed = accepted.and_then(|met| {
        stream.set_read_timeout(Some(IDLE_MAX))?;
        Ok(met)
    });
    let met = match (timed, entered) {
        (Err(error), Some(node)) => {
            shared.leave(node, number);
            return Err(error);
        }
        (met, _) => met?,
    };
    if !met.is_member() {
        return Ok(None);
    }
    received.note();
    if shared.is_stopping.load(Ordering::Acquire) {
        stream::shut_down(&stream);
    }
    Ok(Some((met, stream)))
}

/// Receives until the connection ends.
fn receive(shared: &Arc<Shared>, met: &Met, mut stream: stream::Stream, received: &LastReceived) {
    let from = met.node;
    loop {
        match frame::read(&mut stream, frame::PAYLOAD_SIZE_MAX) {
            Ok(bytes) => {
                received.note();
                if !bytes.is_empty() {
                    (shared.events)(PeerEvent::Message { from, disk: met.disk, bytes });
                }
            }
            Err(error) => {
                if error.kind() == std::io::ErrorKind::InvalidData {
                    tracing::warn!(node = from.0, "a connection is closed: {error}");
                }
                break;
            }
        }
    }
    stream::shut_down(&stream);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_does_not_take_all_places() {
        let unauthenticated = Arc::new(Unauthenticated::default());
        let of = |last: u8| IpAddr::from([10, 0, 0, last]);
        let enter = |address| unauthenticated.enter(address);
        let places: Vec<_> = std::iter::from_fn(|| enter(of(1))).collect();
        assert_eq!(places.len(), UNAUTHENTICATED_OF_ADDRESS_MAX);
        let others: Vec<_> = (2..100).flat_map(|last| std::iter::from_fn(move || enter(of(last)))).collect();
        assert_eq!(places.len() + others.len(), UNAUTHENTICATED_MAX);
        drop(places);
        assert!(enter(of(1)).is_some(), "places are given back");
        drop(others);
        assert!(
            unauthenticated.0.lock().unwrap().is_empty(),
            "no count stays after accepted or refused connections"
        );
    }
}
