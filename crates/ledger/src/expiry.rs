//! Expiry, and its pause while a history is imported.
//!
//! A history that is imported tells itself which pending transfers were posted, voided or expired, with the timestamps of
//! its source. A row that this ledger added of its own meanwhile would be of now, and no older row could follow it. So an
//! import pauses expiry, brings pending transfers with the timeouts that they have, ends those that ended, whenever
//! that was, and lets expiry run again when it is over. What is open then expires when it would have at the source, and
//! what is late expires at once.
//!
//! What always holds: a movement that is not imported lets expiry run. So a pause outlives no import by more than the time
//! until the ledger is used. While it lasts, posts and voids that are not imported answer as if there were none.

use bezant_types::{ExpiryStatus, Nanos, Transfer, TransferFlags};

use crate::Ledger;
use crate::operation::SetExpiry;

impl Ledger {
    pub(crate) const fn set_expiry(&mut self, change: SetExpiry) -> ExpiryStatus {
        self.expiry_is_paused = change.is_paused;
        ExpiryStatus::Created
    }

    /// Up to `count` pending transfers that expire by `now`, in order of expiry; none during a pause.
    pub(crate) fn expired(&self, now: Nanos, count: usize) -> impl Iterator<Item = &Transfer> {
        let count = if self.expiry_is_paused { 0 } else { count };
        self.pending.expired(now, count)
    }

    /// True for a row of an import that is under way: its timeout, and the time of a post or void, are those of its source.
    pub(crate) const fn takes_timeouts_of(&self, transfer: &Transfer) -> bool {
        self.expiry_is_paused
            && transfer.flags.contains(TransferFlags::IMPORTED)
            && self.rules.imports_keep_timeouts()
    }

    /// A transfer was recorded: the first that is not imported ends a pause.
    pub(crate) fn note_movement(&mut self, record: &Transfer) {
        self.expiry_is_paused &= record.flags.contains(TransferFlags::IMPORTED);
    }
}
