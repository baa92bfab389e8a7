//! Folders in the data folder of the real disk.
#![allow(clippy::unwrap_used, reason = "a test fails at the first error")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bezant_runtime::FileDisk;
use bezant_storage::disk::{Disk, DiskError, OpenMode};

fn write(disk: &dyn Disk, name: &str, bytes: &[u8]) {
    let file = disk.open(name, OpenMode::Create).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync().unwrap();
}

fn locked(disk: &Result<FileDisk, DiskError>) -> bool {
    matches!(disk, Err(DiskError::Locked { .. }))
}

#[test]
fn a_folder_is_a_private_disk_and_is_not_listed_as_a_file() {
    let parent = tempfile::tempdir().unwrap();
    let disk = FileDisk::open(parent.path()).unwrap();
    write(&disk, "a", b"root");
    let inner = disk.folder("groups").unwrap().folder("0001").unwrap();
    write(&*inner, "a", b"inner");
    assert_eq!(std::fs::read(parent.path().join("groups/0001/a")).unwrap(), b"inner");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&parent.path().join("groups/0001")), 0o700);
    assert_eq!(
        (disk.list().unwrap(), disk.folders().unwrap()),
        (vec!["a".to_owned()], vec!["groups".to_owned()])
    );
    let again = disk.folder("groups").unwrap();
    assert_eq!((again.list().unwrap(), again.folders().unwrap()), (vec![], vec!["0001".to_owned()]));
    assert!(matches!(disk.folder("a"), Err(DiskError::Io { .. })), "it is a file");
}

#[test]
fn a_file_moves_into_a_folder_and_never_replaces_one() {
    let parent = tempfile::tempdir().unwrap();
    let disk = FileDisk::open(parent.path()).unwrap();
    let inner = disk.folder("groups").unwrap().folder("0001").unwrap();
    write(&disk, "a", b"first");
    disk.move_into("a", "groups/0001").unwrap();
    assert_eq!((disk.list().unwrap(), inner.list().unwrap()), (vec![], vec!["a".to_owned()]));
    write(&disk, "a", b"second");
    assert!(matches!(disk.move_into("a", "groups/0001"), Err(DiskError::Io { .. })));
    assert_eq!(std::fs::read(parent.path().join("groups/0001/a")).unwrap(), b"first");
    let missing = DiskError::NotFound { file: "b".to_owned() };
    assert_eq!(disk.move_into("b", "groups/0001"), Err(missing));
}

#[test]
fn only_an_empty_folder_is_removed() {
    let parent = tempfile::tempdir().unwrap();
    let disk = FileDisk::open(parent.path()).unwrap();
    let inner = disk.folder("one").unwrap();
    write(&*inner, "a", b"");
    assert!(matches!(disk.remove_folder("one"), Err(DiskError::Io { .. })));
    inner.remove("a").unwrap();
    disk.remove_folder("one").unwrap();
    assert_eq!(disk.folders().unwrap(), Vec::<String>::new());
    assert_eq!(disk.remove_folder("one"), Err(DiskError::NotFound { file: "one".to_owned() }));
    assert!(matches!(inner.open("a", OpenMode::Create), Err(DiskError::NotFound { .. })));
}

#[test]
fn the_lock_of_the_data_folder_lasts_as_long_as_a_folder_in_it() {
    let parent = tempfile::tempdir().unwrap();
    let disk = FileDisk::open(parent.path()).unwrap();
    let inner = disk.folder("one").unwrap();
    drop(disk);
    assert!(locked(&FileDisk::open(parent.path())));
    drop(inner);
    FileDisk::open(parent.path()).unwrap();
}

#[test]
fn a_hard_link_of_a_log_in_a_folder_is_locked_too() {
    let (parent, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let name = "log-0000000000000001.bzl";
    let disk = FileDisk::open(parent.path()).unwrap();
    let inner = disk.folder("one").unwrap();
    let _file = inner.open(name, OpenMode::Create).unwrap();
    inner.open(name, OpenMode::Write).unwrap();
    let other = FileDisk::open(copy.path()).unwrap();
    let linked = other.folder("one").unwrap();
    std::fs::hard_link(parent.path().join("one").join(name), copy.path().join("one").join(name)).unwrap();
    assert!(matches!(linked.open(name, OpenMode::Write), Err(DiskError::Locked { .. })));
}

#[test]
fn a_replaced_folder_is_noticed_and_not_written() {
    let parent = tempfile::tempdir().unwrap();
    let disk = FileDisk::open(parent.path()).unwrap();
    let inner = disk.folder("one").unwrap();
    assert_eq!(inner.check_place(), Ok(()));
    std::fs::rename(parent.path().join("one"), parent.path().join("aside")).unwrap();
    std::fs::create_dir(parent.path().join("one")).unwrap();
    assert!(matches!(inner.check_place(), Err(DiskError::Moved { .. })));
    assert_eq!(disk.check_place(), Ok(()), "the data folder is in its place");
    write(&*inner, "a", b"");
    assert_eq!(std::fs::read_dir(parent.path().join("one")).unwrap().count(), 0);
}

#[test]
fn a_folder_open_for_reading_makes_and_moves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let disk = FileDisk::open(parent.path()).unwrap();
    write(&disk, "a", b"abc");
    write(&*disk.folder("one").unwrap(), "b", b"def");
    drop(disk);
    let looking = FileDisk::open_read_only(parent.path()).unwrap();
    assert_eq!(looking.folder("two").unwrap_err(), DiskError::NotFound { file: "two".to_owned() });
    let inner = looking.folder("one").unwrap();
    let mut bytes = [0; 3];
    inner.open("b", OpenMode::Read).unwrap().read_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"def");
    assert!(inner.open("c", OpenMode::Create).is_err());
    assert!(looking.move_into("a", "one").is_err());
    assert!(looking.remove_folder("one").is_err());
    assert_eq!(looking.folders().unwrap(), ["one"]);
}
