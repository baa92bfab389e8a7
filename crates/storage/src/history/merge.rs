//! Merges eight runs into one, in steps.
//!
//! The inputs cover consecutive rows. So the merged postings of a key are those of the first input, then
//! those of the second, and so on. Keys are compared once per key and input, not once per posting.

use std::sync::Arc;

use super::filter::Filter;
use super::key::Kind;
use super::page::{pages, place};
use super::postings::{PageDecoder, Posting};
use super::run::{FAN_OUT, Run, RunError, RunName, Summary, postings_of};
use super::run_writer::RunWriter;
use crate::disk::{BLOCK_SIZE, Disk, DiskError};

/// Pages per read.
const READ_PAGES: u64 = 16;

/// A merge under way.
#[derive(Debug)]
pub(crate) struct Merge {
    name: RunName,
    inputs: Vec<Arc<Run>>,
    writer: RunWriter,
    filter: Filter,
    /// Index in [`Kind::ALL`] of the kind that is being merged.
    kind_index: usize,
    sources: Vec<Source>,
    /// The last interval, which the next one may extend; `None` when there is none.
    open: Option<Posting>,
}

/// Result of a step.
#[derive(Debug)]
pub(crate) enum Progress {
    /// There is more to do.
    Begun(Box<Merge>),
    /// The new run is on the disk.
    Done(Arc<Run>),
}

impl Merge {
    /// Begins a merge of consecutive runs.
    pub(crate) fn begin(disk: Arc<dyn Disk>, inputs: Vec<Arc<Run>>) -> Result<Self, DiskError> {
        assert_eq!(inputs.len() as u64, FAN_OUT, "a merge has eight inputs");
        let first = inputs[0].name;
        let name = RunName { table: first.table, level: first.level + 1, number: first.number / FAN_OUT };
        let keys = inputs.iter().map(|input| input.summary.filter.capacity()).sum();
        let writer = RunWriter::create(disk, name)?;
        let mut merge = Self {
            name,
            inputs,
            writer,
            filter: Filter::new(keys),
            kind_index: 0,
            sources: Vec::new(),
            open: None,
        };
        merge.begin_kind();
        Ok(merge)
    }

    /// The name of the new run.
    pub(crate) const fn name(&self) -> RunName {
        self.name
    }

    /// Writes about `pages` pages.
    pub(crate) fn step(mut self: Box<Self>, pages: u64) -> Result<Progress, RunError> {
        let stop = self.writer.pages() + pages;
        while self.kind_index < Kind::ALL.len() {
            while self.merge_key()? {
                if self.writer.pages() >= stop {
                    self.writer.sync()?;
                    return Ok(Progress::Begun(self));
                }
            }
            self.close_interval()?;
            self.writer.end()?;
            self.kind_index += 1;
            self.begin_kind();
        }
        let rows = self.inputs[0].summary.rows.start..self.inputs[self.inputs.len() - 1].summary.rows.end;
        let ids = self.inputs.iter().map(|input| input.summary.ids);
        let summary = Summary {
            rows,
            ids: ids.fold((u128::MAX, 0), |all, one| (all.0.min(one.0), all.1.max(one.1))),
            timestamps: self.inputs.iter().flat_map(|input| &input.summary.timestamps).copied().collect(),
            filter: self.filter,
        };
        Ok(Progress::Done(Arc::new(self.writer.finish(summary, true)?)))
    }

    fn begin_kind(&mut self) {
        let Some(kind) = Kind::ALL.get(self.kind_index) else { return };
        self.writer.begin(*kind);
        let start = self.inputs[0].summary.rows.start;
        self.sources = self
            .inputs
            .iter()
            .map(|input| Source::new(Arc::clone(input), *kind, input.summary.rows.start - start))
            .collect();
    }

    /// Finds the smallest key of all inputs, and moves all its postings from the first input that has it.
    /// False when no postings are left.
    fn merge_key(&mut self) -> Result<bool, RunError> {
        let kind = Kind::ALL[self.kind_index];
        let mut least: Option<(u64, usize)> = None;
        for (index, source) in self.sources.iter_mut().enumerate() {
            if let Some(posting) = source.peek()?
                && least.is_none_or(|(key, _)| posting.key < key)
            {
                least = Some((posting.key, index));
            }
        }
        let Some((key, index)) = least else { return Ok(false) };
        if kind.is_filtered() {
            self.filter.insert(key);
        }
        while let Some(posting) = self.sources[index].peek()?
            && posting.key == key
        {
            self.sources[index].advance();
            if kind.has_intervals() {
                self.add_interval(posting)?;
            } else {
                self.writer.push(posting)?;
            }
        }
        Ok(true)
    }

    /// Adds an interval; joins it with the last one when they are adjacent.
    fn add_interval(&mut self, posting: Posting) -> Result<(), DiskError> {
        if let Some(open) = &mut self.open
            && open.key == posting.key
            && open.end == posting.row
        {
            open.end = posting.end;
            return Ok(());
        }
        self.close_interval()?;
        self.open = Some(posting);
        Ok(())
    }

    fn close_interval(&mut self) -> Result<(), DiskError> {
        self.open.take().map_or(Ok(()), |open| self.writer.push(open))
    }
}

/// The postings of one kind in one input, in order.
#[derive(Debug)]
struct Source {
    run: Arc<Run>,
    kind: Kind,
    /// Difference between a row's position in the output and in this input.
    row_offset: u64,
    /// Pages that were read.
    buffer: Vec<u8>,
    /// Index of the next page in the buffer.
    buffer_at: usize,
    /// The next page to read, by its number in the section.
    next_page: u64,
    /// The postings of one page.
    postings: Vec<Posting>,
    at: usize,
}

impl Source {
    fn new(run: Arc<Run>, kind: Kind, row_offset: u64) -> Self {
        Self {
            run,
            kind,
            row_offset,
            buffer: Vec::new(),
            buffer_at: 0,
            next_page: 0,
            postings: Vec::new(),
            at: 0,
        }
    }

    fn advance(&mut self) {
        self.at += 1;
    }

    #[inline]
    fn peek(&mut self) -> Result<Option<Posting>, RunError> {
        if self.at == self.postings.len() && !self.load()? {
            return Ok(None);
        }
        Ok(Some(self.postings[self.at]))
    }

    /// Decodes the next page; false when there is none.
    fn load(&mut self) -> Result<bool, RunError> {
        if self.buffer_at == pages(&self.buffer).len() {
            let section = self.run.section(self.kind);
            let left = section.starts.len() as u64 - self.next_page;
            if left == 0 {
                return Ok(false);
            }
            let count = left.min(READ_PAGES);
            self.buffer.resize(place(count) * BLOCK_SIZE, 0);
            let first = section.first_page + self.next_page;
            self.run.read_postings(first, &mut self.buffer).inspect_err(|_| self.run.mark_damaged())?;
            self.next_page += count;
            self.buffer_at = 0;
        }
        let page = &pages(&self.buffer)[self.buffer_at];
        self.buffer_at += 1;
        let mut decoder = PageDecoder::new(postings_of(page), self.kind.has_intervals());
        self.postings.clear();
        self.postings.extend(decoder.by_ref().map(|posting| Posting {
            row: posting.row + self.row_offset,
            end: posting.end + self.row_offset,
            ..posting
        }));
        self.at = 0;
        if decoder.is_damaged() || self.postings.is_empty() {
            self.run.mark_damaged();
            return Err(RunError::Damaged);
        }
        Ok(true)
    }
}
