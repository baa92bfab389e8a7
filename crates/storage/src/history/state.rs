//! The state that the writer publishes to readers: one value under one lock.
//!
//! A row is visible from the moment its append returns. The lock is held only briefly: to add an entry's
//! rows, to replace rows by a run, to copy the handles below, and to look ids up in the tail. No file is
//! accessed while it is held.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bezant_types::{HistoryPosition, Movement, Refusal};

use super::row::Row;
use super::rows::RowFiles;
use super::run::Run;
use super::tail::Tail;
use super::view::View;

/// Both tables.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) movements: TableState<Movement>,
    pub(crate) refusals: TableState<Refusal>,
}

/// One table.
#[derive(Debug)]
pub(crate) struct TableState<R> {
    pub(crate) files: RowFiles<R>,
    /// In order of their rows, without a gap from row 0 to the tail.
    pub(crate) runs: Arc<[Arc<Run>]>,
    pub(crate) tail: Tail<R>,
}

/// The state and its lock.
#[derive(Debug)]
pub(crate) struct Shared {
    state: RwLock<State>,
}

impl Shared {
    pub(crate) const fn new(state: State) -> Self {
        Self { state: RwLock::new(state) }
    }

    // The lock is used even if it is poisoned: what a thread published before it panicked is consistent.

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The number of rows in each table.
    pub(crate) fn position(&self) -> HistoryPosition {
        HistoryPosition { movements: self.movements.tail.end(), refusals: self.refusals.tail.end() }
    }
}

impl<R: Row> TableState<R> {
    /// The table as it is now.
    pub(crate) fn view(&self) -> View<R> {
        View {
            files: self.files.clone(),
            runs: Arc::clone(&self.runs),
            chunks: self.tail.chunks(),
            tail_first: self.tail.first(),
            end: self.tail.end(),
        }
    }

    /// The index of this very run; `None` when it is not there any more.
    pub(crate) fn index_of(&self, run: &Arc<Run>) -> Option<usize> {
        self.runs.iter().position(|other| Arc::ptr_eq(other, run))
    }

    /// Replaces `count` runs from index `at` on by `new`.
    pub(crate) fn replace_runs(&mut self, at: usize, count: usize, new: impl IntoIterator<Item = Arc<Run>>) {
        let before = self.runs[..at].iter().cloned();
        let after = self.runs[at + count..].iter().cloned();
        self.runs = before.chain(new).chain(after).collect();
    }
}
