//! Expiry, and its pause while a history is imported.
//!
//! An imported history contains the posts, voids and expiries of pending transfers, with the timestamps of
//! the source. If this ledger added its own expiry during the import, that row would have the current time,
//! and no older row could follow it. So an import first pauses the expiry of imported pending transfers. It
//! creates them with their timeouts, and resolves those that the source resolved, even after their timeout.
//! Then it resumes expiry. A transfer that is still pending expires when it would have expired at the source;
//! an overdue one expires at once. Pending transfers that were not imported expire as usual.
//!
//! What always holds: a transfer event that is not imported ends the pause before it is checked, even when it
//! is refused. So a forgotten pause ends when the ledger is used again. If only accepted events ended the
//! pause, an overdue reserve could hold the money that each of these events needs.
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

    /// True for an imported transfer during a pause. Then its timeout, and the time of a post or void, come
    /// from the source and are not checked against the current time.
    pub(crate) const fn takes_timeouts_of(&self, transfer: &Transfer) -> bool {
        self.expiry_is_paused
            && transfer.flags.contains(TransferFlags::IMPORTED)
            && self.rules.imports_keep_timeouts()
    }
}
