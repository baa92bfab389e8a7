//! A second copy of the records that nobody else can give back, or only with everything else: who the node is, and who
//! the members are. A start that finds one of the two damaged or gone writes it again from the other ([`mend`]).
//!
//! The copy is void before the record changes, and written when the new one is durable. So one that can be read is what
//! the record was, and never an older one: an old list of members could bring an old cluster back. The vote has no
//! copy: it changes in every election, which waits for it.

use super::{RecordError, RecordKind, block_of, exists, load, load_from, write_file};
use crate::disk::{BLOCK_SIZE, Disk};

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
    if exists(disk, copy_name(kind))? {
        write_copy(disk, kind, &[0; BLOCK_SIZE])?;
    }
    super::store(disk, kind, content)?;
    write_copy(disk, kind, &block_of(kind, content))
}

fn write_copy(disk: &dyn Disk, kind: RecordKind, block: &[u8; BLOCK_SIZE]) -> Result<(), RecordError> {
    let is_new = !exists(disk, copy_name(kind))?;
    match write_file(disk, copy_name(kind), block) {
        Err(RecordError::NoRoom(_)) if is_new => Ok(()),
        Err(error) => Err(error),
        Ok(file) => {
            file.sync()?;
            if is_new {
                disk.sync_folder()?;
            }
            Ok(())
        }
    }
}

/// Writes a record that is damaged or gone again from its copy, and the copy from the record; the names of the records
/// that were. What has no copy stays as it is. For the start, before anything is read.
pub fn mend(disk: &dyn Disk) -> Result<Vec<&'static str>, RecordError> {
    let mut mended = Vec::new();
    for kind in COPIED {
        let copy = load_from(disk, copy_name(kind), kind).unwrap_or_default();
        match (load(disk, kind), copy) {
            (Ok(Some(content)), copy) if copy.as_ref() != Some(&content) => {
                write_copy(disk, kind, &block_of(kind, &content))?;
            }
            (Ok(None) | Err(RecordError::Damaged { .. }), Some(content)) => {
                super::store(disk, kind, &content)?;
                mended.push(kind.file_name());
            }
            _ => {}
        }
    }
    Ok(mended)
}

#[cfg(test)]
mod tests {
    use bezant_consensus::Members;
    use bezant_types::NodeId;

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
            |disk| disk.put("members.bzm", vec![0; 7]),
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
}
