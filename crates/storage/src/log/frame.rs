//! Frames: the contents of a segment. Each begins with a header of 64 bytes and ends at a multiple of 64.
//!
//! A header never crosses a sector of 512 bytes, and a disk writes a sector completely or not at all. So in a
//! file that was filled with zeros, a header is intact or all zero after a crash; anything else is damage.
//! The header's checksum is seeded with its offset, and the header names its segment: this detects a block
//! that the disk wrote to or read from the wrong place. The payload's checksum is seeded with the entry's
//! index.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | checksum of bytes 8..64, seeded with the frame's offset in its file |
//! | 8 | 8 | checksum of the payload with its padding, seeded with the index |
//! | 16 | 8 | index |
//! | 24 | 8 | term; of padding, the highest committed index that was known (0 for none, and in logs of 0.1) |
//! | 32 | 8 | durable index: everything up to it was durable before this frame was written |
//! | 40 | 8 | number of the flush that wrote it |
//! | 48 | 4 | sequence of the segment |
//! | 52 | 4 | size of the payload without its padding |
//! | 56 | 4 | magic "BZLF" |
//! | 60 | 2 | format version |
//! | 62 | 1 | kind: 1 entry, 2 mark, 3 padding, 4 seal, 5 engine entry |
//! | 63 | 1 | zero |

use bezant_codec::{Checksum, Reader, checksum_seeded};
use bezant_consensus::EntryKind;
use bezant_types::{LogIndex, Term};

/// Bytes of a frame's header; frames begin at multiples of this.
pub(crate) const FRAME_HEADER_SIZE: usize = 64;
/// The version that this program writes and the only one that it reads.
pub(crate) const FORMAT_VERSION: u16 = 1;
const MAGIC: u32 = u32::from_le_bytes(*b"BZLF");

const _: () = assert!(512 % FRAME_HEADER_SIZE == 0, "a header never crosses a sector");

/// Kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// An entry of the log, with its payload.
    Entry = 1,
    /// Records that everything up to its index is acknowledged. No payload.
    Mark = 2,
    /// Fills the last block of a flush. The payload is zeros.
    Padding = 3,
    /// Occupies the last block of a segment and records that the next segment exists. No payload.
    Seal = 4,
    /// An entry of the consensus engine, such as a leader's first.
    EngineEntry = 5,
}

impl FrameKind {
    /// True for both kinds of entries.
    pub const fn is_entry(self) -> bool {
        matches!(self, Self::Entry | Self::EngineEntry)
    }

    pub(crate) const fn of_entry(kind: EntryKind) -> Self {
        match kind {
            EntryKind::Command => Self::Entry,
            EntryKind::Engine => Self::EngineEntry,
        }
    }

    pub(crate) const fn entry_kind(self) -> EntryKind {
        match self {
            Self::EngineEntry => EntryKind::Engine,
            _ => EntryKind::Command,
        }
    }
}

/// The first 64 bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    /// The entry's index; of a mark or seal, the index of the entry before it; of padding, 0.
    pub(crate) index: LogIndex,
    /// The entry's term; of padding, the highest committed index that was known; 0 for all others.
    pub(crate) term: Term,
    /// The index up to which everything was durable before this frame was written.
    pub(crate) durable_index: LogIndex,
    /// Number of the flush that wrote it.
    pub(crate) flush_number: u64,
    /// Sequence of the segment.
    pub(crate) sequence: u32,
    /// Bytes of the payload without its padding.
    pub(crate) payload_size: u32,
    /// Checksum of the payload with its padding.
    pub(crate) payload_checksum: Checksum,
}

/// Why 64 bytes are not a valid header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// All zero: never written.
    Blank,
    /// The checksum or a field is wrong.
    Broken,
    /// Intact, but of another format version.
    Version(u16),
}

impl FrameHeader {
    /// The header's bytes at `offset` of its file.
    pub(crate) fn encode(&self, offset: u64) -> [u8; FRAME_HEADER_SIZE] {
        let mut bytes = [0; FRAME_HEADER_SIZE];
        bytes[8..16].copy_from_slice(&self.payload_checksum.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.index.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.term.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.durable_index.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.flush_number.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.payload_size.to_le_bytes());
        bytes[56..60].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[60..62].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[62] = self.kind as u8;
        let checksum = checksum_seeded(offset, &bytes[8..]);
        bytes[..8].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Decodes the header at `offset` of its file.
    pub(crate) fn decode(bytes: &[u8; FRAME_HEADER_SIZE], offset: u64) -> Result<Self, HeaderFault> {
        if *bytes == [0; FRAME_HEADER_SIZE] {
            return Err(HeaderFault::Blank);
        }
        let mut reader = Reader::new(bytes);
        let broken = |_| HeaderFault::Broken;
        if reader.u64().map_err(broken)? != checksum_seeded(offset, &bytes[8..]) {
            return Err(HeaderFault::Broken);
        }
        let payload_checksum = reader.u64().map_err(broken)?;
        let index = LogIndex(reader.u64().map_err(broken)?);
        let term = Term(reader.u64().map_err(broken)?);
        let durable_index = LogIndex(reader.u64().map_err(broken)?);
        let flush_number = reader.u64().map_err(broken)?;
        let sequence = reader.u32().map_err(broken)?;
        let payload_size = reader.u32().map_err(broken)?;
        let magic = reader.u32().map_err(broken)?;
        let version = reader.u16().map_err(broken)?;
        if magic != MAGIC {
            return Err(HeaderFault::Broken);
        }
        if version != FORMAT_VERSION {
            return Err(HeaderFault::Version(version));
        }
        let kind = match bytes[62] {
            1 => FrameKind::Entry,
            2 => FrameKind::Mark,
            3 => FrameKind::Padding,
            4 => FrameKind::Seal,
            5 => FrameKind::EngineEntry,
            _ => return Err(HeaderFault::Broken),
        };
        if bytes[63] != 0 {
            return Err(HeaderFault::Broken);
        }
        Ok(Self { kind, index, term, durable_index, flush_number, sequence, payload_size, payload_checksum })
    }

    /// Bytes of the payload, padding included.
    pub(crate) const fn padded_size(&self) -> u64 {
        (self.payload_size as u64).next_multiple_of(FRAME_HEADER_SIZE as u64)
    }

    /// Bytes of the whole frame.
    pub(crate) const fn frame_size(&self) -> u64 {
        FRAME_HEADER_SIZE as u64 + self.padded_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Entry,
            index: LogIndex(9),
            term: Term(3),
            durable_index: LogIndex(7),
            flush_number: 5,
            sequence: 2,
            payload_size: 65,
            payload_checksum: 11,
        }
    }

    #[test]
    fn a_header_round_trips() {
        assert_eq!(FrameHeader::decode(&header().encode(4096), 4096), Ok(header()));
        assert_eq!(header().frame_size(), 64 + 128);
    }

    #[test]
    fn every_flipped_bit_and_every_wrong_offset_is_detected() {
        let bytes = header().encode(4096);
        for bit in 0..FRAME_HEADER_SIZE * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::decode(&flipped, 4096), Err(HeaderFault::Broken), "bit {bit}");
        }
        assert_eq!(FrameHeader::decode(&bytes, 8192), Err(HeaderFault::Broken));
    }
}
