//! Randomness from the system.

/// A random number that differs, in all likelihood, from that of every other start of a node.
pub(crate) fn draw() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
