//! Truncations and resets of the log with faults. At each operation of a change, the operation fails or the
//! power fails, and again at each operation of the opening after it. The log then holds either everything
//! from before the change, or exactly what the change keeps. A second opening finds the same. A failed
//! operation closes the log for good.
#![allow(clippy::unwrap_used, reason = "a test fails at the first error")]

mod common;

use std::error::Error;
use std::sync::Arc;

use bezant_consensus::{EntryKind, LogEntry};
use bezant_storage::checkpoint::CheckpointStore;
use bezant_storage::log::{Log, LogError, LogOptions, Recovered, inspect};
use bezant_storage::{FaultPlan, MemoryDisk};
use bezant_types::{HistoryPosition, LogIndex, Nanos, Term};
use bytes::Bytes;
use common::{BLOCK, entries};

/// Segments of 16 blocks, and of the smallest possible size.
const SEGMENTS: [u64; 2] = [16 * BLOCK as u64, 5 * BLOCK as u64];
/// Sizes of the first and of the largest segments of a log whose segments grow.
const FIRST_SIZE: u64 = 4 * BLOCK as u64;
const LARGEST: u64 = 64 * BLOCK as u64;
/// Terms of the entries before a change, and of those after it.
const TERM: Term = Term(1);
const LATER_TERM: Term = Term(9);
/// Index of another replica's checkpoint, after which a reset log begins.
const INSTALLED: u64 = 9;
const INSTALLED_TERM: Term = Term(4);
/// Number of crashes per case, and of crashes in the recovery from each.
const SEEDS: u64 = 6;
const SEEDS_AGAIN: u64 = 2;

/// One operation on a prepared log.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Stages entries of these sizes.
    Stage(&'static [usize]),
    Truncate(u64),
    /// Plans the reset to [`INSTALLED`].
    Plan,
    /// Writes the checkpoint of [`INSTALLED`].
    Checkpoint,
    Reset,
}

/// A log, and the operations on it.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    segment_size: u64,
    /// Bytes of the first segment; `segment_size` when this is greater.
    first_size: u64,
    /// Sizes of the entries of each flush; an entry of size 0 is an engine entry.
    flushed: &'static [&'static [usize]],
    /// Index of the checkpoint of this replica; 0 when there is none.
    checkpoint: u64,
    is_marked: bool,
    is_prepared: bool,
    steps: &'static [Step],
}

const fn case(name: &'static str, flushed: &'static [&'static [usize]], steps: &'static [Step]) -> Case {
    Case {
        name,
        segment_size: SEGMENTS[0],
        first_size: u64::MAX,
        flushed,
        checkpoint: 0,
        is_marked: false,
        is_prepared: false,
        steps,
    }
}

const SMALL: &[&[usize]] = &[&[0, 7000], &[8128], &[0, 0, 8000], &[1], &[8128, 8128], &[0]];
const LONG: &[&[usize]] = &[&[0, 100], &[20_000, 0, 20_000], &[20_000], &[20_000, 448, 0], &[20_000, 20_000]];
const FLUSH: &[&[usize]] = &[&[0], &[1000, 0, 448, 4032, 20_000, 0, 64]];

/// A case whose segments grow.
const fn growing(name: &'static str, flushed: &'static [&'static [usize]], steps: &'static [Step]) -> Case {
    Case { segment_size: LARGEST, first_size: FIRST_SIZE, ..case(name, flushed, steps) }
}

const TRUNCATIONS: [Case; 24] = [
    case("only the first engine entry stays", FLUSH, &[Step::Truncate(1)]),
    case("in a flush, after a command", FLUSH, &[Step::Truncate(2)]),
    case("in a flush, after an engine entry", FLUSH, &[Step::Truncate(3)]),
    case("in a flush, after a whole block", FLUSH, &[Step::Truncate(5)]),
    case("only the last entry of a flush is removed", FLUSH, &[Step::Truncate(7)]),
    case("at a sector's edge", &[&[448, 448, 0, 384, 9000]], &[Step::Truncate(2)]),
    case("at a sector's edge, after an engine entry", &[&[448, 0, 384, 9000]], &[Step::Truncate(3)]),
    case("at the edge of a flush that fills its blocks", &[&[4032], &[4032, 0], &[9]], &[Step::Truncate(1)]),
    case("over one segment boundary", LONG, &[Step::Truncate(4)]),
    case("over several segment boundaries", LONG, &[Step::Truncate(1)]),
    case("all", LONG, &[Step::Truncate(0)]),
    Case { is_marked: true, ..case("after a mark", LONG, &[Step::Truncate(6)]) },
    Case { is_prepared: true, ..case("a segment is prepared", LONG, &[Step::Truncate(5)]) },
    Case { segment_size: SEGMENTS[1], ..case("the smallest segments", SMALL, &[Step::Truncate(2)]) },
    Case {
        segment_size: SEGMENTS[1],
        is_marked: true,
        ..case("the smallest segments, to a boundary", SMALL, &[Step::Truncate(3)])
    },
    case("only staged entries", FLUSH, &[Step::Stage(&[20_000, 0, 20_000, 20_000, 0]), Step::Truncate(10)]),
    case(
        "staged and durable entries",
        FLUSH,
        &[Step::Stage(&[20_000, 0, 20_000, 20_000]), Step::Truncate(3)],
    ),
    Case { checkpoint: 4, ..case("to just after a checkpoint", LONG, &[Step::Truncate(4)]) },
    Case { checkpoint: 5, ..case("to just after a checkpoint at a boundary", LONG, &[Step::Truncate(5)]) },
    Case {
        checkpoint: 3,
        is_marked: true,
        ..case("two truncations", LONG, &[Step::Truncate(7), Step::Stage(&[0, 20_000]), Step::Truncate(4)])
    },
    growing("segments that grow", SMALL, &[Step::Truncate(2)]),
    growing("segments that grow, all", LONG, &[Step::Truncate(0)]),
    growing(
        "the first segment is empty, and too small for the next entry",
        SMALL,
        &[Step::Truncate(0), Step::Stage(&[0, 20_000]), Step::Truncate(2)],
    ),
    growing(
        "the last segment is empty, and too small for the next entry",
        &[&[0], &[0], &[0, 0], &[0]],
        &[Step::Truncate(2), Step::Stage(&[70_000, 0]), Step::Truncate(4)],
    ),
];

const RESET: &[Step] = &[Step::Plan, Step::Checkpoint, Step::Reset];

const RESETS: [Case; 14] = [
    case("an empty log", &[], RESET),
    case("a shorter log", FLUSH, RESET),
    case("a longer log", LONG, RESET),
    case("a log that ends there", &[&[0, 20_000, 20_000], &[20_000, 0, 0], &[20_000, 20_000, 0]], RESET),
    // Entry 10 begins a segment: the new segment takes the name of an old one.
    case(
        "the name is taken",
        &[&[20_000, 20_000, 0, 1, 0, 1, 0, 1, 0], &[20_000, 0], &[20_000, 20_000]],
        RESET,
    ),
    Case { segment_size: SEGMENTS[1], ..case("the smallest segments", SMALL, RESET) },
    Case { checkpoint: 4, is_marked: true, ..case("over its own checkpoint", FLUSH, RESET) },
    Case { checkpoint: 7, is_prepared: true, ..case("after released segments", LONG, RESET) },
    case(
        "staged before",
        FLUSH,
        &[Step::Stage(&[0, 20_000, 20_000]), Step::Plan, Step::Checkpoint, Step::Reset],
    ),
    case(
        "appended between plan and reset",
        FLUSH,
        &[
            Step::Plan,
            Step::Stage(&[0, 20_000]),
            Step::Checkpoint,
            Step::Stage(&[20_000, 20_000]),
            Step::Reset,
        ],
    ),
    case(
        "truncated when the checkpoint is there",
        LONG,
        &[Step::Plan, Step::Checkpoint, Step::Truncate(4), Step::Reset],
    ),
    case(
        "truncated between plan and reset",
        LONG,
        &[Step::Plan, Step::Truncate(4), Step::Stage(&[0, 20_000]), Step::Checkpoint, Step::Reset],
    ),
    growing("a log whose segments grow", LONG, RESET),
    growing(
        "an empty segment is replaced between plan and reset",
        &[],
        &[Step::Plan, Step::Stage(&[20_000, 20_000]), Step::Checkpoint, Step::Reset],
    ),
];

fn entry(index: u64, size: usize) -> LogEntry {
    let kind = if size == 0 { EntryKind::Engine } else { EntryKind::Command };
    LogEntry { term: TERM, kind, ..common::entry(index, size) }
}

/// An entry in the place of a removed one: with other bytes and another term.
fn later(index: u64, size: usize) -> LogEntry {
    let payload: Vec<u8> = common::entry(index + 1000, size).payload.to_vec();
    LogEntry { term: LATER_TERM, payload: Bytes::from(payload), ..entry(index, size) }
}

/// Everything that a log may hold after a crash.
#[derive(Debug, Default)]
struct Allowed {
    /// Each is a whole log from entry 1 on, including the entries that its checkpoint covers.
    logs: Vec<Vec<LogEntry>>,
    /// True when the checkpoint of [`INSTALLED`] may be there.
    may_be_installed: bool,
}

impl Case {
    fn options(&self) -> LogOptions {
        let segment_size_first = self.first_size.min(self.segment_size);
        LogOptions { segment_size_first, ..LogOptions::fixed(self.segment_size) }
    }

    fn open(&self, disk: &MemoryDisk, checkpoint: u64) -> Result<(Log, Recovered), LogError> {
        Log::open(Arc::new(disk.clone()), self.options(), LogIndex(checkpoint))
    }

    /// The disk before the operations.
    fn disk(&self) -> MemoryDisk {
        let disk = MemoryDisk::new();
        let (mut log, _) = self.open(&disk, 0).unwrap();
        for sizes in self.flushed {
            stage(&mut log, sizes).unwrap();
            log.flush().unwrap();
        }
        if self.is_marked {
            log.mark().unwrap();
        }
        if self.checkpoint > 0 {
            write_checkpoint(&disk, self.checkpoint, TERM).unwrap();
            log.release(LogIndex(self.checkpoint)).unwrap();
        }
        disk
    }

    /// A process on that disk, before the first step.
    fn process(&self, base: &MemoryDisk) -> (MemoryDisk, Log) {
        let disk = base.restart();
        let (mut log, _) = self.open(&disk, self.checkpoint).unwrap();
        if self.is_prepared {
            log.prepare().unwrap();
        }
        (disk, log)
    }

    fn run(&self, disk: &MemoryDisk, log: &mut Log) -> Result<(), Box<dyn Error>> {
        for step in self.steps {
            match step {
                Step::Stage(sizes) => stage(log, sizes)?,
                Step::Truncate(after) => log.truncate(LogIndex(*after))?,
                Step::Plan => log.plan_reset(LogIndex(INSTALLED), INSTALLED_TERM)?,
                Step::Checkpoint => write_checkpoint(disk, INSTALLED, INSTALLED_TERM)?,
                Step::Reset => log.reset(LogIndex(INSTALLED), INSTALLED_TERM)?,
            }
        }
        Ok(())
    }

    /// Number of disk operations of all steps.
    fn operations(&self, base: &MemoryDisk) -> u64 {
        let (disk, mut log) = self.process(base);
        let before = disk.counts().total();
        self.run(&disk, &mut log).unwrap();
        disk.counts().total() - before
    }

    /// The logs that may be found after a fault at any operation.
    fn allowed(&self) -> Allowed {
        let mut log: Vec<_> = (1..)
            .zip(self.flushed.iter().copied().flatten())
            .map(|(index, size)| entry(index, *size))
            .collect();
        let mut allowed = Allowed { logs: vec![log.clone()], may_be_installed: false };
        for step in self.steps {
            match step {
                Step::Stage(sizes) => {
                    for size in *sizes {
                        log.push(entry(log.len() as u64 + 1, *size));
                        allowed.logs.push(log.clone());
                    }
                }
                Step::Truncate(after) => {
                    log.truncate(usize::try_from(*after).unwrap());
                    allowed.logs.push(log.clone());
                }
                Step::Checkpoint => allowed.may_be_installed = true,
                Step::Plan | Step::Reset => {}
            }
        }
        allowed
    }
}

fn stage(log: &mut Log, sizes: &[usize]) -> Result<(), LogError> {
    sizes.iter().try_for_each(|size| log.append(&entry(log.last_index().0 + 1, *size)))
}

fn write_checkpoint(disk: &MemoryDisk, index: u64, term: Term) -> Result<(), Box<dyn Error>> {
    let mut writer = CheckpointStore::new(Arc::new(disk.clone())).begin(LogIndex(index), term)?;
    writer.write(&[5; 5000])?;
    Ok(writer.finish(HistoryPosition::default(), Nanos(3)).map(drop)?)
}

/// What an opening found: the checkpoint, and the entries after it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    checkpoint: u64,
    entries: Vec<LogEntry>,
    last_index: LogIndex,
    last_term: Term,
}

fn find(case: &Case, disk: &MemoryDisk) -> Result<Found, Box<dyn Error>> {
    let newest = CheckpointStore::new(Arc::new(disk.clone())).load_newest()?;
    let checkpoint = newest.map_or(0, |newest| newest.index.0);
    let (log, mut recovered) = case.open(disk, checkpoint)?;
    assert_eq!(log.last_index(), recovered.last_index, "log and recovery agree");
    assert_eq!(log.durable_index(), recovered.last_index, "what is found is durable");
    let entries = entries(&mut recovered)?;
    Ok(Found { checkpoint, entries, last_index: recovered.last_index, last_term: recovered.last_term })
}

/// Opens the log, which must succeed, and compares it with what is allowed.
fn check(case: &Case, disk: &MemoryDisk, allowed: &Allowed, context: &str) -> Found {
    let found = find(case, disk).unwrap_or_else(|error| panic!("{context}: {error}"));
    if found.checkpoint == INSTALLED {
        assert!(allowed.may_be_installed, "{context}: no checkpoint was begun");
        assert_eq!(found.entries, [], "{context}");
        assert_eq!((found.last_index, found.last_term), (LogIndex(INSTALLED), INSTALLED_TERM), "{context}");
        return found;
    }
    assert_eq!(found.checkpoint, case.checkpoint, "{context}: its own checkpoint is there");
    let covered = usize::try_from(case.checkpoint).unwrap();
    assert!(
        allowed.logs.iter().any(|log| log[covered..] == found.entries[..]),
        "{context}: {} entries up to {:?}",
        found.entries.len(),
        found.last_index
    );
    let last_term = if found.last_index.0 == 0 { Term(0) } else { TERM };
    assert_eq!(found.last_term, last_term, "{context}");
    found
}

/// The log continues with a higher term, over the boundary of a segment, and is opened twice again.
fn check_continues(case: &Case, disk: &MemoryDisk, before: &Found, context: &str) {
    let (mut log, _) = case.open(disk, before.checkpoint).unwrap();
    let mut expected = before.entries.clone();
    for (index, size) in (before.last_index.0 + 1..).zip([0, 448, 8000, 8000, 0, 1, 8000]) {
        log.append(&later(index, size)).unwrap();
        expected.push(later(index, size));
        if size == 448 {
            log.flush().unwrap();
        }
    }
    log.flush().unwrap();
    drop(log);
    for opening in 1..=2 {
        let found = find(case, disk).unwrap_or_else(|error| panic!("{context}, opening {opening}: {error}"));
        assert!(found.entries == expected, "{context}, opening {opening}");
        assert_eq!(found.last_term, LATER_TERM, "{context}, opening {opening}");
    }
    assert_eq!(inspect(disk, LogIndex(before.checkpoint)).unwrap().damage, [], "{context}");
}

/// The power fails again, at each operation of the opening: the next opening finds the same.
fn check_second_crash(case: &Case, image: &MemoryDisk, first: &Found, allowed: &Allowed, context: &str) {
    let whole = image.restart();
    find(case, &whole).unwrap();
    for operation in 1..=whole.counts().total() {
        let recovering = image.restart();
        recovering.set_faults(FaultPlan { crash_at: Some(operation), ..FaultPlan::default() });
        assert!(find(case, &recovering).is_err(), "{context}: the power fails at {operation}");
        for seed in 0..SEEDS_AGAIN {
            let context = format!("{context}, then {operation} of the opening, seed {seed}");
            let again = recovering.crash(seed);
            assert!(
                check(case, &again, allowed, &context) == *first,
                "{context}: the same as after one crash"
            );
            if seed == 0 {
                check_continues(case, &again, first, &context);
            }
        }
    }
}

/// Checks the images that crashes of `disk` may leave.
fn check_images(case: &Case, disk: &MemoryDisk, allowed: &Allowed, context: &str) {
    for seed in 0..SEEDS {
        let context = format!("{context}, seed {seed}");
        let image = disk.crash(seed);
        let opened = image.restart();
        let found = check(case, &opened, allowed, &context);
        assert!(
            check(case, &opened, allowed, &context) == found,
            "{context}: a second opening finds the same"
        );
        check_continues(case, &opened, &found, &context);
        if seed < SEEDS_AGAIN {
            check_second_crash(case, &image, &found, allowed, &context);
        }
    }
}

fn crash_at_every_operation(case: &Case) {
    let (base, allowed) = (case.disk(), case.allowed());
    let operations = case.operations(&base);
    assert!(operations > 4, "{}: {operations} operations are too few", case.name);
    for operation in 1..=operations {
        let (disk, mut log) = case.process(&base);
        let crash_at = Some(disk.counts().total() + operation);
        disk.set_faults(FaultPlan { crash_at, ..FaultPlan::default() });
        assert!(case.run(&disk, &mut log).is_err(), "{}: the power fails at {operation}", case.name);
        check_images(case, &disk, &allowed, &format!("{}, crash at {operation} of {operations}", case.name));
    }
}

fn fail_at_every_operation(case: &Case) {
    let (base, allowed) = (case.disk(), case.allowed());
    let operations = case.operations(&base);
    for operation in 1..=operations {
        let context = format!("{}, failure at {operation} of {operations}", case.name);
        let (disk, mut log) = case.process(&base);
        let fail_at = Some(disk.counts().total() + operation);
        disk.set_faults(FaultPlan { fail_at, ..FaultPlan::default() });
        let done = case.run(&disk, &mut log);
        disk.set_faults(FaultPlan::default());
        // A checkpoint that could not be written does not fail the log, nor does a file that could not be
        // removed.
        if let Err(error) = &done
            && let Some(error) = error.downcast_ref::<LogError>()
        {
            check_closed(&disk, &mut log, error, &context);
        }
        drop(log);
        check_images(case, &disk, &allowed, &context);
        // The process is restarted, and the power stays on.
        check(case, &disk.restart(), &allowed, &format!("{context}, restarted"));
    }
}

/// Every later call returns the same error, and the disk is not touched.
fn check_closed(disk: &MemoryDisk, log: &mut Log, error: &LogError, context: &str) {
    let before = disk.counts();
    let next = later(log.last_index().0 + 1, 100);
    let closed = Err(error.clone());
    assert_eq!(log.append(&next), closed, "{context}");
    assert_eq!(log.flush().map(drop), closed, "{context}");
    assert_eq!(log.mark(), closed, "{context}");
    assert_eq!(log.prepare(), closed, "{context}");
    assert_eq!(log.release(LogIndex(0)), closed, "{context}");
    assert_eq!(log.truncate(LogIndex(0)), closed, "{context}");
    assert_eq!(log.plan_reset(LogIndex(INSTALLED), INSTALLED_TERM), closed, "{context}");
    assert_eq!(log.cancel_reset(), closed, "{context}");
    assert_eq!(log.reset(LogIndex(INSTALLED), INSTALLED_TERM), closed, "{context}");
    assert_eq!(disk.counts(), before, "{context}: nothing was done after the failure");
}

#[test]
fn a_crash_in_a_truncation_keeps_all_or_wanted_entries() {
    TRUNCATIONS.iter().for_each(crash_at_every_operation);
}

#[test]
fn a_failure_in_a_truncation_keeps_all_or_wanted_entries() {
    TRUNCATIONS.iter().for_each(fail_at_every_operation);
}

#[test]
fn after_a_crash_in_a_reset_the_checkpoint_decides() {
    RESETS.iter().for_each(crash_at_every_operation);
}

#[test]
fn after_a_failure_in_a_reset_the_checkpoint_decides() {
    RESETS.iter().for_each(fail_at_every_operation);
}

#[test]
fn changes_without_faults_leave_the_expected_log() {
    for case in TRUNCATIONS.iter().chain(&RESETS) {
        let (disk, mut log) = case.process(&case.disk());
        case.run(&disk, &mut log).unwrap();
        let (last, allowed) = (log.last_index(), case.allowed());
        assert_eq!(log.durable_index(), last, "{}", case.name);
        drop(log);
        for image in [disk.restart(), disk.crash(3)] {
            let found = check(case, &image, &allowed, case.name);
            assert_eq!(found.last_index, last, "{}", case.name);
            let expected =
                if allowed.may_be_installed { INSTALLED } else { allowed.logs.last().unwrap().len() as u64 };
            assert_eq!(last, LogIndex(expected), "{}", case.name);
            check_continues(case, &image, &found, case.name);
        }
    }
}

#[test]
fn a_torn_flush_after_a_truncation_is_not_damage() {
    for case in &TRUNCATIONS {
        let (disk, mut log) = case.process(&case.disk());
        case.run(&disk, &mut log).unwrap();
        let kept = log.last_index().0;
        for (index, size) in (kept + 1..).zip([4032, 0, 448, 8000]) {
            log.append(&later(index, size)).unwrap();
        }
        let crash_at = Some(disk.counts().total() + 1);
        disk.set_faults(FaultPlan { crash_at, ..FaultPlan::default() });
        log.flush().unwrap_err();
        for seed in 0..24 {
            let context = format!("{}, torn {seed}", case.name);
            let found = find(case, &disk.crash(seed)).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert!((kept..=kept + 4).contains(&found.last_index.0), "{context}: {:?}", found.last_index);
        }
    }
}

#[test]
fn an_old_mark_does_not_cover_a_replaced_entry() {
    let case = Case { is_marked: true, ..case("marked", &[&[100], &[200], &[300]], &[Step::Truncate(1)]) };
    let (disk, mut log) = case.process(&case.disk());
    case.run(&disk, &mut log).unwrap();
    log.append(&later(2, 5000)).unwrap();
    log.flush().unwrap();
    // The entry is not marked yet: a torn write there was never acknowledged, and is cut.
    let torn = disk.restart();
    common::blank(&torn, common::FIRST, 3 * BLOCK, BLOCK);
    assert_eq!(find(&case, &torn).unwrap().last_index, LogIndex(1));
    log.mark().unwrap();
    assert_eq!(log.stats().marks, 1, "the new entry is not marked by the old mark");
    let damaged = disk.restart();
    common::blank(&damaged, common::FIRST, 3 * BLOCK, BLOCK);
    let error = case.open(&damaged, 0).unwrap_err();
    assert!(matches!(error, LogError::Damaged { .. }), "{error:?}");
}

/// The layouts are as their names say, so that a change of the format does not leave the tests without cases.
#[test]
fn the_layouts_match_their_names() {
    let segments = |case: &Case| inspect(&case.disk(), LogIndex(case.checkpoint)).unwrap().segments.len();
    let by_name = |name| *TRUNCATIONS.iter().chain(&RESETS).find(|case| case.name == name).unwrap();
    assert_eq!(segments(&by_name("in a flush, after a command")), 1);
    assert!(segments(&by_name("over several segment boundaries")) >= 3);
    assert!(segments(&by_name("the smallest segments, to a boundary")) >= 4);
    assert!(by_name("the name is taken").disk().content("log-000000000000000a.bzl").is_ok());
    let released = by_name("after released segments").disk();
    assert!(released.content(common::FIRST).is_err(), "the first segment was released");
    assert!(
        by_name("to just after a checkpoint at a boundary")
            .disk()
            .content("log-0000000000000006.bzl")
            .is_ok()
    );
}

#[test]
fn a_cancelled_plan_is_removed_or_void_after_every_fault() {
    let case = case("cancelled", FLUSH, &[Step::Plan]);
    let (base, allowed) = (case.disk(), case.allowed());
    for is_crash in [true, false] {
        for operation in 1.. {
            let (disk, mut log) = case.process(&base);
            case.run(&disk, &mut log).unwrap();
            let at = Some(disk.counts().total() + operation);
            let plan = FaultPlan::default();
            disk.set_faults(if is_crash {
                FaultPlan { crash_at: at, ..plan }
            } else {
                FaultPlan { fail_at: at, ..plan }
            });
            let context = format!("cancelled, operation {operation}, crash {is_crash}");
            let Err(error) = log.cancel_reset() else {
                disk.set_faults(FaultPlan::default());
                // After the cancellation, the replica's own checkpoint of that index leaves the log
                // unchanged.
                stage(&mut log, &[1, 2, 3]).unwrap();
                log.flush().unwrap();
                write_checkpoint(&disk, INSTALLED, TERM).unwrap();
                let found = find(&case, &disk.crash(1)).unwrap();
                assert_eq!((found.checkpoint, found.last_index), (INSTALLED, LogIndex(11)), "{context}");
                assert!(operation > 2, "{context}: cancelling takes disk operations");
                break;
            };
            if !is_crash {
                check_closed(&disk, &mut log, &error, &context);
            }
            check_images(&case, &disk, &allowed, &context);
        }
    }
}
