//! Tests of records: crashes, damage, full disks.

use bezant_consensus::EngineKind;
use bezant_types::{GroupId, LogIndex};

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

fn old_identity() -> Identity {
    Identity {
        token: [3; 32],
        node: NodeId(1),
        disk: 99,
        since: LogIndex(3),
        is_admitted: true,
        engine: Some(EngineKind::Paxos),
        known: vec![KnownDisk { node: NodeId(2), since: LogIndex(5), disk: 7 }],
    }
}

fn group_identity() -> GroupIdentity {
    GroupIdentity {
        group: GroupId(0x0102_0304),
        is_destroyed: false,
        engine: Some(EngineKind::Paxos),
        is_admitted: true,
        node: NodeId(6),
        since: LogIndex(7),
        disk: 8,
        kind: Some(MachineKind::new("ledger")),
        known: vec![KnownDisk { node: NodeId(2), since: LogIndex(5), disk: 7 }],
    }
}

#[test]
fn the_identity_of_a_group_round_trips() {
    let disk = MemoryDisk::new();
    assert_eq!(GroupIdentity::load(&disk), Ok(None));
    let known = (1..=64).map(|node| KnownDisk { node: NodeId(node), since: LogIndex(node), disk: u128::MAX });
    let identities = [
        group_identity(),
        GroupIdentity {
            is_destroyed: true,
            is_admitted: false,
            engine: None,
            kind: None,
            ..group_identity()
        },
        GroupIdentity {
            known: known.collect(),
            kind: Some(MachineKind::new("0123456789abcdef")),
            ..group_identity()
        },
    ];
    for identity in identities {
        identity.store(&disk).unwrap();
        assert_eq!(GroupIdentity::load(&disk.crash(1)), Ok(Some(identity)));
    }
    assert_eq!(group_identity().kind.unwrap().label(), "ledger");
}

#[test]
fn the_identity_of_a_group_has_the_documented_bytes() {
    let content = group_identity().encode();
    assert_eq!(content.len(), 56 + 8 + 32);
    assert_eq!(content[..8], [4, 3, 2, 1, 1, 2, 1, 0]);
    assert_eq!(content[8..16], 6_u64.to_le_bytes());
    assert_eq!(content[16..24], 7_u64.to_le_bytes());
    assert_eq!(content[24..40], 8_u128.to_le_bytes());
    assert_eq!(&content[40..56], b"ledger\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(content[56..64], 1_u64.to_le_bytes());
    // State, engine, right to vote, a zero, the label, the number of known nodes.
    for (at, byte) in [(4, 0), (4, 3), (5, 9), (6, 2), (7, 1), (40, 0), (41, b' '), (56, 65)] {
        let mut wrong = content.clone();
        wrong[at] = byte;
        assert!(GroupIdentity::decode(&wrong).is_err(), "byte {at} is {byte}");
    }
    for size in 0..content.len() {
        assert!(GroupIdentity::decode(&content[..size]).is_err(), "{size} bytes");
    }
    assert!(GroupIdentity::decode(&[&*content, &[0]].concat()).is_err(), "a byte too many");
}

#[test]
fn the_identity_of_a_node_has_the_documented_bytes() {
    let whole = NodeIdentity { token: None, node: NodeId(6), moving: None };
    let moving = NodeIdentity { token: Some([3; 32]), moving: Some(group_identity()), ..whole.clone() };
    let disk = MemoryDisk::new();
    assert_eq!(NodeIdentity::load(&disk), Ok(None));
    for identity in [&whole, &moving] {
        identity.store(&disk).unwrap();
        assert_eq!(NodeIdentity::load(&disk.crash(1)), Ok(Some(Found::Now(identity.clone()))));
    }
    let block = disk.content("node.bzi").unwrap();
    assert_eq!((block[8], block[12]), (2, 2), "version and kind");
    let content = &block[HEAD_SIZE..][..48 + 96];
    assert_eq!(content[..32], [3; 32]);
    assert_eq!(content[32..40], 6_u64.to_le_bytes());
    assert_eq!(content[40..48], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(content[48..], group_identity().encode());
    assert!(NodeIdentity::decode(&content[..48]).is_err(), "the identity of the group is missing");
    let mut unknown = content[..48].to_vec();
    unknown[..32].fill(0);
    unknown[40] = 0;
    assert_eq!(NodeIdentity::decode(&unknown), Ok(whole));
    for (at, byte) in [(40, 2), (47, 1)] {
        let mut wrong = unknown.clone();
        wrong[at] = byte;
        assert!(NodeIdentity::decode(&wrong).is_err(), "byte {at} is {byte}");
    }
}

#[test]
fn a_program_that_reads_version_1_refuses_version_2() {
    let disk = MemoryDisk::new();
    old_identity().store(&disk).unwrap();
    assert_eq!(NodeIdentity::load(&disk), Ok(Some(Found::Old(old_identity()))));
    let now = NodeIdentity { token: Some([3; 32]), node: NodeId(1), moving: None };
    now.store(&disk).unwrap();
    let error = Identity::load(&disk).unwrap_err();
    let text =
        "node.bzi has format version 2, and this program reads only version 1: use the program that wrote it";
    assert_eq!(error.to_string(), text);
    let mut block = disk.content("node.bzi").unwrap();
    block[8] = 3;
    let checksum = checksum_seeded(RecordKind::Identity as u64, &block[..CHECKSUM_OFFSET]);
    block[CHECKSUM_OFFSET..].copy_from_slice(&checksum.to_le_bytes());
    disk.put("node.bzi", &block);
    let file = "node.bzi".to_owned();
    assert_eq!(NodeIdentity::load(&disk), Err(RecordError::UnknownVersion { file, found: 3, known: 2 }));
    let before = disk.content("node.copy");
    assert_eq!(restore_records(&disk), Ok(Vec::new()));
    assert_eq!(
        (disk.content("node.bzi"), disk.content("node.copy")),
        (Ok(block), before),
        "nothing was changed"
    );
}

#[test]
fn a_crash_leaves_the_old_identity_or_the_new_one() {
    let now = NodeIdentity { token: Some([3; 32]), node: NodeId(1), moving: Some(group_identity()) };
    let begun = |disk: &MemoryDisk| {
        old_identity().store(disk).unwrap();
        reserve_space(disk).unwrap();
        disk.counts().total()
    };
    let whole = MemoryDisk::new();
    let first = begun(&whole) + 1;
    now.store(&whole).unwrap();
    for crash_at in first..=whole.counts().total() {
        let disk = MemoryDisk::new();
        begun(&disk);
        disk.set_faults(FaultPlan { crash_at: Some(crash_at), ..FaultPlan::default() });
        now.store(&disk).unwrap_err();
        for seed in 0..32 {
            let left = disk.crash(seed);
            let found = NodeIdentity::load(&left).unwrap();
            assert!([Some(Found::Old(old_identity())), Some(Found::Now(now.clone()))].contains(&found));
            // A copy that can be read is never an older record.
            left.remove("node.bzi").unwrap();
            let restored = restore_records(&left).unwrap();
            if restored.is_empty() {
                continue;
            }
            match (found, NodeIdentity::load(&left).unwrap()) {
                (Some(Found::Old(old)), Some(Found::Old(restored))) => {
                    assert_eq!(restored, Identity { is_admitted: false, ..old });
                }
                (found, restored) => assert_eq!(found, restored, "operation {crash_at}, seed {seed}"),
            }
        }
    }
}

#[test]
fn a_full_disk_accepts_the_records_of_a_group_and_of_its_node() {
    let disk = MemoryDisk::new();
    let folder = disk.folder("1").unwrap();
    assert_eq!((reserve_node_space(&disk), reserve_group_space(&*folder)), (Ok(true), Ok(true)));
    assert_eq!(disk.list().unwrap(), ["node.tmp"]);
    let capacity_bytes = Some(disk.used_bytes());
    disk.set_faults(FaultPlan { capacity_bytes, ..FaultPlan::default() });
    group_identity().store(&*folder).unwrap();
    NodeIdentity { token: None, node: NodeId(1), moving: None }.store(&disk).unwrap();
    VoteStore::open(Arc::clone(&folder)).unwrap().0.save(vote(3)).unwrap();
    let left = disk.crash(1);
    assert_eq!(GroupIdentity::load(&*left.folder("1").unwrap()), Ok(Some(group_identity())));
}
