//! The checksum of headers and bodies: the 128-bit tag of AEGIS-128L with zero key and nonce, an empty
//! message, and the bytes as associated data.

use aegis::aegis128l::Aegis128L;

/// The checksum of some bytes.
pub fn checksum(bytes: &[u8]) -> u128 {
    let (_, tag) = Aegis128L::<16>::new(&[0; 16], &[0; 16]).encrypt(b"", bytes);
    u128::from_le_bytes(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_equal_known_values() {
        let known = |hex: &str| u128::from_str_radix(hex, 16).unwrap().swap_bytes();
        assert_eq!(checksum(b""), known("83cc600dc4e3e7e62d4055826174f149"));
        assert_eq!(checksum(&[0; 16]), known("f72ad48dd05dd1656133101cd4be3a26"));
    }
}
