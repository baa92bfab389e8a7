//! Tests of the committed index: the next flush records it without an extra write, and an opening finds
//! it.
#![allow(clippy::unwrap_used, reason = "a test fails at the first error")]

mod common;

use bezant_storage::MemoryDisk;
use bezant_types::LogIndex;
use common::{BLOCK, OPTIONS, entry, open, recover, written};

/// The committed index that an opening finds after it has read all segments.
fn found(disk: &MemoryDisk) -> LogIndex {
    let (_, mut recovered) = open(disk).unwrap();
    while recovered.entries.next().unwrap().is_some() {}
    recovered.committed.max(recovered.entries.committed())
}

#[test]
fn a_flush_records_what_was_committed_before_it() {
    let disk = written(&[&[100], &[200]]);
    assert_eq!(found(&disk), LogIndex(0), "like a log of 0.1, it records nothing");
    let (mut log, _) = open(&disk).unwrap();
    let mut without = disk.counts().total();
    log.append(&entry(3, 100)).unwrap();
    log.flush().unwrap();
    without = disk.counts().total() - without;
    log.note_committed(LogIndex(2));
    assert!(log.needs_note());
    log.append(&entry(4, 100)).unwrap();
    let before = disk.counts().total();
    log.flush().unwrap();
    assert_eq!(disk.counts().total() - before, without, "the record costs no additional operation");
    assert!(!log.needs_note());
    assert_eq!(log.noted(), LogIndex(2));
    for seed in 0..8 {
        assert_eq!(found(&disk.crash(seed)), LogIndex(2));
    }
}

#[test]
fn an_idle_log_records_the_committed_index_with_a_mark() {
    let disk = written(&[&[100], &[200]]);
    let (mut log, _) = open(&disk).unwrap();
    log.mark().unwrap();
    log.note_committed(LogIndex(9));
    log.mark().unwrap();
    let before = disk.counts().total();
    log.mark().unwrap();
    assert_eq!(disk.counts().total(), before, "it is recorded once");
    assert_eq!(found(&disk.crash(1)), LogIndex(2), "at most the last entry of the log");
}

#[test]
fn it_is_found_in_older_segments_and_after_a_truncation() {
    let disk = written(&[&[100]]);
    let (mut log, _) = open(&disk).unwrap();
    for index in 2..=6 {
        log.note_committed(LogIndex(index - 1));
        log.append(&entry(index, 30_000)).unwrap();
        log.flush().unwrap();
    }
    assert_eq!(found(&disk.crash(1)), LogIndex(5));
    log.truncate(LogIndex(5)).unwrap();
    log.append(&entry(6, 10)).unwrap();
    log.flush().unwrap();
    assert_eq!(
        found(&disk.crash(1)),
        LogIndex(5),
        "the frame that recorded it was cut, and it is recorded again"
    );
}

#[test]
fn marks_alone_leave_space_for_the_next_entry() {
    // The committed index grows by one entry at a time while the log is idle.
    let disk = written(&[&[0; 60]]);
    let (mut log, _) = open(&disk).unwrap();
    for index in 1..=60 {
        log.note_committed(LogIndex(index));
        log.mark().unwrap();
    }
    let largest = usize::try_from(OPTIONS.segment_size).unwrap() - 3 * BLOCK - 64;
    log.append(&entry(61, largest)).unwrap();
    log.flush().unwrap();
    assert_eq!(recover(&disk).unwrap().len(), 61);
    log.mark().unwrap();
    assert_eq!(found(&disk), LogIndex(60));
}
