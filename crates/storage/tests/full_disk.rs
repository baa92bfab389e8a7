//! Tests of a full disk. It is not treated as a broken one: an operation without space continues once there
//! is space, and nothing that was confirmed is lost in a power failure.
#![allow(clippy::unwrap_used, reason = "a test fails at the first error")]

mod common;

use std::sync::Arc;

use bezant_storage::log::LogError;
use bezant_storage::{FaultPlan, History, HistoryError, HistoryQuery, MemoryDisk};
use bezant_types::{
    Balances, Head, HistoryPosition, LogIndex, Movement, MovementKind, MovementNumber, Nanos, RowBatch, Term,
    Transfer, TransferId,
};
use common::{entry, open, recover};

fn fill(disk: &MemoryDisk) {
    disk.set_faults(FaultPlan { capacity_bytes: Some(disk.used_bytes()), ..FaultPlan::default() });
}

fn make_space(disk: &MemoryDisk) {
    disk.set_faults(FaultPlan::default());
}

#[test]
fn a_log_without_space_continues_once_there_is_space() {
    for size in [100, 9_000, 40_000] {
        let disk = MemoryDisk::new();
        let (mut log, _) = open(&disk).unwrap();
        fill(&disk);
        let mut refusals = 0;
        for index in 1..=40 {
            log.append(&entry(index, size)).unwrap();
            while let Err(error) = log.flush() {
                assert!(matches!(error, LogError::NoSpace(_)), "{error}");
                assert_eq!(log.durable_index(), LogIndex(index - 1), "no further entry is durable");
                for seed in 0..4 {
                    let found = recover(&disk.crash(seed)).unwrap();
                    assert!(found.len() as u64 >= index - 1, "{} of {}", found.len(), index - 1);
                }
                assert!(log.flush().is_err(), "it fails again");
                make_space(&disk);
                assert_eq!(log.flush(), Ok(LogIndex(index)), "it continues with space");
                fill(&disk);
                refusals += 1;
            }
            if index % 7 == 0 && log.mark().is_err() {
                make_space(&disk);
                log.mark().unwrap();
                fill(&disk);
            }
        }
        assert!(refusals > 0 || size == 100, "segments were needed");
        let found = recover(&disk.crash(9)).unwrap();
        assert_eq!(found, (1..=40).map(|index| entry(index, size)).collect::<Vec<_>>());
    }
}

#[test]
fn a_flush_that_waits_for_space_is_written_once() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    // One flush over three segments; the first of them exists.
    for index in 1..=4 {
        log.append(&entry(index, 40_000)).unwrap();
    }
    disk.set_faults(FaultPlan {
        capacity_bytes: Some(disk.used_bytes() + (64 << 10)),
        ..FaultPlan::default()
    });
    assert!(matches!(log.flush(), Err(LogError::NoSpace(_))));
    make_space(&disk);
    assert_eq!(log.flush(), Ok(LogIndex(4)));
    log.append(&entry(5, 100)).unwrap();
    log.flush().unwrap();
    assert_eq!(
        recover(&disk.crash(1)).unwrap(),
        (1..=5)
            .map(|index| {
                let size = if index == 5 { 100 } else { 40_000 };
                entry(index, size)
            })
            .collect::<Vec<_>>()
    );
}

/// A log whose segment has no space for another frame, and its last entry.
fn full_segment(disk: &MemoryDisk) -> (bezant_storage::log::Log, u64) {
    let (mut log, _) = open(disk).unwrap();
    let fits = || -> u64 {
        let (mut other, _) = open(&MemoryDisk::new()).unwrap();
        let before = other.stats().segments;
        let mut last = 0;
        loop {
            other.append(&entry(last + 1, 4_000)).unwrap();
            other.flush().unwrap();
            if other.stats().segments > before {
                return last;
            }
            last += 1;
        }
    };
    let last = fits();
    for index in 1..=last {
        log.append(&entry(index, 4_000)).unwrap();
        log.flush().unwrap();
    }
    (log, last)
}

#[test]
fn a_mark_that_waits_for_space_is_written_once() {
    let disk = MemoryDisk::new();
    let (mut log, last) = full_segment(&disk);
    fill(&disk);
    assert!(matches!(log.mark(), Err(LogError::NoSpace(_))));
    make_space(&disk);
    log.mark().unwrap();
    assert_eq!(log.stats().marks, 1);
    let (writes, flushes) = (disk.counts().writes, log.stats().flushes);
    log.mark().unwrap();
    assert_eq!(
        (disk.counts().writes, log.stats().flushes),
        (writes, flushes),
        "the mark was already written"
    );
    assert_eq!(flushes, last + 1, "each flush is counted once");
    log.append(&entry(last + 1, 100)).unwrap();
    log.flush().unwrap();
    assert_eq!(recover(&disk.crash(5)).unwrap().len() as u64, last + 1);
}

#[test]
fn segments_are_released_while_a_flush_waits_for_space() {
    let disk = MemoryDisk::new();
    let (mut log, last) = full_segment(&disk);
    let (capacity, size) = (disk.used_bytes() + log.size_bytes(), log.size_bytes());
    disk.set_faults(FaultPlan { capacity_bytes: Some(capacity), ..FaultPlan::default() });
    for index in last + 1..=2 * last {
        log.append(&entry(index, 4_000)).unwrap();
        log.flush().unwrap();
    }
    log.append(&entry(2 * last + 1, 4_000)).unwrap();
    assert!(matches!(log.flush(), Err(LogError::NoSpace(_))), "there is space for only two segments");
    // A checkpoint of the first segment's entries is durable.
    log.release(LogIndex(last)).unwrap();
    assert_eq!(log.size_bytes(), size);
    assert_eq!(log.flush(), Ok(LogIndex(2 * last + 1)));
}

#[test]
fn a_reset_without_space_can_be_repeated() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    log.append(&entry(1, 100)).unwrap();
    log.plan_reset(LogIndex(9), Term(4)).unwrap();
    disk.set_faults(FaultPlan { capacity_bytes: Some(10_000), ..FaultPlan::default() });
    assert!(matches!(log.reset(LogIndex(9), Term(4)), Err(LogError::NoSpace(_))));
    assert!(matches!(log.reset(LogIndex(9), Term(4)), Err(LogError::NoSpace(_))));
    make_space(&disk);
    log.reset(LogIndex(9), Term(4)).unwrap();
    assert_eq!(log.last_index(), LogIndex(9));
}

fn rows(numbers: std::ops::Range<u64>) -> RowBatch<Movement> {
    let movement = |number: u64| Movement {
        transfer: Transfer { id: TransferId(u128::from(number) + 1), ..Transfer::default() },
        kind: MovementKind::SinglePhase,
        timestamp: Nanos(number + 1),
        debit: Balances::default(),
        credit: Balances::default(),
        debit_head: Head::NONE,
        credit_head: Head::NONE,
    };
    RowBatch::new(numbers.map(movement).collect())
}

#[test]
fn a_history_without_space_shows_rows_and_writes_them_later() {
    let disk = MemoryDisk::new();
    let mut history = History::open(Arc::new(disk.clone()), HistoryPosition::default()).unwrap();
    fill(&disk);
    let mut waits = false;
    for number in 0..40 {
        let appended = history.append(rows(number * 100..(number + 1) * 100), RowBatch::default());
        waits |= matches!(appended, Err(HistoryError::NoSpace(_)));
        assert!(appended.is_ok() || waits, "{appended:?}");
    }
    assert!(waits, "rows need space");
    assert!(matches!(history.flush(), Err(HistoryError::NoSpace(_))));
    let reader = history.reader();
    let wanted = HistoryQuery::Transfers(vec![TransferId(1), TransferId(4000)]);
    assert_eq!(reader.read(&wanted, MovementNumber(u64::MAX)).unwrap().len(), 2, "readers see them");
    make_space(&disk);
    let flushed = history.flush().unwrap();
    assert_eq!(flushed, HistoryPosition { movements: 4000, refusals: 0 });
    let reopened = History::open(Arc::new(disk.crash(3)), flushed).unwrap();
    assert_eq!(reopened.reader().read(&wanted, MovementNumber(u64::MAX)).unwrap().len(), 2);
}

#[test]
fn an_index_without_space_is_built_later() {
    let disk = MemoryDisk::new();
    let mut history = History::open(Arc::new(disk.clone()), HistoryPosition::default()).unwrap();
    history.append(rows(0..98_304), RowBatch::default()).unwrap();
    fill(&disk);
    let finished = history.next_job().unwrap().run().unwrap();
    assert!(finished.lacks_space());
    history.complete(finished).unwrap();
    make_space(&disk);
    let finished = history.next_job().expect("the work is scheduled again").run().unwrap();
    assert!(!finished.lacks_space());
    history.complete(finished).unwrap();
    assert_eq!(history.unindexed_rows().movements, 0);
}
