//! Cases of opening a log that need a loop or a property; the others are golden scripts (`log_scripts`).
#![allow(clippy::unwrap_used, reason = "a test fails at the first error")]

mod common;

use bezant_storage::disk::Disk;
use bezant_storage::log::{CutTail, LogError, LogSummary, inspect, inspect_frames};
use bezant_storage::{FaultPlan, MemoryDisk};
use bezant_types::LogIndex;
use common::{BLOCK, FIRST, SECTOR, blank, entries, entry, open, recover, written};

fn summary(disk: &MemoryDisk) -> LogSummary {
    inspect(disk, LogIndex(0)).unwrap()
}

/// Opening must cut at `offset`, keep `last` entries, and find nothing to cut the second time.
fn assert_cut(disk: &MemoryDisk, offset: usize, last: u64) -> CutTail {
    let expected_cut = summary(disk).torn;
    let (_, mut recovered) = open(disk).unwrap();
    let cut = recovered.cut.clone().expect("a torn tail is found");
    assert_eq!(expected_cut.as_ref(), Some(&cut), "inspection reports the same cut");
    assert_eq!((cut.file.as_str(), cut.offset), (FIRST, offset as u64));
    assert_eq!(recovered.last_index, LogIndex(last));
    assert_eq!(entries(&mut recovered).unwrap().len() as u64, last);
    let (mut log, mut again) = open(disk).unwrap();
    assert_eq!(again.cut, None, "the second time there is nothing to cut");
    assert_eq!(entries(&mut again).unwrap().len() as u64, last);
    assert!(disk.content(FIRST).unwrap()[offset.next_multiple_of(BLOCK)..].iter().all(|byte| *byte == 0));
    log.append(&entry(last + 1, 5000)).unwrap();
    log.flush().unwrap();
    assert_eq!(recover(disk).unwrap().last(), Some(&entry(last + 1, 5000)), "the log continues after a cut");
    cut
}

/// Opening must report damage at that place and change nothing.
fn assert_damaged(disk: &MemoryDisk, file: &str, offset: usize, expected: u64, why: &str) {
    let before: Vec<_> = disk.list().unwrap().into_iter().map(|name| disk.content(&name)).collect();
    let error = recover(disk).unwrap_err();
    let LogError::Damaged { file: at_file, offset: at_offset, expected_index, reason, .. } = &error else {
        panic!("expected damage, found {error:?}");
    };
    assert_eq!((at_file.as_str(), *at_offset, expected_index.0), (file, offset as u64, expected));
    assert!(reason.contains(why), "{reason}");
    assert!(error.to_string().contains("examine its files"), "{error}");
    let after: Vec<_> = disk.list().unwrap().into_iter().map(|name| disk.content(&name)).collect();
    assert!(before == after, "nothing was changed");
    assert_eq!(summary(disk).damage, [error]);
}

#[test]
fn an_empty_folder_begins_at_entry_1() {
    let disk = MemoryDisk::new();
    let (log, mut recovered) = open(&disk).unwrap();
    assert_eq!((log.last_index(), recovered.first_index), (LogIndex(0), LogIndex(1)));
    assert_eq!(entries(&mut recovered).unwrap(), []);
    assert_eq!(disk.list().unwrap(), [FIRST]);
    assert_eq!(recover(&disk).unwrap(), []);
}

#[test]
fn one_flush_may_fill_several_segments() {
    let disk = written(&[&[9000; 20]]);
    assert!(disk.list().unwrap().len() > 2);
    let expected: Vec<_> = (1..=20).map(|index| entry(index, 9000)).collect();
    assert_eq!(recover(&disk).unwrap(), expected);
}

#[test]
fn the_largest_entries_fit_and_larger_ones_are_rejected() {
    let disk = written(&[]);
    let (mut log, _) = open(&disk).unwrap();
    assert_eq!(common::OPTIONS.segment_size, 16 * BLOCK as u64);
    let limit = 16 * BLOCK - 3 * BLOCK - 64;
    for index in 1..=3 {
        log.append(&entry(index, limit)).unwrap();
        log.flush().unwrap();
        log.mark().unwrap();
    }
    let error = log.append(&entry(4, limit + 1)).unwrap_err();
    assert_eq!(error, LogError::TooLarge { size: limit + 1, limit });
    log.append(&entry(4, 1)).unwrap();
    log.flush().unwrap();
    assert_eq!(recover(&disk).unwrap().len(), 4);
}

#[test]
fn a_torn_header_is_cut() {
    let disk = written(&[&[100], &[5000]]);
    blank(&disk, FIRST, 2 * BLOCK, SECTOR);
    let cut = assert_cut(&disk, 2 * BLOCK, 1);
    assert_eq!(cut.bytes, 2 * BLOCK as u64);
}

#[test]
fn a_torn_payload_is_cut() {
    let disk = written(&[&[100], &[9000]]);
    blank(&disk, FIRST, 3 * BLOCK, SECTOR);
    assert_cut(&disk, 2 * BLOCK, 1);
}

#[test]
fn a_flush_torn_in_the_middle_keeps_earlier_frames() {
    let disk = written(&[&[100], &[1000, 1000, 9000, 100]]);
    blank(&disk, FIRST, 3 * BLOCK, BLOCK);
    assert_cut(&disk, 2 * BLOCK + 2 * (64 + 1024), 3);
}

#[test]
fn a_crash_during_a_cut_leaves_a_torn_tail_again() {
    let disk = written(&[&[100], &[1000, 1000, 9000, 5000]]);
    blank(&disk, FIRST, 3 * BLOCK, BLOCK);
    let whole = disk.restart();
    recover(&whole).unwrap();
    for operation in 1..=whole.counts().total() {
        let running = disk.restart();
        running.set_faults(FaultPlan { crash_at: Some(operation), ..FaultPlan::default() });
        recover(&running).unwrap_err();
        for seed in 0..64 {
            let (_, mut recovered) = open(&running.crash(seed))
                .unwrap_or_else(|error| panic!("operation {operation}, seed {seed}: {error}"));
            assert_eq!(entries(&mut recovered).unwrap().len(), 3, "operation {operation}, seed {seed}");
        }
    }
}

#[test]
fn a_flush_torn_between_two_frames_keeps_earlier_frames() {
    let disk = written(&[&[100], &[448, 1000, 2000]]);
    blank(&disk, FIRST, 2 * BLOCK + SECTOR, SECTOR);
    assert_cut(&disk, 2 * BLOCK + SECTOR, 2);
}

#[test]
fn a_lost_block_before_a_later_flush_is_damage() {
    for from in [2 * BLOCK, 3 * BLOCK] {
        let disk = written(&[&[100], &[9000], &[100]]);
        blank(&disk, FIRST, from, BLOCK);
        assert_damaged(&disk, FIRST, 2 * BLOCK, 2, "later flushes prove");
    }
}

#[test]
fn a_lost_block_before_a_mark_is_damage() {
    let disk = written(&[&[100], &[9000]]);
    let (mut log, _) = open(&disk).unwrap();
    log.mark().unwrap();
    log.mark().unwrap();
    assert_eq!(log.stats().marks, 1, "the second mark is not written");
    for from in [2 * BLOCK, 3 * BLOCK] {
        let damaged = disk.restart();
        blank(&damaged, FIRST, from, BLOCK);
        assert_damaged(&damaged, FIRST, 2 * BLOCK, 2, "later flushes prove");
    }
}

#[test]
fn after_a_mark_a_damaged_sector_is_never_cut() {
    let disk = written(&[&[448, 3000, 40_000], &[20_000, 0, 500], &[9000, 100, 100]]);
    let (mut log, _) = open(&disk).unwrap();
    log.mark().unwrap();
    drop(log);
    let whole = recover(&disk).unwrap();
    for file in disk.list().unwrap() {
        let content = disk.content(&file).unwrap();
        for sector in 0..content.len() / SECTOR {
            let range = sector * SECTOR..(sector + 1) * SECTOR;
            let is_blank = content[range.clone()].iter().all(|byte| *byte == 0);
            let damaged = disk.restart();
            if sector % 2 == 0 || is_blank {
                damaged.flip_bit(&file, (range.start + sector * 7 % SECTOR) as u64, 5).unwrap();
            } else {
                blank(&damaged, &file, range.start, SECTOR);
            }
            match recover(&damaged) {
                Ok(entries) => assert!(entries == whole, "{file}, sector {sector}"),
                Err(LogError::Damaged { file: found, .. }) => assert_eq!(found, file, "sector {sector}"),
                Err(error) => panic!("{file}, sector {sector}: {error}"),
            }
        }
    }
}

#[test]
fn a_stale_block_is_damage() {
    // A block of a log with other flushes: right offset, right segment, wrong entry.
    let disk = written(&[&[10], &[20], &[30]]);
    let other = written(&[&[10, 20], &[30], &[40]]);
    let mut content = disk.content(FIRST).unwrap();
    content[2 * BLOCK..3 * BLOCK].copy_from_slice(&other.content(FIRST).unwrap()[2 * BLOCK..3 * BLOCK]);
    disk.put(FIRST, &content);
    assert_damaged(&disk, FIRST, 2 * BLOCK, 2, "another entry");
}

#[test]
fn inspection_lists_every_frame_and_changes_nothing() {
    let disk = written(&[&[100, 200], &[300]]);
    let before = disk.counts();
    let mut lines = Vec::new();
    inspect_frames(&disk, FIRST, &mut |frame| lines.push((frame.offset, frame.index.0, frame.payload_size)))
        .unwrap();
    let indexes: Vec<_> = lines.iter().filter(|line| line.1 > 0).map(|line| (line.1, line.2)).collect();
    assert_eq!(indexes, [(1, 100), (2, 200), (3, 300)]);
    let summary = summary(&disk);
    let [segment] = &summary.segments[..] else { panic!("the log has one segment") };
    assert_eq!((segment.entries, segment.payload_bytes, segment.flushes), (3, 600, 2));
    assert_eq!(disk.counts(), before);
}

#[test]
fn a_full_flush_has_less_than_one_percent_of_framing() {
    let disk = MemoryDisk::new();
    let options = bezant_storage::log::LogOptions::fixed(32 << 20);
    let (mut log, _) =
        bezant_storage::log::Log::open(std::sync::Arc::new(disk), options, LogIndex(0)).unwrap();
    log.append(&entry(1, 1 << 20)).unwrap();
    log.flush().unwrap();
    let stats = log.stats();
    assert!(stats.written_bytes * 100 <= stats.payload_bytes * 101, "{stats:?}");
    assert_eq!(stats.syncs, 1);
}
