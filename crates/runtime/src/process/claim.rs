//! Locks that keep other processes out of a data folder: on the folder itself, on its `lock` file, and on the
//! files of the log.
//!
//! The decisive lock is on the folder's own descriptor, because it does not depend on a file that can be
//! deleted. The `lock` file is locked too, for older versions of this program, and contains the id of the
//! process. A copy of the folder may consist of hard links to the same files, so each file of the log that is
//! written is locked too.
//!
//! All are advisory locks of whole files (`flock`). The system releases them when the process ends, however
//! it ends.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bezant_storage::disk::DiskError;
use rustix::fs::{Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use crate::process::os_error::failure;

/// Locked by the process that uses the folder; contains its process id.
pub(crate) const LOCK_NAME: &str = "lock";
/// The prefix of the names of files that are locked when they are written.
const CLAIMED: &str = "log-";
const LOCK_MODE: u32 = 0o600;

/// Locks a folder: exclusively for a writer, shared for readers. The returned file holds the lock of the
/// `lock` file until it is dropped; the folder's own lock belongs to the folder's descriptor.
pub(crate) fn hold_folder(folder: &File, name: &str, writes: bool) -> Result<Option<File>, DiskError> {
    let tried = if writes { folder.try_lock() } else { folder.try_lock_shared() };
    match tried {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(locked(folder, name)),
        Err(TryLockError::Error(error)) if is_impossible(&error) => {
            tracing::warn!(
                "this file system locks no folders: do not delete {name}/{LOCK_NAME} while a node runs"
            );
        }
        Err(TryLockError::Error(error)) => return Err(failure("lock", name, &error)),
    }
    let (flags, mode) = (OFlags::RDWR | OFlags::CLOEXEC, Mode::from_raw_mode(LOCK_MODE));
    let flags = if writes { flags | OFlags::CREATE } else { OFlags::RDONLY | OFlags::CLOEXEC };
    let lock = match openat(folder, LOCK_NAME, flags, mode) {
        Ok(lock) => File::from(lock),
        Err(Errno::NOENT) if !writes => return Ok(None),
        Err(error) => return Err(failure("open the lock", name, &error.into())),
    };
    let tried = if writes { lock.try_lock() } else { lock.try_lock_shared() };
    tried.map_err(|error| match error {
        TryLockError::WouldBlock => locked(folder, name),
        TryLockError::Error(error) => failure("lock", name, &error),
    })?;
    if writes {
        // On a full disk the process id cannot be written; the lock holds without it.
        drop(lock.set_len(0).and_then(|()| lock.write_all_at(std::process::id().to_string().as_bytes(), 0)));
    }
    Ok(Some(lock))
}

fn locked(folder: &File, name: &str) -> DiskError {
    DiskError::Locked { folder: name.to_owned(), holder: holder(folder) }
}

/// The process that holds the folder, from its `lock` file; `None` when the file does not contain it.
fn holder(folder: &File) -> Option<u32> {
    let lock = openat(folder, LOCK_NAME, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = String::new();
    File::from(lock).take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Some network file systems cannot lock a file that is open for reading only, as a folder always is.
fn is_impossible(error: &io::Error) -> bool {
    let number = Errno::from_io_error(error);
    [Errno::BADF, Errno::INVAL, Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS, Errno::ISDIR]
        .iter()
        .any(|known| number == Some(*known))
        || error.kind() == ErrorKind::Unsupported
}

/// What keeps other processes out of a data folder and the folders in it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    /// The data folder; its descriptor is locked.
    folder: Arc<File>,
    /// Files of the log that this process has locked.
    claims: Claims,
    /// The locked `lock` file; `None` in a folder without one that is open for reading only.
    _lock: Option<File>,
}

impl Held {
    pub(crate) fn new(folder: &Arc<File>, lock: Option<File>) -> Arc<Self> {
        Arc::new(Self { folder: Arc::clone(folder), claims: Claims::default(), _lock: lock })
    }

    /// Locks an opened file of the log: see [`Claims`].
    pub(crate) fn claim(
        &self,
        name: &str,
        file: &File,
        writes: bool,
        is_read_only: bool,
    ) -> Result<Option<Arc<Claim>>, DiskError> {
        self.claims.claim(&self.folder, name, file, writes, is_read_only)
    }
}

/// A locked file; dropping this releases the lock.
#[derive(Debug)]
pub(crate) struct Claim {
    _locked: File,
}

/// Files of the log that this process has locked, by device and inode: the process may open each of them
/// several times.
#[derive(Debug, Default)]
struct Claims {
    held: Mutex<BTreeMap<(u64, u64), Weak<Claim>>>,
}

impl Claims {
    /// Locks an opened file of the log: exclusively when it is opened for writing, shared when the whole
    /// folder is only read. `None` for other files, and for a file that a writing process opens for reading.
    fn claim(
        &self,
        folder: &File,
        name: &str,
        file: &File,
        writes: bool,
        is_read_only: bool,
    ) -> Result<Option<Arc<Claim>>, DiskError> {
        if !name.starts_with(CLAIMED) || !(writes || is_read_only) {
            return Ok(None);
        }
        let found = fstat(file).map_err(|error| failure("inspect", name, &error.into()))?;
        let key = (found.st_dev, found.st_ino);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(claim) = held.get(&key).and_then(Weak::upgrade) {
            return Ok(Some(claim));
        }
        let copy = file.try_clone().map_err(|error| failure("lock", name, &error))?;
        let tried = if writes { copy.try_lock() } else { copy.try_lock_shared() };
        match tried {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(locked(folder, name)),
            // The lock of the folder has already logged the warning.
            Err(TryLockError::Error(error)) if is_impossible(&error) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failure("lock", name, &error)),
        }
        held.retain(|_, claim| claim.strong_count() > 0);
        let claim = Arc::new(Claim { _locked: copy });
        held.insert(key, Arc::downgrade(&claim));
        Ok(Some(claim))
    }
}
