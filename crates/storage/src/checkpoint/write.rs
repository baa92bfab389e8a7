//! Writes one checkpoint: pages are written in large aligned writes while the state machine produces its
//! state.

use std::sync::Arc;

use bezant_types::{HistoryPosition, LogIndex, Nanos, Term};
use sha2::{Digest, Sha256};

use super::page::{CONTENT_SIZE, FORMAT_VERSION, Head, PageKind, Trailer, encode};
use super::{CheckpointError, FINISHED, UNFINISHED, file_name, indexes};
use crate::aligned::AlignedBuffer;
use crate::disk::{Disk, DiskError, DiskFile, OpenMode};

/// Bytes per write.
const WRITE_SIZE: usize = 1 << 20;

/// A checkpoint that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenCheckpoint {
    /// Index of the last entry that it covers.
    pub index: LogIndex,
    /// Bytes of the state.
    pub content_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// SHA-256 of the state.
    pub digest: [u8; 32],
}

/// A checkpoint that is being written. If it is dropped before [`finish`](Self::finish), no checkpoint
/// exists.
pub struct CheckpointWriter {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    index: LogIndex,
    term: Term,
    /// Whole pages that are not written yet.
    pages: AlignedBuffer,
    /// Offset of these pages in the file.
    offset: u64,
    next_page: u64,
    /// Content of the page that is not full yet.
    partial: Vec<u8>,
    content_size: u64,
    digest: Sha256,
    has_failed: bool,
}

impl std::fmt::Debug for CheckpointWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("CheckpointWriter")
            .field("index", &self.index)
            .field("content_size", &self.content_size)
            .finish_non_exhaustive()
    }
}

impl CheckpointWriter {
    pub(super) fn create(disk: Arc<dyn Disk>, index: LogIndex, term: Term) -> Result<Self, CheckpointError> {
        let file = disk.open(&file_name(index, UNFINISHED), OpenMode::CreateDirect)?;
        let mut writer = Self {
            disk,
            file,
            index,
            term,
            pages: AlignedBuffer::with_capacity(WRITE_SIZE),
            offset: 0,
            next_page: 0,
            partial: Vec::with_capacity(CONTENT_SIZE),
            content_size: 0,
            digest: Sha256::new(),
            has_failed: false,
        };
        writer.push_page(PageKind::Head, &Head { version: FORMAT_VERSION, index, term }.encode())?;
        Ok(writer)
    }

    /// Appends a piece of any size to the content. After an error the checkpoint is abandoned.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), CheckpointError> {
        if self.has_failed {
            return Err(CheckpointError::Abandoned);
        }
        self.digest.update(piece);
        self.content_size += piece.len() as u64;
        self.push_content(piece).inspect_err(|_| self.has_failed = true)?;
        Ok(())
    }

    /// Makes the checkpoint durable, renames it and removes the older ones. `history` must be durable; `time`
    /// is the cluster time of the entry.
    pub fn finish(
        mut self,
        history: HistoryPosition,
        time: Nanos,
    ) -> Result<WrittenCheckpoint, CheckpointError> {
        if self.has_failed {
            return Err(CheckpointError::Abandoned);
        }
        let partial = std::mem::take(&mut self.partial);
        if !partial.is_empty() {
            self.push_page(PageKind::Content, &partial)?;
        }
        let digest = self.digest.finalize_reset().into();
        let trailer = Trailer { size: self.content_size, term: self.term, time, history, digest };
        self.push_page(PageKind::Trailer, &trailer.encode())?;
        self.write_pages()?;
        self.file.sync()?;
        self.disk.rename(&file_name(self.index, UNFINISHED), &file_name(self.index, FINISHED))?;
        self.disk.sync_folder()?;
        self.remove_older()?;
        Ok(WrittenCheckpoint {
            index: self.index,
            content_bytes: self.content_size,
            file_bytes: self.offset,
            digest,
        })
    }

    fn push_content(&mut self, mut piece: &[u8]) -> Result<(), DiskError> {
        while !piece.is_empty() {
            if self.partial.is_empty() && piece.len() >= CONTENT_SIZE {
                let (page, rest) = piece.split_at(CONTENT_SIZE);
                self.push_page(PageKind::Content, page)?;
                piece = rest;
                continue;
            }
            let left = CONTENT_SIZE - self.partial.len();
            let (head, rest) = piece.split_at(left.min(piece.len()));
            self.partial.extend_from_slice(head);
            piece = rest;
            if self.partial.len() == CONTENT_SIZE {
                let page = std::mem::take(&mut self.partial);
                self.push_page(PageKind::Content, &page)?;
            }
        }
        Ok(())
    }

    fn push_page(&mut self, kind: PageKind, content: &[u8]) -> Result<(), DiskError> {
        self.pages.extend(&encode(self.index, self.next_page, kind, content));
        self.next_page += 1;
        if self.pages.len() >= WRITE_SIZE { self.write_pages() } else { Ok(()) }
    }

    fn write_pages(&mut self) -> Result<(), DiskError> {
        self.file.write_at(self.offset, &self.pages)?;
        self.offset += self.pages.len() as u64;
        self.pages.clear();
        Ok(())
    }

    fn remove_older(&self) -> Result<(), DiskError> {
        for older in indexes(&*self.disk)?.into_iter().filter(|index| *index < self.index) {
            self.disk.remove(&file_name(older, FINISHED))?;
        }
        Ok(())
    }
}
