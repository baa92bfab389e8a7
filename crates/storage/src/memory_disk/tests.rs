//! Tests that the memory disk injects the faults that it documents.

use super::*;

fn blocks(byte: u8, count: usize) -> crate::AlignedBuffer {
    let mut buffer = crate::AlignedBuffer::with_capacity(count * BLOCK_SIZE);
    buffer.extend(&vec![byte; count * BLOCK_SIZE]);
    buffer
}

#[test]
fn synced_bytes_survive_every_crash_and_others_only_some() {
    let disk = MemoryDisk::new();
    let file = disk.open("a", OpenMode::CreateDirect).unwrap();
    file.write_at(0, &blocks(1, 1)).unwrap();
    file.sync().unwrap();
    disk.sync_folder().unwrap();
    file.write_at(BLOCK_SIZE as u64, &blocks(2, 1)).unwrap();
    let mut survivors = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let content = disk.crash(seed).content("a").unwrap();
        assert_eq!(&content[..BLOCK_SIZE], &[1; BLOCK_SIZE], "seed {seed}");
        survivors.insert(content[BLOCK_SIZE..].iter().map(|byte| usize::from(*byte == 2)).sum::<usize>());
    }
    assert!(survivors.contains(&0), "sometimes none of it");
    assert!(survivors.contains(&BLOCK_SIZE), "sometimes all of it");
    assert!(survivors.len() > 4, "sometimes parts of it");
    assert!(survivors.iter().all(|count| count % SECTOR_SIZE == 0), "always whole sectors");
}

#[test]
fn equal_seeds_give_equal_crashes() {
    let disk = MemoryDisk::new();
    let file = disk.open("a", OpenMode::CreateDirect).unwrap();
    disk.sync_folder().unwrap();
    file.write_at(0, &blocks(3, 4)).unwrap();
    for seed in 0..20 {
        assert_eq!(disk.crash(seed).content("a"), disk.crash(seed).content("a"));
    }
}

#[test]
fn a_name_may_be_lost_until_the_folder_is_synced() {
    let disk = MemoryDisk::new();
    disk.open("a", OpenMode::Create).unwrap().sync().unwrap();
    let lost = (0..50).filter(|seed| disk.crash(*seed).list().unwrap().is_empty()).count();
    assert!(lost > 0 && lost < 50, "{lost} of 50");
    disk.sync_folder().unwrap();
    assert!((0..50).all(|seed| disk.crash(seed).list().unwrap() == ["a"]));
    disk.rename("a", "b").unwrap();
    let renamed = (0..50).filter(|seed| disk.crash(*seed).list().unwrap() == ["b"]).count();
    assert!(renamed > 0 && renamed < 50, "{renamed} of 50");
}

#[test]
fn a_sync_after_a_failed_sync_restores_nothing() {
    let disk = MemoryDisk::new();
    let file = disk.open("a", OpenMode::Create).unwrap();
    disk.sync_folder().unwrap();
    file.write_at(0, b"lost").unwrap();
    disk.set_faults(FaultPlan { fail_at: Some(disk.counts().total() + 1), ..FaultPlan::default() });
    file.sync().unwrap_err();
    file.sync().unwrap();
    assert_eq!(disk.content("a").unwrap(), b"lost", "the process still reads it");
    assert!((0..20).all(|seed| disk.crash(seed).content("a").unwrap() != b"lost"));
}

#[test]
fn a_failed_sync_makes_only_some_sectors_durable() {
    let mut durable_counts = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let disk = MemoryDisk::new();
        let file = disk.open("a", OpenMode::CreateDirect).unwrap();
        file.write_at(0, &blocks(1, 2)).unwrap();
        file.sync().unwrap();
        disk.sync_folder().unwrap();
        file.write_at(0, &blocks(2, 2)).unwrap();
        let fail_at = Some(disk.counts().total() + 1);
        disk.set_faults(FaultPlan { fail_at, durable_sectors_seed: Some(seed), ..FaultPlan::default() });
        file.sync().unwrap_err();
        file.sync().unwrap();
        let content = disk.crash(0).content("a").unwrap();
        assert!((1..9).all(|crash| disk.crash(crash).content("a").unwrap() == content), "seed {seed}");
        durable_counts.insert(content.iter().map(|byte| usize::from(*byte == 2)).sum::<usize>());
    }
    assert!(
        durable_counts.contains(&0) && durable_counts.contains(&(2 * BLOCK_SIZE)) && durable_counts.len() > 4,
        "{durable_counts:?}"
    );
}

#[test]
fn every_operation_fails_once_the_power_is_off() {
    let disk = MemoryDisk::new();
    let file = disk.open("a", OpenMode::Create).unwrap();
    disk.set_faults(FaultPlan { crash_at: Some(disk.counts().total() + 1), ..FaultPlan::default() });
    file.write_at(0, b"x").unwrap_err();
    file.sync().unwrap_err();
    disk.list().unwrap_err();
    file.read_at(0, &mut [0]).unwrap_err();
    assert_eq!(
        disk.restart().content("a").unwrap(),
        b"x",
        "a dead process loses nothing that it has written"
    );
}

#[test]
fn a_full_disk_and_unaligned_direct_writes_are_errors() {
    let disk = MemoryDisk::new();
    disk.set_faults(FaultPlan { capacity_bytes: Some(10_000), ..FaultPlan::default() });
    let file = disk.open("a", OpenMode::CreateDirect).unwrap();
    file.write_at(0, &blocks(1, 2)).unwrap();
    assert_eq!(disk.available_bytes(), Ok(10_000 - 8192));
    let full = DiskError::Full { file: "a".to_owned() };
    assert_eq!(file.write_at(8192, &blocks(1, 1)), Err(full.clone()));
    assert_eq!(file.allocate(20_000), Err(full));
    assert!(matches!(file.write_at(1, &blocks(1, 1)), Err(DiskError::Io { .. })));
}
