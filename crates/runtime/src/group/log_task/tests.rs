//! The log's task on a disk that becomes full.

use super::*;
use crate::group::metrics::Metrics;
use crate::process::mailbox::mailbox;
use crate::process::pool::tests::{detached, received};
use crate::process::pool::{Place, Pools, Slot};
use bezant_consensus::{EntryKind, LogEntry, Vote};
use bezant_ledger::Ledger;
use bezant_storage::log::LogOptions;
use bezant_storage::{FaultPlan, History, MemoryDisk};
use bezant_types::{HistoryPosition, NodeId, Term};
use std::sync::mpsc;

/// What a test has of the log's task.
struct Rig {
    slot: Arc<Slot>,
    to_log: Sender<LogWork>,
    reports: mpsc::Receiver<Message<Ledger>>,
    shared: Arc<Shared>,
    _pools: Pools,
}

/// A log on an empty disk; its task has not begun.
fn task(disk: &MemoryDisk) -> (LogTask<Ledger>, Rig) {
    let on: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = LogOptions::fixed(SEGMENT_SIZE);
    let (log, _) = Log::open(Arc::clone(&on), options, LogIndex(0)).unwrap();
    let (votes, _) = VoteStore::open(Arc::clone(&on)).unwrap();
    let history = History::open(Arc::new(MemoryDisk::new()), HistoryPosition::default()).unwrap();
    let shared = Arc::new(Shared::new(Metrics::new(), history.reader()));
    let pools = Pools::new();
    let slot = pools.slot(Place::Log);
    let (to_log, work) = mailbox(&slot);
    let (replica, reports) = received(&pools);
    let task = LogTask {
        log,
        votes,
        disk: on,
        shared: Arc::clone(&shared),
        replica,
        prepare: mailbox(&detached()).0,
        space_kept: 1 << 20,
        is_member: true,
        work,
        taken: Taken::default(),
        course: Course::begin(),
    };
    (task, Rig { slot, to_log, reports, shared, _pools: pools })
}

const SEGMENT_SIZE: u64 = 64 << 10;

fn fill(disk: &MemoryDisk) {
    disk.set_faults(FaultPlan { capacity_bytes: Some(disk.used_bytes()), ..FaultPlan::default() });
}

fn vote(term: u64) -> Vote {
    Vote { term: Term(term), voted_for: NodeId(1) }
}

#[test]
fn vote_space_is_kept_again_after_a_full_disk() {
    let disk = MemoryDisk::new();
    let (mut task, _rig) = task(&disk);
    fill(&disk);
    task.check_space();
    assert!(matches!(task.votes.save(vote(1)), Err(RecordError::NoSpace(_))));
    disk.set_faults(FaultPlan::default());
    task.check_space();
    fill(&disk);
    task.votes.save(vote(1)).unwrap();
}

#[test]
fn a_stop_with_a_full_disk_is_no_log_failure() {
    let disk = MemoryDisk::new();
    let (task, Rig { slot, to_log, reports, shared, _pools }) = task(&disk);
    fill(&disk);
    let write = Write { number: WriteNumber(1), vote: Some(vote(1)), entries: Vec::new() };
    assert!(to_log.send(LogWork::Persist(write)).is_ok());
    slot.begin(Box::new(task)).unwrap();
    let pressed = reports.recv().unwrap();
    assert!(matches!(pressed, Message::Event(Input::Pressure(Some(_)))), "it waits for space");
    shared.announce_stop();
    slot.join();
    let ends = reports.iter().find_map(|it| match it {
        Message::Event(Input::Failed { reason }) => Some(reason),
        _ => None,
    });
    assert!(ends.as_ref().is_some_and(|it| it.starts_with("the node stops")), "{ends:?}");
}

/// An entry that fills a segment except for a few blocks; a second one does not fit.
fn entries(number: u64) -> LogWork {
    let (index, payload) = (LogIndex(number), bytes::Bytes::from(vec![7; 40 << 10]));
    let entry = LogEntry { index, term: Term(1), kind: EntryKind::Command, payload };
    LogWork::Persist(Write { number: WriteNumber(number), vote: None, entries: vec![entry] })
}

/// Waits for a report, and fails on any other report that matters before it.
fn expect_report(reports: &mpsc::Receiver<Message<Ledger>>, is_it: impl Fn(&Input<Ledger>) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match reports.recv_timeout(left).expect("the report comes in time") {
            Message::Event(input) if is_it(&input) => return,
            Message::Event(Input::Pressure(_) | Input::SpaceAwaited) => {}
            other => panic!("an unexpected report: {other:?}"),
        }
    }
}

/// A task that waits for space for its third write: the disk holds two segments only.
fn waiting() -> (MemoryDisk, Rig) {
    let disk = MemoryDisk::new();
    let (mut task, rig) = task(&disk);
    task.votes.save(vote(1)).unwrap();
    task.votes.reserve_space().unwrap();
    let capacity_bytes = Some(disk.used_bytes() + SEGMENT_SIZE);
    disk.set_faults(FaultPlan { capacity_bytes, ..FaultPlan::default() });
    rig.slot.begin(Box::new(task)).unwrap();
    for number in 1..=2 {
        assert!(rig.to_log.send(entries(number)).is_ok());
        expect_report(
            &rig.reports,
            |it| matches!(it, Input::Persisted(written) if *written == WriteNumber(number)),
        );
    }
    assert!(rig.to_log.send(entries(3)).is_ok());
    expect_report(&rig.reports, |it| matches!(it, Input::SpaceAwaited));
    (disk, rig)
}

#[test]
fn votes_do_not_wait_for_entries_without_space() {
    let (disk, Rig { slot, to_log, reports, shared: _shared, _pools }) = waiting();
    for term in 2..10 {
        let number = WriteNumber(term + 2);
        let write = Write { number, vote: Some(vote(term)), entries: Vec::new() };
        assert!(to_log.send(LogWork::Persist(write)).is_ok());
        expect_report(&reports, |it| matches!(it, Input::VoteKept(kept) if *kept == number));
        let saved = VoteStore::open(Arc::new(disk.crash(term))).unwrap().1;
        assert_eq!(saved, Some(vote(term)), "it survives the loss of power");
    }
    disk.set_faults(FaultPlan::default());
    expect_report(&reports, |it| matches!(it, Input::Persisted(WriteNumber(3))));
    drop(to_log);
    slot.join();
}

#[test]
fn a_released_log_frees_the_space_it_waits_for() {
    let (_disk, Rig { slot, to_log, reports, shared: _shared, _pools }) = waiting();
    assert!(to_log.send(LogWork::Release(LogIndex(1))).is_ok());
    expect_report(&reports, |it| matches!(it, Input::Persisted(WriteNumber(3))));
    drop(to_log);
    slot.join();
}

#[test]
fn a_flush_without_space_is_finished_before_new_entries() {
    let (disk, Rig { slot, to_log, reports, shared: _shared, _pools }) = waiting();
    assert!(to_log.send(entries(4)).is_ok());
    expect_report(&reports, |it| matches!(it, Input::SpaceAwaited));
    disk.set_faults(FaultPlan::default());
    for number in 3..=4 {
        expect_report(
            &reports,
            |it| matches!(it, Input::Persisted(written) if *written == WriteNumber(number)),
        );
    }
    drop(to_log);
    slot.join();
}

#[test]
fn an_idle_log_is_marked_and_then_rests() {
    let disk = MemoryDisk::new();
    let (mut task, rig) = task(&disk);
    assert!(rig.to_log.send(entries(1)).is_ok());
    let Next::At(marks_at) = task.run(Instant::now()) else { panic!("it is not marked yet") };
    assert!(marks_at <= Instant::now() + IDLE);
    rig.shared.applied.send_replace(LogIndex(1));
    task.course.idle_at = Instant::now();
    assert!(matches!(task.run(Instant::now()), Next::At(_)));
    assert!(task.course.is_marked && !task.log.needs_note());
    let next = task.run(Instant::now());
    assert_eq!(next, Next::At(task.course.look_at), "only the disk is looked at");
}
