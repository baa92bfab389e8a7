//! The unit in which a row of an import gives its amounts.
//!
//! | text of the row | read as |
//! |---|---|
//! | `10.50 EUR`, `10 EUR` | units of the asset |
//! | `10.50` and the field asset | units of the asset |
//! | `1050` and the field asset | minor units; with `--assume major` units of the asset |
//! | `1050` and the field ledger | minor units: ledger numbers are for programs |
//! | no asset and no ledger | refused |
//!
//! Only the third line is ambiguous. So a file that mixes it with one of the first two is refused without
//! `--assume`. Of a pipe, the rows to come are unknown: there the third line always needs `--assume`.

use super::fields::Fields;
use crate::exit::Failure;
use crate::money::{Assets, NO_LIMIT, Unit, split_code};

/// The reading of an amount that has no point and no asset in its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Notation {
    /// 1050 is 10.50 EUR
    Minor,
    /// 10 is 10.00 EUR
    Major,
}

/// Checks that a whole input uses one notation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnitRule {
    /// The notation given with `--assume`.
    assumed: Option<Notation>,
    is_pipe: bool,
    /// The notation and the line of the first amount that counts; `None` = none was read yet.
    seen: Option<(Notation, u64)>,
}

impl UnitRule {
    /// The rule for an input of which nothing was read yet.
    pub(crate) const fn new(assumed: Option<Notation>, is_pipe: bool) -> Self {
        Self { assumed, is_pipe, seen: None }
    }

    /// The reading of an amount that has no point and no asset in its text.
    pub(crate) fn bare(&self) -> Notation {
        self.assumed.unwrap_or(Notation::Minor)
    }

    /// The line of the first amount that is read as minor units by default.
    pub(crate) const fn first_default(&self) -> Option<u64> {
        match self.seen {
            Some((Notation::Minor, line)) => Some(line),
            _ => None,
        }
    }

    /// An error unless the amounts of the row have the notation of the rows before it.
    pub(crate) fn check(&mut self, line: u64, fields: &Fields, assets: &Assets) -> Result<(), String> {
        if self.assumed.is_some() {
            return Ok(());
        }
        for (name, notation) in notations(fields, assets) {
            if self.is_pipe && notation == Notation::Minor {
                return Err(format!(
                    "{name} may be minor units or not, and a pipe cannot be checked in advance: write 10.00 EUR, or \
                     give --assume minor or --assume major"
                ));
            }
            let (first, first_line) = *self.seen.get_or_insert((notation, line));
            if first != notation {
                return Err(format!(
                    "{name} is written in another way than on line {first_line}: an amount without a point and \
                     without its asset is minor units, beside 10.00 or 10 EUR it may be meant otherwise. Write all in \
                     one way, or give --assume minor or --assume major"
                ));
            }
        }
        Ok(())
    }
}

/// The amounts of a row that count for its notation: all except zeros, of assets that have minor units.
fn notations<'row>(
    fields: &'row Fields,
    assets: &'row Assets,
) -> impl Iterator<Item = (&'static str, Notation)> + 'row {
    ["amount", "minimum", "maximum"].into_iter().filter_map(|name| {
        let text = fields.text(name).filter(|text| text.bytes().any(|digit| matches!(digit, b'1'..=b'9')))?;
        let (amount, code) = split_code(text);
        let unit = assets.by_code(code.or_else(|| fields.text("asset"))?).ok()?;
        let has_minor_units = unit.asset.is_some_and(|asset| asset.scale > 0);
        let is_minor = code.is_none() && !amount.contains('.');
        has_minor_units.then_some((name, if is_minor { Notation::Minor } else { Notation::Major }))
    })
}

/// An amount or a bound of a row, with the unit in which it is to be read.
pub(crate) struct Written<'row> {
    name: &'static str,
    text: &'row str,
    is_minor: bool,
    /// The ledger of the amount.
    pub(crate) unit: Unit,
}

impl<'row> Written<'row> {
    /// The field `name` with the content `text`, of a row whose asset or ledger is `given`.
    pub(crate) fn new(
        name: &'static str,
        text: &'row str,
        fields: &Fields,
        given: Option<Unit>,
        context: Context<'_>,
    ) -> Result<Self, String> {
        let (text, code) = split_code(text);
        if let Some(code) = code {
            let unit = context.assets.by_code(code).map_err(|error| format!("{name}: {error}"))?;
            if let Some(given) = given.filter(|given| *given != unit) {
                return Err(format!("{name} is in {code}, the row is in {}", given.label()));
            }
            return Ok(Self { name, text, is_minor: false, unit });
        }
        let unit = given.ok_or_else(|| {
            format!("{name} is {text:?}, and its asset is missing: write 10.50 EUR, or give asset or ledger")
        })?;
        let is_minor =
            fields.text("asset").is_none() || (!text.contains('.') && context.bare == Notation::Minor);
        Ok(Self { name, text, is_minor, unit })
    }

    /// The amount in minor units.
    pub(crate) fn amount(&self) -> Result<u128, String> {
        self.read(|unit| unit.parse(self.text))
    }

    /// A bound in minor units.
    pub(crate) fn bound(&self) -> Result<i128, String> {
        if self.text == NO_LIMIT {
            return Err(format!(
                "{} has an asset and no limit: for no limit write {NO_LIMIT} alone",
                self.name
            ));
        }
        self.read(|unit| unit.parse_bound(self.text, 0))
    }

    fn read<T>(&self, parse: impl Fn(Unit) -> Result<T, Failure>) -> Result<T, String> {
        let Self { name, text, is_minor, unit } = self;
        if !is_minor || unit.asset.is_none() {
            return parse(*unit).map_err(|error| format!("{name}: {error}"));
        }
        parse(Unit { asset: None, ..*unit }).map_err(|_| {
            format!(
                "{name}: {text:?} is no amount of minor units: write digits alone, such as 1050, or 10.50 {}",
                unit.label()
            )
        })
    }
}

/// The settings with which the rows of an input are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'run> {
    /// The assets of the server.
    pub(crate) assets: &'run Assets,
    /// The reading of an amount that has no point and no asset in its text.
    pub(crate) bare: Notation,
}

#[cfg(test)]
mod tests {
    use super::*;
    use bezant_client::{Asset, LedgerNumber};

    fn assets() -> Assets {
        let asset = |ledger, code: &str, scale| Asset {
            ledger: LedgerNumber(ledger),
            code: code.parse().unwrap(),
            scale,
        };
        Assets::new(vec![asset(978, "EUR", 2), asset(392, "JPY", 0)])
    }

    /// The first line whose notation differs from those before it.
    fn refused(rule: UnitRule, rows: &[&str]) -> Option<u64> {
        let mut rule = rule;
        (1..).zip(rows).find_map(|(line, row)| {
            let fields = Fields::from_json(row).unwrap();
            rule.check(line, &fields, &assets()).err().map(|_| line)
        })
    }

    #[test]
    fn one_file_has_one_notation() {
        const CODED: &str = r#"{"amount":"10 EUR"}"#;
        const CODED_TWICE: &str = r#"{"amount":"10 EUR","asset":"EUR"}"#;
        const POINT: &str = r#"{"amount":"10.00","asset":"EUR"}"#;
        const BARE: &str = r#"{"amount":"10","asset":"EUR"}"#;
        const BOUND: &str = r#"{"minimum":"-10","asset":"EUR"}"#;
        const LEDGER: &str = r#"{"amount":"10","ledger":978}"#;
        const ZERO: &str = r#"{"amount":"0","asset":"EUR"}"#;
        const YEN: &str = r#"{"amount":"10","asset":"JPY"}"#;
        let file = UnitRule::new(None, false);
        for rows in [&[CODED, CODED_TWICE, POINT, LEDGER, ZERO, YEN][..], &[BARE, BOUND, LEDGER, ZERO, YEN]] {
            assert_eq!(refused(file, rows), None, "{rows:?}");
        }
        for other in [CODED, CODED_TWICE, POINT] {
            for bare in [BARE, BOUND] {
                assert_eq!(refused(file, &[other, ZERO, bare]), Some(3), "{other} and {bare}");
                assert_eq!(refused(file, &[bare, YEN, other]), Some(3), "{bare} and {other}");
                let assumed = UnitRule::new(Some(Notation::Major), false);
                assert_eq!(refused(assumed, &[bare, other]), None);
            }
        }
        assert_eq!(refused(UnitRule::new(None, true), &[CODED, POINT, LEDGER, YEN, ZERO, BARE]), Some(6));
        assert_eq!(refused(UnitRule::new(Some(Notation::Minor), true), &[BARE]), None);
    }
}
