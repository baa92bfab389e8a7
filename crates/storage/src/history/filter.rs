//! The filter of a run: says of most absent ids that they are absent, at the cost of one cache line.
//!
//! A blocked Bloom filter: 512 bits a block, 32 keys a block on average, one bit in each of the block's eight
//! words a key; so 16 bits a key, and one absent key in about 1,500 passes. The block follows from the upper
//! bits of the key: keys in order walk the filter in order.

use super::key::KEY_BITS;
use super::page::place;

/// Keys of a block, on average.
const KEYS_PER_BLOCK: u64 = 32;
/// Bytes of a block.
pub(crate) const FILTER_BLOCK_SIZE: usize = 64;

/// The keys of a run's ids.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    blocks: Vec<[u64; 8]>,
}

impl Filter {
    /// An empty filter for so many keys.
    pub(crate) fn new(keys: u64) -> Self {
        let blocks = keys.div_ceil(KEYS_PER_BLOCK).max(1);
        Self { blocks: vec![[0; 8]; place(blocks)] }
    }

    /// The keys that it has room for.
    pub(crate) fn capacity(&self) -> u64 {
        self.blocks.len() as u64 * KEYS_PER_BLOCK
    }

    /// Reads the bytes of the disk; `None` when they are no blocks.
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

    /// False when the key was never added.
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

/// 48 bits that name a bit in each of eight words.
const fn bits(key: u64) -> u64 {
    let mixed = key.wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ mixed >> 29
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::key::{Kind, key};

    #[test]
    fn no_key_is_forgotten_and_few_strangers_pass() {
        let mut filter = Filter::new(50_000);
        for id in 0..50_000 {
            filter.insert(key(Kind::Id, id));
        }
        let filter = Filter::from_bytes(&filter.to_bytes()).unwrap();
        assert!((0..50_000).all(|id| filter.may_contain(key(Kind::Id, id))));
        let strangers = (50_000..150_000).filter(|id| filter.may_contain(key(Kind::Id, *id))).count();
        assert!(strangers < 200, "{strangers} of 100,000 strangers pass");
    }

    #[test]
    fn cut_bytes_are_refused() {
        let bytes = Filter::new(100).to_bytes();
        assert_eq!(bytes.len(), 4 * FILTER_BLOCK_SIZE);
        assert_eq!(Filter::from_bytes(&bytes[1..]), None);
        assert_eq!(Filter::from_bytes(&[]), None);
    }
}
