//! Index work that another thread can do: it takes a [`Job`], runs it and returns its result.
//!
//! A job is a value. It shares only immutable rows, runs and the disk with the history, so appends and reads
//! continue meanwhile. Every job is short: a merge of large runs is split into many jobs.

use std::ops::Range;
use std::sync::Arc;

use bezant_types::{Movement, Refusal};

use super::build::build;
use super::error::HistoryError;
use super::merge::{Merge, Progress};
use super::row::Row;
use super::rows::RowFiles;
use super::run::{Run, RunError, RunName};
use super::tail::Chunk;
use crate::disk::{Disk, DiskError};

/// Pages that one step of a merge writes: a few milliseconds of work.
const STEP_PAGES: u64 = 512;

/// A bounded piece of index work. A job that is dropped without being run stops all further index work.
#[derive(Debug)]
#[must_use = "no index is built until the job is run and its result passed to `History::complete`"]
pub struct Job {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) work: Work,
}

/// The result of a [`Job`], for `History::complete`.
#[derive(Debug)]
#[must_use = "no index is built until this is passed to `History::complete`"]
pub struct Finished {
    pub(crate) outcome: Outcome,
}

#[derive(Debug)]
pub(crate) enum Work {
    BuildMovements(Build<Movement>),
    BuildRefusals(Build<Refusal>),
    Begin(Vec<Arc<Run>>),
    Continue(Box<Merge>),
    RebuildMovements(Box<Rebuild<Movement>>),
    RebuildRefusals(Box<Rebuild<Refusal>>),
}

/// A first run to build from rows in memory.
#[derive(Debug)]
pub(crate) struct Build<R> {
    pub(crate) name: RunName,
    pub(crate) rows: Range<u64>,
    pub(crate) chunks: Vec<Chunk<R>>,
}

/// A damaged run to replace by first runs, which are built from rows on the disk.
#[derive(Debug)]
pub(crate) struct Rebuild<R> {
    pub(crate) damaged: Arc<Run>,
    pub(crate) files: RowFiles<R>,
    /// Rows per first run.
    pub(crate) block_rows: u64,
    pub(crate) built: Vec<Arc<Run>>,
}

#[derive(Debug)]
pub(crate) enum Outcome {
    /// A first run that replaces the oldest rows of the tail.
    Built(Arc<Run>),
    /// A merge that is not finished.
    Begun(Box<Merge>),
    /// A run that replaces eight runs.
    Merged(Arc<Run>),
    /// The merge stopped because an input is damaged; that run is marked as damaged.
    Failed,
    /// The disk is full: the same work is scheduled again.
    NoSpace,
    RebuildingMovements(Box<Rebuild<Movement>>),
    RebuildingRefusals(Box<Rebuild<Refusal>>),
    /// First runs that replace a damaged run.
    Rebuilt(Arc<Run>, Vec<Arc<Run>>),
}

impl Job {
    /// Does the work. After an error the history builds no more indexes; its rows and answers stay correct.
    pub fn run(self) -> Result<Finished, HistoryError> {
        match self.work() {
            // A run is renamed only when it is complete, so the part that was written is ignored.
            Err(HistoryError::Disk(DiskError::Full { .. })) => Ok(Finished { outcome: Outcome::NoSpace }),
            outcome => Ok(Finished { outcome: outcome? }),
        }
    }

    fn work(self) -> Result<Outcome, HistoryError> {
        let Self { disk, work } = self;
        let outcome = match work {
            Work::BuildMovements(work) => Outcome::Built(Arc::new(work.run(disk)?)),
            Work::BuildRefusals(work) => Outcome::Built(Arc::new(work.run(disk)?)),
            Work::Begin(inputs) => step(Box::new(Merge::begin(disk, inputs)?))?,
            Work::Continue(merge) => step(merge)?,
            Work::RebuildMovements(work) => work.run(&disk, Outcome::RebuildingMovements)?,
            Work::RebuildRefusals(work) => work.run(&disk, Outcome::RebuildingRefusals)?,
        };
        Ok(outcome)
    }
}

impl Finished {
    /// True when the disk was full: the same work is scheduled again, and should wait until there is space.
    pub const fn lacks_space(&self) -> bool {
        matches!(self.outcome, Outcome::NoSpace)
    }
}

/// Continues a merge by one step.
fn step(merge: Box<Merge>) -> Result<Outcome, HistoryError> {
    let name = merge.name();
    match merge.step(STEP_PAGES) {
        Ok(Progress::Begun(merge)) => Ok(Outcome::Begun(merge)),
        Ok(Progress::Done(run)) => Ok(Outcome::Merged(run)),
        // The merge has marked its damaged input.
        Err(RunError::Damaged) => Ok(Outcome::Failed),
        Err(RunError::Version(version)) => Err(HistoryError::Version { file: name.file(), version }),
        Err(RunError::Disk(error)) => Err(HistoryError::Disk(error)),
    }
}

impl<R: Row> Build<R> {
    fn run(self, disk: Arc<dyn Disk>) -> Result<Run, DiskError> {
        build(disk, self.name, self.rows, &self.chunks)
    }
}

impl<R: Row> Rebuild<R> {
    /// Builds one first run.
    fn run(
        mut self: Box<Self>,
        disk: &Arc<dyn Disk>,
        more: fn(Box<Self>) -> Outcome,
    ) -> Result<Outcome, HistoryError> {
        let blocks = self.damaged.name.blocks();
        let block = blocks.start + self.built.len() as u64;
        self.built.push(Arc::new(build_from_files(disk, &self.files, block, self.block_rows)?));
        if block + 1 < blocks.end {
            return Ok(more(self));
        }
        Ok(Outcome::Rebuilt(self.damaged, self.built))
    }
}

/// Builds a first run from rows on the disk.
pub(crate) fn build_from_files<R: Row>(
    disk: &Arc<dyn Disk>,
    files: &RowFiles<R>,
    block: u64,
    block_rows: u64,
) -> Result<Run, HistoryError> {
    let rows = block * block_rows..(block + 1) * block_rows;
    let read = files.read_rows(rows.start / R::PER_PAGE, rows.end / R::PER_PAGE)?;
    let chunk = Chunk { first: rows.start, rows: read.into() };
    let name = RunName { table: R::TABLE, level: 0, number: block };
    Ok(build(Arc::clone(disk), name, rows, &[chunk])?)
}
