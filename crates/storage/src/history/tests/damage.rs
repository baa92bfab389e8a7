//! Flipped bits: damaged rows are never returned, and damaged indexes never make an answer wrong.

use super::lifecycle::{filled, open};
use super::model::Random;
use crate::disk::{Disk, OpenMode};
use crate::history::HistoryError;
use crate::{HistoryQuery, MemoryDisk};
use bezant_types::{MovementFilter, MovementNumber, Nanos};

fn flip_any(disk: &MemoryDisk, name: &str, random: &mut Random, end: u64) -> u64 {
    let offset = random.below(end);
    // The bit is flipped in place, so that files that are open have it too.
    let file = disk.open(name, OpenMode::Write).unwrap();
    let mut byte = [0];
    file.read_at(offset, &mut byte).unwrap();
    byte[0] ^= 1 << random.below(8);
    file.write_at(offset, &byte).unwrap();
    offset
}

#[test]
fn a_damaged_row_page_is_reported_and_never_returned() {
    for seed in 0..20 {
        let disk = MemoryDisk::new();
        let (history, model) = filled(&disk, 12);
        let full_pages = model.movements.len() as u64 / 12;
        let in_runs = full_pages / 4 * 4;
        let name = "history-movements-00000000";
        let end = in_runs.min(32) * 4096;
        let offset = flip_any(&disk, name, &mut Random::new(seed), end);
        let errors = model.check_or_fail(&history, seed, 100);
        for error in &errors {
            let HistoryError::Damaged { file, offset: at, .. } = error else { panic!("{error}") };
            assert_eq!((file.as_str(), *at), (name, offset / 4096 * 4096));
        }
        let row = MovementNumber(offset / 4096 * 12);
        let filter = MovementFilter { from: row, timestamp_min: Nanos(0), timestamp_max: Nanos(0), limit: 1 };
        let error =
            history.reader().read(&HistoryQuery::Movements(filter), MovementNumber(u64::MAX)).unwrap_err();
        assert!(matches!(error, HistoryError::Damaged { .. }), "{error}");
    }
}

#[test]
fn a_damaged_index_changes_no_answer_and_is_rebuilt() {
    let mut rebuilt = 0;
    for seed in 0..40 {
        let disk = MemoryDisk::new();
        let (mut history, model) = filled(&disk, 24);
        history.handle_checkpointed(model.position()).unwrap();
        let mut random = Random::new(seed);
        let indexes: Vec<_> =
            disk.list().unwrap().into_iter().filter(|name| name.contains("-index-")).collect();
        for name in &indexes {
            let size = disk.content(name).unwrap().len() as u64;
            if random.below(3) == 0 {
                flip_any(&disk, name, &mut random, size);
            }
        }
        if random.below(2) == 0 {
            drop(history);
            history = open(&disk, model.position()).unwrap();
        }
        model.check(&history, seed, 40);
        let writes = disk.counts().writes;
        while history.maintain().unwrap() {}
        rebuilt += u64::from(disk.counts().writes > writes);
        model.check(&history, seed + 1, 40);
        assert!(disk.list().unwrap().iter().all(|name| !name.contains(".new")), "all files are complete");
        let history = open(&disk.restart(), model.position()).unwrap();
        model.check(&history, seed, 20);
    }
    assert!(rebuilt > 5, "queries found damage only {rebuilt} times");
}

#[test]
fn a_truncated_index_is_rebuilt() {
    let disk = MemoryDisk::new();
    let (history, model) = filled(&disk, 10);
    drop(history);
    for (at, name) in disk.list().unwrap().iter().filter(|name| name.contains("-index-")).enumerate() {
        let mut content = disk.content(name).unwrap();
        content.truncate(content.len() * at / 7);
        disk.put(name, &content);
    }
    model.check(&open(&disk, model.position()).unwrap(), 3, 100);
}
