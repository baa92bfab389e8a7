//! Writes what is staged: one flush, in one or more segments.

use bezant_types::{LogIndex, Term};

use super::Log;
use super::error::LogError;
use super::frame::{FRAME_HEADER_SIZE, FrameHeader, FrameKind};
use super::prepare::begin_segment;
use super::segment::SegmentHeader;
use super::staging::Stamp;
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
                let replaces = self.check_next(&piece.segment);
                let file = begin_segment(&*self.disk, &self.preparer, &piece.segment, bytes)?;
                if replaces {
                    self.segments.pop();
                } else {
                    self.seal(&piece.segment)?;
                }
                self.file = file;
                self.segments.push(piece.segment);
                self.preparer.set_next_size(self.staging.next_size());
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

    /// False when marks alone fill the segment. A mark must not begin a segment while the last one holds no
    /// entry.
    pub(super) fn has_space_for_mark(&self) -> bool {
        let holds_entry = self.segments.last().is_some_and(|last| last.first_index <= self.last_index);
        holds_entry || self.staging.remaining() >= BLOCK_SIZE as u64
    }

    /// The next segment follows the last one, or takes its place if that one holds no entry: then it has the
    /// same name, and this returns true. An opening finds a chain that is broken: see `chain`.
    fn check_next(&self, next: &SegmentHeader) -> bool {
        let Some(last) = self.segments.last() else { return false };
        assert!(next.sequence > last.sequence, "segments are numbered in their order");
        let replaces = next.first_index == last.first_index;
        if replaces {
            assert!(self.durable_index < last.first_index, "a segment that holds an entry is not replaced");
            assert!(next.previous_sequence == last.previous_sequence, "it follows what the other followed");
        } else {
            assert!(next.first_index > last.first_index, "a segment begins with a later entry");
            assert!(next.previous_sequence == last.sequence, "a segment names the one before it");
        }
        replaces
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
