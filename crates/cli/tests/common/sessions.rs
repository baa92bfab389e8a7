//! Readers without linearizability, during faults: a session that asks another node every time, and a reader
//! of stale state.
//!
//! An answer names the log entry that it shows, so all answers are compared with one history. Two answers at
//! the same entry show the same, at any node and with any call, and a later entry shows no less. A session
//! never goes backwards: neither its entry, nor the books, an account or the rows of the history. No reader
//! finds a payment that was not begun.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bezant_api::token::{EventPosition, LEDGER_GROUP, SessionToken};
use bezant_api::v1;
use bezant_api::v1::ledger_client::LedgerClient;
use bezant_types::{LogIndex, MovementNumber};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use super::load::{COUNTER, Known};

/// The timeout of one call: a node that is suspended is left after that time.
const CALL_TIMEOUT: Duration = Duration::from_millis(300);

/// The content of an answer: the count of payments, at the log entry `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    index: u64,
    payments: u64,
}

/// The call with which a reader asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Books,
    Account,
    /// The end of the history.
    Rows,
}

const CALLS: [Call; 3] = [Call::Books, Call::Rows, Call::Account];

/// The answers of all readers.
#[derive(Default)]
pub(crate) struct Seen {
    /// Payments by log entry.
    at: BTreeMap<u64, u64>,
    /// The count of answers of each kind.
    pub(crate) session_reads: u64,
    pub(crate) stale_reads: u64,
}

impl Seen {
    /// An error if the answer contradicts earlier answers.
    fn check(&self, shown: Shown) -> Result<(), String> {
        let Shown { index, payments } = shown;
        if let Some((at, known)) = self.at.range(..=index).next_back()
            && (*known > payments || (*at == index && *known != payments))
        {
            return Err(format!("{payments} payments show at entry {index}, and {known} showed at {at}"));
        }
        if let Some((at, known)) = self.at.range(index..).next()
            && *known < payments
        {
            return Err(format!(
                "{payments} payments show at entry {index}, and only {known} at the later {at}"
            ));
        }
        Ok(())
    }
}

/// Asks the nodes in turn until the end.
pub(crate) struct Reader {
    nodes: Vec<LedgerClient<Channel>>,
    known: Arc<Known>,
    is_session: bool,
    /// The last answer that this reader received.
    last: Shown,
}

impl Reader {
    pub(crate) fn new(urls: &[String], known: Arc<Known>, is_session: bool) -> Self {
        let connect = |url: &String| {
            let endpoint = Endpoint::from_shared(url.clone()).expect("an address");
            LedgerClient::new(endpoint.connect_timeout(CALL_TIMEOUT).connect_lazy())
        };
        let nodes = urls.iter().map(connect).collect();
        Self { nodes, known, is_session, last: Shown { index: 0, payments: 0 } }
    }

    /// Reads until the end of the test, and adds the answers to `seen`.
    pub(crate) async fn run(mut self, seen: Arc<std::sync::Mutex<Seen>>) {
        let mut round = 0_usize;
        while !self.known.is_over.load(Ordering::Acquire) {
            round += 1;
            let call = CALLS[round % CALLS.len()];
            // The node changes in another cycle than the call, so that every node gets every call.
            let node = (round / CALLS.len() + round) % self.nodes.len();
            let answer = tokio::time::timeout(CALL_TIMEOUT, self.ask(node, call)).await;
            if let Ok(Err(status)) = &answer {
                // The node may lag, but another node has already shown that the history is that long.
                assert_ne!(status.code(), Code::OutOfRange, "a position that exists is refused: {status}");
            }
            let Ok(Ok(shown)) = answer else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            let most = self.known.begun.load(Ordering::Acquire);
            let how = format!("{call:?} of node {}, session: {}", node + 1, self.is_session);
            assert!(shown.payments <= most, "{most} were begun, and {} are shown ({how})", shown.payments);
            let mut seen = seen.lock().expect("no test thread panicked");
            self.take(shown, &how, &mut seen);
        }
    }

    fn take(&mut self, shown: Shown, how: &str, seen: &mut Seen) {
        if self.is_session {
            seen.session_reads += 1;
            let (Shown { index, payments }, last) = (shown, self.last);
            assert!(
                index >= last.index,
                "entry {index} after {}: a session goes backwards ({how})",
                last.index
            );
            assert!(payments >= last.payments, "{payments} after {}: backwards ({how})", last.payments);
        } else {
            seen.stale_reads += 1;
        }
        seen.check(shown).unwrap_or_else(|wrong| panic!("{wrong} ({how})"));
        seen.at.insert(shown.index, shown.payments);
        self.last = shown;
    }

    fn request<Message>(&self, message: Message) -> Request<Message> {
        let mut request = Request::new(message);
        request.set_timeout(CALL_TIMEOUT);
        let read = if self.is_session { "session" } else { "stale" };
        request.metadata_mut().insert("bezant-read", read.parse().expect("text"));
        if self.is_session {
            let seen = SessionToken::of(LEDGER_GROUP, LogIndex(self.last.index)).to_string();
            request.metadata_mut().insert("bezant-session", seen.parse().expect("text"));
        }
        request
    }

    async fn ask(&self, node: usize, call: Call) -> Result<Shown, Status> {
        let mut node = self.nodes[node].clone();
        match call {
            Call::Books => {
                let reply = node.get_books(self.request(v1::GetBooksRequest {})).await?;
                let index = self.index_of(&reply);
                let payments = reply.get_ref().movements;
                Ok(Shown { index, payments })
            }
            Call::Account => {
                let by = v1::account_ref::Reference::Id(uint128(COUNTER.0));
                let accounts = vec![v1::AccountRef { reference: Some(by) }];
                let reply =
                    node.lookup_accounts(self.request(v1::LookupAccountsRequest { accounts })).await?;
                let index = self.index_of(&reply);
                let account = reply.get_ref().accounts.first();
                let posted = account.and_then(|account| account.balances.as_ref()?.credits_posted.as_ref());
                Ok(Shown { index, payments: posted.map_or(0, |posted| posted.low) })
            }
            Call::Rows => self.end_of_history(node).await,
        }
    }

    /// The end of the history: searched from the last row that a session has read; for a stale read, from
    /// 2000 rows before.
    async fn end_of_history(&self, mut node: LedgerClient<Channel>) -> Result<Shown, Status> {
        let last = v1::GetMovementsRequest {
            from: position(self.last.payments),
            limit: 1,
            ..v1::GetMovementsRequest::default()
        };
        node.get_movements(self.request(last)).await?;
        let before = if self.is_session { 1 } else { 2000 };
        let mut from = self.last.payments.saturating_sub(before);
        loop {
            let reply = node
                .get_movements(self.request(v1::GetMovementsRequest {
                    from: position(from),
                    limit: 1000,
                    ..v1::GetMovementsRequest::default()
                }))
                .await?;
            let index = self.index_of(&reply);
            let rows = reply.get_ref().numbers.len() as u64;
            if rows == 0 && !self.is_session && from > 0 {
                return Err(Status::unavailable("its history ends before this row"));
            }
            if rows < 1000 {
                return Ok(Shown { index, payments: from + rows });
            }
            from += rows;
        }
    }

    /// The entry that an answer shows. The answer to a stale read must contain its age, too.
    fn index_of<Message>(&self, reply: &Response<Message>) -> u64 {
        let text = |name| reply.metadata().get(name).and_then(|text| text.to_str().ok());
        let number = |text: &str| text.parse::<u64>().ok();
        // Right after its start the age is unknown to a node.
        let age = text("bezant-age-ms").map(|age| age == "unknown" || number(age).is_some());
        assert_eq!(age, (!self.is_session).then_some(true), "stale answers contain their age");
        let session = text("bezant-session").and_then(|text| text.parse::<SessionToken>().ok());
        session.map_or(0, |session| session.seen(LEDGER_GROUP).0)
    }
}

/// The position before a row of the ledger's history.
fn position(row: u64) -> String {
    EventPosition::of(LEDGER_GROUP, MovementNumber(row)).to_string()
}

fn uint128(number: u128) -> v1::Uint128 {
    let [high, low] =
        [number >> 64, number & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or(0));
    v1::Uint128 { high, low }
}
