//! The hash of ids in memory. It has no random seed, so every replica does the same work.

use core::hash::{BuildHasher, Hasher};

/// The hash of an id, by two folded multiplications: every bit of the id affects every bit of the hash.
pub(crate) fn hash_id(id: u128) -> u64 {
    const LOW: u64 = 0x9e37_79b9_7f4a_7c15;
    const HIGH: u64 = 0xd1b5_4a32_d192_ed03;
    let [low, high] = halves(id);
    fold(fold(low ^ LOW, HIGH) ^ high, LOW)
}

/// The hash of a name: its bytes, eight at a time.
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(0x2545_f491_4f6c_dd1d, |hash, chunk| {
        let word = chunk.iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
        fold(hash ^ word, 0x9e37_79b9_7f4a_7c15)
    })
}

fn halves(wide: u128) -> [u64; 2] {
    let bytes = wide.to_le_bytes();
    let [low, high] = [0, 8].map(|at| {
        let mut half = [0; 8];
        half.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(half)
    });
    [low, high]
}

fn fold(left: u64, right: u64) -> u64 {
    let [low, high] = halves(u128::from(left) * u128::from(right));
    low ^ high
}

/// A hash map with the fixed hash; for keys that are integers.
pub(crate) type FixedHashMap<K, V> = hashbrown::HashMap<K, V, FixedState>;
/// A hash set with the fixed hash; for keys that are integers.
pub(crate) type FixedHashSet<K> = hashbrown::HashSet<K, FixedState>;

/// Makes hashers that all start in the same state.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FixedState;

impl BuildHasher for FixedState {
    type Hasher = FixedHasher;

    fn build_hasher(&self) -> FixedHasher {
        FixedHasher(0)
    }
}

/// [`hash_id`] as a hasher.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FixedHasher(u64);

impl Hasher for FixedHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = fold(self.0 ^ hash_bytes(bytes), 0x9e37_79b9_7f4a_7c15);
    }

    fn write_u64(&mut self, value: u64) {
        self.write_u128(u128::from(value));
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u128(value as u128);
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = fold(self.0 ^ hash_id(value), 0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_same_in_every_process() {
        assert_eq!(hash_id(1), HASH_OF_ONE);
        assert_eq!(hash_id(1 << 64), HASH_OF_HIGH_ONE);
        assert_eq!(hash_bytes(b"a name of sixteen or more"), HASH_OF_NAME);
        assert_eq!(FixedState.hash_one(1_u64), HASH_OF_KEY);
        assert_eq!(FixedState.hash_one((1_u64, 2_u64)), HASH_OF_PAIR);
        assert_eq!(FixedState.hash_one([1_u8, 2]), HASH_OF_BYTES);
    }

    const HASH_OF_ONE: u64 = 0xa67b_9f19_3dde_6946;
    const HASH_OF_HIGH_ONE: u64 = 0x8986_f9eb_f663_750d;
    const HASH_OF_NAME: u64 = 0x927b_2674_1024_d64c;
    const HASH_OF_KEY: u64 = 0xd553_f6ca_2494_b126;
    const HASH_OF_PAIR: u64 = 0x3f5e_950d_3111_7069;
    const HASH_OF_BYTES: u64 = 0xab9b_be89_3d3e_354f;
}
