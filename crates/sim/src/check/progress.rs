//! Liveness: once the faults have ended, every client is answered within a bound.

use crate::client::Client;

/// Looks at the clients when the bound has passed; `done` is what each had been answered when the faults ended.
pub(crate) fn everybody_was_answered(clients: &[Client], done: &[u64]) -> Result<(), String> {
    for (number, (client, before)) in clients.iter().zip(done).enumerate() {
        if client.done <= *before {
            return Err(format!("client {number} had no answer since the faults ended"));
        }
    }
    Ok(())
}
