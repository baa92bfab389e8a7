//! Pages: a checkpoint consists of pages of 4096 bytes, each with its number and its own checksum.
//!
//! The checksum is seeded with the checkpoint's index and covers the page number. So a page that the disk
//! wrote to or read from the wrong place, or that belongs to another checkpoint, is detected.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | checksum of bytes 8..4096, seeded with the checkpoint's index |
//! | 8 | 8 | page number, from 0 on |
//! | 16 | 8 | index of the checkpoint |
//! | 24 | 4 | bytes of content in this page |
//! | 28 | 1 | kind: 1 head, 2 content, 3 trailer |
//! | 29 | 3 | zero |
//! | 32 | 4064 | content, and zeros after it |

use bezant_codec::{DecodeError, Reader, checksum_seeded};
use bezant_types::{HistoryPosition, LogIndex, Nanos, Term};

use crate::disk::BLOCK_SIZE;

/// Bytes of a page's header.
const PAGE_HEADER_SIZE: usize = 32;
/// Bytes of content in a page.
pub(super) const CONTENT_SIZE: usize = BLOCK_SIZE - PAGE_HEADER_SIZE;
/// The version that this program writes and the only one that it reads.
pub(super) const FORMAT_VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"BZNTCKP\0";
const HEAD_SIZE: usize = 32;
const TRAILER_SIZE: usize = 88;

/// Kind of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum PageKind {
    /// The first page: magic, version, index, term.
    Head = 1,
    /// A part of the content.
    Content = 2,
    /// The last page: the size of the content and its digest.
    Trailer = 3,
}

/// A page with a valid checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page<'bytes> {
    pub(super) kind: PageKind,
    pub(super) content: &'bytes [u8],
}

/// Encodes page `number`.
pub(super) fn encode(index: LogIndex, number: u64, kind: PageKind, content: &[u8]) -> [u8; BLOCK_SIZE] {
    let size = u32::try_from(content.len()).expect("invariant: content fits in a page");
    let mut bytes = [0; BLOCK_SIZE];
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    bytes[16..24].copy_from_slice(&index.0.to_le_bytes());
    bytes[24..28].copy_from_slice(&size.to_le_bytes());
    bytes[28] = kind as u8;
    bytes[PAGE_HEADER_SIZE..PAGE_HEADER_SIZE + content.len()].copy_from_slice(content);
    let checksum = checksum_seeded(index.0, &bytes[8..]);
    bytes[..8].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Decodes page `number`; the error is the reason.
pub(super) fn decode(bytes: &[u8], index: LogIndex, number: u64) -> Result<Page<'_>, &'static str> {
    parse(bytes, index, number).unwrap_or(Err("the page is cut short"))
}

fn parse(bytes: &[u8], index: LogIndex, number: u64) -> Result<Result<Page<'_>, &'static str>, DecodeError> {
    let mut reader = Reader::new(bytes);
    if reader.u64()? != checksum_seeded(index.0, reader.rest()) {
        return Ok(Err("the page fails its checksum"));
    }
    if reader.u64()? != number || reader.u64()? != index.0 {
        return Ok(Err("the page belongs to another place"));
    }
    let size = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
    let kind = match reader.array::<4>()? {
        [1, 0, 0, 0] => PageKind::Head,
        [2, 0, 0, 0] => PageKind::Content,
        [3, 0, 0, 0] => PageKind::Trailer,
        _ => return Ok(Err("the page is of an unknown kind")),
    };
    let content = reader.rest().get(..size);
    Ok(content.map(|content| Page { kind, content }).ok_or("the page names more content than fits"))
}

/// Content of the first page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) version: u32,
    pub(super) index: LogIndex,
    pub(super) term: Term,
}

impl Head {
    pub(super) fn encode(&self) -> [u8; HEAD_SIZE] {
        let mut bytes = [0; HEAD_SIZE];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.index.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.term.0.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.array::<8>()? != MAGIC {
            return Err(DecodeError::Value);
        }
        let version = reader.u32()?;
        if reader.u32()? != 0 {
            return Err(DecodeError::Reserved);
        }
        Ok(Self { version, index: LogIndex(reader.u64()?), term: Term(reader.u64()?) })
    }
}

/// Content of the last page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    /// Bytes of content in all pages.
    pub(super) size: u64,
    pub(super) term: Term,
    pub(super) time: Nanos,
    pub(super) history: HistoryPosition,
    /// SHA-256 of the content.
    pub(super) digest: [u8; 32],
}

impl Trailer {
    pub(super) fn encode(&self) -> [u8; TRAILER_SIZE] {
        let mut bytes = [0; TRAILER_SIZE];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.size.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.term.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.time.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.history.movements.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.history.refusals.to_le_bytes());
        bytes[48..80].copy_from_slice(&self.digest);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.array::<8>()? != MAGIC {
            return Err(DecodeError::Value);
        }
        let size = reader.u64()?;
        let term = Term(reader.u64()?);
        let time = Nanos(reader.u64()?);
        let history = HistoryPosition { movements: reader.u64()?, refusals: reader.u64()? };
        let digest = reader.array()?;
        if reader.u64()? != 0 {
            return Err(DecodeError::Reserved);
        }
        reader.finish()?;
        Ok(Self { size, term, time, history, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_round_trip_and_verify_only_in_their_place() {
        let bytes = encode(LogIndex(7), 3, PageKind::Content, b"some");
        assert_eq!(decode(&bytes, LogIndex(7), 3), Ok(Page { kind: PageKind::Content, content: b"some" }));
        assert_eq!(decode(&bytes, LogIndex(7), 4), Err("the page belongs to another place"));
        assert_eq!(decode(&bytes, LogIndex(8), 3), Err("the page fails its checksum"));
        for at in [0, 9, 17, 25, 28, 31, 33, BLOCK_SIZE - 1] {
            let mut flipped = bytes;
            flipped[at] ^= 1;
            assert_eq!(decode(&flipped, LogIndex(7), 3), Err("the page fails its checksum"), "byte {at}");
        }
        assert_eq!(decode(&bytes[..4], LogIndex(7), 3), Err("the page is cut short"));
    }

    #[test]
    fn heads_and_trailers_round_trip() {
        let head = Head { version: 1, index: LogIndex(2), term: Term(3) };
        assert_eq!(Head::decode(&head.encode()), Ok(head));
        let trailer = Trailer {
            size: 1,
            term: Term(2),
            time: Nanos(3),
            history: HistoryPosition { movements: 4, refusals: 5 },
            digest: [6; 32],
        };
        assert_eq!(Trailer::decode(&trailer.encode()), Ok(trailer));
    }
}
