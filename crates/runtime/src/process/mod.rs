//! What the groups of one process share: the data folder on the real disk.

mod claim;
pub(crate) mod file_disk;
pub(crate) mod identity;
pub(crate) mod options;
mod os_error;
