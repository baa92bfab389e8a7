//! Liveness: once the faults have ended, every client goes on writing, and to the end.

use crate::client::Client;

/// So many writes of each client at least must be done within the bound.
const WRITES_MIN: usize = 5;

/// Looks at the clients when the bound has passed. Of what a client wished for after `from`, the end of the faults,
/// several writes must be done, one of which it wished for after `late`. A read proves nothing: a stale one is answered by a
/// node that is alone in the world.
pub(crate) fn everybody_goes_on(clients: &[Client], from: u64, late: u64) -> Result<(), String> {
    for (number, client) in (1..).zip(clients) {
        let count = client.written.iter().filter(|since| **since >= from).count();
        if count < WRITES_MIN {
            return Err(format!("client {number} had {count} writes done since the faults ended"));
        }
        if client.written.last().is_none_or(|since| *since < late) {
            return Err(format!(
                "client {number} had no write done in the second half of the time since the faults ended"
            ));
        }
    }
    Ok(())
}
