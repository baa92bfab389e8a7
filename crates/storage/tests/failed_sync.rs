//! A sync fails, the process is restarted on the disk as the system shows it, and then the power fails.
//! Everything that the new process has found or confirmed is still there, and no log is reported as damaged.
//!
//! After a failed sync, an operating system may return bytes to readers and never write them to the disk. So
//! bytes that can be read need not be durable.
#![allow(clippy::unwrap_used, reason = "a test fails at the first error")]

mod common;

use std::error::Error;
use std::sync::Arc;

use bezant_consensus::{EntryKind, LogEntry, Vote};
use bezant_storage::checkpoint::CheckpointStore;
use bezant_storage::log::Log;
use bezant_storage::record::VoteStore;
use bezant_storage::{FaultPlan, MemoryDisk};
use bezant_types::{HistoryPosition, LogIndex, Nanos, NodeId, Term};
use common::{entries, entry, open_at};

/// Number of power failures that are tried on each disk.
const SEEDS: u64 = 3;
/// What a failed sync makes durable: nothing, or sectors that a seed chooses.
const DURABLE_SECTORS: [Option<u64>; 3] = [None, Some(3), Some(8)];
/// The checkpoint of another replica.
const INSTALLED: (LogIndex, Term) = (LogIndex(9), Term(4));

/// One operation on a log.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Appends entries of these sizes and flushes them.
    Flush(&'static [usize]),
    Mark,
    Truncate(u64),
    /// Writes a checkpoint of everything durable, and releases the segments that it covers.
    Checkpoint,
    /// Plans a reset, writes its checkpoint, and resets.
    Reset,
}

use Step::{Checkpoint, Flush, Mark, Reset, Truncate};

const CASES: [&[Step]; 10] = [
    &[Flush(&[100]), Flush(&[1000, 448, 9000]), Flush(&[64]), Mark, Flush(&[4032, 4032])],
    &[Flush(&[30_000]), Flush(&[20_000, 100]), Flush(&[30_000, 5]), Mark, Flush(&[9])],
    &[Flush(&[100]), Flush(&[1000, 448, 9000]), Flush(&[64]), Truncate(2), Flush(&[300, 9000])],
    &[Flush(&[100]), Flush(&[448, 448, 384, 9000]), Truncate(3), Mark, Flush(&[5000])],
    &[Flush(&[4032]), Flush(&[4032, 8128]), Flush(&[9]), Truncate(1), Flush(&[12_000])],
    &[Flush(&[100, 20_000]), Flush(&[20_000, 20_000]), Flush(&[20_000]), Truncate(1), Flush(&[7])],
    &[Flush(&[100]), Mark, Flush(&[100, 30_000]), Truncate(1), Flush(&[20_000, 20_000]), Truncate(2)],
    &[Flush(&[100, 20_000]), Checkpoint, Flush(&[40_000]), Flush(&[40_000]), Checkpoint, Flush(&[9])],
    &[Flush(&[100, 20_000]), Checkpoint, Reset, Flush(&[100, 9000]), Mark],
    &[Flush(&[100, 40_000]), Flush(&[40_000]), Reset, Flush(&[20_000]), Truncate(9), Flush(&[7])],
];

/// The content of a folder: the index of its checkpoint, and the entries after it.
type Held = (u64, Vec<LogEntry>);

/// What the caller of the log knows about the disk.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Entry `n` is at `n - 1`.
    appended: Vec<LogEntry>,
    /// Index up to which entries must be there.
    confirmed: u64,
    /// True while a reset is under way.
    is_resetting: bool,
}

/// An entry whose payload is unique among all incarnations at that index.
fn new_entry(index: u64, incarnation: u64, size: usize) -> LogEntry {
    let payload = entry(index + incarnation * 100, size).payload;
    LogEntry { index: LogIndex(index), term: Term(incarnation), kind: EntryKind::Command, payload }
}

fn write_checkpoint(disk: &MemoryDisk, index: LogIndex, term: Term) -> Result<(), Box<dyn Error>> {
    let mut writer = CheckpointStore::new(Arc::new(disk.clone())).begin(index, term)?;
    writer.write(&[5; 9000])?;
    writer.finish(HistoryPosition::default(), Nanos(1))?;
    Ok(())
}

/// Reads everything, like a process that starts.
fn open(disk: &MemoryDisk) -> Result<(Log, Held), Box<dyn Error>> {
    let checkpoint = CheckpointStore::new(Arc::new(disk.clone())).load_newest()?;
    let checkpoint = checkpoint.map_or(0, |checkpoint| checkpoint.index.0);
    let (log, mut recovered) = open_at(disk, checkpoint)?;
    let entries = entries(&mut recovered)?;
    Ok((log, (checkpoint, entries)))
}

impl Known {
    /// Runs the steps until one fails.
    fn run(&mut self, disk: &MemoryDisk, incarnation: u64, steps: &[Step]) -> Result<(), Box<dyn Error>> {
        let (mut log, _) = open(disk)?;
        for step in steps {
            match *step {
                Flush(sizes) => {
                    for size in sizes {
                        let entry = new_entry(log.last_index().0 + 1, incarnation.max(INSTALLED.1.0), *size);
                        log.append(&entry)?;
                        self.appended.push(entry);
                    }
                    self.confirmed = log.flush()?.0;
                }
                Mark => log.mark()?,
                Truncate(after) => {
                    self.confirmed = after;
                    log.truncate(LogIndex(after))?;
                    self.appended.truncate(usize::try_from(after)?);
                }
                Checkpoint => {
                    write_checkpoint(disk, log.durable_index(), Term(incarnation))?;
                    log.release(log.durable_index())?;
                }
                Reset => {
                    self.is_resetting = true;
                    log.plan_reset(INSTALLED.0, INSTALLED.1)?;
                    write_checkpoint(disk, INSTALLED.0, INSTALLED.1)?;
                    log.reset(INSTALLED.0, INSTALLED.1)?;
                    self.is_resetting = false;
                    let unused = |index| new_entry(index, INSTALLED.1.0, 0);
                    self.appended = (1..=INSTALLED.0.0).map(unused).collect();
                    self.confirmed = INSTALLED.0.0;
                }
            }
        }
        Ok(())
    }

    /// Checks that only appended entries are found, and that all confirmed ones are.
    fn check(&self, (checkpoint, found): &Held, context: &str) {
        if self.is_resetting && *checkpoint == INSTALLED.0.0 {
            assert!(found.is_empty(), "{context}: a reset leaves nothing");
            return;
        }
        let from = usize::try_from(*checkpoint).unwrap();
        let end = from + found.len();
        assert!(end as u64 >= self.confirmed, "{context}: {end} entries of {}", self.confirmed);
        assert_eq!(self.appended.get(from..end), Some(&found[..]), "{context}: the same bytes");
    }
}

fn fail_at(disk: &MemoryDisk, operation: u64, durable_sectors_seed: Option<u64>) {
    let fail_at = Some(disk.counts().total() + operation);
    disk.set_faults(FaultPlan { fail_at, durable_sectors_seed, ..FaultPlan::default() });
}

/// Checks that exactly `held` is found after any power failure.
fn check_survives(disk: &MemoryDisk, held: &Held, context: &str) {
    for seed in 0..SEEDS {
        let opened = open(&disk.crash(seed));
        let (_, found) = opened.unwrap_or_else(|error| panic!("{context}, seed {seed}: {error}"));
        assert!(found == *held, "{context}, seed {seed}: {} of {} entries", found.1.len(), held.1.len());
    }
}

/// Starts a process on this disk. Everything that it finds must survive a power failure, and everything that
/// it confirms later.
fn check_start(disk: &MemoryDisk, context: &str) -> Held {
    let opened = open(disk);
    let (mut log, found) = opened.unwrap_or_else(|error| panic!("{context}: {error}"));
    check_survives(disk, &found, context);
    let mut held = found.clone();
    for sizes in [&[448, 9000][..], &[64], &[30_000, 4032]] {
        for size in sizes {
            let entry = new_entry(log.last_index().0 + 1, 20, *size);
            log.append(&entry).unwrap();
            held.1.push(entry);
        }
        assert_eq!(log.flush(), Ok(log.last_index()));
        check_survives(disk, &held, &format!("{context}, continued"));
    }
    found
}

/// The start fails as well, at each of its operations. The start after it succeeds.
fn check_failing_starts(
    disk: &MemoryDisk,
    durable_sectors_seed: Option<u64>,
    context: &str,
    check: &dyn Fn(&Held, &str),
) {
    for operation in 1.. {
        let starting = disk.restart();
        fail_at(&starting, operation, durable_sectors_seed);
        let is_open = open(&starting).is_ok();
        if is_open && starting.counts().total() < operation {
            break;
        }
        let context = format!("{context}, start {operation}");
        check(&check_start(&starting.restart(), &context), &context);
        for seed in 0..SEEDS {
            let opened = open(&starting.crash(seed));
            let (_, found) = opened.unwrap_or_else(|error| panic!("{context}, seed {seed}: {error}"));
            check(&found, &context);
        }
    }
}

#[test]
fn what_a_start_finds_after_a_failed_operation_is_durable() {
    for (number, steps) in CASES.iter().enumerate() {
        for operation in 1.. {
            let mut is_over = false;
            for durable_sectors_seed in DURABLE_SECTORS {
                let (disk, mut known) = (MemoryDisk::new(), Known::default());
                fail_at(&disk, operation, durable_sectors_seed);
                let context = format!("case {number}, operation {operation}, {durable_sectors_seed:?}");
                is_over = known.run(&disk, 1, steps).is_ok() && disk.counts().total() < operation;
                let found = check_start(&disk.restart(), &context);
                known.check(&found, &context);
            }
            if is_over {
                break;
            }
        }
    }
}

#[test]
fn a_failed_start_after_a_failure_confirms_only_durable_entries() {
    for (number, steps) in CASES.iter().enumerate() {
        for operation in 1.. {
            let (disk, mut known) = (MemoryDisk::new(), Known::default());
            let durable_sectors_seed = DURABLE_SECTORS[usize::try_from(operation % 3).unwrap()];
            fail_at(&disk, operation, durable_sectors_seed);
            if known.run(&disk, 1, steps).is_ok() && disk.counts().total() < operation {
                break;
            }
            let context = format!("case {number}, operation {operation}, {durable_sectors_seed:?}");
            check_failing_starts(&disk.restart(), durable_sectors_seed, &context, &|found, context| {
                known.check(found, context);
            });
        }
    }
}

#[test]
fn a_failed_start_on_torn_writes_confirms_only_durable_entries() {
    let before: &[Step] = &[Flush(&[100, 9000]), Flush(&[30])];
    let torn: [&[Step]; 4] = [
        &[Flush(&[100, 448, 12_000, 64, 5000])],
        &[Flush(&[4032, 4032, 4032, 64, 4032])],
        &[Flush(&[20_000, 20_000, 20_000, 7])],
        &[Truncate(2), Flush(&[4032, 9000])],
    ];
    for (number, steps) in torn.iter().enumerate() {
        for operation in 1.. {
            let (disk, mut known) = (MemoryDisk::new(), Known::default());
            known.run(&disk, 1, before).unwrap();
            let crash_at = Some(disk.counts().total() + operation);
            disk.set_faults(FaultPlan { crash_at, ..FaultPlan::default() });
            if known.run(&disk, 2, steps).is_ok() {
                break;
            }
            for seed in 0..6 {
                let context = format!("torn {number}, operation {operation}, seed {seed}");
                let durable_sectors_seed = DURABLE_SECTORS[usize::try_from(seed % 3).unwrap()];
                // Either only the process dies, or the power fails.
                let disk = if seed == 0 { disk.restart() } else { disk.crash(seed) };
                check_failing_starts(&disk, durable_sectors_seed, &context, &|found, context| {
                    known.check(found, context);
                });
            }
        }
    }
}

#[test]
fn a_vote_read_after_a_failed_operation_is_durable() {
    let read = |disk: &MemoryDisk| VoteStore::open(Arc::new(disk.clone())).unwrap();
    let vote = |term| Vote { term: Term(term), voted_for: NodeId(1) };
    for durable_sectors_seed in DURABLE_SECTORS {
        for operation in 1..=6 {
            let disk = MemoryDisk::new();
            let (mut votes, _) = read(&disk);
            votes.save(vote(1)).unwrap();
            fail_at(&disk, operation, durable_sectors_seed);
            drop(votes.save(vote(2)));
            let disk = disk.restart();
            let (mut votes, found) = read(&disk);
            assert!([Some(vote(1)), Some(vote(2))].contains(&found));
            assert!((0..9).all(|seed| read(&disk.crash(seed)).1 == found), "operation {operation}");
            votes.save(vote(3)).unwrap();
            assert!((0..9).all(|seed| read(&disk.crash(seed)).1 == Some(vote(3))), "operation {operation}");
        }
    }
}
