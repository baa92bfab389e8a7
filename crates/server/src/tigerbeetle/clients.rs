//! Who is being answered: so that a request which is sent again, while it is worked on or just after, costs no work.
//!
//! A client sends a request again when it has heard nothing for a while, on any of its connections. The log
//! would find the retry in any case; here it is found before it is put there. A retry waits for
//! the same outcome and is answered on the connection by which it came.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bezant_types::ClientId;
use tokio::sync::watch;

use super::outbound::Outcome;

/// The requests that clients last sent.
#[derive(Debug, Default)]
pub(super) struct Clients {
    last: Mutex<HashMap<ClientId, Last>>,
}

/// A client's last request.
#[derive(Debug)]
struct Last {
    checksum: u128,
    /// By which it came first: the entry goes with it.
    connection: u64,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// Whose turn it is.
#[derive(Debug)]
pub(super) enum Turn {
    /// The request is new: do it and tell.
    New(watch::Sender<Option<Outcome>>),
    /// It is being done, or was: wait for the outcome.
    Retry(watch::Receiver<Option<Outcome>>),
}

impl Clients {
    /// Says whether a request is a retry. Where nobody is left who could tell its outcome, it counts as new.
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

    /// Forgets a client that was last heard by that connection.
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
        let Turn::New(tell) = clients.enter(CLIENT, 10, 1) else { panic!("it is new") };
        let Turn::Retry(outcome) = clients.enter(CLIENT, 10, 2) else { panic!("it is sent again") };
        tell.send_replace(Some(Outcome::Silence));
        assert!(matches!(*outcome.borrow(), Some(Outcome::Silence)));
        drop(tell);
        assert!(matches!(clients.enter(CLIENT, 10, 2), Turn::Retry(_)), "the outcome is still known");
        assert!(matches!(clients.enter(CLIENT, 11, 2), Turn::New(_)), "another request");
    }

    #[test]
    fn what_was_given_up_is_begun_anew() {
        let clients = Clients::default();
        drop(clients.enter(CLIENT, 10, 1));
        assert!(matches!(clients.enter(CLIENT, 10, 1), Turn::New(_)));
    }

    #[test]
    fn a_connection_takes_its_client_along_and_no_other() {
        let clients = Clients::default();
        let _turn = clients.enter(CLIENT, 10, 1);
        clients.leave(CLIENT, 2);
        assert!(matches!(clients.enter(CLIENT, 10, 3), Turn::Retry(_)));
        clients.leave(CLIENT, 1);
        assert!(matches!(clients.enter(CLIENT, 10, 3), Turn::New(_)));
    }
}
