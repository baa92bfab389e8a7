//! Sizes of segments: they follow the traffic of the log, from small to the largest. A segment without an
//! entry is replaced when the next entry needs a larger one.
#![allow(clippy::unwrap_used, reason = "a test fails at the first error")]

mod common;

use std::sync::Arc;

use bezant_consensus::LogEntry;
use bezant_storage::checkpoint::CheckpointStore;
use bezant_storage::disk::Disk;
use bezant_storage::log::{Log, LogError, LogOptions, Recovered, inspect};
use bezant_storage::{FaultPlan, MemoryDisk};
use bezant_types::{HistoryPosition, LogIndex, Nanos, Term};
use common::{BLOCK, FIRST, entries, entry};

const KIB: u64 = 1 << 10;
const GROWING: LogOptions =
    LogOptions { segment_size: 1024 * KIB, segment_size_first: 16 * KIB, reserve_size: 0 };
const PREPARED: &str = "log-prepared.tmp";

fn open_at(disk: &MemoryDisk, checkpoint: u64) -> Result<(Log, Recovered), LogError> {
    Log::open(Arc::new(disk.clone()), GROWING, LogIndex(checkpoint))
}

fn open(disk: &MemoryDisk) -> Log {
    open_at(disk, 0).unwrap().0
}

fn add(log: &mut Log, size: usize) -> Result<LogIndex, LogError> {
    log.append(&entry(log.last_index().0 + 1, size))?;
    log.flush()
}

/// Sizes of the segments in KiB, rounded down, the oldest first.
fn sizes(disk: &MemoryDisk) -> Vec<u64> {
    let names = disk.list().unwrap().into_iter().filter(|name| name.starts_with("log-0"));
    names.map(|name| disk.content(&name).unwrap().len() as u64 / KIB).collect()
}

fn install(disk: &MemoryDisk, log: &mut Log, index: u64) {
    log.plan_reset(LogIndex(index), Term(1)).unwrap();
    let mut writer = CheckpointStore::new(Arc::new(disk.clone())).begin(LogIndex(index), Term(1)).unwrap();
    writer.write(&[5; 100]).unwrap();
    writer.finish(HistoryPosition::default(), Nanos(3)).unwrap();
    log.reset(LogIndex(index), Term(1)).unwrap();
}

#[test]
fn each_segment_has_four_times_the_size_of_the_full_one() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    assert_eq!(sizes(&disk), [16]);
    while sizes(&disk).len() < 6 {
        add(&mut log, 3000).unwrap();
    }
    assert_eq!(sizes(&disk), [16, 64, 256, 1024, 1024, 1024]);
    let last = log.last_index().0;
    drop(log);
    let (_, mut recovered) = open_at(&disk.crash(1), 0).unwrap();
    assert_eq!(
        entries(&mut recovered).unwrap(),
        (1..=last).map(|index| entry(index, 3000)).collect::<Vec<_>>()
    );
}

#[test]
fn a_segment_has_the_size_that_a_large_entry_needs() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    add(&mut log, 100).unwrap();
    // A header, 123 blocks of the frame, a seal.
    add(&mut log, 123 * BLOCK - 64).unwrap();
    assert_eq!(sizes(&disk), [16, 125 * 4]);
    add(&mut log, 100).unwrap();
    assert_eq!(sizes(&disk), [16, 125 * 4, 1024], "four times as much is more than the largest size");
}

#[test]
fn an_entry_that_is_too_large_for_the_empty_first_segment_replaces_it() {
    for size in [9000, 60_000, 1024 * 1024 - 3 * BLOCK - 64] {
        let disk = MemoryDisk::new();
        let mut log = open(&disk);
        add(&mut log, size).unwrap();
        assert_eq!(disk.list().unwrap(), [FIRST], "{size}");
        add(&mut log, 10).unwrap();
        drop(log);
        for seed in 0..8 {
            let (_, mut recovered) = open_at(&disk.crash(seed), 0).unwrap();
            assert_eq!(entries(&mut recovered).unwrap(), [entry(1, size), entry(2, 10)], "{size}");
        }
        let found = inspect(&disk, LogIndex(0)).unwrap();
        assert_eq!((found.damage, found.segments[0].sequence), (vec![], 2));
    }
    let mut log = open(&MemoryDisk::new());
    let limit = 1024 * 1024 - 3 * BLOCK - 64;
    let error = log.append(&entry(1, limit + 1)).unwrap_err();
    assert_eq!(error, LogError::TooLarge { size: limit + 1, limit });
}

#[test]
fn a_log_that_was_reset_begins_small_again() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    while sizes(&disk).len() < 3 {
        add(&mut log, 3000).unwrap();
    }
    log.prepare().unwrap();
    install(&disk, &mut log, 500);
    assert_eq!(sizes(&disk), [16]);
    for _ in 0..3 {
        add(&mut log, 3000).unwrap();
    }
    assert_eq!(sizes(&disk), [16, 64], "a file of another size was prepared");
    let (_, mut recovered) = open_at(&disk.crash(1), 500).unwrap();
    assert_eq!(entries(&mut recovered).unwrap().len(), 3);
}

#[test]
fn a_prepared_file_is_used_when_it_has_the_size_of_the_segment() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    assert!(!log.needs_prepare());
    for _ in 0..2 {
        add(&mut log, 100).unwrap();
    }
    assert!(log.needs_prepare(), "less than half of the segment is left");
    log.prepare().unwrap();
    assert!(!log.needs_prepare());
    assert_eq!(disk.content(PREPARED).unwrap().len() as u64, 64 * KIB);
    let before = disk.counts().writes;
    add(&mut log, 100).unwrap();
    assert_eq!(disk.counts().writes - before, 2, "the entry and the seal: nothing was filled with zeros");
    log.prepare().unwrap();
    // The entry needs more than the prepared file has.
    add(&mut log, 500_000).unwrap();
    assert_eq!(sizes(&disk), [16, 64, 500]);
    assert!(!disk.list().unwrap().contains(&PREPARED.to_owned()));
}

#[test]
fn a_log_of_equal_segments_is_continued_with_the_largest() {
    let disk = MemoryDisk::new();
    let fixed = LogOptions::fixed(GROWING.segment_size);
    let (mut log, _) = Log::open(Arc::new(disk.clone()), fixed, LogIndex(0)).unwrap();
    add(&mut log, 3000).unwrap();
    drop(log);
    let mut log = open(&disk);
    for _ in 0..2 {
        add(&mut log, 900_000).unwrap();
    }
    assert_eq!(sizes(&disk), [1024, 1024]);
    drop(log);
    // The format is the same: a program whose segments are all equal reads a log that has grown.
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    for size in [60_000, 10, 100_000, 10] {
        add(&mut log, size).unwrap();
    }
    let (_, mut recovered) = Log::open(Arc::new(disk.clone()), fixed, LogIndex(0)).unwrap();
    assert_eq!(entries(&mut recovered).unwrap().len(), 4);
}

#[test]
fn a_full_disk_keeps_the_segment_that_was_to_be_replaced() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    disk.set_faults(FaultPlan { capacity_bytes: Some(40 * KIB), ..FaultPlan::default() });
    for _ in 0..2 {
        assert!(matches!(add_or_flush(&mut log), Err(LogError::NoSpace(_))));
        let (_, recovered) = open_at(&disk.restart(), 0).unwrap();
        assert_eq!(recovered.last_index, LogIndex(0));
    }
    disk.set_faults(FaultPlan::default());
    assert_eq!(log.flush(), Ok(LogIndex(1)));
    assert_eq!(sizes(&disk), [64]);
}

/// Appends entry 1, or writes it again after a failure.
fn add_or_flush(log: &mut Log) -> Result<LogIndex, LogError> {
    if log.last_index() == LogIndex(0) { add(log, 9000) } else { log.flush() }
}

/// The highest committed index that the disk records.
fn committed(recovered: &mut Recovered) -> LogIndex {
    while recovered.entries.next().unwrap().is_some() {}
    recovered.committed.max(recovered.entries.committed())
}

#[test]
fn a_replaced_segment_loses_no_committed_index() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    for _ in 0..2 {
        add(&mut log, 100).unwrap();
    }
    // The first segment is full, so the mark begins the second one.
    log.note_committed(LogIndex(2));
    log.mark().unwrap();
    assert_eq!(sizes(&disk), [16, 64]);
    assert_eq!(committed(&mut open_at(&disk.crash(1), 0).unwrap().1), LogIndex(2));
    // The entry fills its blocks, so no padding follows it.
    add(&mut log, 20 * BLOCK - 64).unwrap();
    assert_eq!(sizes(&disk), [16, 256]);
    for seed in 0..8 {
        let (_, mut recovered) = open_at(&disk.crash(seed), 0).unwrap();
        assert_eq!(recovered.last_index, LogIndex(3));
        assert_eq!(committed(&mut recovered), LogIndex(2));
    }
}

/// A log whose last segment holds no entry, and is too small for the next.
struct Empty {
    name: &'static str,
    disk: MemoryDisk,
    checkpoint: u64,
    /// The entries after the checkpoint.
    held: Vec<LogEntry>,
    committed: LogIndex,
}

fn empty_segments() -> Vec<Empty> {
    let new = MemoryDisk::new();
    drop(open(&new));
    let after_reset = MemoryDisk::new();
    let mut log = open(&after_reset);
    add(&mut log, 3000).unwrap();
    install(&after_reset, &mut log, 7);
    let after_truncation = MemoryDisk::new();
    let mut log = open(&after_truncation);
    for size in [100, 100, 5000, 5000] {
        add(&mut log, size).unwrap();
    }
    log.note_committed(LogIndex(1));
    log.truncate(LogIndex(2)).unwrap();
    let marked = after_truncation.restart();
    let mut log = open(&marked);
    log.note_committed(LogIndex(2));
    log.mark().unwrap();
    let two = vec![entry(1, 100), entry(2, 100)];
    let case = |name, disk, checkpoint, held, committed| Empty {
        name,
        disk,
        checkpoint,
        held,
        committed: LogIndex(committed),
    };
    vec![
        case("a new log", new, 0, vec![], 0),
        case("after a reset", after_reset, 7, vec![], 0),
        case("after a truncation", after_truncation, 0, two.clone(), 0),
        case("after a mark", marked, 0, two, 2),
    ]
}

impl Empty {
    /// Appends the entry that needs a larger segment.
    fn replace(&self, disk: &MemoryDisk) -> Result<(), LogError> {
        let (mut log, _) = open_at(disk, self.checkpoint)?;
        add(&mut log, 20 * BLOCK - 64).map(drop)
    }

    /// Opens the log: the entry is there or not, and nothing else was lost. Then the log continues.
    fn check(&self, disk: &MemoryDisk, must_hold: bool, context: &str) {
        let opened = open_at(disk, self.checkpoint);
        let (mut log, mut recovered) = opened.unwrap_or_else(|error| panic!("{context}: {error}"));
        let mut expected = self.held.clone();
        let next = self.checkpoint + expected.len() as u64 + 1;
        if must_hold || recovered.last_index.0 == next {
            expected.push(entry(next, 20 * BLOCK - 64));
        }
        assert!(entries(&mut recovered).unwrap() == expected, "{context}");
        assert!(committed(&mut recovered) >= self.committed, "{context}: the committed index is recorded");
        for size in [100, 30_000] {
            add(&mut log, size).unwrap();
            expected.push(entry(log.last_index().0, size));
        }
        drop(log);
        let (_, mut recovered) = open_at(&disk.crash(1), self.checkpoint).unwrap();
        assert!(entries(&mut recovered).unwrap() == expected, "{context}: it continues");
        assert_eq!(inspect(disk, LogIndex(self.checkpoint)).unwrap().damage, [], "{context}");
    }
}

#[test]
fn a_fault_while_a_segment_is_replaced_loses_nothing() {
    for case in empty_segments() {
        let whole = case.disk.restart();
        let segments = sizes(&whole).len();
        case.replace(&whole).unwrap();
        assert_eq!(sizes(&whole).len(), segments, "{}: the segment was replaced", case.name);
        case.check(&whole.crash(2), true, case.name);
        let operations = {
            let counted = case.disk.restart();
            case.replace(&counted).unwrap();
            counted.counts().total()
        };
        for operation in 1..=operations {
            let context = format!("{}, operation {operation}", case.name);
            let disk = case.disk.restart();
            disk.set_faults(FaultPlan { crash_at: Some(operation), ..FaultPlan::default() });
            case.replace(&disk).unwrap_err();
            for seed in 0..12 {
                case.check(&disk.crash(seed), false, &format!("{context}, seed {seed}"));
            }
            case.check(&disk.restart(), false, &format!("{context}, killed"));
            let disk = case.disk.restart();
            disk.set_faults(FaultPlan { fail_at: Some(operation), ..FaultPlan::default() });
            let is_done = case.replace(&disk).is_ok();
            for seed in 0..6 {
                case.check(&disk.crash(seed), is_done, &format!("{context} fails, seed {seed}"));
            }
        }
    }
}
