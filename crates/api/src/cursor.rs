//! The position at which the next page of a list begins, as opaque text.
//!
//! The server stores nothing between two pages. A cursor contains the fingerprint of its query, so that the
//! server refuses it with another query, and a checksum, so that the server refuses a damaged one. It is not
//! signed: it grants no access and hides nothing.
//!
//! Little-endian, in base64url without padding: version 1 (1), zero (1), fingerprint of the query (8), where
//! the next page begins (one or two numbers of 8: a timestamp or a position, or the expiry and the timestamp
//! of a hold), CRC-64/NVME of all bytes before it (8).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use thiserror::Error;

const VERSION: u8 = 1;

/// A hash of the parameters that must be the same from one page to the next: all except the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 8]);

impl Fingerprint {
    /// The fingerprint of a list and of the parameters that select its rows and their order.
    pub fn of(list: &str, parameters: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in core::iter::once(list.as_bytes()).chain(parameters.iter().copied()) {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        Self(digest.first_chunk().copied().unwrap_or_default())
    }
}

/// Why a text is not a cursor of this query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CursorError {
    /// The cursor is damaged or incomplete, or was not made by this API.
    #[error("the cursor is damaged: send next_cursor exactly as it came, or leave it out to start again")]
    Damaged,
    /// The cursor was made for other parameters.
    #[error(
        "the cursor belongs to another query: keep every parameter but the limit, or leave the cursor out"
    )]
    AnotherQuery,
}

/// Encodes where the next page of a query begins.
pub fn encode(query: Fingerprint, next: u64) -> String {
    encode_all(query, &[next])
}

/// Decodes where the next page of this query begins.
pub fn decode(text: &str, query: Fingerprint) -> Result<u64, CursorError> {
    decode_all(text, query).map(|[next]| next)
}

/// Encodes where the next page begins, for a query whose rows have a position of two numbers.
pub fn encode_two(query: Fingerprint, next: [u64; 2]) -> String {
    encode_all(query, &next)
}

/// Decodes where the next page begins, for a query whose rows have a position of two numbers.
pub fn decode_two(text: &str, query: Fingerprint) -> Result<[u64; 2], CursorError> {
    decode_all(text, query)
}

fn encode_all(query: Fingerprint, next: &[u64]) -> String {
    let mut bytes = vec![VERSION, 0];
    bytes.extend_from_slice(&query.0);
    next.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    let checksum = bezant_codec::checksum(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode_all<const N: usize>(text: &str, query: Fingerprint) -> Result<[u64; N], CursorError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError::Damaged)?;
    let (body, checksum) = bytes.split_last_chunk::<8>().ok_or(CursorError::Damaged)?;
    let (head, numbers) = body.split_first_chunk::<10>().ok_or(CursorError::Damaged)?;
    let (numbers, rest) = numbers.as_chunks::<8>();
    if bezant_codec::checksum(body).to_le_bytes() != *checksum
        || head[..2] != [VERSION, 0]
        || !rest.is_empty()
    {
        return Err(CursorError::Damaged);
    }
    if head[2..] != query.0 {
        return Err(CursorError::AnotherQuery);
    }
    let numbers: &[[u8; 8]; N] = numbers.try_into().map_err(|_| CursorError::Damaged)?;
    Ok(numbers.map(u64::from_le_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> Fingerprint {
        Fingerprint::of("transfers", &[b"978", b""])
    }

    #[test]
    fn cursors_round_trip() {
        for next in [0, 1, u64::MAX] {
            assert_eq!(decode(&encode(query(), next), query()), Ok(next));
            assert_eq!(decode_two(&encode_two(query(), [7, next]), query()), Ok([7, next]));
            assert_eq!(decode(&encode_two(query(), [7, next]), query()), Err(CursorError::Damaged));
        }
    }

    #[test]
    fn every_changed_letter_is_detected() {
        let cursor = encode(query(), 1_700_000_000_000_000_000);
        for at in 0..cursor.len() {
            let mut letters = cursor.clone().into_bytes();
            letters[at] = if letters[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(letters).unwrap();
            assert_eq!(decode(&changed, query()), Err(CursorError::Damaged), "letter {at}");
        }
        for wrong in ["", "AA", "ü", &format!("{cursor}AA"), &cursor[1..]] {
            assert_eq!(decode(wrong, query()), Err(CursorError::Damaged), "{wrong}");
        }
    }

    #[test]
    fn cursors_of_other_queries_are_refused() {
        let other = Fingerprint::of("transfers", &[b"97", b"8"]);
        assert_eq!(decode(&encode(other, 1), query()), Err(CursorError::AnotherQuery));
    }
}
