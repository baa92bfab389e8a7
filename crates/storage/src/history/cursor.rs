//! Finds the rows of a run that carry a value, from any row on, forward or backward.
//!
//! A key may have millions of postings on many pages. The directory tells which page has the postings around
//! a row. So a query with a limit reads few pages, however long the list is.

use super::key::{Kind, key};
use super::postings::PageDecoder;
use super::run::{PageStart, Run, RunError, postings_of};
use crate::disk::BLOCK_SIZE;

/// One value's postings in one run. Rows are counted from the first of the run.
#[derive(Debug)]
pub(crate) struct Cursor<'run> {
    run: &'run Run,
    kind: Kind,
    key: u64,
    /// The page that is in `intervals`, by its number in the section.
    loaded: Option<usize>,
    /// Row intervals of the key on that page.
    intervals: Vec<(u64, u64)>,
}

impl<'run> Cursor<'run> {
    pub(crate) fn new(run: &'run Run, kind: Kind, value: u128) -> Self {
        Self { run, kind, key: key(kind, value), loaded: None, intervals: Vec::new() }
    }

    /// An estimate of the work: the number of pages that may contain the key.
    pub(crate) fn page_count(&self) -> usize {
        let starts = &self.run.section(self.kind).starts;
        let end = starts.partition_point(|start| start.key <= self.key);
        let begin = starts.partition_point(|start| start.key < self.key).saturating_sub(1);
        end - begin
    }

    /// The first posted row at or after `row`.
    pub(crate) fn at_or_after(&mut self, row: u64) -> Result<Option<u64>, RunError> {
        let Some(page) = self.page_of(row) else { return Ok(self.first_of(0)) };
        self.load(page)?;
        let at = self.intervals.partition_point(|(_, end)| *end <= row);
        if let Some((start, _)) = self.intervals.get(at) {
            return Ok(Some(row.max(*start)));
        }
        Ok(self.first_of(page + 1))
    }

    /// The last posted row at or before `row`.
    pub(crate) fn at_or_before(&mut self, row: u64) -> Result<Option<u64>, RunError> {
        let Some(page) = self.page_of(row) else { return Ok(None) };
        self.load(page)?;
        let after = self.intervals.partition_point(|(start, _)| *start <= row);
        Ok(after.checked_sub(1).map(|at| row.min(self.intervals[at].1 - 1)))
    }

    /// The last page that begins at or before this key and row.
    fn page_of(&self, row: u64) -> Option<usize> {
        let wanted = PageStart { key: self.key, row };
        self.run.section(self.kind).starts.partition_point(|start| *start <= wanted).checked_sub(1)
    }

    /// The key's first row on `page`; `None` when the page begins with a greater key.
    fn first_of(&self, page: usize) -> Option<u64> {
        let start = self.run.section(self.kind).starts.get(page);
        start.filter(|start| start.key == self.key).map(|start| start.row)
    }

    fn load(&mut self, page: usize) -> Result<(), RunError> {
        if self.loaded == Some(page) {
            return Ok(());
        }
        self.loaded = None;
        let mut buffer = [0; BLOCK_SIZE];
        self.run.read_postings(self.run.section(self.kind).first_page + page as u64, &mut buffer)?;
        let mut decoder = PageDecoder::new(postings_of(&buffer), self.kind.has_intervals());
        self.intervals.clear();
        for posting in decoder.by_ref().take_while(|posting| posting.key <= self.key) {
            if posting.key == self.key {
                self.intervals.push((posting.row, posting.end));
            }
        }
        let rows = self.run.summary.rows.end - self.run.summary.rows.start;
        if decoder.is_damaged() || self.intervals.last().is_some_and(|(_, end)| *end > rows) {
            return Err(RunError::Damaged);
        }
        self.loaded = Some(page);
        Ok(())
    }
}

/// Finds the rows of a run that carry any of a few values.
#[derive(Debug)]
pub(crate) struct Source<'run> {
    cursors: Vec<Cursor<'run>>,
}

impl<'run> Source<'run> {
    /// Selects rows that carry any of the values.
    pub(crate) fn new(run: &'run Run, values: &[(Kind, u128)]) -> Self {
        Self { cursors: values.iter().map(|(kind, value)| Cursor::new(run, *kind, *value)).collect() }
    }

    /// An estimate of the work, in pages.
    pub(crate) fn page_count(&self) -> usize {
        self.cursors.iter().map(Cursor::page_count).sum()
    }

    /// The first row at or after `row`; if `reversed`, the last at or before it.
    pub(crate) fn next_from(&mut self, row: u64, reversed: bool) -> Result<Option<u64>, RunError> {
        let mut best: Option<u64> = None;
        for cursor in &mut self.cursors {
            let found = if reversed { cursor.at_or_before(row)? } else { cursor.at_or_after(row)? };
            if let Some(found) = found
                && best.is_none_or(|best| if reversed { found > best } else { found < best })
            {
                best = Some(found);
            }
        }
        Ok(best)
    }
}

/// The first row at or after `row` (if `reversed`, the last at or before it) that all sources contain. The
/// sources must be sorted, those with the fewest postings first.
pub(crate) fn common_row(
    sources: &mut [Source<'_>],
    row: u64,
    reversed: bool,
) -> Result<Option<u64>, RunError> {
    let mut wanted = row;
    let mut matched = 0;
    while matched < sources.len() {
        let Some(found) = sources[matched].next_from(wanted, reversed)? else { return Ok(None) };
        matched = if found == wanted { matched + 1 } else { usize::from(matched == 0) };
        wanted = found;
    }
    Ok(Some(wanted))
}
