//! The frames for the next flush, in aligned memory, laid out as they will be in their segments.
//!
//! A flush begins at the start of a block and ends at the end of one, so it never writes a block that an
//! earlier flush made durable. A frame that does not fit in the rest of its segment begins the next one,
//! which has four times the size of the segment that is full, up to the largest size. If the frame needs
//! more, the segment has the size that it needs.
//!
//! A segment without an entry can be too small for the next entry. Then the next segment has the same first
//! index, and so the same name, and takes its place. All that a segment without an entry can record is that
//! the entries before it are acknowledged, and a committed index. The new segment begins with a block that
//! records both.

use bezant_codec::checksum_seeded;
use bezant_types::{LogIndex, Term};

use super::frame::{FRAME_HEADER_SIZE, FrameHeader, FrameKind};
use super::padded_frame_size;
use super::segment::SegmentHeader;
use super::tail::{Close, close_block};
use super::walk::BLOCK;
use crate::aligned::AlignedBuffer;
use crate::disk::BLOCK_SIZE;

/// How many times as large the next segment is as the one that is full.
const GROWTH: u64 = 4;

/// A run of staged bytes that goes to one segment in one write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Where it begins in the staged bytes.
    pub(super) start: usize,
    /// Where it goes in its file, in bytes.
    pub(super) offset: u64,
    /// The segment; it is a new one when `offset` is 0.
    pub(super) segment: SegmentHeader,
}

/// Staged frames.
#[derive(Debug)]
pub(super) struct Staging {
    pub(super) bytes: AlignedBuffer,
    pub(super) pieces: Vec<Piece>,
    /// The segment that receives the next frame.
    segment: SegmentHeader,
    /// Offset of the next frame in the segment; a multiple of the block size while nothing is staged.
    offset: u64,
    /// Bytes of the largest segments.
    size_max: u64,
    /// The highest index that is known to be committed; the padding at the end of a flush records it.
    pub(super) committed: LogIndex,
}

/// The fields of a frame besides its payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) kind: FrameKind,
    pub(super) index: LogIndex,
    pub(super) term: Term,
    pub(super) durable_index: LogIndex,
    pub(super) flush_number: u64,
    /// Term of the entry before the frame.
    pub(super) previous_term: Term,
    /// Index of the next entry: the first index of a segment that begins with this frame.
    pub(super) next_index: LogIndex,
}

impl Staging {
    /// Starts at `offset` of `segment`; new segments get at most `size_max` bytes.
    pub(super) fn new(segment: SegmentHeader, offset: u64, size_max: u64) -> Self {
        assert!(offset.is_multiple_of(BLOCK_SIZE as u64), "a flush begins at a block");
        let (bytes, pieces, committed) = (AlignedBuffer::with_capacity(0), Vec::new(), LogIndex(0));
        Self { bytes, pieces, segment, offset, size_max, committed }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Unused bytes of the last segment.
    pub(super) fn remaining(&self) -> u64 {
        self.segment.frames_end() - self.offset
    }

    /// Bytes of the next segment, unless a frame needs more.
    pub(super) fn next_size(&self) -> u64 {
        self.segment.size.saturating_mul(GROWTH).min(self.size_max)
    }

    /// Adds a frame.
    pub(super) fn push(&mut self, stamp: Stamp, payload: &[u8]) {
        let frame_size = padded_frame_size(payload.len());
        if frame_size > self.remaining() {
            self.begin_segment(&stamp, frame_size);
        } else if self.pieces.is_empty() {
            self.pieces.push(Piece { start: 0, offset: self.offset, segment: self.segment });
        }
        self.add(stamp, payload);
    }

    /// Adds a frame that fits in the segment.
    fn add(&mut self, stamp: Stamp, payload: &[u8]) {
        let padded_size = payload.len().next_multiple_of(FRAME_HEADER_SIZE);
        let header_at = self.bytes.len();
        self.bytes.extend_zeros(FRAME_HEADER_SIZE);
        self.bytes.extend(payload);
        self.bytes.extend_zeros(padded_size - payload.len());
        let payload_at = header_at + FRAME_HEADER_SIZE;
        let header = FrameHeader {
            kind: stamp.kind,
            index: stamp.index,
            term: stamp.term,
            durable_index: stamp.durable_index,
            flush_number: stamp.flush_number,
            sequence: self.segment.sequence,
            payload_size: u32::try_from(payload.len()).expect("invariant: payloads are limited"),
            payload_checksum: checksum_seeded(stamp.index.0, &self.bytes[payload_at..]),
        };
        self.bytes[header_at..payload_at].copy_from_slice(&header.encode(self.offset));
        self.offset += padded_frame_size(payload.len());
        assert!(self.offset <= self.segment.frames_end(), "a frame ends before its segment does");
    }

    /// Pads the last block, so that the bytes can be written; true when the padding records the committed
    /// index.
    pub(super) fn close(&mut self, flush_number: u64, durable_index: LogIndex) -> bool {
        let size = self.bytes.len();
        let close =
            Close { sequence: self.segment.sequence, flush_number, durable_index, committed: self.committed };
        let records_committed = close_block(&mut self.bytes, self.offset, close);
        self.offset += (self.bytes.len() - size) as u64;
        records_committed
    }

    /// Drops everything staged, after it was written.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.pieces.clear();
    }

    /// The bytes of piece `number`.
    pub(super) fn piece_bytes(&self, number: usize) -> &[u8] {
        let start = self.pieces[number].start;
        let end = self.pieces.get(number + 1).map_or(self.bytes.len(), |next| next.start);
        &self.bytes[start..end]
    }

    /// Begins the segment for a frame of `frame_size` bytes.
    fn begin_segment(&mut self, stamp: &Stamp, frame_size: u64) {
        self.close(stamp.flush_number, stamp.durable_index);
        let replaced = (self.segment.first_index == stamp.next_index).then_some(self.segment);
        // The header, the block that records what the replaced segment did, and the seal.
        let other_blocks = if replaced.is_some() { 3 } else { 2 };
        let needed = (frame_size + other_blocks * BLOCK).next_multiple_of(BLOCK);
        assert!(needed <= self.size_max, "the largest entry fits into the largest segment");
        let sequence = self.segment.sequence.checked_add(1);
        self.segment = SegmentHeader {
            sequence: sequence.expect("invariant: 2^32 segments are more than a disk holds"),
            first_index: stamp.next_index,
            previous_term: stamp.previous_term,
            size: self.next_size().max(needed),
            flush_number: stamp.flush_number,
            previous_sequence: replaced.map_or(self.segment.sequence, |segment| segment.previous_sequence),
        };
        self.pieces.push(Piece { start: self.bytes.len(), offset: 0, segment: self.segment });
        self.bytes.extend(&self.segment.encode());
        self.offset = BLOCK;
        if replaced.is_some() {
            let before = LogIndex(stamp.next_index.0 - 1);
            self.add(Stamp { kind: FrameKind::Mark, index: before, term: Term(0), ..*stamp }, &[]);
            self.close(stamp.flush_number, stamp.durable_index);
        }
    }
}
