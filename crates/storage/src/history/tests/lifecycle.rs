//! Tests of the files that a history keeps, and of its errors when files are missing or writes fail.

use std::sync::Arc;

use bezant_types::{HistoryPosition, MovementNumber};

use super::model::{Entry, Generator, Model, SMALL};
use crate::history::{History, HistoryError};
use crate::{FaultPlan, MemoryDisk, disk::Disk};

pub(super) fn open(disk: &MemoryDisk, position: HistoryPosition) -> Result<History, HistoryError> {
    History::open_with(Arc::new(disk.clone()), position, SMALL)
}

pub(super) fn append(history: &mut History, entry: &Entry) -> Result<HistoryPosition, HistoryError> {
    history.append(Arc::clone(&entry.0), Arc::clone(&entry.1))
}

/// A history of `entries` entries with about 100 rows each, indexed and flushed.
pub(super) fn filled(disk: &MemoryDisk, entries: u64) -> (History, Model) {
    let mut history = open(disk, HistoryPosition::default()).unwrap();
    let (mut model, mut generator) = (Model::default(), Generator::new(entries));
    for _ in 0..entries {
        let entry = generator.entry(200);
        append(&mut history, &entry).unwrap();
        model.add(&entry);
        while history.maintain().unwrap() {}
    }
    history.flush().unwrap();
    (history, model)
}

#[test]
fn an_empty_history_answers_and_creates_no_files() {
    let disk = MemoryDisk::new();
    let mut history = open(&disk, HistoryPosition::default()).unwrap();
    Model::default().check(&history, 1, 50);
    assert_eq!(history.flush().unwrap(), HistoryPosition::default());
    assert!(!history.maintain().unwrap(), "there is no work");
    assert!(disk.list().unwrap().is_empty());
}

#[test]
fn merged_runs_are_removed_after_a_checkpoint() {
    let disk = MemoryDisk::new();
    let (mut history, model) = filled(&disk, 12);
    let runs = |level: &str| {
        let prefix = format!("history-movements-index-{level}-");
        disk.list().unwrap().iter().filter(|name| name.starts_with(&prefix)).count()
    };
    let blocks = model.movements.len() / 48;
    assert_eq!(runs("0"), blocks, "a checkpoint may still need them");
    history.handle_checkpointed(model.position()).unwrap();
    assert_eq!(runs("0"), blocks % 8);
    assert_eq!(runs("1"), blocks / 8);
    let tails = disk.list().unwrap().iter().filter(|name| name.starts_with("history-tail-")).count();
    assert_eq!(tails, 1, "only the newest tail file is left");
    model.check(&open(&disk.restart(), model.position()).unwrap(), 4, 100);
}

#[test]
fn a_lost_index_is_rebuilt() {
    let disk = MemoryDisk::new();
    let (history, model) = filled(&disk, 20);
    drop(history);
    for name in disk.list().unwrap().iter().filter(|name| name.contains("-index-")) {
        disk.remove(name).unwrap();
    }
    let mut history = open(&disk, model.position()).unwrap();
    model.check(&history, 1, 100);
    while history.maintain().unwrap() {}
    model.check(&history, 2, 100);
}

#[test]
fn missing_rows_of_a_checkpoint_are_reported() {
    let disk = MemoryDisk::new();
    let (_, model) = filled(&disk, 5);
    let position = model.position();
    let beyond = HistoryPosition { movements: position.movements + 500, ..position };
    let error = open(&disk, beyond).unwrap_err();
    assert!(matches!(&error, HistoryError::Damaged { file, .. } if file.starts_with("history-")), "{error}");
    let tail = disk.list().unwrap().into_iter().find(|name| name.starts_with("history-tail-")).unwrap();
    disk.remove(&tail).unwrap();
    let error = open(&disk, position).unwrap_err();
    assert!(matches!(&error, HistoryError::Damaged { file, .. } if file == "history-tail"), "{error}");
}

#[test]
fn after_a_failed_write_only_reads_succeed() {
    let disk = MemoryDisk::new();
    let (mut history, mut model) = filled(&disk, 3);
    let mut generator = Generator::after(&model, 77);
    disk.set_faults(FaultPlan { fail_at: Some(disk.counts().total() + 1), ..FaultPlan::default() });
    let error = loop {
        let entry = generator.entry(50);
        let appended = append(&mut history, &entry);
        // The rows are readable even if the write failed: a client may know that they were applied.
        model.add(&entry);
        if let Err(error) = appended {
            break error;
        }
    };
    assert!(matches!(error, HistoryError::Disk(_)), "{error}");
    let writes = disk.counts();
    let late = generator.entry(50);
    assert!(matches!(append(&mut history, &late), Err(HistoryError::Poisoned { .. })));
    model.add(&late);
    assert!(matches!(history.flush(), Err(HistoryError::Poisoned { .. })));
    assert!(matches!(history.handle_checkpointed(model.position()), Err(HistoryError::Poisoned { .. })));
    assert!(history.next_job().is_none(), "no job is returned");
    assert_eq!(disk.counts(), writes, "the disk is not touched");
    model.check(&history, 5, 50);
}

#[test]
fn a_full_disk_is_reported() {
    let disk = MemoryDisk::new();
    disk.set_faults(FaultPlan { capacity_bytes: Some(200_000), ..FaultPlan::default() });
    let mut history = open(&disk, HistoryPosition::default()).unwrap();
    let mut generator = Generator::new(6);
    let error = std::iter::repeat_with(|| append(&mut history, &generator.entry(90)).err()).flatten().next();
    assert!(error.is_some_and(|error| error.to_string().contains("no space left")));
}

#[test]
fn another_thread_reads_rows_once_they_are_appended() {
    let disk = MemoryDisk::new();
    let (mut history, mut model) = filled(&disk, 2);
    let reader = history.reader();
    let mut generator = Generator::after(&model, 8);
    std::thread::scope(|scope| {
        let (to_reader, positions) = std::sync::mpsc::channel::<(Model, u64)>();
        scope.spawn(move || {
            for (model, round) in positions {
                let position = reader.position();
                assert!(position.movements >= model.position().movements, "round {round}");
                let ids: Vec<_> = model.movements.iter().rev().take(20).map(|row| row.transfer.id).collect();
                let found =
                    reader.read(&crate::HistoryQuery::Transfers(ids), MovementNumber(u64::MAX)).unwrap();
                assert!(found.len() >= 10, "round {round}");
            }
        });
        for round in 0..100 {
            let entry = generator.entry(60);
            append(&mut history, &entry).unwrap();
            model.add(&entry);
            to_reader.send((model.clone(), round)).unwrap();
            history.maintain().unwrap();
        }
    });
}
