//! Work on indexes that another thread may do: it takes a [`Job`], runs it, and hands back what came out.
//!
//! A job is a value that shares nothing but immutable rows, runs and the disk with the history, so appends
//! and reads go on beside it. None takes long: a merge of large runs comes as many jobs.

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

/// Pages that one step of a merge writes: some milliseconds.
const STEP_PAGES: u64 = 512;

/// A bounded piece of work on the indexes. Not to be dropped without running it, or the index stands still.
#[derive(Debug)]
#[must_use = "the index stands still until the job is run and its result handed back"]
pub struct Job {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) work: Work,
}

/// What came out of a [`Job`]: to be handed to `History::complete`.
#[derive(Debug)]
#[must_use = "the index stands still until this is handed back"]
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

/// A first run to be built from rows in memory.
#[derive(Debug)]
pub(crate) struct Build<R> {
    pub(crate) name: RunName,
    pub(crate) rows: Range<u64>,
    pub(crate) chunks: Vec<Chunk<R>>,
}

/// A damaged run, to be replaced by first runs that are built from rows on the disk.
#[derive(Debug)]
pub(crate) struct Rebuild<R> {
    pub(crate) damaged: Arc<Run>,
    pub(crate) files: RowFiles<R>,
    /// Rows of a first run.
    pub(crate) block_rows: u64,
    pub(crate) built: Vec<Arc<Run>>,
}

#[derive(Debug)]
pub(crate) enum Outcome {
    /// A first run takes the place of the tail's oldest rows.
    Built(Arc<Run>),
    /// The merge goes on.
    Begun(Box<Merge>),
    /// A run takes the place of eight.
    Merged(Arc<Run>),
    /// An input of the merge is damaged.
    Failed,
    /// There was no room: the same work comes again.
    NoRoom,
    RebuildingMovements(Box<Rebuild<Movement>>),
    RebuildingRefusals(Box<Rebuild<Refusal>>),
    /// First runs take the place of a damaged one.
    Rebuilt(Arc<Run>, Vec<Arc<Run>>),
}

impl Job {
    /// Does the work. After an error the history builds no index any more; rows and answers stay right.
    pub fn run(self) -> Result<Finished, HistoryError> {
        match self.work() {
            // A run has its name when all of it is there: what was written of it is nothing.
            Err(HistoryError::Disk(DiskError::Full { .. })) => Ok(Finished { outcome: Outcome::NoRoom }),
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
    /// True when there was no room for the work: it comes again, and is better left until there is.
    pub const fn lacks_room(&self) -> bool {
        matches!(self.outcome, Outcome::NoRoom)
    }
}

/// Goes a step on with a merge.
fn step(merge: Box<Merge>) -> Result<Outcome, HistoryError> {
    let name = merge.name();
    match merge.step(STEP_PAGES) {
        Ok(Progress::Begun(merge)) => Ok(Outcome::Begun(merge)),
        Ok(Progress::Done(run)) => Ok(Outcome::Merged(run)),
        // The input that is damaged is marked.
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
