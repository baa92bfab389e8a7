//! A real server is killed with signal 9 under load, again and again, while clients retry until every outcome
//! is known.
//!
//! Afterwards every transfer that was acknowledged is there once, with the acknowledged timestamp, the
//! books balance, and `bezant verify --all` is clean. `BEZANT_KILLS` sets how often (default 10):
//! `BEZANT_KILLS=100 cargo test --release -p bezant-cli --test kill_nine`.

mod common;
#[path = "../src/demo/ports.rs"]
mod ports;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bezant_client::ids::IdGenerator;
use bezant_client::{Client, NewAccount, NewTransfer};
use bezant_types::{AccountId, CreateTransferStatus, Nanos, TransferId};
use common::check_history;

const ACCOUNTS: u128 = 50;
const CLIENTS: u128 = 4;
/// The count of acknowledged transfers between two kills.
const PROGRESS: usize = 3_000;
/// The longest time that a step may take.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A server that is killed when the test ends, also when it fails.
struct Server(Child);

impl Server {
    fn start(folder: &Path, address: &str) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_bezant"))
            .args(["start", "--listen", address, "--data-dir"])
            .arg(folder)
            .stdout(Stdio::null())
            .spawn()
            .expect("the server starts");
        Self(child)
    }

    fn kill(mut self) {
        self.0.kill().expect("the server was running");
        self.0.wait().expect("the server ends");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The transfers that were acknowledged to the clients.
#[derive(Default)]
struct Acknowledged {
    transfers: std::sync::Mutex<BTreeMap<TransferId, Nanos>>,
    count: AtomicUsize,
    stop: AtomicBool,
}

async fn connect(address: &str) -> Client {
    let begin = Instant::now();
    loop {
        let builder = Client::builder().address(format!("http://{address}")).deadline(TIMEOUT);
        match builder.connect().await {
            Ok(client) => return client,
            Err(error) => assert!(begin.elapsed() < TIMEOUT, "the server does not come: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Pays until `stop` is set; every batch is retried until its outcome is known.
async fn pay(client: Client, acknowledged: Arc<Acknowledged>, number: u128) {
    let ids = IdGenerator::new();
    let size = if number == 0 { 1_000 } else { 7 };
    let mut round = number;
    while !acknowledged.stop.load(Ordering::Relaxed) {
        let batch: Vec<NewTransfer> = (0..size)
            .map(|at| {
                let debit = (round * 31 + at) % ACCOUNTS;
                let credit = (debit + 1 + at % (ACCOUNTS - 1)) % ACCOUNTS;
                NewTransfer::new(
                    ids.transfer_id(),
                    AccountId(debit + 1),
                    AccountId(credit + 1),
                    at + 1,
                    978,
                    1,
                )
            })
            .collect();
        let outcomes = client.create_transfers(&batch).await.expect("the outcome becomes known");
        let mut transfers = acknowledged.transfers.lock().expect("no test thread panicked");
        for (new, outcome) in batch.iter().zip(outcomes) {
            assert!(outcome.is_done(), "{:?}: {}", new.transfer.id, outcome.status);
            assert!(transfers.insert(new.transfer.id, outcome.timestamp).is_none(), "ids are new");
        }
        acknowledged.count.fetch_add(batch.len(), Ordering::Relaxed);
        round += 1;
    }
}

async fn wait_for_progress(acknowledged: &Acknowledged, kills: usize) {
    let begin = Instant::now();
    let wanted = (kills + 1) * PROGRESS;
    while acknowledged.count.load(Ordering::Relaxed) < wanted {
        assert!(begin.elapsed() < TIMEOUT, "no progress after {kills} kills");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Checks that the same requests again change nothing, and return the first timestamps.
async fn check_retry(client: &Client, acknowledged: &BTreeMap<TransferId, Nanos>) {
    let ids: Vec<TransferId> = acknowledged.keys().copied().take(8_000).collect();
    let before = client.books().await.expect("books");
    let again: Vec<NewTransfer> = client
        .lookup_transfers(&ids)
        .await
        .expect("look-up")
        .into_iter()
        .map(|found| {
            let mut transfer = found.transfer;
            transfer.timestamp = Nanos(0);
            NewTransfer::from(transfer)
        })
        .collect();
    assert_eq!(again.len(), ids.len(), "every acknowledged transfer is found by id");
    for (new, outcome) in again.iter().zip(client.create_transfers(&again).await.expect("answers")) {
        assert_eq!(outcome.status, CreateTransferStatus::Exists, "{:?}", new.transfer.id);
        assert_eq!(outcome.timestamp, acknowledged[&new.transfer.id], "{:?}", new.transfer.id);
    }
    let after = client.books().await.expect("books");
    assert_eq!(after.ledgers, before.ledgers, "nothing moved");
    assert!(
        after.ledgers.iter().all(bezant_client::LedgerTotals::is_balanced),
        "debits equal credits: {after:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_nothing_acknowledged_is_lost() {
    let kills =
        std::env::var("BEZANT_KILLS").map_or(10, |kills| kills.parse().expect("BEZANT_KILLS is a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let address = ports::free_address().expect("a free port");
    let mut server = Server::start(folder.path(), &address);
    let client = connect(&address).await;
    let accounts: Vec<NewAccount> = (1..=ACCOUNTS).map(|id| NewAccount::new(AccountId(id), 978, 1)).collect();
    assert!(
        client
            .create_accounts(&accounts)
            .await
            .expect("accounts")
            .iter()
            .all(bezant_client::AccountOutcome::is_done)
    );

    let acknowledged = Arc::new(Acknowledged::default());
    let mut payers = Vec::new();
    for number in 0..CLIENTS {
        payers.push(tokio::spawn(pay(connect(&address).await, Arc::clone(&acknowledged), number)));
    }
    for done in 0..kills {
        wait_for_progress(&acknowledged, done).await;
        server.kill();
        server = Server::start(folder.path(), &address);
    }
    wait_for_progress(&acknowledged, kills).await;
    acknowledged.stop.store(true, Ordering::Relaxed);
    for payer in payers {
        payer.await.expect("no payer failed");
    }

    let client = connect(&address).await;
    let acknowledged = std::mem::take(&mut *acknowledged.transfers.lock().expect("no test thread panicked"));
    check_history(&client, &acknowledged).await;
    check_retry(&client, &acknowledged).await;
    let verify = Command::new(env!("CARGO_BIN_EXE_bezant"))
        .args(["verify", "--all", "--server", &format!("http://{address}")])
        .output()
        .expect("verify runs");
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stderr));
    server.kill();
}
