//! Crashes at every operation of a workload of log and checkpoints, and a check of what recovery promises.
//! Everything acknowledged is there, in order, byte for byte. Nothing is there that was never appended. A
//! second recovery finds the same. No crash is reported as damage.

#![allow(clippy::unwrap_used, reason = "a test fails at the first error")]

mod common;

use std::sync::Arc;

use bezant_consensus::{EntryKind, LogEntry};
use bezant_storage::checkpoint::{CheckpointError, CheckpointStore};
use bezant_storage::log::{Log, LogError, LogOptions};
use bezant_storage::{FaultPlan, MemoryDisk};
use bezant_types::{HistoryPosition, LogIndex, Nanos, Term};
use bytes::Bytes;
use common::{OPTIONS, entries};

/// What the caller of log and checkpoints knows about the disk.
#[derive(Clone, Debug)]
struct Knowledge {
    options: LogOptions,
    /// All entries that were appended, entry `n` at `n - 1`. A later incarnation overwrites entries that were
    /// not kept.
    appended: Vec<LogEntry>,
    /// The durable index that the last flush returned.
    acknowledged: u64,
    /// Index of the last finished checkpoint, and of the last one that was begun.
    checkpoint_finished: u64,
    checkpoint_begun: u64,
}

impl Knowledge {
    fn new(options: LogOptions) -> Self {
        Self { options, appended: Vec::new(), acknowledged: 0, checkpoint_finished: 0, checkpoint_begun: 0 }
    }
}

#[derive(Debug)]
enum Failure {
    Log(LogError),
    Checkpoint(CheckpointError),
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Self {
        Self::Checkpoint(error)
    }
}

/// A reproducible sequence of pseudorandom numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A payload that contains index and incarnation. Every fourth is mostly zeros, which look like bytes that
/// were never written.
fn payload(index: u64, incarnation: u64, dice: &mut Dice) -> Bytes {
    let size =
        [0, 1, 60, 64, 300, 448, 3000, 4032, 5000, 20_000, 45_000][usize::try_from(dice.roll(11)).unwrap()];
    let mut bytes = if dice.roll(4) == 0 {
        vec![0; size]
    } else {
        (0..size as u64)
            .map(|at| u8::try_from((at * 7 + index * 31 + incarnation * 101) % 255 + 1).unwrap())
            .collect()
    };
    for (byte, stamp) in
        bytes.iter_mut().zip(index.to_le_bytes().into_iter().chain(incarnation.to_le_bytes()))
    {
        *byte = stamp;
    }
    Bytes::from(bytes)
}

/// The state in a checkpoint of `index` in this test.
fn state(index: u64) -> Vec<u8> {
    index.to_le_bytes().repeat(2000)
}

fn append(log: &mut Log, known: &mut Knowledge, incarnation: u64, dice: &mut Dice) -> Result<(), Failure> {
    let index = log.last_index().0 + 1;
    let entry = LogEntry {
        index: LogIndex(index),
        term: Term(incarnation),
        kind: EntryKind::Command,
        payload: payload(index, incarnation, dice),
    };
    known.appended.truncate(usize::try_from(index - 1).unwrap());
    known.appended.push(entry.clone());
    Ok(log.append(&entry)?)
}

fn checkpoint(
    disk: &MemoryDisk,
    log: &mut Log,
    known: &mut Knowledge,
    incarnation: u64,
) -> Result<(), Failure> {
    let index = log.durable_index();
    if index.0 == known.checkpoint_finished {
        return Ok(());
    }
    known.checkpoint_begun = index.0;
    let store = CheckpointStore::new(Arc::new(disk.clone()));
    let mut writer = store.begin(index, Term(incarnation))?;
    for piece in state(index.0).chunks(7000) {
        writer.write(piece)?;
    }
    writer.finish(HistoryPosition::default(), Nanos(index.0))?;
    known.checkpoint_finished = index.0;
    Ok(log.release(index)?)
}

/// Opens what is on the disk and compares it with `known`.
fn recover(disk: &MemoryDisk, known: &mut Knowledge) -> Result<Log, Failure> {
    let store = CheckpointStore::new(Arc::new(disk.clone()));
    let found = store.load_newest()?;
    let index = found.as_ref().map_or(0, |found| found.index.0);
    assert!(index >= known.checkpoint_finished, "a finished checkpoint is there");
    assert!(index <= known.checkpoint_begun, "a checkpoint that is there was begun");
    if let Some(found) = found {
        assert_eq!(found.bytes, state(index));
    }
    let (log, mut recovered) = Log::open(Arc::new(disk.clone()), known.options, LogIndex(index))?;
    let last = recovered.last_index.0;
    assert!(last >= known.acknowledged, "acknowledged up to {}, found up to {last}", known.acknowledged);
    let from = usize::try_from(index).unwrap();
    let to = usize::try_from(last).unwrap();
    assert!(to <= known.appended.len(), "only appended entries are found");
    assert_eq!(entries(&mut recovered)?, known.appended[from..to], "the same bytes in the same order");
    // From here on, everything that was found counts as acknowledged.
    known.acknowledged = last;
    Ok(log)
}

/// One incarnation of a process: recovers, then appends, flushes, marks, makes checkpoints and releases
/// segments in some order.
fn run(disk: &MemoryDisk, known: &mut Knowledge, incarnation: u64, steps: u64) -> Result<(), Failure> {
    let mut log = recover(disk, known)?;
    let mut dice = Dice(incarnation);
    for _ in 0..steps {
        match dice.roll(10) {
            0..=4 => append(&mut log, known, incarnation, &mut dice)?,
            5..=7 => known.acknowledged = log.flush()?.0,
            8 => {
                log.mark()?;
                known.acknowledged = log.durable_index().0;
                log.prepare()?;
            }
            _ => checkpoint(disk, &mut log, known, incarnation)?,
        }
    }
    Ok(())
}

/// The disk after a complete first incarnation, and the number of operations of the second one.
fn first_incarnation((incarnation, options): Workload, steps: u64) -> (MemoryDisk, Knowledge, u64) {
    let disk = MemoryDisk::new();
    let mut known = Knowledge::new(options);
    run(&disk, &mut known, incarnation, steps).unwrap();
    let second = disk.restart();
    run(&second, &mut known.clone(), incarnation + 1, steps).unwrap();
    let operations = second.counts().total();
    assert!(operations > steps / 2, "{operations} operations are too few");
    (disk, known, operations)
}

/// Number and term of the first incarnation, and the sizes of segments.
type Workload = (u64, LogOptions);

/// Segments that grow.
const GROWING: LogOptions = LogOptions { segment_size_first: 16 << 10, ..OPTIONS };

const WORKLOADS: [Workload; 4] = [(1, OPTIONS), (11, OPTIONS), (21, OPTIONS), (31, GROWING)];

#[test]
fn nothing_acknowledged_is_lost_when_the_power_fails() {
    WORKLOADS.into_iter().for_each(crash_at_every_operation);
}

fn crash_at_every_operation(workload: Workload) {
    let incarnation = workload.0;
    let (disk, known, operations) = first_incarnation(workload, 60);
    for operation in 1..=operations {
        let mut known = known.clone();
        let running = disk.restart();
        running.set_faults(FaultPlan { crash_at: Some(operation), ..FaultPlan::default() });
        run(&running, &mut known, incarnation + 1, 60).unwrap_err();
        for seed in 0..6 {
            let image = running.crash(seed);
            let mut known = known.clone();
            let context = format!("incarnation {incarnation}, operation {operation}, seed {seed}");
            drop(recover(&image, &mut known).unwrap_or_else(|error| panic!("{context}: {error:?}")));
            drop(recover(&image, &mut known).unwrap_or_else(|error| panic!("{context}, again: {error:?}")));
            run(&image, &mut known, incarnation + 2, 8)
                .unwrap_or_else(|error| panic!("{context}, later: {error:?}"));
        }
        // The process dies, another one recovers and acknowledges what it found, and then the power fails.
        let killed = running.restart();
        drop(recover(&killed, &mut known).unwrap());
        for seed in 0..6 {
            drop(recover(&killed.crash(seed), &mut known.clone()).unwrap_or_else(|error| {
                panic!("incarnation {incarnation}, operation {operation}, killed, seed {seed}: {error:?}")
            }));
        }
    }
}

#[test]
fn a_crash_during_recovery_loses_nothing() {
    WORKLOADS.into_iter().for_each(crash_in_recovery);
}

fn crash_in_recovery(workload: Workload) {
    let incarnation = workload.0;
    let (disk, known, operations) = first_incarnation(workload, 30);
    for operation in 1..=operations {
        let mut known = known.clone();
        let running = disk.restart();
        running.set_faults(FaultPlan { crash_at: Some(operation), ..FaultPlan::default() });
        run(&running, &mut known, incarnation + 1, 30).unwrap_err();
        let torn = running.crash(operation);
        let whole = torn.restart();
        drop(recover(&whole, &mut known.clone()).unwrap());
        for cut in 1..=whole.counts().total() {
            let recovering = torn.restart();
            recovering.set_faults(FaultPlan { crash_at: Some(cut), ..FaultPlan::default() });
            assert!(recover(&recovering, &mut known.clone()).is_err(), "the power fails at {cut}");
            for seed in 0..3 {
                let image = recovering.crash(seed);
                drop(recover(&image, &mut known.clone()).unwrap_or_else(|error| {
                    panic!(
                        "incarnation {incarnation}, operation {operation}, recovery {cut}, seed {seed}: {error:?}"
                    )
                }));
            }
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_an_operation_fails() {
    WORKLOADS.into_iter().for_each(fail_at_every_operation);
}

fn fail_at_every_operation(workload: Workload) {
    let incarnation = workload.0;
    let (disk, known, operations) = first_incarnation(workload, 60);
    for operation in 1..=operations {
        let mut known = known.clone();
        let running = disk.restart();
        running.set_faults(FaultPlan { fail_at: Some(operation), ..FaultPlan::default() });
        // An operation whose failure is harmless (removing a file that may not exist) returns no error.
        drop(run(&running, &mut known, incarnation + 1, 60));
        for seed in 0..4 {
            let context = format!("incarnation {incarnation}, operation {operation}, seed {seed}");
            drop(
                recover(&running.crash(seed), &mut known.clone())
                    .unwrap_or_else(|error| panic!("{context}: {error:?}")),
            );
        }
        // The process is restarted, recovers and continues, and then the power fails.
        let again = running.restart();
        run(&again, &mut known, incarnation + 2, 8).unwrap();
        for seed in 0..4 {
            let context = format!("incarnation {incarnation}, operation {operation}, again, seed {seed}");
            drop(
                recover(&again.crash(seed), &mut known.clone())
                    .unwrap_or_else(|error| panic!("{context}: {error:?}")),
            );
        }
    }
}

#[test]
fn after_an_error_the_log_stays_closed() {
    for (kind, nth) in [("write", 1), ("sync", 2)] {
        let disk = MemoryDisk::new();
        let (mut log, _) = common::open(&disk).unwrap();
        let mut dice = Dice(7);
        let mut known = Knowledge::new(OPTIONS);
        append(&mut log, &mut known, 1, &mut dice).unwrap();
        disk.set_faults(FaultPlan { fail_at: Some(disk.counts().total() + nth), ..FaultPlan::default() });
        let error = log.flush().unwrap_err();
        assert!(error.to_string().starts_with(kind), "{error}");
        disk.set_faults(FaultPlan::default());
        let before = disk.counts();
        let next =
            LogEntry { index: LogIndex(2), term: Term(1), kind: EntryKind::Command, payload: Bytes::new() };
        assert_eq!(log.append(&next), Err(error.clone()));
        assert_eq!(log.flush(), Err(error.clone()));
        assert_eq!(log.mark(), Err(error.clone()));
        assert_eq!(log.prepare(), Err(error.clone()));
        assert_eq!(log.release(LogIndex(0)), Err(error));
        assert_eq!(disk.counts(), before, "there is no operation after the failed {kind}");
        assert_eq!(log.durable_index(), LogIndex(0));
    }
}

#[test]
fn a_full_disk_loses_nothing_and_works_again_with_space() {
    for capacity_kib in (64..600).step_by(20) {
        let disk = MemoryDisk::new();
        let capacity_bytes = Some(capacity_kib << 10);
        disk.set_faults(FaultPlan { capacity_bytes, ..FaultPlan::default() });
        let mut known = Knowledge::new(OPTIONS);
        match run(&disk, &mut known, 1, 80) {
            Ok(()) => {}
            Err(Failure::Log(LogError::Disk(error)) | Failure::Checkpoint(CheckpointError::Disk(error))) => {
                assert!(error.to_string().contains("no space left"), "{error}");
            }
            Err(other) => panic!("{capacity_kib} KiB: {other:?}"),
        }
        run(&disk.restart(), &mut known, 2, 40).unwrap();
    }
}
