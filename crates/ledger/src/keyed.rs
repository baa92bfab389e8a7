//! Requests with an idempotency key: the ledger ensures that a key belongs to one request.
//!
//! The ids of a request's events are derived from its key, so a retry finds its outcomes. But ids alone do
//! not tell a retry from another request with the same key: a longer request has ids that are new. So every
//! request that the comparison of one record does not protect carries two marks in the log, hashes made by
//! the server: the *guard* of the key alone, and the *witness* of the key and the whole request. Marks are
//! stored as used-up ids. The ledger looks them up before it applies the events:
//!
//! | guard | witness | what it is | what is done |
//! |---|---|---|---|
//! | new | new | the first request with that key | both marks are stored, the events are applied |
//! | known | known | a retry | the events are applied: they find their outcomes |
//! | known | new | another request with that key | nothing |
//!
//! The body begins with a head of 48 bytes ([`KeyedHead`]): guard u128, witness u128, operation u16, zero 14.
//! The events of that operation follow; it must be one that creates accounts or transfers. The answer is 16
//! bytes an event. For another request with that key it is empty.
//!
//! A guard is also the id that a single event with the key has. So a single transfer needs no marks: the
//! ledger compares its record, and a request of several events finds that the guard is known.
//! Source: `docs/decisions/0020-a-key-belongs-to-one-request.md`.

use bezant_codec::KeyedHead;
use bezant_rsm::Command;
use bezant_types::{AccountId, CreateTransferStatus, FetchKey, Nanos, Refusal};
use bytes::Bytes;

use crate::Ledger;
use crate::command::has_events;
use crate::found::Found;

impl Ledger {
    /// Adds the keys of the rows that show whether the marks are known.
    pub(crate) fn prefetch_marks(&self, head: &KeyedHead, keys: &mut alloc::vec::Vec<FetchKey>) {
        for id in [head.guard, head.witness] {
            if id <= self.window.id_max() && !self.window.is_current(id) {
                keys.push(FetchKey::Transfer(id));
            }
        }
    }

    /// Applies a keyed request; `first` is the timestamp of its first event.
    pub(crate) fn apply_keyed(&mut self, command: &Command, first: Nanos, found: &Found) -> Bytes {
        let Ok((head, events)) = KeyedHead::decode(&command.body) else { return Bytes::new() };
        // The marks are stored only with events that are applied: see `apply_command` and `apply_tagged`.
        if !self.rules.has(head.operation) || !has_events(head.operation, events, command.events) {
            return Bytes::new();
        }
        let is_known = |id| {
            self.window.find(id).is_some() || (id <= self.window.id_max() && found.transfer(id).is_some())
        };
        match (is_known(head.guard), is_known(head.witness)) {
            (true, true) => {}
            // An older request for accounts, without marks, gave the guard as id to its first account.
            (false, _) if self.accounts.find(AccountId(head.guard.0)).is_none() => {
                let status = CreateTransferStatus::IdempotencyKeyUsed;
                for id in [head.guard, head.witness] {
                    self.window.push_refusal(Refusal { id, timestamp: first, status });
                }
            }
            _ => return Bytes::new(),
        }
        self.apply_events(head.operation, events, first, found)
    }
}
