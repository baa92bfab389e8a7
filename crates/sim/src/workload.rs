//! The clients' requests: accounts and transfers of every kind. Most are valid; some are refused, some are
//! repeated, and some have a key.
//!
//! Clients share the accounts, so that their requests conflict. Each client has its own ids of transfers.

use std::collections::{BTreeMap, VecDeque};

use bezant_ledger::{
    ChangeBounds, Event, ExtendedAccount, ExtendedTransfer, LedgerQuery, Operation, SetBounds, SetExpiry,
    SetName, TaggedAccount, TaggedTransfer, ToCommand, name_to_bytes,
};
use bezant_rsm::Command;
use bezant_types::{
    Account, AccountFlags, AccountId, AccountView, Bounds, Head, LedgerNumber, Nanos, Transfer,
    TransferFlags, TransferId,
};

use crate::keyed::Keys;
use crate::random::Random;

/// Accounts that every client creates first.
const FIRST: u128 = 12;
/// The number of these accounts, from the last one back, that may be closed and opened again. The others stay
/// open.
const CLOSABLE: u128 = 2;
/// Accounts with bounds and names, which clients create later.
const NAMED: u128 = 6;
/// An account that no client creates.
const MISSING: AccountId = AccountId(99);
/// Old transfers that a client may repeat, post or void.
const REMEMBERED: usize = 24;

/// The requests of one client, and the state that they depend on.
#[derive(Debug)]
pub(crate) struct Workload {
    client: u64,
    last_id: u64,
    sent: VecDeque<Transfer>,
    /// For each account, the newest head of its chain of spends that the client has seen.
    heads: BTreeMap<AccountId, Head>,
    keys: Keys,
}

impl Workload {
    pub(crate) const fn new(client: u64) -> Self {
        Self { client, last_id: 0, sent: VecDeque::new(), heads: BTreeMap::new(), keys: Keys::new(client) }
    }

    /// Records the heads of accounts that the client has read.
    pub(crate) fn see(&mut self, accounts: &[AccountView]) {
        self.heads.extend(accounts.iter().map(|view| (view.account.id, view.spends.head)));
    }

    /// The next write; `now` is the world's time, and `movements` the number of movements of the ledger.
    pub(crate) fn write(&mut self, random: &mut Random, now: u64, movements: u64) -> Command {
        match random.below(100) {
            0..4 => self.with_hash(random),
            4..7 => self.imported(random, now, movements),
            7..9 => named(random),
            9..11 => bounds(random),
            11..12 => name(random),
            12..14 => changed_bounds(random),
            14..24 => self.keyed(random),
            _ => command(Operation::CreateTransfers, &self.transfers(random)),
        }
    }

    /// One to four transfers.
    pub(crate) fn transfers(&mut self, random: &mut Random) -> Vec<Transfer> {
        let count = random.between(1, 4);
        let mut transfers: Vec<Transfer> = (0..count).map(|_| self.transfer(random)).collect();
        if transfers.len() > 1 && random.per_mille(150) {
            transfers[0].flags = transfers[0].flags.union(TransferFlags::LINKED);
        }
        self.remember(&transfers);
        transfers
    }

    fn remember(&mut self, transfers: &[Transfer]) {
        self.sent.extend(transfers);
        self.sent.drain(..self.sent.len().saturating_sub(REMEMBERED));
    }

    /// A request with a new key or with an old key.
    fn keyed(&mut self, random: &mut Random) -> Command {
        let is_again = random.per_mille(600);
        let old = if is_again { self.keys.again(random, random_payment) } else { None };
        let (command, transfers) = old.unwrap_or_else(|| self.keys.first(random, random_payment));
        self.remember(&transfers);
        command
    }

    /// Ids of which some exist.
    pub(crate) fn known_ids(&self) -> Vec<TransferId> {
        self.sent.iter().map(|transfer| transfer.id).collect()
    }

    fn transfer(&mut self, random: &mut Random) -> Transfer {
        let at = usize::try_from(random.below(REMEMBERED as u64)).unwrap_or(0);
        let old = self.sent.get(at).copied();
        match (random.below(100), old) {
            // An old transfer unchanged, or with another amount under the same id.
            (0..12, Some(old)) => Transfer { flags: without_link(old.flags), ..old },
            (12..15, Some(old)) => Transfer { amount: old.amount ^ 1, flags: without_link(old.flags), ..old },
            (15..35, Some(old)) if old.flags.contains(TransferFlags::PENDING) => {
                self.resolution(random, &old)
            }
            (35..57, _) => {
                let timeout_seconds = u32::try_from(random.below(4)).unwrap_or(0);
                Transfer { flags: TransferFlags::PENDING, timeout_seconds, ..self.payment(random) }
            }
            (57..60, _) => self.closing(random),
            (60..67, _) => {
                let caps = [
                    TransferFlags::BALANCING_DEBIT,
                    TransferFlags::BALANCING_CREDIT,
                    TransferFlags::BALANCING_DEBIT.union(TransferFlags::BALANCING_CREDIT),
                ];
                let flags = random.pick(&caps).copied().unwrap_or_default();
                Transfer { flags, ..self.payment(random) }
            }
            (67..70, _) => self.refused(random),
            _ => self.payment(random),
        }
    }

    fn payment(&mut self, random: &mut Random) -> Transfer {
        Transfer { id: self.id(), ..random_payment(random) }
    }

    /// Closes an account until the transfer is voided or expires.
    fn closing(&mut self, random: &mut Random) -> Transfer {
        let account = AccountId(FIRST - u128::from(random.next()) % CLOSABLE);
        let payment = self.payment(random);
        let timeout_seconds = u32::try_from(random.between(1, 3)).unwrap_or(1);
        let pending = Transfer { timeout_seconds, ..payment };
        if random.per_mille(500) {
            let flags = TransferFlags::PENDING.union(TransferFlags::CLOSING_DEBIT);
            Transfer { flags, debit_account_id: account, ..pending }
        } else {
            let flags = TransferFlags::PENDING.union(TransferFlags::CLOSING_CREDIT);
            Transfer { flags, credit_account_id: account, ..pending }
        }
    }

    /// A transfer that is refused. One kind uses up its id, because it might succeed later.
    fn refused(&mut self, random: &mut Random) -> Transfer {
        let payment = self.payment(random);
        match random.below(4) {
            0 => Transfer { credit_account_id: MISSING, ..payment },
            1 => Transfer { credit_account_id: payment.debit_account_id, ..payment },
            2 => Transfer { ledger: LedgerNumber(2), ..payment },
            _ => Transfer { pending_id: payment.id, flags: TransferFlags::VOID_PENDING, ..payment },
        }
    }

    fn resolution(&mut self, random: &mut Random, pending: &Transfer) -> Transfer {
        let (flags, amount) = match random.below(10) {
            0..4 => (TransferFlags::POST_PENDING, u128::MAX),
            4..6 => (TransferFlags::POST_PENDING, u128::from(random.below(60))),
            _ => (TransferFlags::VOID_PENDING, 0),
        };
        Transfer { id: self.id(), pending_id: pending.id, amount, flags, ..Transfer::default() }
    }

    /// A payment that succeeds only if no other client has spent from the account.
    fn with_hash(&mut self, random: &mut Random) -> Command {
        let transfer = self.payment(random);
        let seen = self.heads.get(&transfer.debit_account_id).copied();
        let prev_hash = if random.per_mille(800) { seen.unwrap_or(Head::NONE) } else { Head::NONE };
        let event = ExtendedTransfer { transfer, prev_hash };
        // Version 0.1 wrote the first form. Both are applied.
        if random.per_mille(500) {
            command(Operation::CreateTransfersExtended, &[event])
        } else {
            command(Operation::CreateTransfersTagged, &[TaggedTransfer(event)])
        }
    }

    /// Either transfers with imported timestamps, or a change of the pause of expiry. The transfers are
    /// refused if cluster time differs from the world's; those with a timeout are also refused unless expiry
    /// is paused. A pause takes effect only if the ledger still has `movements` movements. The end of a pause
    /// has no effect if a payment has ended it before.
    fn imported(&mut self, random: &mut Random, now: u64, movements: u64) -> Command {
        let count = random.between(1, 3);
        let transfers: Vec<Transfer> = (0..count)
            .map(|number| {
                let payment = self.payment(random);
                let timeout_seconds = u32::try_from(payment.amount % 4).unwrap_or(0);
                let pending =
                    if timeout_seconds > 0 { TransferFlags::PENDING } else { TransferFlags::default() };
                Transfer {
                    flags: TransferFlags::IMPORTED.union(pending),
                    timeout_seconds,
                    timestamp: Nanos(now + number),
                    ..payment
                }
            })
            .collect();
        if let [Transfer { amount: amount @ 31.., .. }, ..] = transfers[..] {
            let change = if amount > 36 { SetExpiry::Paused { movements } } else { SetExpiry::Runs };
            return command(Operation::SetExpiry, &[change]);
        }
        command(Operation::CreateTransfers, &transfers)
    }

    fn id(&mut self) -> TransferId {
        self.last_id += 1;
        TransferId(u128::from(self.client + 1) << 64 | u128::from(self.last_id))
    }
}

fn command<E: Event>(operation: Operation, events: &[E]) -> Command {
    operation.command(Event::write_all(events)).expect("invariant: whole events")
}

/// A payment without an id.
fn random_payment(random: &mut Random) -> Transfer {
    // Sometimes one side is an account that is created later, or not at all.
    let count = FIRST - CLOSABLE;
    let mut side =
        || 1 + u128::from(random.next()) % if random.per_mille(80) { FIRST + NAMED } else { count };
    let (debit, mut credit) = (side(), side());
    if credit == debit {
        credit = 1 + debit % count;
    }
    Transfer {
        debit_account_id: AccountId(debit),
        credit_account_id: AccountId(credit),
        amount: u128::from(random.between(1, 50)),
        ledger: LedgerNumber(1),
        code: 1,
        ..Transfer::default()
    }
}

fn without_link(flags: TransferFlags) -> TransferFlags {
    flags.without(TransferFlags::LINKED)
}

fn named_id(random: &mut Random) -> u128 {
    FIRST + 1 + u128::from(random.next()) % NAMED
}

/// A name of a small set, so that two accounts may want the same.
fn random_name(random: &mut Random) -> [u8; 64] {
    name_to_bytes(&format!("account {}", random.below(8))).expect("invariant: a short name")
}

fn random_bounds(random: &mut Random) -> Bounds {
    let minimum = -i128::from(random.below(2000));
    let maximum = if random.per_mille(500) { i128::MAX } else { i128::from(random.below(2000)) };
    Bounds { minimum, maximum }
}

/// Creates an account with a name and bounds. The account may exist already, with equal or with other fields.
fn named(random: &mut Random) -> Command {
    let id = named_id(random);
    let account = Account { id: AccountId(id), ledger: LedgerNumber(1), code: 2, ..Account::default() };
    let (bounds, name) = (random_bounds(random), random_name(random));
    let event = ExtendedAccount { account, bounds, name };
    if random.per_mille(500) {
        command(Operation::CreateAccountsExtended, &[event])
    } else {
        command(Operation::CreateAccountsTagged, &[TaggedAccount(event)])
    }
}

fn bounds(random: &mut Random) -> Command {
    let bounds = random_bounds(random);
    command(Operation::SetBounds, &[SetBounds { account_id: AccountId(named_id(random)), bounds }])
}

/// Changes one bound or both of an account; a bound that is not named stays.
fn changed_bounds(random: &mut Random) -> Command {
    let Bounds { minimum, maximum } = random_bounds(random);
    let (minimum, maximum) = match random.below(3) {
        0 => (Some(minimum), None),
        1 => (None, Some(maximum)),
        _ => (Some(minimum), Some(maximum)),
    };
    let account_id = AccountId(named_id(random));
    command(Operation::ChangeBounds, &[ChangeBounds { account_id, minimum, maximum }])
}

fn name(random: &mut Random) -> Command {
    let id = if random.per_mille(500) { named_id(random) } else { random.between(1, 12).into() };
    command(Operation::SetName, &[SetName { account_id: AccountId(id), name: random_name(random) }])
}

/// The accounts that every client creates first; for all clients but one they exist already. Some may not be
/// overdrawn on the debit side or the credit side; some keep the history of their balances.
pub(crate) fn first_accounts() -> Vec<Account> {
    let flags = |id: u128| match id {
        4 => AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS,
        8 => AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS.union(AccountFlags::HISTORY),
        9 => AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS,
        10 => AccountFlags::HISTORY,
        _ => AccountFlags::default(),
    };
    let account = |id: u128| Account {
        id: AccountId(id),
        ledger: LedgerNumber(1),
        code: 1,
        flags: flags(id),
        ..Account::default()
    };
    (1..=FIRST).map(account).collect()
}

/// The query of every read of balances.
pub(crate) fn query() -> LedgerQuery {
    LedgerQuery::Accounts((1..=FIRST + NAMED).map(AccountId).collect())
}
