//! Writes what is staged: one flush, in one or more segments.

use bezant_types::{LogIndex, Term};

use super::error::LogError;
use super::frame::{FRAME_HEADER_SIZE, FrameHeader, FrameKind};
use super::prepare::begin_segment;
use super::segment::SegmentHeader;
use super::staging::Stamp;
use super::{Log, padded_frame_size};
use crate::aligned::AlignedBuffer;
use crate::disk::BLOCK_SIZE;

impl Log {
    pub(super) fn stamp(&self, kind: FrameKind, index: LogIndex, term: Term) -> Stamp {
        Stamp {
            kind,
            index,
            term,
            durable_index: self.durable_index,
            flush_number: self.flush_number + 1,
            previous_term: self.last_term,
            next_index: self.last_index.next(),
        }
    }

    pub(super) fn write_staged(&mut self) -> Result<(), LogError> {
        let begun = self.flushing.unwrap_or_else(|| {
            self.flush_number += 1;
            let records_committed = self.staging.close(self.flush_number, self.durable_index);
            self.flushing_committed = records_committed.then_some(self.committed);
            0
        });
        for number in begun..self.staging.pieces.len() {
            self.flushing = Some(number);
            let piece = self.staging.pieces[number];
            let bytes = self.staging.piece_bytes(number);
            self.stats.written_bytes += bytes.len() as u64;
            self.stats.syncs += 1;
            if piece.offset == 0 {
                self.check_next(&piece.segment);
                let file = begin_segment(&*self.disk, &self.preparer, &piece.segment, bytes)?;
                self.seal(&piece.segment)?;
                self.file = file;
                self.segments.push(piece.segment);
                self.stats.segments += 1;
            } else {
                // The first of two pieces is durable before the second is begun: a segment proves that all
                // before it was durable.
                self.file.write_at(piece.offset, bytes)?;
                self.file.sync()?;
            }
        }
        self.staging.clear();
        // The index when the flush began. `committed` may be higher now, if the flush has waited for space.
        if let Some(committed) = self.flushing_committed.take() {
            self.noted = committed;
        }
        if let Some(index) = self.flushing_mark.take() {
            self.marked_index = index;
            self.stats.marks += 1;
        }
        self.flushing = None;
        self.stats.flushes += 1;
        self.stats.entries += self.last_index.0 - self.durable_index.0;
        self.durable_index = self.last_index;
        self.check_indexes();
        Ok(())
    }

    /// False when another mark would take the space of the next entry, in a segment that holds no entry yet:
    /// that entry would begin a second segment with the same first index, and so with the same name.
    pub(super) fn has_space_for_mark(&self) -> bool {
        let holds_entry = self.segments.last().is_some_and(|last| last.first_index <= self.last_index);
        let taken = BLOCK_SIZE as u64 + padded_frame_size(self.payload_size_max);
        holds_entry || self.staging.remaining() >= taken
    }

    /// The next segment follows the last one; its name is not that of another. An opening finds a chain that
    /// is broken: see `chain`.
    fn check_next(&self, next: &SegmentHeader) {
        let Some(last) = self.segments.last() else { return };
        assert!(
            next.first_index > last.first_index,
            "every segment holds an entry before the next one begins"
        );
        assert!(next.previous_sequence == last.sequence, "a segment names the one before it");
        assert!(next.sequence > last.sequence, "segments are numbered in their order");
    }

    /// Seals the current segment: its last block records that `next` follows.
    fn seal(&mut self, next: &SegmentHeader) -> Result<(), LogError> {
        let Some(sealed) = self.segments.last() else { return Ok(()) };
        let last_index = LogIndex(next.first_index.0 - 1);
        let header = FrameHeader {
            kind: FrameKind::Seal,
            index: last_index,
            term: Term(0),
            durable_index: last_index,
            flush_number: next.flush_number,
            sequence: sealed.sequence,
            payload_size: 0,
            payload_checksum: bezant_codec::checksum_seeded(last_index.0, &[]),
        };
        let mut block = AlignedBuffer::with_capacity(BLOCK_SIZE);
        block.extend(&header.encode(sealed.frames_end()));
        block.extend_zeros(BLOCK_SIZE - FRAME_HEADER_SIZE);
        self.file.write_at(sealed.frames_end(), &block)?;
        self.file.sync()?;
        self.stats.syncs += 1;
        Ok(())
    }
}
