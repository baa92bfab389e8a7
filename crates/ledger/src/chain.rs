//! The two hash chains of every account, which make a history verifiable without trusting the server.
//!
//! A transfer is hashed once: SHA-256 over its final 128-byte record, the head of the debit account's spends
//! and the head of the credit account's receipts. The hash becomes the new head of both chains. So the head
//! of a chain covers everything that the account ever spent, or received. One changed bit changes every later
//! head.

use bezant_codec::transfer_to_bytes;
use bezant_types::{AccountId, ChainSide, Head, Transfer};
use sha2::block_api::compress256;
use sha2::{Digest, Sha256};

const DOMAIN: &[u8; 15] = b"bezant/chain/v1";

/// Head of a chain that holds no transfer: SHA-256 over `bezant/chain/v1`, a byte for the side (0 spends,
/// 1 receipts) and the 16 bytes of the account's id.
pub fn initial_head(side: ChainSide, account: AccountId) -> Head {
    let side = match side {
        ChainSide::Spends => 0_u8,
        ChainSide::Receipts => 1,
    };
    let hash = Sha256::new().chain_update(DOMAIN).chain_update([side]).chain_update(account.0.to_le_bytes());
    Head(hash.finalize().into())
}

/// The new head of both chains after `transfer`. The record must be final: with its timestamp, the amount
/// that moved, and the fields that it inherits from its pending transfer.
pub fn next_head(transfer: &Transfer, debit_head: Head, credit_head: Head) -> Head {
    let record = transfer_to_bytes(transfer);
    let [mut first, mut second, mut heads] = [[0; BLOCK_SIZE]; 3];
    first.copy_from_slice(&record[..64]);
    second.copy_from_slice(&record[64..]);
    heads[..32].copy_from_slice(&debit_head.0);
    heads[32..].copy_from_slice(&credit_head.0);
    // The message always has 192 bytes, so its blocks are fixed and no streaming state is needed.
    let mut state = INITIAL_STATE;
    compress256(&mut state, &[first, second, heads, PADDING]);
    let mut head = [0; 32];
    for (bytes, word) in head.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    Head(head)
}

/// Bytes of a block of SHA-256.
const BLOCK_SIZE: usize = 64;

/// The initial state of SHA-256 (FIPS 180-4, section 5.3.3).
const INITIAL_STATE: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The padding block after a message of 192 bytes: a 1 bit, zeros, and the size in bits (FIPS 180-4, section
/// 5.1.1).
const PADDING: [u8; BLOCK_SIZE] = {
    let mut block = [0; BLOCK_SIZE];
    block[0] = 0x80;
    [block[62], block[63]] = (192_u16 * 8).to_be_bytes();
    block
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_differ_by_side_account_and_place() {
        let spends = initial_head(ChainSide::Spends, AccountId(1));
        let receipts = initial_head(ChainSide::Receipts, AccountId(1));
        assert_ne!(spends, receipts);
        assert_ne!(spends, initial_head(ChainSide::Spends, AccountId(2)));
        let transfer = Transfer::default();
        assert_ne!(next_head(&transfer, spends, receipts), next_head(&transfer, receipts, spends));
    }

    #[test]
    fn a_head_hashes_the_record_and_both_heads() {
        let transfer = Transfer { amount: 5, code: 7, ..Transfer::default() };
        let (spends, receipts) = (Head([3; 32]), Head([4; 32]));
        let hash = Sha256::new()
            .chain_update(transfer_to_bytes(&transfer))
            .chain_update(spends.0)
            .chain_update(receipts.0)
            .finalize();
        assert_eq!(next_head(&transfer, spends, receipts), Head(hash.into()));
    }

    #[test]
    fn the_first_head_of_account_one_is_known() {
        // printf 'bezant/chain/v1\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' | sha256sum
        assert_eq!(initial_head(ChainSide::Spends, AccountId(1)).to_string(), KNOWN);
    }

    use alloc::string::ToString;
    const KNOWN: &str = "31e65e98a37fd84c4d25dfaa8b6c3b333c34eff4efb7f04a18eb1de3c931f4ee";
}
