//! Assets: the currencies of ISO 4217 are built in. Other assets are registered once and never change.
//!
//! An application may have used a ledger number below 1000 for its own asset before it moved to Bezant. So an
//! asset can be registered in place of a built-in currency whose ledger no account uses. The code of that
//! currency is then free.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use bezant_types::{Asset, AssetCode, AssetStatus, ISO_4217, LedgerNumber, limits};

/// The registered assets, with indexes, so that a registration need not scan all of them.
#[derive(Debug)]
pub(crate) struct Assets {
    /// In the order of registration.
    registered: Vec<Asset>,
    /// Built-in and registered assets.
    by_ledger: BTreeMap<LedgerNumber, Asset>,
    /// The codes of the built-in and the registered assets.
    codes: BTreeSet<AssetCode>,
}

impl Default for Assets {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Assets {
    pub(crate) fn new(registered: Vec<Asset>) -> Self {
        // The registered assets come last, so that they replace built-in ones.
        let all = built_in().chain(registered.iter().copied());
        let by_ledger: BTreeMap<_, _> = all.map(|asset| (asset.ledger, asset)).collect();
        let codes = by_ledger.values().map(|asset| asset.code).collect();
        Self { registered, by_ledger, codes }
    }

    pub(crate) fn registered(&self) -> &[Asset] {
        &self.registered
    }

    /// Built-in and registered assets, in order of their ledgers.
    pub(crate) fn all(&self) -> Vec<Asset> {
        self.by_ledger.values().copied().collect()
    }

    /// `may_replace` is true when no account uses this ledger, so that a built-in currency may be replaced.
    pub(crate) fn register(&mut self, asset: Asset, may_replace: bool) -> AssetStatus {
        if asset.ledger.0 == 0 {
            return AssetStatus::LedgerMustNotBeZero;
        }
        if asset.scale > limits::ASSET_SCALE_MAX {
            return AssetStatus::ScaleTooLarge;
        }
        let before = self.by_ledger.get(&asset.ledger).copied();
        match before {
            Some(before) if before == asset => return AssetStatus::Exists,
            Some(before) if !(may_replace && is_built_in(&before)) => return AssetStatus::LedgerTaken,
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

/// True for an asset that equals its row in the table of ISO 4217.
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
    fn a_full_table_finds_assets_by_ledger_and_code() {
        let asset = |number: u32| Asset {
            ledger: LedgerNumber(1_000_000 + number),
            code: format!("X{number}").parse().unwrap(),
            scale: 2,
        };
        let mut assets = Assets::default();
        let full = u32::try_from(limits::ASSETS_MAX).unwrap();
        // A scan of all assets for each registration would take minutes here.
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
