//! Writes the file of a run: postings kind by kind, then the parts that are kept in memory, then the footer.
//!
//! A file gets its final name when it is complete, so an unfinished file is recognized and removed. A merged
//! run is durable before it is renamed. A first run is not: after a power failure its file may be incomplete.
//! Its checksums reveal that, and the run is rebuilt.

use std::sync::Arc;

use super::filter::FILTER_BLOCK_SIZE;
use super::key::Kind;
use super::page::{Content, PAGE_SIZE, PAYLOAD_SIZE, Page, PageName, pages_mut, payload_mut, place, seal};
use super::postings::{PageEncoder, Posting};
use super::run::{DIRECTORY_ENTRY_SIZE, Footer, PageStart, Run, RunName, Section, Summary};
use crate::disk::{BLOCK_SIZE, Disk, DiskError, DiskFile, OpenMode};

/// Extension of the file until it is complete.
pub(crate) const UNFINISHED: &str = ".new";
/// Pages per write.
const BUFFER_PAGES: usize = 64;

/// Writes one run.
#[derive(Debug)]
pub(crate) struct RunWriter {
    disk: Arc<dyn Disk>,
    name: RunName,
    file: Arc<dyn DiskFile>,
    /// Whole pages; page number `page` is being filled.
    buffer: Vec<u8>,
    /// Number of the page at the start of the buffer.
    buffer_page: u64,
    /// Number of the page that is being filled, in the file.
    page: u64,
    kind: Kind,
    encoder: PageEncoder,
    sections: [Section; Kind::ALL.len()],
}

impl RunWriter {
    /// Creates the file.
    pub(crate) fn create(disk: Arc<dyn Disk>, name: RunName) -> Result<Self, DiskError> {
        let unfinished = name.file() + UNFINISHED;
        match disk.remove(&unfinished) {
            Ok(()) | Err(DiskError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let file = disk.open(&unfinished, OpenMode::Create)?;
        Ok(Self {
            disk,
            name,
            file,
            buffer: vec![0; BUFFER_PAGES * BLOCK_SIZE],
            buffer_page: 0,
            page: 0,
            kind: Kind::Id,
            encoder: PageEncoder::new(false),
            sections: std::array::from_fn(|_| Section::default()),
        })
    }

    /// Number of complete pages.
    pub(crate) const fn pages(&self) -> u64 {
        self.page
    }

    /// Begins the postings of a kind. The kinds must come in order.
    pub(crate) fn begin(&mut self, kind: Kind) {
        self.kind = kind;
        self.encoder = PageEncoder::new(kind.has_intervals());
        self.sections[kind.index()].first_page = self.page;
    }

    /// Adds a posting. Postings must come in order.
    pub(crate) fn push(&mut self, posting: Posting) -> Result<(), DiskError> {
        let payload = payload_mut(&mut pages_mut(&mut self.buffer)[place(self.page - self.buffer_page)]);
        let is_first = self.encoder.used() == 0;
        if self.encoder.push(payload, posting) {
            if is_first {
                let start = PageStart { key: posting.key, row: posting.row };
                self.sections[self.kind.index()].starts.push(start);
            }
            return Ok(());
        }
        self.end()?;
        self.encoder = PageEncoder::new(self.kind.has_intervals());
        self.push(posting)
    }

    /// Ends the postings of a kind.
    pub(crate) fn end(&mut self) -> Result<(), DiskError> {
        let used = self.encoder.used();
        if used > 0 { self.end_page(Content::Postings, used) } else { Ok(()) }
    }

    /// Makes the bytes written so far durable. Frequent small syncs keep other writers from waiting long for
    /// the disk.
    pub(crate) fn sync(&self) -> Result<(), DiskError> {
        self.file.sync()
    }

    /// Completes and renames the file; durable on return if `sync`.
    pub(crate) fn finish(mut self, summary: Summary, sync: bool) -> Result<Run, DiskError> {
        let timestamps: Vec<u8> = summary.timestamps.iter().flat_map(|time| time.to_le_bytes()).collect();
        let filter = summary.filter.to_bytes();
        let mut directory = Vec::new();
        for start in self.sections.iter().flat_map(|section| &section.starts) {
            directory.extend_from_slice(&start.key.to_le_bytes());
            directory.extend_from_slice(&start.row.to_le_bytes());
        }
        assert_eq!(
            directory.len() as u64,
            self.page * DIRECTORY_ENTRY_SIZE as u64,
            "the directory has one entry per page"
        );
        self.stream(Content::Timestamps, &timestamps)?;
        self.stream(Content::Filter, &filter)?;
        self.stream(Content::Directory, &directory)?;
        let footer = Footer {
            rows: summary.rows.clone(),
            ids: summary.ids,
            timestamps: summary.timestamps.len() as u64,
            filter_blocks: (filter.len() / FILTER_BLOCK_SIZE) as u64,
            pages: std::array::from_fn(|kind| self.sections[kind].starts.len() as u64),
        };
        footer.write(payload_mut(&mut pages_mut(&mut self.buffer)[place(self.page - self.buffer_page)]));
        self.end_page(Content::Footer, PAYLOAD_SIZE)?;
        self.write_buffer()?;
        if sync {
            self.file.sync()?;
        }
        self.disk.rename(&(self.name.file() + UNFINISHED), &self.name.file())?;
        if sync {
            self.disk.sync_folder()?;
        }
        Ok(Run::new(self.name, summary, self.sections, self.file))
    }

    fn stream(&mut self, content: Content, bytes: &[u8]) -> Result<(), DiskError> {
        for piece in bytes.chunks(PAYLOAD_SIZE) {
            let payload = payload_mut(&mut pages_mut(&mut self.buffer)[place(self.page - self.buffer_page)]);
            payload[..piece.len()].copy_from_slice(piece);
            self.end_page(content, piece.len())?;
        }
        Ok(())
    }

    fn end_page(&mut self, content: Content, used: usize) -> Result<(), DiskError> {
        let page: &mut Page = &mut pages_mut(&mut self.buffer)[place(self.page - self.buffer_page)];
        payload_mut(page)[used..].fill(0);
        let name: PageName = self.name.page(content, self.page);
        seal(page, name, u32::try_from(used).expect("invariant: the size of a page fits in 32 bits"));
        self.page += 1;
        if self.page - self.buffer_page == BUFFER_PAGES as u64 {
            self.write_buffer()?;
        }
        Ok(())
    }

    fn write_buffer(&mut self) -> Result<(), DiskError> {
        let size = place(self.page - self.buffer_page) * BLOCK_SIZE;
        if size > 0 {
            self.file.write_at(self.buffer_page * PAGE_SIZE, &self.buffer[..size])?;
        }
        self.buffer_page = self.page;
        Ok(())
    }
}
