//! The world's time, in ns.

pub(crate) const MILLI: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MILLI;
/// The world's time at the beginning of a run: November 2023.
pub(crate) const EPOCH: u64 = 1_700_000_000 * SECOND;
