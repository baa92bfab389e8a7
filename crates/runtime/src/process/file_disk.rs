//! The real disk: one folder that belongs to one process.
//!
//! Files that are opened for direct access bypass the page cache if the file system supports that. Otherwise
//! they are read and written through the cache, and [`FileDisk::is_direct`] is false. Either way nothing
//! counts as durable before a sync returned. A folder is made with mode 0700 and files with 0600.
//!
//! Two processes that write the same log would destroy it. So the folder itself is locked while it is open,
//! and so is every file of the log that is open for writing ([`claim`](super::claim)). Files are found
//! through the folder's descriptor: a folder that replaces this one is never written to, and
//! [`check_place`](Disk::check_place) reports the replacement. The folders in it ([`Disk::folder`]) belong to
//! the same process by the same lock.
//!
//! It never retries a failed operation, and never starts a thread.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bezant_storage::AlignedBuffer;
use bezant_storage::disk::{BLOCK_SIZE, Disk, DiskError, DiskFile, OpenMode, is_folder_name};
use rustix::fs::{
    Advice, AtFlags, CWD, Dir, FallocateFlags, FileType, Mode, OFlags, RenameFlags, Stat, mkdirat, openat,
    renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use crate::process::claim::{Claim, Held, LOCK_NAME, hold_folder};
use crate::process::os_error::{failure, is_full, refused};

const PROBE_NAME: &str = "probe.tmp";
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// A folder of files on a real file system, locked for this process.
#[derive(Debug)]
pub struct FileDisk {
    path: PathBuf,
    folder: Arc<File>,
    is_direct: bool,
    is_read_only: bool,
    /// The locks; the folders in this one share them.
    held: Arc<Held>,
}

impl FileDisk {
    /// Opens a folder, or creates it with its parents.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DiskError> {
        let path = path.into();
        let name = path.display().to_string();
        if !path.is_dir() {
            let made = std::fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&path);
            made.map_err(|error| failure("create", &name, &error))?;
            // The folder itself must survive a loss of power, or everything in it is lost.
            let absolute = std::path::absolute(&path).map_err(|error| failure("find", &name, &error))?;
            if let Some(parent) = absolute.parent() {
                let synced = File::open(parent).and_then(|parent| parent.sync_all());
                synced.map_err(|error| failure("sync the parent", &name, &error))?;
            }
        }
        let folder = File::open(&path).map_err(|error| failure("open", &name, &error))?;
        let lock = hold_folder(&folder, &name, true)?;
        let is_direct = probe_direct(&folder).map_err(|error| failure("write to", &name, &error))?;
        let folder = Arc::new(folder);
        let held = Held::new(&folder, lock);
        Ok(Self { path, folder, is_direct, is_read_only: false, held })
    }

    /// Opens a folder for reading only: nothing in it is made or changed, and every write is refused. Other
    /// readers may open it at the same time; a running node keeps readers out.
    pub fn open_read_only(path: impl Into<PathBuf>) -> Result<Self, DiskError> {
        let path = path.into();
        let name = path.display().to_string();
        let folder = File::open(&path).map_err(|error| failure("open", &name, &error))?;
        let lock = hold_folder(&folder, &name, false)?;
        let folder = Arc::new(folder);
        let held = Held::new(&folder, lock);
        Ok(Self { path, folder, is_direct: false, is_read_only: true, held })
    }

    /// True when reads and writes can bypass the page cache; otherwise they are slower.
    pub const fn is_direct(&self) -> bool {
        self.is_direct
    }

    /// Bytes that this process can still write.
    pub fn available_bytes(&self) -> Result<u64, DiskError> {
        let known = rustix::fs::fstatvfs(&self.folder);
        let known = known.map_err(|error| failure("measure", ".", &error.into()))?;
        Ok(known.f_bavail.saturating_mul(known.f_frsize))
    }

    fn check_writable(&self, operation: &'static str, file: &str) -> Result<(), DiskError> {
        if self.is_read_only {
            let reason = "the folder is open for reading only".to_owned();
            return Err(DiskError::Io { operation, file: file.to_owned(), reason });
        }
        Ok(())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Tries a direct write: some file systems refuse the flag, others refuse the write.
fn probe_direct(folder: &File) -> io::Result<bool> {
    let flags = (flags(OpenMode::CreateDirect, true) - OFlags::EXCL) | OFlags::CREATE;
    let opened = openat(folder, PROBE_NAME, flags, Mode::from_raw_mode(FILE_MODE));
    let written = opened
        .map_err(io::Error::from)
        .and_then(|file| File::from(file).write_all_at(&AlignedBuffer::zeroed(BLOCK_SIZE), 0));
    match unlinkat(folder, PROBE_NAME, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    match written {
        Ok(()) => Ok(true),
        Err(error) if is_unsupported(&error) => Ok(false),
        // A full disk can be opened and read; the log reports that it cannot be written.
        Err(error) if is_full(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

fn flags(mode: OpenMode, is_direct: bool) -> OFlags {
    let (access, direct) = match mode {
        OpenMode::Read => (OFlags::RDONLY, false),
        OpenMode::Write => (OFlags::RDWR, false),
        OpenMode::Create => (OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, false),
        OpenMode::WriteDirect => (OFlags::RDWR, true),
        OpenMode::CreateDirect => (OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, true),
    };
    let direct = if direct && is_direct { OFlags::DIRECT } else { OFlags::empty() };
    access | direct | OFlags::CLOEXEC
}

fn is_unsupported(error: &io::Error) -> bool {
    let number = Errno::from_io_error(error);
    number == Some(Errno::INVAL) || number == Some(Errno::OPNOTSUPP)
}

/// True for two names of one file.
const fn is_same(one: &Stat, other: &Stat) -> bool {
    one.st_dev == other.st_dev && one.st_ino == other.st_ino
}

impl Disk for FileDisk {
    fn open(&self, name: &str, mode: OpenMode) -> Result<Arc<dyn DiskFile>, DiskError> {
        if mode != OpenMode::Read {
            self.check_writable("open for writing", name)?;
        }
        let flags = flags(mode, self.is_direct);
        let opened = openat(&self.folder, name, flags, Mode::from_raw_mode(FILE_MODE));
        let file = File::from(opened.map_err(refused("open", name))?);
        let (writes, held) = (mode != OpenMode::Read, &self.held);
        let claim = held.claim(name, &file, writes, self.is_read_only);
        let claim = claim.map_err(|error| self.name_folder(error))?;
        Ok(Arc::new(RealFile {
            name: name.to_owned(),
            file,
            folder: Arc::clone(&self.folder),
            _claim: claim,
        }))
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        let mut names = self.names(FileType::RegularFile)?;
        names.retain(|name| name != LOCK_NAME);
        Ok(names)
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.check_writable("remove", name)?;
        unlinkat(&self.folder, name, AtFlags::empty()).map_err(refused("remove", name))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.check_writable("rename", from)?;
        renameat(&self.folder, from, &self.folder, to).map_err(refused("rename", from))
    }

    fn exchange(&self, one: &str, other: &str) -> Result<bool, DiskError> {
        self.check_writable("exchange", one)?;
        match renameat_with(&self.folder, one, &self.folder, other, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(true),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
            Err(error) => Err(refused("exchange", one)(error)),
        }
    }

    fn sync_folder(&self) -> Result<(), DiskError> {
        self.folder.sync_all().map_err(|error| failure("sync", ".", &error))
    }

    fn folder(&self, name: &str) -> Result<Arc<dyn Disk>, DiskError> {
        assert!(is_folder_name(name), "a folder's name is one plain name");
        if !self.is_read_only {
            match mkdirat(&self.folder, name, Mode::from_raw_mode(FOLDER_MODE)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(refused("create", name)(error)),
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(&self.folder, name, flags, Mode::empty());
        let folder = File::from(opened.map_err(refused("open", name))?);
        if !self.is_read_only {
            // Also for a folder that exists: a process that was killed may have made it without a sync.
            folder.sync_all().map_err(|error| failure("sync", name, &error))?;
            self.sync_folder()?;
        }
        let (path, folder, held) = (self.path.join(name), Arc::new(folder), Arc::clone(&self.held));
        Ok(Arc::new(Self { path, folder, is_direct: self.is_direct, is_read_only: self.is_read_only, held }))
    }

    fn folders(&self) -> Result<Vec<String>, DiskError> {
        self.names(FileType::Directory)
    }

    fn move_into(&self, file: &str, folder: &str) -> Result<(), DiskError> {
        self.check_writable("move", file)?;
        let to = format!("{folder}/{file}");
        match renameat_with(&self.folder, file, &self.folder, &to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            moved => return moved.map_err(refused("move", file)),
        }
        // This file system cannot refuse to replace a file. The folder is locked, so no other process makes
        // one in between.
        match statat(&self.folder, &to, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(refused("move", file)(Errno::EXIST)),
            Err(Errno::NOENT) => {
                renameat(&self.folder, file, &self.folder, &to).map_err(refused("move", file))
            }
            Err(error) => Err(refused("move", file)(error)),
        }
    }

    fn remove_folder(&self, name: &str) -> Result<(), DiskError> {
        self.check_writable("remove", name)?;
        unlinkat(&self.folder, name, AtFlags::REMOVEDIR).map_err(refused("remove", name))
    }

    fn available_bytes(&self) -> Result<u64, DiskError> {
        Self::available_bytes(self)
    }

    fn check_place(&self) -> Result<(), DiskError> {
        let moved = || DiskError::Moved { file: self.path.display().to_string() };
        let ours = rustix::fs::fstat(&self.folder).map_err(refused("inspect", "."))?;
        match statat(CWD, &self.path, AtFlags::empty()) {
            Ok(found) if is_same(&found, &ours) => Ok(()),
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Err(moved()),
            // A folder whose status cannot be read is not known to be gone.
            Err(_) => Ok(()),
        }
    }
}

impl FileDisk {
    /// The names of all entries of that type, sorted. Names that are not UTF-8 are not of a node.
    fn names(&self, kind: FileType) -> Result<Vec<String>, DiskError> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.folder).map_err(refused("list", "."))? {
            let entry = entry.map_err(refused("list", "."))?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name != "." && name != ".." && self.kind_of(name, entry.file_type())? == kind {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Reads the type of a file from the file itself when the folder's list does not have it.
    fn kind_of(&self, name: &str, listed: FileType) -> Result<FileType, DiskError> {
        if listed != FileType::Unknown {
            return Ok(listed);
        }
        let found =
            statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(refused("inspect", name))?;
        Ok(FileType::from_raw_mode(found.st_mode))
    }

    /// Names the folder in the error for a locked file of the log: the folder is what an operator can act on.
    fn name_folder(&self, error: DiskError) -> DiskError {
        match error {
            DiskError::Locked { holder, .. } => {
                DiskError::Locked { folder: self.path.display().to_string(), holder }
            }
            other => other,
        }
    }
}

/// An open file of a [`FileDisk`].
#[derive(Debug)]
struct RealFile {
    name: String,
    file: File,
    folder: Arc<File>,
    _claim: Option<Arc<Claim>>,
}

impl RealFile {
    fn failure(&self, operation: &'static str, error: &io::Error) -> DiskError {
        failure(operation, &self.name, error)
    }
}

impl DiskFile for RealFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> Result<u64, DiskError> {
        Ok(self.file.metadata().map_err(|error| self.failure("measure", &error))?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.file.read_exact_at(buffer, offset).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => {
                DiskError::EndOfFile { file: self.name.clone(), offset: self.size().unwrap_or(offset) }
            }
            _ => self.failure("read", &error),
        })
    }

    fn expect_read(&self, offset: u64, size: u64) {
        // If the system does not support this advice, reads are slower.
        rustix::fs::fadvise(&self.file, offset, NonZeroU64::new(size), Advice::WillNeed).unwrap_or_default();
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_all_at(bytes, offset).map_err(|error| self.failure("write", &error))
    }

    fn allocate(&self, size: u64) -> Result<(), DiskError> {
        if self.size()? >= size {
            return Ok(());
        }
        let allocated = rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, size);
        let allocated = allocated.map_err(io::Error::from).or_else(|error| {
            // Where space cannot be allocated, the file at least gets its length.
            if is_unsupported(&error) { self.file.set_len(size) } else { Err(error) }
        });
        allocated.map_err(|error| self.failure("allocate", &error))
    }

    fn truncate(&self, size: u64) -> Result<(), DiskError> {
        self.file.set_len(size).map_err(|error| self.failure("truncate", &error))
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(|error| self.failure("sync", &error))
    }

    fn check_place(&self) -> Result<(), DiskError> {
        let ours = rustix::fs::fstat(&self.file).map_err(refused("inspect", &self.name))?;
        match statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if is_same(&found, &ours) => Ok(()),
            Ok(_) | Err(Errno::NOENT) => Err(DiskError::Moved { file: self.name.clone() }),
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bezant_consensus::LogEntry;
    use bezant_storage::log::{Log, LogOptions};
    use bezant_types::{LogIndex, Term};
    use std::fs::OpenOptions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn bytes_come_back_and_files_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("data");
        let disk = FileDisk::open(&path).unwrap();
        let file = disk.open("a", OpenMode::CreateDirect).unwrap();
        file.allocate(4 * BLOCK_SIZE as u64).unwrap();
        let mut block = AlignedBuffer::zeroed(BLOCK_SIZE);
        block.fill(7);
        file.write_at(BLOCK_SIZE as u64, &block).unwrap();
        file.sync().unwrap();
        disk.sync_folder().unwrap();
        let mut read = AlignedBuffer::zeroed(2 * BLOCK_SIZE);
        file.read_at(0, &mut read).unwrap();
        assert_eq!(&read[..BLOCK_SIZE], &[0; BLOCK_SIZE]);
        assert_eq!(&read[BLOCK_SIZE..], &[7; BLOCK_SIZE]);
        assert_eq!((file.size(), disk.list()), (Ok(4 * 4096), Ok(vec!["a".to_owned()])));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("a"))), (FOLDER_MODE, FILE_MODE));
        assert!(disk.available_bytes().unwrap() > 0);
    }

    #[test]
    fn a_folder_belongs_to_one_disk_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(folder.path()).unwrap();
        let error = FileDisk::open(folder.path()).unwrap_err();
        assert!(matches!(error, DiskError::Locked { .. }), "{error}");
        drop(disk);
        FileDisk::open(folder.path()).unwrap();
    }

    #[test]
    fn a_folder_open_for_reading_is_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        assert!(matches!(FileDisk::open_read_only(&data), Err(DiskError::NotFound { .. })));
        let disk = FileDisk::open(&data).unwrap();
        disk.open("a", OpenMode::Create).unwrap().write_at(0, b"abc").unwrap();
        assert!(matches!(FileDisk::open_read_only(&data), Err(DiskError::Locked { .. })));
        drop(disk);
        let looking = FileDisk::open_read_only(&data).unwrap();
        let another = FileDisk::open_read_only(&data).unwrap();
        let mut bytes = [0; 3];
        another.open("a", OpenMode::Read).unwrap().read_at(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"abc");
        assert!(looking.open("a", OpenMode::Write).is_err());
        assert!(looking.open("b", OpenMode::Create).is_err());
        assert!(looking.remove("a").is_err());
        assert!(looking.rename("a", "b").is_err());
        assert!(matches!(FileDisk::open(&data), Err(DiskError::Locked { .. })), "a reader keeps writers out");
    }

    #[test]
    fn a_folder_stays_locked_when_the_lock_file_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(folder.path()).unwrap();
        std::fs::remove_file(folder.path().join(LOCK_NAME)).unwrap();
        let error = FileDisk::open(folder.path()).unwrap_err();
        assert!(matches!(error, DiskError::Locked { .. }), "{error}");
        assert!(matches!(FileDisk::open_read_only(folder.path()), Err(DiskError::Locked { .. })));
        drop(disk);
        FileDisk::open_read_only(folder.path()).unwrap();
        FileDisk::open(folder.path()).unwrap();
    }

    #[test]
    fn a_refusal_names_the_process_that_holds_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let _disk = FileDisk::open(folder.path()).unwrap();
        let own = Some(std::process::id());
        for error in [FileDisk::open(folder.path()), FileDisk::open_read_only(folder.path())] {
            let DiskError::Locked { holder, .. } = error.unwrap_err() else { panic!("it is held") };
            assert_eq!(holder, own);
        }
    }

    #[test]
    fn a_hard_link_of_the_log_is_locked_too() {
        let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let name = "log-0000000000000001.bzl";
        let disk = FileDisk::open(folder.path()).unwrap();
        let file = disk.open(name, OpenMode::Create).unwrap();
        // The process itself may open its files several times.
        let again = disk.open(name, OpenMode::Write).unwrap();
        std::fs::hard_link(folder.path().join(name), copy.path().join(name)).unwrap();
        let linked = FileDisk::open(copy.path()).unwrap();
        assert!(matches!(linked.open(name, OpenMode::Write), Err(DiskError::Locked { .. })));
        drop(linked);
        let looking = FileDisk::open_read_only(copy.path()).unwrap();
        assert!(matches!(looking.open(name, OpenMode::Read), Err(DiskError::Locked { .. })));
        drop(file);
        assert!(
            matches!(looking.open(name, OpenMode::Read), Err(DiskError::Locked { .. })),
            "one file is still open"
        );
        drop(again);
        looking.open(name, OpenMode::Read).unwrap();
    }

    #[test]
    fn a_replaced_folder_or_file_is_noticed_and_not_written() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let disk = FileDisk::open(&path).unwrap();
        let file = disk.open("log-0000000000000001.bzl", OpenMode::Create).unwrap();
        assert_eq!((disk.check_place(), file.check_place()), (Ok(()), Ok(())));
        std::fs::rename(&path, parent.path().join("aside")).unwrap();
        assert!(matches!(disk.check_place(), Err(DiskError::Moved { .. })), "the folder is gone");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("log-0000000000000001.bzl"), b"of another").unwrap();
        assert!(matches!(disk.check_place(), Err(DiskError::Moved { .. })), "another folder has its name");
        disk.open("new", OpenMode::Create).unwrap();
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1, "the other folder is not changed");
        assert_eq!(disk.list().unwrap(), ["log-0000000000000001.bzl", "new"]);
        std::fs::remove_dir_all(&path).unwrap();
        std::fs::rename(parent.path().join("aside"), &path).unwrap();
        assert_eq!((disk.check_place(), file.check_place()), (Ok(()), Ok(())), "it is back");
        disk.remove("log-0000000000000001.bzl").unwrap();
        assert!(matches!(file.check_place(), Err(DiskError::Moved { .. })), "its name was removed");
        disk.open("log-0000000000000001.bzl", OpenMode::Create).unwrap();
        assert!(matches!(file.check_place(), Err(DiskError::Moved { .. })), "its name is another's");
    }

    #[test]
    fn two_files_exchange_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(folder.path()).unwrap();
        for name in ["a", "b"] {
            disk.open(name, OpenMode::Create).unwrap().write_at(0, name.as_bytes()).unwrap();
        }
        if disk.exchange("a", "b").unwrap() {
            assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), b"b");
        }
    }

    #[test]
    fn errors_name_file_and_cause() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(folder.path()).unwrap();
        let missing = DiskError::NotFound { file: "a".to_owned() };
        assert_eq!(disk.open("a", OpenMode::Read).unwrap_err(), missing);
        assert_eq!(disk.remove("a"), Err(missing));
        let file = disk.open("a", OpenMode::Create).unwrap();
        file.write_at(0, b"abc").unwrap();
        let end = DiskError::EndOfFile { file: "a".to_owned(), offset: 3 };
        assert_eq!(file.read_at(1, &mut [0; 3]), Err(end));
        assert!(matches!(disk.open("a", OpenMode::Create), Err(DiskError::Io { .. })));
    }

    #[test]
    fn the_log_is_read_back_with_and_without_direct_access() {
        for is_direct in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let mut disk = FileDisk::open(folder.path()).unwrap();
            disk.is_direct &= is_direct;
            let disk: Arc<dyn Disk> = Arc::new(disk);
            let options = LogOptions::fixed(256 << 10);
            let (mut log, _) = Log::open(Arc::clone(&disk), options, LogIndex(0)).unwrap();
            let entry = |index| LogEntry {
                kind: bezant_consensus::EntryKind::Command,
                index: LogIndex(index),
                term: Term(1),
                payload: vec![u8::try_from(index).unwrap(); 30_000].into(),
            };
            for index in 1..=20 {
                log.append(&entry(index)).unwrap();
                assert_eq!(log.flush(), Ok(LogIndex(index)));
            }
            drop(log);
            let (mut log, mut recovered) = Log::open(Arc::clone(&disk), options, LogIndex(5)).unwrap();
            for index in 6..=20 {
                assert_eq!(recovered.entries.next(), Ok(Some(entry(index))));
            }
            assert_eq!(recovered.entries.next(), Ok(None));
            assert_eq!(recovered.cut, None);
            log.release(LogIndex(20)).unwrap();
            assert_eq!(disk.list().unwrap().len(), 1, "direct: {is_direct}");
        }
    }

    #[test]
    fn a_full_file_system_is_reported_as_full() {
        // Every write to this device fails for lack of space.
        let Ok(file) = OpenOptions::new().write(true).open("/dev/full") else { return };
        let folder = Arc::new(File::open("/dev").unwrap());
        let file = RealFile { name: "full".to_owned(), file, folder, _claim: None };
        assert_eq!(file.write_at(0, b"x"), Err(DiskError::Full { file: "full".to_owned() }));
    }
}
