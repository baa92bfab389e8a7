//! The assets of ledgers, to show amounts to people: ISO 4217, and what has been registered.
//!
//! The state machine has the authoritative assets. This is the copy with which server, client and command
//! line read and write `10.50 EUR`. An asset never changes once an account has it or it was registered. So a
//! copy can be outdated but not wrong, with one exception: a built-in currency that no account uses may still
//! be replaced by another asset.

use std::collections::BTreeMap;

use bezant_types::{Asset, AssetCode, ISO_4217, LedgerNumber};

/// The built-in assets, in the order of their ledgers.
pub fn built_in() -> impl Iterator<Item = Asset> {
    ISO_4217.iter().filter_map(asset)
}

/// The built-in asset of a ledger.
pub fn built_in_of(ledger: LedgerNumber) -> Option<Asset> {
    let at = ISO_4217.binary_search_by_key(&ledger.0, |row| row.0).ok()?;
    ISO_4217.get(at).and_then(asset)
}

/// The built-in asset with this code.
pub fn built_in_named(code: &str) -> Option<Asset> {
    ISO_4217.iter().find(|row| row.1 == code).and_then(asset)
}

fn asset(&(ledger, code, scale): &(u32, &str, u8)) -> Option<Asset> {
    Some(Asset { ledger: LedgerNumber(ledger), code: code.parse().ok()?, scale })
}

/// Assets by ledger and by code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetBook {
    by_ledger: BTreeMap<LedgerNumber, Asset>,
    by_code: BTreeMap<AssetCode, LedgerNumber>,
}

impl Default for AssetBook {
    /// The built-in assets.
    fn default() -> Self {
        built_in().collect()
    }
}

impl FromIterator<Asset> for AssetBook {
    fn from_iter<T: IntoIterator<Item = Asset>>(assets: T) -> Self {
        let by_ledger: BTreeMap<_, _> = assets.into_iter().map(|asset| (asset.ledger, asset)).collect();
        let by_code = by_ledger.values().map(|asset| (asset.code, asset.ledger)).collect();
        Self { by_ledger, by_code }
    }
}

impl AssetBook {
    /// The asset of a ledger.
    pub fn of(&self, ledger: LedgerNumber) -> Option<&Asset> {
        self.by_ledger.get(&ledger)
    }

    /// The asset with this code.
    pub fn named(&self, code: &str) -> Option<&Asset> {
        self.by_ledger.get(self.by_code.get(&code.parse().ok()?)?)
    }

    /// All assets, in the order of their ledgers.
    pub fn iter(&self) -> impl Iterator<Item = &Asset> {
        self.by_ledger.values()
    }

    /// An amount in minor units as text with the code: `10.50 EUR`. `None` where the ledger has no asset.
    pub fn display(&self, ledger: LedgerNumber, amount: u128) -> Option<String> {
        self.of(ledger).map(|asset| format!("{} {}", asset.format(amount), asset.code))
    }

    /// `plus - minus` in the same form, `-0.50 EUR`; exact over the whole range.
    pub fn display_difference(&self, ledger: LedgerNumber, plus: u128, minus: u128) -> Option<String> {
        let text = self.display(ledger, plus.abs_diff(minus))?;
        Some(if plus < minus { format!("-{text}") } else { text })
    }
}

#[cfg(test)]
mod tests {
    use iso_currency::{Currency, IntoEnumIterator};

    use super::*;

    /// Codes that were withdrawn before the table was made.
    const WITHDRAWN: &[&str] = &["CUC", "HRK", "SLL", "ZWL"];

    #[test]
    fn the_table_equals_the_standard() {
        for (number, code, scale) in ISO_4217 {
            let currency = Currency::from_code(code).unwrap_or_else(|| panic!("{code} is no currency"));
            assert_eq!(u32::from(currency.numeric()), *number, "{code}");
            assert_eq!(currency.exponent(), Some(u16::from(*scale)), "{code}");
        }
        for currency in Currency::iter().filter(|currency| currency.exponent().is_some()) {
            let is_known = built_in_named(currency.code()).is_some() || WITHDRAWN.contains(&currency.code());
            assert!(is_known, "{} is missing", currency.code());
        }
    }

    #[test]
    fn amounts_show_their_asset() {
        let book = AssetBook::default();
        let euro = LedgerNumber(978);
        assert_eq!(book.display(euro, 1050), Some("10.50 EUR".to_owned()));
        assert_eq!(book.display_difference(euro, 1, 51), Some("-0.50 EUR".to_owned()));
        assert_eq!(book.display(LedgerNumber(7), 1), None);
        assert_eq!(book.named("JPY").map(|asset| asset.scale), Some(0));
        assert_eq!(built_in_of(euro).map(|asset| asset.code.to_string()), Some("EUR".to_owned()));
    }
}
