//! A node with all its threads on a disk that fails or fills up. Writes stop with a reason, reads go on, and
//! nothing that was acknowledged is lost. Writes continue when the disk has space again.

mod common;

use std::sync::Arc;
use std::time::Duration;

use bezant_ledger::{Ledger, LedgerAnswer, LedgerQuery};
use bezant_replica::ReplicaOptions;
use bezant_runtime::{ExecuteError, Handle, Health, Options, Running, start_on};
use bezant_storage::log::LogOptions;
use bezant_storage::{FaultPlan, HistoryQuery, MemoryDisk};
use bezant_types::{AccountId, TransferId};

/// The timeout of each step.
const TIMEOUT: Duration = Duration::from_mins(1);

fn run(disk: &MemoryDisk) -> Running<Ledger> {
    // Checkpoints are frequent, so that every kind of write fails once. The first segment is large, so that no
    // file is prepared for the next one: a node survives a failure there.
    let node = ReplicaOptions { checkpoint_interval_bytes: 200 << 10, ..ReplicaOptions::default() };
    let log = LogOptions { segment_size_first: LogOptions::default().segment_size, ..LogOptions::default() };
    let options = Options { node, log, ..Options::new("unused") };
    start_on(Arc::new(disk.clone()), &options).expect("the disk opens")
}

async fn create_accounts(handle: &Handle<Ledger>) {
    handle.execute(common::create_accounts([1, 2]), None).await.expect("the disk is sound");
}

/// Pays 1 a hundred times; ids from `first`.
async fn pay(handle: &Handle<Ledger>, first: u128) -> Result<(), ExecuteError> {
    let command = common::payments(first..first + 100);
    let committed =
        tokio::time::timeout(TIMEOUT, handle.execute(command, None)).await.expect("an answer comes")?;
    assert!(common::are_created(&committed.results), "all created");
    Ok(())
}

/// Pays until a payment is refused; returns the number of acknowledged transfers, and the refusal.
async fn pay_until_refused(handle: &Handle<Ledger>, first: u128) -> (u128, ExecuteError) {
    for round in 0..100_000 {
        if let Err(error) = pay(handle, first + round * 100).await {
            return (round * 100, error);
        }
    }
    panic!("the fault never came");
}

async fn debits(handle: &Handle<Ledger>) -> u128 {
    let query = LedgerQuery::Accounts(vec![AccountId(1)]);
    let answer = tokio::time::timeout(TIMEOUT, handle.query(query, None)).await.expect("an answer comes");
    let LedgerAnswer::Accounts(accounts) = answer.expect("reads go on") else {
        panic!("accounts were asked for")
    };
    accounts[0].account.debits_posted
}

async fn check_reads(handle: &Handle<Ledger>, acknowledged: u128) {
    let debits = debits(handle).await;
    assert!(debits >= acknowledged, "{debits} of {acknowledged} acknowledged");
    if acknowledged > 0 {
        let query = HistoryQuery::Transfers(vec![TransferId(1), TransferId(acknowledged)]);
        let found =
            tokio::time::timeout(TIMEOUT, handle.query_history(query, None)).await.expect("an answer comes");
        assert_eq!(found.expect("reads go on").len(), 2, "acknowledged transfers are found");
    }
}

#[tokio::test]
async fn a_failed_write_stops_all_writes_and_no_read() {
    for fail_after in [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144] {
        let disk = MemoryDisk::new();
        let running = run(&disk);
        let handle = running.handle();
        create_accounts(&handle).await;
        let fail_at = Some(disk.counts().total() + fail_after);
        disk.set_faults(FaultPlan { fail_at, ..FaultPlan::default() });
        let (acknowledged, error) = pay_until_refused(&handle, 1).await;
        assert!(matches!(&error, ExecuteError::ReadOnly { reason } if !reason.is_empty()), "{error}");
        assert!(matches!(handle.health(), Health::ReadOnly { .. }), "the node reports it");
        assert!(pay(&handle, 1 << 64).await.is_err(), "writes stay refused");
        check_reads(&handle, acknowledged).await;
        tokio::task::spawn_blocking(move || running.stop()).await.expect("the node stops");

        let repaired = disk.crash(fail_after);
        let running = run(&repaired);
        check_reads(&running.handle(), acknowledged).await;
        pay(&running.handle(), 1 << 64).await.expect("a repaired disk takes writes");
        tokio::task::spawn_blocking(move || running.stop()).await.expect("the node stops");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_space() {
    let disk = MemoryDisk::new();
    let running = run(&disk);
    let handle = running.handle();
    create_accounts(&handle).await;
    pay(&handle, 1).await.expect("there is space");
    disk.set_faults(FaultPlan { capacity_bytes: Some(600 << 20), ..FaultPlan::default() });
    let (more, error) = pay_until_refused(&handle, 101).await;
    assert!(matches!(&error, ExecuteError::NotTaken { reason } if reason.contains("full")), "{error}");
    check_reads(&handle, 100 + more).await;

    disk.set_faults(FaultPlan::default());
    let mut health = handle.watch_health();
    let serving = health.wait_for(|health| *health == Health::Serving);
    tokio::time::timeout(TIMEOUT, serving).await.expect("writes continue").expect("the node runs");
    pay(&handle, 1 << 64).await.expect("there is space again");
    check_reads(&handle, 100 + more).await;
    tokio::task::spawn_blocking(move || running.stop()).await.expect("the node stops");
}
