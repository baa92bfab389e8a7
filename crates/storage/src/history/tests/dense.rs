//! Keys with thousands of postings on many pages of a run, searched from any position, forward and backward.

use std::sync::Arc;

use super::lifecycle::append;
use super::model::{Generator, Model, SMALL};
use crate::MemoryDisk;
use crate::history::{History, HistoryOptions, TableLayout};
use bezant_types::HistoryPosition;

#[test]
fn long_postings_are_searched_from_any_position() {
    let movements = TableLayout { run_pages: 512, buffer_pages: 64, file_pages: 1024, growth_pages: 512 };
    let options = HistoryOptions { movements, ..SMALL };
    let disk = MemoryDisk::new();
    let mut history =
        History::open_with(Arc::new(disk.clone()), HistoryPosition::default(), options).unwrap();
    let (mut model, mut generator) = (Model::default(), Generator::new(4));
    while model.movements.len() < 52_000 {
        let entry = generator.entry(9000);
        append(&mut history, &entry).unwrap();
        model.add(&entry);
    }
    while history.maintain().unwrap() {}
    assert!(disk.content("history-movements-index-1-00000000").is_ok(), "eight runs were merged");
    model.check(&history, 8, 150);
    history.flush().unwrap();
    drop(history);
    let history = History::open_with(Arc::new(disk), model.position(), options).unwrap();
    model.check(&history, 9, 50);
}
