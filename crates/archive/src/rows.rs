//! Rows of an export: every field of a movement, flat, so that JSON and CSV have the same names.
//!
//! Integers of 64 and 128 bits are strings of digits, heads are 64 hexadecimal digits in lower case, flags
//! are their number. Reading a row returns exactly what was written, or an error.

use std::fmt::Display;
use std::str::FromStr;

use bezant_types::{
    Account, AccountFlags, AccountId, AccountView, Balances, Bounds, Chain, Head, LedgerNumber, Movement,
    MovementKind, MovementNumber, Nanos, Transfer, TransferFlags, TransferId,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An integer as decimal digits, with `-` if it is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digits<T>(pub(crate) T);

impl<T: Display> Serialize for Digits<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Digits<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.starts_with('+') {
            return Err(serde::de::Error::custom("an integer has no sign +"));
        }
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// A head in hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hex(Head);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Head::from_hex(&text)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("a head is 64 hexadecimal digits"))
    }
}

/// A movement as a row of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MovementRow {
    position: Digits<u64>,
    timestamp: Digits<u64>,
    kind: String,
    id: Digits<u128>,
    debit_account_id: Digits<u128>,
    credit_account_id: Digits<u128>,
    amount: Digits<u128>,
    pending_id: Digits<u128>,
    user_data_128: Digits<u128>,
    user_data_64: Digits<u64>,
    user_data_32: u32,
    timeout_seconds: u32,
    ledger: u32,
    code: u16,
    flags: u16,
    transfer_timestamp: Digits<u64>,
    debit_account_debits_pending: Digits<u128>,
    debit_account_debits_posted: Digits<u128>,
    debit_account_credits_pending: Digits<u128>,
    debit_account_credits_posted: Digits<u128>,
    credit_account_debits_pending: Digits<u128>,
    credit_account_debits_posted: Digits<u128>,
    credit_account_credits_pending: Digits<u128>,
    credit_account_credits_posted: Digits<u128>,
    debit_head: Hex,
    credit_head: Hex,
}

impl MovementRow {
    /// A row of zeros.
    pub(crate) fn empty() -> Self {
        let movement = Movement {
            transfer: Transfer::default(),
            kind: MovementKind::SinglePhase,
            timestamp: Nanos(0),
            debit: Balances::default(),
            credit: Balances::default(),
            debit_head: Head::NONE,
            credit_head: Head::NONE,
        };
        Self::new(MovementNumber(0), &movement)
    }

    /// The row of a movement.
    pub(crate) fn new(number: MovementNumber, movement: &Movement) -> Self {
        let Movement { transfer, kind, timestamp, debit, credit, debit_head, credit_head } = movement;
        Self {
            position: Digits(number.0),
            timestamp: Digits(timestamp.0),
            kind: kind.name().to_owned(),
            id: Digits(transfer.id.0),
            debit_account_id: Digits(transfer.debit_account_id.0),
            credit_account_id: Digits(transfer.credit_account_id.0),
            amount: Digits(transfer.amount),
            pending_id: Digits(transfer.pending_id.0),
            user_data_128: Digits(transfer.user_data_128),
            user_data_64: Digits(transfer.user_data_64),
            user_data_32: transfer.user_data_32,
            timeout_seconds: transfer.timeout_seconds,
            ledger: transfer.ledger.0,
            code: transfer.code,
            flags: transfer.flags.0,
            transfer_timestamp: Digits(transfer.timestamp.0),
            debit_account_debits_pending: Digits(debit.debits_pending),
            debit_account_debits_posted: Digits(debit.debits_posted),
            debit_account_credits_pending: Digits(debit.credits_pending),
            debit_account_credits_posted: Digits(debit.credits_posted),
            credit_account_debits_pending: Digits(credit.debits_pending),
            credit_account_debits_posted: Digits(credit.debits_posted),
            credit_account_credits_pending: Digits(credit.credits_pending),
            credit_account_credits_posted: Digits(credit.credits_posted),
            debit_head: Hex(*debit_head),
            credit_head: Hex(*credit_head),
        }
    }

    /// The movement of a row; `None` when its kind is unknown.
    pub(crate) fn movement(&self) -> Option<(MovementNumber, Movement)> {
        let kind =
            (0..=u8::MAX).map_while(MovementKind::from_number).find(|kind| kind.name() == self.kind)?;
        let transfer = Transfer {
            id: TransferId(self.id.0),
            debit_account_id: AccountId(self.debit_account_id.0),
            credit_account_id: AccountId(self.credit_account_id.0),
            amount: self.amount.0,
            pending_id: TransferId(self.pending_id.0),
            user_data_128: self.user_data_128.0,
            user_data_64: self.user_data_64.0,
            user_data_32: self.user_data_32,
            timeout_seconds: self.timeout_seconds,
            ledger: LedgerNumber(self.ledger),
            code: self.code,
            flags: TransferFlags(self.flags),
            timestamp: Nanos(self.transfer_timestamp.0),
        };
        let movement = Movement {
            transfer,
            kind,
            timestamp: Nanos(self.timestamp.0),
            debit: Balances {
                debits_pending: self.debit_account_debits_pending.0,
                debits_posted: self.debit_account_debits_posted.0,
                credits_pending: self.debit_account_credits_pending.0,
                credits_posted: self.debit_account_credits_posted.0,
            },
            credit: Balances {
                debits_pending: self.credit_account_debits_pending.0,
                debits_posted: self.credit_account_debits_posted.0,
                credits_pending: self.credit_account_credits_pending.0,
                credits_posted: self.credit_account_credits_posted.0,
            },
            debit_head: self.debit_head.0,
            credit_head: self.credit_head.0,
        };
        Some((MovementNumber(self.position.0), movement))
    }
}

/// An account as a row of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountRow {
    id: Digits<u128>,
    name: String,
    ledger: u32,
    code: u16,
    flags: u16,
    debits_pending: Digits<u128>,
    debits_posted: Digits<u128>,
    credits_pending: Digits<u128>,
    credits_posted: Digits<u128>,
    minimum: Digits<i128>,
    maximum: Digits<i128>,
    user_data_128: Digits<u128>,
    user_data_64: Digits<u64>,
    user_data_32: u32,
    timestamp: Digits<u64>,
    spends_sequence: Digits<u64>,
    spends_head: Hex,
    receipts_sequence: Digits<u64>,
    receipts_head: Hex,
}

impl From<&AccountView> for AccountRow {
    fn from(view: &AccountView) -> Self {
        let account = &view.account;
        Self {
            id: Digits(account.id.0),
            name: view.name.clone(),
            ledger: account.ledger.0,
            code: account.code,
            flags: account.flags.0,
            debits_pending: Digits(account.debits_pending),
            debits_posted: Digits(account.debits_posted),
            credits_pending: Digits(account.credits_pending),
            credits_posted: Digits(account.credits_posted),
            minimum: Digits(view.bounds.minimum),
            maximum: Digits(view.bounds.maximum),
            user_data_128: Digits(account.user_data_128),
            user_data_64: Digits(account.user_data_64),
            user_data_32: account.user_data_32,
            timestamp: Digits(account.timestamp.0),
            spends_sequence: Digits(view.spends.sequence),
            spends_head: Hex(view.spends.head),
            receipts_sequence: Digits(view.receipts.sequence),
            receipts_head: Hex(view.receipts.head),
        }
    }
}

impl From<AccountRow> for AccountView {
    fn from(row: AccountRow) -> Self {
        let account = Account {
            id: AccountId(row.id.0),
            debits_pending: row.debits_pending.0,
            debits_posted: row.debits_posted.0,
            credits_pending: row.credits_pending.0,
            credits_posted: row.credits_posted.0,
            user_data_128: row.user_data_128.0,
            user_data_64: row.user_data_64.0,
            user_data_32: row.user_data_32,
            reserved: 0,
            ledger: LedgerNumber(row.ledger),
            code: row.code,
            flags: AccountFlags(row.flags),
            timestamp: Nanos(row.timestamp.0),
        };
        Self {
            account,
            name: row.name,
            bounds: Bounds { minimum: row.minimum.0, maximum: row.maximum.0 },
            spends: Chain { sequence: row.spends_sequence.0, head: row.spends_head.0 },
            receipts: Chain { sequence: row.receipts_sequence.0, head: row.receipts_head.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn movement_rows_survive_a_round_trip() {
        let mut bytes: [u8; bezant_codec::MOVEMENT_SIZE] =
            core::array::from_fn(|at| u8::try_from(at % 251).unwrap());
        bytes[328] = 4;
        bytes[329..].fill(0);
        let movement = bezant_codec::movement_from_bytes(&bytes).unwrap();
        let row = MovementRow::new(MovementNumber(7), &movement);
        let json = serde_json::to_string(&row).unwrap();
        let read: MovementRow = serde_json::from_str(&json).unwrap();
        assert_eq!(read.movement(), Some((MovementNumber(7), movement)));
    }

    #[test]
    fn account_rows_survive_a_round_trip() {
        let view = AccountView {
            name: "users:\"é\"".to_owned(),
            bounds: Bounds { minimum: -5, maximum: i128::MAX },
            spends: Chain { sequence: 3, head: Head([7; 32]) },
            ..AccountView::default()
        };
        let json = serde_json::to_string(&AccountRow::from(&view)).unwrap();
        assert_eq!(AccountView::from(serde_json::from_str::<AccountRow>(&json).unwrap()), view);
    }
}
