//! Requests with an idempotency key: a key belongs to one request, and the ledger sees to it.
//!
//! The ids of a request's events follow from its key, so a retry finds its outcomes. But ids alone do not tell a retry
//! from another request with the same key: what is longer than the first brings ids that are new. So a request that
//! has more than the comparison of one record to rely on is put in the log with two marks, hashes made by the server:
//! the *guard* of the key alone, and the *witness* of the key and all that is asked for. Marks are kept as ids that are
//! used up. What the marks say before the events are looked at:
//!
//! | guard | witness | what it is | what is done |
//! |---|---|---|---|
//! | new | new | the first request with that key | both marks are kept, the events are worked off |
//! | known | known | a retry | the events are worked off: they find their outcomes |
//! | known | new | another request with that key | nothing |
//!
//! The body begins with a head of 48 bytes ([`KeyedHead`]): guard u128, witness u128, operation u16, zero 14. After it
//! come the events of that operation, which creates accounts or transfers. The answer is 16 bytes an event; of another
//! request with that key it is empty.
//!
//! A guard is also the id that a single event with the key has. So a single transfer needs no marks: the ledger
//! compares its record, and what has several events finds the guard known.
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

/// Bytes before the events of a request with a key.
pub const KEYED_HEAD_SIZE: usize = 48;

/// What stands before the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedHead {
    /// Follows from the key; also the id that a single event with that key has.
    pub guard: TransferId,
    /// Follows from the key and the events.
    pub witness: TransferId,
    /// What the events are for: one of the four operations that create.
    pub operation: Operation,
}

impl KeyedHead {
    /// The command with those events; an error when they are no whole number of events, none or too many, or when the
    /// operation creates nothing.
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

    /// The head of a body, and its events.
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
    /// The rows that tell whether the marks are known.
    pub(crate) fn prefetch_marks(&self, head: &KeyedHead, keys: &mut alloc::vec::Vec<FetchKey>) {
        for id in [head.guard, head.witness] {
            if id <= self.window.id_max() && !self.window.is_current(id) {
                keys.push(FetchKey::Transfer(id));
            }
        }
    }

    /// Works off a request with a key; `first` is the timestamp of its first event.
    pub(crate) fn apply_keyed(&mut self, body: &[u8], first: Nanos, found: &Found) -> Bytes {
        let Ok((head, events)) = KeyedHead::decode(body) else { return Bytes::new() };
        let is_known = |id| {
            self.window.find(id).is_some() || (id <= self.window.id_max() && found.transfer(id).is_some())
        };
        match (is_known(head.guard), is_known(head.witness)) {
            (true, true) => {}
            // The first event of an account's request that had no marks has the guard as its id.
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
    fn a_head_comes_back_as_it_went_and_takes_only_what_creates() {
        let operation = Operation::CreateTransfers;
        let head = KeyedHead { guard: TransferId(7), witness: TransferId(8), operation };
        let events = Transfer::write_all(&[Transfer::default(); 2]);
        let command = head.command(&events).unwrap();
        assert_eq!(command.events, 2);
        assert_eq!(KeyedHead::decode(&command.body), Ok((head, &events[..])));
        assert!(head.command(&events[1..]).is_err(), "no whole event");
        assert!(head.command(&[]).is_err());
        let other = KeyedHead { operation: Operation::SetBounds, ..head };
        assert!(other.command(&[0; 48]).is_err());
        let mut broken = command.body.to_vec();
        broken[40] = 1;
        assert_eq!(KeyedHead::decode(&broken), Err(DecodeError::Reserved));
    }
}
