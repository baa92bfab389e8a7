//! How a node on an empty folder joins a running cluster: it asks the members for the membership, until the
//! node is a member.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bezant_consensus::{EngineKind, Members};

use super::dialer::{RefusalLog, WAIT_REFUSED};
use super::handshake::{self, ANY_NODE, HandshakeError, Own};
use super::stream;

/// The wait after no member answered.
const WAIT_UNREACHABLE: Duration = Duration::from_millis(500);

/// The wait after a member has noted the request for admission.
const WAIT_ASKED: Duration = Duration::from_millis(200);

/// The interval at which a wait checks whether to give up.
const SLICE: Duration = Duration::from_millis(50);

/// Asks the members at these addresses in turn, until one of them returns a list that contains this node.
/// Returns that list and the cluster's engine. Blocks until then, and logs what it waits for. When `give_up`
/// is set, it returns what it waited for as an error.
pub(crate) fn join(
    own: &Own,
    addresses: &[String],
    give_up: &AtomicBool,
) -> Result<(Members, EngineKind), String> {
    let (mut refusal_log, mut reason) = (RefusalLog::default(), String::new());
    loop {
        let mut pause = WAIT_UNREACHABLE;
        for address in addresses {
            match ask(own, address) {
                Ok((members, Some(engine))) if members.get(own.node).is_some() => {
                    return Ok((members, engine));
                }
                Ok(_) => {}
                Err(HandshakeError::Refused(text)) => {
                    reason = format!("the node at {address} answered: {text}");
                    refusal_log.log(&format!("waits for the cluster: {reason}"));
                    pause = WAIT_REFUSED;
                }
                Err(error @ HandshakeError::NotYet) => {
                    reason = error.to_string();
                    pause = WAIT_ASKED;
                }
                Err(HandshakeError::Io(error)) => {
                    reason = format!("{address} does not answer: {error}");
                    refusal_log.log(&format!("waits for the cluster: {reason}"));
                }
            }
        }
        while !pause.is_zero() && !give_up.load(Ordering::Acquire) {
            let slice = pause.min(SLICE);
            std::thread::sleep(slice);
            pause -= slice;
        }
        if give_up.load(Ordering::Acquire) {
            return Err(reason);
        }
    }
}

fn ask(own: &Own, address: &str) -> Result<(Members, Option<EngineKind>), HandshakeError> {
    let mut stream = stream::dial(address)?;
    let met = handshake::dial(&mut stream::TimedStream::new(&mut stream), own, ANY_NODE, |_| Ok(()))?;
    stream::shut_down(&stream);
    Ok((met.members, met.engine))
}
