//! The checksum of everything on disk: CRC-64/NVME, 8 bytes, computed with carry-less multiplication.
//!
//! The checksum detects every single burst of up to 64 bits, and misses random damage with a probability of
//! 2^-64. It protects against faults of disks and memory. It does not protect against forgery; the SHA-256
//! chains do.

use crc_fast::{CrcAlgorithm, Digest};

/// A CRC-64/NVME value.
pub type Checksum = u64;

/// The checksum of `bytes`.
pub fn checksum(bytes: &[u8]) -> Checksum {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// The checksum of `seed` (little-endian) followed by `bytes`. A seed that depends on the position of a block
/// detects a block that the disk wrote or read at the wrong offset.
pub fn checksum_seeded(seed: u64, bytes: &[u8]) -> Checksum {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    digest.update(&seed.to_le_bytes());
    digest.update(bytes);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_crc_catalogue_matches() {
        assert_eq!(checksum(b"123456789"), 0xae8b_1486_0a79_9888);
    }

    #[test]
    fn the_seed_changes_the_checksum() {
        assert_ne!(checksum_seeded(1, b"block"), checksum_seeded(2, b"block"));
        assert_eq!(checksum_seeded(7, b""), checksum(&7_u64.to_le_bytes()));
    }
}
