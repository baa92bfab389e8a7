//! Runs: immutable indexes over a fixed range of a table's rows.
//!
//! Run `n` of level `l` covers the rows from `n * size` to `(n + 1) * size`. Here `size` is the number of
//! rows in a first run times 8 to the power of `l`. So the name of a file determines its rows. For each kind
//! of key a file has pages of sorted postings. Then come the first timestamp of every page of rows, the
//! filter, the directory of the posting pages, and a footer. While the run is open, everything but the
//! postings is in memory.
//!
//! A run contains only data that can be computed from the rows: a missing or damaged run is rebuilt from
//! them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::filter::{FILTER_BLOCK_SIZE, Filter};
use super::key::Kind;
use super::page::{
    Content, PAGE_SIZE, PAYLOAD_SIZE, Page, PageError, PageName, Table, pages, payload, place, u64_at,
    u128_at, verify,
};
use crate::disk::{BLOCK_SIZE, Disk, DiskError, DiskFile, OpenMode};

/// Number of runs that are merged into one of the next level.
pub(crate) const FAN_OUT: u64 = 8;
/// Bytes of a directory entry: key u64, row u64.
pub(crate) const DIRECTORY_ENTRY_SIZE: usize = 16;

/// The identity of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunName {
    pub(crate) table: Table,
    /// Level: 0 is built from rows, the others from runs of the level below.
    pub(crate) level: u8,
    /// Number within the level, in the order of the rows.
    pub(crate) number: u64,
}

impl RunName {
    /// The number of first runs that it replaces.
    pub(crate) fn span(self) -> u64 {
        FAN_OUT.pow(self.level.into())
    }

    /// The first runs that it replaces.
    pub(crate) fn blocks(self) -> Range<u64> {
        self.number * self.span()..(self.number + 1) * self.span()
    }

    /// The name of its file.
    pub(crate) fn file(self) -> String {
        format!("history-{}-index-{}-{:08}", self.table.name(), self.level, self.number)
    }

    /// Parses the name of a file; `None` when it is not a run of `table`.
    pub(crate) fn parse(file: &str, table: Table) -> Option<Self> {
        let rest = file.strip_prefix("history-")?.strip_prefix(table.name())?.strip_prefix("-index-")?;
        let (level, number) = rest.split_once('-')?;
        let name = Self { table, level: level.parse().ok()?, number: number.parse().ok()? };
        (name.level < 20 && name.number < 1 << 56 && name.file() == file).then_some(name)
    }

    /// The identity of a page of its file.
    pub(crate) fn page(self, content: Content, number: u64) -> PageName {
        PageName { table: self.table, content, run: u64::from(self.level) << 56 | self.number, number }
    }
}

/// Why a run cannot be used.
#[derive(Debug)]
pub(crate) enum RunError {
    /// The run must be rebuilt.
    Damaged,
    /// A newer program wrote it.
    Version(u16),
    /// The disk failed.
    Disk(DiskError),
}

impl From<DiskError> for RunError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::EndOfFile { .. } | DiskError::NotFound { .. } => Self::Damaged,
            other => Self::Disk(other),
        }
    }
}

impl From<PageError> for RunError {
    fn from(error: PageError) -> Self {
        match error {
            PageError::Damaged => Self::Damaged,
            PageError::Version(version) => Self::Version(version),
        }
    }
}

/// The first posting of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PageStart {
    pub(crate) key: u64,
    /// Counted from the first row of the run.
    pub(crate) row: u64,
}

/// The posting pages of one kind.
#[derive(Debug, Default)]
pub(crate) struct Section {
    /// Number of the first page in the file.
    pub(crate) first_page: u64,
    pub(crate) starts: Vec<PageStart>,
}

/// The content of a run besides its postings.
#[derive(Debug)]
pub(crate) struct Summary {
    /// The rows that it covers.
    pub(crate) rows: Range<u64>,
    /// The smallest and the greatest id; the first is greater than the second when there is none.
    pub(crate) ids: (u128, u128),
    /// The first timestamp of every page of rows; empty for refusals.
    pub(crate) timestamps: Vec<u64>,
    /// Filter over ids and resolutions.
    pub(crate) filter: Filter,
}

/// An open run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) name: RunName,
    pub(crate) summary: Summary,
    pub(crate) sections: [Section; Kind::ALL.len()],
    file: Arc<dyn DiskFile>,
    is_damaged: AtomicBool,
}

impl Run {
    pub(crate) fn new(
        name: RunName,
        summary: Summary,
        sections: [Section; Kind::ALL.len()],
        file: Arc<dyn DiskFile>,
    ) -> Self {
        Self { name, summary, sections, file, is_damaged: AtomicBool::new(false) }
    }

    /// Opens a run and checks everything but the postings.
    pub(crate) fn open(disk: &dyn Disk, name: RunName, rows: &Range<u64>) -> Result<Self, RunError> {
        let file = disk.open(&name.file(), OpenMode::Read)?;
        let size = file.size()?;
        if size == 0 || !size.is_multiple_of(PAGE_SIZE) {
            return Err(RunError::Damaged);
        }
        let last = size / PAGE_SIZE - 1;
        let mut page = [0; BLOCK_SIZE];
        file.read_at(last * PAGE_SIZE, &mut page)?;
        verify(&page, name.page(Content::Footer, last))?;
        let footer = Footer::read(payload(&page));
        if footer.rows != *rows || footer.end() != Some(last) {
            return Err(RunError::Damaged);
        }
        let reader = Streams { name, file: &*file };
        let mut next = footer.pages.iter().sum();
        let timestamps = reader.stream(Content::Timestamps, &mut next, footer.timestamps * 8)?;
        let filter =
            reader.stream(Content::Filter, &mut next, footer.filter_blocks * FILTER_BLOCK_SIZE as u64)?;
        let directory_size = footer.pages.iter().sum::<u64>() * DIRECTORY_ENTRY_SIZE as u64;
        let directory = reader.stream(Content::Directory, &mut next, directory_size)?;
        let summary = Summary {
            rows: footer.rows,
            ids: footer.ids,
            timestamps: timestamps.chunks_exact(8).map(|bytes| u64_at(bytes, 0)).collect(),
            filter: Filter::from_bytes(&filter).ok_or(RunError::Damaged)?,
        };
        let mut starts = directory
            .chunks_exact(DIRECTORY_ENTRY_SIZE)
            .map(|entry| PageStart { key: u64_at(entry, 0), row: u64_at(entry, 8) });
        let mut first_page = 0;
        let sections = footer.pages.map(|pages| {
            let section = Section { first_page, starts: starts.by_ref().take(place(pages)).collect() };
            first_page += pages;
            section
        });
        Ok(Self::new(name, summary, sections, file))
    }

    /// The posting pages of a kind.
    pub(crate) const fn section(&self, kind: Kind) -> &Section {
        &self.sections[kind.index()]
    }

    /// Reads consecutive posting pages of the file, as many as `buffer` holds, and checks them.
    pub(crate) fn read_postings(&self, first: u64, buffer: &mut [u8]) -> Result<(), RunError> {
        self.file.read_at(first * PAGE_SIZE, buffer)?;
        for (number, page) in (first..).zip(pages(buffer)) {
            let used = verify(page, self.name.page(Content::Postings, number))?;
            if used_bytes(page, used).is_none() {
                return Err(RunError::Damaged);
            }
        }
        Ok(())
    }

    /// Records that a damaged page was read.
    pub(crate) fn mark_damaged(&self) {
        self.is_damaged.store(true, Ordering::Relaxed);
    }

    /// True once a damaged page was read.
    pub(crate) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }
}

/// The used bytes of a page.
fn used_bytes(page: &Page, used: u32) -> Option<&[u8]> {
    payload(page).get(..usize::try_from(used).ok()?)
}

/// The postings of a page that was read and checked.
pub(crate) fn postings_of(page: &Page) -> &[u8] {
    let used = u32::from_le_bytes([page[12], page[13], page[14], page[15]]);
    used_bytes(page, used).expect("invariant: the page was checked when it was read")
}

/// The last page of a run's file.
#[derive(Debug)]
pub(crate) struct Footer {
    pub(crate) rows: Range<u64>,
    pub(crate) ids: (u128, u128),
    pub(crate) timestamps: u64,
    pub(crate) filter_blocks: u64,
    /// Posting pages of each kind.
    pub(crate) pages: [u64; Kind::ALL.len()],
}

impl Footer {
    const PAGES: usize = 64;

    pub(crate) fn write(&self, bytes: &mut [u8; PAYLOAD_SIZE]) {
        bytes[..8].copy_from_slice(&self.rows.start.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.rows.end.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.ids.0.to_le_bytes());
        bytes[32..48].copy_from_slice(&self.ids.1.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.timestamps.to_le_bytes());
        bytes[56..Self::PAGES].copy_from_slice(&self.filter_blocks.to_le_bytes());
        for (place, pages) in bytes[Self::PAGES..].as_chunks_mut().0.iter_mut().zip(self.pages) {
            *place = pages.to_le_bytes();
        }
    }

    fn read(bytes: &[u8; PAYLOAD_SIZE]) -> Self {
        Self {
            rows: u64_at(bytes, 0)..u64_at(bytes, 8),
            ids: (u128_at(bytes, 16), u128_at(bytes, 32)),
            timestamps: u64_at(bytes, 48),
            filter_blocks: u64_at(bytes, 56),
            pages: std::array::from_fn(|kind| u64_at(bytes, Self::PAGES + 8 * kind)),
        }
    }

    /// The number of the footer's page that follows from its counts; `None` when they overflow.
    fn end(&self) -> Option<u64> {
        let postings = self.pages.iter().try_fold(0_u64, |sum, pages| sum.checked_add(*pages))?;
        let stream =
            |count: u64, size: usize| Some(count.checked_mul(size as u64)?.div_ceil(PAYLOAD_SIZE as u64));
        postings
            .checked_add(stream(self.timestamps, 8)?)?
            .checked_add(stream(self.filter_blocks, FILTER_BLOCK_SIZE)?)?
            .checked_add(stream(postings, DIRECTORY_ENTRY_SIZE)?)
    }
}

/// Reads bytes that span consecutive pages.
struct Streams<'file> {
    name: RunName,
    file: &'file dyn DiskFile,
}

impl Streams<'_> {
    /// Reads `size` bytes from page `next` on, and moves `next` to the page after them.
    fn stream(&self, content: Content, next: &mut u64, size: u64) -> Result<Vec<u8>, RunError> {
        let count = size.div_ceil(PAYLOAD_SIZE as u64);
        let mut buffer = vec![0; place(count) * BLOCK_SIZE];
        self.file.read_at(*next * PAGE_SIZE, &mut buffer)?;
        let mut bytes = Vec::with_capacity(place(size));
        for (number, page) in (*next..).zip(pages(&buffer)) {
            let used = verify(page, self.name.page(content, number))?;
            bytes.extend_from_slice(used_bytes(page, used).ok_or(RunError::Damaged)?);
        }
        *next += count;
        if bytes.len() as u64 == size { Ok(bytes) } else { Err(RunError::Damaged) }
    }
}
