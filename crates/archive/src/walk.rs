//! The walk along a history: recomputes the chains and sums of a history row by row, and trusts no stored
//! value.
//!
//! The hash of a transfer covers its final record and two heads: the payer's last spend and the payee's last
//! receipt. The hash becomes the new head of both chains. A walk computes the heads and sums of each account
//! itself, and compares each row with them. So a changed bit is found at its row, or at the first row that
//! builds on it. If an account is also known from another source (a running server, the accounts of an
//! export), the walk compares its heads and sums when it reaches the same place in the chains.
//!
//! A walk over the whole history checks everything, sums of reserves included. A walk over one account's rows
//! checks that account's own chains. It has the heads of the other accounts only as part of the hashes. It
//! cannot sum up reserves, because rows of expiry belong to no account. No hash covers the time of an expiry:
//! the walk only checks that it is not before the transfer expires, and before the next row.

use std::collections::BTreeMap;

use bezant_codec::chain::{initial_head, next_head};
use bezant_types::{
    AccountId, AccountView, Balances, Chain, ChainSide, Head, Movement, MovementKind, MovementNumber, Nanos,
    Transfer, TransferFlags, TransferId,
};
use thiserror::Error;

/// The first error of a history, and its place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Broken {
    /// A row that does not follow from the rows before it.
    #[error("movement {number} (transfer {transfer_id}): {what}")]
    Row {
        /// The number of the row in the history.
        number: MovementNumber,
        /// The transfer of the row.
        transfer_id: TransferId,
        /// The difference.
        what: String,
    },
    /// An account that does not match its rows.
    #[error("account {id}: {what}")]
    Account {
        /// The account.
        id: AccountId,
        /// The difference.
        what: String,
    },
}

/// The rows of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All rows of the history, without gaps, expiries included.
    All,
    /// The rows of one account's transfers.
    Account(AccountId),
}

/// The state of an account in a walk.
#[derive(Clone, Debug)]
struct Walked {
    spends: Chain,
    receipts: Chain,
    balances: Balances,
    /// The account from another source; `None` if that source does not have it, for example because it is
    /// older.
    expected: Option<AccountView>,
}

impl Walked {
    fn new(id: AccountId, expected: Option<AccountView>) -> Self {
        let chain = |side| Chain { sequence: 0, head: initial_head(side, id) };
        Self {
            spends: chain(ChainSide::Spends),
            receipts: chain(ChainSide::Receipts),
            balances: Balances::default(),
            expected,
        }
    }
}

/// A walk along a history.
#[derive(Debug)]
pub struct Walk {
    scope: Scope,
    accounts: BTreeMap<AccountId, Walked>,
    /// The pending transfers that are not resolved. Empty unless the walk covers all rows.
    pending: BTreeMap<TransferId, Transfer>,
    /// The lowest number that the next row may have.
    next: u64,
    /// Timestamp of the last row.
    last: Nanos,
    movements: u64,
    transfers: u64,
}

/// What a walk has checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Number of rows.
    pub movements: u64,
    /// Number of rows that are transfers; the others are expiries.
    pub transfers: u64,
    /// Number of accounts that were compared: with the accounts of the file, or of another source.
    pub accounts: u64,
}

impl Walk {
    /// Begins before the first row. `expected` are the accounts from another source, none twice.
    pub fn new(scope: Scope, expected: Vec<AccountView>) -> Result<Self, Broken> {
        let mut walk = Self {
            scope,
            accounts: BTreeMap::new(),
            pending: BTreeMap::new(),
            next: 0,
            last: Nanos(0),
            movements: 0,
            transfers: 0,
        };
        for view in expected {
            walk.expect(view)?;
        }
        Ok(walk)
    }

    /// Adds an account from another source, before the first row.
    pub fn expect(&mut self, view: AccountView) -> Result<(), Broken> {
        let id = view.account.id;
        let walked = Walked::new(id, Some(view));
        for side in [ChainSide::Spends, ChainSide::Receipts] {
            compare_chain(id, &walked, side)?;
        }
        match self.accounts.insert(id, walked) {
            None => Ok(()),
            Some(_) => Err(Broken::Account { id, what: "it is there twice".to_owned() }),
        }
    }

    /// Number of rows checked so far.
    pub const fn movements(&self) -> u64 {
        self.movements
    }

    /// Checks one row against all rows before it.
    pub fn step(&mut self, number: MovementNumber, movement: &Movement) -> Result<(), Broken> {
        let transfer_id = movement.transfer.id;
        let broken = |what: String| Broken::Row { number, transfer_id, what };
        self.check_place(number, movement).map_err(broken)?;
        check_record(movement).map_err(broken)?;
        match self.scope {
            Scope::All => self.step_all(movement).map_err(broken)?,
            Scope::Account(account) => self.step_account(account, movement).map_err(broken)?,
        }
        self.next = number.0.saturating_add(1);
        self.last = movement.timestamp;
        self.movements += 1;
        if movement.kind == MovementKind::Expired {
            return Ok(());
        }
        self.transfers += 1;
        let sides = [
            (movement.transfer.debit_account_id, ChainSide::Spends),
            (movement.transfer.credit_account_id, ChainSide::Receipts),
        ];
        for (id, side) in sides {
            if let Some(walked) = self.accounts.get(&id) {
                compare_chain(id, walked, side)?;
            }
        }
        Ok(())
    }

    fn check_place(&self, number: MovementNumber, movement: &Movement) -> Result<(), String> {
        match self.scope {
            Scope::All if number.0 != self.next => {
                return Err(format!("movement {} has to be at this place", self.next));
            }
            Scope::Account(_) if number.0 < self.next => {
                return Err(format!("its number is not above {}", self.next.saturating_sub(1)));
            }
            _ => {}
        }
        if movement.timestamp <= self.last {
            return Err(format!("its time {} is not after {}", movement.timestamp, self.last));
        }
        Ok(())
    }

    /// A row of the whole history: both chains, all sums.
    fn step_all(&mut self, movement: &Movement) -> Result<(), String> {
        let transfer = &movement.transfer;
        let released = self.released(movement)?;
        for (side, id, heads) in [
            (ChainSide::Spends, transfer.debit_account_id, movement.debit_head),
            (ChainSide::Receipts, transfer.credit_account_id, movement.credit_head),
        ] {
            let walked = self.accounts.entry(id).or_insert_with(|| Walked::new(id, None));
            if movement.kind != MovementKind::Expired {
                link(walked, side, id, heads, movement)?;
            }
            let row = match side {
                ChainSide::Spends => &movement.debit,
                ChainSide::Receipts => &movement.credit,
            };
            let sums = moved(&walked.balances, side, movement, released)
                .ok_or_else(|| format!("the sums of account {id} leave the range of 128 bits"))?;
            compare_balances(id, &sums, row)?;
            walked.balances = sums;
        }
        Ok(())
    }

    /// The amount that the row releases from the reserves. Updates the list of unresolved pending transfers.
    fn released(&mut self, movement: &Movement) -> Result<u128, String> {
        let transfer = &movement.transfer;
        let pending_id = match movement.kind {
            MovementKind::SinglePhase => return Ok(0),
            MovementKind::Pending => {
                self.pending.insert(transfer.id, *transfer);
                return Ok(0);
            }
            MovementKind::Posted | MovementKind::Voided => transfer.pending_id,
            MovementKind::Expired => transfer.id,
        };
        let pending = self
            .pending
            .remove(&pending_id)
            .ok_or_else(|| format!("it resolves {pending_id}, which is not pending at this place"))?;
        let is_same = match movement.kind {
            MovementKind::Expired => pending == *transfer,
            _ => {
                pending.debit_account_id == transfer.debit_account_id
                    && pending.credit_account_id == transfer.credit_account_id
            }
        };
        if is_same { Ok(pending.amount) } else { Err(format!("it is not what {pending_id} reserved")) }
    }

    /// A row of one account's history: checks the account's own chain and its posted sums.
    fn step_account(&mut self, id: AccountId, movement: &Movement) -> Result<(), String> {
        let transfer = &movement.transfer;
        let (side, head, row) = if transfer.debit_account_id == id {
            (ChainSide::Spends, movement.debit_head, &movement.debit)
        } else if transfer.credit_account_id == id {
            (ChainSide::Receipts, movement.credit_head, &movement.credit)
        } else {
            return Err(format!("account {id} is neither debited nor credited"));
        };
        if movement.kind == MovementKind::Expired {
            return Err("an expiry is among the transfers of an account".to_owned());
        }
        let walked = self.accounts.entry(id).or_insert_with(|| Walked::new(id, None));
        link(walked, side, id, head, movement)?;
        let sums =
            moved(&Balances { debits_pending: 0, credits_pending: 0, ..walked.balances }, side, movement, 0)
                .ok_or_else(|| format!("the sums of account {id} leave the range of 128 bits"))?;
        let sums =
            Balances { debits_pending: row.debits_pending, credits_pending: row.credits_pending, ..sums };
        compare_balances(id, &sums, row)?;
        walked.balances = sums;
        Ok(())
    }

    /// Ends the walk: it must have reached the state of every account from the other source. With `is_exact`
    /// the source is as new as the history: the reserves must match, too, and the source has all accounts.
    pub fn finish(&self, is_exact: bool) -> Result<Covered, Broken> {
        if is_exact
            && self.scope == Scope::All
            && let Some(id) = self.unknown_accounts().first()
        {
            let what = "it has movements, but is not among the accounts".to_owned();
            return Err(Broken::Account { id: *id, what });
        }
        let mut covered = Covered { movements: self.movements, transfers: self.transfers, accounts: 0 };
        for (id, walked) in &self.accounts {
            let Some(expected) = &walked.expected else { continue };
            let chains = [
                ("spends", walked.spends.sequence, expected.spends.sequence),
                ("receipts", walked.receipts.sequence, expected.receipts.sequence),
            ];
            for (name, walked, expected) in chains {
                if walked < expected || (is_exact && walked != expected) {
                    let what =
                        format!("its {name} number {expected}, but the history holds {walked} of them");
                    return Err(Broken::Account { id: *id, what });
                }
            }
            if is_exact && self.scope == Scope::All {
                compare_balances(*id, &walked.balances, &expected.account.balances())
                    .map_err(|what| Broken::Account { id: *id, what })?;
            }
            covered.accounts += 1;
        }
        Ok(covered)
    }

    /// The heads that the walk computed for an account.
    pub fn chains(&self, id: AccountId) -> Option<(Chain, Chain)> {
        self.accounts.get(&id).map(|walked| (walked.spends, walked.receipts))
    }

    /// Every account: its view from the other source, and the sums that the walk computed.
    pub fn accounts(&self) -> impl Iterator<Item = (AccountId, Option<&AccountView>, &Balances)> {
        self.accounts.iter().map(|(id, walked)| (*id, walked.expected.as_ref(), &walked.balances))
    }

    /// The accounts in the rows that the other source does not have.
    pub fn unknown_accounts(&self) -> Vec<AccountId> {
        self.accounts.iter().filter(|(_, walked)| walked.expected.is_none()).map(|(id, _)| *id).collect()
    }
}

/// Checks a row without the rows before it.
fn check_record(movement: &Movement) -> Result<(), String> {
    let transfer = &movement.transfer;
    let kind = MovementKind::of(transfer.flags);
    if movement.kind == MovementKind::Expired {
        if !transfer.flags.contains(TransferFlags::PENDING) {
            return Err("it is the expiry of a transfer that was not pending".to_owned());
        }
        if transfer.expires_at().is_none_or(|expires_at| movement.timestamp < expires_at) {
            return Err("the transfer expired before its time".to_owned());
        }
        if !movement.debit_head.is_none() || !movement.credit_head.is_none() {
            return Err("it is an expiry, which is in no chain, and has heads".to_owned());
        }
        return Ok(());
    }
    if movement.kind != kind {
        return Err(format!("its kind is {}, but its flags mean {}", movement.kind.name(), kind.name()));
    }
    if transfer.timestamp != movement.timestamp {
        return Err(format!("its time {} is not the transfer's, {}", movement.timestamp, transfer.timestamp));
    }
    Ok(())
}

/// Adds a transfer to one chain of an account, after comparing the head over which it was made.
fn link(
    walked: &mut Walked,
    side: ChainSide,
    id: AccountId,
    head: Head,
    movement: &Movement,
) -> Result<(), String> {
    let (chain, name) = match side {
        ChainSide::Spends => (&mut walked.spends, "spends"),
        ChainSide::Receipts => (&mut walked.receipts, "receipts"),
    };
    if head != chain.head {
        return Err(format!(
            "it was made over head {head} of the {name} of account {id}, but the {} before it lead to {}",
            chain.sequence, chain.head
        ));
    }
    chain.head = next_head(&movement.transfer, movement.debit_head, movement.credit_head);
    chain.sequence += 1;
    Ok(())
}

/// The sums of the account on `side` after a row; `None` when they overflow.
fn moved(before: &Balances, side: ChainSide, movement: &Movement, released: u128) -> Option<Balances> {
    let mut after = *before;
    let (pending, posted) = match side {
        ChainSide::Spends => (&mut after.debits_pending, &mut after.debits_posted),
        ChainSide::Receipts => (&mut after.credits_pending, &mut after.credits_posted),
    };
    *pending = pending.checked_sub(released)?;
    match movement.kind {
        MovementKind::SinglePhase | MovementKind::Posted => {
            *posted = posted.checked_add(movement.transfer.amount)?;
        }
        MovementKind::Pending => *pending = pending.checked_add(movement.transfer.amount)?,
        MovementKind::Voided | MovementKind::Expired => {}
    }
    Some(after)
}

fn compare_balances(id: AccountId, walked: &Balances, row: &Balances) -> Result<(), String> {
    let sums = [
        ("debits_pending", walked.debits_pending, row.debits_pending),
        ("debits_posted", walked.debits_posted, row.debits_posted),
        ("credits_pending", walked.credits_pending, row.credits_pending),
        ("credits_posted", walked.credits_posted, row.credits_posted),
    ];
    match sums.iter().find(|(_, walked, row)| walked != row) {
        None => Ok(()),
        Some((name, walked, row)) => {
            Err(format!("{name} of account {id} is {row}, but the rows so far make it {walked}"))
        }
    }
}

/// Compares an account with its view from the other source, if the walk has reached the same place in the
/// chain.
fn compare_chain(id: AccountId, walked: &Walked, side: ChainSide) -> Result<(), Broken> {
    let Some(expected) = &walked.expected else { return Ok(()) };
    let account = &expected.account;
    let (chain, known, name, sum, posted) = match side {
        ChainSide::Spends => {
            (walked.spends, expected.spends, "spends", walked.balances.debits_posted, account.debits_posted)
        }
        ChainSide::Receipts => (
            walked.receipts,
            expected.receipts,
            "receipts",
            walked.balances.credits_posted,
            account.credits_posted,
        ),
    };
    if chain.sequence != known.sequence {
        return Ok(());
    }
    let broken = |what: String| Err(Broken::Account { id, what });
    if chain.head != known.head {
        return broken(format!(
            "the head of its {} {name} is {}, but its history leads to {}",
            known.sequence, known.head, chain.head
        ));
    }
    if sum != posted {
        return broken(format!("its {name} sum up to {sum}, but its balance is {posted}"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "walk_tests.rs"]
pub(crate) mod tests;
