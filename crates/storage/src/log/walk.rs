//! Walks over the frames of one segment in order and checks each: its two checksums, its segment, and its
//! place in the order of entries and flushes.
//!
//! The walk reads through one window of memory and never writes. It only reports what it found.
//! [`tail`](super::tail) then decides, from what was durable, whether that is the end, a torn write or
//! damage.

use std::sync::Arc;

use bezant_codec::checksum_seeded;
use bezant_types::{LogIndex, Term};

use super::error::LogError;
use super::frame::{FORMAT_VERSION, FRAME_HEADER_SIZE, FrameHeader, FrameKind, HeaderFault};
use super::segment::SegmentHeader;
use crate::aligned::AlignedBuffer;
use crate::disk::{BLOCK_SIZE, DiskError, DiskFile};

/// Bytes that a disk writes completely or not at all.
pub(super) const SECTOR_SIZE: u64 = 512;
pub(super) const BLOCK: u64 = BLOCK_SIZE as u64;
const HEADER: u64 = FRAME_HEADER_SIZE as u64;
/// Bytes of the window: two full batches of events (1 MiB each), so that most entries are fetched in one
/// large read.
const WINDOW_SIZE: u64 = 2 << 20;

/// A part of a file that is held in memory.
#[derive(Debug)]
pub(super) struct Window {
    file: Arc<dyn DiskFile>,
    file_size: u64,
    bytes: AlignedBuffer,
    offset: u64,
}

impl Window {
    pub(super) fn new(file: Arc<dyn DiskFile>, file_size: u64) -> Self {
        Self { file, file_size, bytes: AlignedBuffer::with_capacity(0), offset: 0 }
    }

    pub(super) fn file_name(&self) -> &str {
        self.file.name()
    }

    /// The `size` bytes at `offset`, read from the disk unless they are in memory.
    pub(super) fn bytes(&mut self, offset: u64, size: u64) -> Result<&[u8], DiskError> {
        let end = offset + size;
        if end > self.file_size {
            return Err(DiskError::EndOfFile { file: self.file.name().to_owned(), offset: self.file_size });
        }
        if offset < self.offset || end > self.offset + self.bytes.len() as u64 {
            let start = offset - offset % BLOCK;
            let stop = end.max(start + WINDOW_SIZE).next_multiple_of(BLOCK).min(self.file_size);
            self.fill(start, stop)?;
        }
        let from = in_memory(offset - self.offset);
        Ok(&self.bytes[from..from + in_memory(size)])
    }

    /// Moves the window to `start..stop`; bytes that it already holds are not read again.
    fn fill(&mut self, start: u64, stop: u64) -> Result<(), DiskError> {
        let held_end = self.offset + self.bytes.len() as u64;
        let mut held = 0;
        if (self.offset..held_end).contains(&start) {
            let from = in_memory(start - self.offset);
            self.bytes.copy_within(from.., 0);
            held = self.bytes.len() - from;
        }
        self.bytes.resize_stale(in_memory(stop - start));
        self.offset = start;
        let read = self.file.read_at(start + held as u64, &mut self.bytes[held..]);
        // After a failed read the buffer holds bytes that are not the file's.
        read.inspect_err(|_| self.bytes.clear())
    }
}

/// Converts a size or an offset inside one file to `usize`.
pub(super) fn in_memory(size: u64) -> usize {
    usize::try_from(size).expect("invariant: parts of a segment fit in memory")
}

/// What the walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A valid frame in its place, and its offset.
    Frame(FrameHeader, u64),
    /// Zeros at the start of a block, where the next flush would begin.
    Blank,
    /// The end of the segment's frames.
    Full,
    /// Anything other than a valid frame.
    Fault(Fault),
}

/// What is wrong at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// True when an interrupted write can look like this; false when it must be damage.
    pub(super) may_be_torn: bool,
    /// The highest number that the flush which wrote this place can have.
    pub(super) flush_number_max: u64,
    pub(super) reason: &'static str,
    /// The frame's format version, if this program does not know it; `None` for all other faults.
    pub(super) version: Option<u16>,
}

/// A position in a segment, and the values that the frames before it recorded.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) window: Window,
    pub(super) header: SegmentHeader,
    /// Offset of the next frame.
    pub(super) offset: u64,
    /// Index of the next entry.
    pub(super) next_index: LogIndex,
    /// Term of the last entry.
    pub(super) term: Term,
    /// Number of the flush that wrote the last frame.
    pub(super) flush_number: u64,
    /// Offset at which that flush began in this segment; the offset of the first frame when there is none.
    pub(super) flush_offset: u64,
    /// The highest index that a mark or the segment's header records as acknowledged.
    pub(super) marked_index: LogIndex,
    /// The highest index that a padding records as committed; 0 when there is none.
    pub(super) committed: LogIndex,
}

impl Walk {
    /// Starts at the first frame of a segment whose header was checked.
    pub(super) fn new(file: Arc<dyn DiskFile>, header: SegmentHeader) -> Self {
        Self {
            window: Window::new(file, header.size),
            header,
            offset: BLOCK,
            next_index: header.first_index,
            term: header.previous_term,
            flush_number: header.flush_number,
            flush_offset: BLOCK,
            marked_index: LogIndex(header.first_index.0.saturating_sub(1)),
            committed: LogIndex(0),
        }
    }

    /// Index of the last entry that the walk has passed.
    pub(super) const fn last_index(&self) -> LogIndex {
        LogIndex(self.next_index.0 - 1)
    }

    /// True at the start of a block, where a new flush may begin.
    pub(super) const fn at_block(&self) -> bool {
        self.offset.is_multiple_of(BLOCK)
    }

    /// Checks the next frame and passes it if it is valid.
    pub(super) fn step(&mut self) -> Result<Step, DiskError> {
        if self.offset == self.header.frames_end() {
            return Ok(Step::Full);
        }
        let offset = self.offset;
        let frame = match self.decode(offset)? {
            Ok(frame) => frame,
            Err(HeaderFault::Blank) if self.at_block() => return Ok(Step::Blank),
            Err(fault) => return Ok(Step::Fault(self.header_fault(fault))),
        };
        if let Some(reason) = self.misfit(&frame) {
            let fault =
                Fault { may_be_torn: false, flush_number_max: frame.flush_number, reason, version: None };
            return Ok(Step::Fault(fault));
        }
        if let Some(fault) = self.payload_fault(&frame)? {
            return Ok(Step::Fault(fault));
        }
        self.offset += frame.frame_size();
        if frame.flush_number != self.flush_number {
            self.flush_offset = offset;
        }
        self.flush_number = frame.flush_number;
        match frame.kind {
            FrameKind::Entry | FrameKind::EngineEntry => {
                self.next_index = frame.index.next();
                self.term = frame.term;
            }
            FrameKind::Mark => self.marked_index = frame.index,
            FrameKind::Padding => {
                let named = LogIndex(frame.term.0).min(self.last_index());
                self.committed = self.committed.max(named);
            }
            FrameKind::Seal => {}
        }
        Ok(Step::Frame(frame, offset))
    }

    /// The payload of the frame that [`step`](Self::step) just passed.
    pub(super) fn payload(&mut self, frame: &FrameHeader, offset: u64) -> Result<&[u8], DiskError> {
        self.window.bytes(offset + HEADER, u64::from(frame.payload_size))
    }

    /// The header at `offset`, or why it is not valid.
    pub(super) fn decode(&mut self, offset: u64) -> Result<Result<FrameHeader, HeaderFault>, DiskError> {
        let bytes = self.window.bytes(offset, HEADER)?;
        let bytes = bytes.first_chunk().expect("invariant: the window returns the requested size");
        Ok(FrameHeader::decode(bytes, offset))
    }

    fn header_fault(&self, fault: HeaderFault) -> Fault {
        let flush_number_max =
            if self.at_block() { self.flush_number.saturating_add(1) } else { self.flush_number };
        match fault {
            HeaderFault::Blank => Fault {
                may_be_torn: true,
                flush_number_max,
                reason: "the rest of the flush was not written",
                version: None,
            },
            HeaderFault::Broken => Fault {
                may_be_torn: false,
                flush_number_max,
                reason: "the frame's header fails its checksum (a torn write leaves zeros)",
                version: None,
            },
            HeaderFault::Version(version) => Fault {
                may_be_torn: false,
                flush_number_max,
                reason: "unknown version",
                version: Some(version),
            },
        }
    }

    /// Why an intact header does not belong at this offset; `None` when it does.
    fn misfit(&self, frame: &FrameHeader) -> Option<&'static str> {
        let end = self.offset + frame.frame_size();
        if frame.sequence != self.header.sequence {
            return Some("the frame belongs to another segment");
        }
        if end > self.header.frames_end() {
            return Some("the frame is larger than the segment");
        }
        if frame.flush_number < self.flush_number
            || (frame.flush_number > self.flush_number && !self.at_block())
        {
            return Some("the frame belongs to another flush");
        }
        match frame.kind {
            kind if kind.is_entry() && frame.index != self.next_index => {
                Some("the frame holds another entry")
            }
            kind if kind.is_entry() && frame.term < self.term => {
                Some("the entry's term is less than its predecessor's")
            }
            kind if kind.is_entry() && frame.durable_index >= frame.index => {
                Some("the durable index of the entry covers the entry itself")
            }
            FrameKind::Mark if frame.index.next() != self.next_index => {
                Some("the mark belongs to another entry")
            }
            FrameKind::Padding if self.at_block() || !end.is_multiple_of(BLOCK) => {
                Some("the padding does not end its block")
            }
            FrameKind::Seal => Some("a seal is among the frames"),
            FrameKind::Entry | FrameKind::EngineEntry | FrameKind::Mark | FrameKind::Padding => None,
        }
    }

    fn payload_fault(&mut self, frame: &FrameHeader) -> Result<Option<Fault>, DiskError> {
        let offset = self.offset;
        let payload = self.window.bytes(offset + HEADER, frame.padded_size())?;
        if checksum_seeded(frame.index.0, payload) == frame.payload_checksum {
            return Ok(None);
        }
        let may_be_torn = self.has_blank_sector(offset, frame.frame_size())?;
        let reason = if may_be_torn {
            "the frame's payload was partly written"
        } else {
            "the frame was completely written, and its payload fails its checksum"
        };
        Ok(Some(Fault { may_be_torn, flush_number_max: frame.flush_number, reason, version: None }))
    }

    /// True when a sector of the frame, other than that of its header, was never written.
    fn has_blank_sector(&mut self, offset: u64, size: u64) -> Result<bool, DiskError> {
        let first = offset - offset % SECTOR_SIZE + SECTOR_SIZE;
        let end = (offset + size).next_multiple_of(SECTOR_SIZE);
        if first >= end {
            return Ok(false);
        }
        let sectors = self.window.bytes(first, end - first)?;
        Ok(sectors.chunks(in_memory(SECTOR_SIZE)).any(is_zero))
    }
}

/// True when all bytes are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_le_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// The error for a fault at a place that was durable.
pub(super) fn damaged(walk: &Walk, fault: &Fault, reason: &'static str) -> LogError {
    let file = walk.window.file_name();
    match fault.version {
        Some(found) => LogError::UnknownVersion {
            file: file.to_owned(),
            found: u32::from(found),
            known: u32::from(FORMAT_VERSION),
        },
        None => LogError::damaged(file, walk.offset, walk.next_index, reason),
    }
}
