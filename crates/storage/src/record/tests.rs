//! Tests of records: crashes, damage, full disks.

use bezant_consensus::EngineKind;
use bezant_types::LogIndex;

use super::*;
use crate::{FaultPlan, MemoryDisk};

fn vote(term: u64) -> Vote {
    Vote { term: Term(term), voted_for: NodeId(2) }
}

fn saved(disk: &MemoryDisk) -> Result<Option<Vote>, RecordError> {
    VoteStore::open(Arc::new(disk.clone())).map(|(_, vote)| vote)
}

#[test]
fn a_crash_leaves_the_old_vote_or_the_new() {
    for crash_at in 1..12 {
        let disk = MemoryDisk::new();
        let (mut votes, none) = VoteStore::open(Arc::new(disk.clone())).unwrap();
        assert_eq!(none, None);
        votes.save(vote(1)).unwrap();
        let before = disk.counts().total();
        disk.set_faults(FaultPlan { fail_at: Some(before + crash_at), ..FaultPlan::default() });
        let is_saved = votes.save(vote(2)).is_ok();
        assert!(is_saved || votes.save(vote(3)).is_err(), "it stays closed after a failure");
        for seed in 0..8 {
            let found = saved(&disk.crash(seed)).unwrap();
            if is_saved {
                assert_eq!(found, Some(vote(2)));
            } else {
                assert!([Some(vote(1)), Some(vote(2))].contains(&found), "{found:?}");
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_a_vote_is_damage() {
    let disk = MemoryDisk::new();
    VoteStore::open(Arc::new(disk.clone())).unwrap().0.save(vote(7)).unwrap();
    let file = disk.open("vote.bzv", OpenMode::Write).unwrap();
    let mut block = [0; BLOCK_SIZE];
    file.read_at(0, &mut block).unwrap();
    for at in 0..BLOCK_SIZE {
        let mut flipped = block;
        flipped[at] ^= 1 << (at % 8);
        file.write_at(0, &flipped).unwrap();
        assert!(matches!(saved(&disk), Err(RecordError::Damaged { .. })), "byte {at}");
    }
    for size in [0, 1, 512, BLOCK_SIZE - 1, BLOCK_SIZE + 1] {
        let mut other = block.to_vec();
        other.resize(size, 0);
        disk.put("vote.bzv", &other);
        assert!(matches!(saved(&disk), Err(RecordError::Damaged { .. })), "{size} bytes");
    }
    disk.put("node.bzi", &block);
    assert!(matches!(Identity::load(&disk), Err(RecordError::Damaged { .. })), "another record");
}

#[test]
fn a_vote_that_was_read_is_durable() {
    for crash_at in 1..=5 {
        let disk = MemoryDisk::new();
        let (mut votes, _) = VoteStore::open(Arc::new(disk.clone())).unwrap();
        votes.save(vote(1)).unwrap();
        let crash_at = Some(disk.counts().total() + crash_at);
        disk.set_faults(FaultPlan { crash_at, ..FaultPlan::default() });
        drop(votes.save(vote(2)));
        let killed = disk.restart();
        let found = saved(&killed).unwrap();
        for seed in 0..16 {
            assert!(saved(&disk.crash(seed)).unwrap().is_some(), "the vote is never absent");
            assert_eq!(saved(&killed.crash(seed)), Ok(found), "{crash_at:?}, seed {seed}");
        }
    }
}

#[test]
fn an_unfinished_record_is_ignored_and_replaced() {
    let disk = MemoryDisk::new();
    disk.put("vote.tmp", &[1, 2, 3]);
    assert_eq!(saved(&disk), Ok(None));
    VoteStore::open(Arc::new(disk.clone())).unwrap().0.save(vote(2)).unwrap();
    assert_eq!(saved(&disk), Ok(Some(vote(2))));
}

#[test]
fn a_full_disk_accepts_records_with_reserved_space() {
    let disk = MemoryDisk::new();
    assert_eq!(reserve_space(&disk), Ok(true));
    let fill = |disk: &MemoryDisk| {
        disk.set_faults(FaultPlan { capacity_bytes: Some(disk.used_bytes()), ..FaultPlan::default() });
    };
    fill(&disk);
    let (mut votes, _) = VoteStore::open(Arc::new(disk.clone())).unwrap();
    // The first record used the reserved space. Space for the next one is allocated once the disk has some.
    votes.save(vote(1)).unwrap();
    assert!(matches!(votes.save(vote(2)), Err(RecordError::NoSpace(_))), "nothing was changed");
    assert_eq!(saved(&disk), Ok(Some(vote(1))));
    disk.set_faults(FaultPlan::default());
    assert_eq!(reserve_space(&disk), Ok(true));
    fill(&disk);
    for term in 2..20 {
        votes.save(vote(term)).unwrap();
        assert_eq!(saved(&disk.crash(term)), Ok(Some(vote(term))));
        store(&disk, RecordKind::Rewrite, &[1, 2, 3]).unwrap();
        remove(&disk, RecordKind::Rewrite).unwrap();
        assert_eq!(load(&disk, RecordKind::Rewrite), Ok(None));
    }
}

#[test]
fn an_identity_round_trips() {
    let disk = MemoryDisk::new();
    assert_eq!(Identity::load(&disk).unwrap(), None);
    let known = (1..=64).map(|node| KnownDisk {
        node: NodeId(node),
        since: LogIndex(node * 3),
        disk: u128::MAX - u128::from(node),
    });
    let known = known.collect();
    let identity = Identity {
        token: [3; 32],
        node: NodeId(1),
        disk: 99,
        since: LogIndex(3),
        is_admitted: true,
        engine: Some(EngineKind::Paxos),
        known,
    };
    identity.store(&disk).unwrap();
    assert_eq!(Identity::load(&disk).unwrap(), Some(identity));
}

#[test]
fn the_largest_list_of_members_round_trips() {
    let disk = MemoryDisk::new();
    assert_eq!(load_members(&disk).unwrap(), None);
    let count = bezant_types::limits::MEMBERS_MAX as u64;
    let address = "a".repeat(bezant_types::limits::ADDRESS_SIZE_MAX);
    let members = Members::first((1..=count).map(|node| (NodeId(node), address.clone())));
    store_members(&disk, &members).unwrap();
    assert_eq!(load_members(&disk).unwrap(), Some(members));
}
