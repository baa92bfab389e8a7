//! The head of a request with an idempotency key. What the ledger does with it is in `bezant_ledger`.

use bezant_types::TransferId;
use bytes::{BufMut, Bytes, BytesMut};

use super::Operation;
use crate::{DecodeError, Reader};

/// Size of the head before the events of a keyed request, in bytes.
pub const KEYED_HEAD_SIZE: usize = 48;

/// The head before the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedHead {
    /// Derived from the key; also the id of a single event with that key.
    pub guard: TransferId,
    /// Derived from the key and the events.
    pub witness: TransferId,
    /// The operation of the events: one of the six that create.
    pub operation: Operation,
}

impl KeyedHead {
    /// The number of those events, and the body of the command that carries them. An error when their size is
    /// not a whole number of events, when there are none or too many, or when the operation creates nothing.
    pub fn body(&self, events: &[u8]) -> Result<(u32, Bytes), DecodeError> {
        if self.operation.creates().is_none() {
            return Err(DecodeError::Value);
        }
        let count = self.operation.count(events)?;
        let mut body = BytesMut::with_capacity(KEYED_HEAD_SIZE + events.len());
        body.put_u128_le(self.guard.0);
        body.put_u128_le(self.witness.0);
        body.put_u16_le(self.operation as u16);
        body.put_bytes(0, 14);
        body.put_slice(events);
        Ok((count, body.freeze()))
    }

    /// Splits a body into its head and its events.
    pub fn decode(body: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let mut reader = Reader::new(body);
        let (guard, witness) = (TransferId(reader.u128()?), TransferId(reader.u128()?));
        let operation =
            Operation::from_number(reader.u16()?).filter(|operation| operation.creates().is_some());
        let operation = operation.ok_or(DecodeError::Value)?;
        if reader.array::<14>()? != [0; 14] {
            return Err(DecodeError::Reserved);
        }
        Ok((Self { guard, witness, operation }, reader.rest()))
    }
}

#[cfg(test)]
mod tests {
    use bezant_types::Transfer;

    use super::*;
    use crate::operation::Event;

    #[test]
    fn a_head_round_trips_and_accepts_only_operations_that_create() {
        let operation = Operation::CreateTransfers;
        let head = KeyedHead { guard: TransferId(7), witness: TransferId(8), operation };
        let events = Transfer::write_all(&[Transfer::default(); 2]);
        let (count, body) = head.body(&events).unwrap();
        assert_eq!(count, 2);
        assert_eq!(KeyedHead::decode(&body), Ok((head, &events[..])));
        assert!(head.body(&events[1..]).is_err(), "not a whole event");
        assert!(head.body(&[]).is_err());
        let other = KeyedHead { operation: Operation::SetBounds, ..head };
        assert!(other.body(&[0; 48]).is_err());
        let mut broken = body.to_vec();
        broken[40] = 1;
        assert_eq!(KeyedHead::decode(&broken), Err(DecodeError::Reserved));
    }
}
