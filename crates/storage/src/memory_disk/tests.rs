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

/// Makes an empty durable file.
fn make(disk: &dyn Disk, name: &str) {
    disk.open(name, OpenMode::Create).unwrap();
    disk.sync_folder().unwrap();
}

/// The folders of `disk` that hold the file `name`: "." is `disk` itself.
fn places(disk: &MemoryDisk, folders: &[&str], name: &str) -> Vec<String> {
    let mut places = Vec::new();
    if disk.content(name).is_ok() {
        places.push(".".to_owned());
    }
    places.extend(
        folders
            .iter()
            .filter(|folder| disk.content(&format!("{folder}/{name}")).is_ok())
            .map(|f| (*f).to_owned()),
    );
    places
}

#[test]
fn a_move_between_folders_is_lost_or_kept_never_both() {
    let disk = MemoryDisk::new();
    let folder = disk.folder("groups").unwrap().folder("0001").unwrap();
    let root: &dyn Disk = &disk;
    for name in ["a", "b", "c"] {
        make(root, name);
    }
    let after_moves = |name: &str, synced: &[&dyn Disk]| {
        root.move_into(name, "groups/0001").unwrap();
        synced.iter().for_each(|folder| folder.sync_folder().unwrap());
        let found = |seed| places(&disk.crash(seed), &["groups/0001"], name);
        let kept: Vec<_> = (0..60).map(found).collect();
        assert!(kept.iter().all(|places| places.len() == 1), "{name} is in one folder: {kept:?}");
        kept.iter().filter(|places| places[..] == ["groups/0001"]).count()
    };
    for (name, synced) in [("a", [].as_slice()), ("b", &[root]), ("c", &[&*folder])] {
        let count = after_moves(name, synced);
        assert!(count > 0 && count < 60, "{name} was moved in {count} of 60");
    }
    folder.sync_folder().unwrap();
    root.sync_folder().unwrap();
    for name in ["a", "b", "c"] {
        assert!((0..60).all(|seed| places(&disk.crash(seed), &["groups/0001"], name) == ["groups/0001"]));
    }
}

#[test]
fn a_sync_makes_the_names_of_its_own_folder_durable() {
    let disk = MemoryDisk::new();
    let (one, other) = (disk.folder("one").unwrap(), disk.folder("other").unwrap());
    one.open("a", OpenMode::Create).unwrap();
    other.open("a", OpenMode::Create).unwrap();
    disk.open("a", OpenMode::Create).unwrap();
    one.sync_folder().unwrap();
    let found = |folder: &str| {
        (0..60)
            .filter(|seed| places(&disk.crash(*seed), &["one", "other"], "a").contains(&folder.to_owned()))
            .count()
    };
    assert_eq!(found("one"), 60);
    for folder in [".", "other"] {
        assert!(found(folder) > 0 && found(folder) < 60, "{folder}: {}", found(folder));
    }
}

#[test]
fn a_durable_name_is_not_lost_with_an_earlier_move() {
    let disk = MemoryDisk::new();
    let folder = disk.folder("one").unwrap();
    disk.put("a", b"old");
    disk.move_into("a", "one").unwrap();
    disk.open("a", OpenMode::Create).unwrap().sync().unwrap();
    disk.sync_folder().unwrap();
    // The move is not durable yet: its second folder was not synced.
    for seed in 0..60 {
        assert_eq!(disk.crash(seed).content("a").unwrap(), b"", "seed {seed}: the new file has its name");
    }
    folder.sync_folder().unwrap();
    for seed in 0..60 {
        let left = disk.crash(seed);
        assert_eq!((left.content("a").unwrap(), left.content("one/a").unwrap()), (vec![], b"old".to_vec()));
    }
}

#[test]
fn a_folder_that_was_made_is_durable_and_one_that_was_removed_may_come_back() {
    let disk = MemoryDisk::new();
    let inner = disk.folder("groups").unwrap().folder("0001").unwrap();
    assert!((0..20).all(|seed| disk.crash(seed).folder("groups").unwrap().folders().unwrap() == ["0001"]));
    make(&*inner, "a");
    let groups = disk.folder("groups").unwrap();
    assert!(matches!(groups.remove_folder("0001"), Err(DiskError::Io { .. })), "it is not empty");
    inner.remove("a").unwrap();
    inner.sync_folder().unwrap();
    groups.remove_folder("0001").unwrap();
    assert!(matches!(inner.open("b", OpenMode::Create), Err(DiskError::NotFound { .. })));
    let left = |seed| disk.crash(seed).folder("groups").unwrap().folders().unwrap().len();
    let back = (0..60).filter(|seed| left(*seed) == 1).count();
    assert!(back > 0 && back < 60, "{back} of 60");
    groups.sync_folder().unwrap();
    assert!((0..60).all(|seed| left(seed) == 0));
    let again = groups.folder("0001").unwrap();
    assert_eq!(again.list(), Ok(Vec::new()), "a new folder is empty");
}

#[test]
fn making_a_folder_is_complete_or_repeated_after_a_crash() {
    for crash_at in 1..=2 {
        let disk = MemoryDisk::new();
        disk.set_faults(FaultPlan { crash_at: Some(crash_at), ..FaultPlan::default() });
        disk.folder("one").unwrap_err();
        for seed in 0..20 {
            let left = disk.crash(seed);
            let folder = left.folder("one").unwrap();
            make(&*folder, "a");
            assert_eq!(left.crash(seed).content("one/a").unwrap(), b"", "crash {crash_at}, seed {seed}");
        }
        let killed = disk.restart();
        make(&*killed.folder("one").unwrap(), "a");
        assert!((0..20).all(|seed| killed.crash(seed).content("one/a").is_ok()), "crash {crash_at}");
    }
}

#[test]
fn folders_share_the_space_and_the_faults_of_their_disk() {
    let disk = MemoryDisk::new();
    let folder = disk.folder("one").unwrap();
    disk.put("a", &[1; 10]);
    disk.put("one/a", &[2; 20]);
    assert_eq!((disk.list(), folder.list()), (Ok(vec!["a".to_owned()]), Ok(vec!["a".to_owned()])));
    assert_eq!(disk.folders(), Ok(vec!["one".to_owned()]));
    assert_eq!(disk.used_bytes(), 30);
    disk.flip_bit("one/a", 3, 0).unwrap();
    let mut byte = [0];
    folder.open("a", OpenMode::Read).unwrap().read_at(3, &mut byte).unwrap();
    assert_eq!(byte, [3]);
    disk.set_faults(FaultPlan { capacity_bytes: Some(35), ..FaultPlan::default() });
    assert_eq!(folder.available_bytes(), Ok(5));
    let file = folder.open("b", OpenMode::Create).unwrap();
    assert_eq!(file.write_at(0, &[0; 6]), Err(DiskError::Full { file: "b".to_owned() }));
    let missing = DiskError::NotFound { file: "c".to_owned() };
    assert_eq!(folder.open("c", OpenMode::Read).unwrap_err(), missing);
    assert_eq!(disk.move_into("c", "one"), Err(missing));
    assert!(matches!(disk.move_into("a", "one"), Err(DiskError::Io { .. })), "a file is never replaced");
    disk.set_faults(FaultPlan { crash_at: Some(disk.counts().total() + 1), ..FaultPlan::default() });
    folder.sync_folder().unwrap_err();
    folder.list().unwrap_err();
    disk.list().unwrap_err();
}
