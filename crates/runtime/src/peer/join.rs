//! How a node on an empty folder comes to a cluster that works already: it asks the members who takes part, until
//! they know it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bezant_consensus::{EngineKind, Members};

use super::dialer::{Told, WAIT_REFUSED};
use super::handshake::{self, ANYBODY, HandshakeError, Own};
use super::stream;

/// The wait after nobody answered.
const WAIT_UNREACHABLE: Duration = Duration::from_millis(500);

/// The wait of a node that asks to be taken in.
const WAIT_ASKED: Duration = Duration::from_millis(200);

/// How often it looks whether it is to give up.
const SLICE: Duration = Duration::from_millis(50);

/// Asks the members at these addresses, one after the other, until one of them says who takes part, and this node is
/// among them; also what they agree with. Blocks for as long as that takes; what it waits for is told. `Err` says what
/// it waited for when it is to give up.
pub(crate) fn join(
    own: &Own,
    addresses: &[String],
    gives_up: &AtomicBool,
) -> Result<(Members, EngineKind), String> {
    let (mut told, mut reason) = (Told::default(), String::new());
    loop {
        let mut pause = WAIT_UNREACHABLE;
        for address in addresses {
            match ask(own, address) {
                Ok((members, Some(engine))) if members.get(own.node).is_some() => {
                    return Ok((members, engine));
                }
                Ok(_) => {}
                Err(HandshakeError::Refused(word)) => {
                    reason = format!("the node at {address} says: {word}");
                    told.tell(&format!("waits for the cluster: {reason}"));
                    pause = WAIT_REFUSED;
                }
                Err(error @ HandshakeError::NotYet) => {
                    reason = error.to_string();
                    pause = WAIT_ASKED;
                }
                Err(HandshakeError::Io(error)) => {
                    reason = format!("{address} does not answer: {error}");
                    told.tell(&format!("waits for the cluster: {reason}"));
                }
            }
        }
        while !pause.is_zero() && !gives_up.load(Ordering::Acquire) {
            let slice = pause.min(SLICE);
            std::thread::sleep(slice);
            pause -= slice;
        }
        if gives_up.load(Ordering::Acquire) {
            return Err(reason);
        }
    }
}

fn ask(own: &Own, address: &str) -> Result<(Members, Option<EngineKind>), HandshakeError> {
    let mut stream = stream::dial(address)?;
    let met = handshake::dial(&mut stream::Greeting::new(&mut stream), own, ANYBODY, |_| Ok(()))?;
    stream::shut_down(&stream);
    Ok((met.members, met.engine))
}
