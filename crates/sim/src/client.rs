//! Clients: what they want done and seen, where they ask, and what they were told.

use std::collections::VecDeque;

use bezant_ledger::{Event, LedgerQuery, Operation};
use bezant_node::{Consistency, Ticket};
use bezant_rsm::Command;
use bezant_types::{
    Account, AccountFlags, AccountId, LedgerNumber, LogIndex, Transfer, TransferFlags, TransferId,
};

use crate::random::Random;

/// Accounts between which money moves.
pub(crate) const ACCOUNTS: u128 = 8;
/// Old transfers that a client may send again, post or void.
const REMEMBERED: usize = 24;

/// What a client wants.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// Something done.
    Write(Command),
    /// All accounts seen.
    Read(Consistency),
}

/// A wish under way.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) wanted: Wanted,
    /// When the client wished it first.
    pub(crate) since: u64,
    /// Of the last try.
    pub(crate) ticket: Ticket,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    number: u64,
    random: Random,
    pub(crate) call: Option<Call>,
    /// The last entry that it has seen.
    pub(crate) seen: LogIndex,
    last_id: u64,
    sent: VecDeque<Transfer>,
    /// Calls that were answered.
    pub(crate) done: u64,
    /// Numbers the moments at which it means to look around.
    pub(crate) plan: u64,
}

impl Client {
    pub(crate) const fn new(number: u64, seed: u64) -> Self {
        Self {
            number,
            random: Random::new(seed),
            call: None,
            seen: LogIndex(0),
            last_id: 0,
            sent: VecDeque::new(),
            done: 0,
            plan: 0,
        }
    }

    /// The next wish.
    pub(crate) fn wish(&mut self) -> Wanted {
        if self.done == 0 {
            return Wanted::Write(accounts());
        }
        match self.random.below(100) {
            0..60 => Wanted::Write(self.transfers()),
            60..85 => Wanted::Read(Consistency::Linearizable),
            85..95 => Wanted::Read(Consistency::AtLeast(self.seen)),
            _ => Wanted::Read(Consistency::Stale),
        }
    }

    fn transfers(&mut self) -> Command {
        let count = self.random.between(1, 4);
        let mut transfers: Vec<Transfer> = (0..count).map(|_| self.transfer()).collect();
        if transfers.len() > 1 && self.random.per_mille(150) {
            transfers[0].flags = transfers[0].flags.union(TransferFlags::LINKED);
        }
        for transfer in &transfers {
            self.sent.push_back(*transfer);
        }
        while self.sent.len() > REMEMBERED {
            self.sent.pop_front();
        }
        Operation::CreateTransfers.command(Event::write_all(&transfers)).expect("invariant: whole events")
    }

    fn transfer(&mut self) -> Transfer {
        let at = usize::try_from(self.random.below(REMEMBERED as u64)).unwrap_or(0);
        let old = self.sent.get(at).copied();
        match (self.random.below(100), old) {
            // Sent again as it was, or with another amount under the same id.
            (0..12, Some(old)) => Transfer { flags: without_link(old.flags), ..old },
            (12..15, Some(old)) => Transfer { amount: old.amount ^ 1, flags: without_link(old.flags), ..old },
            (15..35, Some(old)) if old.flags.contains(TransferFlags::PENDING) => self.resolution(&old),
            (35..60, _) => {
                let timeout_seconds = u32::try_from(self.random.below(4)).unwrap_or(0);
                Transfer { flags: TransferFlags::PENDING, timeout_seconds, ..self.payment() }
            }
            _ => self.payment(),
        }
    }

    fn payment(&mut self) -> Transfer {
        let debit = 1 + u128::from(self.random.below(8));
        let credit = 1 + (debit + u128::from(self.random.below(7))) % ACCOUNTS;
        Transfer {
            id: self.id(),
            debit_account_id: AccountId(debit),
            credit_account_id: AccountId(credit),
            amount: u128::from(self.random.between(1, 50)),
            ledger: LedgerNumber(1),
            code: 1,
            ..Transfer::default()
        }
    }

    fn resolution(&mut self, pending: &Transfer) -> Transfer {
        let posts = self.random.per_mille(600);
        let flags = if posts { TransferFlags::POST_PENDING } else { TransferFlags::VOID_PENDING };
        let amount = if posts { u128::MAX } else { 0 };
        Transfer { id: self.id(), pending_id: pending.id, amount, flags, ..Transfer::default() }
    }

    fn id(&mut self) -> TransferId {
        self.last_id += 1;
        TransferId(u128::from(self.number + 1) << 64 | u128::from(self.last_id))
    }
}

fn without_link(flags: TransferFlags) -> TransferFlags {
    flags.without(TransferFlags::LINKED)
}

/// Everybody makes the same accounts: all but the first find them there. Every other one may not be overdrawn.
fn accounts() -> Command {
    let account = |id: u128| Account {
        id: AccountId(id),
        ledger: LedgerNumber(1),
        code: 1,
        flags: if id.is_multiple_of(4) {
            AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS
        } else {
            AccountFlags::default()
        },
        ..Account::default()
    };
    let accounts: Vec<Account> = (1..=ACCOUNTS).map(account).collect();
    Operation::CreateAccounts.command(Event::write_all(&accounts)).expect("invariant: whole events")
}

/// The question that every read asks.
pub(crate) fn query() -> LedgerQuery {
    LedgerQuery::Accounts((1..=ACCOUNTS).map(AccountId).collect())
}
