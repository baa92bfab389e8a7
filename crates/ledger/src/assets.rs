//! Assets: ISO 4217 is built in, others are registered once and for good.

use alloc::vec::Vec;

use bezant_types::{Asset, AssetStatus, ISO_4217, LedgerNumber, limits};

/// The registered assets, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Assets {
    registered: Vec<Asset>,
}

impl Assets {
    pub(crate) const fn new(registered: Vec<Asset>) -> Self {
        Self { registered }
    }

    pub(crate) fn registered(&self) -> &[Asset] {
        &self.registered
    }

    /// Built-in and registered ones in order of their ledgers.
    pub(crate) fn all(&self) -> Vec<Asset> {
        let mut all: Vec<Asset> = built_in().chain(self.registered.iter().copied()).collect();
        all.sort_unstable_by_key(|asset| asset.ledger);
        all
    }

    pub(crate) fn register(&mut self, asset: Asset) -> AssetStatus {
        if asset.ledger.0 == 0 {
            return AssetStatus::LedgerMustNotBeZero;
        }
        if asset.scale > limits::ASSET_SCALE_MAX {
            return AssetStatus::ScaleTooLarge;
        }
        for other in built_in().chain(self.registered.iter().copied()) {
            if other == asset {
                return AssetStatus::Exists;
            }
            if other.ledger == asset.ledger {
                return AssetStatus::LedgerTaken;
            }
        }
        if built_in().chain(self.registered.iter().copied()).any(|other| other.code == asset.code) {
            return AssetStatus::CodeTaken;
        }
        if self.registered.len() >= limits::ASSETS_MAX {
            return AssetStatus::TooManyAssets;
        }
        self.registered.push(asset);
        AssetStatus::Created
    }
}

fn built_in() -> impl Iterator<Item = Asset> {
    ISO_4217.iter().filter_map(|(number, code, scale)| {
        Some(Asset { ledger: LedgerNumber(*number), code: code.parse().ok()?, scale: *scale })
    })
}
