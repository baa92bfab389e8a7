//! The real disk: one folder that belongs to one process.
//!
//! Files that are opened for direct access bypass the page cache where the file system can do that; where it
//! cannot, they are read and written through the cache, and [`FileDisk::is_direct`] says so. Either way
//! nothing counts as durable before a sync returned. The folder is locked while it is open: two processes
//! that write the same log would destroy it. A folder is made with mode 0700 and files with 0600.
//!
//! It never tries again what failed, and never starts a thread.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bezant_storage::AlignedBuffer;
use bezant_storage::disk::{BLOCK_SIZE, Disk, DiskError, DiskFile, OpenMode};
use rustix::fs::{Advice, FallocateFlags, OFlags};
use rustix::io::Errno;

/// Holds the lock; has no content.
const LOCK_NAME: &str = "lock";
const PROBE_NAME: &str = "probe.tmp";
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// A folder of files on a real file system, locked for this process.
#[derive(Debug)]
pub struct FileDisk {
    path: PathBuf,
    folder: File,
    is_direct: bool,
    is_read_only: bool,
    /// Holds the lock until it is dropped; `None` in a folder without a lock that is only looked at.
    _lock: Option<File>,
}

impl FileDisk {
    /// Opens a folder, or makes it with all that lead to it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DiskError> {
        let path = path.into();
        let name = path.display().to_string();
        if !path.is_dir() {
            let made = std::fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&path);
            made.map_err(|error| failure("create", &name, &error))?;
            // The folder itself must be there after a loss of power, or all that is in it is gone.
            let absolute = std::path::absolute(&path).map_err(|error| failure("find", &name, &error))?;
            if let Some(parent) = absolute.parent() {
                let synced = File::open(parent).and_then(|parent| parent.sync_all());
                synced.map_err(|error| failure("sync the parent", &name, &error))?;
            }
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(FILE_MODE)
            .open(path.join(LOCK_NAME))
            .map_err(|error| failure("open the lock", &name, &error))?;
        hold(lock.try_lock(), &name)?;
        let folder = File::open(&path).map_err(|error| failure("open", &name, &error))?;
        let is_direct = probe_direct(&path).map_err(|error| failure("write to", &name, &error))?;
        Ok(Self { path, folder, is_direct, is_read_only: false, _lock: Some(lock) })
    }

    /// Opens a folder to look at it: nothing in it is made or changed, and every write is refused. Others may
    /// look at the same time; a running node keeps it out.
    pub fn open_read_only(path: impl Into<PathBuf>) -> Result<Self, DiskError> {
        let path = path.into();
        let name = path.display().to_string();
        let folder = File::open(&path).map_err(|error| failure("open", &name, &error))?;
        let lock = match File::open(path.join(LOCK_NAME)) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(failure("open the lock", &name, &error)),
        };
        if let Some(lock) = &lock {
            hold(lock.try_lock_shared(), &name)?;
        }
        Ok(Self { path, folder, is_direct: false, is_read_only: true, _lock: lock })
    }

    /// True when the file system reads and writes past the page cache: what is not so is slower.
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
            let reason = "the folder is open for reading alone".to_owned();
            return Err(DiskError::Io { operation, file: file.to_owned(), reason });
        }
        Ok(())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn hold(tried: Result<(), TryLockError>, folder: &str) -> Result<(), DiskError> {
    tried.map_err(|error| match error {
        TryLockError::WouldBlock => DiskError::Locked { folder: folder.to_owned() },
        TryLockError::Error(error) => failure("lock", folder, &error),
    })
}

/// Tries a direct write: some file systems refuse the flag, others refuse the write.
fn probe_direct(folder: &Path) -> io::Result<bool> {
    let path = folder.join(PROBE_NAME);
    let opened = options(OpenMode::CreateDirect, true).create_new(false).create(true).open(&path);
    let written = opened.and_then(|file| file.write_all_at(&AlignedBuffer::zeroed(BLOCK_SIZE), 0));
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match written {
        Ok(()) => Ok(true),
        Err(error) if is_unsupported(&error) => Ok(false),
        // A full disk can be opened and read; the log will say that it cannot be written.
        Err(error) if is_full(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

fn options(mode: OpenMode, is_direct: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).mode(FILE_MODE);
    let (writes, creates, direct) = match mode {
        OpenMode::Read => (false, false, false),
        OpenMode::Write => (true, false, false),
        OpenMode::Create => (true, true, false),
        OpenMode::WriteDirect => (true, false, true),
        OpenMode::CreateDirect => (true, true, true),
    };
    options.write(writes).create_new(creates);
    if direct && is_direct {
        options.custom_flags(OFlags::DIRECT.bits().cast_signed());
    }
    options
}

fn is_unsupported(error: &io::Error) -> bool {
    let number = Errno::from_io_error(error);
    number == Some(Errno::INVAL) || number == Some(Errno::OPNOTSUPP)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// The error in our words.
fn failure(operation: &'static str, file: &str, error: &io::Error) -> DiskError {
    let file = file.to_owned();
    if is_full(error) {
        return DiskError::Full { file };
    }
    match error.kind() {
        ErrorKind::NotFound => DiskError::NotFound { file },
        _ => DiskError::Io { operation, file, reason: error.to_string() },
    }
}

impl Disk for FileDisk {
    fn open(&self, name: &str, mode: OpenMode) -> Result<Arc<dyn DiskFile>, DiskError> {
        if mode != OpenMode::Read {
            self.check_writable("open for writing", name)?;
        }
        let opened = options(mode, self.is_direct).open(self.path.join(name));
        let file = opened.map_err(|error| failure("open", name, &error))?;
        Ok(Arc::new(RealFile { name: name.to_owned(), file }))
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        let fail = |error: io::Error| failure("list", ".", &error);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            // Names that are not text are not ours; neither are folders.
            if let Ok(name) = entry.file_name().into_string()
                && name != LOCK_NAME
                && entry.file_type().map_err(fail)?.is_file()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.check_writable("remove", name)?;
        std::fs::remove_file(self.path.join(name)).map_err(|error| failure("remove", name, &error))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.check_writable("rename", from)?;
        let renamed = std::fs::rename(self.path.join(from), self.path.join(to));
        renamed.map_err(|error| failure("rename", from, &error))
    }

    fn sync_folder(&self) -> Result<(), DiskError> {
        self.folder.sync_all().map_err(|error| failure("sync", ".", &error))
    }

    fn available_bytes(&self) -> Result<u64, DiskError> {
        Self::available_bytes(self)
    }
}

/// An open file of a [`FileDisk`].
#[derive(Debug)]
struct RealFile {
    name: String,
    file: File,
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
        // Where the system takes no advice, reads are as slow as without it.
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
            // Where space cannot be taken beforehand, the file at least gets its length.
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use bezant_consensus::LogEntry;
    use bezant_storage::log::{Log, LogOptions};
    use bezant_types::{LogIndex, Term};
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
    fn looking_at_a_folder_changes_nothing_in_it_and_waits_for_no_node() {
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
        assert!(matches!(FileDisk::open(&data), Err(DiskError::Locked { .. })), "nobody writes meanwhile");
    }

    #[test]
    fn errors_say_what_it_is() {
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
    fn the_log_comes_back_from_a_real_disk_direct_or_not() {
        for is_direct in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let mut disk = FileDisk::open(folder.path()).unwrap();
            disk.is_direct &= is_direct;
            let disk: Arc<dyn Disk> = Arc::new(disk);
            let options = LogOptions { segment_size: 256 << 10, reserve_size: 0 };
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
    fn a_full_file_system_is_told_apart() {
        // Every write to this device fails for want of space.
        let Ok(file) = OpenOptions::new().write(true).open("/dev/full") else { return };
        let file = RealFile { name: "full".to_owned(), file };
        assert_eq!(file.write_at(0, b"x"), Err(DiskError::Full { file: "full".to_owned() }));
    }
}
