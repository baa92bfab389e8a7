//! The two hash chains of every account, which make a history verifiable without trusting the server.
//!
//! A transfer is hashed once: SHA-256 over its final 128-byte record, the head of the debit account's
//! spends and the head of the credit account's receipts. The hash becomes the new head of both. So the
//! head of an account stands for everything that it ever spent or received, and a changed bit anywhere
//! changes every head after it.

use bezant_codec::transfer_to_bytes;
use bezant_types::{AccountId, ChainSide, Head, Transfer};
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

/// Head of both chains after `transfer`, whose record is final: with its timestamp, the amount that moved
/// and what it took from its pending transfer.
pub fn next_head(transfer: &Transfer, debit_head: Head, credit_head: Head) -> Head {
    let mut message = [0; 192];
    message[..128].copy_from_slice(&transfer_to_bytes(transfer));
    message[128..160].copy_from_slice(&debit_head.0);
    message[160..].copy_from_slice(&credit_head.0);
    Head(Sha256::digest(message).into())
}

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
    fn the_first_head_of_account_one_is_known() {
        // printf 'bezant/chain/v1\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' | sha256sum
        assert_eq!(initial_head(ChainSide::Spends, AccountId(1)).to_string(), KNOWN);
    }

    use alloc::string::ToString;
    const KNOWN: &str = "31e65e98a37fd84c4d25dfaa8b6c3b333c34eff4efb7f04a18eb1de3c931f4ee";
}
