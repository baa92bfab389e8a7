//! The disk as a parameter. The real disk is in the crate `runtime`; [`MemoryDisk`](crate::MemoryDisk) can
//! crash and fail on demand.
//!
//! A disk is one folder of files; it may contain further folders, each of which is a disk again. Nothing is
//! durable before [`DiskFile::sync`] returns; the name of a file is durable only after [`Disk::sync_folder`]
//! of its folder. A failed write or sync is final: a caller that gets such an error stops writing for good
//! and never repeats the operation.

use std::fmt::Debug;
use std::sync::Arc;

use thiserror::Error;

/// Unit of direct I/O and of every checksummed page: 4096 bytes.
pub const BLOCK_SIZE: usize = 4096;

/// Why an operation of the disk failed.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiskError {
    /// The file does not exist.
    #[error("{file} does not exist")]
    NotFound {
        /// Name of the file.
        file: String,
    },
    /// No space is left.
    #[error("no space left on the disk while writing {file}")]
    Full {
        /// Name of the file.
        file: String,
    },
    /// Another process uses the folder.
    #[error(
        "{folder} is in use by {}: stop that process first, or choose another folder",
        name_holder(*.holder)
    )]
    Locked {
        /// The folder's path.
        folder: String,
        /// Number of the process that holds the lock; `None` when it is unknown.
        holder: Option<u32>,
    },
    /// The folder, or an open file in it, was deleted or replaced.
    #[error(
        "{file} was deleted, renamed or replaced while this process uses it: nothing more is \
         written. Put back what was there, and start again; until this process ends, deleted files can be \
         copied from /proc/PID/fd"
    )]
    Moved {
        /// Name of the file or the folder.
        file: String,
    },
    /// The file ends before the requested bytes.
    #[error("{file} ends before offset {offset}")]
    EndOfFile {
        /// Name of the file.
        file: String,
        /// Offset at which the file ends, in bytes.
        offset: u64,
    },
    /// The operating system reported an error.
    #[error("{operation} of {file} failed: {reason}")]
    Io {
        /// The operation that failed: open, read, write, sync, ...
        operation: &'static str,
        /// Name of the file.
        file: String,
        /// The error message of the operating system.
        reason: String,
    },
}

fn name_holder(holder: Option<u32>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |process| format!("another process ({process})"))
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; reads only, through the page cache.
    Read,
    /// Must exist; reads and writes through the page cache.
    Write,
    /// Must not exist; reads and writes through the page cache.
    Create,
    /// Must exist; aligned reads and writes that bypass the page cache, where the file system can.
    WriteDirect,
    /// Must not exist; aligned reads and writes that bypass the page cache, where the file system can.
    CreateDirect,
}

/// One folder of files. All names are names in this folder.
pub trait Disk: Send + Sync + Debug {
    /// Opens a file of the folder.
    fn open(&self, name: &str, mode: OpenMode) -> Result<Arc<dyn DiskFile>, DiskError>;

    /// The names of all files, sorted, without the names of folders.
    fn list(&self) -> Result<Vec<String>, DiskError>;

    /// Removes a file; durable after [`sync_folder`](Self::sync_folder).
    fn remove(&self, name: &str) -> Result<(), DiskError>;

    /// Renames a file, replacing any file of the new name; durable after [`sync_folder`](Self::sync_folder).
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Exchanges the names of two files atomically; durable after [`sync_folder`](Self::sync_folder). Returns
    /// false and does nothing where the file system cannot do that.
    fn exchange(&self, _one: &str, _other: &str) -> Result<bool, DiskError> {
        Ok(false)
    }

    /// Makes all names that were created, removed or changed in this folder durable, but not those in its
    /// folders.
    fn sync_folder(&self) -> Result<(), DiskError>;

    /// Opens a folder in this one, or makes it. Its name is durable on return, and so are all other names in
    /// this folder. A folder that is open for reading only makes none ([`DiskError::NotFound`]).
    ///
    /// # Panics
    /// When `name` is not a [folder's name](is_folder_name).
    fn folder(&self, name: &str) -> Result<Arc<dyn Disk>, DiskError>;

    /// The names of all folders in this one, sorted.
    fn folders(&self) -> Result<Vec<String>, DiskError>;

    /// Moves a file to a folder in this one, under the same name; never replaces a file. `folder` is a name,
    /// or several with `/` between them. Durable after [`sync_folder`](Self::sync_folder) of both folders;
    /// until then a power failure leaves the file in one of them.
    fn move_into(&self, file: &str, folder: &str) -> Result<(), DiskError>;

    /// Removes a folder in this one, which must be empty; durable after [`sync_folder`](Self::sync_folder).
    fn remove_folder(&self, name: &str) -> Result<(), DiskError>;

    /// Bytes that can still be allocated; `u64::MAX` when that is unknown.
    fn available_bytes(&self) -> Result<u64, DiskError> {
        Ok(u64::MAX)
    }

    /// Returns an error when the folder is no longer at its path. No other process could find what is written
    /// then.
    fn check_place(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

/// True for a name that a folder can have: not empty, without `/`, and neither `.` nor `..`.
pub fn is_folder_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && name != "." && name != ".."
}

/// One open file. Many threads may use it at once.
pub trait DiskFile: Send + Sync + Debug {
    /// The name of the file.
    fn name(&self) -> &str;

    /// The size of the file in bytes.
    fn size(&self) -> Result<u64, DiskError>;

    /// Fills `buffer` from `offset`. In direct mode: offset, size and memory aligned to [`BLOCK_SIZE`].
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError>;

    /// Announces that these bytes will be read soon, so that many reads can run at once. Has no other effect,
    /// and may do nothing.
    fn expect_read(&self, _offset: u64, _size: u64) {}

    /// Writes all of `bytes` at `offset`. In direct mode: offset, size and memory aligned to [`BLOCK_SIZE`].
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Grows the file to `size` bytes and allocates its disk space; new bytes read as zero.
    fn allocate(&self, size: u64) -> Result<(), DiskError>;

    /// Cuts the file to `size` bytes.
    fn truncate(&self, size: u64) -> Result<(), DiskError>;

    /// Returns once everything that was written is durable.
    fn sync(&self) -> Result<(), DiskError>;

    /// Returns an error when the file's name is gone or belongs to another file.
    fn check_place(&self) -> Result<(), DiskError> {
        Ok(())
    }
}
