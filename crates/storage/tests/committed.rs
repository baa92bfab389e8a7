//! What is known to be committed is said with the next flush, costs no write of its own, and is found at an opening.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use bezant_storage::MemoryDisk;
use bezant_types::LogIndex;
use common::{entry, open, written};

/// What an opening finds, all segments read.
fn found(disk: &MemoryDisk) -> LogIndex {
    let (_, mut recovered) = open(disk).unwrap();
    while recovered.entries.next().unwrap().is_some() {}
    recovered.committed.max(recovered.entries.committed())
}

#[test]
fn a_flush_says_what_was_committed_before_it() {
    let disk = written(&[&[100], &[200]]);
    assert_eq!(found(&disk), LogIndex(0), "as in a log of 0.1: nothing is said");
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
    assert_eq!(disk.counts().total() - before, without, "it costs no operation of its own");
    assert!(!log.needs_note());
    assert_eq!(log.noted(), LogIndex(2));
    for seed in 0..8 {
        assert_eq!(found(&disk.crash(seed)), LogIndex(2));
    }
}

#[test]
fn an_idle_log_says_it_with_a_mark() {
    let disk = written(&[&[100], &[200]]);
    let (mut log, _) = open(&disk).unwrap();
    log.mark().unwrap();
    log.note_committed(LogIndex(9));
    log.mark().unwrap();
    let before = disk.counts().total();
    log.mark().unwrap();
    assert_eq!(disk.counts().total(), before, "once");
    assert_eq!(found(&disk.crash(1)), LogIndex(2), "no further than the log reaches");
}

#[test]
fn it_is_found_in_segments_before_the_last_and_survives_a_truncation() {
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
    assert_eq!(found(&disk.crash(1)), LogIndex(5), "what said it was cut off, and it is said again");
}
