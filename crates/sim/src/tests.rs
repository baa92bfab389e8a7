//! Some seeds must run without a failure, and every bug must be found within a number of seeds.

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
fn some_seeds_run_without_a_failure() {
    let (mut repairs, mut operator_steps, mut rests) = (0, 0, 0);
    for seed in 0..40 {
        match simulate(options(seed, None)) {
            Ok(report) => {
                repairs += report.repairs;
                operator_steps += report.operator_steps;
                // One at the end, without requests, is usual.
                rests += report.rests.saturating_sub(1);
            }
            Err(failure) => panic!("{failure}"),
        }
    }
    assert!(repairs > 0, "damage was found and repaired");
    assert!(operator_steps > 0, "members changed");
    assert!(rests > 0, "groups rested while there were faults");
}

// Texts of the checkers' failures.
const AGREEMENT: &str = "applied another entry at index";
const ONE_OWNER: &str = "both lead in term";
const PAST_READ: &str = "was answered before";
const OTHER_ANSWER: &str = "a client got another answer";
const OTHER_BALANCES: &str = "shows other balances than the log gives";
const OTHER_HISTORY: &str = "a read of the history at entry";
const TWICE: &str = "was created twice";
const DIVERGED: &str = "is not that of the majority";
const OTHER_STATE: &str = "differs at byte";
const LAGS: &str = "and the log ends with";
const NO_PROGRESS: &str = "since the faults ended";
const NOT_DURABLE: &str = "a checkpoint covers only durable entries";
const TIME_WENT_BACK: &str = "time never goes back";
const OVERFLOW: &str = "attempt to subtract with overflow";
const NO_CAUSE: &str = "no fault explains it";
const UNREPORTED: &str = "was given up without a report";
const NO_STOP: &str = "and no node stopped";
/// A replica stops before it drops entries that it knows to be committed.
const FLOOR: &str = "its log is committed up to entry";

/// Replicas have different states. Any of these checkers may find that first.
const STATES: &[&str] =
    &[OTHER_ANSWER, OTHER_BALANCES, OTHER_HISTORY, TWICE, DIVERGED, OTHER_STATE, OVERFLOW];
/// Committed entries differ or are lost. With Paxos a replica may then wait for entries that no replica has.
const LOGS: &[&str] = &[AGREEMENT, PAST_READ, LAGS, NO_PROGRESS, FLOOR];

/// Every bug, the number of seeds within which it must be found, and the checkers that may find it.
const FOUND_WITHIN: [(Bug, u64, &[&str]); 15] = [
    (Bug::AcknowledgeBeforeFsync, 10, &[NOT_DURABLE, AGREEMENT]),
    (Bug::IgnoreFailedFsync, 100, &[AGREEMENT, LAGS, PAST_READ, NO_CAUSE]),
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
    (Bug::IgnoreFloor, 20, &[UNREPORTED, NO_STOP]),
    (Bug::ForgetKeys, 10, STATES),
    (Bug::ChangeBothBounds, 10, STATES),
];

/// Checks that every bug is found, and by a checker that is meant for it.
#[track_caller]
fn check_all_are_found(engine: EngineKind) {
    for (bug, seeds, checkers) in FOUND_WITHIN {
        // The moments in which this bug has an effect are rarer with Paxos.
        let is_rare = bug == Bug::ReadFromDeposedLeader && engine == EngineKind::Paxos;
        let seeds = if is_rare { 400 } else { seeds };
        let found = (0..seeds).find_map(|seed| simulate(with(engine, seed, Some(bug))).err());
        let failure = found.unwrap_or_else(|| panic!("{bug:?} is not found within {seeds} seeds"));
        let SimFailure { seed, reason, .. } = &*failure;
        assert!(
            checkers.iter().any(|checker| reason.contains(checker)),
            "{bug:?}, seed {seed}, is found by a checker for something else: {reason}"
        );
    }
}

#[test]
fn every_bug_is_found() {
    check_all_are_found(EngineKind::Raft);
    assert_eq!(FOUND_WITHIN.len(), Bug::ALL.len());
}

#[test]
fn some_seeds_run_without_a_failure_with_paxos() {
    for seed in 0..40 {
        if let Err(failure) = simulate(with(EngineKind::Paxos, seed, None)) {
            panic!("{failure}");
        }
    }
}

#[test]
fn every_bug_is_found_with_paxos() {
    check_all_are_found(EngineKind::Paxos);
}

/// Checks runs in which old copies replace disks: replicas stop, and every loss is reported.
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
    assert!(lost > 0, "no acknowledged write was lost: these runs test nothing");
}

#[test]
fn every_loss_by_old_disks_is_reported() {
    check_rewinds(EngineKind::Raft);
}

#[test]
fn every_loss_by_old_disks_is_reported_with_paxos() {
    check_rewinds(EngineKind::Paxos);
}
