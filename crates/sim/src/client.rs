//! Clients: they choose requests and nodes, and handle the answers.
//!
//! Every third client keeps a session: it numbers its requests, and each request names the reply to the
//! previous one.

use bezant_codec::Reader;
use bezant_ledger::{Event, Operation, SessionAnswer, SessionHead, SessionOutcome, ToCommand};
use bezant_replica::{Consistency, Ticket};
use bezant_rsm::{Command, Context, SessionRequest};
use bezant_types::{ClientId, LogIndex, NodeId, SessionNumber, TransferId};

use crate::random::Random;
use crate::workload::{Workload, first_accounts};

/// How long a client waits for an entry that it has seen before, in ns.
const SESSION_TIMEOUT: u64 = 2_000_000_000;

/// A request of a client.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// A write.
    Write(Command),
    /// A read of all accounts.
    Read(Consistency),
    /// A read of transfers from the history, by id.
    ReadHistory(Consistency, Vec<TransferId>),
}

/// A request under way.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) wanted: Wanted,
    /// When the client first sent it, in ns.
    pub(crate) since: u64,
    /// The ticket of the last attempt.
    pub(crate) ticket: Ticket,
    /// The node of the last attempt: the next attempt asks another.
    pub(crate) asked: Option<NodeId>,
}

/// A write that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// When the client first sent it, in ns.
    pub(crate) since: u64,
    /// When it was answered, in ns.
    pub(crate) at: u64,
}

/// An open session.
#[derive(Clone, Copy, Debug)]
struct Session {
    number: SessionNumber,
    /// The number of the last request.
    request: u32,
    /// The context of the last reply.
    context: Context,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    number: u64,
    random: Random,
    pub(crate) workload: Workload,
    pub(crate) call: Option<Call>,
    /// The last entry that the client has seen.
    pub(crate) seen: LogIndex,
    keeps_session: bool,
    session: Option<Session>,
    /// The number of answered calls.
    pub(crate) done: u64,
    /// The answered writes.
    pub(crate) written: Vec<Written>,
    /// Numbers the planned wake-ups: only the newest counts.
    pub(crate) plan: u64,
}

impl Client {
    pub(crate) const fn new(number: u64, seed: u64) -> Self {
        Self {
            number,
            random: Random::new(seed),
            workload: Workload::new(number),
            call: None,
            seen: LogIndex(0),
            keeps_session: number % 3 == 1,
            session: None,
            done: 0,
            written: Vec::new(),
            plan: 0,
        }
    }

    /// The next request; `now` is the world's time, and `movements` the number of movements of the ledger.
    pub(crate) fn next_request(&mut self, now: u64, movements: u64) -> Wanted {
        if self.done == 0 {
            return Wanted::Write(first_command());
        }
        match self.random.below(100) {
            0..60 if self.keeps_session => Wanted::Write(self.with_session()),
            0..60 => Wanted::Write(self.workload.write(&mut self.random, now, movements)),
            60..80 => Wanted::Read(Consistency::Linearizable),
            80..87 => Wanted::Read(Consistency::AtLeast(self.seen)),
            87..91 => Wanted::Read(Consistency::Stale),
            91..95 => Wanted::ReadHistory(Consistency::Linearizable, self.workload.known_ids()),
            95..99 => Wanted::ReadHistory(Consistency::AtLeast(self.seen), self.workload.known_ids()),
            _ => Wanted::ReadHistory(Consistency::Stale, self.workload.known_ids()),
        }
    }

    /// The next request of the session; without a session the request that opens one.
    fn with_session(&mut self) -> Command {
        let client = ClientId(u128::from(self.number) + 1);
        let Some(session) = self.session else {
            let request = SessionRequest { client, release: 1, checksum: 1, ..SessionRequest::default() };
            return SessionHead { request, ..SessionHead::default() }.open();
        };
        let request = SessionRequest {
            client,
            session: session.number,
            number: session.request + 1,
            release: 1,
            checksum: u128::from(self.random.next()) + 2,
            parent: session.context,
        };
        let operation = Operation::CreateTransfers as u16;
        let head = SessionHead { request, view: 0, batches: 1, operation };
        let events = Event::write_all(&self.workload.transfers(&mut self.random));
        SessionHead::create([&head.to_bytes()[..], &events].concat().into()).expect("invariant: one batch")
    }

    /// A disk that went back may have lost entries that the client has seen. Then a read that must include
    /// them is never answered. After [`SESSION_TIMEOUT`] the client gives the read up and starts without seen
    /// entries, as a user would.
    pub(crate) fn drop_lost_session(&mut self, now: u64) {
        let waits_for_seen = |call: &mut Call| {
            let is_session = matches!(
                call.wanted,
                Wanted::Read(Consistency::AtLeast(_)) | Wanted::ReadHistory(Consistency::AtLeast(_), _)
            );
            is_session && call.since + SESSION_TIMEOUT <= now
        };
        if self.call.take_if(waits_for_seen).is_some() {
            self.seen = LogIndex(0);
        }
    }

    /// Handles the results of the write that the client waits for.
    pub(crate) fn handle_results(&mut self, command: &Command, results: &[u8], at: u64) {
        self.written.extend(self.call.as_ref().map(|call| Written { since: call.since, at }));
        let mut reader = Reader::new(results);
        let is_open = command.operation == Operation::OpenSession as u16;
        if !is_open && command.operation != Operation::SessionCreate as u16 {
            return;
        }
        let Ok(answer) = SessionAnswer::from_reader(&mut reader) else { return };
        let number = SessionNumber(answer.index.0);
        self.session = match (answer.outcome, self.session) {
            (SessionOutcome::Reply, None) => Some(Session { number, request: 0, context: answer.context() }),
            (SessionOutcome::Reply, Some(session)) => {
                Some(Session { request: session.request + 1, context: answer.context(), ..session })
            }
            // The session was evicted, or the answer does not fit: the client opens a new one.
            _ => None,
        };
    }
}

fn first_command() -> Command {
    let body = Event::write_all(&first_accounts());
    Operation::CreateAccounts.command(body).expect("invariant: whole events")
}
