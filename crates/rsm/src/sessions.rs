//! Sessions: a client's request is executed once, and a retry gets the reply of the first attempt.
//!
//! A client opens a session and numbers its requests 1, 2, 3 and so on. It has one request in flight at a
//! time, and each request names the *context* of the previous reply. For each session, the table stores the
//! last request and the whole reply to it, as opaque bytes. The table is part of the replicated state and of
//! every checkpoint: every replica admits, answers and evicts in the same way. So a retry after a restart, or
//! at another leader, gets the same bytes.
//!
//! What always holds: a request is admitted at most once. There are at most [`SESSIONS_MAX`] sessions; above
//! that the least recently used session is evicted. Their replies have at most [`SESSION_BYTES_MAX`] bytes;
//! above that the least recently used session with a large reply is evicted, so that clients that read large
//! pages do not cost other clients their sessions.
//!
//! Source: "Viewstamped Replication Revisited" (Liskov, Cowling 2012), section 4.1, the client table.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bezant_types::limits::{SESSION_BYTES_MAX, SESSIONS_MAX};
use bezant_types::{ClientId, LogIndex, Nanos, SessionNumber};
use bytes::Bytes;

/// Names a reply: the next request of the session must send it back. 0 means "no reply yet".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Context(pub u128);

impl Context {
    /// The context of the reply to a request that was executed at that index and time. It is unique in the
    /// session.
    pub const fn new(index: LogIndex, time: Nanos) -> Self {
        Self((index.0 as u128) << 64 | time.0 as u128)
    }
}

/// The session header of a client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SessionRequest {
    /// The client that sent the request.
    pub client: ClientId,
    /// The client's session; 0 to open one.
    pub session: SessionNumber,
    /// Counts the session's requests from 1 on; 0 opens the session.
    pub number: u32,
    /// The client's version; the same for a whole session.
    pub release: u32,
    /// Checksum of the request. A retry has the same checksum; a different request with the same number does
    /// not.
    pub checksum: u128,
    /// The context of the last reply that the client received.
    pub parent: Context,
}

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is new: execute it, then [`complete`](Sessions::complete) it.
    Execute,
    /// It was executed before, and this is its reply.
    Reply(Bytes),
    /// It is old, or the client violated the protocol: do nothing and send no answer.
    Ignore,
    /// The session does not exist, or was evicted: answer that the client is evicted.
    NoSession,
    /// The client has opened a later session: answer that the client is evicted.
    SessionTooLow,
    /// The client has changed its version within the session: answer that the client is evicted.
    ReleaseMismatch,
}

/// One client's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The client that opened it.
    pub client: ClientId,
    /// Greater than the number of every earlier session of this client.
    pub number: SessionNumber,
    /// The client's version.
    pub release: u32,
    /// Number of the last request that was executed; 0 = only the request that opened the session.
    pub request: u32,
    /// Checksum of that request.
    pub checksum: u128,
    /// Context of its reply.
    pub context: Context,
    /// The reply to that request.
    pub reply: Bytes,
}

/// All sessions, in the order in which they were last used.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    /// Sessions by their last use, a counter that only increases.
    by_use: BTreeMap<u64, Session>,
    uses: BTreeMap<ClientId, u64>,
    next_use: u64,
    reply_bytes: usize,
}

impl Sessions {
    /// Number of sessions.
    pub fn len(&self) -> usize {
        self.by_use.len()
    }

    /// True when there is no session.
    pub fn is_empty(&self) -> bool {
        self.by_use.is_empty()
    }

    /// All sessions, the least recently used first. [`restore`](Self::restore) expects this order.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.by_use.values()
    }

    /// Makes a table from sessions in the order of [`iter`](Self::iter). `None` when a client has two
    /// sessions.
    pub fn restore(sessions: Vec<Session>) -> Option<Self> {
        let mut table = Self::default();
        for session in sessions {
            if table.uses.contains_key(&session.client) {
                return None;
            }
            table.insert(session);
        }
        Some(table)
    }

    /// Returns what to do with a request; changes nothing.
    pub fn admit(&self, request: &SessionRequest) -> Admission {
        let Some(session) = self.uses.get(&request.client).and_then(|at| self.by_use.get(at)) else {
            return if request.number == 0 { Admission::Execute } else { Admission::NoSession };
        };
        let is_retry = request.number == session.request && request.checksum == session.checksum;
        if request.number == 0 {
            // Only the exact request that opened the session gets its reply again.
            return if is_retry { Admission::Reply(session.reply.clone()) } else { Admission::Ignore };
        }
        if request.session < session.number {
            return Admission::SessionTooLow;
        }
        if request.session > session.number {
            return Admission::Ignore;
        }
        if request.release != session.release {
            return Admission::ReleaseMismatch;
        }
        if is_retry {
            return Admission::Reply(session.reply.clone());
        }
        // Numbers may be skipped: a read that is answered without the log has a number and changes nothing
        // here. The parent proves that the client has received the last reply of this table.
        let is_next = request.number > session.request && request.parent == session.context;
        if is_next { Admission::Execute } else { Admission::Ignore }
    }

    /// Stores the reply to a request that was [admitted](Admission::Execute) and executed at `index`, and
    /// evicts sessions above the limits. A request with number 0 opens a session with the index as its
    /// number.
    ///
    /// # Panics
    /// When the request was not admitted.
    pub fn complete(&mut self, request: &SessionRequest, index: LogIndex, context: Context, reply: Bytes) {
        assert!(self.admit(request) == Admission::Execute, "only an admitted request is completed");
        let before = self.remove(request.client);
        let number = before.map_or(SessionNumber(index.0), |session| session.number);
        self.insert(Session {
            client: request.client,
            number,
            release: request.release,
            request: request.number,
            checksum: request.checksum,
            context,
            reply,
        });
        self.evict();
    }

    fn insert(&mut self, session: Session) {
        self.reply_bytes += session.reply.len();
        self.uses.insert(session.client, self.next_use);
        self.by_use.insert(self.next_use, session);
        self.next_use += 1;
    }

    fn remove(&mut self, client: ClientId) -> Option<Session> {
        let at = self.uses.remove(&client)?;
        let session = self.by_use.remove(&at)?;
        self.reply_bytes -= session.reply.len();
        Some(session)
    }

    fn evict(&mut self) {
        if self.len() > SESSIONS_MAX {
            let oldest = self.iter().next().map(|session| session.client);
            oldest.and_then(|client| self.remove(client));
        }
        while self.reply_bytes > SESSION_BYTES_MAX {
            let large = self.iter().find(|session| session.reply.len() > LARGE_REPLY_SIZE);
            let Some(client) = large.map(|session| session.client) else { return };
            self.remove(client);
        }
    }
}

/// A reply above this size counts as large. Such replies are pages of queries.
const LARGE_REPLY_SIZE: usize = 64 << 10;

const _: () = assert!(
    SESSIONS_MAX * LARGE_REPLY_SIZE < SESSION_BYTES_MAX,
    "small replies alone never reach the limit of bytes"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn open(client: u128) -> SessionRequest {
        SessionRequest {
            client: ClientId(client),
            release: 17,
            checksum: client ^ 0xabcd,
            ..Default::default()
        }
    }

    fn reply(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    /// A table in which client 1 has session 5 and has received the reply "one" to its request 1.
    fn table() -> (Sessions, SessionRequest) {
        let mut sessions = Sessions::default();
        let first = open(1);
        assert_eq!(sessions.admit(&first), Admission::Execute);
        sessions.complete(&first, LogIndex(5), Context(50), reply("opened"));
        assert_eq!(sessions.admit(&first), Admission::Reply(reply("opened")));
        let request = SessionRequest {
            session: SessionNumber(5),
            number: 1,
            checksum: 11,
            parent: Context(50),
            ..first
        };
        assert_eq!(sessions.admit(&request), Admission::Execute);
        sessions.complete(&request, LogIndex(6), Context(60), reply("one"));
        (sessions, request)
    }

    #[test]
    fn a_retry_gets_the_reply_and_is_not_executed_again() {
        let (sessions, request) = table();
        assert_eq!(sessions.admit(&request), Admission::Reply(reply("one")));
        let other = SessionRequest { checksum: 12, ..request };
        assert_eq!(sessions.admit(&other), Admission::Ignore, "the same number with another content");
        assert_eq!(sessions.admit(&open(1)), Admission::Ignore, "the session was opened long ago");
        let next = SessionRequest { number: 2, checksum: 22, parent: Context(60), ..request };
        assert_eq!(sessions.admit(&next), Admission::Execute);
        let blind = SessionRequest { parent: Context(50), ..next };
        assert_eq!(sessions.admit(&blind), Admission::Ignore, "the client did not receive the last reply");
        let later = SessionRequest { number: 9, ..next };
        assert_eq!(
            sessions.admit(&later),
            Admission::Execute,
            "reads without the log took the numbers between"
        );
    }

    #[test]
    fn a_client_without_its_session_is_evicted() {
        let (sessions, request) = table();
        let next = SessionRequest { number: 2, checksum: 22, parent: Context(60), ..request };
        let cases = [
            (SessionRequest { client: ClientId(2), ..next }, Admission::NoSession),
            (SessionRequest { session: SessionNumber(4), ..next }, Admission::SessionTooLow),
            (SessionRequest { session: SessionNumber(6), ..next }, Admission::Ignore),
            (SessionRequest { release: 18, ..next }, Admission::ReleaseMismatch),
        ];
        for (request, admission) in cases {
            assert_eq!(sessions.admit(&request), admission, "{request:?}");
        }
    }

    #[test]
    fn the_least_recently_used_session_is_evicted() {
        let (mut sessions, request) = table();
        for client in 2..=SESSIONS_MAX as u128 {
            sessions.complete(&open(client), LogIndex(100), Context(1), reply("x"));
        }
        let next = SessionRequest { number: 2, checksum: 22, parent: Context(60), ..request };
        sessions.complete(&next, LogIndex(101), Context(70), reply("two"));
        sessions.complete(&open(9999), LogIndex(102), Context(1), reply("x"));
        assert_eq!(sessions.len(), SESSIONS_MAX);
        let of_2 = SessionRequest { session: SessionNumber(100), number: 1, ..open(2) };
        assert_eq!(sessions.admit(&of_2), Admission::NoSession, "client 2 was least recently used");
        assert_eq!(sessions.admit(&next), Admission::Reply(reply("two")), "client 1 was used since");
    }

    #[test]
    fn large_replies_evict_only_older_large_replies() {
        let mut sessions = Sessions::default();
        sessions.complete(&open(1), LogIndex(1), Context(1), reply("small"));
        let large = Bytes::from(alloc::vec![0; SESSION_BYTES_MAX / 2 - 10]);
        for client in 2..=4 {
            sessions.complete(&open(client), LogIndex(1), Context(1), large.clone());
        }
        let clients: Vec<ClientId> = sessions.iter().map(|session| session.client).collect();
        assert_eq!(clients, [ClientId(1), ClientId(3), ClientId(4)]);
    }

    #[test]
    fn sessions_are_restored_in_their_order() {
        let (mut sessions, _) = table();
        sessions.complete(&open(2), LogIndex(9), Context(1), reply("x"));
        let all: Vec<Session> = sessions.iter().cloned().collect();
        let restored = Sessions::restore(all.clone()).unwrap();
        assert_eq!(restored.iter().cloned().collect::<Vec<_>>(), all);
        assert_eq!(restored.reply_bytes, sessions.reply_bytes);
        let twice = alloc::vec![all[0].clone(), all[0].clone()];
        assert!(Sessions::restore(twice).is_none());
    }
}
