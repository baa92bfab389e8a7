//! What the groups of one process share: the data folder on the real disk.

mod claim;
pub(crate) mod file_disk;
mod os_error;
