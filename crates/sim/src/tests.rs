//! A few seeds, and every mistake found within so many.

use super::*;

fn options(seed: u64, bug: Option<Bug>) -> SimOptions {
    with(EngineKind::Raft, seed, bug)
}

const fn with(engine: EngineKind, seed: u64, bug: Option<Bug>) -> SimOptions {
    SimOptions { seed, engine, bug, rewinds: false }
}

#[test]
fn equal_seeds_give_equal_runs() {
    for seed in [1, 2, 3] {
        let one = simulate(options(seed, None));
        let two = simulate(options(seed, None));
        assert_eq!(one, two, "seed {seed}");
    }
}

#[test]
fn some_seeds_break_nothing() {
    let (mut repairs, mut operator_steps) = (0, 0);
    for seed in 0..40 {
        match simulate(options(seed, None)) {
            Ok(report) => {
                repairs += report.repairs;
                operator_steps += report.operator_steps;
            }
            Err(failure) => panic!("{failure}"),
        }
    }
    assert!(repairs > 0, "damage was found and repaired");
    assert!(operator_steps > 0, "members changed");
}

// What each checker says when it finds something.
const AGREEMENT: &str = "applied another entry at index";
const ONE_OWNER: &str = "both lead in term";
const PAST_READ: &str = "was answered before";
const TOLD_OTHERWISE: &str = "a client was told something else";
const OTHER_BALANCES: &str = "shows other balances than the log gives";
const OTHER_HISTORY: &str = "a read of the history at entry";
const TWICE: &str = "was created twice";
const DIVERGED: &str = "is not that of the majority";
const OTHER_STATE: &str = "differs at byte";
const BEHIND: &str = "and the log ends with";
const NO_PROGRESS: &str = "since the faults ended";
const NOT_DURABLE: &str = "a checkpoint holds what the log has made durable";
const TIME_WENT_BACK: &str = "time never goes back";
const OVERFLOW: &str = "attempt to subtract with overflow";
const NO_CAUSE: &str = "no fault is to blame";
const IN_SILENCE: &str = "given up in silence";
const NOBODY_STOPPED: &str = "and nobody stopped";
/// A replica stops before it gives up what it knows to be committed.
const FLOOR: &str = "its log is committed up to entry";

/// Where replicas have different states: whoever looks first.
const STATES: &[&str] =
    &[TOLD_OTHERWISE, OTHER_BALANCES, OTHER_HISTORY, TWICE, DIVERGED, OTHER_STATE, OVERFLOW];
/// Where logs that were agreed are different, or one that was is gone: paxos may wait for what nobody has.
const LOGS: &[&str] = &[AGREEMENT, PAST_READ, BEHIND, NO_PROGRESS, FLOOR];

/// Every mistake made on purpose, how many seeds it takes at the most, and which checkers may speak.
const FOUND_WITHIN: [(Bug, u64, &[&str]); 15] = [
    (Bug::AcknowledgeBeforeFsync, 10, &[NOT_DURABLE, AGREEMENT]),
    (Bug::IgnoreFailedFsync, 100, &[AGREEMENT, BEHIND, PAST_READ, NO_CAUSE]),
    (Bug::ForgetVote, 600, &[ONE_OWNER, AGREEMENT]),
    (Bug::ReadFromDeposedLeader, 100, &[PAST_READ]),
    (Bug::ApplyOutOfOrder, 80, STATES),
    (Bug::CommitWithoutMajority, 10, &[AGREEMENT, PAST_READ]),
    (Bug::ForgetOldIds, 10, STATES),
    (Bug::ReuseTimestamp, 10, &[TIME_WENT_BACK]),
    (Bug::TruncateCommitted, 20, LOGS),
    (Bug::VoteAfterDamage, 100, LOGS),
    (Bug::CheckpointWithoutSessions, 10, STATES),
    (Bug::CheckpointWithoutIds, 10, STATES),
    (Bug::IgnoreFloor, 20, &[IN_SILENCE, NOBODY_STOPPED]),
    (Bug::ForgetKeys, 10, STATES),
    (Bug::ChangeBothBounds, 10, STATES),
];

/// Finds every mistake, and by a checker that is there for it.
#[track_caller]
fn check_all_are_found(engine: EngineKind) {
    for (bug, seeds, checkers) in FOUND_WITHIN {
        // The moments in which it shows are rarer with paxos.
        let is_rare = bug == Bug::ReadFromDeposedLeader && engine == EngineKind::Paxos;
        let seeds = if is_rare { 400 } else { seeds };
        let found = (0..seeds).find_map(|seed| simulate(with(engine, seed, Some(bug))).err());
        let failure = found.unwrap_or_else(|| panic!("{bug:?} is not found within {seeds} seeds"));
        let SimFailure { seed, reason, .. } = &*failure;
        assert!(
            checkers.iter().any(|checker| reason.contains(checker)),
            "{bug:?}, seed {seed}, is found by a checker that is there for something else: {reason}"
        );
    }
}

#[test]
fn every_mistake_on_purpose_is_found() {
    check_all_are_found(EngineKind::Raft);
    assert_eq!(FOUND_WITHIN.len(), Bug::ALL.len());
}

#[test]
fn some_seeds_break_nothing_with_paxos() {
    for seed in 0..40 {
        if let Err(failure) = simulate(with(EngineKind::Paxos, seed, None)) {
            panic!("{failure}");
        }
    }
}

#[test]
fn every_mistake_on_purpose_is_found_with_paxos() {
    check_all_are_found(EngineKind::Paxos);
}

/// Where disks go back in time, somebody stops and says so, and nothing is lost in silence.
#[track_caller]
fn check_rewinds(engine: EngineKind) {
    let (mut stops, mut lost) = (0, 0);
    for seed in 0..40 {
        match simulate(SimOptions { rewinds: true, ..with(engine, seed, None) }) {
            Ok(report) => {
                stops += report.stops;
                lost += report.lost;
            }
            Err(failure) => panic!("{failure}"),
        }
    }
    assert!(stops > 0, "replicas stopped");
    assert!(lost > 0, "acknowledged writes were lost: without that nothing was tried");
}

#[test]
fn disks_that_go_back_in_time_lose_nothing_in_silence() {
    check_rewinds(EngineKind::Raft);
}

#[test]
fn disks_that_go_back_in_time_lose_nothing_in_silence_with_paxos() {
    check_rewinds(EngineKind::Paxos);
}
