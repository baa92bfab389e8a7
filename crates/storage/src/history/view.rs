//! One table at one moment. Needs no lock: its rows, runs and files never change.

use std::ops::Range;
use std::sync::Arc;

use bezant_types::Nanos;

use super::cursor::{Cursor, Source, common_row};
use super::error::HistoryError;
use super::key::Kind;
use super::page::{Page, place};
use super::row::Row;
use super::rows::RowFiles;
use super::run::{Run, RunError};
use super::tail::Chunk;
use crate::disk::BLOCK_SIZE;

/// One table at one moment.
#[derive(Debug)]
pub(crate) struct View<R> {
    pub(crate) files: RowFiles<R>,
    /// In order of their rows, without a gap from row 0 to the tail.
    pub(crate) runs: Arc<[Arc<Run>]>,
    /// The rows of the tail.
    pub(crate) chunks: Arc<[Chunk<R>]>,
    /// The first row that is not in a run.
    pub(crate) tail_first: u64,
    /// The number after the last row.
    pub(crate) end: u64,
}

/// How many rows a scan finds, at first, before it reads them: few, because a query may need only one.
const AHEAD_MIN: usize = 4;
/// The most rows that a scan finds before it reads them. Each may be on another page, and a disk does this
/// many reads at once.
const AHEAD_MAX: usize = 256;

/// The page of rows that was read last.
#[derive(Debug)]
pub(crate) struct LastPage {
    number: Option<u64>,
    page: Box<Page>,
}

impl LastPage {
    pub(crate) fn new() -> Self {
        Self { number: None, page: Box::new([0; BLOCK_SIZE]) }
    }
}

/// The condition of a query, as lists of values: a row must have at least one value of every list.
pub(crate) type Groups = Vec<Vec<(Kind, u128)>>;

/// True when the row has at least one value of every list.
pub(crate) fn matches<R: Row>(row: &R, groups: &Groups) -> bool {
    groups.iter().all(|group| group.iter().any(|(kind, value)| row.has(*kind, *value)))
}

/// Marks a damaged run: the caller then reads its rows instead. Returns every other error.
fn handle_run_error(run: &Run, error: RunError) -> Result<(), HistoryError> {
    match error {
        RunError::Damaged => {
            run.mark_damaged();
            Ok(())
        }
        RunError::Version(version) => Err(HistoryError::Version { file: run.name.file(), version }),
        RunError::Disk(error) => Err(HistoryError::Disk(error)),
    }
}

impl<R: Row> View<R> {
    /// Row `number`, which must be less than `end`.
    pub(crate) fn row(&self, number: u64, last: &mut LastPage) -> Result<R, HistoryError> {
        if number >= self.tail_first {
            let after = self.chunks.partition_point(|chunk| chunk.first <= number);
            let chunk = &self.chunks[after - 1];
            return Ok(chunk.rows[place(number - chunk.first)]);
        }
        let page = number / R::PER_PAGE;
        if last.number != Some(page) {
            last.number = None;
            self.files.read_pages(page, &mut *last.page)?;
            last.number = Some(page);
        }
        self.files.decode(&last.page, page, number % R::PER_PAGE)
    }

    /// The row of the run that carries that unique value. If the run is damaged, all its rows are read.
    pub(crate) fn find_in_run(
        &self,
        run: &Run,
        kind: Kind,
        value: u128,
        last: &mut LastPage,
    ) -> Result<Option<(u64, R)>, HistoryError> {
        let rows = &run.summary.rows;
        let mut cursor = Cursor::new(run, kind, value);
        let mut from = 0;
        loop {
            match cursor.at_or_after(from) {
                Ok(None) => return Ok(None),
                Ok(Some(row)) => {
                    let number = rows.start + row;
                    let found = self.row(number, last)?;
                    if found.has(kind, value) {
                        return Ok(Some((number, found)));
                    }
                    from = row + 1;
                }
                Err(error) => {
                    handle_run_error(run, error)?;
                    break;
                }
            }
        }
        for number in rows.clone() {
            let row = self.row(number, last)?;
            if row.has(kind, value) {
                return Ok(Some((number, row)));
            }
        }
        Ok(None)
    }

    /// The first row with a timestamp of at least `time`; the end when there is none.
    pub(crate) fn first_at(&self, time: Nanos, last: &mut LastPage) -> Result<u64, HistoryError> {
        let after = self.chunks.partition_point(|chunk| chunk.rows[0].timestamp() <= time);
        if let Some(at) = after.checked_sub(1) {
            let chunk = &self.chunks[at];
            let within = chunk.rows.partition_point(|row| row.timestamp() < time);
            return Ok(chunk.first + within as u64);
        }
        let starts_by_then =
            |run: &Arc<Run>| run.summary.timestamps.first().is_some_and(|first| *first <= time.0);
        let Some(at) = self.runs.partition_point(starts_by_then).checked_sub(1) else { return Ok(0) };
        let summary = &self.runs[at].summary;
        let page = summary.timestamps.partition_point(|first| *first <= time.0) - 1;
        let first = summary.rows.start + page as u64 * R::PER_PAGE;
        for number in first..first + R::PER_PAGE {
            if self.row(number, last)?.timestamp() >= time {
                return Ok(number);
            }
        }
        Ok(first + R::PER_PAGE)
    }

    /// Calls `take` with the rows of `range` that match `groups`, until it returns false.
    pub(crate) fn scan(
        &self,
        groups: &Groups,
        range: Range<u64>,
        reversed: bool,
        mut take: impl FnMut(u64, R) -> bool,
    ) -> Result<(), HistoryError> {
        let mut last = LastPage::new();
        let tail = range.start.max(self.tail_first)..range.end;
        if reversed && !self.scan_tail(groups, &tail, reversed, &mut take) {
            return Ok(());
        }
        let first = self.runs.partition_point(|run| run.summary.rows.end <= range.start);
        let end = self.runs.partition_point(|run| run.summary.rows.start < range.end).max(first);
        let count = end - first;
        for step in 0..count {
            let run = &self.runs[if reversed { end - 1 - step } else { first + step }];
            let rows = &run.summary.rows;
            let part = range.start.max(rows.start)..range.end.min(rows.end);
            if !self.scan_run(run, groups, part, reversed, &mut last, &mut take)? {
                return Ok(());
            }
        }
        if !reversed {
            self.scan_tail(groups, &tail, reversed, &mut take);
        }
        Ok(())
    }

    /// Returns false when `take` did.
    fn scan_tail(
        &self,
        groups: &Groups,
        range: &Range<u64>,
        reversed: bool,
        take: &mut impl FnMut(u64, R) -> bool,
    ) -> bool {
        let mut visit = |number: u64, row: &R| !matches(row, groups) || take(number, *row);
        if reversed {
            self.chunks.iter().rev().all(|chunk| {
                let (first, rows) = chunk.part(range);
                rows.iter().enumerate().rev().all(|(at, row)| visit(first + at as u64, row))
            })
        } else {
            self.chunks.iter().all(|chunk| {
                let (first, rows) = chunk.part(range);
                (first..).zip(rows).all(|(number, row)| visit(number, row))
            })
        }
    }

    /// Returns false when `take` did. `range` must be within the run.
    fn scan_run(
        &self,
        run: &Run,
        groups: &Groups,
        range: Range<u64>,
        reversed: bool,
        last: &mut LastPage,
        take: &mut impl FnMut(u64, R) -> bool,
    ) -> Result<bool, HistoryError> {
        let start = run.summary.rows.start;
        let mut sources: Vec<_> = groups.iter().map(|group| Source::new(run, group)).collect();
        sources.sort_by_cached_key(Source::page_count);
        let mut left = range;
        let mut candidates = Vec::with_capacity(AHEAD_MAX);
        let mut ahead = AHEAD_MIN;
        while !left.is_empty() {
            candidates.clear();
            while candidates.len() < ahead && !left.is_empty() {
                let from = if reversed { left.end - 1 } else { left.start };
                match common_row(&mut sources, from - start, reversed) {
                    Ok(Some(row)) if left.contains(&(start + row)) => {
                        let found = start + row;
                        candidates.push(found);
                        left = if reversed { left.start..found } else { found + 1..left.end };
                    }
                    Ok(_) => left = 0..0,
                    Err(error) => {
                        handle_run_error(run, error)?;
                        // Without sources, the rest of the scan reads every row.
                        sources.clear();
                    }
                }
            }
            self.expect_rows(&candidates);
            for found in &candidates {
                let row = self.row(*found, last)?;
                if matches(&row, groups) && !take(*found, row) {
                    return Ok(false);
                }
            }
            ahead = (ahead * 2).min(AHEAD_MAX);
        }
        Ok(true)
    }

    /// Starts reading the pages of these rows, so that the reads overlap.
    fn expect_rows(&self, numbers: &[u64]) {
        let mut expected = None;
        for page in
            numbers.iter().filter(|number| **number < self.tail_first).map(|number| number / R::PER_PAGE)
        {
            if expected != Some(page) {
                self.files.expect_page(page);
            }
            expected = Some(page);
        }
    }
}
