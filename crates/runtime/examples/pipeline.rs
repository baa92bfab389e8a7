//! The number of transfers that a node takes in a second without a network: log, fsync, rules, history and
//! indexes.
//!
//! `cargo run --release -p bezant-runtime --example pipeline -- [transfers] [batch] [clients] [random]`
#![expect(clippy::print_stdout, reason = "a program for operators")]

use std::time::{Duration, Instant};

use bezant_ledger::{Event, Ledger, Operation, ToCommand};
use bezant_runtime::{Handle, Options, start};
use bezant_types::{Account, AccountId, LedgerNumber, Transfer, TransferId};

const ACCOUNTS: u128 = 10_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |at: usize, default: u128| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (transfers, batch, clients) = (number(0, 2_000_000), number(1, 8189), number(2, 1));
    let is_random = arguments.iter().any(|argument| argument == "random");
    let folder = tempfile::tempdir_in(".")?;
    let running = start(&Options::new(folder.path()))?;
    let handle = running.handle();
    let accounts: Vec<Account> = (1..=ACCOUNTS)
        .map(|id| Account { id: AccountId(id), ledger: LedgerNumber(1), code: 1, ..Account::default() })
        .collect();
    for accounts in accounts.chunks(8189) {
        handle.execute(Operation::CreateAccounts.command(Event::write_all(accounts))?, None).await?;
    }
    let begin = Instant::now();
    let rounds = transfers / batch / clients;
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..clients {
        tasks.spawn(pay(handle.clone(), client, clients, rounds, batch, is_random));
    }
    let mut latencies: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    let elapsed = begin.elapsed();
    latencies.sort_unstable();
    let sent = rounds * batch * clients;
    println!(
        "{sent} transfers in {elapsed:?}: {} a second; batch p50 {:?} p99 {:?} p100 {:?}",
        sent * 1_000_000 / elapsed.as_micros(),
        latencies[latencies.len() / 2],
        latencies[latencies.len() * 99 / 100],
        latencies[latencies.len() - 1],
    );
    running.stop();
    Ok(())
}

async fn pay(
    handle: Handle<Ledger>,
    client: u128,
    clients: u128,
    rounds: u128,
    batch: u128,
    is_random: bool,
) -> Vec<Duration> {
    let mut random = 88_172_645_463_325_252_u64 + u64::try_from(client).unwrap_or(0);
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        u128::from(random)
    };
    let mut latencies = Vec::new();
    for round in 0..rounds {
        let records: Vec<Transfer> = (0..batch)
            .map(|at| {
                let debit = next() % ACCOUNTS;
                let credit = (debit + 1 + next() % (ACCOUNTS - 1)) % ACCOUNTS;
                let id = if is_random {
                    next() << 64 | next()
                } else {
                    1 + (round * clients + client) * batch + at
                };
                Transfer {
                    id: TransferId(id),
                    debit_account_id: AccountId(debit + 1),
                    credit_account_id: AccountId(credit + 1),
                    amount: 1,
                    ledger: LedgerNumber(1),
                    code: 1,
                    ..Transfer::default()
                }
            })
            .collect();
        let command = Operation::CreateTransfers.command(Event::write_all(&records)).expect("well formed");
        let begin = Instant::now();
        let committed = handle.execute(command, None).await.expect("the node takes writes");
        latencies.push(begin.elapsed());
        let refused =
            committed.results.as_chunks::<16>().0.iter().filter(|result| result[8..12] != [0xff; 4]).count();
        assert_eq!(refused, 0, "every transfer is created");
    }
    latencies
}
