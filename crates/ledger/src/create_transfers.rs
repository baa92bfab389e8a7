//! Creating transfers: the checks, in the order of the contract (`docs/data-model.md`), and the movement of
//! the money.
//!
//! Post and void, which resolve a pending transfer, are in `two_phase`.

use bezant_codec::chain::next_head;
use bezant_codec::{DecodeError, Event, Reader, TaggedTransfer};
use bezant_types::{
    Bounds, CreateTransferStatus as Status, ExtendedTransfer, FetchedTransfer, Head, Movement, MovementKind,
    Nanos, Refusal, Transfer, TransferFlags, TransferId, limits,
};

use bytes::BytesMut;

use crate::Ledger;
use crate::accounts::AccountState;
use crate::batch::{BatchEvent, BatchStatuses, Creation, Outcome};
use crate::found::Found;
use crate::rules::Rules;

impl BatchEvent for Transfer {
    const STATUSES: BatchStatuses = STATUSES;

    fn is_linked(&self) -> bool {
        self.flags.contains(TransferFlags::LINKED)
    }

    fn is_imported(&self) -> bool {
        self.flags.contains(TransferFlags::IMPORTED)
    }

    fn ends_pause(&self) -> bool {
        !self.is_imported()
    }

    fn timestamp(&self) -> Nanos {
        self.timestamp
    }

    fn create(&self, ledger: &mut Ledger, timestamp: Nanos, found: &Found) -> Creation {
        create(ledger, self, Head::NONE, timestamp, found)
    }

    fn refuse(&self, ledger: &mut Ledger, outcome: Outcome) {
        refuse(ledger, self.id, outcome);
    }
}

impl BatchEvent for ExtendedTransfer {
    const STATUSES: BatchStatuses = STATUSES;

    fn is_linked(&self) -> bool {
        self.transfer.is_linked()
    }

    fn is_imported(&self) -> bool {
        self.transfer.is_imported()
    }

    fn ends_pause(&self) -> bool {
        !self.is_imported()
    }

    fn timestamp(&self) -> Nanos {
        self.transfer.timestamp
    }

    fn create(&self, ledger: &mut Ledger, timestamp: Nanos, found: &Found) -> Creation {
        create(ledger, &self.transfer, self.prev_hash, timestamp, found)
    }

    fn refuse(&self, ledger: &mut Ledger, outcome: Outcome) {
        refuse(ledger, self.transfer.id, outcome);
    }
}

impl BatchEvent for TaggedTransfer {
    const STATUSES: BatchStatuses = STATUSES;

    fn is_linked(&self) -> bool {
        self.0.is_linked()
    }

    fn is_imported(&self) -> bool {
        self.0.is_imported()
    }

    fn ends_pause(&self) -> bool {
        self.0.ends_pause()
    }

    fn timestamp(&self) -> Nanos {
        BatchEvent::timestamp(&self.0)
    }

    fn create(&self, ledger: &mut Ledger, timestamp: Nanos, found: &Found) -> Creation {
        self.0.create(ledger, timestamp, found)
    }

    fn refuse(&self, ledger: &mut Ledger, outcome: Outcome) {
        self.0.refuse(ledger, outcome);
    }
}

/// A transfer of a client that supports only the statuses of TigerBeetle's model (below 1000). Every other
/// status is mapped to the nearest of these, because some clients hang on a status number that they do not
/// know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClassicTransfer(Transfer);

impl Event for ClassicTransfer {
    const SIZE: usize = Transfer::SIZE;

    fn from_reader(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Transfer::from_reader(reader).map(Self)
    }

    fn write(&self, bytes: &mut BytesMut) {
        self.0.write(bytes);
    }
}

impl BatchEvent for ClassicTransfer {
    const STATUSES: BatchStatuses = STATUSES;

    fn is_linked(&self) -> bool {
        self.0.is_linked()
    }

    fn is_imported(&self) -> bool {
        self.0.is_imported()
    }

    fn ends_pause(&self) -> bool {
        !self.is_imported()
    }

    fn timestamp(&self) -> Nanos {
        self.0.timestamp
    }

    fn create(&self, ledger: &mut Ledger, timestamp: Nanos, found: &Found) -> Creation {
        match self.0.create(ledger, timestamp, found) {
            Creation::Refused(number) => {
                let status = Status::from_number(number).ok();
                Creation::Refused(status.map_or(number, |status| ledger.classic(status, &self.0).number()))
            }
            creation => creation,
        }
    }

    fn refuse(&self, ledger: &mut Ledger, outcome: Outcome) {
        self.0.refuse(ledger, outcome);
    }
}

const STATUSES: BatchStatuses = BatchStatuses {
    linked_event_failed: Status::LinkedEventFailed.number(),
    linked_event_chain_open: Status::LinkedEventChainOpen.number(),
    imported_event_expected: Status::ImportedEventExpected.number(),
    imported_event_not_expected: Status::ImportedEventNotExpected.number(),
    timestamp_must_be_zero: Status::TimestampMustBeZero.number(),
    imported_event_timestamp_out_of_range: Status::ImportedEventTimestampOutOfRange.number(),
    imported_event_timestamp_must_not_advance: Status::ImportedEventTimestampMustNotAdvance.number(),
};

/// Records the id as used up, when the status is one that uses up ids.
fn refuse(ledger: &mut Ledger, id: TransferId, outcome: Outcome) {
    if let Ok(status) = Status::from_number(outcome.status)
        && status.uses_up_id()
    {
        ledger.window.push_refusal(Refusal { id, timestamp: outcome.timestamp, status });
    }
}

fn create(
    ledger: &mut Ledger,
    transfer: &Transfer,
    prev_hash: Head,
    timestamp: Nanos,
    found: &Found,
) -> Creation {
    match check_identity(ledger, transfer, found) {
        Identity::New => {}
        Identity::Exists(first) => return Creation::Exists(Status::Exists.number(), first),
        Identity::Refused(status) => return Creation::Refused(status.number()),
    }
    let resolves = TransferFlags::POST_PENDING.union(TransferFlags::VOID_PENDING);
    let result = if transfer.flags.intersects(resolves) {
        ledger.resolve_pending(transfer, prev_hash, timestamp, found)
    } else {
        ledger.move_money(transfer, prev_hash, timestamp)
    };
    result.map_or_else(|status| Creation::Refused(status.number()), |()| Creation::Created)
}

/// The result of looking up an id.
enum Identity {
    New,
    Exists(Nanos),
    Refused(Status),
}

fn check_identity(ledger: &Ledger, transfer: &Transfer, found: &Found) -> Identity {
    if transfer.flags.has_reserved() {
        return Identity::Refused(Status::ReservedFlag);
    }
    if transfer.id.0 == 0 {
        return Identity::Refused(Status::IdMustNotBeZero);
    }
    if transfer.id.0 == u128::MAX {
        return Identity::Refused(Status::IdMustNotBeIntMax);
    }
    if transfer.id > ledger.window.id_max() {
        return Identity::New;
    }
    match ledger.window.find(transfer.id).as_ref().or_else(|| found.transfer(transfer.id)) {
        None => Identity::New,
        Some(FetchedTransfer::Refused(_)) => Identity::Refused(Status::IdAlreadyFailed),
        Some(FetchedTransfer::Applied(_, movement)) => {
            match ledger.check_exists(transfer, &movement.transfer, found) {
                Status::Exists => Identity::Exists(movement.transfer.timestamp),
                status => Identity::Refused(status),
            }
        }
    }
}

/// The places of the two accounts of a transfer, see `accounts`.
#[derive(Clone, Copy)]
pub(crate) struct Places {
    pub(crate) debit: usize,
    pub(crate) credit: usize,
}

impl Ledger {
    /// Maps the status of a refused transfer to the nearest status of TigerBeetle's model.
    fn classic(&self, status: Status, transfer: &Transfer) -> Status {
        match status {
            Status::BalanceOutOfBounds => self.status_of_bounds(transfer),
            Status::TooManyPending => Status::OverflowsDebitsPending,
            // A plain transfer on one shard never gets one of these.
            Status::PrevHashMismatch
            | Status::FencingTokenStale
            | Status::ShardUnavailable
            | Status::IdempotencyKeyUsed => Status::LinkedEventFailed,
            status => status,
        }
    }

    /// TigerBeetle's status for a transfer that bounds refused: `exceeds_credits` for the minimum of the
    /// debit account, `exceeds_debits` for the maximum of the credit account.
    fn status_of_bounds(&self, transfer: &Transfer) -> Status {
        let state = |id| self.accounts.find(id).map(|place| self.accounts.get(place));
        let (Some(debit), Some(credit)) =
            (state(transfer.debit_account_id), state(transfer.credit_account_id))
        else {
            return Status::ExceedsCredits;
        };
        // A reserved amount counts against the minimum like a posted one.
        let mut after = debit.account.balances();
        let amount = amount_to_move(self.rules, transfer, debit, credit);
        after.debits_posted = after.debits_posted.saturating_add(amount);
        if debit.bounds.is_under_minimum(&after) { Status::ExceedsCredits } else { Status::ExceedsDebits }
    }

    /// Creates a single-phase or pending transfer.
    fn move_money(&mut self, transfer: &Transfer, prev_hash: Head, timestamp: Nanos) -> Result<(), Status> {
        check_fields(transfer)?;
        let debit = self.accounts.find(transfer.debit_account_id).ok_or(Status::DebitAccountNotFound)?;
        let credit = self.accounts.find(transfer.credit_account_id).ok_or(Status::CreditAccountNotFound)?;
        let places = Places { debit, credit };
        let (debit, credit) = (self.accounts.get(debit), self.accounts.get(credit));
        if debit.account.ledger != credit.account.ledger {
            return Err(Status::AccountsMustHaveTheSameLedger);
        }
        if transfer.ledger != debit.account.ledger {
            return Err(Status::TransferMustHaveTheSameLedgerAsAccounts);
        }
        self.check_imported(transfer, timestamp, debit, credit)?;
        if debit.account.flags.contains(bezant_types::AccountFlags::CLOSED) {
            return Err(Status::DebitAccountAlreadyClosed);
        }
        if credit.account.flags.contains(bezant_types::AccountFlags::CLOSED) {
            return Err(Status::CreditAccountAlreadyClosed);
        }
        let amount = amount_to_move(self.rules, transfer, debit, credit);
        let is_pending = transfer.flags.contains(TransferFlags::PENDING);
        let record = Transfer { amount, timestamp, ..*transfer };
        check_sums(&record, debit, credit, is_pending)?;
        check_limits(amount, is_pending, prev_hash, debit, credit)?;
        if is_pending && self.pending.len() >= limits::PENDING_MAX {
            return Err(Status::TooManyPending);
        }
        self.commit_move(&record, places, is_pending);
        Ok(())
    }

    fn check_imported(
        &self,
        transfer: &Transfer,
        timestamp: Nanos,
        debit: &AccountState,
        credit: &AccountState,
    ) -> Result<(), Status> {
        if !transfer.flags.contains(TransferFlags::IMPORTED) {
            return Ok(());
        }
        self.check_imported_timestamp(timestamp)?;
        if timestamp <= debit.account.timestamp {
            return Err(Status::ImportedEventTimestampMustPostdateDebitAccount);
        }
        if timestamp <= credit.account.timestamp {
            return Err(Status::ImportedEventTimestampMustPostdateCreditAccount);
        }
        if transfer.timeout_seconds != 0 && !self.takes_timeouts_of(transfer) {
            return Err(Status::ImportedEventTimeoutMustBeZero);
        }
        Ok(())
    }

    /// An imported timestamp must be later than the newest movement, and no account may have it.
    pub(crate) fn check_imported_timestamp(&self, timestamp: Nanos) -> Result<(), Status> {
        if timestamp <= self.last_movement_timestamp || self.accounts.has_timestamp(timestamp) {
            return Err(Status::ImportedEventTimestampMustNotRegress);
        }
        Ok(())
    }

    /// Moves the money, after all checks.
    fn commit_move(&mut self, record: &Transfer, places: Places, is_pending: bool) {
        self.note_account(places.debit);
        self.note_account(places.credit);
        let (debit, credit) = self.accounts.change_two(places.debit, places.credit);
        if is_pending {
            debit.account.debits_pending += record.amount;
            credit.account.credits_pending += record.amount;
            if record.flags.contains(TransferFlags::CLOSING_DEBIT) {
                debit.account.flags = debit.account.flags.union(bezant_types::AccountFlags::CLOSED);
            }
            if record.flags.contains(TransferFlags::CLOSING_CREDIT) {
                credit.account.flags = credit.account.flags.union(bezant_types::AccountFlags::CLOSED);
            }
        } else {
            debit.account.debits_posted += record.amount;
            credit.account.credits_posted += record.amount;
        }
        self.record_transfer(record, places);
        if is_pending {
            self.pending.insert(*record);
            self.note_pending_inserted(record.id);
        }
    }

    /// Notes the timestamp of the newest movement.
    pub(crate) fn advance_last_movement(&mut self, timestamp: Nanos) {
        assert!(timestamp > self.last_movement_timestamp, "timestamps grow along the history");
        self.last_movement_timestamp = timestamp;
    }

    /// Extends both chains and adds the row to the history. The balances have already changed.
    pub(crate) fn record_transfer(&mut self, record: &Transfer, places: Places) {
        let (debit, credit) = self.accounts.change_two(places.debit, places.credit);
        let (debit_head, credit_head) = (debit.spends.head, credit.receipts.head);
        let head = next_head(record, debit_head, credit_head);
        debit.spends.head = head;
        debit.spends.sequence += 1;
        credit.receipts.head = head;
        credit.receipts.sequence += 1;
        assert!(debit.sums_fit(), "the sums of the debit account never overflow");
        assert!(credit.sums_fit(), "the sums of the credit account never overflow");
        let (debit, credit) = (debit.account.balances(), credit.account.balances());
        self.advance_last_movement(record.timestamp);
        self.window.push_transfer(record.id, || Movement {
            transfer: *record,
            kind: MovementKind::of(record.flags),
            timestamp: record.timestamp,
            debit,
            credit,
            debit_head,
            credit_head,
        });
    }
}

fn check_fields(transfer: &Transfer) -> Result<(), Status> {
    let closing = TransferFlags::CLOSING_DEBIT.union(TransferFlags::CLOSING_CREDIT);
    let is_pending = transfer.flags.contains(TransferFlags::PENDING);
    if transfer.debit_account_id.0 == 0 {
        Err(Status::DebitAccountIdMustNotBeZero)
    } else if transfer.debit_account_id.0 == u128::MAX {
        Err(Status::DebitAccountIdMustNotBeIntMax)
    } else if transfer.credit_account_id.0 == 0 {
        Err(Status::CreditAccountIdMustNotBeZero)
    } else if transfer.credit_account_id.0 == u128::MAX {
        Err(Status::CreditAccountIdMustNotBeIntMax)
    } else if transfer.debit_account_id == transfer.credit_account_id {
        Err(Status::AccountsMustBeDifferent)
    } else if transfer.pending_id.0 != 0 {
        Err(Status::PendingIdMustBeZero)
    } else if !is_pending && transfer.timeout_seconds != 0 {
        Err(Status::TimeoutReservedForPendingTransfer)
    } else if !is_pending && transfer.flags.intersects(closing) {
        Err(Status::ClosingTransferMustBePending)
    } else if transfer.ledger.0 == 0 {
        Err(Status::LedgerMustNotBeZero)
    } else if transfer.code == 0 {
        Err(Status::CodeMustNotBeZero)
    } else {
        Ok(())
    }
}

/// The amount to move. A balancing transfer moves at most the amount that brings the account's balance to 0,
/// or to the account's bound when 0 is outside of its bounds.
fn amount_to_move(rules: Rules, transfer: &Transfer, debit: &AccountState, credit: &AccountState) -> u128 {
    let mut amount = transfer.amount;
    let bound = |bound: i128, is_past_zero: bool| {
        if is_past_zero && rules.balancing_counts_bounds() { bound.unsigned_abs() } else { 0 }
    };
    if transfer.flags.contains(TransferFlags::BALANCING_DEBIT) {
        let Bounds { minimum, .. } = debit.bounds;
        let debits = debit.account.debits_posted + debit.account.debits_pending;
        let balance = debit.account.credits_posted.saturating_sub(debits);
        amount = amount.min(balance.saturating_sub(bound(minimum, minimum > 0)));
    }
    if transfer.flags.contains(TransferFlags::BALANCING_CREDIT) {
        let Bounds { maximum, .. } = credit.bounds;
        let credits = credit.account.credits_posted + credit.account.credits_pending;
        let balance = credit.account.debits_posted.saturating_sub(credits);
        amount = amount.min(balance.saturating_sub(bound(maximum, maximum < 0)));
    }
    amount
}

fn check_sums(
    record: &Transfer,
    debit: &AccountState,
    credit: &AccountState,
    is_pending: bool,
) -> Result<(), Status> {
    let (debit, credit) = (&debit.account, &credit.account);
    let overflows = |sum: u128| sum.checked_add(record.amount).is_none();
    if is_pending && overflows(debit.debits_pending) {
        Err(Status::OverflowsDebitsPending)
    } else if is_pending && overflows(credit.credits_pending) {
        Err(Status::OverflowsCreditsPending)
    } else if overflows(debit.debits_posted) {
        Err(Status::OverflowsDebitsPosted)
    } else if overflows(credit.credits_posted) {
        Err(Status::OverflowsCreditsPosted)
    } else if overflows(debit.debits_pending + debit.debits_posted) {
        Err(Status::OverflowsDebits)
    } else if overflows(credit.credits_pending + credit.credits_posted) {
        Err(Status::OverflowsCredits)
    } else if record.timeout_seconds != 0 && record.expires_at().is_none() {
        Err(Status::OverflowsTimeout)
    } else {
        Ok(())
    }
}

/// Checks `amount` against the limits of both accounts and the expected head.
fn check_limits(
    amount: u128,
    is_pending: bool,
    prev_hash: Head,
    debit: &AccountState,
    credit: &AccountState,
) -> Result<(), Status> {
    if debit.account.debits_exceed_credits(amount) {
        return Err(Status::ExceedsCredits);
    }
    if credit.account.credits_exceed_debits(amount) {
        return Err(Status::ExceedsDebits);
    }
    if !prev_hash.is_none() && prev_hash != debit.spends.head {
        return Err(Status::PrevHashMismatch);
    }
    if debit.bounds.is_none() && credit.bounds.is_none() {
        return Ok(());
    }
    let (mut debit_after, mut credit_after) = (debit.account.balances(), credit.account.balances());
    if is_pending {
        debit_after.debits_pending += amount;
        credit_after.credits_pending += amount;
    } else {
        debit_after.debits_posted += amount;
        credit_after.credits_posted += amount;
    }
    if debit.bounds.is_under_minimum(&debit_after) || credit.bounds.is_over_maximum(&credit_after) {
        return Err(Status::BalanceOutOfBounds);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn classic_clients_receive_only_statuses_of_the_common_model() {
        let ledger = Ledger::new();
        let own: Vec<Status> = (1000..2000).filter_map(|number| Status::from_number(number).ok()).collect();
        assert!(own.contains(&Status::TooManyPending));
        for status in own {
            let mapped = ledger.classic(status, &Transfer::default());
            assert!(mapped.number() < 1000, "{} is mapped as {}", status.name(), mapped.name());
        }
        assert_eq!(ledger.classic(Status::ExceedsDebits, &Transfer::default()), Status::ExceedsDebits);
    }

    #[test]
    fn a_classic_transfer_has_the_bytes_of_a_transfer() {
        let transfer = Transfer { id: TransferId(7), amount: 5, ..Transfer::default() };
        let bytes = Transfer::write_all(&[transfer]);
        let classic = ClassicTransfer::from_reader(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(ClassicTransfer::write_all(&[classic]), bytes);
    }
}
