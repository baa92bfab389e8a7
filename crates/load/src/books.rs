//! The check of the figures: the server's books before and after the load, compared with what was sent.

use bezant_api::v1;
use bezant_codec::{account_from_bytes, put_trailer, records};
use bezant_tigerbeetle::Operation;
use bezant_tigerbeetle::operation::ID_SIZE;
use bezant_types::limits::{EVENTS_MAX, RECORD_SIZE};

use crate::clients::Connection;
use crate::error::LoadError;
use crate::frames::Frames;
use crate::workload::{LEDGER, Load};

/// The books before the load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BooksBefore(Totals);

/// The totals of the books that a run changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The count of accounts.
    pub accounts: u64,
    /// The count of movements.
    pub movements: u64,
    /// The count of refusals.
    pub refusals: u64,
    /// The posted debits in the ledger of the load, in minor units.
    pub debits_posted: u128,
}

impl BooksBefore {
    /// Reads the totals from the server.
    pub(crate) async fn read(connection: &mut Connection) -> Result<Self, LoadError> {
        Ok(Self(Totals::of(&read(connection).await?)?))
    }

    /// An error unless debits equal credits and the books moved by exactly what was sent.
    pub(crate) async fn check(
        self,
        connection: &mut Connection,
        load: &Load,
        amount_sum: u128,
    ) -> Result<(), LoadError> {
        let found = Totals::of(&read(connection).await?)?;
        let expected = self.0.after(load.accounts, load.transfers, amount_sum);
        if found == expected { Ok(()) } else { Err(LoadError::BooksDiffer { expected, found }) }
    }
}

/// An error unless the accounts of the load hold exactly what was sent, and debits equal credits.
pub(crate) async fn check_accounts(
    frames: &mut Frames,
    load: &Load,
    amount_sum: u128,
) -> Result<(), LoadError> {
    let (mut count, mut debits, mut credits) = (0_u64, 0_u128, 0_u128);
    let numbers: Vec<u64> = (0..load.accounts).collect();
    for numbers in numbers.chunks(EVENTS_MAX) {
        let mut body = Vec::with_capacity((numbers.len() + 1) * ID_SIZE);
        for number in numbers {
            body.extend_from_slice(&load.account_id(*number).0.to_le_bytes());
        }
        put_trailer(&mut body, &[numbers.len()], ID_SIZE);
        let found = frames.submit(Operation::LookupAccounts, &body).await.map_err(LoadError::Accounts)?;
        for account in records::<RECORD_SIZE>(&found).map_err(LoadError::AccountsCut)? {
            let account = account_from_bytes(account);
            count += 1;
            debits += account.debits_posted;
            credits += account.credits_posted;
        }
    }
    let expected = (load.accounts, amount_sum, amount_sum);
    let found = (count, debits, credits);
    if found == expected { Ok(()) } else { Err(LoadError::AccountsDiffer { expected, found }) }
}

async fn read(connection: &mut Connection) -> Result<v1::GetBooksReply, LoadError> {
    let reply = connection.calls.get_books(v1::GetBooksRequest {}).await;
    Ok(reply.map_err(|status| LoadError::Books(status.into()))?.into_inner())
}

impl Totals {
    /// The totals of the books; an error when debits and credits of a ledger differ.
    fn of(books: &v1::GetBooksReply) -> Result<Self, LoadError> {
        let mut debits_posted = 0;
        for row in &books.ledgers {
            let sums = row.balances.unwrap_or_default();
            let balanced =
                sums.debits_posted == sums.credits_posted && sums.debits_pending == sums.credits_pending;
            if !balanced {
                return Err(LoadError::NotBalanced { ledger: row.ledger, sums: format!("{sums:?}") });
            }
            if row.ledger == LEDGER.0 {
                debits_posted = sums.debits_posted.map_or(0, wide);
            }
        }
        Ok(Self {
            accounts: books.accounts,
            movements: books.movements,
            refusals: books.refusals,
            debits_posted,
        })
    }

    /// The totals after a run in which every transfer was accepted.
    const fn after(self, accounts: u64, transfers: u64, amount_sum: u128) -> Self {
        Self {
            accounts: self.accounts + accounts,
            movements: self.movements + transfers,
            refusals: self.refusals,
            debits_posted: self.debits_posted.wrapping_add(amount_sum),
        }
    }
}

fn wide(number: v1::Uint128) -> u128 {
    u128::from(number.high) << 64 | u128::from(number.low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books(debits: u64, credits: u64) -> v1::GetBooksReply {
        let number = |low| Some(v1::Uint128 { high: 0, low });
        let balances = v1::Balances {
            debits_posted: number(debits),
            credits_posted: number(credits),
            ..v1::Balances::default()
        };
        let row = v1::LedgerTotals { ledger: LEDGER.0, accounts: 2, balances: Some(balances), carries: None };
        v1::GetBooksReply { accounts: 2, movements: 3, ledgers: vec![row], ..v1::GetBooksReply::default() }
    }

    #[test]
    fn books_that_do_not_balance_are_refused() {
        let error = Totals::of(&books(10, 9)).unwrap_err();
        assert!(error.to_string().starts_with("the books of ledger 1 do not balance"), "{error}");
    }

    #[test]
    fn totals_move_by_what_was_sent() {
        let before = Totals::of(&books(10, 10)).unwrap();
        let after = Totals { accounts: 7, movements: 103, refusals: 0, debits_posted: 1010 };
        assert_eq!(before.after(5, 100, 1000), after);
    }
}
