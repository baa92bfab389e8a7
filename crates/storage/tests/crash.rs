//! Crashes at every operation of a workload of log and checkpoints, and proves what recovery promises:
//! everything acknowledged is there, in order, byte for byte; nothing is there that was never appended;
//! recovering twice finds the same; and no crash is ever taken for damage.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use std::sync::Arc;

use bezant_consensus::{EntryKind, LogEntry};
use bezant_storage::checkpoint::{CheckpointError, CheckpointStore};
use bezant_storage::log::{Log, LogError};
use bezant_storage::{FaultPlan, MemoryDisk};
use bezant_types::{HistoryPosition, LogIndex, Nanos, Term};
use bytes::Bytes;
use common::{entries, open_at};

/// What the caller of log and checkpoints knows.
#[derive(Clone, Debug, Default)]
struct Knowledge {
    /// Everything that was ever appended; entry `n` at `n - 1`. A later life overwrites what was not kept.
    appended: Vec<LogEntry>,
    /// Up to where a flush has said that it is durable.
    acknowledged: u64,
    /// The last checkpoint that was finished, and the last that was begun.
    checkpoint_finished: u64,
    checkpoint_begun: u64,
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

/// Numbers that only look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A payload that says whose it is; every fourth is mostly zeros, which look like what was never written.
fn payload(index: u64, life: u64, dice: &mut Dice) -> Bytes {
    let size =
        [0, 1, 60, 64, 300, 448, 3000, 4032, 5000, 20_000, 45_000][usize::try_from(dice.roll(11)).unwrap()];
    let mut bytes = if dice.roll(4) == 0 {
        vec![0; size]
    } else {
        (0..size as u64)
            .map(|at| u8::try_from((at * 7 + index * 31 + life * 101) % 255 + 1).unwrap())
            .collect()
    };
    for (byte, stamp) in bytes.iter_mut().zip(index.to_le_bytes().into_iter().chain(life.to_le_bytes())) {
        *byte = stamp;
    }
    Bytes::from(bytes)
}

/// The state that a checkpoint of `index` holds in this test.
fn state(index: u64) -> Vec<u8> {
    index.to_le_bytes().repeat(2000)
}

fn append(log: &mut Log, known: &mut Knowledge, life: u64, dice: &mut Dice) -> Result<(), Failure> {
    let index = log.last_index().0 + 1;
    let entry = LogEntry {
        index: LogIndex(index),
        term: Term(life),
        kind: EntryKind::Command,
        payload: payload(index, life, dice),
    };
    known.appended.truncate(usize::try_from(index - 1).unwrap());
    known.appended.push(entry.clone());
    Ok(log.append(&entry)?)
}

fn checkpoint(disk: &MemoryDisk, log: &mut Log, known: &mut Knowledge, life: u64) -> Result<(), Failure> {
    let index = log.durable_index();
    if index.0 == known.checkpoint_finished {
        return Ok(());
    }
    known.checkpoint_begun = index.0;
    let store = CheckpointStore::new(Arc::new(disk.clone()));
    let mut writer = store.begin(index, Term(life))?;
    for piece in state(index.0).chunks(7000) {
        writer.write(piece)?;
    }
    writer.finish(HistoryPosition::default(), Nanos(index.0))?;
    known.checkpoint_finished = index.0;
    Ok(log.release(index)?)
}

/// Opens what is on the disk and checks it against what is known.
fn recover(disk: &MemoryDisk, known: &mut Knowledge) -> Result<Log, Failure> {
    let store = CheckpointStore::new(Arc::new(disk.clone()));
    let found = store.load_newest()?;
    let index = found.as_ref().map_or(0, |found| found.index.0);
    assert!(index >= known.checkpoint_finished, "a finished checkpoint is there");
    assert!(index <= known.checkpoint_begun, "a checkpoint was begun before it is there");
    if let Some(found) = found {
        assert_eq!(found.bytes, state(index));
    }
    let (log, mut recovered) = open_at(disk, index)?;
    let last = recovered.last_index.0;
    assert!(last >= known.acknowledged, "acknowledged up to {}, found up to {last}", known.acknowledged);
    let from = usize::try_from(index).unwrap();
    let to = usize::try_from(last).unwrap();
    assert!(to <= known.appended.len(), "nothing is found that was never appended");
    assert_eq!(entries(&mut recovered)?, known.appended[from..to], "the same bytes in the same order");
    // From here on, what was found is acknowledged.
    known.acknowledged = last;
    Ok(log)
}

/// One life of a process: recover, then append, flush, mark, checkpoint and release in some order.
fn live(disk: &MemoryDisk, known: &mut Knowledge, life: u64, steps: u64) -> Result<(), Failure> {
    let mut log = recover(disk, known)?;
    let mut dice = Dice(life);
    for _ in 0..steps {
        match dice.roll(10) {
            0..=4 => append(&mut log, known, life, &mut dice)?,
            5..=7 => known.acknowledged = log.flush()?.0,
            8 => {
                log.mark()?;
                known.acknowledged = log.durable_index().0;
                log.prepare()?;
            }
            _ => checkpoint(disk, &mut log, known, life)?,
        }
    }
    Ok(())
}

/// The disk after one whole life, and how many operations a second one takes.
fn first_life(life: u64, steps: u64) -> (MemoryDisk, Knowledge, u64) {
    let disk = MemoryDisk::new();
    let mut known = Knowledge::default();
    live(&disk, &mut known, life, steps).unwrap();
    let second = disk.restart();
    live(&second, &mut known.clone(), life + 1, steps).unwrap();
    let operations = second.counts().total();
    assert!(operations > steps / 2, "{operations} operations are a workload");
    (disk, known, operations)
}

/// First lives of different workloads; terms grow from life to life.
const LIVES: [u64; 3] = [1, 11, 21];

#[test]
fn nothing_acknowledged_is_lost_whichever_operation_the_power_fails_in() {
    LIVES.into_iter().for_each(crash_at_every_operation);
}

fn crash_at_every_operation(life: u64) {
    let (disk, known, operations) = first_life(life, 60);
    for operation in 1..=operations {
        let mut known = known.clone();
        let running = disk.restart();
        running.set_faults(FaultPlan { crash_at: Some(operation), ..FaultPlan::default() });
        live(&running, &mut known, life + 1, 60).unwrap_err();
        for seed in 0..6 {
            let image = running.crash(seed);
            let mut known = known.clone();
            let context = format!("life {life}, operation {operation}, seed {seed}");
            drop(recover(&image, &mut known).unwrap_or_else(|error| panic!("{context}: {error:?}")));
            drop(recover(&image, &mut known).unwrap_or_else(|error| panic!("{context}, again: {error:?}")));
            live(&image, &mut known, life + 2, 8)
                .unwrap_or_else(|error| panic!("{context}, later: {error:?}"));
        }
        // The process dies, another one recovers and acknowledges what it found, and then the power fails.
        let killed = running.restart();
        drop(recover(&killed, &mut known).unwrap());
        for seed in 0..6 {
            drop(recover(&killed.crash(seed), &mut known.clone()).unwrap_or_else(|error| {
                panic!("life {life}, operation {operation}, killed, seed {seed}: {error:?}")
            }));
        }
    }
}

#[test]
fn a_crash_during_recovery_loses_nothing_either() {
    LIVES.into_iter().for_each(crash_in_recovery);
}

fn crash_in_recovery(life: u64) {
    let (disk, known, operations) = first_life(life, 30);
    for operation in 1..=operations {
        let mut known = known.clone();
        let running = disk.restart();
        running.set_faults(FaultPlan { crash_at: Some(operation), ..FaultPlan::default() });
        live(&running, &mut known, life + 1, 30).unwrap_err();
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
                    panic!("life {life}, operation {operation}, recovery {cut}, seed {seed}: {error:?}")
                }));
            }
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_whichever_operation_fails() {
    LIVES.into_iter().for_each(fail_at_every_operation);
}

fn fail_at_every_operation(life: u64) {
    let (disk, known, operations) = first_life(life, 60);
    for operation in 1..=operations {
        let mut known = known.clone();
        let running = disk.restart();
        running.set_faults(FaultPlan { fail_at: Some(operation), ..FaultPlan::default() });
        // An operation that may fail without harm (removing what may not be there) can go by unseen.
        drop(live(&running, &mut known, life + 1, 60));
        for seed in 0..4 {
            let context = format!("life {life}, operation {operation}, seed {seed}");
            drop(
                recover(&running.crash(seed), &mut known.clone())
                    .unwrap_or_else(|error| panic!("{context}: {error:?}")),
            );
        }
        // The process is started anew, recovers and goes on, and then the power fails.
        let again = running.restart();
        live(&again, &mut known, life + 2, 8).unwrap();
        for seed in 0..4 {
            let context = format!("life {life}, operation {operation}, again, seed {seed}");
            drop(
                recover(&again.crash(seed), &mut known.clone())
                    .unwrap_or_else(|error| panic!("{context}: {error:?}")),
            );
        }
    }
}

#[test]
fn a_log_that_met_an_error_answers_it_for_ever_and_touches_the_disk_no_more() {
    for (kind, nth) in [("write", 1), ("sync", 2)] {
        let disk = MemoryDisk::new();
        let (mut log, _) = common::open(&disk).unwrap();
        let mut dice = Dice(7);
        let mut known = Knowledge::default();
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
        assert_eq!(disk.counts(), before, "no operation after the failed {kind}");
        assert_eq!(log.durable_index(), LogIndex(0));
    }
}

#[test]
fn a_disk_that_fills_up_loses_nothing_and_goes_on_when_there_is_room() {
    for capacity_kib in (64..600).step_by(20) {
        let disk = MemoryDisk::new();
        let capacity_bytes = Some(capacity_kib << 10);
        disk.set_faults(FaultPlan { capacity_bytes, ..FaultPlan::default() });
        let mut known = Knowledge::default();
        match live(&disk, &mut known, 1, 80) {
            Ok(()) => {}
            Err(Failure::Log(LogError::Disk(error)) | Failure::Checkpoint(CheckpointError::Disk(error))) => {
                assert!(error.to_string().contains("no space left"), "{error}");
            }
            Err(other) => panic!("{capacity_kib} KiB: {other:?}"),
        }
        live(&disk.restart(), &mut known, 2, 40).unwrap();
    }
}
