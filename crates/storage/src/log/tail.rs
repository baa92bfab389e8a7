//! Where the log ends, and whether what lies there is a torn write or damage.
//!
//! A crash can leave the last group in part: those bytes were never acknowledged and are cut. Damage of
//! acknowledged bytes can look alike, and must never be cut. So a place is cut only if it looks as a torn
//! write must look (whole sectors that are still zero) and nothing proves that it had been durable: no
//! later group, no mark, no seal, no later segment, no checkpoint. In doubt the log is not opened.
//!
//! A cut writes zeros over what it cuts, the place where it begins last, so that a crash in the middle of it
//! leaves a torn tail again and old bytes never come back. What an opening has read is written again before it
//! counts ([`write_again`]): a system that failed to write it may still show it.

use bezant_codec::checksum_seeded;
use bezant_types::{LogIndex, Term};

use super::error::{ADVICE, LogError};
use super::frame::{FRAME_HEADER_SIZE, FrameHeader, FrameKind, HeaderFault};
use super::walk::{BLOCK, Fault, SECTOR_SIZE, Step, Walk, damaged, in_memory, is_zero};
use crate::aligned::AlignedBuffer;
use crate::disk::{BLOCK_SIZE, DiskFile};

/// Bytes that one write of zeros, or of what was read, covers at most.
const PIECE_SIZE: u64 = 1 << 20;

/// A torn write at the end of the log that was cut: nobody had been told that it was durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutTail {
    /// The segment.
    pub file: String,
    /// Where the cut begins, in bytes.
    pub offset: u64,
    /// Bytes from there to the end of the last block that was not zero, or of the one in which the cut begins.
    pub bytes: u64,
    /// What it looked like.
    pub reason: &'static str,
}

/// The end of the last segment.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    /// Where the next group begins; a multiple of the block size.
    pub(super) offset: u64,
    pub(super) last_index: LogIndex,
    pub(super) last_term: Term,
    /// Number of the last flush.
    pub(super) group: u64,
    /// The highest index that the disk itself names as acknowledged.
    pub(super) marked_index: LogIndex,
    /// The highest index that this segment names as committed.
    pub(super) committed: LogIndex,
    /// What must be cut, if anything.
    pub(super) cut: Option<CutTail>,
}

/// Walks to the end of the last segment. Writes nothing.
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
                    group_max: walk.group.saturating_add(1),
                    reason: "the beginning of the group was not written",
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
        group: walk.group,
        marked_index: walk.marked_index,
        committed: walk.committed,
        cut,
    })
}

/// A sealed segment has a successor: the last one must not be sealed.
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
            let reason = "the block of the seal is not what was written";
            Err(LogError::damaged(walk.window.file_name(), offset, walk.next_index, reason))
        }
    }
}

/// Whether what the walk met is to be cut (`Some`), the clean end (`None`) or damage (an error).
fn judge(walk: &mut Walk, fault: &Fault, checkpoint: LogIndex) -> Result<Option<CutTail>, LogError> {
    if !fault.may_be_torn {
        return Err(damaged(walk, fault, fault.reason));
    }
    if walk.next_index <= checkpoint {
        let reason = "it is not what was written, and a checkpoint was made of it";
        return Err(damaged(walk, fault, reason));
    }
    if walk.next_index <= walk.marked_index {
        return Err(damaged(
            walk,
            fault,
            "it is not what was written, and a mark proves that it was durable",
        ));
    }
    // A group ends at a block's end: one that stops before it is closed, though nothing is left of the rest, or
    // what is written behind it would prove that something had been there.
    let group_end = walk.offset.next_multiple_of(BLOCK);
    let written_end = survey(walk, fault)?.max(group_end);
    Ok((written_end > walk.offset).then(|| CutTail {
        file: walk.window.file_name().to_owned(),
        offset: walk.offset,
        bytes: written_end - walk.offset,
        reason: fault.reason,
    }))
}

/// Looks at everything behind the place where the walk stands. Says where the last written bytes end;
/// an error when something there proves that the place had been durable.
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
        return Err(damaged(walk, fault, "behind it lies a block of another segment"));
    }
    if later.durable_index >= walk.next_index || later.group > fault.group_max {
        return Err(damaged(
            walk,
            fault,
            "it is not what was written, and later groups prove that it was durable",
        ));
    }
    Ok(())
}

/// Writes zeros from where the walk stands up to `end`, closes the group that remains, and makes both durable.
pub(super) fn cut(file: &dyn DiskFile, walk: &mut Walk, end: u64) -> Result<(), LogError> {
    let in_block = in_memory(walk.offset % BLOCK);
    let start = walk.offset - walk.offset % BLOCK;
    let mut block = AlignedBuffer::with_capacity(BLOCK_SIZE);
    if in_block != 0 {
        // The sector in which the cut begins stays as it is until all behind it is zero: then one sector alone
        // changes when the group is closed, and a crash finds either the torn frame or the padding.
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
            group: walk.group,
            durable_index: walk.marked_index,
            committed: walk.committed,
        };
        close_block(&mut block, walk.offset, close);
        file.write_at(start, &block)?;
        file.sync()?;
    }
    Ok(())
}

/// Writes the last group again, the same bytes in the same place, up to the end of the block in which the walk
/// stands; [`cut`] makes them durable.
///
/// After a sync that failed, the system may show bytes that it will never write: only what is written again can be
/// synced. The groups before the last need it not: each was durable before the next was written.
pub(super) fn write_again(file: &dyn DiskFile, walk: &mut Walk) -> Result<(), LogError> {
    let mut from = walk.group_offset;
    let end = walk.offset.next_multiple_of(BLOCK);
    while from < end {
        let size = PIECE_SIZE.min(end - from);
        file.write_at(from, walk.window.bytes(from, size)?)?;
        from += size;
    }
    Ok(())
}

/// What a padding says besides its zeros.
#[derive(Clone, Copy, Debug)]
pub(super) struct Close {
    pub(super) sequence: u32,
    pub(super) group: u64,
    pub(super) durable_index: LogIndex,
    /// The last entry that is known to be committed.
    pub(super) committed: LogIndex,
}

/// Fills `bytes` up to the end of its last block with a frame of padding; `offset` is its end in the file. False when it ends
/// there already, and nothing is said.
pub(super) fn close_block(bytes: &mut AlignedBuffer, offset: u64, close: Close) -> bool {
    let Close { sequence, group, durable_index, committed } = close;
    let room = bytes.len().next_multiple_of(BLOCK_SIZE) - bytes.len();
    if room == 0 {
        return false;
    }
    assert!(room >= FRAME_HEADER_SIZE, "frames end at multiples of the header's size");
    const { assert!(BLOCK_SIZE <= u32::MAX as usize, "a block's size fits in a frame's header") };
    let payload_size = room - FRAME_HEADER_SIZE;
    let header = FrameHeader {
        kind: FrameKind::Padding,
        index: LogIndex(0),
        term: Term(committed.0),
        durable_index,
        group,
        sequence,
        payload_size: u32::try_from(payload_size).expect("invariant: less than a block"),
        payload_checksum: checksum_seeded(0, &[0; BLOCK_SIZE][..payload_size]),
    };
    bytes.extend(&header.encode(offset));
    bytes.extend_zeros(payload_size);
    true
}
