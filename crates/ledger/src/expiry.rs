//! Expiry, and its pause while a history is imported.
//!
//! A history that is imported tells itself which pending transfers were posted, voided or expired, with the timestamps of
//! its source. A row that this ledger added of its own meanwhile would be of now, and no older row could follow it. So an
//! import pauses the expiry of imported pending transfers, brings them with the timeouts that they have, ends those that
//! ended, whenever that was, and lets expiry run again when it is over. What is open then expires when it would have at
//! the source, and what is late expires at once. Pending transfers that were not imported expire as always.
//!
//! What always holds: a transfer event that is not imported lets expiry run before it is judged, so also one that is
//! refused. Else a reserve that is late could keep the money from each payment that would end the pause. A pause outlives
//! no import by more than the time until the ledger is used.
//!
//! A pause names how many movements the ledger has. One that arrives late, as a duplicate or of a second import, finds
//! another number and changes nothing.

use bezant_types::{ExpiryStatus, Nanos, Transfer, TransferFlags};

use crate::Ledger;
use crate::operation::SetExpiry;

impl Ledger {
    pub(crate) fn set_expiry(&mut self, change: SetExpiry) -> ExpiryStatus {
        match change {
            SetExpiry::Paused { movements } if movements != self.window.position().movements => {
                ExpiryStatus::MovementsDiffer
            }
            SetExpiry::Paused { .. } => {
                self.expiry_is_paused = true;
                ExpiryStatus::Created
            }
            SetExpiry::Runs => {
                self.expiry_is_paused = false;
                ExpiryStatus::Created
            }
        }
    }

    /// Up to `count` pending transfers that expire by `now`, in order of expiry; during a pause none that was imported.
    pub(crate) fn expired(&self, now: Nanos, count: usize) -> impl Iterator<Item = &Transfer> {
        self.pending.expired(now, count, self.expiry_is_paused)
    }

    /// True for a row of an import that is under way: its timeout, and the time of a post or void, are those of its source.
    pub(crate) const fn takes_timeouts_of(&self, transfer: &Transfer) -> bool {
        self.expiry_is_paused
            && transfer.flags.contains(TransferFlags::IMPORTED)
            && self.rules.imports_keep_timeouts()
    }
}
