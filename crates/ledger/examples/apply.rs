//! Measures how long the ledger takes for a transfer, without disk and network.
//!
//! `cargo run --release -p bezant-ledger --example apply -- [accounts] [transfers]`
#![expect(clippy::print_stdout, reason = "prints its result on the terminal")]

use std::time::Instant;

use bezant_ledger::{Event, Ledger, Operation, ToCommand};
use bezant_rsm::{Entry, StateMachine};
use bezant_types::{Account, AccountId, Fetched, LedgerNumber, LogIndex, Nanos, Transfer, TransferId};

const BATCH: u128 = 8189;

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse::<u128>().ok());
    let accounts = arguments.next().unwrap_or(10_000);
    let transfers = arguments.next().unwrap_or(2_000_000);
    for (order, scramble) in [("sequential", false), ("random", true)] {
        let nanos = run(accounts, transfers, scramble);
        println!("{order} ids: {nanos} ns a transfer, {} transfers a second", 1_000_000_000 / nanos.max(1));
    }
}

fn run(accounts: u128, transfers: u128, scramble: bool) -> u128 {
    let mut ledger = Ledger::new();
    let mut random = 1_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        u128::from(random)
    };
    let records: Vec<Account> = (1..=accounts)
        .map(|id| Account { id: AccountId(id), ledger: LedgerNumber(1), code: 1, ..Account::default() })
        .collect();
    let mut time = 1;
    for batch in records.chunks(8189) {
        apply(&mut ledger, Operation::CreateAccounts, Event::write_all(batch), &mut time);
    }
    let mut nanos = 0;
    for batch in 0..transfers / BATCH {
        let records: Vec<Transfer> = (0..BATCH)
            .map(|at| {
                let debit = next() % accounts;
                let credit = (debit + 1 + next() % (accounts - 1)) % accounts;
                let id = if scramble { next() << 64 | next() } else { 1 + batch * BATCH + at };
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
        let body = Event::write_all(&records);
        let start = Instant::now();
        apply(&mut ledger, Operation::CreateTransfers, body, &mut time);
        nanos += start.elapsed().as_nanos();
    }
    nanos / (transfers / BATCH * BATCH)
}

fn apply(ledger: &mut Ledger, operation: Operation, body: bytes::Bytes, time: &mut u64) {
    let command = operation.command(body).expect("the batch is well formed");
    *time += u64::from(command.events);
    let entry =
        Entry { time: Nanos(*time), commands: vec![command], checkpoint: false, rules: Ledger::RULES };
    let prefetch = ledger.prefetch(&entry);
    let applied = ledger.apply(LogIndex(1), &entry, Fetched::from(prefetch.position));
    let applied = applied.expect("the window covers its own position");
    let refused =
        applied.results[0].as_chunks::<16>().0.iter().filter(|result| result[8..12] != [0xff; 4]).count();
    assert_eq!(refused, 0, "every event is created");
}
