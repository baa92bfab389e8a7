//! The history: every movement and every refusal that was ever applied, and what finds them again.
//!
//! Two tables of rows of one size, movements (336 bytes) and refusals (32 bytes), only ever appended to,
//! so a row's number is its address. What finds rows is built behind them: sorted, immutable *runs* over
//! fixed stretches of rows, eight of which become one of the next level; a run says nothing that the rows do
//! not say. Rows that no run holds yet are in memory. docs/formats/history.md has every byte;
//! docs/decisions/0002-history-index.md says why it is not a tree.
//!
//! One writer ([`History`]), in the order of the log; any number of readers ([`HistoryReader`]).
//!
//! Always holds: a row is visible when its append returned, and durable when a flush after it returned;
//! every page is checked whenever it is read; every row that an index names is compared with what was
//! asked for. What lies behind the position that it is opened with does not count: it comes again from the
//! log, byte for byte.
//!
//! Never: a row is changed or written twice in one place; a damaged row is served; a write is tried again
//! after one failed; a damaged index makes an answer wrong or stops a node: it is built again.
//!
//! | module | what |
//! |---|---|
//! | `page` `row` `key` | bytes of a page, of a row; the 44 bits that a value becomes |
//! | `rows` `tail_file` | files of rows, and the begun page of a flush |
//! | `tail` `state` `view` | rows in memory; what is published; one table at one moment |
//! | `filter` `postings` `run` `run_writer` `cursor` | one run: its parts, its file, looking in it |
//! | `build` `merge` `job` | making runs |
//! | `recovery` | opening |
//! | `reader` | answering |

mod build;
mod chunk;
mod cursor;
mod error;
mod filter;
mod job;
mod key;
mod merge;
mod options;
mod page;
mod postings;
mod reader;
mod recovery;
mod row;
mod rows;
mod run;
mod run_writer;
mod schedule;
mod state;
mod tail;
mod tail_file;
#[cfg(test)]
mod tests;
mod view;

use std::collections::VecDeque;
use std::sync::Arc;

use bezant_types::{HistoryPosition, Movement, Refusal, RowBatch};

use self::recovery::{Folder, open_table};
use self::row::Row;
use self::rows::{RowFiles, RowWriter, open_for_reading};
use self::schedule::Schedule;
use self::state::{Shared, State};
use self::tail::identities;
use crate::disk::{Disk, DiskError};

pub use chunk::{RowChunk, RowChunkError};
pub use error::HistoryError;
pub use job::{Finished, Job};
pub use options::{HistoryOptions, TableLayout};
pub use reader::HistoryReader;

/// Writes the history. One for a folder.
///
/// The order of calls: [`append`](Self::append) whenever an entry was applied, and now and then
/// [`next_job`](Self::next_job) until `None`, the jobs being run wherever it suits and handed to
/// [`complete`](Self::complete). For a checkpoint: [`flush`](Self::flush) before it is finished,
/// [`handle_checkpointed`](Self::handle_checkpointed) when it is durable.
#[derive(Debug)]
pub struct History {
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    movements: RowWriter<Movement>,
    refusals: RowWriter<Refusal>,
    schedule: Schedule,
    /// Rows that readers see and that have no room on the disk yet.
    waiting: VecDeque<(RowBatch<Movement>, RowBatch<Refusal>)>,
    /// What was last flushed.
    flushed: HistoryPosition,
    /// Positions that have a tail file.
    tails: Vec<HistoryPosition>,
    /// Why nothing more is written.
    poison: Option<String>,
}

impl History {
    /// Opens the history of a folder as it was at the position of the newest checkpoint; (0, 0) for none.
    pub fn open(disk: Arc<dyn Disk>, position: HistoryPosition) -> Result<Self, HistoryError> {
        Self::open_with(disk, position, HistoryOptions::default())
    }

    /// The same in another layout, which must be that with which the folder was made.
    pub fn open_with(
        disk: Arc<dyn Disk>,
        position: HistoryPosition,
        options: HistoryOptions,
    ) -> Result<Self, HistoryError> {
        let folder = Folder::read(&*disk)?;
        let (movements, movement_writer) = open_table(&disk, options.movements, position.movements, &folder)?;
        let (refusals, refusal_writer) = open_table(&disk, options.refusals, position.refusals, &folder)?;
        disk.sync_folder()?;
        let state = State { movements, refusals };
        assert_eq!(state.position(), position, "the history begins where the checkpoint ends");
        Ok(Self {
            schedule: Schedule::new(Arc::clone(&disk), options),
            disk,
            shared: Arc::new(Shared::new(state)),
            movements: movement_writer,
            refusals: refusal_writer,
            waiting: VecDeque::new(),
            flushed: position,
            tails: folder.tails,
            poison: None,
        })
    }

    /// A reader, which sees all that is appended.
    pub fn reader(&self) -> HistoryReader {
        HistoryReader::new(Arc::clone(&self.shared))
    }

    /// How many rows there are.
    pub fn position(&self) -> HistoryPosition {
        HistoryPosition { movements: self.movements.next(), refusals: self.refusals.next() }
    }

    /// Rows that wait in memory for their index. When this grows, jobs are not run fast enough.
    pub fn unindexed_rows(&self) -> HistoryPosition {
        let state = self.shared.read();
        let (movements, refusals) = (&state.movements.tail, &state.refusals.tail);
        HistoryPosition {
            movements: movements.end() - movements.first(),
            refusals: refusals.end() - refusals.first(),
        }
    }

    /// Adds the rows of an entry, in order. Readers see them when this returns; durable after a flush.
    ///
    /// Readers see them after an error too, here or before: whoever was told that a row was applied can read
    /// it, though nothing more is written. What is appended then stays in memory; after [`HistoryError::NoRoom`]
    /// until [`write_waiting`](Self::write_waiting) finds room.
    pub fn append(
        &mut self,
        movements: RowBatch<Movement>,
        refusals: RowBatch<Refusal>,
    ) -> Result<HistoryPosition, HistoryError> {
        if self.poison.is_none() {
            self.waiting.push_back((RowBatch::clone(&movements), RowBatch::clone(&refusals)));
        }
        self.publish_rows(movements, refusals);
        self.write_waiting()
    }

    /// Writes what was appended while there was no room; does nothing when nothing waits.
    pub fn write_waiting(&mut self) -> Result<HistoryPosition, HistoryError> {
        while let Some((movements, refusals)) = self.waiting.front().cloned() {
            self.guarded(|history| history.append_rows(&movements, &refusals))?;
            self.waiting.pop_front();
        }
        self.guarded(|history| Ok(history.position()))
    }

    /// Makes everything durable that was appended before. Rows were mostly written already.
    pub fn flush(&mut self) -> Result<HistoryPosition, HistoryError> {
        self.write_waiting()?;
        self.guarded(Self::flush_rows)
    }

    /// Tells that a checkpoint is durable and none before `position` will be asked for again: lets go of
    /// files that only an older one needs.
    pub fn handle_checkpointed(&mut self, position: HistoryPosition) -> Result<(), HistoryError> {
        self.guarded(|history| {
            history.remove_tails(position)?;
            Ok(history.schedule.remove_retired(position)?)
        })
    }

    /// Work that waits. `None` while a job is under way: hand that back first.
    pub fn next_job(&mut self) -> Option<Job> {
        if self.poison.is_some() { None } else { self.schedule.next_job(&self.shared) }
    }

    /// Takes what came out of a job.
    pub fn complete(&mut self, finished: Finished) -> Result<(), HistoryError> {
        self.guarded(|history| Ok(history.schedule.complete(&history.shared, finished.outcome)?))
    }

    /// Does one job here, for programs without a thread to spare. True when more waits, and there is room for it.
    pub fn maintain(&mut self) -> Result<bool, HistoryError> {
        let Some(job) = self.next_job() else { return Ok(false) };
        let lacks_room = self.guarded(|history| {
            let finished = job.run()?;
            let lacks_room = finished.lacks_room();
            history.schedule.complete(&history.shared, finished.outcome)?;
            Ok(lacks_room)
        })?;
        Ok(!lacks_room && self.schedule.has_work(&self.shared))
    }

    /// Does what may write, unless a write failed before; remembers a failure.
    fn guarded<T>(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<T, HistoryError>,
    ) -> Result<T, HistoryError> {
        if let Some(reason) = &self.poison {
            return Err(HistoryError::Poisoned { reason: reason.clone() });
        }
        let result = write(self);
        if let Err(error) = &result
            && !matches!(error, HistoryError::NoRoom(_))
        {
            self.poison = Some(error.to_string());
        }
        result
    }

    /// Shows readers rows, in memory: they leave it when they are written and a run has taken their place.
    fn publish_rows(&self, movements: RowBatch<Movement>, refusals: RowBatch<Refusal>) {
        let next = self.shared.read().position();
        let movement_identities = identities(next.movements, &movements);
        let refusal_identities = identities(next.refusals, &refusals);
        let mut state = self.shared.write();
        state.movements.tail.push(movements, &movement_identities);
        state.refusals.tail.push(refusals, &refusal_identities);
    }

    fn append_rows(
        &mut self,
        movements: &[Movement],
        refusals: &[Refusal],
    ) -> Result<HistoryPosition, HistoryError> {
        // Before the first of them is taken: then all of them can be written.
        self.movements.reserve(movements.len())?;
        self.refusals.reserve(refusals.len())?;
        self.movements.append(movements)?;
        self.refusals.append(refusals)?;
        self.publish_files()?;
        Ok(self.position())
    }

    fn flush_rows(&mut self) -> Result<HistoryPosition, HistoryError> {
        if self.flushed == self.position() {
            return Ok(self.flushed);
        }
        self.movements.flush()?;
        self.refusals.flush()?;
        self.publish_files()?;
        self.flushed = tail_file::write(&self.disk, &self.movements, &self.refusals)?;
        // A flush at this position before a crash has left its file, which was found when opening.
        if !self.tails.contains(&self.flushed) {
            self.tails.push(self.flushed);
        }
        Ok(self.flushed)
    }

    /// Shows readers the files that were made.
    fn publish_files(&self) -> Result<(), HistoryError> {
        let state = self.shared.read();
        let (movements, refusals) = (state.movements.files.clone(), state.refusals.files.clone());
        drop(state);
        if let Some(files) = with_new_files(&*self.disk, &self.movements, movements)? {
            self.shared.write().movements.files = files;
        }
        if let Some(files) = with_new_files(&*self.disk, &self.refusals, refusals)? {
            self.shared.write().refusals.files = files;
        }
        Ok(())
    }

    fn remove_tails(&mut self, position: HistoryPosition) -> Result<(), DiskError> {
        let is_needed = |tail: &HistoryPosition| {
            tail.movements >= position.movements && tail.refusals >= position.refusals
        };
        for tail in self.tails.extract_if(.., |tail| !is_needed(tail)) {
            self.disk.remove(&tail_file::file_name(tail))?;
        }
        Ok(())
    }
}

/// The files with those that the writer made since; `None` when there are none.
fn with_new_files<R: Row>(
    disk: &dyn Disk,
    writer: &RowWriter<R>,
    files: RowFiles<R>,
) -> Result<Option<RowFiles<R>>, HistoryError> {
    let wanted = writer.file_count();
    if files.count() >= wanted {
        return Ok(None);
    }
    let mut files = files;
    while files.count() < wanted {
        let number = files.count();
        files = files.with(open_for_reading::<R>(disk, number)?);
    }
    Ok(Some(files))
}
