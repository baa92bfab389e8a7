//! Random rows and queries. Every answer equals the model's, however many rows are indexed by then. The same
//! holds after the history is opened again, at any position that a flush covered.

use std::sync::Arc;

use super::model::{Generator, Model, Random, SMALL};
use crate::MemoryDisk;
use crate::history::History;
use bezant_types::HistoryPosition;
use proptest::prelude::*;

fn open(disk: &MemoryDisk, position: HistoryPosition) -> History {
    History::open_with(Arc::new(disk.clone()), position, SMALL).unwrap()
}

#[test]
fn rows_are_found_while_they_are_indexed() {
    let disk = MemoryDisk::new();
    let mut history = open(&disk, HistoryPosition::default());
    let (mut model, mut generator) = (Model::default(), Generator::new(1));
    for round in 0..80 {
        let entry = generator.entry(150);
        history.append(Arc::clone(&entry.0), Arc::clone(&entry.1)).unwrap();
        model.add(&entry);
        // Sometimes the index is up to date, sometimes it lags.
        for _ in 0..round % 5 * 3 {
            history.maintain().unwrap();
        }
        model.check(&history, round, 8);
    }
    while history.maintain().unwrap() {}
    model.check(&history, 99, 300);
    let names = disk_files(&disk);
    assert!(names.iter().any(|name| name.starts_with("history-movements-index-2-")), "{names:?}");
    assert!(names.iter().any(|name| name.starts_with("history-refusals-index-1-")), "{names:?}");
    assert_eq!(names.iter().filter(|name| name.contains(".new")).count(), 0, "all files are complete");
}

fn disk_files(disk: &MemoryDisk) -> Vec<String> {
    use crate::disk::Disk;
    disk.list().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_history_continues_at_the_position_of_a_checkpoint(seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let mut disk = MemoryDisk::new();
        let mut history = open(&disk, HistoryPosition::default());
        let (mut model, mut generator) = (Model::default(), Generator::new(seed));
        let mut cut = HistoryPosition::default();
        for round in 0..30 {
            let entry = generator.entry(120);
            history.append(Arc::clone(&entry.0), Arc::clone(&entry.1)).unwrap();
            model.add(&entry);
            for _ in 0..random.below(12) {
                history.maintain().unwrap();
            }
            match random.below(6) {
                // The position of a checkpoint is taken first; its flush comes some entries later.
                0 => {
                    let position = model.position();
                    let entry = generator.entry(40);
                    history.append(Arc::clone(&entry.0), Arc::clone(&entry.1)).unwrap();
                    model.add(&entry);
                    prop_assert!(history.flush().unwrap() == model.position());
                    cut = position;
                }
                1 => history.handle_checkpointed(cut).unwrap(),
                2 => {
                    disk = if random.below(2) == 0 { disk.restart() } else { disk.crash(seed ^ round) };
                    history = open(&disk, cut);
                    let (movements, refusals) = model.entry_from(cut);
                    history.append(movements, refusals).unwrap();
                }
                _ => {}
            }
            model.check(&history, round, 4);
        }
    }
}
