//! Undo of a linked chain. While a chain is open, every change is recorded, so that all of them can be
//! reverted exactly.

use alloc::vec::Vec;

use bezant_types::{Nanos, Transfer, TransferId};

use crate::Ledger;
use crate::accounts::AccountState;
use crate::window::Mark;

/// The changes of an open chain, in the order in which they were made.
#[derive(Debug)]
pub(crate) struct Scope {
    changes: Vec<Change>,
    mark: Mark,
    last_movement_timestamp: Nanos,
}

#[derive(Debug)]
enum Change {
    /// The account at this place had this state before the change.
    Account(usize, AccountState),
    /// The newest account was added.
    AccountInserted,
    /// A pending transfer was added.
    PendingInserted(TransferId),
    /// A pending transfer was resolved.
    PendingResolved(Transfer),
}

impl Ledger {
    pub(crate) fn open_scope(&mut self) {
        assert!(self.scope.is_none(), "chains are not nested");
        self.scope = Some(Scope {
            changes: Vec::new(),
            mark: self.window.mark(),
            last_movement_timestamp: self.last_movement_timestamp,
        });
    }

    /// Ends the chain, which succeeded or was undone before.
    pub(crate) fn close_scope(&mut self) {
        self.scope = None;
    }

    /// Restores the state from before the chain.
    pub(crate) fn undo_scope(&mut self) {
        let scope = self.scope.take().expect("invariant: the chain that is undone is open");
        for change in scope.changes.into_iter().rev() {
            match change {
                Change::Account(place, state) => *self.accounts.change(place) = state,
                Change::AccountInserted => self.accounts.remove_last(),
                Change::PendingInserted(id) => {
                    let removed = self.pending.remove(id);
                    assert!(removed.is_some(), "a chain removes the pending transfer that it added");
                }
                Change::PendingResolved(transfer) => {
                    self.window.remove_resolution(transfer.id);
                    self.pending.insert(transfer);
                }
            }
        }
        self.window.undo(scope.mark);
        self.last_movement_timestamp = scope.last_movement_timestamp;
    }

    /// Records the account at `place`, which is about to change.
    pub(crate) fn note_account(&mut self, place: usize) {
        if let Some(scope) = &mut self.scope {
            scope.changes.push(Change::Account(place, *self.accounts.get(place)));
        }
    }

    pub(crate) fn note_account_inserted(&mut self) {
        self.note(|| Change::AccountInserted);
    }

    pub(crate) fn note_pending_inserted(&mut self, id: TransferId) {
        self.note(|| Change::PendingInserted(id));
    }

    pub(crate) fn note_pending_resolved(&mut self, transfer: Transfer) {
        self.note(|| Change::PendingResolved(transfer));
    }

    fn note(&mut self, change: impl FnOnce() -> Change) {
        if let Some(scope) = &mut self.scope {
            scope.changes.push(change());
        }
    }
}
