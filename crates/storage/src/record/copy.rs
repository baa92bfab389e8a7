//! A second copy of the records that nobody else can give back, or only with everything else: who the node is, and who
//! the members are. A start that finds one of the two damaged or gone writes it again from the other ([`mend`]).
//!
//! The copy is void before the record changes, and written when the new one is durable. So one that can be read is what
//! the record was, unless a version without copies has changed the record since: an old list of members could bring an
//! old cluster back, so what may be old takes the vote away until the node has caught up. The vote has no copy: it
//! changes in every election, which waits for it.

use bezant_consensus::Members;

use super::{Identity, RecordError, RecordKind, block_of, has_room, load, load_from, write_file};
use crate::disk::{BLOCK_SIZE, Disk, DiskError};
use crate::repair::other_voters;

/// Those that have one.
const COPIED: [RecordKind; 2] = [RecordKind::Identity, RecordKind::Members];

const fn copy_name(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::Members => "members.copy",
        _ => "node.copy",
    }
}

/// Replaces a record and its copy; the record is durable on return. Without room for the copy there is none.
pub(super) fn store(disk: &dyn Disk, kind: RecordKind, content: &[u8]) -> Result<(), RecordError> {
    void_copy(disk, kind)?;
    super::store(disk, kind, content)?;
    write_copy(disk, kind, &block_of(kind, content))
}

/// Makes a copy void that could be read, durably; one that has no room even for zeros is removed. A piece of a copy is
/// none.
fn void_copy(disk: &dyn Disk, kind: RecordKind) -> Result<(), RecordError> {
    if !has_room(disk, copy_name(kind))? {
        return Ok(());
    }
    match overwrite(disk, kind, &[0; BLOCK_SIZE]) {
        Err(RecordError::NoRoom(_)) => {
            disk.remove(copy_name(kind))?;
            Ok(disk.sync_folder()?)
        }
        result => result,
    }
}

/// Writes a copy where there is none that can be read. When there is no room for it there is none.
fn write_copy(disk: &dyn Disk, kind: RecordKind, block: &[u8; BLOCK_SIZE]) -> Result<(), RecordError> {
    match overwrite(disk, kind, block) {
        Err(RecordError::NoRoom(_)) => Ok(()),
        result => result,
    }
}

fn overwrite(disk: &dyn Disk, kind: RecordKind, block: &[u8; BLOCK_SIZE]) -> Result<(), RecordError> {
    let is_new = !has_room(disk, copy_name(kind))?;
    match write_file(disk, copy_name(kind), block)?.sync() {
        // Some file systems find a place for the bytes only now.
        Err(error @ DiskError::Full { .. }) => return Err(RecordError::NoRoom(error)),
        result => result?,
    }
    if is_new {
        disk.sync_folder()?;
    }
    Ok(())
}

/// Writes a record that is damaged or gone again from its copy, and the copy from the record; the names of the records
/// that were. What has no copy stays as it is. For the start, before anything is read.
///
/// A version without copies may have changed the record since. It may have noted that this disk lost something: an
/// identity comes back as one that is not admitted, so that its node votes again when it has everything that the others
/// have; that of one of two voters, or of the only one, is what it was. So does a list of members that may be older than the one that was lost.
pub fn mend(disk: &dyn Disk) -> Result<Vec<&'static str>, RecordError> {
    let mut mended = Vec::new();
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
                mended.push(kind.file_name());
            }
            _ => {}
        }
    }
    Ok(mended)
}

/// False when the copy says nothing, and nothing was changed.
fn restore(disk: &dyn Disk, kind: RecordKind, content: &[u8]) -> Result<bool, RecordError> {
    if kind == RecordKind::Identity {
        let Ok(identity) = Identity::decode(content) else { return Ok(false) };
        // Of at most two voters nobody is elected without this one: it would never vote again. And nothing was agreed
        // without the other one, who has it and without whom nothing is decided.
        let is_needed = other_voters(disk, identity.node).is_ok_and(|others| others.is_some_and(|it| it < 2));
        let identity = Identity { is_admitted: identity.is_admitted && is_needed, ..identity };
        // Not through `store`: that makes the copy void, the only one that is left.
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

/// True when no version without copies can have replaced the list since this copy of it was written: it would have left
/// the copied list, or a newer one, in the file for the next record, or no such file.
fn is_newest_list(disk: &dyn Disk, copied: &[u8]) -> Result<bool, RecordError> {
    let name = RecordKind::Members.unfinished_name();
    if !has_room(disk, name)? {
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
    use crate::record::{keep_room, load_members, store_members};
    use crate::{FaultPlan, MemoryDisk};

    fn members(count: u64) -> Members {
        Members::first((1..=count).map(|node| (NodeId(node), format!("host{node}:1"))))
    }

    #[test]
    fn a_record_that_is_damaged_or_gone_comes_back_from_its_copy() {
        let damages: [fn(&MemoryDisk); 3] = [
            |disk| disk.flip_bit("members.bzm", 30, 3).unwrap(),
            |disk| disk.put("members.bzm", &[0; 7]),
            |disk| disk.remove("members.bzm").unwrap(),
        ];
        for damage in damages {
            let disk = MemoryDisk::new();
            store_members(&disk, &members(2)).unwrap();
            store_members(&disk, &members(3)).unwrap();
            assert_eq!(mend(&disk), Ok(Vec::new()), "all is whole");
            damage(&disk);
            assert_eq!(mend(&disk), Ok(vec!["members.bzm"]));
            assert_eq!(load_members(&disk.crash(1)), Ok(Some(members(3))));
        }
    }

    #[test]
    fn a_damaged_copy_and_a_folder_without_one_get_one() {
        for damage in [Some(30), None] {
            let disk = MemoryDisk::new();
            store_members(&disk, &members(3)).unwrap();
            match damage {
                Some(offset) => disk.flip_bit("members.copy", offset, 3).unwrap(),
                // A folder of version 0.1.
                None => disk.remove("members.copy").unwrap(),
            }
            assert_eq!(mend(&disk), Ok(Vec::new()));
            disk.flip_bit("members.bzm", 30, 3).unwrap();
            assert_eq!(mend(&disk), Ok(vec!["members.bzm"]));
        }
    }

    #[test]
    fn a_copy_is_never_an_older_record_whatever_a_crash_leaves() {
        let written = |disk: &MemoryDisk| {
            store_members(disk, &members(2)).unwrap();
            keep_room(disk).unwrap();
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
                let mended = mend(&left).unwrap();
                let found = load_members(&left);
                assert!(mended.is_empty() || found == Ok(record), "operation {crash_at}, seed {seed}");
            }
        }
    }

    #[test]
    fn a_full_disk_takes_a_list_without_a_copy() {
        let disk = MemoryDisk::new();
        keep_room(&disk).unwrap();
        let capacity_bytes = Some(disk.used_bytes());
        disk.set_faults(FaultPlan { capacity_bytes, ..FaultPlan::default() });
        store_members(&disk, &members(3)).unwrap();
        disk.set_faults(FaultPlan::default());
        assert_eq!(load_members(&disk.crash(1)), Ok(Some(members(3))));
        assert_eq!(mend(&disk), Ok(Vec::new()));
        assert_eq!(
            load_from(&disk, "members.copy", RecordKind::Members).unwrap(),
            Some(members(3).encode().to_vec())
        );
    }

    /// With a disk that has no room for more than what it holds.
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
        keep_room(&disk).unwrap();
        // Version 0.1 makes no copies.
        for file in ["node.copy", "members.copy"] {
            disk.remove(file).unwrap();
        }
        fill(&disk);
        for start in 0..2 {
            assert_eq!(mend(&disk), Ok(Vec::new()), "start {start}");
            assert_eq!(keep_room(&disk), Ok(true));
        }
        // What a file system leaves of a file that has no room.
        for file in ["node.copy", "members.copy"] {
            disk.put(file, &[]);
        }
        for start in 0..2 {
            assert_eq!(mend(&disk), Ok(Vec::new()), "start {start}, with pieces");
            store_members(&disk, &members(3 + start)).unwrap();
            identity().store(&disk).unwrap();
            assert_eq!(load_members(&disk.crash(1)), Ok(Some(members(3 + start))));
            assert_eq!(Identity::load(&disk.crash(1)), Ok(Some(identity())));
        }
        disk.set_faults(FaultPlan::default());
        assert_eq!(mend(&disk), Ok(Vec::new()));
        disk.flip_bit("members.bzm", 30, 3).unwrap();
        assert_eq!(mend(&disk), Ok(vec!["members.bzm"]), "there is room for copies again");
    }

    #[test]
    fn an_identity_from_a_copy_is_not_admitted_by_it() {
        let disk = MemoryDisk::new();
        identity().store(&disk).unwrap();
        // Version 0.1 notes that the disk has lost something, and knows no copies.
        let lost = Identity { is_admitted: false, ..identity() };
        crate::record::store(&disk, RecordKind::Identity, &lost.encode()).unwrap();
        disk.flip_bit("node.bzi", 30, 3).unwrap();
        assert_eq!(mend(&disk), Ok(vec!["node.bzi"]));
        assert_eq!(Identity::load(&disk.crash(1)), Ok(Some(lost.clone())));
        assert_eq!(mend(&disk), Ok(Vec::new()));
        assert_eq!(load_from(&disk, "node.copy", RecordKind::Identity), Ok(Some(lost.encode())));
    }

    #[test]
    fn a_voter_without_whom_nobody_is_elected_votes_again_with_an_identity_from_a_copy() {
        for (count, is_admitted) in [(1, true), (2, true), (3, false)] {
            let disk = MemoryDisk::new();
            identity().store(&disk).unwrap();
            store_members(&disk, &members(count)).unwrap();
            disk.flip_bit("node.bzi", 30, 3).unwrap();
            assert_eq!(mend(&disk), Ok(vec!["node.bzi"]));
            assert_eq!(Identity::load(&disk), Ok(Some(Identity { is_admitted, ..identity() })), "{count}");
        }
    }

    #[test]
    fn a_list_from_a_copy_that_may_be_old_takes_the_vote_away() {
        let list = |index: u64| Members { index: LogIndex(index), ..members(3) };
        for changes in 0..3 {
            let disk = MemoryDisk::new();
            identity().store(&disk).unwrap();
            store_members(&disk, &list(1)).unwrap();
            store_members(&disk, &list(2)).unwrap();
            for index in 0..changes {
                // Version 0.1 knows no copies.
                let newer = list(3 + index).encode();
                crate::record::store(&disk, RecordKind::Members, &newer).unwrap();
            }
            disk.flip_bit("members.bzm", 30, 3).unwrap();
            assert_eq!(mend(&disk), Ok(vec!["members.bzm"]));
            assert_eq!(load_members(&disk), Ok(Some(list(2))));
            let found = Identity::load(&disk).unwrap().unwrap();
            assert_eq!(found.is_admitted, changes == 0, "{changes} changes");
        }
    }
}
