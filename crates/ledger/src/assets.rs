//! Assets: ISO 4217 is built in, others are registered once and for good.
//!
//! A ledger number below 1000 may be a program's own, from before it came here. So a registered asset takes the place of
//! a built-in one whose ledger no account has; the code of that currency is free then.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use bezant_types::{Asset, AssetCode, AssetStatus, ISO_4217, LedgerNumber, limits};

/// The registered assets, and what finds them: a full request must not look at all of them for every event.
#[derive(Debug)]
pub(crate) struct Assets {
    /// In the order in which they came.
    registered: Vec<Asset>,
    /// Built-in and registered ones.
    by_ledger: BTreeMap<LedgerNumber, Asset>,
    /// Of both.
    codes: BTreeSet<AssetCode>,
}

impl Default for Assets {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Assets {
    pub(crate) fn new(registered: Vec<Asset>) -> Self {
        // A registered one takes the place of a built-in one.
        let all = built_in().chain(registered.iter().copied());
        let by_ledger: BTreeMap<_, _> = all.map(|asset| (asset.ledger, asset)).collect();
        let codes = by_ledger.values().map(|asset| asset.code).collect();
        Self { registered, by_ledger, codes }
    }

    pub(crate) fn registered(&self) -> &[Asset] {
        &self.registered
    }

    /// Built-in and registered ones in order of their ledgers.
    pub(crate) fn all(&self) -> Vec<Asset> {
        self.by_ledger.values().copied().collect()
    }

    /// `gives_way`: a built-in currency of that ledger may be replaced, for no account holds it.
    pub(crate) fn register(&mut self, asset: Asset, gives_way: bool) -> AssetStatus {
        if asset.ledger.0 == 0 {
            return AssetStatus::LedgerMustNotBeZero;
        }
        if asset.scale > limits::ASSET_SCALE_MAX {
            return AssetStatus::ScaleTooLarge;
        }
        let before = self.by_ledger.get(&asset.ledger).copied();
        match before {
            Some(before) if before == asset => return AssetStatus::Exists,
            Some(before) if !(gives_way && is_built_in(&before)) => return AssetStatus::LedgerTaken,
            Some(_) | None => {}
        }
        if self.codes.contains(&asset.code) && before.is_none_or(|before| before.code != asset.code) {
            return AssetStatus::CodeTaken;
        }
        if self.registered.len() >= limits::ASSETS_MAX {
            return AssetStatus::TooManyAssets;
        }
        if let Some(before) = before {
            self.codes.remove(&before.code);
        }
        self.registered.push(asset);
        self.by_ledger.insert(asset.ledger, asset);
        self.codes.insert(asset.code);
        AssetStatus::Created
    }
}

/// True for a currency as the table has it.
pub(crate) fn is_built_in(asset: &Asset) -> bool {
    let at = ISO_4217.binary_search_by_key(&asset.ledger.0, |row| row.0);
    at.is_ok_and(|at| ISO_4217[at].1 == asset.code.as_str() && ISO_4217[at].2 == asset.scale)
}

fn built_in() -> impl Iterator<Item = Asset> {
    ISO_4217.iter().filter_map(|(number, code, scale)| {
        Some(Asset { ledger: LedgerNumber(*number), code: code.parse().ok()?, scale: *scale })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn as_many_as_the_limit_are_told_apart_by_ledger_and_code() {
        let asset = |number: u32| Asset {
            ledger: LedgerNumber(1_000_000 + number),
            code: format!("X{number}").parse().unwrap(),
            scale: 2,
        };
        let mut assets = Assets::default();
        let full = u32::try_from(limits::ASSETS_MAX).unwrap();
        // Were all of them looked at for every one, this would take minutes.
        for number in 0..full {
            assert_eq!(assets.register(asset(number), true), AssetStatus::Created, "asset {number}");
        }
        let mut again = Assets::new(assets.registered().to_vec());
        for assets in [&mut assets, &mut again] {
            assert_eq!(assets.register(asset(7), true), AssetStatus::Exists);
            assert_eq!(assets.register(Asset { scale: 3, ..asset(7) }, true), AssetStatus::LedgerTaken);
            let renamed = Asset { ledger: LedgerNumber(999_999), ..asset(7) };
            assert_eq!(assets.register(renamed, true), AssetStatus::CodeTaken);
            assert_eq!(assets.register(asset(full), true), AssetStatus::TooManyAssets);
            assert_eq!(assets.all().len(), built_in().count() + limits::ASSETS_MAX);
        }
    }
}
