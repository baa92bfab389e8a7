//! The load of the tests with several nodes: clients that pay into a counter, a client that reads it, and the
//! checks afterwards.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bezant_client::ids::IdGenerator;
use bezant_client::{AccountView, Client, LedgerTotals, NewAccount, NewTransfer, RetryPolicy};
use bezant_types::{AccountId, Nanos, TransferId};

use super::common::check_history;

/// The count of accounts, whose ids are 1 and up.
const ACCOUNTS: u128 = 12;
/// The account that every payment credits with 1, which makes it a counter.
pub(crate) const COUNTER: AccountId = AccountId(1);
/// The longest time that a step may take.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);

/// Connects to the first node that answers.
pub(crate) async fn connect(urls: &[String]) -> Client {
    let begun = Instant::now();
    loop {
        let builder = urls.iter().fold(Client::builder(), |builder, url| builder.address(url.as_str()));
        let retry = RetryPolicy { wait_max: Duration::from_millis(100), ..RetryPolicy::default() };
        let builder = builder.deadline(TIMEOUT).attempt_timeout(Duration::from_millis(700)).retry(retry);
        match builder.connect_timeout(Duration::from_millis(300)).connect().await {
            Ok(client) => return client,
            Err(error) => assert!(begun.elapsed() < TIMEOUT, "no node answers: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The outcomes that the clients received, and counters.
#[derive(Default)]
pub(crate) struct Known {
    /// Acknowledged payments, with their timestamps.
    pub(crate) timestamps: Mutex<BTreeMap<TransferId, Nanos>>,
    /// Payments that a client has begun: the upper bound of the counter.
    pub(crate) begun: AtomicU64,
    /// Payments that were acknowledged: the lower bound of the counter.
    pub(crate) acknowledged: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) is_over: AtomicBool,
}

/// Pays 1 to the counter, in calls of 1 or 100 payments; every call is retried until its outcome is known.
pub(crate) async fn pay(client: Client, known: Arc<Known>, number: u128) {
    let ids = IdGenerator::new();
    let size = if number == 0 { 100 } else { 1 };
    let mut round = number;
    while !known.is_over.load(Ordering::Acquire) {
        let batch: Vec<NewTransfer> = (0..size)
            .map(|at| {
                let debit = AccountId(2 + (round + at) % (ACCOUNTS - 1));
                NewTransfer::new(ids.transfer_id(), debit, COUNTER, 1, 978, 1)
            })
            .collect();
        known.begun.fetch_add(batch.len() as u64, Ordering::AcqRel);
        let outcomes = client.create_transfers(&batch).await.expect("the outcome becomes known");
        known.acknowledged.fetch_add(batch.len() as u64, Ordering::AcqRel);
        let mut timestamps = known.timestamps.lock().expect("no test thread panicked");
        for (new, outcome) in batch.iter().zip(outcomes) {
            assert!(outcome.is_done(), "{:?}: {}", new.transfer.id, outcome.status);
            timestamps.insert(new.transfer.id, outcome.timestamp);
        }
        round += 1;
    }
}

/// Reads the counter: it includes every payment that was acknowledged before, and none that was not begun.
pub(crate) async fn read(client: Client, known: Arc<Known>) {
    while !known.is_over.load(Ordering::Acquire) {
        let least = known.acknowledged.load(Ordering::Acquire);
        let accounts = client.lookup_accounts(&[COUNTER]).await.expect("an answer comes");
        let most = known.begun.load(Ordering::Acquire);
        let value = accounts[0].account.balances().credits_posted;
        assert!(value >= u128::from(least), "{least} payments were acknowledged, and {value} are shown");
        assert!(value <= u128::from(most), "{most} payments were begun, and {value} are shown");
        known.reads.fetch_add(1, Ordering::AcqRel);
    }
}

/// Waits until 300 more payments were acknowledged; `what` names the fault before.
pub(crate) async fn wait_for_progress(known: &Known, what: &str) {
    let before = known.acknowledged.load(Ordering::Acquire);
    let begun = Instant::now();
    while known.acknowledged.load(Ordering::Acquire) < before + 300 {
        assert!(begun.elapsed() < TIMEOUT, "no progress: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Creates the accounts.
pub(crate) async fn make_accounts(client: &Client) {
    let accounts: Vec<NewAccount> = (1..=ACCOUNTS).map(|id| NewAccount::new(AccountId(id), 978, 1)).collect();
    let made = client.create_accounts(&accounts).await.expect("accounts");
    assert!(made.iter().all(bezant_client::AccountOutcome::is_done));
}

/// Checks that all acknowledged payments are on the node, and that the books balance; returns the accounts
/// with their balances and chains.
pub(crate) async fn check_node(
    client: &Client,
    timestamps: &BTreeMap<TransferId, Nanos>,
) -> Vec<AccountView> {
    check_history(client, timestamps).await;
    let books = client.books().await.expect("books");
    assert!(books.ledgers.iter().all(LedgerTotals::is_balanced), "{books:?}");
    let ids: Vec<AccountId> = (1..=ACCOUNTS).map(AccountId).collect();
    client.lookup_accounts(&ids).await.expect("accounts")
}
