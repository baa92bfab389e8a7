//! A second copy of three records: the identities of node and group, and the members. Replication does not
//! bring them back: without the copy, the folder would be lost with the record. If a start finds a record or
//! its copy damaged or missing, it rewrites that file from the other ([`restore_records`],
//! [`restore_group_records`]).
//!
//! The copy is made void before the record changes, and is written once the new record is durable. So a
//! readable copy equals the record, unless version 0.1, which writes no copies, has changed the record since.
//! With an old member list, the voters of that list could elect a second leader. So if a restored list may be
//! old, the node loses its right to vote until it has caught up. The vote has no copy, because a copy would
//! delay every election.

use bezant_consensus::Members;
use bezant_types::NodeId;

use super::node;
use super::{
    GroupIdentity, Identity, NodeIdentity, Record, RecordError, RecordKind, block_of, has_space, load_from,
    store_block, write_file,
};
use crate::disk::{BLOCK_SIZE, Disk, DiskError};
use crate::repair::other_voters;

const fn copy_name(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::Members => "members.copy",
        RecordKind::Group => "group.copy",
        _ => "node.copy",
    }
}

/// Replaces a record and its copy; the record is durable on return. On a full disk there is no copy.
pub(super) fn store(
    disk: &dyn Disk,
    kind: RecordKind,
    version: u32,
    content: &[u8],
) -> Result<(), RecordError> {
    let block = block_of(kind, version, content);
    void_copy(disk, kind)?;
    store_block(disk, kind, &block)?;
    write_copy(disk, kind, &block)
}

/// Makes a readable copy void; durable on return. On a disk without space even for zeros the copy is removed.
/// A file of another size is not a copy.
fn void_copy(disk: &dyn Disk, kind: RecordKind) -> Result<(), RecordError> {
    if !has_space(disk, copy_name(kind))? {
        return Ok(());
    }
    match overwrite(disk, kind, &[0; BLOCK_SIZE]) {
        Err(RecordError::NoSpace(_)) => {
            disk.remove(copy_name(kind))?;
            Ok(disk.sync_folder()?)
        }
        result => result,
    }
}

/// Writes the copy. On a full disk there is no copy.
fn write_copy(disk: &dyn Disk, kind: RecordKind, block: &[u8; BLOCK_SIZE]) -> Result<(), RecordError> {
    match overwrite(disk, kind, block) {
        Err(RecordError::NoSpace(_)) => Ok(()),
        result => result,
    }
}

fn overwrite(disk: &dyn Disk, kind: RecordKind, block: &[u8; BLOCK_SIZE]) -> Result<(), RecordError> {
    let is_new = !has_space(disk, copy_name(kind))?;
    match write_file(disk, copy_name(kind), block)?.sync() {
        // Some file systems allocate space only now.
        Err(error @ DiskError::Full { .. }) => return Err(RecordError::NoSpace(error)),
        result => result?,
    }
    if is_new {
        disk.sync_folder()?;
    }
    Ok(())
}

/// Rewrites damaged or missing records of a data folder from their copies, and copies from their records;
/// returns the file names of the restored records. If neither can be read, nothing is changed. Called at the
/// start, before any record is read. A data folder whose groups have folders has the identity of the node
/// alone; for the folders of its groups, see [`restore_group_records`].
///
/// Version 0.1, which writes no copies, may have changed the identity since, and may have recorded in it that
/// this disk lost data. So a restored identity is not admitted: its node votes again once it has everything
/// that the others have. The exception is a node in a group of at most two voters, which cannot elect a
/// leader without it. The node also loses its admission when a restored member list may be older than the
/// lost one.
pub fn restore_records(disk: &dyn Disk) -> Result<Vec<&'static str>, RecordError> {
    let mut restored = Vec::new();
    restore_kind(disk, RecordKind::Identity, &mut restored)?;
    // A move to the folder of a group may have moved the list and not yet its copy: the copy is not restored
    // here.
    let identity = load_from(disk, RecordKind::Identity.file_name(), RecordKind::Identity);
    if !matches!(identity, Ok(Some(Record { version: node::FORMAT_VERSION, .. }))) {
        restore_kind(disk, RecordKind::Members, &mut restored)?;
    }
    Ok(restored)
}

/// The same as [`restore_records`] for the folder of a group, with the same rules of admission.
pub fn restore_group_records(disk: &dyn Disk) -> Result<Vec<&'static str>, RecordError> {
    let mut restored = Vec::new();
    for kind in [RecordKind::Group, RecordKind::Members] {
        restore_kind(disk, kind, &mut restored)?;
    }
    Ok(restored)
}

fn restore_kind(
    disk: &dyn Disk,
    kind: RecordKind,
    restored: &mut Vec<&'static str>,
) -> Result<(), RecordError> {
    let copy = load_from(disk, copy_name(kind), kind).unwrap_or_default();
    match (load_from(disk, kind.file_name(), kind), copy) {
        (Ok(Some(record)), copy) if copy.as_ref() != Some(&record) => {
            void_copy(disk, kind)?;
            write_copy(disk, kind, &block_of(kind, record.version, &record.content))?;
        }
        (Ok(None) | Err(RecordError::Damaged { .. }), Some(copy)) if restore(disk, kind, &copy)? => {
            restored.push(kind.file_name());
        }
        _ => {}
    }
    Ok(())
}

/// Writes the record from its copy. False when the copy cannot be used; then nothing was changed.
fn restore(disk: &dyn Disk, kind: RecordKind, copy: &Record) -> Result<bool, RecordError> {
    let content = match kind {
        RecordKind::Identity if copy.version == node::FORMAT_VERSION => {
            // Version 0.1 cannot have changed this record, so its copy is the record.
            let Ok(_) = NodeIdentity::decode(&copy.content) else { return Ok(false) };
            copy.content.clone()
        }
        RecordKind::Identity => {
            let Ok(identity) = Identity::decode(&copy.content) else { return Ok(false) };
            let is_admitted = identity.is_admitted && is_needed(disk, identity.node);
            Identity { is_admitted, ..identity }.encode()
        }
        RecordKind::Group => {
            let Ok(identity) = GroupIdentity::decode(&copy.content) else { return Ok(false) };
            let is_admitted = identity.is_admitted && is_needed(disk, identity.node);
            GroupIdentity { is_admitted, ..identity }.encode()
        }
        _ => {
            if !is_newest_list(disk, &copy.content)? {
                withdraw_admission(disk)?;
            }
            copy.content.clone()
        }
    };
    // The `store` of this module is not used, because it would make the only remaining copy void.
    store_block(disk, kind, &block_of(kind, copy.version, &content))?;
    Ok(true)
}

/// True in a group of at most two voters. It elects no leader without this node: if the node were not
/// admitted, it would never vote again. Its vote is safe: the other voter has everything that was committed,
/// and without that voter no leader is elected and nothing is committed.
fn is_needed(disk: &dyn Disk, node: NodeId) -> bool {
    other_voters(disk, node).is_ok_and(|others| others.is_some_and(|count| count < 2))
}

/// Records that the replica of this folder may not vote.
fn withdraw_admission(disk: &dyn Disk) -> Result<(), RecordError> {
    if let Some(identity) = GroupIdentity::load(disk)? {
        if identity.is_admitted {
            GroupIdentity { is_admitted: false, ..identity }.store(disk)?;
        }
        return Ok(());
    }
    if let Some(identity) = Identity::load(disk)?.filter(|identity| identity.is_admitted) {
        Identity { is_admitted: false, ..identity }.store(disk)?;
    }
    Ok(())
}

/// True when version 0.1, which writes no copies, cannot have replaced the list since this copy was written.
/// After such a change, the file for the next record would hold the copied list or a newer one, or would be
/// missing.
fn is_newest_list(disk: &dyn Disk, copied: &[u8]) -> Result<bool, RecordError> {
    let name = RecordKind::Members.unfinished_name();
    if !has_space(disk, name)? {
        return Ok(false);
    }
    let index = |mut content: &[u8]| Members::decode(&mut content).map(|members| members.index);
    let left = load_from(disk, name, RecordKind::Members).ok().flatten();
    Ok(left.is_none_or(|left| index(&left.content) < index(copied)))
}

#[cfg(test)]
mod tests {
    use bezant_types::{GroupId, LogIndex};

    use super::*;
    use crate::record::{MachineKind, load_members, reserve_space, store_members};
    use crate::{FaultPlan, MemoryDisk};

    fn members(count: u64) -> Members {
        Members::first((1..=count).map(|node| (NodeId(node), format!("host{node}:1"))))
    }

    #[test]
    fn a_damaged_or_missing_record_is_restored_from_its_copy() {
        let damages: [fn(&MemoryDisk); 3] = [
            |disk| disk.flip_bit("members.bzm", 30, 3).unwrap(),
            |disk| disk.put("members.bzm", &[0; 7]),
            |disk| disk.remove("members.bzm").unwrap(),
        ];
        for damage in damages {
            let disk = MemoryDisk::new();
            store_members(&disk, &members(2)).unwrap();
            store_members(&disk, &members(3)).unwrap();
            assert_eq!(restore_records(&disk), Ok(Vec::new()), "nothing is damaged");
            damage(&disk);
            assert_eq!(restore_records(&disk), Ok(vec!["members.bzm"]));
            assert_eq!(load_members(&disk.crash(1)), Ok(Some(members(3))));
        }
    }

    #[test]
    fn a_damaged_or_missing_copy_is_written_again() {
        for damage in [Some(30), None] {
            let disk = MemoryDisk::new();
            store_members(&disk, &members(3)).unwrap();
            match damage {
                Some(offset) => disk.flip_bit("members.copy", offset, 3).unwrap(),
                // A folder of version 0.1.
                None => disk.remove("members.copy").unwrap(),
            }
            assert_eq!(restore_records(&disk), Ok(Vec::new()));
            disk.flip_bit("members.bzm", 30, 3).unwrap();
            assert_eq!(restore_records(&disk), Ok(vec!["members.bzm"]));
        }
    }

    #[test]
    fn after_a_crash_a_copy_is_never_an_older_record() {
        let written = |disk: &MemoryDisk| {
            store_members(disk, &members(2)).unwrap();
            reserve_space(disk).unwrap();
            disk.counts().total()
        };
        let whole = MemoryDisk::new();
        let begun = written(&whole);
        store_members(&whole, &members(3)).unwrap();
        for crash_at in begun + 1..=whole.counts().total() {
            let disk = MemoryDisk::new();
            written(&disk);
            disk.set_faults(FaultPlan { crash_at: Some(crash_at), ..FaultPlan::default() });
            assert!(store_members(&disk, &members(3)).is_err(), "operation {crash_at}");
            for seed in 0..32 {
                let left = disk.crash(seed);
                let record = load_members(&left).unwrap();
                left.flip_bit("members.bzm", 30, 3).unwrap();
                let restored = restore_records(&left).unwrap();
                let found = load_members(&left);
                assert!(restored.is_empty() || found == Ok(record), "operation {crash_at}, seed {seed}");
            }
        }
    }

    #[test]
    fn a_full_disk_accepts_a_list_without_a_copy() {
        let disk = MemoryDisk::new();
        reserve_space(&disk).unwrap();
        let capacity_bytes = Some(disk.used_bytes());
        disk.set_faults(FaultPlan { capacity_bytes, ..FaultPlan::default() });
        store_members(&disk, &members(3)).unwrap();
        disk.set_faults(FaultPlan::default());
        assert_eq!(load_members(&disk.crash(1)), Ok(Some(members(3))));
        assert_eq!(restore_records(&disk), Ok(Vec::new()));
        let copy = load_from(&disk, "members.copy", RecordKind::Members).unwrap();
        assert_eq!(copy.map(|copy| copy.content), Some(members(3).encode().to_vec()));
    }

    /// Leaves the disk without space for more than it holds.
    fn fill(disk: &MemoryDisk) {
        let capacity_bytes = Some(disk.used_bytes());
        disk.set_faults(FaultPlan { capacity_bytes, ..FaultPlan::default() });
    }

    fn identity() -> Identity {
        Identity {
            token: [3; 32],
            node: NodeId(1),
            disk: 9,
            since: LogIndex(0),
            is_admitted: true,
            engine: None,
            known: Vec::new(),
        }
    }

    #[test]
    fn a_full_disk_after_an_upgrade_starts_and_changes_members() {
        let disk = MemoryDisk::new();
        identity().store(&disk).unwrap();
        store_members(&disk, &members(2)).unwrap();
        reserve_space(&disk).unwrap();
        // Version 0.1 makes no copies.
        for file in ["node.copy", "members.copy"] {
            disk.remove(file).unwrap();
        }
        fill(&disk);
        for start in 0..2 {
            assert_eq!(restore_records(&disk), Ok(Vec::new()), "start {start}");
            assert_eq!(reserve_space(&disk), Ok(true));
        }
        // The empty file that a file system leaves when it is full.
        for file in ["node.copy", "members.copy"] {
            disk.put(file, &[]);
        }
        for start in 0..2 {
            assert_eq!(restore_records(&disk), Ok(Vec::new()), "start {start}, with pieces");
            store_members(&disk, &members(3 + start)).unwrap();
            identity().store(&disk).unwrap();
            assert_eq!(load_members(&disk.crash(1)), Ok(Some(members(3 + start))));
            assert_eq!(Identity::load(&disk.crash(1)), Ok(Some(identity())));
        }
        disk.set_faults(FaultPlan::default());
        assert_eq!(restore_records(&disk), Ok(Vec::new()));
        disk.flip_bit("members.bzm", 30, 3).unwrap();
        assert_eq!(restore_records(&disk), Ok(vec!["members.bzm"]), "there is space for copies again");
    }

    #[test]
    fn an_identity_from_a_copy_is_not_admitted_by_it() {
        let disk = MemoryDisk::new();
        identity().store(&disk).unwrap();
        // Version 0.1 records that the disk has lost something, and writes no copies.
        let lost = Identity { is_admitted: false, ..identity() };
        crate::record::store(&disk, RecordKind::Identity, &lost.encode()).unwrap();
        disk.flip_bit("node.bzi", 30, 3).unwrap();
        assert_eq!(restore_records(&disk), Ok(vec!["node.bzi"]));
        assert_eq!(Identity::load(&disk.crash(1)), Ok(Some(lost.clone())));
        assert_eq!(restore_records(&disk), Ok(Vec::new()));
        let copy = load_from(&disk, "node.copy", RecordKind::Identity).unwrap();
        assert_eq!(copy.map(|copy| copy.content), Some(lost.encode()));
    }

    #[test]
    fn one_of_two_voters_keeps_its_vote_with_a_restored_identity() {
        for (count, is_admitted) in [(1, true), (2, true), (3, false)] {
            let disk = MemoryDisk::new();
            identity().store(&disk).unwrap();
            store_members(&disk, &members(count)).unwrap();
            disk.flip_bit("node.bzi", 30, 3).unwrap();
            assert_eq!(restore_records(&disk), Ok(vec!["node.bzi"]));
            assert_eq!(Identity::load(&disk), Ok(Some(Identity { is_admitted, ..identity() })), "{count}");
        }
    }

    #[test]
    fn a_restored_list_that_may_be_old_costs_the_vote() {
        let list = |index: u64| Members { index: LogIndex(index), ..members(3) };
        for changes in 0..3 {
            let disk = MemoryDisk::new();
            identity().store(&disk).unwrap();
            store_members(&disk, &list(1)).unwrap();
            store_members(&disk, &list(2)).unwrap();
            for index in 0..changes {
                // Version 0.1 writes no copies.
                let newer = list(3 + index).encode();
                crate::record::store(&disk, RecordKind::Members, &newer).unwrap();
            }
            disk.flip_bit("members.bzm", 30, 3).unwrap();
            assert_eq!(restore_records(&disk), Ok(vec!["members.bzm"]));
            assert_eq!(load_members(&disk), Ok(Some(list(2))));
            let found = Identity::load(&disk).unwrap().unwrap();
            assert_eq!(found.is_admitted, changes == 0, "{changes} changes");
        }
    }

    fn group_identity() -> GroupIdentity {
        GroupIdentity {
            group: GroupId(1),
            is_destroyed: false,
            engine: None,
            is_admitted: true,
            node: NodeId(1),
            since: LogIndex(0),
            disk: 9,
            kind: Some(MachineKind::new("ledger")),
            known: Vec::new(),
        }
    }

    #[test]
    fn one_of_two_voters_keeps_its_vote_with_a_restored_group() {
        for (count, is_admitted) in [(1, true), (2, true), (3, false)] {
            let disk = MemoryDisk::new();
            group_identity().store(&disk).unwrap();
            store_members(&disk, &members(count)).unwrap();
            assert_eq!(restore_group_records(&disk), Ok(Vec::new()), "nothing is damaged");
            disk.flip_bit("group.bzi", 30, 3).unwrap();
            assert_eq!(restore_group_records(&disk), Ok(vec!["group.bzi"]));
            let expected = GroupIdentity { is_admitted, ..group_identity() };
            assert_eq!(GroupIdentity::load(&disk.crash(1)), Ok(Some(expected)), "{count}");
            // The copy is written again from the record.
            restore_group_records(&disk).unwrap();
            disk.remove("group.bzi").unwrap();
            assert_eq!(restore_group_records(&disk), Ok(vec!["group.bzi"]));
            disk.put("group.bzi", &[0; 7]);
            disk.remove("group.copy").unwrap();
            assert_eq!(restore_group_records(&disk), Ok(Vec::new()), "neither can be read");
            assert!(matches!(GroupIdentity::load(&disk), Err(RecordError::Damaged { .. })));
        }
    }

    #[test]
    fn a_restored_list_of_a_group_that_may_be_old_costs_the_vote() {
        for is_newer in [false, true] {
            let disk = MemoryDisk::new();
            group_identity().store(&disk).unwrap();
            for index in 1..3 {
                store_members(&disk, &Members { index: LogIndex(index), ..members(3) }).unwrap();
            }
            if is_newer {
                disk.remove("members.tmp").unwrap();
            }
            disk.flip_bit("members.bzm", 30, 3).unwrap();
            assert_eq!(restore_group_records(&disk), Ok(vec!["members.bzm"]));
            let found = GroupIdentity::load(&disk).unwrap().unwrap();
            assert_eq!(found.is_admitted, !is_newer);
        }
    }

    #[test]
    fn a_node_identity_is_restored_as_it_was_without_a_list() {
        let moving = Some(group_identity());
        let now = NodeIdentity { token: Some([3; 32]), node: NodeId(1), moving };
        let disk = MemoryDisk::new();
        now.store(&disk).unwrap();
        // A move has taken the list to the folder of the group, and not yet its copy.
        store_members(&disk, &members(3)).unwrap();
        disk.remove("members.bzm").unwrap();
        for damage in [Some(30), None] {
            match damage {
                Some(offset) => disk.flip_bit("node.bzi", offset, 3).unwrap(),
                None => disk.remove("node.bzi").unwrap(),
            }
            assert_eq!(restore_records(&disk), Ok(vec!["node.bzi"]));
            let found = NodeIdentity::load(&disk.crash(1)).unwrap();
            assert_eq!(found, Some(super::super::Found::Now(now.clone())));
        }
        assert!(!disk.list().unwrap().contains(&"members.bzm".to_owned()));
    }
}
