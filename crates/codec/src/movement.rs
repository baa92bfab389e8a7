//! Movements, the rows of the history, in 336 bytes each.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 128 | the transfer's record |
//! | 128 | 64 | debit account after the movement: debits pending, debits posted, credits pending, credits posted |
//! | 192 | 64 | credit account after the movement: the same fields |
//! | 256 | 32 | head of the debit account's spends before the movement |
//! | 288 | 32 | head of the credit account's receipts before the movement |
//! | 320 | 8 | timestamp |
//! | 328 | 1 | kind: 0 single phase, 1 pending, 2 posted, 3 voided, 4 expired |
//! | 329 | 7 | zero |

use bezant_types::{Balances, Head, Movement, MovementKind, Nanos};

use crate::field::{get, put, read, write};
use crate::reader::DecodeError;
use crate::record::{transfer_from_bytes, transfer_to_bytes};

/// Bytes of a movement.
pub const MOVEMENT_SIZE: usize = 336;

/// Reads a movement.
pub fn movement_from_bytes(bytes: &[u8; MOVEMENT_SIZE]) -> Result<Movement, DecodeError> {
    if get::<329, 7, _>(bytes) != [0; 7] {
        return Err(DecodeError::Reserved);
    }
    Ok(Movement {
        transfer: transfer_from_bytes(&get::<0, 128, _>(bytes)),
        debit: balances_from_bytes(&get::<128, 64, _>(bytes)),
        credit: balances_from_bytes(&get::<192, 64, _>(bytes)),
        debit_head: Head(get::<256, 32, _>(bytes)),
        credit_head: Head(get::<288, 32, _>(bytes)),
        timestamp: Nanos(read!(bytes, u64, 320)),
        kind: MovementKind::from_number(bytes[328]).ok_or(DecodeError::Value)?,
    })
}

/// Writes a movement.
pub fn movement_to_bytes(movement: &Movement) -> [u8; MOVEMENT_SIZE] {
    let mut bytes = [0; MOVEMENT_SIZE];
    put::<0, 128, _>(&mut bytes, transfer_to_bytes(&movement.transfer));
    put::<128, 64, _>(&mut bytes, balances_to_bytes(&movement.debit));
    put::<192, 64, _>(&mut bytes, balances_to_bytes(&movement.credit));
    put::<256, 32, _>(&mut bytes, movement.debit_head.0);
    put::<288, 32, _>(&mut bytes, movement.credit_head.0);
    write!(&mut bytes, 320, movement.timestamp.0);
    bytes[328] = movement.kind as u8;
    bytes
}

fn balances_from_bytes(bytes: &[u8; 64]) -> Balances {
    Balances {
        debits_pending: read!(bytes, u128, 0),
        debits_posted: read!(bytes, u128, 16),
        credits_pending: read!(bytes, u128, 32),
        credits_posted: read!(bytes, u128, 48),
    }
}

fn balances_to_bytes(balances: &Balances) -> [u8; 64] {
    let mut bytes = [0; 64];
    write!(&mut bytes, 0, balances.debits_pending);
    write!(&mut bytes, 16, balances.debits_posted);
    write!(&mut bytes, 32, balances.credits_pending);
    write!(&mut bytes, 48, balances.credits_posted);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn movements_survive_decoding_and_encoding() {
        let mut bytes: [u8; MOVEMENT_SIZE] = core::array::from_fn(|at| u8::try_from(at % 251).unwrap());
        bytes[328] = 4;
        bytes[329..].fill(0);
        let movement = movement_from_bytes(&bytes).unwrap();
        assert_eq!(movement.kind, MovementKind::Expired);
        assert_eq!(movement_to_bytes(&movement), bytes);
    }

    #[test]
    fn unknown_kinds_and_reserved_bytes_are_refused() {
        let mut bytes = [0; MOVEMENT_SIZE];
        bytes[328] = 5;
        assert_eq!(movement_from_bytes(&bytes), Err(DecodeError::Value));
        bytes[328] = 0;
        bytes[335] = 1;
        assert_eq!(movement_from_bytes(&bytes), Err(DecodeError::Reserved));
    }
}
