//! Segments: the files of the log. Each is preallocated. It starts with a header block, continues with frames
//! and reserves its last block for a seal.
//!
//! A segment gets its name only when its header and the frames of its first flush are durable, and only after
//! everything in earlier segments is durable. So a header with first index `n` proves that everything before
//! `n` was durable. A named segment without an intact header is damage, never a torn write.
//!
//! | offset | size | field of the header block |
//! |---|---|---|
//! | 0 | 8 | magic "BZNTLOG" and a zero |
//! | 8 | 4 | format version |
//! | 12 | 4 | sequence: 1, 2, 3, ... |
//! | 16 | 8 | first index |
//! | 24 | 8 | term of the entry before the first; 0 when there is none |
//! | 32 | 8 | size of the file in bytes |
//! | 40 | 8 | number of the flush that began it |
//! | 48 | 4 | sequence of the segment before it; 0 when there is none |
//! | 52 | 4036 | zero |
//! | 4088 | 8 | checksum of bytes 0..4088, seeded with 0 |

use bezant_codec::{Reader, checksum_seeded};
use bezant_types::{LogIndex, Term};

use super::frame::FORMAT_VERSION;
use crate::disk::BLOCK_SIZE;

/// Name of a segment that is being prepared and has no entries yet.
pub(super) const PREPARED_NAME: &str = "log-prepared.tmp";
const MAGIC: [u8; 8] = *b"BZNTLOG\0";
const CHECKSUM_OFFSET: usize = BLOCK_SIZE - 8;

/// Contents of the first block of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Number of the segment, from 1.
    pub(super) sequence: u32,
    /// Index of its first entry; everything before it was durable when the header was written.
    pub(super) first_index: LogIndex,
    /// Term of the entry before the first; 0 when there is none.
    pub(super) previous_term: Term,
    /// Size of the file in bytes.
    pub(super) size: u64,
    /// Number of the flush that began it.
    pub(super) flush_number: u64,
    /// Sequence of the segment before it; 0 when there is none.
    pub(super) previous_sequence: u32,
}

/// Why a block is not a valid segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentFault {
    /// The magic or the checksum is wrong.
    Broken,
    /// Intact, but of another format version.
    Version(u32),
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; BLOCK_SIZE] {
        let mut bytes = [0; BLOCK_SIZE];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&u32::from(FORMAT_VERSION).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_index.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.previous_term.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.size.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.flush_number.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.previous_sequence.to_le_bytes());
        let checksum = checksum_seeded(0, &bytes[..CHECKSUM_OFFSET]);
        bytes[CHECKSUM_OFFSET..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; BLOCK_SIZE]) -> Result<Self, SegmentFault> {
        let broken = |_| SegmentFault::Broken;
        let mut reader = Reader::new(bytes);
        if reader.array::<8>().map_err(broken)? != MAGIC {
            return Err(SegmentFault::Broken);
        }
        let checksum = Reader::new(&bytes[CHECKSUM_OFFSET..]).u64().map_err(broken)?;
        if checksum != checksum_seeded(0, &bytes[..CHECKSUM_OFFSET]) {
            return Err(SegmentFault::Broken);
        }
        let version = reader.u32().map_err(broken)?;
        if version != u32::from(FORMAT_VERSION) {
            return Err(SegmentFault::Version(version));
        }
        Ok(Self {
            sequence: reader.u32().map_err(broken)?,
            first_index: LogIndex(reader.u64().map_err(broken)?),
            previous_term: Term(reader.u64().map_err(broken)?),
            size: reader.u64().map_err(broken)?,
            flush_number: reader.u64().map_err(broken)?,
            previous_sequence: reader.u32().map_err(broken)?,
        })
    }

    /// Offset at which frames end and the seal's block begins.
    pub(super) const fn frames_end(&self) -> u64 {
        self.size - BLOCK_SIZE as u64
    }

    pub(super) fn name(&self) -> String {
        segment_name(self.first_index)
    }
}

/// `log-<first index, 16 hexadecimal digits>.bzl`.
pub(super) fn segment_name(first_index: LogIndex) -> String {
    format!("log-{:016x}.bzl", first_index.0)
}

/// The first index that a segment's name contains; `None` for all other names. No log reaches 2^63.
pub(super) fn first_index_of(name: &str) -> Option<LogIndex> {
    let digits = name.strip_prefix("log-")?.strip_suffix(".bzl")?;
    let index = u64::from_str_radix(digits, 16).ok().map(LogIndex)?;
    (segment_name(index) == name && (1..1 << 63).contains(&index.0)).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_round_trips_and_flipped_bits_are_detected() {
        let header = SegmentHeader {
            sequence: 2,
            first_index: LogIndex(77),
            previous_term: Term(3),
            size: 32 << 20,
            flush_number: 9,
            previous_sequence: 1,
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for at in (0..BLOCK_SIZE).step_by(7).chain([BLOCK_SIZE - 1]) {
            let mut flipped = bytes;
            flipped[at] ^= 0x10;
            assert_eq!(SegmentHeader::decode(&flipped), Err(SegmentFault::Broken), "byte {at}");
        }
    }

    #[test]
    fn names_sort_like_their_indexes_and_other_names_are_ignored() {
        assert_eq!(first_index_of("log-000000000000004d.bzl"), Some(LogIndex(77)));
        assert!(segment_name(LogIndex(9)) < segment_name(LogIndex(1 << 40)));
        for other in [
            PREPARED_NAME,
            "log-4d.bzl",
            "log-000000000000004D.bzl",
            "checkpoint-1.bzc",
            "log-.bzl",
            "log-0000000000000000.bzl",
        ] {
            assert_eq!(first_index_of(other), None, "{other}");
        }
    }
}
