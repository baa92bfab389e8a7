//! The last request of each client, so that a retry which arrives while the request is processed, or just
//! after, costs no work.
//!
//! A client repeats a request when it has received no reply for a while, on any of its connections. The log
//! would detect the retry in any case; here it is detected before it reaches the log. A retry waits for the
//! same outcome, and is answered on the connection that it came on.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bezant_types::ClientId;
use tokio::sync::watch;

use super::outbound::Outcome;

/// The last request of every client.
#[derive(Debug, Default)]
pub(super) struct Clients {
    last: Mutex<HashMap<ClientId, Last>>,
}

/// A client's last request.
#[derive(Debug)]
struct Last {
    checksum: u128,
    /// The connection that the request came on first; the entry is removed when it ends.
    connection: u64,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// What the caller must do with a request.
#[derive(Debug)]
pub(super) enum Turn {
    /// The request is new: do it, and send its outcome.
    New(watch::Sender<Option<Outcome>>),
    /// The request is being done or was done: wait for the outcome.
    Retry(watch::Receiver<Option<Outcome>>),
}

impl Clients {
    /// Checks whether a request is a retry. A retry counts as new when the task that worked on it ended
    /// without an outcome.
    pub(super) fn enter(&self, client: ClientId, checksum: u128, connection: u64) -> Turn {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last.get(&client).filter(|known| known.checksum == checksum) {
            let is_known = known.outcome.borrow().is_some();
            if is_known || known.outcome.has_changed().is_ok() {
                return Turn::Retry(known.outcome.clone());
            }
        }
        let (sender, outcome) = watch::channel(None);
        last.insert(client, Last { checksum, connection, outcome });
        Turn::New(sender)
    }

    /// Removes a client's entry if its last request came on that connection.
    pub(super) fn leave(&self, client: ClientId, connection: u64) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.get(&client).is_some_and(|known| known.connection == connection) {
            last.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: ClientId = ClientId(1);

    #[test]
    fn a_retry_waits_for_the_outcome_of_the_first_try() {
        let clients = Clients::default();
        let Turn::New(sender) = clients.enter(CLIENT, 10, 1) else { panic!("it is new") };
        let Turn::Retry(outcome) = clients.enter(CLIENT, 10, 2) else { panic!("it is sent again") };
        sender.send_replace(Some(Outcome::Unanswered));
        assert!(matches!(*outcome.borrow(), Some(Outcome::Unanswered)));
        drop(sender);
        assert!(matches!(clients.enter(CLIENT, 10, 2), Turn::Retry(_)), "the outcome is still known");
        assert!(matches!(clients.enter(CLIENT, 11, 2), Turn::New(_)), "another request");
    }

    #[test]
    fn an_abandoned_request_counts_as_new() {
        let clients = Clients::default();
        drop(clients.enter(CLIENT, 10, 1));
        assert!(matches!(clients.enter(CLIENT, 10, 1), Turn::New(_)));
    }

    #[test]
    fn a_connection_removes_only_its_own_client() {
        let clients = Clients::default();
        let _turn = clients.enter(CLIENT, 10, 1);
        clients.leave(CLIENT, 2);
        assert!(matches!(clients.enter(CLIENT, 10, 3), Turn::Retry(_)));
        clients.leave(CLIENT, 1);
        assert!(matches!(clients.enter(CLIENT, 10, 3), Turn::New(_)));
    }
}
