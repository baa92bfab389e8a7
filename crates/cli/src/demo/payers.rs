//! Clients that pay without a pause. They record every answer and the gaps between the answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bezant_client::{
    AccountId, Client, CreateAccountStatus, CreateTransferStatus, NewAccount, NewTransfer, TransferId,
    ids::IdGenerator,
};
use hdrhistogram::Histogram;

/// Number of accounts between which money moves.
pub(super) const ACCOUNTS: u128 = 16;
const EURO: u32 = 978;
/// The longest latency that the histogram can record: one minute. A longer call is recorded as one minute.
const LATENCY_MAX_MICROS: u64 = 60_000_000;

/// The results of all payers.
#[derive(Debug)]
pub(super) struct Tally {
    /// The ids of all acknowledged payments.
    pub(super) paid: Vec<TransferId>,
    /// Latencies of calls in microseconds, since the last reset.
    pub(super) latency: Histogram<u64>,
    /// When each client had its last answer; before its first answer, when the payers were started.
    last: Vec<Instant>,
    /// The longest time that any client waited from one answer to the next. A wait counts with its whole
    /// length when it ended after the last reset, or has not ended yet.
    pub(super) gap_of_one: Duration,
    /// The longest time in which no client had an answer, counted like `gap_of_one`.
    pub(super) gap_of_all: Duration,
    /// Calls that ended without an answer; a reset does not change it.
    pub(super) errors: u64,
}

impl Tally {
    /// Records an answer to client `number`.
    fn note_answer(&mut self, number: usize) {
        self.note_gaps(&[number]);
        self.last[number] = Instant::now();
    }

    /// Updates the gaps with the time that those clients, and all clients together, have waited until now.
    fn note_gaps(&mut self, numbers: &[usize]) {
        for number in numbers {
            self.gap_of_one = self.gap_of_one.max(self.last[*number].elapsed());
        }
        let any = self.last.iter().max().map_or(Duration::ZERO, Instant::elapsed);
        self.gap_of_all = self.gap_of_all.max(any);
    }
}

/// The clients that pay, each in a task.
#[derive(Debug)]
pub(super) struct Payers {
    tally: Arc<Mutex<Tally>>,
    is_over: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<Result<()>>>,
}

/// A client of all nodes with default settings, as an ordinary user has it.
pub(super) async fn connect(urls: &[String]) -> Result<Client> {
    let builder = urls.iter().fold(Client::builder(), |builder, url| builder.address(url.as_str()));
    Ok(builder.connect().await?)
}

/// Creates the accounts; an account that exists already is no error.
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
    /// Starts `clients` clients. Each sends one call after another, with `batch` payments in a call.
    pub(super) async fn start(urls: &[String], clients: usize, batch: usize) -> Result<Self> {
        let tally = Arc::new(Mutex::new(Tally {
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
            let (tally, is_over) = (Arc::clone(&tally), Arc::clone(&is_over));
            tasks.push(tokio::spawn(async move { pay(&client, number, batch, &tally, &is_over).await }));
        }
        Ok(Self { tally, is_over, tasks })
    }

    /// Updates the gaps until now, and calls `look` with the results.
    pub(super) fn look<T>(&self, look: impl FnOnce(&mut Tally) -> T) -> T {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<usize> = (0..tally.last.len()).collect();
        tally.note_gaps(&all);
        look(&mut tally)
    }

    /// Resets gaps and latencies.
    pub(super) fn reset_gaps(&self) {
        self.look(|tally| {
            tally.gap_of_one = Duration::ZERO;
            tally.gap_of_all = Duration::ZERO;
            tally.latency.reset();
        });
    }

    /// Waits for the calls in progress, and returns the ids of all acknowledged payments.
    pub(super) async fn stop(self) -> Result<Vec<TransferId>> {
        self.is_over.store(true, Ordering::Release);
        for task in self.tasks {
            task.await.context("a payer broke down")??;
        }
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(tally.paid.clone())
    }
}

async fn pay(
    client: &Client,
    number: usize,
    batch: usize,
    tally: &Mutex<Tally>,
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
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(outcomes) => {
                tally.note_answer(number);
                let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                tally.latency.saturating_record(micros);
                for (id, outcome) in ids.iter().zip(outcomes) {
                    let is_paid = matches!(
                        outcome.status,
                        CreateTransferStatus::Created | CreateTransferStatus::Exists
                    );
                    anyhow::ensure!(is_paid, "a payment was refused: {}", outcome.status);
                    tally.paid.push(*id);
                }
            }
            Err(error) if error.is_unavailable() => tally.errors += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
