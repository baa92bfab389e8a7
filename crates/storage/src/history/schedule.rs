//! Chooses the next index work and applies its result.
//!
//! There is one job at a time. Building runs from rows in memory comes first, so that memory never grows far
//! past one block, whatever else waits. Then come damaged runs. Then come merges, step by step, the lowest
//! level first: many small runs slow readers down more than a few large ones.
//!
//! After a merge, the files of its inputs stay until a checkpoint has passed the end of the new run. A node
//! that opens at an older checkpoint uses these files and need not build the runs again.

use std::sync::Arc;

use bezant_types::HistoryPosition;

use super::job::{Build, Job, Outcome, Rebuild, Work};
use super::merge::Merge;
use super::options::HistoryOptions;
use super::page::Table;
use super::row::Row;
use super::run::{FAN_OUT, Run, RunName};
use super::state::{Shared, State, TableState};
use crate::disk::{Disk, DiskError};

/// Chooses jobs and applies their results.
#[derive(Debug)]
pub(crate) struct Schedule {
    disk: Arc<dyn Disk>,
    options: HistoryOptions,
    /// True while a job is under way.
    is_busy: bool,
    /// Merges between two steps: at most one per level.
    #[expect(clippy::vec_box, reason = "a merge is moved many times, and is large")]
    merges: Vec<Box<Merge>>,
    /// A rebuild between two steps.
    rebuild: Option<Work>,
    /// Files that no reader needs, each with the number of rows that a checkpoint must reach before the file
    /// is removed.
    retired: Vec<(RunName, u64)>,
}

impl Schedule {
    pub(crate) const fn new(disk: Arc<dyn Disk>, options: HistoryOptions) -> Self {
        Self { disk, options, is_busy: false, merges: Vec::new(), rebuild: None, retired: Vec::new() }
    }

    /// The next job; `None` when there is no work, or a job is under way.
    pub(crate) fn next_job(&mut self, shared: &Shared) -> Option<Job> {
        if self.is_busy {
            return None;
        }
        let work = self.next_work(&shared.read())?;
        self.is_busy = true;
        Some(Job { disk: Arc::clone(&self.disk), work })
    }

    /// True when there is work.
    pub(crate) fn has_work(&self, shared: &Shared) -> bool {
        let state = shared.read();
        !self.merges.is_empty()
            || self.rebuild.is_some()
            || state.movements.tail.full_block().is_some()
            || state.refusals.tail.full_block().is_some()
            || state.runs().any(|run| run.is_damaged())
            || mergeable(&state.movements, u8::MAX).is_some()
            || mergeable(&state.refusals, u8::MAX).is_some()
    }

    /// Applies the result of a job.
    pub(crate) fn complete(&mut self, shared: &Shared, outcome: Outcome) -> Result<(), DiskError> {
        self.is_busy = false;
        match outcome {
            Outcome::Built(run) => {
                // The new run has reused the name of a retired file, which must not be removed any more.
                self.retired.retain(|(name, _)| *name != run.name);
                put_first_run(shared, run);
            }
            Outcome::Begun(merge) => self.merges.push(merge),
            Outcome::Merged(run) => self.put_merged(shared, run)?,
            Outcome::Failed | Outcome::NoSpace => {}
            Outcome::RebuildingMovements(work) => self.rebuild = Some(Work::RebuildMovements(work)),
            Outcome::RebuildingRefusals(work) => self.rebuild = Some(Work::RebuildRefusals(work)),
            Outcome::Rebuilt(damaged, built) => self.put_rebuilt(shared, &damaged, &built)?,
        }
        Ok(())
    }

    /// Removes files that are needed neither now nor by an opening at `position` or later.
    pub(crate) fn remove_retired(&mut self, position: HistoryPosition) -> Result<(), DiskError> {
        let is_passed = |name: &RunName, rows: u64| match name.table {
            Table::Movements => rows <= position.movements,
            Table::Refusals => rows <= position.refusals,
        };
        for (name, _) in self.retired.extract_if(.., |(name, rows)| is_passed(name, *rows)) {
            self.disk.remove(&name.file())?;
        }
        Ok(())
    }

    fn next_work(&mut self, state: &State) -> Option<Work> {
        let build = Build::of(&state.movements).map(Work::BuildMovements);
        build
            .or_else(|| Build::of(&state.refusals).map(Work::BuildRefusals))
            .or_else(|| self.rebuild.take())
            .or_else(|| {
                let block_rows = self.options.movements.run_pages * bezant_types::Movement::PER_PAGE;
                Rebuild::of(&state.movements, block_rows).map(Work::RebuildMovements)
            })
            .or_else(|| {
                let block_rows = self.options.refusals.run_pages * bezant_types::Refusal::PER_PAGE;
                Rebuild::of(&state.refusals, block_rows).map(Work::RebuildRefusals)
            })
            .or_else(|| self.next_merge(state))
    }

    /// A new merge, if its level is lower than those under way; otherwise the next step of the lowest one.
    fn next_merge(&mut self, state: &State) -> Option<Work> {
        let lowest = (0..self.merges.len()).min_by_key(|at| self.merges[*at].name().level);
        let below = lowest.map_or(u8::MAX, |at| self.merges[at].name().level);
        mergeable(&state.movements, below)
            .or_else(|| mergeable(&state.refusals, below))
            .map(Work::Begin)
            .or_else(|| lowest.map(|at| Work::Continue(self.merges.swap_remove(at))))
    }

    fn put_merged(&mut self, shared: &Shared, run: Arc<Run>) -> Result<(), DiskError> {
        let (name, rows_end) = (run.name, run.summary.rows.end);
        let mut state = shared.write();
        let inputs = match name.table {
            Table::Movements => put_merged(&mut state.movements, run),
            Table::Refusals => put_merged(&mut state.refusals, run),
        };
        drop(state);
        if inputs.is_empty() {
            // An input was rebuilt meanwhile: its replacements are merged later.
            return self.disk.remove(&name.file());
        }
        self.retired.retain(|(retired, _)| *retired != name);
        self.retired.extend(inputs.iter().map(|input| (input.name, rows_end)));
        Ok(())
    }

    fn put_rebuilt(
        &mut self,
        shared: &Shared,
        damaged: &Arc<Run>,
        built: &[Arc<Run>],
    ) -> Result<(), DiskError> {
        let mut state = shared.write();
        match damaged.name.table {
            Table::Movements => put_rebuilt(&mut state.movements, damaged, built),
            Table::Refusals => put_rebuilt(&mut state.refusals, damaged, built),
        }
        drop(state);
        self.retired.retain(|(name, _)| !built.iter().any(|run| run.name == *name));
        // At level 0 the new file has the name of the damaged one, which it has replaced.
        if damaged.name.level > 0 { self.disk.remove(&damaged.name.file()) } else { Ok(()) }
    }
}

impl State {
    fn runs(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.movements.runs.iter().chain(&*self.refusals.runs)
    }
}

impl<R: Row> Build<R> {
    /// The work to index the tail's oldest block; `None` when the block is not full.
    fn of(table: &TableState<R>) -> Option<Self> {
        let (number, rows, chunks) = table.tail.full_block()?;
        Some(Self { name: RunName { table: R::TABLE, level: 0, number }, rows, chunks })
    }
}

impl<R: Row> Rebuild<R> {
    /// The work to rebuild a damaged run; `None` when there is none.
    fn of(table: &TableState<R>, block_rows: u64) -> Option<Box<Self>> {
        let damaged = table.runs.iter().find(|run| run.is_damaged())?;
        let (damaged, files) = (Arc::clone(damaged), table.files.clone());
        Some(Box::new(Self { damaged, files, block_rows, built: Vec::new() }))
    }
}

/// The eight runs to merge next: those of the lowest level, if the merged run is of a level lower than
/// `below`. `None` when no eight runs can be merged.
fn mergeable<R: Row>(table: &TableState<R>, below: u8) -> Option<Vec<Arc<Run>>> {
    let fan_out = usize::try_from(FAN_OUT).ok()?;
    let groups = table.runs.windows(fan_out).filter(|group| {
        let first = group[0].name;
        first.level + 1 < below
            && first.number.is_multiple_of(FAN_OUT)
            && group.iter().all(|run| run.name.level == first.level && !run.is_damaged())
    });
    groups.min_by_key(|group| group[0].name.level).map(<[_]>::to_vec)
}

/// Replaces the tail's oldest block by a first run.
fn put_first_run(shared: &Shared, run: Arc<Run>) {
    let mut state = shared.write();
    match run.name.table {
        Table::Movements => {
            let gone = replace_block(&mut state.movements, run);
            drop(state);
            drop(gone);
        }
        Table::Refusals => {
            let gone = replace_block(&mut state.refusals, run);
            drop(state);
            drop(gone);
        }
    }
}

fn replace_block<R: Row>(table: &mut TableState<R>, run: Arc<Run>) -> impl Sized + use<R> {
    assert_eq!(run.summary.rows.start, table.tail.first(), "the run holds the tail's oldest rows");
    let count = table.runs.len();
    table.replace_runs(count, 0, [run]);
    table.tail.drop_block()
}

/// Replaces the inputs by the merged run and returns them; does nothing when not all inputs are there.
fn put_merged<R: Row>(table: &mut TableState<R>, run: Arc<Run>) -> Vec<Arc<Run>> {
    let rows = &run.summary.rows;
    let at = table.runs.partition_point(|input| input.summary.rows.end <= rows.start);
    let end = table.runs.partition_point(|input| input.summary.rows.start < rows.end);
    let inputs = table.runs[at..end].to_vec();
    let level = run.name.level - 1;
    if inputs.len() as u64 != FAN_OUT || inputs.iter().any(|input| input.name.level != level) {
        return Vec::new();
    }
    table.replace_runs(at, inputs.len(), [run]);
    inputs
}

fn put_rebuilt<R: Row>(table: &mut TableState<R>, damaged: &Arc<Run>, built: &[Arc<Run>]) {
    let at = table.index_of(damaged).expect("invariant: only its rebuild or a merge removes a run");
    table.replace_runs(at, 1, built.iter().cloned());
}
