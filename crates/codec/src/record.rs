//! Accounts, transfers and balances in 128 bytes each, and results in 16.

use bezant_types::limits::{RECORD_SIZE, RESULT_SIZE};
use bezant_types::{
    Account, AccountBalance, AccountFlags, AccountId, Balances, EventResult, LedgerNumber, Nanos, Transfer,
    TransferFlags, TransferId,
};

use crate::field::{read, write};
use crate::reader::DecodeError;

/// Bytes of an account's balance at a timestamp.
pub const ACCOUNT_BALANCE_SIZE: usize = 128;

/// Splits `bytes` into records of `N` bytes each, without a copy.
pub fn records<const N: usize>(bytes: &[u8]) -> Result<&[[u8; N]], DecodeError> {
    let (records, rest) = bytes.as_chunks::<N>();
    if rest.is_empty() { Ok(records) } else { Err(DecodeError::Size) }
}

/// Reads an account.
pub fn account_from_bytes(bytes: &[u8; RECORD_SIZE]) -> Account {
    Account {
        id: AccountId(read!(bytes, u128, 0)),
        debits_pending: read!(bytes, u128, 16),
        debits_posted: read!(bytes, u128, 32),
        credits_pending: read!(bytes, u128, 48),
        credits_posted: read!(bytes, u128, 64),
        user_data_128: read!(bytes, u128, 80),
        user_data_64: read!(bytes, u64, 96),
        user_data_32: read!(bytes, u32, 104),
        reserved: read!(bytes, u32, 108),
        ledger: LedgerNumber(read!(bytes, u32, 112)),
        code: read!(bytes, u16, 116),
        flags: AccountFlags(read!(bytes, u16, 118)),
        timestamp: Nanos(read!(bytes, u64, 120)),
    }
}

/// Writes an account.
pub fn account_to_bytes(account: &Account) -> [u8; RECORD_SIZE] {
    let mut bytes = [0; RECORD_SIZE];
    write!(&mut bytes, 0, account.id.0);
    write!(&mut bytes, 16, account.debits_pending);
    write!(&mut bytes, 32, account.debits_posted);
    write!(&mut bytes, 48, account.credits_pending);
    write!(&mut bytes, 64, account.credits_posted);
    write!(&mut bytes, 80, account.user_data_128);
    write!(&mut bytes, 96, account.user_data_64);
    write!(&mut bytes, 104, account.user_data_32);
    write!(&mut bytes, 108, account.reserved);
    write!(&mut bytes, 112, account.ledger.0);
    write!(&mut bytes, 116, account.code);
    write!(&mut bytes, 118, account.flags.0);
    write!(&mut bytes, 120, account.timestamp.0);
    bytes
}

/// Reads a transfer.
pub fn transfer_from_bytes(bytes: &[u8; RECORD_SIZE]) -> Transfer {
    Transfer {
        id: TransferId(read!(bytes, u128, 0)),
        debit_account_id: AccountId(read!(bytes, u128, 16)),
        credit_account_id: AccountId(read!(bytes, u128, 32)),
        amount: read!(bytes, u128, 48),
        pending_id: TransferId(read!(bytes, u128, 64)),
        user_data_128: read!(bytes, u128, 80),
        user_data_64: read!(bytes, u64, 96),
        user_data_32: read!(bytes, u32, 104),
        timeout_seconds: read!(bytes, u32, 108),
        ledger: LedgerNumber(read!(bytes, u32, 112)),
        code: read!(bytes, u16, 116),
        flags: TransferFlags(read!(bytes, u16, 118)),
        timestamp: Nanos(read!(bytes, u64, 120)),
    }
}

/// Writes a transfer.
pub fn transfer_to_bytes(transfer: &Transfer) -> [u8; RECORD_SIZE] {
    let mut bytes = [0; RECORD_SIZE];
    write!(&mut bytes, 0, transfer.id.0);
    write!(&mut bytes, 16, transfer.debit_account_id.0);
    write!(&mut bytes, 32, transfer.credit_account_id.0);
    write!(&mut bytes, 48, transfer.amount);
    write!(&mut bytes, 64, transfer.pending_id.0);
    write!(&mut bytes, 80, transfer.user_data_128);
    write!(&mut bytes, 96, transfer.user_data_64);
    write!(&mut bytes, 104, transfer.user_data_32);
    write!(&mut bytes, 108, transfer.timeout_seconds);
    write!(&mut bytes, 112, transfer.ledger.0);
    write!(&mut bytes, 116, transfer.code);
    write!(&mut bytes, 118, transfer.flags.0);
    write!(&mut bytes, 120, transfer.timestamp.0);
    bytes
}

/// Reads a balance at a timestamp.
pub fn account_balance_from_bytes(bytes: &[u8; ACCOUNT_BALANCE_SIZE]) -> AccountBalance {
    AccountBalance {
        balances: Balances {
            debits_pending: read!(bytes, u128, 0),
            debits_posted: read!(bytes, u128, 16),
            credits_pending: read!(bytes, u128, 32),
            credits_posted: read!(bytes, u128, 48),
        },
        timestamp: Nanos(read!(bytes, u64, 64)),
    }
}

/// Writes a balance at a timestamp; the last 56 bytes are zero.
pub fn account_balance_to_bytes(balance: &AccountBalance) -> [u8; ACCOUNT_BALANCE_SIZE] {
    let mut bytes = [0; ACCOUNT_BALANCE_SIZE];
    write!(&mut bytes, 0, balance.balances.debits_pending);
    write!(&mut bytes, 16, balance.balances.debits_posted);
    write!(&mut bytes, 32, balance.balances.credits_pending);
    write!(&mut bytes, 48, balance.balances.credits_posted);
    write!(&mut bytes, 64, balance.timestamp.0);
    bytes
}

/// Reads the result of an event.
pub fn result_from_bytes(bytes: &[u8; RESULT_SIZE]) -> EventResult {
    EventResult { timestamp: Nanos(read!(bytes, u64, 0)), status: read!(bytes, u32, 8) }
}

/// Writes the result of an event; the last 4 bytes are zero.
pub fn result_to_bytes(result: EventResult) -> [u8; RESULT_SIZE] {
    let mut bytes = [0; RESULT_SIZE];
    write!(&mut bytes, 0, result.timestamp.0);
    write!(&mut bytes, 8, result.status);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that differ at every offset, so that two swapped fields are found.
    fn distinct() -> [u8; RECORD_SIZE] {
        core::array::from_fn(|at| u8::try_from(at + 1).unwrap())
    }

    #[test]
    fn records_survive_decoding_and_encoding() {
        let bytes = distinct();
        assert_eq!(account_to_bytes(&account_from_bytes(&bytes)), bytes);
        assert_eq!(transfer_to_bytes(&transfer_from_bytes(&bytes)), bytes);
    }

    #[test]
    fn fields_are_at_the_offsets_of_the_protocol() {
        let transfer = transfer_from_bytes(&distinct());
        assert_eq!(transfer.flags.0, u16::from_le_bytes([119, 120]));
        assert_eq!(transfer.timeout_seconds, u32::from_le_bytes([109, 110, 111, 112]));
        let account = account_from_bytes(&distinct());
        assert_eq!(account.code, u16::from_le_bytes([117, 118]));
        assert_eq!(account.ledger.0, u32::from_le_bytes([113, 114, 115, 116]));
    }

    #[test]
    fn results_and_balances_survive_encoding_and_decoding() {
        let result = EventResult { timestamp: Nanos(7), status: u32::MAX };
        assert_eq!(result_from_bytes(&result_to_bytes(result)), result);
        let balances =
            Balances { debits_pending: 1, debits_posted: 2, credits_pending: 3, credits_posted: u128::MAX };
        let balance = AccountBalance { balances, timestamp: Nanos(9) };
        assert_eq!(account_balance_from_bytes(&account_balance_to_bytes(&balance)), balance);
    }

    #[test]
    fn a_cut_record_is_an_error() {
        assert!(records::<RECORD_SIZE>(&[0; 127]).is_err());
        assert_eq!(records::<RECORD_SIZE>(&[0; 256]).unwrap().len(), 2);
    }
}
