//! The disk as a parameter: the real one lives in `runtime`, one that crashes on demand is
//! [`MemoryDisk`](crate::MemoryDisk).
//!
//! A disk is one flat folder of files. Nothing is durable before [`DiskFile::sync`] returned; the existence
//! of a file is durable only after [`Disk::sync_folder`]. A failed write or sync is final: whoever meets one
//! stops writing for good and never tries again over it.

use std::fmt::Debug;
use std::sync::Arc;

use thiserror::Error;

/// Unit of direct I/O and of every checksummed page: 4096 bytes.
pub const BLOCK_SIZE: usize = 4096;

/// Why the disk did not do it.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiskError {
    /// There is no such file.
    #[error("{file} does not exist")]
    NotFound {
        /// Its name.
        file: String,
    },
    /// No space is left.
    #[error("no space left on the disk while writing {file}")]
    Full {
        /// Its name.
        file: String,
    },
    /// Another process works in the folder; stop it first.
    #[error("{folder} is in use by {}: stop that one first, or choose another folder", name_holder(*.holder))]
    Locked {
        /// The folder's path.
        folder: String,
        /// The process that holds it, where it has said so.
        holder: Option<u32>,
    },
    /// The folder, or a file of it that is open, was deleted or replaced.
    #[error(
        "{file} was deleted, renamed or replaced while this process uses it: nothing more is written. Put back what was \
         there, and start again; until this process ends, files that were deleted can be copied from /proc/PID/fd"
    )]
    Moved {
        /// Its name.
        file: String,
    },
    /// The file ends before the bytes that were asked for.
    #[error("{file} ends before offset {offset}")]
    EndOfFile {
        /// Its name.
        file: String,
        /// Where reading stopped.
        offset: u64,
    },
    /// The operating system refused.
    #[error("{operation} of {file} failed: {reason}")]
    Io {
        /// What was tried: open, read, write, sync, ...
        operation: &'static str,
        /// Its name.
        file: String,
        /// The system's words.
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
    /// Must exist; aligned reads and writes past the page cache where the file system can.
    WriteDirect,
    /// Must not exist; aligned reads and writes past the page cache where the file system can.
    CreateDirect,
}

/// One folder of files.
pub trait Disk: Send + Sync + Debug {
    /// Opens a file of the folder.
    fn open(&self, name: &str, mode: OpenMode) -> Result<Arc<dyn DiskFile>, DiskError>;

    /// The names of all files, sorted.
    fn list(&self) -> Result<Vec<String>, DiskError>;

    /// Removes a file; durable after [`sync_folder`](Self::sync_folder).
    fn remove(&self, name: &str) -> Result<(), DiskError>;

    /// Gives a file another name, replacing what had it; durable after [`sync_folder`](Self::sync_folder).
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Lets two files exchange their names at once; durable after [`sync_folder`](Self::sync_folder). False where
    /// that cannot be done, and nothing was.
    fn exchange(&self, _one: &str, _other: &str) -> Result<bool, DiskError> {
        Ok(false)
    }

    /// Makes what was created, removed and renamed durable.
    fn sync_folder(&self) -> Result<(), DiskError>;

    /// Bytes that can still be allocated; `u64::MAX` when the disk does not know.
    fn available_bytes(&self) -> Result<u64, DiskError> {
        Ok(u64::MAX)
    }

    /// An error when the folder is not where it was opened any more: what is written would be lost to everybody else.
    fn check_place(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

/// One open file; may be used by many threads at once.
pub trait DiskFile: Send + Sync + Debug {
    /// Its name.
    fn name(&self) -> &str;

    /// Its size in bytes.
    fn size(&self) -> Result<u64, DiskError>;

    /// Fills `buffer` from `offset`. In direct mode: offset, size and memory aligned to [`BLOCK_SIZE`].
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError>;

    /// Says that these bytes will be read soon, so that many reads can be under way at once. Changes nothing
    /// else, and may do nothing.
    fn expect_read(&self, _offset: u64, _size: u64) {}

    /// Writes all of `bytes` at `offset`. In direct mode: offset, size and memory aligned to [`BLOCK_SIZE`].
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Makes the file `size` bytes long with its space on the disk taken; new bytes read as zero.
    fn allocate(&self, size: u64) -> Result<(), DiskError>;

    /// Cuts the file to `size` bytes.
    fn truncate(&self, size: u64) -> Result<(), DiskError>;

    /// Returns when all that was written is durable.
    fn sync(&self) -> Result<(), DiskError>;

    /// An error when its name is gone, or another file's.
    fn check_place(&self) -> Result<(), DiskError> {
        Ok(())
    }
}
