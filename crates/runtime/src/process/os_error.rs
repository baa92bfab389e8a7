//! The errors of the operating system as errors of a disk.

use std::io::{self, ErrorKind};

use bezant_storage::disk::DiskError;
use rustix::io::Errno;

/// True when the disk, or a quota on it, has no space.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// The [`DiskError`] of an error of the system.
pub(super) fn failure(operation: &'static str, file: &str, error: &io::Error) -> DiskError {
    let file = file.to_owned();
    if is_full(error) {
        return DiskError::Full { file };
    }
    match error.kind() {
        ErrorKind::NotFound => DiskError::NotFound { file },
        _ => DiskError::Io { operation, file, reason: error.to_string() },
    }
}

/// The [`DiskError`] of a failed system call.
pub(super) fn refused(operation: &'static str, file: &str) -> impl Fn(Errno) -> DiskError {
    move |error| failure(operation, file, &error.into())
}
