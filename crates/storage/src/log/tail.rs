//! Finds the end of the log and decides whether it is a clean end, a torn write or damage.
//!
//! A crash can leave the last flush partly written. Those bytes were never acknowledged and are cut. Damage
//! of acknowledged bytes can look the same and must never be cut. So a place is cut only if it looks like a
//! torn write (whole sectors are still zero) and nothing proves that it was durable: no later flush, mark,
//! seal, segment or checkpoint. In doubt the log is not opened.
//!
//! A cut writes zeros over the torn bytes. The sector where it begins is changed last. So a crash in the
//! middle of a cut leaves a torn tail again, and old bytes never come back. What an opening has read is
//! written again before it counts as durable ([`write_again`]): an operating system that failed to write
//! bytes may still return them to a reader.

use bezant_codec::checksum_seeded;
use bezant_types::{LogIndex, Term};

use super::error::{ADVICE, LogError};
use super::frame::{FRAME_HEADER_SIZE, FrameHeader, FrameKind, HeaderFault};
use super::walk::{BLOCK, Fault, SECTOR_SIZE, Step, Walk, damaged, in_memory, is_zero};
use crate::aligned::AlignedBuffer;
use crate::disk::{BLOCK_SIZE, DiskFile};

/// Maximal bytes of one write of zeros or of bytes that were read.
const PIECE_SIZE: u64 = 1 << 20;

/// A torn write at the end of the log that was cut; it was never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutTail {
    /// Name of the segment.
    pub file: String,
    /// Offset at which the cut begins, in bytes.
    pub offset: u64,
    /// Bytes from there to the end of the last block that was not zero, or of the block in which the cut
    /// begins.
    pub bytes: u64,
    /// Why the bytes were taken for a torn write.
    pub reason: &'static str,
}

/// The end of the last segment.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    /// Where the next flush begins; a multiple of the block size.
    pub(super) offset: u64,
    pub(super) last_index: LogIndex,
    pub(super) last_term: Term,
    /// Number of the last flush.
    pub(super) flush_number: u64,
    /// The highest index that the log itself records as acknowledged.
    pub(super) marked_index: LogIndex,
    /// The highest index that this segment records as committed; 0 when it records none.
    pub(super) committed: LogIndex,
    /// What must be cut; `None` at a clean end.
    pub(super) cut: Option<CutTail>,
}

/// Walks to the end of the last segment. Never writes.
pub(super) fn find(walk: &mut Walk, checkpoint: LogIndex) -> Result<Tail, LogError> {
    check_seal(walk)?;
    let fault = loop {
        match walk.step()? {
            Step::Frame(..) => {}
            Step::Full => break None,
            Step::Fault(fault) => break Some(fault),
            Step::Blank => {
                break Some(Fault {
                    may_be_torn: true,
                    flush_number_max: walk.flush_number.saturating_add(1),
                    reason: "the beginning of the flush was not written",
                    version: None,
                });
            }
        }
    };
    let cut = match fault {
        Some(fault) => judge(walk, &fault, checkpoint)?,
        None => None,
    };
    if walk.last_index() < checkpoint {
        let reason = "the log ends here, and a checkpoint was made of later entries";
        return Err(LogError::damaged(walk.window.file_name(), walk.offset, walk.next_index, reason));
    }
    Ok(Tail {
        offset: walk.offset.next_multiple_of(BLOCK),
        last_index: walk.last_index(),
        last_term: walk.term,
        flush_number: walk.flush_number,
        marked_index: walk.marked_index,
        committed: walk.committed,
        cut,
    })
}

/// A sealed segment has a successor, so the last segment must not be sealed.
fn check_seal(walk: &mut Walk) -> Result<(), LogError> {
    let offset = walk.header.frames_end();
    match walk.decode(offset)? {
        Err(HeaderFault::Blank) => Ok(()),
        Ok(frame) if frame.kind == FrameKind::Seal && frame.sequence == walk.header.sequence => {
            Err(LogError::Missing {
                expected_index: frame.index.next(),
                reason: format!("{} is sealed, so another file came after it", walk.window.file_name()),
                advice: ADVICE,
            })
        }
        Ok(_) | Err(_) => {
            let reason = "the block of the seal is not valid";
            Err(LogError::damaged(walk.window.file_name(), offset, walk.next_index, reason))
        }
    }
}

/// Decides about the fault: a cut (`Some`), the clean end (`None`) or damage (an error).
fn judge(walk: &mut Walk, fault: &Fault, checkpoint: LogIndex) -> Result<Option<CutTail>, LogError> {
    if !fault.may_be_torn {
        return Err(damaged(walk, fault, fault.reason));
    }
    if walk.next_index <= checkpoint {
        let reason = "it is not what was written, and a checkpoint covers it";
        return Err(damaged(walk, fault, reason));
    }
    if walk.next_index <= walk.marked_index {
        return Err(damaged(
            walk,
            fault,
            "it is not what was written, and a mark proves that it was durable",
        ));
    }
    // A flush ends at a block's end. If the last one stops inside a block, its block is closed with padding,
    // even if nothing but zeros follows. Otherwise the frames of the next flush would prove that bytes were
    // lost here.
    let flush_end = walk.offset.next_multiple_of(BLOCK);
    let written_end = survey(walk, fault)?.max(flush_end);
    Ok((written_end > walk.offset).then(|| CutTail {
        file: walk.window.file_name().to_owned(),
        offset: walk.offset,
        bytes: written_end - walk.offset,
        reason: fault.reason,
    }))
}

/// Searches everything after the walk's position. Returns the end of the last block that is not zero; an
/// error when something there proves that the position was durable.
fn survey(walk: &mut Walk, fault: &Fault) -> Result<u64, LogError> {
    let end = walk.header.frames_end();
    let mut written_end = walk.offset;
    let mut block = walk.offset - walk.offset % BLOCK;
    while block < end {
        let from = block.max(walk.offset);
        let bytes = walk.window.bytes(from, block + BLOCK - from)?;
        if !is_zero(bytes) {
            written_end = block + BLOCK;
            if block > walk.offset
                && let Ok(frame) = walk.decode(block)?
            {
                check_proof(walk, fault, &frame)?;
            }
        }
        block += BLOCK;
    }
    Ok(written_end)
}

fn check_proof(walk: &Walk, fault: &Fault, later: &FrameHeader) -> Result<(), LogError> {
    if later.sequence != walk.header.sequence {
        return Err(damaged(walk, fault, "a block of another segment follows it"));
    }
    if later.durable_index >= walk.next_index || later.flush_number > fault.flush_number_max {
        return Err(damaged(
            walk,
            fault,
            "it is not what was written, and later flushes prove that it was durable",
        ));
    }
    Ok(())
}

/// Writes zeros from the walk's position up to `end`, closes the last block with padding, and makes both
/// durable.
pub(super) fn cut(file: &dyn DiskFile, walk: &mut Walk, end: u64) -> Result<(), LogError> {
    assert!(walk.marked_index < walk.next_index, "what is acknowledged is never cut");
    let in_block = in_memory(walk.offset % BLOCK);
    let start = walk.offset - walk.offset % BLOCK;
    let mut block = AlignedBuffer::with_capacity(BLOCK_SIZE);
    if in_block != 0 {
        // The sector in which the cut begins stays unchanged until everything after it is zero. The padding's
        // header then changes one sector, so a crash leaves either the torn frame or the padding.
        block.extend(walk.window.bytes(start, BLOCK)?);
        let sector = in_memory(SECTOR_SIZE);
        block[(in_block / sector + 1) * sector..].fill(0);
        file.write_at(start, &block)?;
    }
    let mut from = walk.offset.next_multiple_of(BLOCK);
    let zeros = AlignedBuffer::zeroed(in_memory(PIECE_SIZE.min(end.saturating_sub(from))));
    while from < end {
        let size = PIECE_SIZE.min(end - from);
        file.write_at(from, &zeros[..in_memory(size)])?;
        from += size;
    }
    file.sync()?;
    if in_block != 0 {
        block.truncate(in_block);
        let close = Close {
            sequence: walk.header.sequence,
            flush_number: walk.flush_number,
            durable_index: walk.marked_index,
            committed: walk.committed,
        };
        close_block(&mut block, walk.offset, close);
        file.write_at(start, &block)?;
        file.sync()?;
    }
    Ok(())
}

/// Writes the frames of the last flush again, the same bytes in the same place, up to the end of the block
/// that the walk has reached. [`cut`] makes them durable.
///
/// After a failed sync the system may return bytes that it will never write: only bytes that are written
/// again can be synced. Earlier flushes are not written again: each was durable before the next was written.
pub(super) fn write_again(file: &dyn DiskFile, walk: &mut Walk) -> Result<(), LogError> {
    let mut from = walk.flush_offset;
    let end = walk.offset.next_multiple_of(BLOCK);
    while from < end {
        let size = PIECE_SIZE.min(end - from);
        file.write_at(from, walk.window.bytes(from, size)?)?;
        from += size;
    }
    Ok(())
}

/// The fields of a padding frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Close {
    pub(super) sequence: u32,
    pub(super) flush_number: u64,
    pub(super) durable_index: LogIndex,
    /// The highest index that is known to be committed.
    pub(super) committed: LogIndex,
}

/// Fills `bytes` up to the end of its last block with a padding frame; `offset` is the file offset of the end
/// of `bytes`. False when `bytes` ends at a block's end: then no frame is added and the committed index is
/// not recorded.
pub(super) fn close_block(bytes: &mut AlignedBuffer, offset: u64, close: Close) -> bool {
    let Close { sequence, flush_number, durable_index, committed } = close;
    let remaining = bytes.len().next_multiple_of(BLOCK_SIZE) - bytes.len();
    if remaining == 0 {
        return false;
    }
    assert!(remaining >= FRAME_HEADER_SIZE, "frames end at multiples of the header's size");
    const { assert!(BLOCK_SIZE <= u32::MAX as usize, "a block's size fits in a frame's header") };
    let payload_size = remaining - FRAME_HEADER_SIZE;
    let header = FrameHeader {
        kind: FrameKind::Padding,
        index: LogIndex(0),
        term: Term(committed.0),
        durable_index,
        flush_number,
        sequence,
        payload_size: u32::try_from(payload_size).expect("invariant: less than a block"),
        payload_checksum: checksum_seeded(0, &[0; BLOCK_SIZE][..payload_size]),
    };
    bytes.extend(&header.encode(offset));
    bytes.extend_zeros(payload_size);
    true
}
