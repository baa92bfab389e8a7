//! The thread that accepts connections of peers, and those that receive on them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::dialer::Told;
use super::handshake::{self, HandshakeError, Met};
use super::incarnation::Heard;
use super::stream::{self, SILENCE_MAX};
use super::{Accepted, PeerEvent, Shared, frame};

/// Connections whose peer has not proved yet who it is.
const STRANGERS_MAX: usize = 64;
/// Those of one address: one machine alone does not take all places.
const STRANGERS_OF_ADDRESS_MAX: usize = 16;

/// Who has not proved yet who it is, by address.
#[derive(Debug, Default)]
struct Strangers(Mutex<BTreeMap<IpAddr, usize>>);

impl Strangers {
    /// A place for one more, if there is one.
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = counts.values().sum();
        let own = counts.get(&address).copied().unwrap_or(0);
        if all >= STRANGERS_MAX || own >= STRANGERS_OF_ADDRESS_MAX {
            return None;
        }
        counts.insert(address, own + 1);
        Some(Place { strangers: Arc::clone(self), address })
    }
}

/// A stranger's place; given back when dropped.
#[derive(Debug)]
struct Place {
    strangers: Arc<Strangers>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.strangers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut own) = counts.entry(self.address) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}
/// The wait after the system gave no connection.
const ERROR_WAIT: Duration = Duration::from_millis(50);

/// Runs until the end.
pub(super) fn run(shared: &Arc<Shared>, listener: &TcpListener) {
    let strangers = Arc::new(Strangers::default());
    let numbers = AtomicU64::new(0);
    let told = Arc::new(Mutex::new(Told::default()));
    loop {
        let accepted = listener.accept();
        if shared.is_stopping.load(Ordering::Acquire) {
            return;
        }
        let Ok((socket, address)) = accepted else {
            // Out of files, say: others may close some.
            std::thread::sleep(ERROR_WAIT);
            continue;
        };
        let Some(place) = strangers.enter(address.ip()) else { continue };
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let (shared, told) = (Arc::clone(shared), Arc::clone(&told));
        let body = move || {
            let heard = Arc::new(Heard::new());
            let met = greet(&shared, (socket, address), number, &heard);
            drop(place);
            match met {
                Ok(Some((met, stream))) => {
                    receive(&shared, &met, stream, &heard);
                    shared.leave(met.node, number);
                }
                Ok(None) => {}
                Err(HandshakeError::NotYet) => {
                    tracing::info!("a node at {} asks to be taken in", address.ip());
                }
                Err(HandshakeError::Refused(reason)) => {
                    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                    told.tell(&format!("a node at {} was refused: {reason}", address.ip()));
                }
                Err(HandshakeError::Io(error)) => tracing::debug!(%address, %error, "no handshake"),
            }
        };
        // Without a thread the connection ends.
        drop(std::thread::Builder::new().name("bezant-from".to_owned()).spawn(body));
    }
}

/// Finds out who dialed; from then on this is the connection of that peer. `None` for a node that only wanted to know
/// who takes part.
fn greet(
    shared: &Arc<Shared>,
    (socket, address): (TcpStream, SocketAddr),
    number: u64,
    heard: &Arc<Heard>,
) -> Result<Option<(Met, stream::Stream)>, HandshakeError> {
    let mut stream = stream::accepted(socket)?;
    let mut watched = Some(stream.try_clone()?);
    let mut entered = None;
    let accepted = handshake::accept(&mut stream::Greeting::new(&mut stream), &shared.own(), |met| {
        shared.admit(met)?;
        if let Some(stream) = watched.take().filter(|_| met.is_member()) {
            let (incarnation, heard) = (met.incarnation, Arc::clone(heard));
            shared.enter(met.node, Accepted { number, stream, incarnation, address, heard })?;
            entered = Some(met.node);
            // Before the peer hears that it was taken: it must not know more of this node than this node of it.
            shared.tell_met(met);
        }
        Ok(())
    });
    let timed = accepted.and_then(|met| {
        stream.set_read_timeout(Some(SILENCE_MAX))?;
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
    heard.note();
    if shared.is_stopping.load(Ordering::Acquire) {
        stream::shut_down(&stream);
    }
    Ok(Some((met, stream)))
}

/// Receives until the connection ends.
fn receive(shared: &Arc<Shared>, met: &Met, mut stream: stream::Stream, heard: &Heard) {
    let from = met.node;
    loop {
        match frame::read(&mut stream, frame::PAYLOAD_SIZE_MAX) {
            Ok(bytes) => {
                heard.note();
                if !bytes.is_empty() {
                    (shared.events)(PeerEvent::Message { from, disk: met.disk, bytes });
                }
            }
            Err(error) => {
                if error.kind() == std::io::ErrorKind::InvalidData {
                    tracing::warn!(node = from.0, "a connection is given up: {error}");
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
        let strangers = Arc::new(Strangers::default());
        let of = |last: u8| IpAddr::from([10, 0, 0, last]);
        let enter = |address| strangers.enter(address);
        let places: Vec<_> = std::iter::from_fn(|| enter(of(1))).collect();
        assert_eq!(places.len(), STRANGERS_OF_ADDRESS_MAX);
        let others: Vec<_> = (2..100).flat_map(|last| std::iter::from_fn(move || enter(of(last)))).collect();
        assert_eq!(places.len() + others.len(), STRANGERS_MAX);
        drop(places);
        assert!(enter(of(1)).is_some(), "places are given back");
        drop(others);
        assert!(
            strangers.0.lock().unwrap().is_empty(),
            "nothing stays of those who came and went, refused ones neither"
        );
    }
}
