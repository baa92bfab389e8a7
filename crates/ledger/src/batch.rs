//! How a batch of events is applied: timestamps, linked chains, imported batches.
//!
//! This module contains the code that accounts and transfers share. Their separate checks are in
//! `create_accounts` and `create_transfers`.

use bezant_codec::{Event, Reader, put_trailer, result_to_bytes};
use bezant_types::{EventResult, Nanos, limits::RESULT_SIZE};
use bytes::{Bytes, BytesMut};

use crate::Ledger;
use crate::found::Found;

/// The result of an event: the number of its status, and the timestamp in the client's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) status: u32,
    pub(crate) timestamp: Nanos,
}

/// The result of an event's own checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Creation {
    /// Applied.
    Created,
    /// The same event was created before: the number of `exists`, and the timestamp of that creation.
    Exists(u32, Nanos),
    /// Refused: the number of the status.
    Refused(u32),
}

/// The number of `created`, the same for every operation.
pub(crate) const CREATED: u32 = u32::MAX;

/// The statuses that accounts and transfers both have, under different numbers.
#[derive(Debug)]
pub(crate) struct BatchStatuses {
    pub(crate) linked_event_failed: u32,
    pub(crate) linked_event_chain_open: u32,
    pub(crate) imported_event_expected: u32,
    pub(crate) imported_event_not_expected: u32,
    pub(crate) timestamp_must_be_zero: u32,
    pub(crate) imported_event_timestamp_out_of_range: u32,
    pub(crate) imported_event_timestamp_must_not_advance: u32,
}

/// An event that creates an account or transfer and may be linked to the next event.
pub(crate) trait BatchEvent: Event + Copy {
    const STATUSES: BatchStatuses;

    fn is_linked(&self) -> bool;

    fn is_imported(&self) -> bool;

    /// True for an event that ends a pause of expiry, even when the event is refused: see `expiry`.
    fn ends_pause(&self) -> bool;

    /// The timestamp in the request, not yet checked.
    fn timestamp(&self) -> Nanos;

    /// Runs the checks of this event and applies it. `timestamp` is the timestamp of the created record.
    fn create(&self, ledger: &mut Ledger, timestamp: Nanos, found: &Found) -> Creation;

    /// Records the effect of a refusal, which may use up the id. Called after the chain of the event was
    /// undone.
    fn refuse(&self, ledger: &mut Ledger, outcome: Outcome);
}

/// The results of all batches of a command, as bytes for the client.
pub(crate) struct Results {
    bytes: BytesMut,
    /// Offset of the first result of the batch that is being applied.
    batch_start: usize,
}

impl Results {
    /// Results that begin with `head`. `size` is the expected number of bytes after it.
    pub(crate) fn with_head(head: &[u8], size: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(head.len() + size);
        bytes.extend_from_slice(head);
        Self { batch_start: bytes.len(), bytes }
    }

    /// The bytes for the client.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes.freeze()
    }

    /// The bytes for a client that sent several batches; `sizes` are their numbers of events.
    pub(crate) fn into_batches(mut self, sizes: &[usize]) -> Bytes {
        put_trailer(&mut self.bytes, sizes, RESULT_SIZE);
        self.bytes.freeze()
    }

    pub(crate) fn push(&mut self, outcome: Outcome) {
        let result = EventResult { timestamp: outcome.timestamp, status: outcome.status };
        self.bytes.extend_from_slice(&result_to_bytes(result));
    }

    /// Replaces the status of all results from event `first` of the batch on. Their timestamps stay.
    fn fail_from(&mut self, first: usize, status: u32) {
        let start = self.batch_start + first * RESULT_SIZE;
        for result in self.bytes[start..].chunks_exact_mut(RESULT_SIZE) {
            result[8..12].copy_from_slice(&status.to_le_bytes());
        }
    }
}

/// The state of the linked chain that the current event belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chain {
    /// The event is in no chain.
    None,
    /// The chain began at this event of the batch, and all its events so far succeeded.
    Open(usize),
    /// An event of the chain failed, and the chain was undone.
    Broken,
}

impl Ledger {
    /// Applies a command that is one batch; `first` is the timestamp of its first event.
    pub(crate) fn apply_command_batch<E: BatchEvent>(
        &mut self,
        body: &[u8],
        first: Nanos,
        found: &Found,
    ) -> Bytes {
        let mut results = Results::with_head(&[], E::count(body) * RESULT_SIZE);
        self.apply_batch::<E>(body, first, found, &mut results);
        results.into_bytes()
    }

    /// Applies the events of one batch; `first` is the timestamp of its first event.
    pub(crate) fn apply_batch<E: BatchEvent>(
        &mut self,
        body: &[u8],
        first: Nanos,
        found: &Found,
        results: &mut Results,
    ) {
        results.batch_start = results.bytes.len();
        let mut reader = Reader::new(body);
        // Timestamps after `last`, up to the entry's time, belong to the events of later batches and
        // requests.
        let last = Nanos((first.0 + E::count(body) as u64).saturating_sub(1));
        let mut chain = Chain::None;
        let mut batch_is_imported = None;
        let mut timestamp = first;
        let mut at = 0;
        while let Ok(event) = E::from_reader(&mut reader) {
            let is_imported = *batch_is_imported.get_or_insert_with(|| event.is_imported());
            self.expiry_is_paused &= !event.ends_pause();
            if event.is_linked() && chain == Chain::None {
                chain = Chain::Open(at);
                self.open_scope();
            }
            let own = if event.is_imported() { event.timestamp() } else { timestamp };
            let outcome = if event.is_linked() && reader.is_empty() {
                Outcome { status: E::STATUSES.linked_event_chain_open, timestamp }
            } else if chain == Chain::Broken {
                let has_own_time = !self.rules.broken_chains_have_no_own_time();
                let timestamp = if has_own_time { own } else { timestamp };
                Outcome { status: E::STATUSES.linked_event_failed, timestamp }
            } else {
                match check_timestamp(&event, is_imported, last) {
                    Some(status) => Outcome { status, timestamp },
                    None => match event.create(self, own, found) {
                        Creation::Created => Outcome { status: CREATED, timestamp: own },
                        Creation::Exists(status, first_time) => Outcome { status, timestamp: first_time },
                        Creation::Refused(status) => Outcome { status, timestamp },
                    },
                }
            };
            if outcome.status != CREATED
                && let Chain::Open(start) = chain
            {
                self.undo_scope();
                results.fail_from(start, E::STATUSES.linked_event_failed);
                chain = Chain::Broken;
            }
            if outcome.status != CREATED {
                event.refuse(self, outcome);
            }
            results.push(outcome);
            if !event.is_linked() || reader.is_empty() {
                self.close_scope();
                chain = Chain::None;
            }
            timestamp = Nanos(timestamp.0 + 1);
            at += 1;
        }
    }
}

/// The checks that precede all others.
fn check_timestamp<E: BatchEvent>(event: &E, batch_is_imported: bool, last: Nanos) -> Option<u32> {
    if event.is_imported() != batch_is_imported {
        return Some(if batch_is_imported {
            E::STATUSES.imported_event_expected
        } else {
            E::STATUSES.imported_event_not_expected
        });
    }
    if !event.is_imported() {
        return (event.timestamp().0 != 0).then_some(E::STATUSES.timestamp_must_be_zero);
    }
    if event.timestamp().0 == 0 || event.timestamp() > Nanos::MAX {
        return Some(E::STATUSES.imported_event_timestamp_out_of_range);
    }
    (event.timestamp() >= last).then_some(E::STATUSES.imported_event_timestamp_must_not_advance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bezant_types::Account;

    #[test]
    fn memory_for_results_is_reserved_once() {
        let mut ledger = Ledger::new();
        let accounts = Account::write_all(&[Account::default(); 5]);
        let results = ledger.apply_command_batch::<Account>(&accounts, Nanos(1), &Found::default());
        let bytes = results.try_into_mut().unwrap();
        assert_eq!((bytes.len(), bytes.capacity()), (5 * RESULT_SIZE, 5 * RESULT_SIZE));
    }
}
