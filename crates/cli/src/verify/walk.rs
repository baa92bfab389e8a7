//! The chains of a history, recomputed row by row: the part of `bezant verify` that trusts nobody.
//!
//! Every transfer is hashed over its final record and two heads, the payer's last spend and the payee's last
//! receipt; the hash becomes the new head of both. A walk holds for each account the heads and sums that it
//! computed itself and compares each row with them, so that a changed bit is found at the row that carries it
//! or at the first that builds on it. Where an account is known from elsewhere (a live server, the
//! accounts of an export), its heads and sums are compared when the walk reaches its place in the chains.
//!
//! A walk over the whole history checks everything, sums of reserves included. A walk over one account's rows
//! links that account's own chain; of each counterpart it sees the head as part of the hash, and reserves it
//! cannot sum up, since rows of expiry belong to no account. The moment of an expiry, which no hash holds, can only be
//! placed: not before it is due, and before the next row.

use std::collections::BTreeMap;

use bezant_client::{
    AccountId, AccountView, Balances, Chain, Head, Movement, MovementKind, MovementNumber, Nanos, Transfer,
    TransferFlags, TransferId,
};
use bezant_ledger::chain::{initial_head, next_head};
use bezant_types::ChainSide;
use thiserror::Error;

/// What a history is not, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Broken {
    /// A row that does not follow from those before it.
    #[error("movement {number} (transfer {transfer_id}): {what}")]
    Row {
        /// Its place in the history.
        number: MovementNumber,
        /// Its transfer.
        transfer_id: TransferId,
        /// What differs.
        what: String,
    },
    /// An account that is not what its rows make of it.
    #[error("account {id}: {what}")]
    Account {
        /// Which.
        id: AccountId,
        /// What differs.
        what: String,
    },
}

/// Whose rows are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everybody's, without gaps, expiries included.
    All,
    /// One account's transfers.
    Account(AccountId),
}

/// What the walk knows of an account.
#[derive(Clone, Debug)]
struct Walked {
    spends: Chain,
    receipts: Chain,
    balances: Balances,
    /// As it is known from elsewhere; `None` = younger than that, or not known.
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
pub(crate) struct Walk {
    scope: Scope,
    accounts: BTreeMap<AccountId, Walked>,
    /// The pending transfers that are not resolved. Only when all rows are walked.
    pending: BTreeMap<TransferId, Transfer>,
    /// The lowest number that the next row may have.
    next: u64,
    /// Timestamp of the last row.
    last: Nanos,
    movements: u64,
    transfers: u64,
}

/// What a walk has covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Covered {
    /// Rows.
    pub(crate) movements: u64,
    /// Rows that are transfers: the others are expiries.
    pub(crate) transfers: u64,
    /// Accounts that were compared with what is known of them from elsewhere.
    pub(crate) accounts: u64,
}

impl Walk {
    /// Begins before the first row. `expected` are accounts as they are known from elsewhere, none twice.
    pub(crate) fn new(scope: Scope, expected: Vec<AccountView>) -> Result<Self, Broken> {
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

    /// Adds an account as it is known from elsewhere, before the first row.
    pub(crate) fn expect(&mut self, view: AccountView) -> Result<(), Broken> {
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

    /// How many rows were walked.
    pub(crate) const fn movements(&self) -> u64 {
        self.movements
    }

    /// Checks one row against all before it.
    pub(crate) fn step(&mut self, number: MovementNumber, movement: &Movement) -> Result<(), Broken> {
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
                return Err(format!("it stands where movement {} has to be", self.next));
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

    /// What the row takes out of the reserves; keeps the list of unresolved pending transfers.
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

    /// A row of one account's history: its own side, posted sums.
    fn step_account(&mut self, id: AccountId, movement: &Movement) -> Result<(), String> {
        let transfer = &movement.transfer;
        let (side, head, row) = if transfer.debit_account_id == id {
            (ChainSide::Spends, movement.debit_head, &movement.debit)
        } else if transfer.credit_account_id == id {
            (ChainSide::Receipts, movement.credit_head, &movement.credit)
        } else {
            return Err(format!("account {id} takes no part in it"));
        };
        if movement.kind == MovementKind::Expired {
            return Err("an expiry stands among the transfers of an account".to_owned());
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

    /// Ends the walk: every account that is known from elsewhere must have been reached. With `is_exact`
    /// nothing was written since, so that the reserves must agree too, and all accounts are known.
    pub(crate) fn finish(&self, is_exact: bool) -> Result<Covered, Broken> {
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
    pub(crate) fn chains(&self, id: AccountId) -> Option<(Chain, Chain)> {
        self.accounts.get(&id).map(|walked| (walked.spends, walked.receipts))
    }

    /// Every account: as it is known from elsewhere, and the sums that its rows make.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = (AccountId, Option<&AccountView>, &Balances)> {
        self.accounts.iter().map(|(id, walked)| (*id, walked.expected.as_ref(), &walked.balances))
    }

    /// The accounts that were met and are not known from elsewhere.
    pub(crate) fn unknown_accounts(&self) -> Vec<AccountId> {
        self.accounts.iter().filter(|(_, walked)| walked.expected.is_none()).map(|(id, _)| *id).collect()
    }
}

/// What a row must be by itself.
fn check_record(movement: &Movement) -> Result<(), String> {
    let transfer = &movement.transfer;
    let kind = MovementKind::of(transfer.flags);
    if movement.kind == MovementKind::Expired {
        if !transfer.flags.contains(TransferFlags::PENDING) {
            return Err("it says that a transfer expired which was not pending".to_owned());
        }
        if transfer.expires_at().is_none_or(|expires_at| movement.timestamp < expires_at) {
            return Err("the transfer expired before its time".to_owned());
        }
        if !movement.debit_head.is_none() || !movement.credit_head.is_none() {
            return Err("it is an expiry, which no chain holds, and has heads".to_owned());
        }
        return Ok(());
    }
    if movement.kind != kind {
        return Err(format!("it says {}, its flags say {}", movement.kind.name(), kind.name()));
    }
    if transfer.timestamp != movement.timestamp {
        return Err(format!("its time {} is not the transfer's, {}", movement.timestamp, transfer.timestamp));
    }
    Ok(())
}

/// Hangs a transfer on one chain of an account, after comparing the head that it was made over.
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

/// The sums of one side's account after a row; `None` when they do not fit.
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

/// Compares an account with what is known of it from elsewhere, if the walk has reached that place.
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
        return broken(format!("its {name} sum up to {sum}, but its balance says {posted}"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "walk_tests.rs"]
pub(crate) mod tests;
