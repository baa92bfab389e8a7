//! The second phase: post, void and expiry of pending transfers. Also how a repeated transfer is compared.

use bezant_types::{
    AccountFlags, CreateTransferStatus as Status, FetchedTransfer, Head, Movement, MovementKind, Nanos,
    Transfer, TransferFlags, TransferId, compare_transfers,
};

use crate::Ledger;
use crate::create_transfers::Places;
use crate::found::Found;

impl Ledger {
    /// Posts or voids a pending transfer.
    pub(crate) fn resolve_pending(
        &mut self,
        transfer: &Transfer,
        prev_hash: Head,
        timestamp: Nanos,
        found: &Found,
    ) -> Result<(), Status> {
        check_fields(transfer)?;
        let pending = self.find_pending(transfer.pending_id, found).ok_or(Status::PendingTransferNotFound)?;
        if !pending.flags.contains(TransferFlags::PENDING) {
            return Err(Status::PendingTransferNotPending);
        }
        let amount = check_match(transfer, &pending)?;
        let is_void = transfer.flags.contains(TransferFlags::VOID_PENDING);
        if self.pending.get(pending.id).is_none() {
            return Err(match self.resolution(pending.id, found) {
                MovementKind::Posted => Status::PendingTransferAlreadyPosted,
                MovementKind::Voided => Status::PendingTransferAlreadyVoided,
                MovementKind::Expired | MovementKind::SinglePhase | MovementKind::Pending => {
                    Status::PendingTransferExpired
                }
            });
        }
        let is_overdue = pending.expires_at().is_some_and(|expiry| timestamp >= expiry);
        if is_overdue && !self.takes_timeouts_of(transfer) {
            return Err(Status::PendingTransferExpired);
        }
        if transfer.flags.contains(TransferFlags::IMPORTED) {
            self.check_imported_timestamp(timestamp)?;
        }
        let places = self.places_of(&pending);
        if !is_void && self.is_closed(places.debit) {
            return Err(Status::DebitAccountAlreadyClosed);
        }
        if !is_void && self.is_closed(places.credit) {
            return Err(Status::CreditAccountAlreadyClosed);
        }
        if !prev_hash.is_none() && prev_hash != self.accounts.get(places.debit).spends.head {
            return Err(Status::PrevHashMismatch);
        }
        let record = transfer.resolving(&pending, amount, timestamp);
        self.note_account(places.debit);
        self.note_account(places.credit);
        self.release(&pending, places, is_void);
        if !is_void {
            let (debit, credit) = self.accounts.change_two(places.debit, places.credit);
            debit.account.debits_posted += amount;
            credit.account.credits_posted += amount;
        }
        self.record_transfer(&record, places);
        let kind = MovementKind::of(record.flags);
        self.remove_pending(pending, kind);
        Ok(())
    }

    /// Expires up to `count` pending transfers whose timeout has passed at `first`, in order of expiry.
    /// `first` is also the timestamp of the first expiry.
    pub(crate) fn expire(&mut self, first: Nanos, count: usize) {
        let expired: alloc::vec::Vec<Transfer> = self.expired(first, count).copied().collect();
        for (pending, timestamp) in expired.into_iter().zip(first.0..) {
            let places = self.places_of(&pending);
            self.release(&pending, places, true);
            let timestamp = Nanos(timestamp);
            self.advance_last_movement(timestamp);
            self.window.push_expiry(&Movement {
                transfer: pending,
                kind: MovementKind::Expired,
                timestamp,
                debit: self.accounts.get(places.debit).account.balances(),
                credit: self.accounts.get(places.credit).account.balances(),
                debit_head: Head::NONE,
                credit_head: Head::NONE,
            });
            self.remove_pending(pending, MovementKind::Expired);
        }
    }

    /// Releases the reserved amount. With `reopens`, also reopens the accounts that the pending transfer
    /// closed.
    fn release(&mut self, pending: &Transfer, places: Places, reopens: bool) {
        let (debit, credit) = self.accounts.change_two(places.debit, places.credit);
        assert!(debit.account.debits_pending >= pending.amount, "the debit account holds the reserve");
        assert!(credit.account.credits_pending >= pending.amount, "the credit account holds the reserve");
        debit.account.debits_pending -= pending.amount;
        credit.account.credits_pending -= pending.amount;
        if reopens && pending.flags.contains(TransferFlags::CLOSING_DEBIT) {
            debit.account.flags = debit.account.flags.without(AccountFlags::CLOSED);
        }
        if reopens && pending.flags.contains(TransferFlags::CLOSING_CREDIT) {
            credit.account.flags = credit.account.flags.without(AccountFlags::CLOSED);
        }
    }

    fn remove_pending(&mut self, pending: Transfer, kind: MovementKind) {
        let removed = self.pending.remove(pending.id);
        assert!(removed == Some(pending), "a pending transfer ends once");
        self.window.push_resolution(pending, kind);
        self.note_pending_resolved(pending);
    }

    fn is_closed(&self, place: usize) -> bool {
        self.accounts.get(place).account.flags.contains(AccountFlags::CLOSED)
    }

    fn places_of(&self, pending: &Transfer) -> Places {
        let find = |id| self.accounts.find(id).expect("invariant: accounts are never removed");
        Places { debit: find(pending.debit_account_id), credit: find(pending.credit_account_id) }
    }

    /// The record of the pending transfer with that id, resolved or not.
    fn find_pending(&self, id: TransferId, found: &Found) -> Option<Transfer> {
        if let Some(pending) = self.pending.get(id) {
            return Some(*pending);
        }
        if let Some((pending, _)) = self.window.resolution(id) {
            return Some(pending);
        }
        match self.window.find(id).as_ref().or_else(|| found.transfer(id))? {
            FetchedTransfer::Applied(_, movement) => Some(movement.transfer),
            FetchedTransfer::Refused(_) => None,
        }
    }

    /// How a resolved pending transfer ended.
    fn resolution(&self, id: TransferId, found: &Found) -> MovementKind {
        self.window
            .resolution(id)
            .map(|(_, resolution)| resolution.kind)
            .or_else(|| found.resolution(id))
            .expect("invariant: an unresolved pending transfer is in memory, and a resolution in the history")
    }

    /// Compares a transfer with the recorded one that has its id. Returns the status of the first field that
    /// differs, or `exists`.
    pub(crate) fn check_exists(&self, transfer: &Transfer, existing: &Transfer, found: &Found) -> Status {
        compare_transfers(transfer, existing, |id| {
            self.find_pending(id, found).expect("invariant: a posted or voided transfer is in the history")
        })
    }
}

fn check_fields(transfer: &Transfer) -> Result<(), Status> {
    let both = TransferFlags::POST_PENDING.union(TransferFlags::VOID_PENDING);
    let others = TransferFlags::PENDING
        .union(TransferFlags::BALANCING_DEBIT)
        .union(TransferFlags::BALANCING_CREDIT)
        .union(TransferFlags::CLOSING_DEBIT)
        .union(TransferFlags::CLOSING_CREDIT);
    if transfer.flags.contains(both) || transfer.flags.intersects(others) {
        Err(Status::FlagsAreMutuallyExclusive)
    } else if transfer.pending_id.0 == 0 {
        Err(Status::PendingIdMustNotBeZero)
    } else if transfer.pending_id.0 == u128::MAX {
        Err(Status::PendingIdMustNotBeIntMax)
    } else if transfer.pending_id == transfer.id {
        Err(Status::PendingIdMustBeDifferent)
    } else if transfer.timeout_seconds != 0 {
        Err(Status::TimeoutReservedForPendingTransfer)
    } else {
        Ok(())
    }
}

/// Checks the fields that the request gives against the pending transfer. Returns the amount that is posted
/// or released.
fn check_match(transfer: &Transfer, pending: &Transfer) -> Result<u128, Status> {
    let given = |id: bezant_types::AccountId| id.0 != 0;
    if given(transfer.debit_account_id) && transfer.debit_account_id != pending.debit_account_id {
        return Err(Status::PendingTransferHasDifferentDebitAccountId);
    }
    if given(transfer.credit_account_id) && transfer.credit_account_id != pending.credit_account_id {
        return Err(Status::PendingTransferHasDifferentCreditAccountId);
    }
    if transfer.ledger.0 != 0 && transfer.ledger != pending.ledger {
        return Err(Status::PendingTransferHasDifferentLedger);
    }
    if transfer.code != 0 && transfer.code != pending.code {
        return Err(Status::PendingTransferHasDifferentCode);
    }
    let is_void = transfer.flags.contains(TransferFlags::VOID_PENDING);
    let all = if is_void { 0 } else { u128::MAX };
    let amount = if transfer.amount == all { pending.amount } else { transfer.amount };
    if amount > pending.amount {
        return Err(Status::ExceedsPendingTransferAmount);
    }
    if is_void && amount < pending.amount {
        return Err(Status::PendingTransferHasDifferentAmount);
    }
    Ok(amount)
}
