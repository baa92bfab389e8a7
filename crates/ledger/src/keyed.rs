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

use bezant_codec::{DecodeError, Reader};
use bezant_rsm::Command;
use bezant_types::{
    Account, AccountId, CreateTransferStatus, FetchKey, Nanos, Refusal, Transfer, TransferId,
    limits::EVENTS_MAX,
};
use bytes::{BufMut, Bytes, BytesMut};

use crate::Ledger;
use crate::found::Found;
use crate::operation::{ExtendedAccount, ExtendedTransfer, Operation};

/// Size of the head before the events of a keyed request, in bytes.
pub const KEYED_HEAD_SIZE: usize = 48;

/// The head before the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedHead {
    /// Derived from the key; also the id of a single event with that key.
    pub guard: TransferId,
    /// Derived from the key and the events.
    pub witness: TransferId,
    /// The operation of the events: one of the four that create.
    pub operation: Operation,
}

impl KeyedHead {
    /// The command with those events. An error when their size is not a whole number of events, when there
    /// are none or too many, or when the operation creates nothing.
    pub fn command(&self, events: &[u8]) -> Result<Command, DecodeError> {
        let size = self.operation.event_size();
        if !creates(self.operation) || events.is_empty() || !events.len().is_multiple_of(size) {
            return Err(DecodeError::Size);
        }
        let count = u32::try_from(events.len() / size).map_err(|_| DecodeError::Size)?;
        if events.len() / size > EVENTS_MAX {
            return Err(DecodeError::Size);
        }
        let mut body = BytesMut::with_capacity(KEYED_HEAD_SIZE + events.len());
        body.put_u128_le(self.guard.0);
        body.put_u128_le(self.witness.0);
        body.put_u16_le(self.operation as u16);
        body.put_bytes(0, 14);
        body.put_slice(events);
        Ok(Command { operation: Operation::CreateKeyed as u16, events: count, body: body.freeze() })
    }

    /// Splits a body into its head and its events.
    pub(crate) fn decode(body: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let mut reader = Reader::new(body);
        let (guard, witness) = (TransferId(reader.u128()?), TransferId(reader.u128()?));
        let operation = Operation::from_number(reader.u16()?).filter(|operation| creates(*operation));
        let operation = operation.ok_or(DecodeError::Value)?;
        if reader.array::<14>()? != [0; 14] {
            return Err(DecodeError::Reserved);
        }
        Ok((Self { guard, witness, operation }, reader.rest()))
    }
}

const fn creates(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::CreateAccounts
            | Operation::CreateTransfers
            | Operation::CreateAccountsExtended
            | Operation::CreateTransfersExtended
    )
}

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
    pub(crate) fn apply_keyed(&mut self, body: &[u8], first: Nanos, found: &Found) -> Bytes {
        let Ok((head, events)) = KeyedHead::decode(body) else { return Bytes::new() };
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
        match head.operation {
            Operation::CreateAccounts => self.apply_command_batch::<Account>(events, first, found),
            Operation::CreateTransfers => self.apply_command_batch::<Transfer>(events, first, found),
            Operation::CreateAccountsExtended => {
                self.apply_command_batch::<ExtendedAccount>(events, first, found)
            }
            Operation::CreateTransfersExtended => {
                self.apply_command_batch::<ExtendedTransfer>(events, first, found)
            }
            _ => Bytes::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Event;

    #[test]
    fn a_head_round_trips_and_accepts_only_operations_that_create() {
        let operation = Operation::CreateTransfers;
        let head = KeyedHead { guard: TransferId(7), witness: TransferId(8), operation };
        let events = Transfer::write_all(&[Transfer::default(); 2]);
        let command = head.command(&events).unwrap();
        assert_eq!(command.events, 2);
        assert_eq!(KeyedHead::decode(&command.body), Ok((head, &events[..])));
        assert!(head.command(&events[1..]).is_err(), "not a whole event");
        assert!(head.command(&[]).is_err());
        let other = KeyedHead { operation: Operation::SetBounds, ..head };
        assert!(other.command(&[0; 48]).is_err());
        let mut broken = command.body.to_vec();
        broken[40] = 1;
        assert_eq!(KeyedHead::decode(&broken), Err(DecodeError::Reserved));
    }
}
