//! The contract of `create_transfers`.

use bezant_codec::transfer_to_bytes;
use bezant_ledger::ExtendedTransfer;
use bezant_types::{
    Account, AccountFlags, AccountId, AccountView, Chain, CreateTransferStatus as Status, Head, Movement,
    MovementKind, Nanos, Transfer, TransferFlags, TransferId,
};
use sha2::{Digest, Sha256};

use super::changes::expiry;
use super::{Model, Refused};

fn refused(status: Status) -> Refused {
    Refused { status: status.number(), first: None }
}

/// Refuses with `status` when the condition holds.
fn refuse_if(condition: bool, status: Status) -> Result<(), Refused> {
    if condition { Err(refused(status)) } else { Ok(()) }
}

impl Model {
    pub(super) fn create_transfer(
        &mut self,
        wanted: &ExtendedTransfer,
        timestamp: Nanos,
    ) -> Result<(), Refused> {
        let transfer = &wanted.transfer;
        refuse_if(transfer.flags.0 >= 1 << 9, Status::ReservedFlag)?;
        refuse_if(transfer.id.0 == 0, Status::IdMustNotBeZero)?;
        refuse_if(transfer.id.0 == u128::MAX, Status::IdMustNotBeIntMax)?;
        if let Some(existing) = self.history.transfer(transfer.id) {
            let status = self.compare(transfer, &existing.transfer);
            let first = (status == Status::Exists).then_some(existing.transfer.timestamp);
            return Err(Refused { status: status.number(), first });
        }
        refuse_if(self.history.is_refused(transfer.id), Status::IdAlreadyFailed)?;
        let resolves =
            transfer.flags.intersects(TransferFlags::POST_PENDING.union(TransferFlags::VOID_PENDING));
        if resolves { self.resolve(wanted, timestamp) } else { self.transfer(wanted, timestamp) }
    }

    /// Creates a single-phase or pending transfer.
    fn transfer(&mut self, wanted: &ExtendedTransfer, timestamp: Nanos) -> Result<(), Refused> {
        let transfer = &wanted.transfer;
        let flags = transfer.flags;
        let is_pending = flags.contains(TransferFlags::PENDING);
        check_fields(transfer)?;
        let debit = self.accounts.get(&transfer.debit_account_id);
        let debit = debit.ok_or_else(|| refused(Status::DebitAccountNotFound))?;
        let credit = self.accounts.get(&transfer.credit_account_id);
        let credit = credit.ok_or_else(|| refused(Status::CreditAccountNotFound))?;
        let (payer, payee) = (&debit.account, &credit.account);
        refuse_if(payer.ledger != payee.ledger, Status::AccountsMustHaveTheSameLedger)?;
        refuse_if(transfer.ledger != payer.ledger, Status::TransferMustHaveTheSameLedgerAsAccounts)?;
        if flags.contains(TransferFlags::IMPORTED) {
            self.check_regress(timestamp)?;
            let late = |account: &Account| timestamp <= account.timestamp;
            refuse_if(late(payer), Status::ImportedEventTimestampMustPostdateDebitAccount)?;
            refuse_if(late(payee), Status::ImportedEventTimestampMustPostdateCreditAccount)?;
            let takes_timeouts = self.expiry_is_paused && self.rules > 0;
            refuse_if(
                transfer.timeout_seconds != 0 && !takes_timeouts,
                Status::ImportedEventTimeoutMustBeZero,
            )?;
        }
        refuse_if(payer.flags.contains(AccountFlags::CLOSED), Status::DebitAccountAlreadyClosed)?;
        refuse_if(payee.flags.contains(AccountFlags::CLOSED), Status::CreditAccountAlreadyClosed)?;
        let amount = balanced(transfer, debit, credit, self.rules);
        let record = Transfer { amount, timestamp, ..*transfer };
        check_overflow(&record, payer, payee)?;
        let spent = payer.debits_pending + payer.debits_posted + amount;
        let received = payee.credits_pending + payee.credits_posted + amount;
        let limits = |account: &Account, flag| account.flags.contains(flag);
        let exceeds = limits(payer, AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS);
        refuse_if(exceeds && spent > payer.credits_posted, Status::ExceedsCredits)?;
        let exceeds = limits(payee, AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS);
        refuse_if(exceeds && received > payee.debits_posted, Status::ExceedsDebits)?;
        check_prev_hash(wanted, debit)?;
        let minimum = debit.bounds.minimum;
        let is_under = minimum != i128::MIN && is_less(payer.credits_posted, spent, minimum);
        let maximum = credit.bounds.maximum;
        let is_over = maximum != i128::MAX && is_greater(received, payee.debits_posted, maximum);
        refuse_if(is_under || is_over, Status::BalanceOutOfBounds)?;

        let close = |account: &mut Account, flag| {
            if flags.contains(flag) {
                account.flags = account.flags.union(AccountFlags::CLOSED);
            }
        };
        let payer = self.account(transfer.debit_account_id);
        *(if is_pending { &mut payer.debits_pending } else { &mut payer.debits_posted }) += amount;
        close(payer, TransferFlags::CLOSING_DEBIT);
        let payee = self.account(transfer.credit_account_id);
        *(if is_pending { &mut payee.credits_pending } else { &mut payee.credits_posted }) += amount;
        close(payee, TransferFlags::CLOSING_CREDIT);
        let kind = if is_pending { MovementKind::Pending } else { MovementKind::SinglePhase };
        if is_pending {
            self.pending.insert(record.id, record);
        }
        self.record(record, kind, timestamp);
        Ok(())
    }

    /// Posts or voids a pending transfer.
    fn resolve(&mut self, wanted: &ExtendedTransfer, timestamp: Nanos) -> Result<(), Refused> {
        let transfer = &wanted.transfer;
        let is_void = transfer.flags.contains(TransferFlags::VOID_PENDING);
        check_resolution_fields(transfer)?;
        let pending = self.history.transfer(transfer.pending_id).map(|movement| movement.transfer);
        let pending = pending.ok_or_else(|| refused(Status::PendingTransferNotFound))?;
        refuse_if(!pending.flags.contains(TransferFlags::PENDING), Status::PendingTransferNotPending)?;
        let filled = fill(transfer, &pending);
        let differs = filled.debit_account_id != pending.debit_account_id;
        refuse_if(differs, Status::PendingTransferHasDifferentDebitAccountId)?;
        let differs = filled.credit_account_id != pending.credit_account_id;
        refuse_if(differs, Status::PendingTransferHasDifferentCreditAccountId)?;
        refuse_if(filled.ledger != pending.ledger, Status::PendingTransferHasDifferentLedger)?;
        refuse_if(filled.code != pending.code, Status::PendingTransferHasDifferentCode)?;
        refuse_if(filled.amount > pending.amount, Status::ExceedsPendingTransferAmount)?;
        let differs = is_void && filled.amount < pending.amount;
        refuse_if(differs, Status::PendingTransferHasDifferentAmount)?;
        let end = self.history.resolution(pending.id);
        refuse_if(end == Some(MovementKind::Posted), Status::PendingTransferAlreadyPosted)?;
        refuse_if(end == Some(MovementKind::Voided), Status::PendingTransferAlreadyVoided)?;
        let is_imported = transfer.flags.contains(TransferFlags::IMPORTED);
        let is_timeless = self.expiry_is_paused && is_imported && self.rules > 0;
        let is_late = !is_timeless && expiry(&pending).is_some_and(|at| at <= timestamp.0);
        refuse_if(is_late || end == Some(MovementKind::Expired), Status::PendingTransferExpired)?;
        if is_imported {
            self.check_regress(timestamp)?;
        }
        let is_closed = |id| self.accounts[&id].account.flags.contains(AccountFlags::CLOSED);
        let refuses = !is_void && is_closed(pending.debit_account_id);
        refuse_if(refuses, Status::DebitAccountAlreadyClosed)?;
        let refuses = !is_void && is_closed(pending.credit_account_id);
        refuse_if(refuses, Status::CreditAccountAlreadyClosed)?;
        check_prev_hash(wanted, &self.accounts[&pending.debit_account_id])?;

        self.release(&pending);
        if !is_void {
            self.account(pending.debit_account_id).debits_posted += filled.amount;
            self.account(pending.credit_account_id).credits_posted += filled.amount;
        }
        let kind = if is_void { MovementKind::Voided } else { MovementKind::Posted };
        self.record(Transfer { timestamp, ..filled }, kind, timestamp);
        Ok(())
    }

    /// An imported transfer must be later than every movement, and no account may have its timestamp.
    fn check_regress(&self, timestamp: Nanos) -> Result<(), Refused> {
        let is_taken = self.accounts.values().any(|view| view.account.timestamp == timestamp);
        let regresses = self.history.movements.iter().any(|movement| movement.timestamp >= timestamp);
        refuse_if(is_taken || regresses, Status::ImportedEventTimestampMustNotRegress)
    }

    fn account(&mut self, id: AccountId) -> &mut Account {
        &mut self.accounts.get_mut(&id).unwrap().account
    }

    /// Adds a row to the history; a transfer, but not an expiry, also extends both chains.
    pub(super) fn record(&mut self, transfer: Transfer, kind: MovementKind, timestamp: Nanos) {
        let debit = &self.accounts[&transfer.debit_account_id];
        let credit = &self.accounts[&transfer.credit_account_id];
        let is_chained = kind != MovementKind::Expired;
        let movement = Movement {
            transfer,
            kind,
            timestamp,
            debit: debit.account.balances(),
            credit: credit.account.balances(),
            debit_head: if is_chained { debit.spends.head } else { Head::NONE },
            credit_head: if is_chained { credit.receipts.head } else { Head::NONE },
        };
        self.history.movements.push(movement);
        if !is_chained {
            return;
        }
        let message =
            [&transfer_to_bytes(&transfer)[..], &movement.debit_head.0, &movement.credit_head.0].concat();
        let head = Head(Sha256::digest(message).into());
        let grow = |chain: &mut Chain| *chain = Chain { sequence: chain.sequence + 1, head };
        grow(&mut self.accounts.get_mut(&transfer.debit_account_id).unwrap().spends);
        grow(&mut self.accounts.get_mut(&transfer.credit_account_id).unwrap().receipts);
    }

    /// Compares a transfer with the recorded one of the same id. Fields that a post or void omits have the
    /// values of its pending transfer.
    fn compare(&self, new: &Transfer, old: &Transfer) -> Status {
        if new.flags != old.flags {
            return Status::ExistsWithDifferentFlags;
        }
        if new.pending_id != old.pending_id {
            return Status::ExistsWithDifferentPendingId;
        }
        if new.timeout_seconds != old.timeout_seconds {
            return Status::ExistsWithDifferentTimeout;
        }
        let pending = self.history.transfer(old.pending_id).filter(|_| old.pending_id != TransferId(0));
        let new = &pending.map_or(*new, |pending| fill(new, &pending.transfer));
        let balancing = TransferFlags::BALANCING_DEBIT.union(TransferFlags::BALANCING_CREDIT);
        let amount_differs =
            if new.flags.intersects(balancing) { new.amount < old.amount } else { new.amount != old.amount };
        if new.debit_account_id != old.debit_account_id {
            Status::ExistsWithDifferentDebitAccountId
        } else if new.credit_account_id != old.credit_account_id {
            Status::ExistsWithDifferentCreditAccountId
        } else if amount_differs {
            Status::ExistsWithDifferentAmount
        } else if new.user_data_128 != old.user_data_128 {
            Status::ExistsWithDifferentUserData128
        } else if new.user_data_64 != old.user_data_64 {
            Status::ExistsWithDifferentUserData64
        } else if new.user_data_32 != old.user_data_32 {
            Status::ExistsWithDifferentUserData32
        } else if new.ledger != old.ledger {
            Status::ExistsWithDifferentLedger
        } else if new.code != old.code {
            Status::ExistsWithDifferentCode
        } else {
            Status::Exists
        }
    }
}

/// The checks that depend only on the fields of the transfer.
fn check_fields(transfer: &Transfer) -> Result<(), Refused> {
    let is_pending = transfer.flags.contains(TransferFlags::PENDING);
    let closes = transfer.flags.intersects(TransferFlags::CLOSING_DEBIT.union(TransferFlags::CLOSING_CREDIT));
    refuse_if(transfer.debit_account_id.0 == 0, Status::DebitAccountIdMustNotBeZero)?;
    refuse_if(transfer.debit_account_id.0 == u128::MAX, Status::DebitAccountIdMustNotBeIntMax)?;
    refuse_if(transfer.credit_account_id.0 == 0, Status::CreditAccountIdMustNotBeZero)?;
    refuse_if(transfer.credit_account_id.0 == u128::MAX, Status::CreditAccountIdMustNotBeIntMax)?;
    let is_same = transfer.debit_account_id == transfer.credit_account_id;
    refuse_if(is_same, Status::AccountsMustBeDifferent)?;
    refuse_if(transfer.pending_id.0 != 0, Status::PendingIdMustBeZero)?;
    let has_timeout = transfer.timeout_seconds != 0;
    refuse_if(!is_pending && has_timeout, Status::TimeoutReservedForPendingTransfer)?;
    refuse_if(!is_pending && closes, Status::ClosingTransferMustBePending)?;
    refuse_if(transfer.ledger.0 == 0, Status::LedgerMustNotBeZero)?;
    refuse_if(transfer.code == 0, Status::CodeMustNotBeZero)
}

/// The checks that depend only on the fields of a post or void.
fn check_resolution_fields(transfer: &Transfer) -> Result<(), Refused> {
    let allowed = TransferFlags::LINKED.union(TransferFlags::IMPORTED);
    let kind = transfer.flags.without(allowed);
    let is_one = kind == TransferFlags::POST_PENDING || kind == TransferFlags::VOID_PENDING;
    refuse_if(!is_one, Status::FlagsAreMutuallyExclusive)?;
    refuse_if(transfer.pending_id.0 == 0, Status::PendingIdMustNotBeZero)?;
    refuse_if(transfer.pending_id.0 == u128::MAX, Status::PendingIdMustNotBeIntMax)?;
    refuse_if(transfer.pending_id == transfer.id, Status::PendingIdMustBeDifferent)?;
    refuse_if(transfer.timeout_seconds != 0, Status::TimeoutReservedForPendingTransfer)
}

/// A post or void with the omitted fields copied from its pending transfer.
fn fill(transfer: &Transfer, pending: &Transfer) -> Transfer {
    let mut filled = *transfer;
    if filled.debit_account_id.0 == 0 {
        filled.debit_account_id = pending.debit_account_id;
    }
    if filled.credit_account_id.0 == 0 {
        filled.credit_account_id = pending.credit_account_id;
    }
    if filled.user_data_128 == 0 {
        filled.user_data_128 = pending.user_data_128;
    }
    if filled.user_data_64 == 0 {
        filled.user_data_64 = pending.user_data_64;
    }
    if filled.user_data_32 == 0 {
        filled.user_data_32 = pending.user_data_32;
    }
    if filled.ledger.0 == 0 {
        filled.ledger = pending.ledger;
    }
    if filled.code == 0 {
        filled.code = pending.code;
    }
    let all = if transfer.flags.contains(TransferFlags::VOID_PENDING) { 0 } else { u128::MAX };
    if filled.amount == all {
        filled.amount = pending.amount;
    }
    filled
}

/// The amount that moves. A balancing transfer moves at most the available balance. From rules 1 on, it also
/// leaves the account inside its bounds.
fn balanced(transfer: &Transfer, debit: &AccountView, credit: &AccountView, rules: u8) -> u128 {
    let (payer, payee) = (&debit.account, &credit.account);
    let mut amount = transfer.amount;
    if transfer.flags.contains(TransferFlags::BALANCING_DEBIT) {
        let spent = payer.debits_pending + payer.debits_posted;
        let kept = u128::try_from(debit.bounds.minimum).ok().filter(|_| rules > 0).unwrap_or(0);
        let most = payer.credits_posted.checked_sub(spent).and_then(|balance| balance.checked_sub(kept));
        amount = amount.min(most.unwrap_or(0));
    }
    if transfer.flags.contains(TransferFlags::BALANCING_CREDIT) {
        let received = payee.credits_pending + payee.credits_posted;
        let owed =
            if rules > 0 && credit.bounds.maximum < 0 { credit.bounds.maximum.unsigned_abs() } else { 0 };
        let most = payee.debits_posted.checked_sub(received).and_then(|balance| balance.checked_sub(owed));
        amount = amount.min(most.unwrap_or(0));
    }
    amount
}

fn check_overflow(transfer: &Transfer, payer: &Account, payee: &Account) -> Result<(), Refused> {
    let overflows = |sum: u128| sum.checked_add(transfer.amount).is_none();
    if transfer.flags.contains(TransferFlags::PENDING) {
        refuse_if(overflows(payer.debits_pending), Status::OverflowsDebitsPending)?;
        refuse_if(overflows(payee.credits_pending), Status::OverflowsCreditsPending)?;
    }
    refuse_if(overflows(payer.debits_posted), Status::OverflowsDebitsPosted)?;
    refuse_if(overflows(payee.credits_posted), Status::OverflowsCreditsPosted)?;
    refuse_if(overflows(payer.debits_pending + payer.debits_posted), Status::OverflowsDebits)?;
    refuse_if(overflows(payee.credits_pending + payee.credits_posted), Status::OverflowsCredits)?;
    refuse_if(expiry(transfer).is_some_and(|at| at >= 1 << 63), Status::OverflowsTimeout)
}

fn check_prev_hash(wanted: &ExtendedTransfer, debit: &AccountView) -> Result<(), Refused> {
    let is_given = wanted.prev_hash != Head::NONE;
    refuse_if(is_given && wanted.prev_hash != debit.spends.head, Status::PrevHashMismatch)
}

/// `credits - debits < bound`, without overflow.
fn is_less(credits: u128, debits: u128, bound: i128) -> bool {
    match (credits.checked_sub(debits), u128::try_from(bound)) {
        (Some(balance), Ok(bound)) => balance < bound,
        (Some(_), Err(_)) => false,
        (None, Ok(_)) => true,
        (None, Err(_)) => debits - credits > bound.unsigned_abs(),
    }
}

/// `credits - debits > bound`, without overflow.
fn is_greater(credits: u128, debits: u128, bound: i128) -> bool {
    match (credits.checked_sub(debits), u128::try_from(bound)) {
        (Some(balance), Ok(bound)) => balance > bound,
        (Some(_), Err(_)) => true,
        (None, Ok(_)) => false,
        (None, Err(_)) => debits - credits < bound.unsigned_abs(),
    }
}
