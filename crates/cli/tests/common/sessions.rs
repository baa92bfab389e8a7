//! Readers that count on less than linearizability while everything goes wrong: a session that asks another node every
//! time, and somebody who takes what a node has.
//!
//! An answer names the log entry that it shows, so there is one history to hold it against: what two answers show at
//! the same entry is the same, at whichever node and in whichever way they were read, and a later entry shows no less.
//! A session never goes backwards: not in the entry, and not in what it sees of it, be it the books, an account or the
//! rows of the history. Nobody sees a payment that nobody has begun.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bezant_api::v1;
use bezant_api::v1::ledger_client::LedgerClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use super::load::{COUNTER, Known};

/// A node that sleeps is left after that time.
const PATIENCE: Duration = Duration::from_millis(300);

/// What an answer shows: payments, and up to which log entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    index: u64,
    payments: u64,
}

/// In which way is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Books,
    Account,
    /// The end of the history.
    Rows,
}

const WAYS: [Way; 3] = [Way::Books, Way::Rows, Way::Account];

/// What was seen, by everybody who holds it.
#[derive(Default)]
pub(crate) struct Seen {
    /// Payments by log entry.
    at: BTreeMap<u64, u64>,
    /// Answers of each kind.
    pub(crate) session_reads: u64,
    pub(crate) stale_reads: u64,
}

impl Seen {
    /// What does not go with the answers before.
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
    /// The last that this reader has seen.
    last: Shown,
}

impl Reader {
    pub(crate) fn new(urls: &[String], known: Arc<Known>, is_session: bool) -> Self {
        let connect = |url: &String| {
            let endpoint = Endpoint::from_shared(url.clone()).expect("an address");
            LedgerClient::new(endpoint.connect_timeout(PATIENCE).connect_lazy())
        };
        let nodes = urls.iter().map(connect).collect();
        Self { nodes, known, is_session, last: Shown { index: 0, payments: 0 } }
    }

    /// Reads until all is over; what was seen.
    pub(crate) async fn run(mut self, seen: Arc<std::sync::Mutex<Seen>>) {
        let mut round = 0_usize;
        while !self.known.is_over.load(Ordering::Acquire) {
            round += 1;
            let way = WAYS[round % WAYS.len()];
            // Not in step with the ways: every node is asked in every way.
            let node = (round / WAYS.len() + round) % self.nodes.len();
            let answer = tokio::time::timeout(PATIENCE, self.ask(node, way)).await;
            if let Ok(Err(status)) = &answer {
                // However far the node lags: another one has told where the history goes to.
                assert_ne!(status.code(), Code::OutOfRange, "a position that was told is refused: {status}");
            }
            let Ok(Ok(shown)) = answer else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            let most = self.known.begun.load(Ordering::Acquire);
            let how = format!("{way:?} of node {}, session: {}", node + 1, self.is_session);
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
        request.set_timeout(PATIENCE);
        let read = if self.is_session { "session" } else { "stale" };
        request.metadata_mut().insert("bezant-read", read.parse().expect("text"));
        if self.is_session {
            request.metadata_mut().insert("bezant-index", self.last.index.into());
        }
        request
    }

    async fn ask(&self, node: usize, way: Way) -> Result<Shown, Status> {
        let mut node = self.nodes[node].clone();
        match way {
            Way::Books => {
                let reply = node.get_books(self.request(v1::GetBooksRequest {})).await?;
                let index = self.index_of(&reply);
                let payments = reply.get_ref().movements;
                Ok(Shown { index, payments })
            }
            Way::Account => {
                let by = v1::account_ref::Reference::Id(uint128(COUNTER.0));
                let accounts = vec![v1::AccountRef { reference: Some(by) }];
                let reply =
                    node.lookup_accounts(self.request(v1::LookupAccountsRequest { accounts })).await?;
                let index = self.index_of(&reply);
                let account = reply.get_ref().accounts.first();
                let posted = account.and_then(|account| account.balances.as_ref()?.credits_posted.as_ref());
                Ok(Shown { index, payments: posted.map_or(0, |posted| posted.low) })
            }
            Way::Rows => self.end_of_history(node).await,
        }
    }

    /// Where the history ends, from the last row on that a session has seen; of a stale one, from some way before.
    async fn end_of_history(&self, mut node: LedgerClient<Channel>) -> Result<Shown, Status> {
        let last = v1::GetMovementsRequest {
            from: self.last.payments,
            limit: 1,
            ..v1::GetMovementsRequest::default()
        };
        node.get_movements(self.request(last)).await?;
        let before = if self.is_session { 1 } else { 2000 };
        let mut from = self.last.payments.saturating_sub(before);
        loop {
            let reply = node
                .get_movements(self.request(v1::GetMovementsRequest {
                    from,
                    limit: 1000,
                    ..v1::GetMovementsRequest::default()
                }))
                .await?;
            let index = self.index_of(&reply);
            let rows = reply.get_ref().positions.len() as u64;
            if rows == 0 && !self.is_session && from > 0 {
                return Err(Status::unavailable("its history ends somewhere before"));
            }
            if rows < 1000 {
                return Ok(Shown { index, payments: from + rows });
            }
            from += rows;
        }
    }

    /// The entry that an answer shows; of a stale one, also its age must be told.
    fn index_of<Message>(&self, reply: &Response<Message>) -> u64 {
        let text = |name| reply.metadata().get(name).and_then(|text| text.to_str().ok());
        let number = |text: &str| text.parse::<u64>().ok();
        // Right after its start a node does not know it yet.
        let age = text("bezant-age-ms").map(|age| age == "unknown" || number(age).is_some());
        assert_eq!(age, (!self.is_session).then_some(true), "stale answers say how old they are");
        text("bezant-index").and_then(number).unwrap_or(0)
    }
}

fn uint128(number: u128) -> v1::Uint128 {
    let [high, low] =
        [number >> 64, number & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or(0));
    v1::Uint128 { high, low }
}
