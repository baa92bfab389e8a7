//! Converts amounts between text (`10.50 EUR`) and the ledger's minor units (1050). Never a float, never
//! rounded.

use bezant_client::{Asset, Bounds, LedgerNumber};
use bezant_types::{Total, parse_amount};

use crate::exit::Failure;

/// The word for "no limit" in a bound.
pub(crate) const NO_LIMIT: &str = "none";

/// The unit of a ledger's amounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// The number of the ledger.
    pub(crate) ledger: LedgerNumber,
    /// Its asset; `None` = not registered: amounts are whole minor units.
    pub(crate) asset: Option<Asset>,
}

impl Unit {
    /// The asset's code, or the ledger's number where it has none.
    pub(crate) fn label(&self) -> String {
        self.asset.map_or_else(|| format!("ledger {}", self.ledger), |asset| asset.code.to_string())
    }

    /// Reads an amount such as `10.50` into minor units.
    pub(crate) fn parse(&self, text: &str) -> Result<u128, Failure> {
        parse_amount(text, self.asset.map_or(0, |asset| asset.scale)).map_err(|error| {
            let scale = match &self.asset {
                Some(asset) => format!("{} has {} digits there", asset.code, asset.scale),
                None => format!(
                    "ledger {} has no registered asset, so write whole minor units such as 1050",
                    self.ledger
                ),
            };
            Failure::Usage(format!("{text:?} is no amount: {error}; {scale}"))
        })
    }

    /// Reads a balance that may be negative; `none` is `limit`.
    pub(crate) fn parse_bound(&self, text: &str, limit: i128) -> Result<i128, Failure> {
        if text == NO_LIMIT {
            return Ok(limit);
        }
        let (digits, is_negative) = text.strip_prefix('-').map_or((text, false), |rest| (rest, true));
        let amount = i128::try_from(self.parse(digits)?).map_err(|_| {
            Failure::Usage(format!("{text:?} does not fit in 127 bits; for no limit write none"))
        })?;
        Ok(if is_negative { -amount } else { amount })
    }

    /// Changes the sides of `bounds` that are given.
    pub(crate) fn parse_bounds(
        &self,
        minimum: Option<&str>,
        maximum: Option<&str>,
        bounds: Bounds,
    ) -> Result<Bounds, Failure> {
        Ok(Bounds {
            minimum: minimum.map_or(Ok(bounds.minimum), |text| self.parse_bound(text, i128::MIN))?,
            maximum: maximum.map_or(Ok(bounds.maximum), |text| self.parse_bound(text, i128::MAX))?,
        })
    }

    /// Minor units as text.
    pub(crate) fn format(&self, amount: u128) -> String {
        self.asset.map_or_else(|| amount.to_string(), |asset| asset.format(amount))
    }

    /// A sum as text.
    pub(crate) fn format_total(&self, total: Total) -> String {
        self.asset.map_or_else(|| total.to_string(), |asset| asset.format_total(total))
    }

    /// A limit as text.
    pub(crate) fn format_bound(&self, bound: i128) -> String {
        if bound == i128::MIN || bound == i128::MAX {
            return NO_LIMIT.to_owned();
        }
        self.asset.map_or_else(|| bound.to_string(), |asset| asset.format_signed(bound))
    }

    /// An amount with the sign of its direction; 0 has no sign.
    pub(crate) fn format_signed(&self, sign: &str, amount: u128) -> String {
        let sign = if amount == 0 { "" } else { sign };
        format!("{sign}{}", self.format(amount))
    }

    /// `plus - minus` as text.
    pub(crate) fn format_difference(&self, plus: u128, minus: u128) -> String {
        if plus >= minus { self.format(plus - minus) } else { format!("-{}", self.format(minus - plus)) }
    }
}

/// The assets of a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assets(Vec<Asset>);

impl Assets {
    /// The assets, in any order.
    pub(crate) const fn new(assets: Vec<Asset>) -> Self {
        Self(assets)
    }

    /// All assets, in the order of the server.
    pub(crate) fn all(&self) -> &[Asset] {
        &self.0
    }

    /// The unit of the ledger's amounts.
    pub(crate) fn unit(&self, ledger: LedgerNumber) -> Unit {
        Unit { ledger, asset: self.0.iter().find(|asset| asset.ledger == ledger).copied() }
    }

    /// The unit of the asset with this code, in upper or lower case.
    pub(crate) fn by_code(&self, code: &str) -> Result<Unit, Failure> {
        let asset = self.0.iter().find(|asset| asset.code.as_str().eq_ignore_ascii_case(code)).copied();
        asset.map(|asset| Unit { ledger: asset.ledger, asset: Some(asset) }).ok_or_else(|| {
            Failure::NotFound(format!(
                "there is no asset {code:?}: `bezant asset list` shows all, `bezant asset register` adds one"
            ))
        })
    }
}

/// Splits `10.50 EUR` into the amount and the code: the last word is a code when it begins with a letter. The
/// rest is the amount. Spaces in it stay, and the parser of amounts then refuses it.
pub(crate) fn split_code(text: &str) -> (&str, Option<&str>) {
    let text = text.trim();
    match text.rsplit_once(char::is_whitespace) {
        Some((amount, code)) if code.starts_with(char::is_alphabetic) => (amount.trim_end(), Some(code)),
        _ => (text, None),
    }
}

/// The amount and the code of its asset, which may be in `amount` or a separate argument.
pub(crate) fn split_amount<'text>(
    amount: &'text str,
    asset: Option<&'text str>,
) -> Result<(&'text str, Option<&'text str>), Failure> {
    match (split_code(amount), asset) {
        ((amount, None), asset) => Ok((amount, asset)),
        ((amount, Some(code)), None) => Ok((amount, Some(code))),
        ((_, Some(_)), Some(_)) => Err(Failure::Usage(format!("the asset of {amount:?} is given twice"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assets() -> Assets {
        let asset = |ledger, code: &str, scale| Asset {
            ledger: LedgerNumber(ledger),
            code: code.parse().unwrap(),
            scale,
        };
        Assets::new(vec![asset(978, "EUR", 2), asset(392, "JPY", 0)])
    }

    #[test]
    fn amounts_are_read_in_the_unit_of_their_asset() {
        let euro = assets().by_code("eur").unwrap();
        assert_eq!(euro.parse("10.50").unwrap(), 1050);
        assert_eq!(euro.format(1050), "10.50");
        assert!(matches!(euro.parse("10.505"), Err(Failure::Usage(_))), "nothing is rounded");
        assert!(matches!(euro.parse("3.000"), Err(Failure::Usage(_))), "ambiguous: three, or three thousand");
        assert!(matches!(euro.parse("-1"), Err(Failure::Usage(_))), "amounts have no sign");
        assert!(matches!(assets().by_code("JPY").unwrap().parse("1.5"), Err(Failure::Usage(_))));
        assert!(matches!(assets().by_code("XYZ"), Err(Failure::NotFound(_))));
    }

    #[test]
    fn a_ledger_without_an_asset_counts_minor_units() {
        let unit = assets().unit(LedgerNumber(7));
        assert_eq!(unit.label(), "ledger 7");
        assert_eq!(unit.parse("1050").unwrap(), 1050);
        for wrong in ["10.50", "+5", "1 000", "1,000", "-1", "5.", "1e3"] {
            let error = unit.parse(wrong).unwrap_err().to_string();
            assert!(error.contains("minor units"), "{wrong:?}: {error}");
        }
    }

    #[test]
    fn bounds_may_be_negative_or_none() {
        let euro = assets().by_code("EUR").unwrap();
        let bounds = euro.parse_bounds(Some("-500.00"), None, Bounds::NONE).unwrap();
        assert_eq!(bounds, Bounds { minimum: -50_000, maximum: i128::MAX });
        let bounds = euro.parse_bounds(Some("none"), Some("1"), bounds).unwrap();
        assert_eq!(bounds, Bounds { minimum: i128::MIN, maximum: 100 });
        for wrong in ["none EUR", "None", "--5", "-+5", "+5", "- 5", "-", "-5.000", "5.000", ""] {
            assert!(euro.parse_bounds(Some(wrong), None, Bounds::NONE).is_err(), "{wrong:?}");
        }
        assert_eq!(euro.format_bound(-50_000), "-500.00");
        assert_eq!(euro.format_bound(i128::MAX), "none");
    }

    #[test]
    fn the_asset_may_be_in_the_amount_or_after_it() {
        assert_eq!(split_amount("10.50 EUR", None).unwrap(), ("10.50", Some("EUR")));
        assert_eq!(split_amount("10.50", Some("EUR")).unwrap(), ("10.50", Some("EUR")));
        assert_eq!(split_amount("10.50", None).unwrap(), ("10.50", None));
        assert!(split_amount("10.50 EUR", Some("EUR")).is_err());
        assert_eq!(split_amount("1 000 EUR", None).unwrap(), ("1 000", Some("EUR")));
        assert_eq!(split_amount("1 000", Some("EUR")).unwrap(), ("1 000", Some("EUR")));
    }

    #[test]
    fn zero_has_no_sign() {
        let euro = assets().by_code("EUR").unwrap();
        assert_eq!(euro.format_signed("-", 150), "-1.50");
        assert_eq!(euro.format_signed("-", 0), "0.00");
    }

    #[test]
    fn balances_may_be_negative() {
        let euro = assets().by_code("EUR").unwrap();
        assert_eq!(euro.format_difference(100, 250), "-1.50");
        assert_eq!(euro.format_difference(250, 100), "1.50");
    }
}
