//! Postings: the rows that carry a key, as encoded in a page of a run.
//!
//! An entry is a key and an interval of rows. The interval is one row, except for kinds whose neighbouring
//! rows mostly carry the same value. Entries are sorted by key, then by row. Keys and rows are written as the
//! difference to the previous entry, in variable-length integers of 7 bits per byte, the lowest first:
//!
//! - the same key as before: `gap * 2`, where `gap` is the distance from the end of the previous interval;
//! - another key: `(key - previous key) * 2 + 1`, then the first row, counted from the first of the run;
//! - after either, for kinds with intervals: the length minus 1.
//!
//! Each page restarts with a full key and row, so it can be read without the pages before it.

use super::page::PAYLOAD_SIZE;

/// Maximal bytes of an entry: 7 for a key, 6 for a row, 6 for a length (19), rounded up.
const ENTRY_SIZE_MAX: usize = 20;

/// An interval of rows that carry a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Posting {
    pub(crate) key: u64,
    /// The first row, counted from the first of the run.
    pub(crate) row: u64,
    /// The row after the last.
    pub(crate) end: u64,
}

/// Encodes postings into a page's payload.
#[derive(Debug)]
pub(crate) struct PageEncoder {
    has_intervals: bool,
    key: u64,
    end: u64,
    used: usize,
}

impl PageEncoder {
    /// Starts at the beginning of a page.
    pub(crate) const fn new(has_intervals: bool) -> Self {
        Self { has_intervals, key: 0, end: 0, used: 0 }
    }

    /// Bytes in use.
    pub(crate) const fn used(&self) -> usize {
        self.used
    }

    /// Adds a posting; returns false and does nothing when the page is full.
    pub(crate) fn push(&mut self, payload: &mut [u8; PAYLOAD_SIZE], posting: Posting) -> bool {
        if PAYLOAD_SIZE - self.used < ENTRY_SIZE_MAX {
            return false;
        }
        if posting.key == self.key && self.used > 0 {
            self.write(payload, (posting.row - self.end) << 1);
        } else {
            self.write(payload, (posting.key - self.key) << 1 | 1);
            self.write(payload, posting.row);
        }
        if self.has_intervals {
            self.write(payload, posting.end - posting.row - 1);
        }
        self.key = posting.key;
        self.end = posting.end;
        true
    }

    fn write(&mut self, payload: &mut [u8; PAYLOAD_SIZE], mut value: u64) {
        while value >= 0x80 {
            payload[self.used] = value.to_le_bytes()[0] | 0x80;
            self.used += 1;
            value >>= 7;
        }
        payload[self.used] = value.to_le_bytes()[0];
        self.used += 1;
    }
}

/// Decodes postings from a page's payload. Ends early, with `is_damaged`, at invalid bytes.
#[derive(Debug)]
pub(crate) struct PageDecoder<'page> {
    bytes: &'page [u8],
    has_intervals: bool,
    key: u64,
    end: u64,
    at: usize,
    is_damaged: bool,
}

impl<'page> PageDecoder<'page> {
    /// Starts at the beginning of the used bytes of a page.
    pub(crate) const fn new(bytes: &'page [u8], has_intervals: bool) -> Self {
        Self { bytes, has_intervals, key: 0, end: 0, at: 0, is_damaged: false }
    }

    /// True when it ended at invalid bytes.
    pub(crate) const fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    fn read(&mut self) -> Option<u64> {
        let first = *self.bytes.get(self.at)?;
        self.at += 1;
        if first < 0x80 {
            return Some(first.into());
        }
        let mut value = u64::from(first & 0x7f);
        let mut shift = 7;
        while shift < 57 {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
            shift += 7;
        }
        None
    }

    fn posting(&mut self) -> Option<Posting> {
        let tagged = self.read()?;
        let row = if tagged & 1 == 0 {
            self.end.checked_add(tagged >> 1)?
        } else {
            self.key = self.key.checked_add(tagged >> 1)?;
            self.read()?
        };
        let length = if self.has_intervals { self.read()? } else { 0 };
        self.end = row.checked_add(length)?.checked_add(1)?;
        Some(Posting { key: self.key, row, end: self.end })
    }
}

impl Iterator for PageDecoder<'_> {
    type Item = Posting;

    fn next(&mut self) -> Option<Posting> {
        if self.at == self.bytes.len() || self.is_damaged {
            return None;
        }
        let posting = self.posting();
        self.is_damaged = posting.is_none();
        posting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(postings: &[Posting], has_intervals: bool) -> Vec<Posting> {
        let mut payload = [0; PAYLOAD_SIZE];
        let mut encoder = PageEncoder::new(has_intervals);
        let count = postings.iter().take_while(|posting| encoder.push(&mut payload, **posting)).count();
        assert!(count == postings.len() || count > 200, "a page holds hundreds");
        let decoded: Vec<_> = PageDecoder::new(&payload[..encoder.used()], has_intervals).collect();
        assert_eq!(decoded, postings[..count]);
        decoded
    }

    proptest! {
        #[test]
        fn postings_round_trip(
            raw in prop::collection::btree_map((0_u64..1 << 44, 0_u64..1 << 40), 0_u64..100, 1..400)
        ) {
            let posting = |(key, row): &(u64, u64)| Posting { key: *key, row: *row, end: row + 1 };
            let single: Vec<_> = raw.keys().map(posting).collect();
            round_trip(&single, false);
            let intervals: Vec<_> = raw
                .iter()
                .map(|((key, row), more)| Posting { key: *key, row: *row, end: row + 1 + more })
                .collect();
            round_trip(&intervals, true);
        }

        #[test]
        fn decoding_arbitrary_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            PageDecoder::new(&bytes, true).for_each(drop);
        }
    }

    #[test]
    fn a_dense_key_takes_one_byte_per_row() {
        let postings: Vec<_> =
            (0..4000).map(|row| Posting { key: 5, row: row * 2, end: row * 2 + 1 }).collect();
        assert_eq!(round_trip(&postings, false).len(), 4000);
    }
}
