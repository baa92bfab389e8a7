//! The history: every movement and every refusal that was ever applied, and the indexes that find them.
//!
//! It has two append-only tables, movements (336 bytes a row) and refusals (32 bytes a row). All rows of a
//! table have one size, so a row's number gives its address. Indexes are built later: sorted, immutable
//! *runs*, each over a fixed range of rows. Eight runs are merged into one of the next level. A run contains
//! only data that can be computed from the rows. Rows that are not yet in a run are in memory (the *tail*).
//! docs/formats/history.md describes every byte; docs/decisions/0002-history-index.md explains why the index
//! is not a tree.
//!
//! There is one writer ([`History`]), which appends in log order, and any number of readers
//! ([`HistoryReader`]).
//!
//! Always holds: a row is visible when its append returns, and durable when a later flush returns. Every page
//! is checked whenever it is read. Every row that an index returns is compared with what was searched for.
//! Rows after the position with which the history is opened are ignored: they are appended again from the
//! log, byte for byte.
//!
//! It never changes a row, never writes other bytes in the place of a row, and never returns a damaged row.
//! After a failed write it never writes again. A damaged index never makes an answer wrong and never stops
//! the node: it is rebuilt.
//!
//! | module | what |
//! |---|---|
//! | `page` `row` `key` | bytes of a page and of a row; the 44-bit hash of a value |
//! | `rows` `tail_file` | files of rows; the partial page of a flush |
//! | `tail` `state` `view` | rows in memory; what is published to readers; one table at one moment |
//! | `filter` `postings` `run` `run_writer` `cursor` | one run: its parts, its file, a search in it |
//! | `build` `merge` `job` | building runs |
//! | `recovery` | opening |
//! | `reader` | queries |

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

/// Writes the history of a folder; there is one per folder.
///
/// Call [`append`](Self::append) after each applied entry. From time to time, call
/// [`next_job`](Self::next_job) until it returns `None`, run the jobs on any thread, and pass their results
/// to [`complete`](Self::complete). For a checkpoint, call [`flush`](Self::flush) before the checkpoint is
/// finished, and [`handle_checkpointed`](Self::handle_checkpointed) when it is durable.
#[derive(Debug)]
pub struct History {
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    movements: RowWriter<Movement>,
    refusals: RowWriter<Refusal>,
    schedule: Schedule,
    /// Rows that readers see and that wait for disk space.
    waiting: VecDeque<(RowBatch<Movement>, RowBatch<Refusal>)>,
    /// Position of the last flush.
    flushed: HistoryPosition,
    /// Positions for which a tail file exists.
    tails: Vec<HistoryPosition>,
    /// Message of the write that failed; `None` while writes are allowed.
    poison: Option<String>,
}

impl History {
    /// Opens the history of a folder as of `position`, that of the newest checkpoint; (0, 0) without one.
    pub fn open(disk: Arc<dyn Disk>, position: HistoryPosition) -> Result<Self, HistoryError> {
        Self::open_with(disk, position, HistoryOptions::default())
    }

    /// Like [`open`](Self::open), with a layout, which must be the one with which the folder was created.
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
        assert_eq!(state.position(), position, "the history ends at the checkpoint's position");
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

    /// A reader of all rows that are and will be appended.
    pub fn reader(&self) -> HistoryReader {
        HistoryReader::new(Arc::clone(&self.shared))
    }

    /// The number of rows in each table.
    pub fn position(&self) -> HistoryPosition {
        HistoryPosition { movements: self.movements.next(), refusals: self.refusals.next() }
    }

    /// Rows in memory that no run indexes yet. If this grows, jobs do not run fast enough.
    pub fn unindexed_rows(&self) -> HistoryPosition {
        let state = self.shared.read();
        let (movements, refusals) = (&state.movements.tail, &state.refusals.tail);
        HistoryPosition {
            movements: movements.end() - movements.first(),
            refusals: refusals.end() - refusals.first(),
        }
    }

    /// Adds the rows of an entry, in order. Readers see them when this returns; a later flush makes them
    /// durable.
    ///
    /// Readers see the rows even if this call or an earlier one returned an error: a client may already know
    /// that a row was applied, and must be able to read it. Such rows stay in memory. After
    /// [`HistoryError::NoSpace`] they stay there until [`write_waiting`](Self::write_waiting) finds space.
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

    /// Writes the rows that wait for disk space; does nothing when there are none.
    pub fn write_waiting(&mut self) -> Result<HistoryPosition, HistoryError> {
        while let Some((movements, refusals)) = self.waiting.front().cloned() {
            self.guarded(|history| history.append_rows(&movements, &refusals))?;
            self.waiting.pop_front();
        }
        self.guarded(|history| Ok(history.position()))
    }

    /// Makes all appended rows durable. Most of them were written before.
    pub fn flush(&mut self) -> Result<HistoryPosition, HistoryError> {
        self.write_waiting()?;
        self.guarded(Self::flush_rows)
    }

    /// Called when a checkpoint at `position` is durable. Removes the files that only earlier positions need:
    /// after this, the history cannot be opened at an earlier position.
    pub fn handle_checkpointed(&mut self, position: HistoryPosition) -> Result<(), HistoryError> {
        self.guarded(|history| {
            history.remove_tails(position)?;
            Ok(history.schedule.remove_retired(position)?)
        })
    }

    /// The next index work; `None` when there is none, or while a job is under way, which must be completed
    /// first.
    pub fn next_job(&mut self) -> Option<Job> {
        if self.poison.is_some() { None } else { self.schedule.next_job(&self.shared) }
    }

    /// Applies the result of a job.
    pub fn complete(&mut self, finished: Finished) -> Result<(), HistoryError> {
        self.guarded(|history| Ok(history.schedule.complete(&history.shared, finished.outcome)?))
    }

    /// Runs one job on this thread, for programs without a spare thread. True when there is more work and
    /// disk space for it.
    pub fn maintain(&mut self) -> Result<bool, HistoryError> {
        let Some(job) = self.next_job() else { return Ok(false) };
        let lacks_space = self.guarded(|history| {
            let finished = job.run()?;
            let lacks_space = finished.lacks_space();
            history.schedule.complete(&history.shared, finished.outcome)?;
            Ok(lacks_space)
        })?;
        Ok(!lacks_space && self.schedule.has_work(&self.shared))
    }

    /// Runs `write` unless an earlier write failed; stores the failure.
    fn guarded<T>(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<T, HistoryError>,
    ) -> Result<T, HistoryError> {
        if let Some(reason) = &self.poison {
            return Err(HistoryError::Poisoned { reason: reason.clone() });
        }
        let result = write(self);
        if let Err(error) = &result
            && !matches!(error, HistoryError::NoSpace(_))
        {
            self.poison = Some(error.to_string());
        }
        result
    }

    /// Makes rows visible to readers, in memory. They stay there until they are written and in a run.
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
        // Space for all rows is taken before the first is accepted: then all of them can be written.
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
        // The list may already have the file, if an earlier process flushed at this position.
        if !self.tails.contains(&self.flushed) {
            self.tails.push(self.flushed);
        }
        Ok(self.flushed)
    }

    /// Makes new files visible to readers.
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

/// `files` with the files that the writer has created since; `None` when it has created none.
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
