//! Filters of queries in the layout of TigerBeetle's binary protocol.

use bezant_types::{AccountFilter, AccountFilterFlags, AccountId, LedgerNumber, Nanos, QueryFilter};

use crate::field::{get, read, write};
use crate::reader::DecodeError;

/// Bytes of an account filter.
pub const ACCOUNT_FILTER_SIZE: usize = 128;
/// Bytes of a query filter.
pub const QUERY_FILTER_SIZE: usize = 64;

const DEBITS: u32 = 1;
const CREDITS: u32 = 2;
const ACCOUNT_REVERSED: u32 = 4;
const QUERY_REVERSED: u32 = 1;

/// Reads an account filter.
pub fn account_filter_from_bytes(bytes: &[u8; ACCOUNT_FILTER_SIZE]) -> Result<AccountFilter, DecodeError> {
    if get::<46, 58, _>(bytes) != [0; 58] {
        return Err(DecodeError::Reserved);
    }
    let flags = read!(bytes, u32, 124);
    if flags & !(DEBITS | CREDITS | ACCOUNT_REVERSED) != 0 {
        return Err(DecodeError::Value);
    }
    Ok(AccountFilter {
        account_id: AccountId(read!(bytes, u128, 0)),
        user_data_128: read!(bytes, u128, 16),
        user_data_64: read!(bytes, u64, 32),
        user_data_32: read!(bytes, u32, 40),
        code: read!(bytes, u16, 44),
        timestamp_min: Nanos(read!(bytes, u64, 104)),
        timestamp_max: Nanos(read!(bytes, u64, 112)),
        limit: read!(bytes, u32, 120),
        flags: AccountFilterFlags {
            debits: flags & DEBITS != 0,
            credits: flags & CREDITS != 0,
            reversed: flags & ACCOUNT_REVERSED != 0,
        },
    })
}

/// Writes an account filter.
pub fn account_filter_to_bytes(filter: &AccountFilter) -> [u8; ACCOUNT_FILTER_SIZE] {
    let mut bytes = [0; ACCOUNT_FILTER_SIZE];
    let flags = u32::from(filter.flags.debits) * DEBITS
        + u32::from(filter.flags.credits) * CREDITS
        + u32::from(filter.flags.reversed) * ACCOUNT_REVERSED;
    write!(&mut bytes, 0, filter.account_id.0);
    write!(&mut bytes, 16, filter.user_data_128);
    write!(&mut bytes, 32, filter.user_data_64);
    write!(&mut bytes, 40, filter.user_data_32);
    write!(&mut bytes, 44, filter.code);
    write!(&mut bytes, 104, filter.timestamp_min.0);
    write!(&mut bytes, 112, filter.timestamp_max.0);
    write!(&mut bytes, 120, filter.limit);
    write!(&mut bytes, 124, flags);
    bytes
}

/// Reads a query filter.
pub fn query_filter_from_bytes(bytes: &[u8; QUERY_FILTER_SIZE]) -> Result<QueryFilter, DecodeError> {
    if get::<34, 6, _>(bytes) != [0; 6] {
        return Err(DecodeError::Reserved);
    }
    let flags = read!(bytes, u32, 60);
    if flags & !QUERY_REVERSED != 0 {
        return Err(DecodeError::Value);
    }
    Ok(QueryFilter {
        user_data_128: read!(bytes, u128, 0),
        user_data_64: read!(bytes, u64, 16),
        user_data_32: read!(bytes, u32, 24),
        ledger: LedgerNumber(read!(bytes, u32, 28)),
        code: read!(bytes, u16, 32),
        timestamp_min: Nanos(read!(bytes, u64, 40)),
        timestamp_max: Nanos(read!(bytes, u64, 48)),
        limit: read!(bytes, u32, 56),
        reversed: flags & QUERY_REVERSED != 0,
    })
}

/// Writes a query filter.
pub fn query_filter_to_bytes(filter: &QueryFilter) -> [u8; QUERY_FILTER_SIZE] {
    let mut bytes = [0; QUERY_FILTER_SIZE];
    write!(&mut bytes, 0, filter.user_data_128);
    write!(&mut bytes, 16, filter.user_data_64);
    write!(&mut bytes, 24, filter.user_data_32);
    write!(&mut bytes, 28, filter.ledger.0);
    write!(&mut bytes, 32, filter.code);
    write!(&mut bytes, 40, filter.timestamp_min.0);
    write!(&mut bytes, 48, filter.timestamp_max.0);
    write!(&mut bytes, 56, filter.limit);
    write!(&mut bytes, 60, u32::from(filter.reversed) * QUERY_REVERSED);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_filters_survive_encoding_and_decoding() {
        let filter = AccountFilter {
            account_id: AccountId(1),
            user_data_128: 2,
            user_data_64: 3,
            user_data_32: 4,
            code: 5,
            timestamp_min: Nanos(6),
            timestamp_max: Nanos(7),
            limit: 8,
            flags: AccountFilterFlags { debits: true, credits: false, reversed: true },
        };
        let mut bytes = account_filter_to_bytes(&filter);
        assert_eq!(account_filter_from_bytes(&bytes), Ok(filter));
        bytes[50] = 1;
        assert_eq!(account_filter_from_bytes(&bytes), Err(DecodeError::Reserved));
    }

    #[test]
    fn query_filters_survive_encoding_and_decoding() {
        let filter = QueryFilter {
            user_data_128: 1,
            user_data_64: 2,
            user_data_32: 3,
            ledger: LedgerNumber(4),
            code: 5,
            timestamp_min: Nanos(6),
            timestamp_max: Nanos(7),
            limit: 8,
            reversed: true,
        };
        let mut bytes = query_filter_to_bytes(&filter);
        assert_eq!(query_filter_from_bytes(&bytes), Ok(filter));
        bytes[60] = 2;
        assert_eq!(query_filter_from_bytes(&bytes), Err(DecodeError::Value));
    }
}
