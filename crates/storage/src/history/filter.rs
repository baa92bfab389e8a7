//! The filter of a run: rules out most absent ids at the cost of one cache line.
//!
//! It is a blocked Bloom filter with 512 bits per block and 32 keys per block on average. A key sets one bit
//! in each of the block's eight words. That is 16 bits per key, and about one absent key in 1,500 passes. The
//! upper bits of the key select the block, so sorted keys access the filter sequentially.

use super::key::KEY_BITS;
use super::page::place;

/// Average number of keys per block.
const KEYS_PER_BLOCK: u64 = 32;
/// Bytes of a block.
pub(crate) const FILTER_BLOCK_SIZE: usize = 64;

/// The keys of the ids and resolutions in a run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    blocks: Vec<[u64; 8]>,
}

impl Filter {
    /// An empty filter for `keys` keys.
    pub(crate) fn new(keys: u64) -> Self {
        let blocks = keys.div_ceil(KEYS_PER_BLOCK).max(1);
        Self { blocks: vec![[0; 8]; place(blocks)] }
    }

    /// The number of keys that it is sized for.
    pub(crate) fn capacity(&self) -> u64 {
        self.blocks.len() as u64 * KEYS_PER_BLOCK
    }

    /// Decodes the bytes from the disk; `None` when they are not whole blocks.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (blocks, rest) = bytes.as_chunks::<FILTER_BLOCK_SIZE>();
        if !rest.is_empty() || blocks.is_empty() {
            return None;
        }
        let block = |bytes: &[u8; FILTER_BLOCK_SIZE]| {
            let mut words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
            std::array::from_fn(|_| words.next().unwrap_or_default())
        };
        Some(Self { blocks: blocks.iter().map(block).collect() })
    }

    /// The bytes for the disk.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.blocks.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Adds a key.
    pub(crate) fn insert(&mut self, key: u64) {
        let at = self.block_index(key);
        let mut bits = bits(key);
        for word in &mut self.blocks[at] {
            *word |= 1 << (bits & 63);
            bits >>= 6;
        }
    }

    /// False only when the key was never added.
    pub(crate) fn may_contain(&self, key: u64) -> bool {
        let mut bits = bits(key);
        let mut missing = 0;
        for word in &self.blocks[self.block_index(key)] {
            missing |= !(word >> (bits & 63));
            bits >>= 6;
        }
        missing & 1 == 0
    }

    fn block_index(&self, key: u64) -> usize {
        let wide = u128::from(key) * self.blocks.len() as u128;
        usize::try_from(wide >> KEY_BITS).expect("invariant: a key has 44 bits, so this is below the length")
    }
}

/// 48 mixed bits: six select the bit in each of the eight words.
const fn bits(key: u64) -> u64 {
    let mixed = key.wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ mixed >> 29
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::key::{Kind, key};

    #[test]
    fn every_added_key_is_found_and_few_absent_keys_pass() {
        let mut filter = Filter::new(50_000);
        for id in 0..50_000 {
            filter.insert(key(Kind::Id, id));
        }
        let filter = Filter::from_bytes(&filter.to_bytes()).unwrap();
        assert!((0..50_000).all(|id| filter.may_contain(key(Kind::Id, id))));
        let absent = (50_000..150_000).filter(|id| filter.may_contain(key(Kind::Id, *id))).count();
        assert!(absent < 200, "{absent} of 100,000 absent keys pass");
    }

    #[test]
    fn truncated_bytes_are_rejected() {
        let bytes = Filter::new(100).to_bytes();
        assert_eq!(bytes.len(), 4 * FILTER_BLOCK_SIZE);
        assert_eq!(Filter::from_bytes(&bytes[1..]), None);
        assert_eq!(Filter::from_bytes(&[]), None);
    }
}
