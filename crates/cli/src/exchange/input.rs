//! Parses one row of an import into an account or a transfer. Unknown fields and values are errors, never
//! ignored.

use std::collections::BTreeMap;

use bezant_client::{
    Account, AccountFlags, AccountId, Bounds, LedgerNumber, Nanos, NewAccount, NewTransfer, Transfer,
    TransferFlags, TransferId,
};

use super::fields::Fields;
use super::units::{Context, Written};
use crate::flags::{parse_account_flags, parse_transfer_flags};
use crate::money::{Assets, NO_LIMIT, Unit};
use crate::session::parse_account_id;

/// The word for the whole amount that a pending transfer reserved.
const ALL: &str = "all";

/// Fields of an account.
pub(crate) const ACCOUNT_FIELDS: &[&str] = &[
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
pub(crate) const TRANSFER_FIELDS: &[&str] = &[
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

/// The ledger that the row names; `None` = none.
fn unit(fields: &Fields, assets: &Assets) -> Result<Option<Unit>, String> {
    match (fields.text("asset"), fields.text("ledger")) {
        (None, None) => Ok(None),
        (Some(code), None) => assets.by_code(code).map(Some).map_err(|error| format!("asset: {error}")),
        (None, Some(_)) => Ok(Some(assets.unit(LedgerNumber(fields.required("ledger")?)))),
        (Some(_), Some(_)) => Err("asset and ledger are both given: one is enough".to_owned()),
    }
}

/// The names of accounts in the row; sides given by id are left out.
pub(crate) fn names(fields: &Fields) -> impl Iterator<Item = &str> {
    ["from", "to"]
        .into_iter()
        .filter_map(|field| fields.text(field))
        .filter(|text| !text.bytes().all(|letter| letter.is_ascii_digit()))
}

/// The flags of an account.
pub(crate) fn account_flags(fields: &Fields) -> Result<AccountFlags, String> {
    parse_account_flags(fields.text("flags").unwrap_or("")).map_err(|error| format!("flags: {error}"))
}

/// The flags of a transfer.
pub(crate) fn transfer_flags(fields: &Fields) -> Result<TransferFlags, String> {
    parse_transfer_flags(fields.text("flags").unwrap_or("")).map_err(|error| format!("flags: {error}"))
}

fn bound(
    fields: &Fields,
    name: &'static str,
    context: Context<'_>,
    unit: Unit,
    limit: i128,
) -> Result<i128, String> {
    match fields.text(name) {
        None | Some(NO_LIMIT) => Ok(limit),
        Some(text) => Written::new(name, text, fields, Some(unit), context)?.bound(),
    }
}

/// The account of a row.
pub(crate) fn account(fields: &Fields, context: Context<'_>) -> Result<NewAccount, String> {
    fields.check_names(ACCOUNT_FIELDS)?;
    let unit = unit(fields, context.assets)?.ok_or("asset or ledger is missing")?;
    let account = Account {
        id: AccountId(fields.required("id")?),
        user_data_128: fields.integer("user_data_128", 0)?,
        user_data_64: fields.integer("user_data_64", 0)?,
        user_data_32: fields.integer("user_data_32", 0)?,
        ledger: unit.ledger,
        code: fields.integer("code", 1)?,
        flags: account_flags(fields)?,
        timestamp: Nanos(fields.integer("timestamp", 0)?),
        ..Account::default()
    };
    let bounds = Bounds {
        minimum: bound(fields, "minimum", context, unit, i128::MIN)?,
        maximum: bound(fields, "maximum", context, unit, i128::MAX)?,
    };
    Ok(NewAccount::from(account).bounds(bounds).name(fields.text("name").unwrap_or("")))
}

/// The transfer of a row; `names` maps the names of accounts to their ids.
pub(crate) fn transfer(
    fields: &Fields,
    context: Context<'_>,
    names: &BTreeMap<String, AccountId>,
) -> Result<NewTransfer, String> {
    fields.check_names(TRANSFER_FIELDS)?;
    let flags = transfer_flags(fields)?;
    let is_resolution = flags.intersects(TransferFlags::POST_PENDING.union(TransferFlags::VOID_PENDING));
    let side = |name: &str| match fields.text(name) {
        None if is_resolution => Ok(AccountId(0)),
        None => Err(format!("{name} is missing")),
        Some(text) => match parse_account_id(text).map_err(|error| format!("{name}: {error}"))? {
            Some(id) => Ok(id),
            None => names.get(text).copied().ok_or_else(|| format!("{name}: there is no account {text:?}")),
        },
    };
    let (amount, unit) = amount(fields, context, flags)?;
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

/// The amount of a transfer and its unit, where the row names one. A post of the whole reserved amount needs
/// the word `all`: a cell that was left empty by mistake must not post everything.
fn amount(
    fields: &Fields,
    context: Context<'_>,
    flags: TransferFlags,
) -> Result<(u128, Option<Unit>), String> {
    let given = unit(fields, context.assets)?;
    let (posts, voids) =
        (flags.contains(TransferFlags::POST_PENDING), flags.contains(TransferFlags::VOID_PENDING));
    match fields.text("amount") {
        Some(ALL) if posts => Ok((u128::MAX, given)),
        None | Some(ALL) if voids => Ok((0, given)),
        None if posts => {
            Err(format!("amount is missing: write the amount, or {ALL} for everything that is reserved"))
        }
        None => Err("amount is missing: write 10.50 EUR, or give asset or ledger beside it".to_owned()),
        Some(text) => {
            let written = Written::new("amount", text, fields, given, context)?;
            Ok((written.amount()?, Some(written.unit)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::units::Notation;
    use bezant_client::Asset;

    fn assets() -> Assets {
        Assets::new(vec![Asset { ledger: LedgerNumber(978), code: "EUR".parse().unwrap(), scale: 2 }])
    }

    fn accounts() -> BTreeMap<String, AccountId> {
        BTreeMap::from([("alice".to_owned(), AccountId(1)), ("bob".to_owned(), AccountId(2))])
    }

    fn read_account(text: &str) -> Result<NewAccount, String> {
        account(&Fields::from_json(text)?, Context { assets: &assets(), bare: Notation::Minor })
    }

    fn read_transfer_as(text: &str, bare: Notation) -> Result<Transfer, String> {
        let context = Context { assets: &assets(), bare };
        transfer(&Fields::from_json(text)?, context, &accounts()).map(|new| new.transfer)
    }

    /// A payment from alice to bob with the further fields `rest`.
    fn read_payment(rest: &str) -> Result<Transfer, String> {
        read_transfer_as(&format!(r#"{{"id":"5","from":"alice","to":"2",{rest}}}"#), Notation::Minor)
    }

    #[test]
    fn an_account_is_read() {
        let new = read_account(
            r#"{"id":7,"name":"alice","asset":"EUR","flags":["history"],"minimum":"-500.00 EUR","maximum":"none"}"#,
        );
        let new = new.unwrap();
        assert_eq!((new.account.id, new.name.as_str()), (AccountId(7), "alice"));
        assert_eq!((new.account.ledger, new.account.code), (LedgerNumber(978), 1));
        assert_eq!(new.account.flags, AccountFlags::HISTORY);
        assert_eq!(new.bounds, Bounds { minimum: -50_000, ..Bounds::NONE });
        let new = read_account(r#"{"id":7,"ledger":978,"minimum":-500,"maximum":"7"}"#).unwrap();
        assert_eq!(new.bounds, Bounds { minimum: -500, maximum: 7 });
    }

    #[test]
    fn a_transfer_is_read() {
        for (rest, amount) in [
            (r#""amount":"10.50 EUR""#, 1050),
            (r#""amount":"10 EUR""#, 1000),
            (r#""amount":"10 EUR","asset":"EUR""#, 1000),
            (r#""amount":"1.50","asset":"EUR""#, 150),
            (r#""amount":"150","asset":"EUR""#, 150),
            (r#""amount":150,"ledger":978"#, 150),
        ] {
            let transfer = read_payment(rest).unwrap();
            assert_eq!(transfer.amount, amount, "{rest}");
            assert_eq!((transfer.debit_account_id, transfer.ledger), (AccountId(1), LedgerNumber(978)));
        }
        let bare = r#"{"id":"5","from":"alice","to":"2","amount":"10","asset":"EUR"}"#;
        assert_eq!(read_transfer_as(bare, Notation::Major).unwrap().amount, 1000);
        let ledger = r#"{"id":"5","from":"alice","to":"2","amount":"10","ledger":978}"#;
        assert_eq!(read_transfer_as(ledger, Notation::Major).unwrap().amount, 10, "ledgers are for programs");
    }

    #[test]
    fn a_post_needs_an_amount() {
        let read = |rest: &str| {
            read_transfer_as(&format!(r#"{{"id":"5","pending_id":"4",{rest}}}"#), Notation::Minor)
        };
        assert_eq!(read(r#""flags":"post_pending_transfer","amount":"all""#).unwrap().amount, u128::MAX);
        assert_eq!(read(r#""flags":"post_pending_transfer","amount":"1 EUR""#).unwrap().amount, 100);
        assert_eq!(read(r#""flags":"void_pending_transfer""#).unwrap().amount, 0);
        for rest in [r#""amount":"""#, r#""amount":null"#, r#""code":0"#] {
            let error = read(&format!(r#""flags":"post_pending_transfer",{rest}"#)).unwrap_err();
            assert!(error.contains("all for everything"), "{rest}: {error}");
        }
        assert!(
            read(r#""flags":"post_pending_transfer","amount":"1""#).unwrap_err().contains("asset is missing")
        );
        assert!(read(r#""amount":"all""#).is_err(), "all is for posts only");
    }

    #[test]
    fn ambiguous_amounts_are_refused() {
        for amount in [
            "3.000 EUR",
            "3.0000 EUR",
            "+5 EUR",
            "-5 EUR",
            "1 000 EUR",
            "1,000 EUR",
            "1,50 EUR",
            "1'000 EUR",
            "1e3 EUR",
            "5. EUR",
            "EUR",
            "EUR 5",
            "5EUR",
            "5 XYZ",
            "0x5 EUR",
            "none EUR",
            "all EUR",
            "NaN EUR",
            "5 EUR EUR",
            "",
        ] {
            let error = read_payment(&format!(r#""amount":"{amount}""#)).unwrap_err();
            assert!(error.contains("amount"), "{amount:?}: {error}");
        }
        for amount in ["+5", "-5", "5.", "5.000", "1 000", "1,000", "1e3", "all", "none", "0x5", "5.0.0"] {
            for column in [r#""asset":"EUR""#, r#""ledger":"978""#] {
                let error = read_payment(&format!(r#""amount":"{amount}",{column}"#)).unwrap_err();
                assert!(error.contains("amount"), "{amount:?} {column}: {error}");
            }
        }
        assert!(read_payment(r#""amount":"10.50","ledger":978"#).unwrap_err().contains("minor units"));
        assert!(read_payment(r#""amount":"1","ledger":978,"asset":"EUR""#).unwrap_err().contains("both"));
        assert!(read_payment(r#""amount":"1050""#).unwrap_err().contains("asset is missing"));
    }

    #[test]
    fn ambiguous_bounds_are_refused() {
        for bound in [
            "none EUR",
            "None",
            "none none",
            "+5",
            "--5",
            "-+5",
            "5.000",
            "5.",
            "1,000",
            "- 5",
            "-",
            "5 XYZ",
            "-5.000 EUR",
            "170141183460469231731687303715884105728",
        ] {
            for name in ["minimum", "maximum"] {
                let error =
                    read_account(&format!(r#"{{"id":7,"asset":"EUR","{name}":"{bound}"}}"#)).unwrap_err();
                assert!(error.contains(name), "{bound:?}: {error}");
            }
        }
    }

    #[test]
    fn unknown_fields_and_values_are_errors() {
        assert!(read_account(r#"{"id":"7","asset":"EUR","colour":"red"}"#).unwrap_err().contains("colour"));
        assert!(read_account(r#"{"id":"7","asset":"EUR","colour":null}"#).unwrap_err().contains("colour"));
        assert!(read_payment(r#""amount":"1 EUR","code":"65536""#).unwrap_err().contains("0 to 65535"));
        assert!(read_payment(r#""amount":"1 EUR","flags":"hidden""#).unwrap_err().contains("flags"));
        let unknown = r#"{"id":"5","from":"carol","to":"2","amount":"1 EUR"}"#;
        assert!(
            read_transfer_as(unknown, Notation::Minor).unwrap_err().contains("from: there is no account")
        );
    }
}
