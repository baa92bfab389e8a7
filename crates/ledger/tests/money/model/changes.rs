//! The operations that create no account or transfer: bounds, names, assets, and the expiry of pending
//! transfers.

use bezant_ledger::{ChangeBounds, SetBounds, SetName};
use bezant_types::{
    AccountChangeStatus, AccountFlags, Asset, AssetCode, AssetStatus, ExpiryStatus, ISO_4217, LedgerNumber,
    MovementKind, Nanos, Transfer, TransferFlags,
};

use super::accounts::text_of;
use super::{CREATED, Model};

impl Model {
    pub(super) fn set_bounds(&mut self, event: &SetBounds) -> u32 {
        let Some(view) = self.accounts.get_mut(&event.account_id) else {
            return AccountChangeStatus::AccountNotFound.number();
        };
        if event.bounds.minimum > event.bounds.maximum {
            return AccountChangeStatus::BoundsInvalid.number();
        }
        view.bounds = event.bounds;
        CREATED
    }

    pub(super) fn change_bounds(&mut self, event: &ChangeBounds) -> u32 {
        let Some(view) = self.accounts.get_mut(&event.account_id) else {
            return AccountChangeStatus::AccountNotFound.number();
        };
        let mut bounds = view.bounds;
        if let Some(minimum) = event.minimum {
            bounds.minimum = minimum;
        }
        if let Some(maximum) = event.maximum {
            bounds.maximum = maximum;
        }
        if bounds.minimum > bounds.maximum {
            return AccountChangeStatus::BoundsInvalid.number();
        }
        view.bounds = bounds;
        CREATED
    }

    pub(super) fn set_name(&mut self, event: &SetName) -> u32 {
        let Some(view) = self.accounts.get(&event.account_id) else {
            return AccountChangeStatus::AccountNotFound.number();
        };
        let Some(name) = text_of(&event.name).filter(|name| !name.is_empty()) else {
            return AccountChangeStatus::NameInvalid.number();
        };
        if view.name == name {
            return CREATED;
        }
        if !view.name.is_empty() {
            return AccountChangeStatus::NameAlreadySet.number();
        }
        if self.accounts.values().any(|other| other.name == name) {
            return AccountChangeStatus::NameTaken.number();
        }
        self.accounts.entry(event.account_id).and_modify(|view| view.name = name);
        CREATED
    }

    /// `bytes`: ledger 4, scale 1, zero 3, code 16, zero 8.
    pub(super) fn register_asset(&mut self, bytes: &[u8]) -> u32 {
        let ledger = LedgerNumber(u32::from_le_bytes(bytes[..4].try_into().unwrap()));
        let scale = bytes[4];
        if ledger.0 == 0 {
            return AssetStatus::LedgerMustNotBeZero.number();
        }
        let Some(code) = AssetCode::from_bytes(bytes[8..24].try_into().unwrap()) else {
            return AssetStatus::CodeInvalid.number();
        };
        if scale > 38 {
            return AssetStatus::ScaleTooLarge.number();
        }
        let asset = Asset { ledger, code, scale };
        let known = self.assets();
        if known.contains(&asset) {
            return AssetStatus::Exists.number();
        }
        let may_replace = self.rules > 0 && self.provisional().contains(&ledger);
        if known.iter().any(|other| other.ledger == ledger) && !may_replace {
            return AssetStatus::LedgerTaken.number();
        }
        if known.iter().any(|other| other.code == code && other.ledger != ledger) {
            return AssetStatus::CodeTaken.number();
        }
        self.registered.push(asset);
        CREATED
    }

    /// `bytes`: paused 1, zero 7, movements 8.
    pub(super) fn set_expiry(&mut self, bytes: &[u8]) -> u32 {
        let (paused, zeros) = (bytes[0], &bytes[1..8]);
        let movements = u64::from_le_bytes(bytes[8..].try_into().unwrap());
        if paused > 1 || zeros.iter().any(|byte| *byte != 0) || (paused == 0 && movements != 0) {
            return ExpiryStatus::ExpiryInvalid.number();
        }
        if paused == 1 && movements != self.history.movements.len() as u64 {
            return ExpiryStatus::MovementsDiffer.number();
        }
        self.expiry_is_paused = paused == 1;
        CREATED
    }

    /// Ledgers of currencies that no registered asset has replaced and no account uses, in order.
    pub(crate) fn provisional(&self) -> Vec<LedgerNumber> {
        let is_used = |ledger| {
            self.registered.iter().any(|asset| asset.ledger == ledger)
                || self.accounts.values().any(|view| view.account.ledger == ledger)
        };
        ISO_4217.iter().map(|row| LedgerNumber(row.0)).filter(|ledger| !is_used(*ledger)).collect()
    }

    /// Built-in and registered assets, in order of their ledgers. A registered asset replaces a built-in one.
    pub(crate) fn assets(&self) -> Vec<Asset> {
        let is_registered =
            |number: &u32| self.registered.iter().any(|asset| asset.ledger == LedgerNumber(*number));
        let built_in = ISO_4217.iter().filter(|row| !is_registered(&row.0)).map(|(number, code, scale)| {
            Asset { ledger: LedgerNumber(*number), code: code.parse().unwrap(), scale: *scale }
        });
        let mut all: Vec<Asset> = built_in.chain(self.registered.iter().copied()).collect();
        all.sort_by_key(|asset| asset.ledger);
        all
    }

    /// Pending transfers whose timeout has passed at `now`, in order of their expiry.
    pub(crate) fn expired(&self, now: Nanos) -> Vec<Transfer> {
        let waits = |it: &&Transfer| self.expiry_is_paused && it.flags.contains(TransferFlags::IMPORTED);
        let timed = self.pending.values().filter(|it| !waits(it)).filter_map(|it| Some((expiry(it)?, *it)));
        let mut expired: Vec<(u64, Transfer)> = timed.filter(|(at, _)| *at <= now.0).collect();
        expired.sort_by_key(|(at, transfer)| (*at, transfer.timestamp));
        expired.into_iter().map(|(_, transfer)| transfer).collect()
    }

    pub(super) fn expire(&mut self, first: u64, events: u32) {
        let expired = self.expired(Nanos(first));
        for (transfer, timestamp) in expired.into_iter().zip(first..first + u64::from(events)) {
            self.release(&transfer);
            self.record(transfer, MovementKind::Expired, Nanos(timestamp));
        }
    }

    /// Releases the reserve of a pending transfer, and reopens the accounts that it closed.
    pub(super) fn release(&mut self, pending: &Transfer) {
        self.pending.remove(&pending.id);
        self.accounts.entry(pending.debit_account_id).and_modify(|view| {
            view.account.debits_pending -= pending.amount;
            if pending.flags.contains(TransferFlags::CLOSING_DEBIT) {
                view.account.flags = view.account.flags.without(AccountFlags::CLOSED);
            }
        });
        self.accounts.entry(pending.credit_account_id).and_modify(|view| {
            view.account.credits_pending -= pending.amount;
            if pending.flags.contains(TransferFlags::CLOSING_CREDIT) {
                view.account.flags = view.account.flags.without(AccountFlags::CLOSED);
            }
        });
    }
}

/// The time at which a pending transfer expires; `None` = never.
pub(super) fn expiry(pending: &Transfer) -> Option<u64> {
    let timeout = u64::from(pending.timeout_seconds) * 1_000_000_000;
    (timeout != 0).then_some(pending.timestamp.0 + timeout)
}
