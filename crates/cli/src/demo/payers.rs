//! Clients that pay without a pause, and remember every answer and the gaps between them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bezant_client::{
    AccountId, Client, CreateAccountStatus, CreateTransferStatus, NewAccount, NewTransfer, TransferId,
    ids::IdGenerator,
};
use hdrhistogram::Histogram;

/// Accounts between which money moves.
pub(super) const ACCOUNTS: u128 = 16;
const EURO: u32 = 978;
/// A call that takes longer counts as so long: a minute.
const LATENCY_MAX_MICROS: u64 = 60_000_000;

/// What all payers were told.
#[derive(Debug)]
pub(super) struct Told {
    /// Every payment that was acknowledged.
    pub(super) paid: Vec<TransferId>,
    /// Microseconds of calls since the beginning anew.
    pub(super) latency: Histogram<u64>,
    /// When each client had its last answer, from when on it paid again.
    last: Vec<Instant>,
    /// The longest time since that any client waited from one answer to the next, what it waits for now included.
    pub(super) gap_of_one: Duration,
    /// The longest time since in which no client had an answer.
    pub(super) gap_of_all: Duration,
    pub(super) errors: u64,
}

impl Told {
    /// Client `number` has an answer.
    fn note_answer(&mut self, number: usize) {
        self.note_gaps(&[number]);
        self.last[number] = Instant::now();
    }

    /// Counts the time that those clients have waited by now, and all together.
    fn note_gaps(&mut self, numbers: &[usize]) {
        for number in numbers {
            self.gap_of_one = self.gap_of_one.max(self.last[*number].elapsed());
        }
        let any = self.last.iter().max().map_or(Duration::ZERO, Instant::elapsed);
        self.gap_of_all = self.gap_of_all.max(any);
    }
}

/// The clients.
#[derive(Debug)]
pub(super) struct Payers {
    told: Arc<Mutex<Told>>,
    is_over: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<Result<()>>>,
}

/// A client of all nodes, as anybody has it: nothing is set that a user would have to set.
pub(super) async fn connect(urls: &[String]) -> Result<Client> {
    let builder = urls.iter().fold(Client::builder(), |builder, url| builder.address(url.as_str()));
    Ok(builder.connect().await?)
}

/// Makes the accounts.
pub(super) async fn make_accounts(client: &Client) -> Result<()> {
    let accounts: Vec<NewAccount> =
        (1..=ACCOUNTS).map(|id| NewAccount::new(AccountId(id), EURO, 1)).collect();
    for outcome in client.create_accounts(&accounts).await? {
        let is_there = matches!(outcome.status, CreateAccountStatus::Created | CreateAccountStatus::Exists);
        anyhow::ensure!(is_there, "an account was refused: {}", outcome.status);
    }
    Ok(())
}

impl Payers {
    /// Begins to pay: so many clients, each one call of so many payments after the other.
    pub(super) async fn start(urls: &[String], clients: usize, batch: usize) -> Result<Self> {
        let told = Arc::new(Mutex::new(Told {
            paid: Vec::new(),
            latency: Histogram::new_with_max(LATENCY_MAX_MICROS, 3)?,
            last: vec![Instant::now(); clients],
            gap_of_one: Duration::ZERO,
            gap_of_all: Duration::ZERO,
            errors: 0,
        }));
        let is_over = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for number in 0..clients {
            let client = connect(urls).await?;
            let (told, is_over) = (Arc::clone(&told), Arc::clone(&is_over));
            tasks.push(tokio::spawn(async move { pay(&client, number, batch, &told, &is_over).await }));
        }
        Ok(Self { told, is_over, tasks })
    }

    /// Looks at what was told since the last look: payments in all, the longest gap, latencies.
    pub(super) fn look<T>(&self, look: impl FnOnce(&mut Told) -> T) -> T {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<usize> = (0..told.last.len()).collect();
        told.note_gaps(&all);
        look(&mut told)
    }

    /// Forgets gaps and latencies so far.
    pub(super) fn begin_anew(&self) {
        self.look(|told| {
            told.gap_of_one = Duration::ZERO;
            told.gap_of_all = Duration::ZERO;
            told.latency.reset();
        });
    }

    /// Lets every call under way end; all that was paid.
    pub(super) async fn stop(self) -> Result<Vec<TransferId>> {
        self.is_over.store(true, Ordering::Release);
        for task in self.tasks {
            task.await.context("a payer broke down")??;
        }
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(told.paid.clone())
    }
}

async fn pay(
    client: &Client,
    number: usize,
    batch: usize,
    told: &Mutex<Told>,
    is_over: &AtomicBool,
) -> Result<()> {
    let generator = IdGenerator::new();
    let mut round = number as u128;
    while !is_over.load(Ordering::Acquire) {
        let ids: Vec<TransferId> = (0..batch).map(|_| generator.transfer_id()).collect();
        let payments: Vec<NewTransfer> = (0..)
            .zip(&ids)
            .map(|(place, id)| {
                let from = 1 + (round + place) % ACCOUNTS;
                let to = 1 + (from + place % (ACCOUNTS - 1)) % ACCOUNTS;
                NewTransfer::new(*id, AccountId(from), AccountId(to), 1, EURO, 1)
            })
            .collect();
        round += 1;
        let begun = Instant::now();
        let result = client.create_transfers(&payments).await;
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(outcomes) => {
                told.note_answer(number);
                let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                told.latency.saturating_record(micros);
                for (id, outcome) in ids.iter().zip(outcomes) {
                    let is_paid = matches!(
                        outcome.status,
                        CreateTransferStatus::Created | CreateTransferStatus::Exists
                    );
                    anyhow::ensure!(is_paid, "a payment was refused: {}", outcome.status);
                    told.paid.push(*id);
                }
            }
            Err(error) if error.is_unavailable() => told.errors += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
