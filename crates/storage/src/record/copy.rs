//! A second copy of two records, the identity and the members. Replication does not bring them back: without
//! the copy, the folder would be lost with the record. If a start finds a record or its copy damaged or
//! missing, it rewrites that file from the other ([`restore_records`]).
//!
//! The copy is made void before the record changes, and is written once the new record is durable. So a
//! readable copy equals the record, unless version 0.1, which writes no copies, has changed the record since.
//! With an old member list, the voters of that list could elect a second leader. So if a restored list may be
//! old, the node loses its right to vote until it has caught up. The vote has no copy, because a copy would
//! delay every election.

use bezant_consensus::Members;

use super::{Identity, RecordError, RecordKind, block_of, has_space, load, load_from, write_file};
use crate::disk::{BLOCK_SIZE, Disk, DiskError};
use crate::repair::other_voters;

/// The kinds of records that have a copy.
const COPIED: [RecordKind; 2] = [RecordKind::Identity, RecordKind::Members];

const fn copy_name(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::Members => "members.copy",
        _ => "node.copy",
    }
}

/// Replaces a record and its copy; the record is durable on return. On a full disk there is no copy.
pub(super) fn store(disk: &dyn Disk, kind: RecordKind, content: &[u8]) -> Result<(), RecordError> {
    void_copy(disk, kind)?;
    super::store(disk, kind, content)?;
    write_copy(disk, kind, &block_of(kind, content))
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

/// Rewrites damaged or missing records from their copies, and copies from their records; returns the file
/// names of the restored records. If neither can be read, nothing is changed. Called at the start, before any
/// record is read.
///
/// Version 0.1, which writes no copies, may have changed the identity since, and may have recorded in it that
/// this disk lost data. So a restored identity is not admitted: its node votes again once it has everything
/// that the others have. The exception is a node in a group of at most two voters, which cannot elect a
/// leader without it. The node also loses its admission when a restored member list may be older than the
/// lost one.
pub fn restore_records(disk: &dyn Disk) -> Result<Vec<&'static str>, RecordError> {
    let mut restored = Vec::new();
    for kind in COPIED {
        let copy = load_from(disk, copy_name(kind), kind).unwrap_or_default();
        match (load(disk, kind), copy) {
            (Ok(Some(content)), copy) if copy.as_ref() != Some(&content) => {
                void_copy(disk, kind)?;
                write_copy(disk, kind, &block_of(kind, &content))?;
            }
            (Ok(None) | Err(RecordError::Damaged { .. }), Some(content))
                if restore(disk, kind, &content)? =>
            {
                restored.push(kind.file_name());
            }
            _ => {}
        }
    }
    Ok(restored)
}

/// Writes the record from `content`, its copy. False when the copy cannot be used; then nothing was changed.
fn restore(disk: &dyn Disk, kind: RecordKind, content: &[u8]) -> Result<bool, RecordError> {
    if kind == RecordKind::Identity {
        let Ok(identity) = Identity::decode(content) else { return Ok(false) };
        // A group of at most two voters elects no leader without this node: if it were not admitted, it would
        // never vote again. Its vote is safe: the other voter has everything that was committed, and without
        // that voter no leader is elected and nothing is committed.
        let is_needed =
            other_voters(disk, identity.node).is_ok_and(|others| others.is_some_and(|count| count < 2));
        let identity = Identity { is_admitted: identity.is_admitted && is_needed, ..identity };
        // The `store` of this module is not used, because it would make the only remaining copy void.
        super::store(disk, kind, &identity.encode())?;
        return Ok(true);
    }
    if !is_newest_list(disk, content)?
        && let Some(identity) = Identity::load(disk)?.filter(|identity| identity.is_admitted)
    {
        Identity { is_admitted: false, ..identity }.store(disk)?;
    }
    super::store(disk, kind, content)?;
    Ok(true)
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
    Ok(left.is_none_or(|left| index(&left) < index(copied)))
}

#[cfg(test)]
mod tests {
    use bezant_types::{LogIndex, NodeId};

    use super::*;
    use crate::record::{load_members, reserve_space, store_members};
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
        assert_eq!(
            load_from(&disk, "members.copy", RecordKind::Members).unwrap(),
            Some(members(3).encode().to_vec())
        );
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
        assert_eq!(load_from(&disk, "node.copy", RecordKind::Identity), Ok(Some(lost.encode())));
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
}
