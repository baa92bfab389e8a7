//! The power fails at every operation that changes the disk. Everything that a finished checkpoint needs must
//! survive, and the rest is appended again from the log.

use super::lifecycle::{append, open};
use super::model::{Entry, Generator, Model};
use crate::history::HistoryError;
use crate::{FaultPlan, MemoryDisk};
use bezant_types::HistoryPosition;

/// A workload of entries with checkpoints; `durable` is the position of the newest finished checkpoint.
fn work(
    disk: &MemoryDisk,
    from: HistoryPosition,
    entries: &[Entry],
    model: &Model,
    durable: &mut HistoryPosition,
) -> Result<(), HistoryError> {
    let mut history = open(disk, from)?;
    append(&mut history, &model.entry_from(from))?;
    for (at, entry) in entries.iter().enumerate() {
        let cut = history.position();
        append(&mut history, entry)?;
        for _ in 0..4 {
            history.maintain()?;
        }
        if at % 4 == 3 {
            history.flush()?;
            // The checkpoint itself is not part of this test: it counts as durable from here on.
            *durable = cut;
            history.handle_checkpointed(cut)?;
        }
    }
    Ok(())
}

#[test]
fn rows_of_a_checkpoint_survive_every_crash() {
    let mut generator = Generator::new(5);
    let entries: Vec<Entry> = (0..16).map(|_| generator.entry(90)).collect();
    let mut all = Model::default();
    entries.iter().for_each(|entry| all.add(entry));

    let disk = MemoryDisk::new();
    let start = HistoryPosition::default();
    work(&disk, start, &entries, &Model::default(), &mut start.clone()).unwrap();
    let operations = disk.counts().total();
    assert!(operations > 100, "the workload has only {operations} operations");
    for crash_at in 1..=operations {
        let disk = MemoryDisk::new();
        disk.set_faults(FaultPlan { crash_at: Some(crash_at), ..FaultPlan::default() });
        let mut durable = start;
        assert!(work(&disk, start, &entries, &Model::default(), &mut durable).is_err());
        for seed in 0..2 {
            let disk = disk.crash(crash_at * 7 + seed);
            let mut history = open(&disk, durable).unwrap();
            append(&mut history, &all.entry_from(durable)).unwrap();
            all.check(&history, seed, 4);
            while history.maintain().unwrap() {}
            all.check(&history, seed + 1, 4);
            history.flush().unwrap();
            all.check(&open(&disk.crash(seed), all.position()).unwrap(), seed, 4);
        }
    }
}

#[test]
fn rows_of_a_checkpoint_survive_a_failure_and_a_crash() {
    let mut generator = Generator::new(7);
    let entries: Vec<Entry> = (0..12).map(|_| generator.entry(90)).collect();
    let mut all = Model::default();
    entries.iter().for_each(|entry| all.add(entry));
    let start = HistoryPosition::default();
    for operation in 1.. {
        let disk = MemoryDisk::new();
        // A failed sync makes nothing durable, or some sectors.
        let durable_sectors_seed = Some(operation).filter(|number| number % 3 > 0);
        disk.set_faults(FaultPlan { fail_at: Some(operation), durable_sectors_seed, ..FaultPlan::default() });
        let mut durable = start;
        let is_whole = work(&disk, start, &entries, &Model::default(), &mut durable).is_ok();
        if is_whole && disk.counts().total() < operation {
            break;
        }
        let disk = disk.restart();
        let mut history = open(&disk, durable).unwrap();
        for seed in 0..2 {
            let mut crashed = open(&disk.crash(seed), durable).unwrap();
            append(&mut crashed, &all.entry_from(durable)).unwrap();
            all.check(&crashed, seed, 4);
        }
        append(&mut history, &all.entry_from(durable)).unwrap();
        while history.maintain().unwrap() {}
        history.flush().unwrap();
        for seed in 0..2 {
            all.check(&open(&disk.crash(seed), all.position()).unwrap(), seed, 4);
        }
    }
}

#[test]
fn a_crash_during_recovery_changes_nothing() {
    let mut generator = Generator::new(9);
    let entries: Vec<Entry> = (0..12).map(|_| generator.entry(90)).collect();
    let mut all = Model::default();
    entries.iter().for_each(|entry| all.add(entry));
    let disk = MemoryDisk::new();
    let mut durable = HistoryPosition::default();
    work(&disk, durable, &entries, &Model::default(), &mut durable).unwrap();
    let mut disk = disk.crash(1);
    for crash_at in 1..60 {
        disk.set_faults(FaultPlan { crash_at: Some(crash_at), ..FaultPlan::default() });
        let mut ignored = durable;
        // It may crash in the middle or not. Either way the same checkpoint is opened again.
        drop(work(&disk, durable, &[], &all, &mut ignored));
        disk = disk.crash(crash_at);
    }
    let mut history = open(&disk, durable).unwrap();
    append(&mut history, &all.entry_from(durable)).unwrap();
    all.check(&history, 3, 50);
}
