//! The files of a table's rows, and their writer.
//!
//! Row `n` is in page `n / rows per page`, and page `p` is in file `p / pages per file`: an address is
//! computed, never looked up. Rows are collected in a buffer of whole pages, which is written when it is
//! full. A page is written once, when all its rows are there. At a flush, the rows of a partial page go to a
//! separate file (see `tail_file`), so a durable row is never overwritten.
//!
//! Writes bypass the page cache, because rows are rarely read from the disk soon after they are written.
//! Reads use it, because rows that are read are often read again.

use std::marker::PhantomData;
use std::sync::Arc;

use super::error::{HistoryError, RESTORE_ROWS};
use super::options::TableLayout;
use super::page::{
    Content, HEADER_SIZE, PAGE_SIZE, Page, PageError, PageName, Table, pages, pages_mut, payload, place,
    seal, verify,
};
use super::row::Row;
use crate::aligned::AlignedBuffer;
use crate::disk::{BLOCK_SIZE, Disk, DiskError, DiskFile, OpenMode};

/// The name of a table's file.
pub(crate) fn file_name(table: Table, number: u64) -> String {
    format!("history-{}-{number:08}", table.name())
}

/// The name of a page of rows.
fn page_name<R: Row>(number: u64) -> PageName {
    PageName { table: R::TABLE, content: Content::Rows, run: 0, number }
}

/// The error for a page of `file` at `offset`.
pub(crate) fn page_error(error: PageError, file: String, offset: u64, advice: &'static str) -> HistoryError {
    match error {
        PageError::Damaged => HistoryError::Damaged { file, offset, advice },
        PageError::Version(version) => HistoryError::Version { file, version },
    }
}

/// Reads rows from their files. Cheap to clone.
#[derive(Debug)]
pub(crate) struct RowFiles<R> {
    files: Arc<[Arc<dyn DiskFile>]>,
    layout: TableLayout,
    rows: PhantomData<R>,
}

impl<R> Clone for RowFiles<R> {
    fn clone(&self) -> Self {
        Self { files: Arc::clone(&self.files), layout: self.layout, rows: PhantomData }
    }
}

impl<R: Row> RowFiles<R> {
    /// Opens the files that hold pages before `page_end`.
    pub(crate) fn open(disk: &dyn Disk, layout: TableLayout, page_end: u64) -> Result<Self, HistoryError> {
        let files = (0..page_end.div_ceil(layout.file_pages))
            .map(|number| open_for_reading::<R>(disk, number))
            .collect::<Result<Arc<[_]>, _>>()?;
        Ok(Self { files, layout, rows: PhantomData })
    }

    /// A copy with `file` added as the last one.
    pub(crate) fn with(&self, file: Arc<dyn DiskFile>) -> Self {
        let files = self.files.iter().cloned().chain([file]).collect();
        Self { files, layout: self.layout, rows: PhantomData }
    }

    /// The number of files.
    pub(crate) fn count(&self) -> u64 {
        self.files.len() as u64
    }

    /// Tells the disk that this page will be read soon.
    pub(crate) fn expect_page(&self, page: u64) {
        if let Some(file) = self.files.get(place(page / self.layout.file_pages)) {
            file.expect_read(page % self.layout.file_pages * PAGE_SIZE, PAGE_SIZE);
        }
    }

    /// Reads pages from `first` on, as many as `buffer` holds, and checks them. All must be in one file.
    pub(crate) fn read_pages(&self, first: u64, buffer: &mut [u8]) -> Result<(), HistoryError> {
        let number = first / self.layout.file_pages;
        let offset = first % self.layout.file_pages * PAGE_SIZE;
        let damaged = |at| HistoryError::Damaged {
            file: file_name(R::TABLE, number),
            offset: at,
            advice: RESTORE_ROWS,
        };
        let file = self.files.get(place(number)).ok_or_else(|| damaged(offset))?;
        file.read_at(offset, buffer).map_err(|error| match error {
            DiskError::EndOfFile { offset, .. } => damaged(offset),
            other => HistoryError::Disk(other),
        })?;
        for (at, page) in (0_u64..).zip(pages(buffer)) {
            let offset = offset + at * PAGE_SIZE;
            let count = verify(page, page_name::<R>(first + at))
                .map_err(|error| page_error(error, file_name(R::TABLE, number), offset, RESTORE_ROWS))?;
            if u64::from(count) != R::PER_PAGE {
                return Err(damaged(offset));
            }
        }
        Ok(())
    }

    /// Row `slot` of page `number`, which was read and checked.
    pub(crate) fn decode(&self, page: &Page, number: u64, slot: u64) -> Result<R, HistoryError> {
        let start = place(slot) * R::SIZE;
        R::read(&payload(page)[start..start + R::SIZE]).ok_or_else(|| HistoryError::Damaged {
            file: file_name(R::TABLE, number / self.layout.file_pages),
            offset: number % self.layout.file_pages * PAGE_SIZE,
            advice: RESTORE_ROWS,
        })
    }

    /// All rows of the full pages from `first` up to, but not including, page `end`.
    pub(crate) fn read_rows(&self, first: u64, end: u64) -> Result<Vec<R>, HistoryError> {
        let at_once = self.layout.buffer_pages;
        let mut rows = Vec::with_capacity(place((end - first) * R::PER_PAGE));
        let mut buffer = vec![0; place(at_once) * BLOCK_SIZE];
        let mut next = first;
        while next < end {
            let count = (at_once - next % at_once).min(end - next);
            let buffer = &mut buffer[..place(count) * BLOCK_SIZE];
            self.read_pages(next, buffer)?;
            for (number, page) in (next..).zip(pages(buffer)) {
                for slot in 0..R::PER_PAGE {
                    rows.push(self.decode(page, number, slot)?);
                }
            }
            next += count;
        }
        Ok(rows)
    }
}

/// Writes the rows of a table.
#[derive(Debug)]
pub(crate) struct RowWriter<R> {
    disk: Arc<dyn Disk>,
    layout: TableLayout,
    /// The number of the next row.
    next: u64,
    buffer: AlignedBuffer,
    /// Number of the page at the start of the buffer.
    buffer_page: u64,
    /// The file that was written to last; `None` before the first write.
    file: Option<WriteFile>,
    /// Files that were written to since the last sync.
    unsynced: Vec<Arc<dyn DiskFile>>,
    /// True when a file was created since the last sync of the folder.
    has_new_file: bool,
    rows: PhantomData<R>,
}

#[derive(Debug)]
struct WriteFile {
    number: u64,
    file: Arc<dyn DiskFile>,
    /// Size on the disk, in bytes.
    size: u64,
}

impl<R: Row> RowWriter<R> {
    /// Continues with row `next`; `partial` are the rows of its page that precede it.
    pub(crate) fn new(disk: Arc<dyn Disk>, layout: TableLayout, next: u64, partial: &[R]) -> Self {
        assert_eq!(partial.len() as u64, next % R::PER_PAGE, "the rows of a partial page are complete");
        let mut writer = Self {
            disk,
            layout,
            next: next - partial.len() as u64,
            buffer: AlignedBuffer::zeroed(place(layout.buffer_pages) * BLOCK_SIZE),
            buffer_page: next / R::PER_PAGE,
            file: None,
            unsynced: Vec::new(),
            has_new_file: false,
            rows: PhantomData,
        };
        for row in partial {
            writer.put(row);
        }
        writer
    }

    /// The number of the next row.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// The number of files that hold written pages.
    pub(crate) const fn file_count(&self) -> u64 {
        self.buffer_page.div_ceil(self.layout.file_pages)
    }

    /// Allocates disk space for all pages that `rows` more rows fill. On a full disk nothing is written.
    pub(crate) fn reserve(&mut self, rows: usize) -> Result<(), HistoryError> {
        let end = (self.next + rows as u64) / R::PER_PAGE;
        let mut page = self.buffer_page;
        while page < end {
            let number = page / self.layout.file_pages;
            let first = number * self.layout.file_pages;
            let until = end.min(first + self.layout.file_pages);
            self.file_for(number, (until - first) * PAGE_SIZE).map_err(|error| match error {
                HistoryError::Disk(full @ DiskError::Full { .. }) => HistoryError::NoSpace(full),
                other => other,
            })?;
            page = until;
        }
        Ok(())
    }

    /// Adds rows; writes the buffer whenever it is full.
    pub(crate) fn append(&mut self, rows: &[R]) -> Result<(), HistoryError> {
        for row in rows {
            self.put(row);
            if self.next.is_multiple_of(R::PER_PAGE) {
                let page = self.next / R::PER_PAGE;
                self.seal_page(page - 1);
                if page.is_multiple_of(self.layout.buffer_pages) {
                    self.write_pages(page)?;
                }
            }
        }
        Ok(())
    }

    /// Writes all full pages and makes them durable.
    pub(crate) fn flush(&mut self) -> Result<(), HistoryError> {
        self.write_pages(self.next / R::PER_PAGE)?;
        for file in self.unsynced.drain(..) {
            file.sync()?;
        }
        if self.has_new_file {
            self.disk.sync_folder()?;
            self.has_new_file = false;
        }
        Ok(())
    }

    /// The partial page, with a header that distinguishes it from a full one. It has zero rows when the last
    /// row has filled its page.
    pub(crate) fn partial_page(&self) -> Page {
        let mut page = [0; BLOCK_SIZE];
        let count = self.next % R::PER_PAGE;
        let number = self.next / R::PER_PAGE;
        if count > 0 {
            let end = HEADER_SIZE + place(count) * R::SIZE;
            page[..end].copy_from_slice(&pages(&self.buffer)[place(number - self.buffer_page)][..end]);
        }
        let name = PageName { table: R::TABLE, content: Content::Tail, run: 0, number };
        seal(&mut page, name, u32::try_from(count).expect("invariant: a page holds few rows"));
        page
    }

    fn put(&mut self, row: &R) {
        let page = place(self.next / R::PER_PAGE - self.buffer_page);
        let start = HEADER_SIZE + place(self.next % R::PER_PAGE) * R::SIZE;
        row.write(&mut pages_mut(&mut self.buffer)[page][start..start + R::SIZE]);
        self.next += 1;
    }

    fn seal_page(&mut self, number: u64) {
        let page = &mut pages_mut(&mut self.buffer)[place(number - self.buffer_page)];
        seal(
            page,
            page_name::<R>(number),
            u32::try_from(R::PER_PAGE).expect("invariant: a page holds few rows"),
        );
    }

    /// Writes the pages of the buffer before page `end`; the buffer then begins there.
    fn write_pages(&mut self, end: u64) -> Result<(), HistoryError> {
        let count = end - self.buffer_page;
        if count == 0 {
            return Ok(());
        }
        let number = self.buffer_page / self.layout.file_pages;
        let offset = self.buffer_page % self.layout.file_pages * PAGE_SIZE;
        let size = place(count) * BLOCK_SIZE;
        let file = self.file_for(number, offset + count * PAGE_SIZE)?;
        file.write_at(offset, &self.buffer[..size])?;
        if !self.unsynced.iter().any(|other| Arc::ptr_eq(other, &file)) {
            self.unsynced.push(file);
        }
        let partial = place(self.next % R::PER_PAGE);
        if partial > 0 {
            // The partial page moves to the front.
            self.buffer.copy_within(size..size + HEADER_SIZE + partial * R::SIZE, 0);
        }
        self.buffer_page = end;
        Ok(())
    }

    /// File `number`, at least `size` bytes long.
    fn file_for(&mut self, number: u64, size: u64) -> Result<Arc<dyn DiskFile>, HistoryError> {
        if self.file.as_ref().is_none_or(|file| file.number != number) {
            let name = file_name(R::TABLE, number);
            let file = match self.disk.open(&name, OpenMode::WriteDirect) {
                Err(DiskError::NotFound { .. }) => {
                    self.has_new_file = true;
                    self.disk.open(&name, OpenMode::CreateDirect)?
                }
                other => other?,
            };
            let size = file.size()?;
            self.file = Some(WriteFile { number, file, size });
        }
        let file = self.file.as_mut().expect("invariant: it was just set");
        if size > file.size {
            let grown = size
                .next_multiple_of(self.layout.growth_pages * PAGE_SIZE)
                .min(self.layout.file_pages * PAGE_SIZE);
            file.file.allocate(grown)?;
            file.size = grown;
        }
        Ok(Arc::clone(&file.file))
    }
}

/// Opens a table's file for readers.
pub(crate) fn open_for_reading<R: Row>(
    disk: &dyn Disk,
    number: u64,
) -> Result<Arc<dyn DiskFile>, HistoryError> {
    let name = file_name(R::TABLE, number);
    disk.open(&name, OpenMode::Read).map_err(|error| match error {
        DiskError::NotFound { .. } => HistoryError::Damaged { file: name, offset: 0, advice: RESTORE_ROWS },
        other => HistoryError::Disk(other),
    })
}
