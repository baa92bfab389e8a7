//! Changes: events that create neither account nor transfer, and are never linked.

use alloc::vec::Vec;

use bezant_codec::{Event, Reader};
use bezant_types::limits::RESULT_SIZE;
use bezant_types::{
    AccountChangeStatus, Asset, AssetStatus, Bounds, ChangeBounds, ExpiryStatus, Nanos, SetBounds, SetExpiry,
    SetName, name_from_bytes,
};
use bytes::Bytes;

use crate::Ledger;
use crate::batch::{Outcome, Results};

/// An event that changes the ledger.
pub(crate) trait Change: Event {
    /// Checks the change and makes it; returns the number of its status.
    fn apply(self, ledger: &mut Ledger) -> u32;

    /// The number of the status of bytes that are no such event.
    fn malformed(event: &[u8]) -> u32;
}

impl Change for SetBounds {
    fn apply(self, ledger: &mut Ledger) -> u32 {
        ledger.set_bounds(&self).number()
    }

    fn malformed(_: &[u8]) -> u32 {
        AccountChangeStatus::BoundsInvalid.number()
    }
}

impl Change for ChangeBounds {
    fn apply(self, ledger: &mut Ledger) -> u32 {
        ledger.change_bounds(&self).number()
    }

    fn malformed(_: &[u8]) -> u32 {
        AccountChangeStatus::BoundsInvalid.number()
    }
}

impl Change for SetName {
    fn apply(self, ledger: &mut Ledger) -> u32 {
        ledger.set_name(&self).number()
    }

    fn malformed(_: &[u8]) -> u32 {
        AccountChangeStatus::NameInvalid.number()
    }
}

impl Change for Asset {
    fn apply(self, ledger: &mut Ledger) -> u32 {
        ledger.register_asset(self).number()
    }

    fn malformed(event: &[u8]) -> u32 {
        if event.starts_with(&[0; 4]) {
            AssetStatus::LedgerMustNotBeZero.number()
        } else {
            AssetStatus::CodeInvalid.number()
        }
    }
}

impl Change for SetExpiry {
    fn apply(self, ledger: &mut Ledger) -> u32 {
        ledger.set_expiry(self).number()
    }

    fn malformed(_: &[u8]) -> u32 {
        ExpiryStatus::ExpiryInvalid.number()
    }
}

impl Ledger {
    /// Applies the changes of a command; `first` is the timestamp of the first of them.
    pub(crate) fn apply_changes<E: Change>(&mut self, body: &[u8], first: Nanos) -> Bytes {
        let events: Vec<&[u8]> = body.chunks(E::SIZE).collect();
        let mut results = Results::with_head(&[], events.len() * RESULT_SIZE);
        for (bytes, timestamp) in events.into_iter().zip(first.0..) {
            let event = E::from_reader(&mut Reader::new(bytes));
            let status = event.map_or_else(|_| E::malformed(bytes), |event| event.apply(self));
            results.push(Outcome { status, timestamp: Nanos(timestamp) });
        }
        results.into_bytes()
    }

    fn set_bounds(&mut self, change: &SetBounds) -> AccountChangeStatus {
        let Bounds { minimum, maximum } = change.bounds;
        let account_id = change.account_id;
        self.change_bounds(&ChangeBounds { account_id, minimum: Some(minimum), maximum: Some(maximum) })
    }

    fn change_bounds(&mut self, change: &ChangeBounds) -> AccountChangeStatus {
        let Some(place) = self.accounts.find(change.account_id) else {
            return AccountChangeStatus::AccountNotFound;
        };
        let before = self.accounts.get(place).bounds;
        let bounds = Bounds {
            minimum: change.minimum.unwrap_or(before.minimum),
            maximum: change.maximum.unwrap_or(before.maximum),
        };
        if bounds.minimum > bounds.maximum {
            return AccountChangeStatus::BoundsInvalid;
        }
        self.accounts.change(place).bounds = bounds;
        AccountChangeStatus::Created
    }

    fn register_asset(&mut self, asset: Asset) -> AssetStatus {
        let may_replace = self.rules.currencies_are_replaceable() && !self.accounts.has_ledger(asset.ledger);
        self.assets.register(asset, may_replace)
    }

    fn set_name(&mut self, change: &SetName) -> AccountChangeStatus {
        let Some(place) = self.accounts.find(change.account_id) else {
            return AccountChangeStatus::AccountNotFound;
        };
        if name_from_bytes(&change.name).is_none_or(str::is_empty) {
            return AccountChangeStatus::NameInvalid;
        }
        let name = self.accounts.name(place);
        if name == change.name {
            return AccountChangeStatus::Created;
        }
        if name != [0; _] {
            return AccountChangeStatus::NameAlreadySet;
        }
        if self.accounts.find_by_name(&change.name).is_some() {
            return AccountChangeStatus::NameTaken;
        }
        self.accounts.set_name(place, change.name);
        AccountChangeStatus::Created
    }
}

#[cfg(test)]
mod tests {
    use bezant_codec::{records, result_from_bytes};

    use super::*;

    /// The results of a request with these bytes.
    fn results<E: Change>(body: &[u8]) -> Bytes {
        Ledger::new().apply_changes::<E>(body, Nanos(1))
    }

    fn statuses<E: Change>(body: &[u8]) -> Vec<u32> {
        let results = results::<E>(body);
        let results = records::<RESULT_SIZE>(&results).unwrap().iter().map(result_from_bytes);
        results.map(|result| result.status).collect()
    }

    #[test]
    fn bytes_that_are_no_change_are_refused_as_invalid() {
        let bounds = AccountChangeStatus::BoundsInvalid.number();
        let name = AccountChangeStatus::NameInvalid.number();
        // Every whole event is a change of bounds or a name, so only a part of an event is none.
        assert_eq!(statuses::<SetBounds>(&[0; 47]), [bounds]);
        assert_eq!(statuses::<SetName>(&[0; 79]), [name]);
        assert_eq!(statuses::<ChangeBounds>(&[0xff; 2 * ChangeBounds::SIZE]), [bounds; 2], "no such bound");
        assert_eq!(statuses::<SetExpiry>(&[2; SetExpiry::SIZE]), [ExpiryStatus::ExpiryInvalid.number()]);
        let code = AssetStatus::CodeInvalid.number();
        let zero = AssetStatus::LedgerMustNotBeZero.number();
        let assets = [[1; Asset::SIZE], [0; Asset::SIZE]].concat();
        assert_eq!(statuses::<Asset>(&assets), [code, zero], "the ledger is checked before the code");
    }

    #[test]
    fn memory_for_results_is_reserved_once() {
        let results = results::<SetBounds>(&[0; 5 * SetBounds::SIZE]).try_into_mut().unwrap();
        assert_eq!((results.len(), results.capacity()), (5 * RESULT_SIZE, 5 * RESULT_SIZE));
    }
}
