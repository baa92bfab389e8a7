//! Change events: a movement of money with both accounts as they were just after it, in 384 bytes.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 16 each | id of the transfer, amount, pending id, user data 128 |
//! | 64 | 8 | user data 64 |
//! | 72 | 4 each | user data 32, timeout |
//! | 80 | 2 each | code and flags of the transfer |
//! | 84 | 4 | ledger |
//! | 88 | 1 | kind: 0 single phase, 1 pending, 2 posted, 3 voided, 4 expired |
//! | 89 | 39 | zero |
//! | 128, 240 | 112 each | debit account, credit account: id, debits pending, debits posted, credits pending, credits posted, user data 128 (16 each), user data 64, user data 32, code u16, flags u16 |
//! | 352 | 8 each | timestamps of the event, the transfer, the debit account, the credit account |
//! | 384 | | |

use bezant_codec::Reader;
use bezant_types::{
    Account, AccountFlags, AccountId, Balances, Head, LedgerNumber, Movement, MovementFilter, MovementKind,
    MovementNumber, Nanos, Transfer, TransferFlags, TransferId,
};
use bytes::BufMut;

/// Bytes of a change event.
pub const CHANGE_EVENT_SIZE: usize = 384;
/// Bytes of the filter for change events: timestamp min u64, timestamp max u64, limit u32, zero 44.
pub const CHANGE_FILTER_SIZE: usize = 64;

/// Parses a filter. `None` when reserved bytes are not zero: such a filter finds nothing.
pub fn change_filter_from_bytes(bytes: &[u8; CHANGE_FILTER_SIZE]) -> Option<MovementFilter> {
    let mut reader = Reader::new(bytes);
    let filter = MovementFilter {
        from: MovementNumber(0),
        timestamp_min: Nanos(reader.u64().ok()?),
        timestamp_max: Nanos(reader.u64().ok()?),
        limit: reader.u32().ok()?,
    };
    (reader.array().ok()? == [0; 44]).then_some(filter)
}

/// Encodes a filter.
pub fn change_filter_to_bytes(filter: &MovementFilter) -> [u8; CHANGE_FILTER_SIZE] {
    let mut bytes = [0; CHANGE_FILTER_SIZE];
    let mut rest = &mut bytes[..];
    rest.put_u64_le(filter.timestamp_min.0);
    rest.put_u64_le(filter.timestamp_max.0);
    rest.put_u32_le(filter.limit);
    bytes
}

/// Encodes a movement and its accounts. The accounts may have changed since the movement: only their fields
/// that never change are used, and the balances come from the movement. The flag *closed* is the one just
/// after the movement, except that events of voided and expired transfers may have the current flag.
pub fn change_event_to_bytes(
    movement: &Movement,
    debit: &Account,
    credit: &Account,
) -> [u8; CHANGE_EVENT_SIZE] {
    let mut bytes = [0; CHANGE_EVENT_SIZE];
    let mut rest = &mut bytes[..];
    let transfer = &movement.transfer;
    for wide in [transfer.id.0, transfer.amount, transfer.pending_id.0, transfer.user_data_128] {
        rest.put_u128_le(wide);
    }
    rest.put_u64_le(transfer.user_data_64);
    rest.put_u32_le(transfer.user_data_32);
    rest.put_u32_le(transfer.timeout_seconds);
    rest.put_u16_le(transfer.code);
    rest.put_u16_le(transfer.flags.0);
    rest.put_u32_le(transfer.ledger.0);
    rest.put_u8(movement.kind as u8);
    rest.put_bytes(0, 39);
    let sides = [
        (debit, &movement.debit, TransferFlags::CLOSING_DEBIT),
        (credit, &movement.credit, TransferFlags::CLOSING_CREDIT),
    ];
    for (account, balances, closing) in sides {
        put_account(&mut rest, account, balances, flags_after(account.flags, movement, closing));
    }
    for time in [movement.timestamp, transfer.timestamp, debit.timestamp, credit.timestamp] {
        rest.put_u64_le(time.0);
    }
    bytes
}

/// Parses a change event. The heads of the accounts' chains are empty, because the protocol does not have
/// them. `None` when the kind is unknown.
pub fn change_event_from_bytes(bytes: &[u8; CHANGE_EVENT_SIZE]) -> Option<Movement> {
    let mut reader = Reader::new(bytes);
    let mut transfer = Transfer {
        id: TransferId(reader.u128().ok()?),
        amount: reader.u128().ok()?,
        pending_id: TransferId(reader.u128().ok()?),
        user_data_128: reader.u128().ok()?,
        user_data_64: reader.u64().ok()?,
        user_data_32: reader.u32().ok()?,
        timeout_seconds: reader.u32().ok()?,
        code: reader.u16().ok()?,
        flags: TransferFlags(reader.u16().ok()?),
        ledger: LedgerNumber(reader.u32().ok()?),
        ..Transfer::default()
    };
    let kind = MovementKind::from_number(reader.u8().ok()?)?;
    reader.take(39).ok()?;
    let debit;
    let credit;
    (transfer.debit_account_id, debit) = read_account(&mut reader)?;
    (transfer.credit_account_id, credit) = read_account(&mut reader)?;
    let timestamp = Nanos(reader.u64().ok()?);
    transfer.timestamp = Nanos(reader.u64().ok()?);
    let (debit_head, credit_head) = (Head::NONE, Head::NONE);
    Some(Movement { transfer, kind, timestamp, debit, credit, debit_head, credit_head })
}

/// Reads the id and the balances of an account; skips its other fields.
fn read_account(reader: &mut Reader<'_>) -> Option<(AccountId, Balances)> {
    let id = AccountId(reader.u128().ok()?);
    let balances = Balances {
        debits_pending: reader.u128().ok()?,
        debits_posted: reader.u128().ok()?,
        credits_pending: reader.u128().ok()?,
        credits_posted: reader.u128().ok()?,
    };
    reader.take(32).ok()?;
    Some((id, balances))
}

fn put_account(rest: &mut impl BufMut, account: &Account, balances: &Balances, flags: AccountFlags) {
    rest.put_u128_le(account.id.0);
    rest.put_u128_le(balances.debits_pending);
    rest.put_u128_le(balances.debits_posted);
    rest.put_u128_le(balances.credits_pending);
    rest.put_u128_le(balances.credits_posted);
    rest.put_u128_le(account.user_data_128);
    rest.put_u64_le(account.user_data_64);
    rest.put_u32_le(account.user_data_32);
    rest.put_u16_le(account.code);
    rest.put_u16_le(flags.0);
}

/// The flags of an account just after a movement, derived from its current flags `now`. A closed account
/// allows only voids and expiries, so after any other movement the account is closed exactly if that movement
/// closed it.
fn flags_after(now: AccountFlags, movement: &Movement, closing: TransferFlags) -> AccountFlags {
    let is_closing = movement.transfer.flags.contains(closing);
    match movement.kind {
        MovementKind::Pending if is_closing => now.union(AccountFlags::CLOSED),
        MovementKind::Pending | MovementKind::SinglePhase | MovementKind::Posted => {
            now.without(AccountFlags::CLOSED)
        }
        MovementKind::Expired if is_closing => now.without(AccountFlags::CLOSED),
        MovementKind::Voided | MovementKind::Expired => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn movement(kind: MovementKind, flags: TransferFlags) -> Movement {
        let balances = |first| Balances {
            debits_pending: first,
            debits_posted: first + 1,
            credits_pending: first + 2,
            credits_posted: first + 3,
        };
        Movement {
            transfer: Transfer {
                id: TransferId(1),
                amount: 2,
                pending_id: TransferId(3),
                user_data_128: 4,
                user_data_64: 5,
                user_data_32: 6,
                timeout_seconds: 7,
                code: 8,
                flags,
                ledger: LedgerNumber(10),
                timestamp: Nanos(11),
                ..Transfer::default()
            },
            kind,
            timestamp: Nanos(12),
            debit: balances(20),
            credit: balances(30),
            debit_head: Head::NONE,
            credit_head: Head::NONE,
        }
    }

    fn account(id: u128) -> Account {
        Account {
            id: AccountId(id),
            user_data_128: id + 1,
            user_data_64: 2,
            user_data_32: 3,
            code: 4,
            flags: AccountFlags::HISTORY,
            timestamp: Nanos(5),
            ..Account::default()
        }
    }

    #[test]
    fn fields_have_the_offsets_of_the_protocol() {
        let event = movement(MovementKind::Posted, TransferFlags::POST_PENDING);
        let bytes = change_event_to_bytes(&event, &account(100), &account(200));
        let wide = |at: usize| u128::from_le_bytes(bytes[at..at + 16].try_into().unwrap());
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let half = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap());
        assert_eq!([0, 16, 32, 48].map(wide), [1, 2, 3, 4]);
        assert_eq!((word(64), bytes[72], bytes[76], half(80), half(82), bytes[84]), (5, 6, 7, 8, 4, 10));
        assert_eq!((bytes[88], &bytes[89..128]), (2, &[0; 39][..]));
        assert_eq!([128, 144, 160, 176, 192, 208].map(wide), [100, 20, 21, 22, 23, 101]);
        assert_eq!((word(224), bytes[232], half(236), half(238)), (2, 3, 4, 8));
        assert_eq!([240, 256, 272, 288, 304, 320].map(wide), [200, 30, 31, 32, 33, 201]);
        assert_eq!([352, 360, 368, 376].map(word), [12, 11, 5, 5]);
    }

    #[test]
    fn an_event_round_trips() {
        let event = movement(MovementKind::Posted, TransferFlags::POST_PENDING);
        let event = Movement {
            transfer: Transfer {
                debit_account_id: AccountId(100),
                credit_account_id: AccountId(200),
                ..event.transfer
            },
            ..event
        };
        let mut bytes = change_event_to_bytes(&event, &account(100), &account(200));
        assert_eq!(change_event_from_bytes(&bytes), Some(event));
        bytes[88] = 5;
        assert_eq!(change_event_from_bytes(&bytes), None);
    }

    #[test]
    fn the_closed_flag_is_set_from_the_closing_movement_on() {
        let closed = |kind, flags, now: AccountFlags| {
            let debit = Account { flags: now, ..account(1) };
            let bytes = change_event_to_bytes(&movement(kind, flags), &debit, &account(2));
            bytes[238] & 1 << 5 != 0
        };
        let closing = TransferFlags::PENDING.union(TransferFlags::CLOSING_DEBIT);
        assert!(closed(MovementKind::Pending, closing, AccountFlags::NONE), "although it is open again now");
        assert!(!closed(MovementKind::SinglePhase, TransferFlags::NONE, AccountFlags::CLOSED));
        assert!(!closed(MovementKind::Expired, closing, AccountFlags::CLOSED));
        assert!(closed(MovementKind::Voided, TransferFlags::VOID_PENDING, AccountFlags::CLOSED));
    }

    #[test]
    fn a_filter_with_bytes_that_must_be_zero_is_none() {
        let mut bytes = [0; CHANGE_FILTER_SIZE];
        (bytes[0], bytes[8], bytes[16]) = (1, 2, 3);
        let filter = change_filter_from_bytes(&bytes).unwrap();
        assert_eq!((filter.timestamp_min, filter.timestamp_max, filter.limit), (Nanos(1), Nanos(2), 3));
        assert_eq!(change_filter_to_bytes(&filter), bytes);
        bytes[63] = 1;
        assert_eq!(change_filter_from_bytes(&bytes), None);
    }
}
