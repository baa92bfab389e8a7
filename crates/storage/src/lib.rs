//! Everything on disk: write-ahead log, checkpoints, transfer history with its indexes, and small records.
//! The disk is a `trait Disk`.
#![deny(clippy::float_arithmetic)]

mod aligned;
pub mod checkpoint;
pub mod disk;
mod history;
pub mod log;
mod memory_disk;
mod query;
pub mod record;
pub mod repair;

pub use aligned::AlignedBuffer;
pub use history::{
    Finished, History, HistoryError, HistoryOptions, HistoryReader, Job, RowChunk, RowChunkError, TableLayout,
};
pub use memory_disk::{FaultPlan, MemoryDisk, OperationCounts};
pub use query::{HistoryAnswer, HistoryQuery};
