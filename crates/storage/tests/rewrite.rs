//! Truncations and resets of the log. The power fails during each operation of the change, and again during
//! each operation of the recovery. The log then holds either its entries before the change or its entries
//! after it, and it continues. No crash is reported as damage.
#![allow(clippy::unwrap_used, reason = "a test fails at the first error")]

mod common;

use std::sync::Arc;

use bezant_consensus::{EntryKind, LogEntry};
use bezant_storage::checkpoint::CheckpointStore;
use bezant_storage::disk::Disk;
use bezant_storage::log::{Log, inspect};
use bezant_storage::{FaultPlan, MemoryDisk};
use bezant_types::{HistoryPosition, LogIndex, Nanos, Term};
use bytes::Bytes;
use common::{BLOCK, FIRST, blank, entries, entry, open, open_at, recover, written};

/// Sizes of the entries of each flush; the entries of `staged` are only staged.
struct Layout {
    name: &'static str,
    flushed: &'static [&'static [usize]],
    staged: &'static [usize],
    marked: bool,
    after: u64,
}

const LAYOUTS: [Layout; 13] = [
    layout("at a flush's edge", &[&[100], &[200], &[9000], &[64]], 2),
    layout("in the middle of a flush", &[&[100], &[1000, 1000, 9000, 100]], 3),
    layout("in the middle of a flush, at a sector's edge", &[&[100], &[448, 448, 3000]], 2),
    layout("in the middle of a flush, at a block's edge", &[&[100], &[4032, 4032, 4032]], 2),
    layout("many flushes", &[&[100], &[200], &[300], &[400], &[500], &[9000]], 1),
    layout("over the boundary of a segment", &[&[30_000], &[20_000, 100], &[30_000]], 2),
    layout("to the boundary of a segment", &[&[30_000], &[20_000], &[30_000], &[10]], 2),
    layout("over several segments", &[&[10], &[40_000], &[40_000], &[40_000], &[20]], 1),
    layout(
        "over several segments of one flush",
        &[&[10, 9000, 9000, 9000, 9000, 9000, 9000, 9000, 9000, 9000]],
        4,
    ),
    layout("to the very first entry", &[&[100], &[40_000], &[40_000]], 0),
    Layout { marked: true, ..layout("after a mark", &[&[100], &[1000, 448], &[5000]], 2) },
    Layout { staged: &[9000, 30_000, 7], ..layout("only staged entries", &[&[100], &[200]], 3) },
    Layout { staged: &[9000, 30_000, 7], ..layout("staged and durable entries", &[&[100], &[200]], 1) },
];

const fn layout(name: &'static str, flushed: &'static [&'static [usize]], after: u64) -> Layout {
    Layout { name, flushed, staged: &[], marked: false, after }
}

impl Layout {
    /// The disk before the change, and the entries on it.
    fn disk(&self) -> (MemoryDisk, Vec<LogEntry>) {
        let disk = written(self.flushed);
        if self.marked {
            open(&disk).unwrap().0.mark().unwrap();
        }
        let sizes = self.flushed.iter().copied().flatten();
        (disk, (1..).zip(sizes).map(|(index, size)| entry(index, *size)).collect())
    }

    /// All entries, including the staged ones.
    fn all(&self) -> Vec<LogEntry> {
        let sizes = self.flushed.iter().copied().flatten().chain(self.staged);
        (1..).zip(sizes).map(|(index, size)| entry(index, *size)).collect()
    }

    /// Stages the entries of `staged`, and truncates.
    fn truncate(&self, disk: &MemoryDisk) -> Result<Log, bezant_storage::log::LogError> {
        let (mut log, _) = open(disk)?;
        for size in self.staged {
            log.append(&entry(log.last_index().0 + 1, *size))?;
        }
        log.truncate(LogIndex(self.after))?;
        Ok(log)
    }
}

fn crash_at(disk: &MemoryDisk, operation: u64) {
    disk.set_faults(FaultPlan { crash_at: Some(operation), ..FaultPlan::default() });
}

fn later(index: u64, size: usize) -> LogEntry {
    let kind = if index.is_multiple_of(2) { EntryKind::Engine } else { EntryKind::Command };
    LogEntry { term: Term(2), kind, ..entry(index + 100, size) }.at(index)
}

trait At {
    fn at(self, index: u64) -> Self;
}

impl At for LogEntry {
    fn at(self, index: u64) -> Self {
        Self { index: LogIndex(index), ..self }
    }
}

/// Opens and checks the log: it must hold a prefix of `all` that has at least `least` entries. Returns its
/// last index.
fn check_prefix(disk: &MemoryDisk, all: &[LogEntry], least: u64, context: &str) -> u64 {
    let opened = open(disk);
    let (log, mut recovered) = opened.unwrap_or_else(|error| panic!("{context}: {error}"));
    let found = entries(&mut recovered).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(
        found.len() as u64 >= least,
        "{context}: {} entries, at least {least} must be there",
        found.len()
    );
    assert!(found[..] == all[..found.len()], "{context}: the same bytes in the same order");
    assert_eq!(log.last_index().0, found.len() as u64, "{context}");
    log.last_index().0
}

/// The log continues with a flush of several blocks: first torn in several ways, then completely written.
fn check_continues(disk: &MemoryDisk, checkpoint: u64, context: &str) {
    let (mut log, mut recovered) = open_at(disk, checkpoint).unwrap();
    let mut expected = entries(&mut recovered).unwrap();
    let last = log.last_index().0;
    for (index, size) in (last + 1..).zip([4032, 4032, 448, 5000, 30_000]) {
        log.append(&later(index, size)).unwrap();
        expected.push(later(index, size));
    }
    let operations = disk.counts().total();
    let torn = disk.restart();
    drop(log);
    let (mut log, _) = open_at(&torn, checkpoint).unwrap();
    for entry in &expected[expected.len() - 5..] {
        log.append(entry).unwrap();
    }
    crash_at(&torn, torn.counts().total() + 1);
    log.flush().unwrap_err();
    for seed in 0..12 {
        let image = torn.crash(seed);
        let (_, mut recovered) =
            open_at(&image, checkpoint).unwrap_or_else(|error| panic!("{context}, torn {seed}: {error}"));
        let found = entries(&mut recovered).unwrap();
        assert!(
            found.len() + 5 >= expected.len() && found[..] == expected[..found.len()],
            "{context}, {seed}"
        );
    }
    assert_eq!(disk.counts().total(), operations, "only the copy was written to");
    let (mut log, _) = open_at(disk, checkpoint).unwrap();
    for entry in &expected[expected.len() - 5..] {
        log.append(entry).unwrap();
    }
    log.flush().unwrap();
    log.mark().unwrap();
    drop(log);
    let (_, mut recovered) = open_at(disk, checkpoint).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(entries(&mut recovered).unwrap() == expected, "{context}: later entries are there");
    assert_eq!(inspect(disk, LogIndex(checkpoint)).unwrap().damage, [], "{context}");
}

#[test]
fn a_truncated_log_keeps_earlier_entries_and_continues() {
    for layout in LAYOUTS {
        let (disk, _) = layout.disk();
        let mut log = layout.truncate(&disk).unwrap();
        assert_eq!((log.last_index(), log.durable_index()), (LogIndex(layout.after), LogIndex(layout.after)));
        // The same process continues with a flush of several blocks, which a crash tears.
        let torn = disk.restart();
        for (index, size) in (layout.after + 1..).zip([4032, 4032, 448, 9000]) {
            log.append(&later(index, size)).unwrap();
        }
        crash_at(&disk, disk.counts().total() + 1);
        log.flush().unwrap_err();
        for seed in 0..24 {
            let context = format!("{}, torn {seed}", layout.name);
            let image = disk.crash(seed);
            let (log, _) = open(&image).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert!(log.last_index().0 >= layout.after, "{context}");
        }
        let kept = usize::try_from(layout.after).unwrap();
        assert!(recover(&torn).unwrap() == layout.all()[..kept], "{}", layout.name);
        check_continues(&torn, 0, layout.name);
    }
}

#[test]
fn a_crash_during_a_truncation_keeps_earlier_entries() {
    for layout in LAYOUTS {
        let (base, durable) = layout.disk();
        let counted = base.restart();
        layout.truncate(&counted).unwrap();
        let least = layout.after.min(durable.len() as u64);
        let all = layout.all();
        for operation in 1..=counted.counts().total() {
            let disk = base.restart();
            crash_at(&disk, operation);
            layout.truncate(&disk).unwrap_err();
            for seed in 0..6 {
                let context = format!("{}, operation {operation}, seed {seed}", layout.name);
                let image = disk.crash(seed);
                let last = check_prefix(&image, &all, least, &context);
                assert_eq!(
                    check_prefix(&image, &all, least, &context),
                    last,
                    "{context}: a second opening finds the same"
                );
                if seed == 0 {
                    check_continues(&image, 0, &context);
                }
            }
            let context = format!("{}, operation {operation}, killed", layout.name);
            check_killed(&disk, &|image, context| check_prefix(image, &all, least, context), &context);
            check_crash_in_recovery(
                &disk,
                &|image, context| check_prefix(image, &all, least, context),
                &context,
            );
        }
    }
}

/// The process dies, another process opens the log, and then the power fails. Everything that the second
/// process found must survive.
fn check_killed(disk: &MemoryDisk, check: &dyn Fn(&MemoryDisk, &str) -> u64, context: &str) {
    let killed = disk.restart();
    let last = check(&killed, context);
    for seed in 0..6 {
        assert_eq!(check(&killed.crash(seed), context), last, "{context}, seed {seed}");
    }
}

/// The power fails again, during every operation of the recovery: on a disk after a power failure, and on one
/// whose process was killed.
fn check_crash_in_recovery(disk: &MemoryDisk, check: &dyn Fn(&MemoryDisk, &str) -> u64, context: &str) {
    for first in [disk.crash(1), disk.crash(2), disk.restart()] {
        let whole = first.restart();
        check(&whole, context);
        for operation in 1..=whole.counts().total() {
            let recovering = first.restart();
            crash_at(&recovering, operation);
            let newest = CheckpointStore::new(Arc::new(recovering.clone())).load_newest();
            if let Ok(newest) = newest {
                drop(open_at(&recovering, newest.map_or(0, |newest| newest.index.0)));
            }
            for seed in 0..3 {
                let context = format!("{context}, recovery {operation}, seed {seed}");
                check(&recovering.crash(seed), &context);
            }
        }
    }
}

const CHECKPOINT: u64 = 7;

/// Logs to reset: shorter than the checkpoint, longer, with several segments, empty.
const RESETS: [(&str, &[&[usize]]); 4] = [
    ("a shorter log", &[&[100], &[200, 300]]),
    ("a longer log", &[&[100, 100, 100], &[100, 100, 100], &[9000, 100], &[300]]),
    ("several segments", &[&[40_000], &[40_000], &[40_000, 10, 10, 10], &[40_000], &[40_000]]),
    ("an empty log", &[]),
];

fn install(disk: &MemoryDisk) -> Result<Log, Box<dyn std::error::Error>> {
    let (mut log, _) = open(disk)?;
    log.plan_reset(LogIndex(CHECKPOINT), Term(2))?;
    let mut writer = CheckpointStore::new(Arc::new(disk.clone())).begin(LogIndex(CHECKPOINT), Term(2))?;
    writer.write(&[5; 9000])?;
    writer.finish(HistoryPosition::default(), Nanos(3))?;
    log.reset(LogIndex(CHECKPOINT), Term(2))?;
    Ok(log)
}

/// Opens the log at the checkpoint that is found; returns its last index.
fn check_reset(disk: &MemoryDisk, before: &[LogEntry], context: &str) -> u64 {
    let newest = CheckpointStore::new(Arc::new(disk.clone())).load_newest().unwrap();
    if newest.is_none() {
        return check_prefix(disk, before, before.len() as u64, context);
    }
    let (log, mut recovered) = open_at(disk, CHECKPOINT).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(entries(&mut recovered).unwrap(), [], "{context}");
    assert_eq!((log.last_index(), recovered.last_term), (LogIndex(CHECKPOINT), Term(2)), "{context}");
    CHECKPOINT
}

#[test]
fn a_log_that_was_reset_begins_after_the_checkpoint() {
    for (name, flushes) in RESETS {
        let disk = written(flushes);
        let log = install(&disk).unwrap();
        assert_eq!((log.last_index(), log.durable_index()), (LogIndex(CHECKPOINT), LogIndex(CHECKPOINT)));
        drop(log);
        check_reset(&disk, &[], name);
        check_continues(&disk, CHECKPOINT, name);
    }
}

#[test]
fn a_crash_during_a_reset_is_not_damage() {
    for (name, flushes) in RESETS {
        let base = written(flushes);
        let before = recover(&base).unwrap();
        let counted = base.restart();
        install(&counted).unwrap();
        for operation in 1..=counted.counts().total() {
            let disk = base.restart();
            crash_at(&disk, operation);
            assert!(install(&disk).is_err(), "the power fails at {operation}");
            for seed in 0..6 {
                let context = format!("{name}, operation {operation}, seed {seed}");
                let image = disk.crash(seed);
                let last = check_reset(&image, &before, &context);
                assert_eq!(
                    check_reset(&image, &before, &context),
                    last,
                    "{context}: a second opening finds the same"
                );
                if seed == 0 {
                    let has_checkpoint =
                        image.list().unwrap().contains(&"checkpoint-0000000000000007.bzc".to_owned());
                    check_continues(&image, if has_checkpoint { CHECKPOINT } else { 0 }, &context);
                }
            }
            let context = format!("{name}, operation {operation}, killed");
            check_killed(&disk, &|image, context| check_reset(image, &before, context), &context);
            check_crash_in_recovery(&disk, &|image, context| check_reset(image, &before, context), &context);
        }
    }
}

#[test]
fn a_truncation_between_plan_and_reset_keeps_the_plan() {
    let disk = written(&[&[100], &[200, 300]]);
    let (mut log, _) = open(&disk).unwrap();
    log.plan_reset(LogIndex(CHECKPOINT), Term(2)).unwrap();
    log.truncate(LogIndex(2)).unwrap();
    log.append(&later(3, 100)).unwrap();
    log.flush().unwrap();
    drop(log);
    // Without the checkpoint the log is unchanged; with it, the log restarts after it.
    assert_eq!(recover(&disk.restart()).unwrap().len(), 3);
    let mut writer =
        CheckpointStore::new(Arc::new(disk.clone())).begin(LogIndex(CHECKPOINT), Term(2)).unwrap();
    writer.write(&[5; 9000]).unwrap();
    writer.finish(HistoryPosition::default(), Nanos(3)).unwrap();
    check_reset(&disk, &[], "after a truncation");
}

#[test]
fn a_tear_before_zeros_is_closed_before_later_writes() {
    let disk = written(&[&[100], &[448, 1000]]);
    blank(&disk, FIRST, 2 * BLOCK + 512, 3 * BLOCK);
    assert_eq!(recover(&disk).unwrap().len(), 2);
    check_continues(&disk, 0, "torn at a sector's edge");
}

#[test]
fn entries_of_both_kinds_round_trip() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    let engine = LogEntry { kind: EntryKind::Engine, payload: Bytes::new(), ..entry(2, 0) };
    let written = [entry(1, 10), engine, entry(3, 10)];
    for entry in &written {
        log.append(entry).unwrap();
    }
    log.flush().unwrap();
    assert_eq!(recover(&disk).unwrap(), written);
}
