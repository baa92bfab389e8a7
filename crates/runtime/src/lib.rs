//! Real threads, disk and clock that drive a node.

mod handle;

pub use handle::{Committed, ExecuteError, Handle, Health, ReadError};
