//! Several batches of records in one body, in the layout of TigerBeetle's binary protocol.
//!
//! | part | content |
//! |---|---|
//! | payload | the records of all batches, one after the other |
//! | padding | 0xff, so that the trailer fills whole records |
//! | counts | u16 each: number of records in a batch; the count of the last batch comes first |
//! | number of batches | u16, 1 to 65,534; the body ends with it |
//!
//! Padding, counts and the number of batches together are the trailer. A body without a payload is one or
//! more empty batches. Chains of linked events never cross a batch.

use bytes::BufMut;

use crate::reader::DecodeError;

const COUNT_SIZE: usize = 2;
/// The maximum number of batches. A greater one would be 0xffff, which is padding.
const BATCHES_MAX: usize = 0xfffe;

/// The decoded batches of a body, borrowed from it.
#[derive(Clone, Copy, Debug)]
pub struct Batches<'body> {
    payload: &'body [u8],
    /// Number of records in each batch, the last batch first.
    counts: &'body [[u8; COUNT_SIZE]],
    record_size: usize,
}

impl<'body> Batches<'body> {
    /// Finds the batches of a body whose records have `record_size` bytes.
    ///
    /// # Panics
    /// When `record_size` is 0.
    pub fn decode(body: &'body [u8], record_size: usize) -> Result<Self, DecodeError> {
        assert!(record_size > 0, "the size of a record is not 0");
        let (rest, number) = body.split_last_chunk::<COUNT_SIZE>().ok_or(DecodeError::Size)?;
        let batches = usize::from(u16::from_le_bytes(*number));
        if batches == 0 || batches > BATCHES_MAX {
            return Err(DecodeError::Value);
        }
        let payload_size =
            body.len().checked_sub(trailer_size(batches, record_size)).ok_or(DecodeError::Size)?;
        let (payload, trailer) = rest.split_at_checked(payload_size).ok_or(DecodeError::Size)?;
        let counts_at = trailer.len().checked_sub(batches * COUNT_SIZE).ok_or(DecodeError::Size)?;
        let (padding, counts) = trailer.split_at_checked(counts_at).ok_or(DecodeError::Size)?;
        if padding.iter().any(|byte| *byte != 0xff) {
            return Err(DecodeError::Reserved);
        }
        let (counts, _) = counts.as_chunks::<COUNT_SIZE>();
        let found = Self { payload, counts, record_size };
        if found.records() * record_size == payload.len() { Ok(found) } else { Err(DecodeError::Size) }
    }

    /// Number of batches; at least 1.
    pub const fn count(&self) -> usize {
        self.counts.len()
    }

    /// Number of records in all batches.
    pub fn records(&self) -> usize {
        self.sizes().sum()
    }

    /// The records of all batches, without the trailer.
    pub const fn payload(&self) -> &'body [u8] {
        self.payload
    }

    /// Number of records in each batch, in order.
    pub fn sizes(&self) -> impl Iterator<Item = usize> + use<'body> {
        self.counts.iter().rev().map(|count| usize::from(u16::from_le_bytes(*count)))
    }

    /// The records of each batch, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'body [u8]> + use<'body> {
        let (mut rest, record_size) = (self.payload, self.record_size);
        self.sizes().map(move |records| {
            let (batch, after) = rest.split_at_checked(records * record_size).unwrap_or_default();
            rest = after;
            batch
        })
    }
}

/// Size in bytes of the trailer of a body with that number of batches.
pub const fn trailer_size(batches: usize, record_size: usize) -> usize {
    (COUNT_SIZE * (batches + 1)).div_ceil(record_size) * record_size
}

/// Appends the trailer to a body that has the records of all batches. `sizes` are the numbers of records in
/// each batch, in order.
///
/// # Panics
/// When there are no batches or more than 65,534, or a batch has more than 65,535 records.
pub fn put_trailer(body: &mut impl BufMut, sizes: &[usize], record_size: usize) {
    assert!(!sizes.is_empty() && sizes.len() <= BATCHES_MAX, "the number of batches fits its field");
    body.put_bytes(0xff, trailer_size(sizes.len(), record_size) - COUNT_SIZE * (sizes.len() + 1));
    for size in sizes.iter().rev() {
        body.put_u16_le(u16::try_from(*size).expect("invariant: a batch fits in a body of 1 MiB"));
    }
    body.put_u16_le(u16::try_from(sizes.len()).expect("invariant: checked above"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(sizes: &[usize], record_size: usize) -> Vec<u8> {
        let records: usize = sizes.iter().sum();
        let mut body: Vec<u8> =
            (0..records * record_size).map(|at| u8::try_from(at / record_size % 251).unwrap()).collect();
        put_trailer(&mut body, sizes, record_size);
        body
    }

    #[test]
    fn batches_survive_encoding_and_decoding() {
        for sizes in [&[0][..], &[1], &[3, 0, 2], &[0, 0, 0], &[1; 70]] {
            for record_size in [16, 64, 128] {
                let body = body(sizes, record_size);
                assert!(body.len().is_multiple_of(record_size));
                let batches = Batches::decode(&body, record_size).unwrap();
                assert_eq!(batches.sizes().collect::<Vec<_>>(), sizes);
                assert_eq!(batches.records(), sizes.iter().sum::<usize>());
                let found: Vec<usize> = batches.iter().map(|batch| batch.len() / record_size).collect();
                assert_eq!(found, sizes);
                assert_eq!(batches.iter().collect::<Vec<_>>().concat(), batches.payload());
            }
        }
    }

    #[test]
    fn the_trailer_lists_batches_backwards_then_their_number() {
        let mut trailer = Vec::new();
        put_trailer(&mut trailer, &[1, 2], 16);
        assert_eq!(trailer, [&[0xff; 10][..], &[2, 0, 1, 0, 2, 0]].concat());
    }

    #[test]
    fn a_full_request_of_one_batch_fits_in_a_body() {
        assert_eq!(8189 * 128 + trailer_size(1, 128), (1 << 20) - 256);
    }

    #[test]
    fn a_cut_or_damaged_trailer_is_refused() {
        let whole = body(&[1, 2], 128);
        for size in 0..whole.len() {
            assert!(Batches::decode(&whole[..size], 128).is_err(), "cut to {size}");
        }
        for (from_end, value) in [(1, 0xff), (1, 0), (2, 0), (2, 3), (3, 1), (4, 5), (8, 0), (100, 0xfe)] {
            let mut damaged = whole.clone();
            let at = damaged.len() - from_end;
            if damaged[at] != value {
                damaged[at] = value;
                assert!(Batches::decode(&damaged, 128).is_err(), "byte {from_end} from the end is {value}");
            }
        }
        assert!(Batches::decode(&[0xff; 256], 128).is_err(), "padding alone is no batch");
    }
}
