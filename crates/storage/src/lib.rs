//! What lies on disk: write-ahead log, checkpoints, transfer history and its indexes, behind `trait Disk`.
#![deny(clippy::float_arithmetic)]

pub mod disk;
mod query;

pub use query::{HistoryAnswer, HistoryQuery};
