//! One row of an import: named fields, read into an account or a transfer. What a row says and this does
//! not know is an error, never ignored.

use std::collections::BTreeMap;
use std::str::FromStr;

use bezant_client::{
    Account, AccountId, Bounds, LedgerNumber, Nanos, NewAccount, NewTransfer, Transfer, TransferFlags,
    TransferId,
};

use crate::flags::{parse_account_flags, parse_transfer_flags};
use crate::money::{Assets, Unit};
use crate::session::parse_account_id;

/// An integer with a range that an error can name.
pub(crate) trait Integer: FromStr {
    /// From the least to the greatest.
    const RANGE: &str;
}

macro_rules! integers {
    ($($integer:ty: $range:literal),*) => {
        $(impl Integer for $integer { const RANGE: &str = $range; })*
    };
}

integers! {
    u16: "0 to 65535",
    u32: "0 to 4294967295",
    u64: "0 to 18446744073709551615",
    u128: "0 to 340282366920938463463374607431768211455",
    i128: "-2^127 to 2^127 - 1"
}

/// Fields of an account.
const ACCOUNT_FIELDS: &[&str] = &[
    "id",
    "name",
    "asset",
    "ledger",
    "code",
    "flags",
    "minimum",
    "maximum",
    "user_data_128",
    "user_data_64",
    "user_data_32",
    "timestamp",
];
/// Fields of a transfer.
const TRANSFER_FIELDS: &[&str] = &[
    "id",
    "from",
    "to",
    "amount",
    "asset",
    "ledger",
    "code",
    "flags",
    "pending_id",
    "timeout_seconds",
    "user_data_128",
    "user_data_64",
    "user_data_32",
    "timestamp",
];

/// The fields of a row that are not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(BTreeMap<String, String>);

impl Fields {
    /// Leaves empty fields out.
    pub(crate) fn new(fields: impl Iterator<Item = (String, String)>) -> Self {
        Self(fields.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// Reads an object of strings, integers and `null`. An integer of more than 64 bits must be a string:
    /// as a number many programs would round it.
    pub(crate) fn from_json(text: &str) -> Result<Self, String> {
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|error| format!("no JSON object: {error}"))?;
        let mut fields = BTreeMap::new();
        for (name, value) in object {
            let value = match value {
                serde_json::Value::Null => continue,
                serde_json::Value::String(text) => text,
                serde_json::Value::Number(number) if number.is_u64() || number.is_i64() => number.to_string(),
                serde_json::Value::Array(names) if name == "flags" => {
                    names.iter().filter_map(serde_json::Value::as_str).collect::<Vec<_>>().join(",")
                }
                _ => return Err(format!("{name} is neither a string nor an integer of 64 bits")),
            };
            if !value.is_empty() {
                fields.insert(name, value);
            }
        }
        Ok(Self(fields))
    }

    /// A field as it stands there.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The names of accounts that the row speaks of.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        ["from", "to"]
            .into_iter()
            .filter_map(|field| self.text(field))
            .filter(|text| !text.bytes().all(|letter| letter.is_ascii_digit()))
    }

    fn integer<T: Integer>(&self, name: &str, otherwise: T) -> Result<T, String> {
        if self.text(name).is_none() { Ok(otherwise) } else { self.required(name) }
    }

    fn required<T: Integer>(&self, name: &str) -> Result<T, String> {
        let text = self.text(name).ok_or_else(|| format!("{name} is missing"))?;
        text.parse().map_err(|_| format!("{name} is {text:?}, which is no integer from {}", T::RANGE))
    }

    /// Amounts or bounds of this row that take their asset from its column, and are no zero: true = with a
    /// point, false = minor units. Empty where the asset has no minor units, so that both mean the same.
    pub(crate) fn notations(&self, assets: &Assets) -> impl Iterator<Item = bool> {
        let unit = self.text("asset").and_then(|code| assets.by_code(code).ok());
        let has_minor_units = unit.and_then(|unit| unit.asset).is_some_and(|asset| asset.scale > 0);
        let names = if has_minor_units { ["amount", "minimum", "maximum"].as_slice() } else { &[] };
        names
            .iter()
            .filter_map(|name| self.text(name))
            .filter(|text| {
                with_asset(text).is_none() && text.bytes().any(|digit| matches!(digit, b'1'..=b'9'))
            })
            .map(|text| text.contains('.'))
    }

    fn check_names(&self, known: &[&str]) -> Result<(), String> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(format!("there is no field {name:?}; the fields are {}", known.join(", "))),
        }
    }

    /// The ledger that the row names; `None` = none.
    fn unit(&self, assets: &Assets) -> Result<Option<Unit>, String> {
        match (self.text("asset"), self.text("ledger")) {
            (None, None) => Ok(None),
            (Some(code), None) => assets.by_code(code).map(Some).map_err(|error| error.to_string()),
            (None, Some(_)) => Ok(Some(assets.unit(LedgerNumber(self.required("ledger")?)))),
            (Some(_), Some(_)) => Err("asset and ledger are both given: one is enough".to_owned()),
        }
    }
}

/// Splits `10.50 EUR` from plain minor units.
fn with_asset(text: &str) -> Option<(&str, &str)> {
    text.split_once(' ').map(|(amount, code)| (amount, code.trim()))
}

/// Splits an amount from its asset: written in it, or, for `10.50`, in the column of assets.
fn amount_and_code<'row>(fields: &'row Fields, text: &'row str) -> Option<(&'row str, &'row str)> {
    let column = || fields.text("asset").filter(|_| text.contains('.')).map(|code| (text, code));
    with_asset(text).or_else(column)
}

fn bound(fields: &Fields, name: &str, assets: &Assets, unit: Unit, limit: i128) -> Result<i128, String> {
    let Some(text) = fields.text(name) else { return Ok(limit) };
    let Some((amount, code)) = amount_and_code(fields, text) else { return fields.required(name) };
    let asked = assets.by_code(code).map_err(|error| error.to_string())?;
    if asked != unit {
        return Err(format!("{name} is in {code}, the account holds {}", unit.label()));
    }
    let bounds = unit.parse_bounds(Some(amount), None, Bounds::NONE).map_err(|error| error.to_string())?;
    Ok(bounds.minimum)
}

/// The account of a row.
pub(crate) fn account(fields: &Fields, assets: &Assets) -> Result<NewAccount, String> {
    fields.check_names(ACCOUNT_FIELDS)?;
    let unit = fields.unit(assets)?.ok_or("asset or ledger is missing")?;
    let account = Account {
        id: AccountId(fields.required("id")?),
        user_data_128: fields.integer("user_data_128", 0)?,
        user_data_64: fields.integer("user_data_64", 0)?,
        user_data_32: fields.integer("user_data_32", 0)?,
        ledger: unit.ledger,
        code: fields.integer("code", 1)?,
        flags: parse_account_flags(fields.text("flags").unwrap_or(""))?,
        timestamp: Nanos(fields.integer("timestamp", 0)?),
        ..Account::default()
    };
    let bounds = Bounds {
        minimum: bound(fields, "minimum", assets, unit, i128::MIN)?,
        maximum: bound(fields, "maximum", assets, unit, i128::MAX)?,
    };
    Ok(NewAccount::from(account).bounds(bounds).name(fields.text("name").unwrap_or("")))
}

/// The transfer of a row; `names` are the accounts with a name.
pub(crate) fn transfer(
    fields: &Fields,
    assets: &Assets,
    names: &BTreeMap<String, AccountId>,
) -> Result<NewTransfer, String> {
    fields.check_names(TRANSFER_FIELDS)?;
    let flags = parse_transfer_flags(fields.text("flags").unwrap_or(""))?;
    let is_resolution = flags.intersects(TransferFlags::POST_PENDING.union(TransferFlags::VOID_PENDING));
    let side = |name: &str| match fields.text(name) {
        None if is_resolution => Ok(AccountId(0)),
        None => Err(format!("{name} is missing")),
        Some(text) => match parse_account_id(text).map_err(|error| error.to_string())? {
            Some(id) => Ok(id),
            None => names.get(text).copied().ok_or_else(|| format!("there is no account {text}")),
        },
    };
    let given = fields.unit(assets)?;
    let amount_text = fields.text("amount");
    let (amount, unit) = match amount_text.and_then(|text| amount_and_code(fields, text)) {
        Some((amount, code)) => {
            let unit = assets.by_code(code).map_err(|error| error.to_string())?;
            if given.is_some_and(|given| given != unit) {
                return Err(format!("the amount is in {code}, the row says otherwise"));
            }
            (unit.parse(amount).map_err(|error| error.to_string())?, Some(unit))
        }
        None if amount_text.is_none() && flags.contains(TransferFlags::POST_PENDING) => (u128::MAX, given),
        None if amount_text.is_none() && flags.contains(TransferFlags::VOID_PENDING) => (0, given),
        None => (fields.required("amount")?, given),
    };
    let ledger = match unit {
        Some(unit) => unit.ledger,
        None if is_resolution => LedgerNumber(0),
        None => return Err("the asset is missing: write 10.50 EUR, or give asset or ledger".to_owned()),
    };
    Ok(NewTransfer::from(Transfer {
        id: TransferId(fields.required("id")?),
        debit_account_id: side("from")?,
        credit_account_id: side("to")?,
        amount,
        pending_id: TransferId(fields.integer("pending_id", 0)?),
        user_data_128: fields.integer("user_data_128", 0)?,
        user_data_64: fields.integer("user_data_64", 0)?,
        user_data_32: fields.integer("user_data_32", 0)?,
        timeout_seconds: fields.integer("timeout_seconds", 0)?,
        ledger,
        code: fields.integer("code", u16::from(!is_resolution))?,
        flags,
        timestamp: Nanos(fields.integer("timestamp", 0)?),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bezant_client::{AccountFlags, Asset};

    fn assets() -> Assets {
        Assets::new(vec![Asset { ledger: LedgerNumber(978), code: "EUR".parse().unwrap(), scale: 2 }])
    }

    #[test]
    fn an_account_is_read() {
        let fields = Fields::from_json(
            r#"{"id":7,"name":"alice","asset":"EUR","flags":["history"],"minimum":"-500.00 EUR"}"#,
        );
        let new = account(&fields.unwrap(), &assets()).unwrap();
        assert_eq!((new.account.id, new.name.as_str()), (AccountId(7), "alice"));
        assert_eq!((new.account.ledger, new.account.code), (LedgerNumber(978), 1));
        assert_eq!(new.account.flags, AccountFlags::HISTORY);
        assert_eq!(new.bounds, Bounds { minimum: -50_000, ..Bounds::NONE });
    }

    #[test]
    fn a_transfer_is_read() {
        let names = BTreeMap::from([("alice".to_owned(), AccountId(1))]);
        let row = |amount: &str| {
            let fields = [("id", "5"), ("from", "alice"), ("to", "2"), ("amount", amount)];
            Fields::new(fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())))
        };
        let new = transfer(&row("10.50 EUR"), &assets(), &names).unwrap();
        assert_eq!(new.transfer.amount, 1050);
        assert_eq!(new.transfer.debit_account_id, AccountId(1));
        assert!(transfer(&row("10.50"), &assets(), &names).is_err(), "a point without an asset");
        let mut column = row("1.50");
        column.0.insert("asset".to_owned(), "EUR".to_owned());
        assert_eq!(transfer(&column, &assets(), &names).unwrap().transfer.amount, 150);
        assert_eq!(column.notations(&assets()).collect::<Vec<_>>(), [true]);
        column.0.insert("amount".to_owned(), "150".to_owned());
        assert_eq!(transfer(&column, &assets(), &names).unwrap().transfer.amount, 150, "minor units");
        assert_eq!(column.notations(&assets()).collect::<Vec<_>>(), [false]);
        column.0.insert("code".to_owned(), "65536".to_owned());
        assert!(transfer(&column, &assets(), &names).unwrap_err().contains("0 to 65535"));
        assert!(transfer(&row("1050"), &assets(), &names).is_err(), "no asset at all");
        assert!(transfer(&row("1 EUR"), &assets(), &BTreeMap::new()).is_err(), "an unknown name");
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        let fields = Fields::from_json(r#"{"id":"7","asset":"EUR","colour":"red"}"#).unwrap();
        assert!(account(&fields, &assets()).unwrap_err().contains("colour"));
        assert!(Fields::from_json(r#"{"id":340282366920938463463374607431768211455}"#).is_err());
        assert!(Fields::from_json(r#"{"amount":10.5}"#).is_err(), "never a float");
    }
}
