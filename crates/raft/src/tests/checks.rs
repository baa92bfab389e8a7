//! The assertions on the transitions of a replica: each fails when its rule is broken.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bezant_consensus::WriteNumber;
use raft::eraftpb::Entry;

use super::limits::follower;
use super::*;
use crate::reached::check_vote;

fn fails(check: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(check)).is_err()
}

/// True when that check of a new follower fails.
fn follower_fails(check: impl FnOnce(&mut Raft)) -> bool {
    let mut engine = follower();
    fails(|| check(&mut engine))
}

const fn vote(term: u64, voted_for: u64) -> Vote {
    Vote { term: Term(term), voted_for: NodeId(voted_for) }
}

#[test]
fn a_vote_is_kept_until_the_next_term() {
    for (before, next) in [((3, 1), (3, 1)), ((3, 0), (3, 2)), ((3, 1), (4, 2)), ((3, 1), (4, 0))] {
        assert!(!fails(|| check_vote(vote(before.0, before.1), vote(next.0, next.1))), "{before:?} {next:?}");
    }
    for (before, next) in [((3, 1), (2, 1)), ((3, 1), (3, 2)), ((3, 1), (3, 0)), ((3, 0), (2, 0))] {
        assert!(fails(|| check_vote(vote(before.0, before.1), vote(next.0, next.1))), "{before:?} {next:?}");
    }
}

#[test]
fn a_restored_state_is_the_stored_one() {
    let stored = vote(5, 2);
    assert!(!follower_fails(|engine| engine.check_restored(stored, stored)));
    assert!(follower_fails(|engine| engine.check_restored(stored, vote(6, 0))));
    assert!(follower_fails(|engine| {
        engine.floor = 5;
        engine.check_restored(stored, stored);
    }));
}

#[test]
fn writes_are_numbered_and_confirmed_once_emitted() {
    assert!(!follower_fails(|engine| engine.check_write(1_000)));
    assert!(follower_fails(|engine| engine.check_write(0)));
    assert!(follower_fails(|engine| engine.check_persisted(WriteNumber(1_000))));
    assert!(!follower_fails(|engine| {
        engine.check_write(1_000);
        engine.check_persisted(WriteNumber(1_000));
    }));
}

#[test]
fn the_commit_index_grows_with_entries_at_a_quorum() {
    let commit = |engine: &mut Raft, index| {
        engine.raw.raft.raft_log.committed = index;
        engine.check_committed();
    };
    assert!(!follower_fails(|engine| [2, 2, 3].into_iter().for_each(|index| commit(engine, index))));
    assert!(follower_fails(|engine| [3, 2].into_iter().for_each(|index| commit(engine, index))));
    assert!(follower_fails(|engine| commit(engine, 5)), "the log ends with 4");
    let mut net = Net::new(3);
    let leader = net.elect();
    net.propose(leader, b"x");
    let engine = &mut net.replicas[leader].engine;
    let index = engine.propose(Bytes::from_static(b"y")).unwrap();
    assert!(fails(|| commit(engine, index.0)), "no other disk has the entry");
}

#[test]
fn entries_are_emitted_in_order_once_they_are_committed() {
    let emit = |indexes: &[u64], committed| {
        let entries: Vec<Entry> =
            indexes.iter().map(|index| Entry { index: *index, ..Entry::default() }).collect();
        follower_fails(|engine| {
            engine.raw.raft.raft_log.committed = committed;
            engine.check_emitted(&entries);
        })
    };
    assert!(!emit(&[], 3) && !emit(&[1, 2, 3], 3));
    assert!(emit(&[2, 3], 3) && emit(&[1, 2, 3], 2));
}
