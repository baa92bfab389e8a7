//! The check of the figures: the server's books before and after the load, compared with what was sent.

use anyhow::{Context, Result, ensure};
use bezant_api::v1;
use bezant_codec::{account_from_bytes, put_trailer, records};
use bezant_tigerbeetle::Operation;
use bezant_tigerbeetle::operation::ID_SIZE;
use bezant_types::limits::{EVENTS_MAX, RECORD_SIZE};

use super::clients::{Connection, Outcome};
use super::load::{LEDGER, Load};
use crate::frames::Frames;

/// The books before the load.
#[derive(Clone, Copy, Debug)]
pub(super) struct BooksBefore(Totals);

/// The totals of the books that a run changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    accounts: u64,
    movements: u64,
    refusals: u64,
    debits_posted: u128,
}

impl BooksBefore {
    /// Reads the totals from the server.
    pub(super) async fn read(connection: &mut Connection) -> Result<Self> {
        Ok(Self(Totals::of(&read(connection).await?)?))
    }

    /// An error unless debits equal credits and the books moved by exactly what was sent.
    pub(super) async fn check(
        self,
        connection: &mut Connection,
        load: &Load,
        outcome: &Outcome,
    ) -> Result<()> {
        let after = Totals::of(&read(connection).await?)?;
        let expected = self.0.after(load.accounts, load.transfers, outcome.amount_sum);
        ensure!(
            after == expected,
            "the books are not what was sent (does another client write to this server?): \
             expected {expected:?}, found {after:?}"
        );
        Ok(())
    }
}

/// An error unless the accounts of the load hold exactly what was sent, and debits equal credits.
pub(super) async fn check_accounts(frames: &mut Frames, load: &Load, outcome: &Outcome) -> Result<()> {
    let (mut count, mut debits, mut credits) = (0_u64, 0_u128, 0_u128);
    let numbers: Vec<u64> = (0..load.accounts).collect();
    for numbers in numbers.chunks(EVENTS_MAX) {
        let mut body = Vec::with_capacity((numbers.len() + 1) * ID_SIZE);
        for number in numbers {
            body.extend_from_slice(&load.account_id(*number).0.to_le_bytes());
        }
        put_trailer(&mut body, &[numbers.len()], ID_SIZE);
        let found = frames.submit(Operation::LookupAccounts, &body).await.context("no accounts")?;
        for account in records::<RECORD_SIZE>(&found).context("the accounts are cut")? {
            let account = account_from_bytes(account);
            count += 1;
            debits += account.debits_posted;
            credits += account.credits_posted;
        }
    }
    let expected = (load.accounts, outcome.amount_sum, outcome.amount_sum);
    let found = (count, debits, credits);
    ensure!(
        found == expected,
        "the accounts are not what was sent (accounts, debits, credits): expected {expected:?}, found {found:?}"
    );
    Ok(())
}

async fn read(connection: &mut Connection) -> Result<v1::GetBooksReply> {
    let reply = connection.calls.get_books(v1::GetBooksRequest {}).await;
    Ok(reply.context("the books cannot be read")?.into_inner())
}

impl Totals {
    /// The totals of the books; an error when debits and credits of a ledger differ.
    fn of(books: &v1::GetBooksReply) -> Result<Self> {
        let mut debits_posted = 0;
        for row in &books.ledgers {
            let sums = row.balances.unwrap_or_default();
            let balanced =
                sums.debits_posted == sums.credits_posted && sums.debits_pending == sums.credits_pending;
            ensure!(balanced, "the books of ledger {} do not balance: {sums:?}", row.ledger);
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
