//! Ids that are derived from an `Idempotency-Key`: the same key gives the same events the same ids on every
//! server.
//!
//! The ledger refuses a second event with the same id, and answers a repeated event with its first outcome.
//! So the id of an event is a hash of the key and of the event's place in the request: a retry finds what was
//! recorded. Requests that reuse a key and are no retry are refused. For a single transfer the comparison of
//! its record detects them. For everything else two marks that the ledger stores do, the guard and the
//! witness (see [`KeyedHead`]). Source: `docs/decisions/0020-a-key-belongs-to-one-request.md`.

use bezant_codec::{KeyedHead, Operation};
use bezant_types::TransferId;
use sha2::{Digest, Sha256};

/// The kind of event that an id is for: an account and a transfer of one key have different ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdKind {
    /// The id of an account.
    Account,
    /// The id of a transfer.
    Transfer,
}

/// The most bytes of a key: enough for a UUID and a prefix, few enough to be harmless.
pub const KEY_SIZE_MAX: usize = 255;

/// The id of an event without an id, at `position` (counted from 0) of the request with that key; never 0 or
/// `u128::MAX`. `count` is the number of events of the request.
///
/// The first of several transfers has a separate hash domain: the guard has the id of a single transfer.
pub fn event_id(kind: IdKind, key: &str, position: usize, count: usize) -> u128 {
    match kind {
        IdKind::Account => hash(b"bezant idempotency key v1: account", position, &[key.as_bytes()]),
        IdKind::Transfer if position == 0 && count > 1 => {
            hash(b"bezant idempotency key v2: first transfer of several", 0, &[key.as_bytes()])
        }
        IdKind::Transfer => hash(b"bezant idempotency key v1: transfer", position, &[key.as_bytes()]),
    }
}

/// The marks of a request with that key; `records` are its events as they go into the log.
pub fn marks(kind: IdKind, key: &str, operation: Operation, records: &[u8]) -> KeyedHead {
    let number = (operation as u16).to_le_bytes();
    let size = u8::try_from(key.len()).unwrap_or(u8::MAX).to_le_bytes();
    let witness = [&size[..], key.as_bytes(), &number, records];
    KeyedHead {
        guard: TransferId(event_id(kind, key, 0, 1)),
        witness: TransferId(hash(b"bezant idempotency key v2: witness", 0, &witness)),
        operation,
    }
}

/// The first 16 bytes, in little-endian, of SHA-256 over attempt, domain, position and parts, for the first
/// attempt that gives a valid id.
fn hash(domain: &[u8], position: usize, parts: &[&[u8]]) -> u128 {
    (0_u8..=u8::MAX)
        .map(|attempt| {
            let mut hash = Sha256::new();
            hash.update([attempt]);
            hash.update(domain);
            hash.update(u64::try_from(position).unwrap_or(u64::MAX).to_le_bytes());
            parts.iter().for_each(|part| hash.update(part));
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
    fn ids_are_derived_from_key_place_and_kind() {
        let id = event_id(IdKind::Transfer, "order-1", 0, 1);
        assert_eq!(id, event_id(IdKind::Transfer, "order-1", 0, 1));
        assert_ne!(id, event_id(IdKind::Transfer, "order-1", 0, 2));
        assert_ne!(id, event_id(IdKind::Transfer, "order-1", 1, 2));
        assert_ne!(id, event_id(IdKind::Transfer, "order-2", 0, 1));
        assert_ne!(id, event_id(IdKind::Account, "order-1", 0, 1));
        assert_eq!(id, 154_723_240_645_339_022_637_191_981_399_069_331_058, "ids of keys never change");
    }

    #[test]
    fn marks_are_derived_from_key_and_request() {
        let of = |key, operation, records: &[u8]| marks(IdKind::Transfer, key, operation, records);
        let one = of("order-1", Operation::CreateTransfers, b"ab");
        assert_eq!(
            one.guard.0,
            event_id(IdKind::Transfer, "order-1", 0, 1),
            "the guard is the id of a single event"
        );
        assert_eq!(one, of("order-1", Operation::CreateTransfers, b"ab"));
        let others = [
            of("order-1", Operation::CreateTransfers, b"abc"),
            of("order-1", Operation::CreateTransfersExtended, b"ab"),
            of("order-1a", Operation::CreateTransfers, b"b"),
        ];
        assert!(others.iter().all(|other| other.witness != one.witness));
        assert_eq!(others[0].guard, one.guard);
    }
}
