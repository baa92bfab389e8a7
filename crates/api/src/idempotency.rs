//! Ids out of an `Idempotency-Key`: the same key names the same events, whichever server it reaches.
//!
//! The ledger already refuses an id twice and answers a repeated request with its first outcome. So a key
//! needs no table of its own: the id of the event at a place of the request is a hash of the key and the
//! place. A retry finds the recorded outcome; the same key with another body finds
//! `exists_with_different_*`.

use sha2::{Digest, Sha256};

/// What an id is for: an account and a transfer of one key have different ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdKind {
    /// Of an account.
    Account,
    /// Of a transfer.
    Transfer,
}

/// Bytes of a key at the most: enough for a UUID and a prefix, too few to hurt.
pub const KEY_SIZE_MAX: usize = 255;

/// The id of the event at `position` (counted from 0) of the request with that key; never 0 or `u128::MAX`.
pub fn derive_id(kind: IdKind, key: &str, position: usize) -> u128 {
    let domain: &[u8] = match kind {
        IdKind::Account => b"bezant idempotency key v1: account",
        IdKind::Transfer => b"bezant idempotency key v1: transfer",
    };
    (0_u8..=u8::MAX)
        .map(|attempt| {
            let mut hash = Sha256::new();
            hash.update([attempt]);
            hash.update(domain);
            hash.update(u64::try_from(position).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(key);
            let digest: [u8; 32] = hash.finalize().into();
            u128::from_le_bytes(digest.first_chunk().copied().unwrap_or_default())
        })
        .find(|id| *id != 0 && *id != u128::MAX)
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_from_key_place_and_kind() {
        let id = derive_id(IdKind::Transfer, "order-1", 0);
        assert_eq!(id, derive_id(IdKind::Transfer, "order-1", 0));
        assert_ne!(id, derive_id(IdKind::Transfer, "order-1", 1));
        assert_ne!(id, derive_id(IdKind::Transfer, "order-2", 0));
        assert_ne!(id, derive_id(IdKind::Account, "order-1", 0));
        assert_eq!(id, 154_723_240_645_339_022_637_191_981_399_069_331_058, "ids of keys never change");
    }
}
