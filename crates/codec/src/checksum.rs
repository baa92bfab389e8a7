//! One checksum for everything on disk: CRC-64/NVME, 8 bytes, computed with carry-less multiplication.
//!
//! It finds every single burst of up to 64 bits and misses a random damage once in 2^64. It guards against
//! accidents of disks and memory, not against forgers: those meet the SHA-256 chains.

use crc_fast::{CrcAlgorithm, Digest};

/// CRC-64/NVME of some bytes.
pub type Checksum = u64;

/// The checksum of `bytes`.
pub fn checksum(bytes: &[u8]) -> Checksum {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// The checksum of `seed` and then `bytes`: binds a block to its place, so that one which the disk wrote
/// or read at the wrong offset is found.
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
    fn the_catalogues_check_value_holds() {
        assert_eq!(checksum(b"123456789"), 0xae8b_1486_0a79_9888);
    }

    #[test]
    fn the_seed_counts() {
        assert_ne!(checksum_seeded(1, b"block"), checksum_seeded(2, b"block"));
        assert_eq!(checksum_seeded(7, b""), checksum(&7_u64.to_le_bytes()));
    }
}
