//! The sums over the accounts of each ledger, kept with every change of a balance: a reader of the books must
//! not make the payments wait until all accounts are added up.
//!
//! Debits and credits are kept apart, each with the side of the account that changes. The sums are not part of
//! a checkpoint: a restore adds up the accounts again.

use alloc::collections::BTreeMap;

use bezant_types::{Account, LedgerNumber, LedgerTotals};

/// What a transfer does to the balances of its two accounts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Booking {
    /// Reserves the amount.
    Reserve(u128),
    /// Releases a reserved amount.
    Release(u128),
    /// Posts the amount.
    Post(u128),
}

/// One row per ledger; a ledger without accounts has none.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    rows: BTreeMap<LedgerNumber, LedgerTotals>,
}

impl Totals {
    /// The rows in order of the ledgers.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &LedgerTotals> {
        self.rows.values()
    }

    pub(crate) fn get(&self, ledger: LedgerNumber) -> Option<&LedgerTotals> {
        self.rows.get(&ledger)
    }

    /// Adds an account.
    pub(crate) fn insert(&mut self, account: &Account) {
        let ledger = account.ledger;
        let row = self.rows.entry(ledger).or_insert_with(|| LedgerTotals { ledger, ..Default::default() });
        row.accounts += 1;
        add(row, account);
    }

    /// Removes an account that was added.
    pub(crate) fn remove(&mut self, account: &Account) {
        let row = self.row(account.ledger);
        row.accounts -= 1;
        subtract(row, account);
        if row.accounts == 0 {
            self.rows.remove(&account.ledger);
        }
    }

    /// Replaces the balances of an account.
    pub(crate) fn replace(&mut self, before: &Account, after: &Account) {
        let row = self.row(after.ledger);
        subtract(row, before);
        add(row, after);
    }

    /// Adds what a transfer does to the two accounts, which are of that ledger.
    pub(crate) fn book(&mut self, ledger: LedgerNumber, booking: Booking) {
        let row = self.row(ledger);
        match booking {
            Booking::Reserve(amount) => {
                row.debits_pending = row.debits_pending.plus(amount);
                row.credits_pending = row.credits_pending.plus(amount);
            }
            Booking::Release(amount) => {
                row.debits_pending = row.debits_pending.minus(amount);
                row.credits_pending = row.credits_pending.minus(amount);
            }
            Booking::Post(amount) => {
                row.debits_posted = row.debits_posted.plus(amount);
                row.credits_posted = row.credits_posted.plus(amount);
            }
        }
    }

    fn row(&mut self, ledger: LedgerNumber) -> &mut LedgerTotals {
        self.rows.get_mut(&ledger).expect("invariant: the ledger of an account has a row")
    }
}

fn add(row: &mut LedgerTotals, account: &Account) {
    row.debits_pending = row.debits_pending.plus(account.debits_pending);
    row.debits_posted = row.debits_posted.plus(account.debits_posted);
    row.credits_pending = row.credits_pending.plus(account.credits_pending);
    row.credits_posted = row.credits_posted.plus(account.credits_posted);
}

fn subtract(row: &mut LedgerTotals, account: &Account) {
    row.debits_pending = row.debits_pending.minus(account.debits_pending);
    row.debits_posted = row.debits_posted.minus(account.debits_posted);
    row.credits_pending = row.credits_pending.minus(account.credits_pending);
    row.credits_posted = row.credits_posted.minus(account.credits_posted);
}
