//! Expiry, and its pause while a history is imported.
//!
//! The history of a source says which pending transfers were posted, voided or expired, with the timestamps
//! of the source. If this ledger added its own expiry during the import, that row would have the
//! current time, and no older row could follow it. So an import pauses the expiry of imported pending
//! transfers. It creates them with their timeouts, resolves those that the source resolved, even after their
//! timeout, and then resumes expiry. An open transfer then expires when it would have expired at the source;
//! an overdue one expires at once. Pending transfers that were not imported expire as always.
//!
//! What always holds: a transfer event that is not imported ends the pause before it is checked, even when it
//! is refused. Otherwise an overdue reserve could hold the money that every payment which would end the pause
//! needs. So a forgotten pause ends when the ledger is used again.
//!
//! A pause names the number of movements in the ledger. A pause that is delayed, duplicated, or sent by a
//! second import finds another number and changes nothing.

use bezant_types::{ExpiryStatus, Nanos, Transfer, TransferFlags};

use crate::Ledger;
use bezant_types::SetExpiry;

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

    /// Up to `count` pending transfers that expire by `now`, in order of expiry; no imported ones during a
    /// pause.
    pub(crate) fn expired(&self, now: Nanos, count: usize) -> impl Iterator<Item = &Transfer> {
        self.pending.expired(now, count, self.expiry_is_paused)
    }

    /// True for an imported row during a pause: its timeout, and the time of its post or void, come from the
    /// source.
    pub(crate) const fn takes_timeouts_of(&self, transfer: &Transfer) -> bool {
        self.expiry_is_paused
            && transfer.flags.contains(TransferFlags::IMPORTED)
            && self.rules.imports_keep_timeouts()
    }
}
