//! Reads one checkpoint and checks every byte of it: each page, the number of pages, the trailer and the
//! digest. A read in pieces, for another replica, checks only the pages: the receiver compares the digest
//! once it has all of them.

use std::sync::Arc;

use bezant_types::{HistoryPosition, LogIndex, Nanos, Term};
use sha2::{Digest, Sha256};

use super::page::{CONTENT_SIZE, FORMAT_VERSION, Head, Page, PageKind, Trailer, decode};
use super::{ADVICE, Checkpoint, CheckpointError, FINISHED, file_name};
use crate::aligned::AlignedBuffer;
use crate::disk::{BLOCK_SIZE, Disk, DiskFile, OpenMode};

const BLOCK: u64 = BLOCK_SIZE as u64;
/// Bytes per read.
const READ_SIZE: u64 = 1 << 20;

/// Reads checkpoint `index` into memory.
pub(super) fn load(disk: &dyn Disk, index: LogIndex) -> Result<Checkpoint, CheckpointError> {
    let mut bytes = Vec::new();
    // Bypasses the page cache where possible: the cache may hold bytes that never reached the disk.
    let (head, trailer) = scan(disk, index, OpenMode::WriteDirect, &mut |content, size| {
        if bytes.is_empty() {
            bytes.reserve_exact(size);
        }
        bytes.extend_from_slice(content);
    })?;
    Ok(Checkpoint {
        index,
        term: head.term,
        time: trailer.time,
        history: trailer.history,
        bytes,
        digest: trailer.digest,
    })
}

/// Reads the whole file; calls `visit` with every part of the content and with an upper bound of its total
/// size.
pub(super) fn scan(
    disk: &dyn Disk,
    index: LogIndex,
    mode: OpenMode,
    visit: &mut dyn FnMut(&[u8], usize),
) -> Result<(Head, Trailer), CheckpointError> {
    let mut file = Pages::open(disk, index, mode)?;
    let head = file.head()?;
    let trailer_page = file.count - 1;
    let size_max = usize::try_from(file.count * BLOCK).unwrap_or(0);
    let mut digest = Sha256::new();
    let mut size = 0;
    for number in 1..trailer_page {
        let page = file.page(number)?;
        if page.kind != PageKind::Content {
            return Err(file.damaged(number, "a page of content was expected"));
        }
        digest.update(page.content);
        size += page.content.len() as u64;
        visit(page.content, size_max);
    }
    let page = file.page(trailer_page)?;
    let (kind, trailer) = (page.kind, Trailer::decode(page.content));
    let (PageKind::Trailer, Ok(trailer)) = (kind, trailer) else {
        return Err(file.damaged(trailer_page, "the last page is not a trailer"));
    };
    if trailer.term != head.term
        || trailer.size != size
        || trailer.digest != <[u8; 32]>::from(digest.finalize())
    {
        return Err(file.damaged(trailer_page, "the trailer belongs to other content"));
    }
    Ok((head, trailer))
}

/// The newest checkpoint, open for reading in pieces. It can be read to its end even if a newer one replaces
/// it.
#[derive(Debug)]
pub struct CheckpointReader {
    pages: Pages,
    head: Head,
    trailer: Trailer,
}

impl CheckpointReader {
    pub(super) fn open(disk: &dyn Disk, index: LogIndex) -> Result<Self, CheckpointError> {
        let mut pages = Pages::open(disk, index, OpenMode::Read)?;
        let head = pages.head()?;
        let last = pages.count - 1;
        let page = pages.page(last)?;
        let (kind, trailer) = (page.kind, Trailer::decode(page.content));
        let (PageKind::Trailer, Ok(trailer)) = (kind, trailer) else {
            return Err(pages.damaged(last, "the last page is not a trailer"));
        };
        if trailer.term != head.term || trailer.size.div_ceil(CONTENT_SIZE as u64) != last - 1 {
            return Err(pages.damaged(last, "the trailer belongs to other content"));
        }
        Ok(Self { pages, head, trailer })
    }

    /// Index of the last entry that it covers.
    pub const fn index(&self) -> LogIndex {
        self.head.index
    }

    /// Term of that entry.
    pub const fn term(&self) -> Term {
        self.head.term
    }

    /// Cluster time of that entry.
    pub const fn time(&self) -> Nanos {
        self.trailer.time
    }

    /// Number of rows of the history that belong to it.
    pub const fn history(&self) -> HistoryPosition {
        self.trailer.history
    }

    /// Bytes of the state.
    pub const fn size(&self) -> u64 {
        self.trailer.size
    }

    /// SHA-256 of the state.
    pub const fn digest(&self) -> [u8; 32] {
        self.trailer.digest
    }

    /// Up to `size_max` bytes of the state from `offset` on; every page that is read is checked. Empty at the
    /// end.
    pub fn read(&mut self, offset: u64, size_max: usize) -> Result<Vec<u8>, CheckpointError> {
        let content = CONTENT_SIZE as u64;
        let end = offset.saturating_add(size_max as u64).min(self.trailer.size);
        let mut bytes = Vec::new();
        let mut at = offset;
        while at < end {
            let number = 1 + at / content;
            let page = self.pages.page(number)?;
            let from = usize::try_from(at % content).expect("invariant: inside a page");
            let kind = page.kind;
            let piece =
                page.content.get(from..).filter(|piece| kind == PageKind::Content && !piece.is_empty());
            let Some(piece) = piece else {
                return Err(self.pages.damaged(number, "a page of content was expected"));
            };
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(piece.len());
            bytes.extend_from_slice(&piece[..wanted]);
            at += wanted as u64;
        }
        Ok(bytes)
    }
}

/// The pages of one file, read in large pieces.
#[derive(Debug)]
struct Pages {
    file: Arc<dyn DiskFile>,
    index: LogIndex,
    /// Number of pages: at least a head and a trailer.
    count: u64,
    window: AlignedBuffer,
    window_offset: u64,
}

impl Pages {
    fn open(disk: &dyn Disk, index: LogIndex, mode: OpenMode) -> Result<Self, CheckpointError> {
        let file = disk.open(&file_name(index, FINISHED), mode)?;
        let size = file.size()?;
        let count = size / BLOCK;
        let pages = Self { file, index, count, window: AlignedBuffer::with_capacity(0), window_offset: 0 };
        if count < 2 || !size.is_multiple_of(BLOCK) {
            return Err(pages.damaged(count, "the file is cut short"));
        }
        Ok(pages)
    }

    fn head(&mut self) -> Result<Head, CheckpointError> {
        let page = self.page(0)?;
        let (kind, head) = (page.kind, Head::decode(page.content));
        let (PageKind::Head, Ok(head)) = (kind, head) else {
            return Err(self.damaged(0, "the first page is not a head"));
        };
        if head.version != FORMAT_VERSION {
            let file = self.file.name().to_owned();
            return Err(CheckpointError::UnknownVersion { file, found: head.version, known: FORMAT_VERSION });
        }
        Ok(head)
    }

    fn page(&mut self, number: u64) -> Result<Page<'_>, CheckpointError> {
        let offset = number * BLOCK;
        if offset < self.window_offset || offset >= self.window_offset + self.window.len() as u64 {
            let size = READ_SIZE.min(self.count * BLOCK - offset);
            self.window.resize_stale(usize::try_from(size).expect("invariant: at most 1 MiB"));
            self.file.read_at(offset, &mut self.window)?;
            self.window_offset = offset;
        }
        let at = usize::try_from(offset - self.window_offset).expect("invariant: inside the window");
        decode(&self.window[at..at + BLOCK_SIZE], self.index, number).map_err(|reason| {
            CheckpointError::Damaged { file: self.file.name().to_owned(), offset, reason, advice: ADVICE }
        })
    }

    fn damaged(&self, page: u64, reason: &'static str) -> CheckpointError {
        let file = self.file.name().to_owned();
        CheckpointError::Damaged { file, offset: page * BLOCK, reason, advice: ADVICE }
    }
}
