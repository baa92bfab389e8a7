//! Bodies of POST, PUT and PATCH, read into drafts of events.

use std::fmt;
use std::marker::PhantomData;

use bezant_ledger::{ChangeBounds, ExtendedAccount, ExtendedTransfer};
use bezant_types::{
    Account, AccountFlags, AccountId, Asset, Bounds, Head, LedgerNumber, Nanos, Transfer, TransferFlags,
    TransferId, limits,
};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::cluster::ChangeClusterBody;
use super::number::{Amount, SignedAmount, Text64};
use crate::draft::{AccountDraft, AccountReference, TransferDraft};
use crate::error::{ErrorCode, Failure, Violation};
use crate::message::name_bytes;

/// An account to create. Every field but `ledger` (or `asset`) and `code` may be left out.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccountBody {
    /// Left out: derived from the Idempotency-Key, or made by the server.
    pub id: Option<Amount>,
    /// Unique name of at most 64 bytes, such as `users:alice:main`; not digits only.
    pub name: Option<String>,
    /// Which asset, by its ledger number; 978 = EUR.
    pub ledger: Option<u32>,
    /// Which asset, by its code; instead of `ledger`.
    pub asset: Option<String>,
    /// The client's category, 1 to 65535.
    #[schema(required = true, value_type = u16, minimum = 1)]
    pub code: Option<u16>,
    /// Names of flags: `linked`, `debits_must_not_exceed_credits`, `credits_must_not_exceed_debits`,
    /// `history`, `imported`, `closed`.
    pub flags: Vec<String>,
    /// The client's own key.
    pub user_data_128: Amount,
    /// The client's own key.
    pub user_data_64: Text64,
    /// The client's own key.
    pub user_data_32: u32,
    /// Least and greatest balance.
    #[serde(deserialize_with = "bounds_object")]
    pub bounds: Option<BoundsBody>,
    /// Nanoseconds since the Unix epoch; only of imported accounts.
    pub timestamp: Text64,
}

/// Least and greatest balance in minor units, both inclusive; left out or null = no limit, also where the account
/// had one: both are replaced. `PATCH` replaces what is named.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BoundsBody {
    /// Least balance; "-50000" allows an overdraft of 500.00 EUR.
    pub minimum: Option<SignedAmount>,
    /// Greatest balance.
    pub maximum: Option<SignedAmount>,
}

impl From<BoundsBody> for Bounds {
    fn from(body: BoundsBody) -> Self {
        Self {
            minimum: body.minimum.map_or(i128::MIN, |minimum| minimum.0),
            maximum: body.maximum.map_or(i128::MAX, |maximum| maximum.0),
        }
    }
}

/// What is to change of an account's bounds, in minor units, both inclusive. What is left out stays as it is.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BoundsChangeBody {
    /// Least balance; null = no limit.
    #[serde(deserialize_with = "named")]
    #[schema(value_type = Option<SignedAmount>)]
    pub minimum: Option<Option<SignedAmount>>,
    /// Greatest balance; null = no limit.
    #[serde(deserialize_with = "named")]
    #[schema(value_type = Option<SignedAmount>)]
    pub maximum: Option<Option<SignedAmount>>,
}

/// A field that is there, null or not; one that is not there is `None` by default.
#[expect(clippy::option_option, reason = "left out, null and a value are three things")]
fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<SignedAmount>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The name of an account that has none.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NameBody {
    /// At most 64 bytes of UTF-8; nothing that cannot be seen, no space at either end, not digits only, not `.` or `..`.
    pub name: String,
}

/// A transfer to create.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TransferBody {
    /// Left out: derived from the Idempotency-Key, or made by the server.
    pub id: Option<Amount>,
    /// Who pays: an id (digits) or a name.
    #[serde(alias = "debit_account_id")]
    pub debit_account: String,
    /// Who is paid: an id (digits) or a name.
    #[serde(alias = "credit_account_id")]
    pub credit_account: String,
    /// Minor units: "1050" is 10.50 EUR. May be left out on post (all of it) and void only.
    pub amount: Option<Amount>,
    /// The pending transfer that this one posts or voids.
    pub pending_id: Amount,
    /// Which asset, by its ledger number.
    pub ledger: Option<u32>,
    /// Which asset, by its code; instead of `ledger`.
    pub asset: Option<String>,
    /// The client's category, 1 to 65535. May be left out on post and void.
    pub code: Option<u16>,
    /// Names of flags: `linked`, `pending`, `post_pending_transfer`, `void_pending_transfer`,
    /// `balancing_debit`, `balancing_credit`, `closing_debit`, `closing_credit`, `imported`.
    pub flags: Vec<String>,
    /// Seconds until a pending transfer expires; 0 = never.
    pub timeout_seconds: u32,
    /// The client's own key.
    pub user_data_128: Amount,
    /// The client's own key.
    pub user_data_64: Text64,
    /// The client's own key.
    pub user_data_32: u32,
    /// The head of the debit account's spends that the spender has seen, 64 hexadecimal digits.
    pub prev_hash: Option<String>,
    /// Nanoseconds since the Unix epoch; only of imported transfers.
    pub timestamp: Text64,
}

/// What may be said when a pending transfer is posted or voided; all may be left out.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResolutionBody {
    /// Of the transfer that posts or voids. Left out: derived from the Idempotency-Key, or made by the server.
    pub id: Option<Amount>,
    /// Minor units to post, at most what is pending; left out = all of it.
    pub amount: Option<Amount>,
    /// The client's own key.
    pub user_data_128: Amount,
    /// The client's own key.
    pub user_data_64: Text64,
    /// The client's own key.
    pub user_data_32: u32,
}

/// An asset to register.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssetBody {
    /// The number in accounts and transfers; that of a currency (ISO 4217) only while no account has it.
    pub ledger: u32,
    /// 1 to 16 upper-case letters, digits, `_`, `-`, `.`, letter first.
    pub code: String,
    /// Digits behind the decimal point, 0 to 38.
    pub scale: u8,
}

/// One event, or many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<Event> {
    /// In the order of the body.
    pub events: Vec<Event>,
    /// True when the body was an array: the answer is one, too.
    pub is_array: bool,
}

/// Reads the body of `POST /v1/accounts`.
pub fn parse_accounts(body: &[u8]) -> Result<Batch<AccountDraft>, Failure> {
    parse_batch(body, account)
}

/// Reads the body of `POST /v1/transfers`.
pub fn parse_transfers(body: &[u8]) -> Result<Batch<TransferDraft>, Failure> {
    parse_batch(body, transfer)
}

/// Reads the body of `POST /v1/assets`.
pub fn parse_assets(body: &[u8]) -> Result<Batch<Asset>, Failure> {
    parse_batch(body, |body: AssetBody| {
        let code = body.code.parse().map_err(|error| Violation::new("code", format!("{error}")))?;
        Ok(Asset { ledger: LedgerNumber(body.ledger), code, scale: body.scale })
    })
}

/// Reads the body of `POST /v1/cluster`.
pub fn parse_cluster_change(body: &[u8]) -> Result<ChangeClusterBody, Failure> {
    parse::<Object<_>>(body).map(|body| body.0)
}

/// Reads the body of `PUT /v1/accounts/{account}/bounds`.
pub fn parse_bounds(body: &[u8]) -> Result<Bounds, Failure> {
    parse::<Object<BoundsBody>>(body).map(|body| Bounds::from(body.0))
}

/// Reads the body of `PATCH /v1/accounts/{account}/bounds`.
pub fn parse_bounds_change(body: &[u8], account_id: AccountId) -> Result<ChangeBounds, Failure> {
    let BoundsChangeBody { minimum, maximum } = parse::<Object<_>>(body)?.0;
    let bound = |bound: Option<SignedAmount>, none| bound.map_or(none, |bound| bound.0);
    Ok(ChangeBounds {
        account_id,
        minimum: minimum.map(|minimum| bound(minimum, i128::MIN)),
        maximum: maximum.map(|maximum| bound(maximum, i128::MAX)),
    })
}

/// Reads the body of `PUT /v1/accounts/{account}/name`.
pub fn parse_name(body: &[u8]) -> Result<[u8; limits::NAME_SIZE_MAX], Failure> {
    Ok(name_bytes(&parse::<Object<NameBody>>(body)?.0.name)?)
}

/// Reads the body of `POST /v1/transfers/{id}/post`; an empty one is `{}`.
pub fn parse_resolution(body: &[u8]) -> Result<ResolutionBody, Failure> {
    if body.is_empty() {
        return Ok(ResolutionBody::default());
    }
    parse::<Object<_>>(body).map(|body| body.0)
}

fn parse_batch<Body: DeserializeOwned, Event>(
    body: &[u8],
    read: impl Fn(Body) -> Result<Event, Violation>,
) -> Result<Batch<Event>, Failure> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'[') {
        return Ok(Batch { events: vec![read(parse::<Object<Body>>(body)?.0)?], is_array: false });
    }
    let bodies: Vec<Object<Body>> = parse(body)?;
    if bodies.is_empty() {
        return Err(Failure::new(ErrorCode::NoEvents, "the array is empty: send at least one object"));
    }
    if bodies.len() > limits::EVENTS_MAX {
        let detail = format!("{} objects are too many: send at most {}", bodies.len(), limits::EVENTS_MAX);
        return Err(Failure::new(ErrorCode::TooManyEvents, detail));
    }
    let events = bodies
        .into_iter()
        .enumerate()
        .map(|(at, body)| read(body.0).map_err(|violation| violation.within(format_args!("[{at}]"))))
        .collect::<Result<_, _>>()?;
    Ok(Batch { events, is_array: true })
}

/// A JSON object and nothing else. The derived reader would take an array, too, with the fields in the order in
/// which they happen to be declared: a slip of a bracket would become an account.
struct Object<Body>(Body);

impl<'de, Body: DeserializeOwned> Deserialize<'de> for Object<Body> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<Body>(PhantomData<Body>);

        impl<'de, Body: DeserializeOwned> Visitor<'de> for Fields<Body> {
            type Value = Object<Body>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<Map: MapAccess<'de>>(self, map: Map) -> Result<Self::Value, Map::Error> {
                Body::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Fields(PhantomData))
    }
}

fn bounds_object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BoundsBody>, D::Error> {
    Ok(Option::<Object<BoundsBody>>::deserialize(deserializer)?.map(|body| body.0))
}

/// The reader's words with the range of a number in place of its type in Rust.
fn with_ranges(detail: &str) -> String {
    let ranges = [("u8", u8::MAX.into()), ("u16", u16::MAX.into()), ("u32", u32::MAX)];
    ranges.iter().fold(detail.to_owned(), |detail, (kind, max)| {
        detail.replace(&format!("expected {kind}"), &format!("expected a whole number from 0 to {max}"))
    })
}

/// Reads JSON; an error names the place and the field.
fn parse<Body: DeserializeOwned>(body: &[u8]) -> Result<Body, Failure> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let detail = with_ranges(&error.into_inner().to_string());
        let is_place = path != ".";
        let violations =
            if is_place { vec![Violation::new(path.clone(), detail.clone())] } else { Vec::new() };
        let detail = if is_place { format!("{path}: {detail}") } else { detail };
        Failure { violations, ..Failure::new(ErrorCode::InvalidJson, detail) }
    })?;
    reader.end().map_err(|error| Failure::new(ErrorCode::InvalidJson, error.to_string()))?;
    Ok(value)
}

fn account(body: AccountBody) -> Result<AccountDraft, Violation> {
    let account = Account {
        id: AccountId(body.id.map_or(0, |id| id.0)),
        user_data_128: body.user_data_128.0,
        user_data_64: body.user_data_64.0,
        user_data_32: body.user_data_32,
        ledger: ledger(body.ledger, body.asset.as_ref(), true)?,
        code: code(body.code, true)?,
        flags: flags(&body.flags, AccountFlags::from_name, AccountFlags::union, AccountFlags::NAMES)?,
        timestamp: Nanos(body.timestamp.0),
        ..Account::default()
    };
    let event = ExtendedAccount {
        account,
        bounds: body.bounds.map_or(Bounds::NONE, Bounds::from),
        name: name_bytes(body.name.as_deref().unwrap_or(""))?,
    };
    Ok(AccountDraft { event, asset: body.asset, has_id: body.id.is_some() })
}

fn transfer(body: TransferBody) -> Result<TransferDraft, Violation> {
    let flags = flags(&body.flags, TransferFlags::from_name, TransferFlags::union, TransferFlags::NAMES)?;
    // A post or void takes over what it leaves out.
    let is_whole = !flags.intersects(TransferFlags::POST_PENDING.union(TransferFlags::VOID_PENDING));
    if is_whole {
        account_is_given("debit_account", &body.debit_account)?;
        account_is_given("credit_account", &body.credit_account)?;
    }
    let transfer = Transfer {
        id: TransferId(body.id.map_or(0, |id| id.0)),
        amount: amount(body.amount, flags)?,
        pending_id: TransferId(body.pending_id.0),
        user_data_128: body.user_data_128.0,
        user_data_64: body.user_data_64.0,
        user_data_32: body.user_data_32,
        timeout_seconds: body.timeout_seconds,
        ledger: ledger(body.ledger, body.asset.as_ref(), is_whole)?,
        code: code(body.code, is_whole)?,
        flags,
        timestamp: Nanos(body.timestamp.0),
        ..Transfer::default()
    };
    let prev_hash = match body.prev_hash.as_deref() {
        None | Some("") => Head::NONE,
        Some(text) => Head::from_hex(text).ok_or_else(|| {
            Violation::new("prev_hash", "is 64 hexadecimal digits, or left out to take any head")
        })?,
    };
    Ok(TransferDraft {
        event: ExtendedTransfer { transfer, prev_hash },
        debit_account: account_named("debit_account", &body.debit_account)?,
        credit_account: account_named("credit_account", &body.credit_account)?,
        asset: body.asset,
        has_id: body.id.is_some(),
    })
}

/// What an amount that is left out means: a slip, but where a pending transfer says how much it is.
fn amount(amount: Option<Amount>, flags: TransferFlags) -> Result<u128, Violation> {
    match amount {
        Some(amount) => Ok(amount.0),
        None if flags.contains(TransferFlags::POST_PENDING) => Ok(u128::MAX),
        None if flags.contains(TransferFlags::VOID_PENDING) => Ok(0),
        None => Err(Violation::new("amount", "is missing: send minor units as a string, such as \"1050\"")),
    }
}

fn account_named(field: &str, text: &str) -> Result<AccountReference, Violation> {
    AccountReference::from_text(text)
        .ok_or_else(|| Violation::new(field, "the id does not fit in 128 bits: it is at most 2^128 - 2"))
}

fn account_is_given(field: &str, text: &str) -> Result<(), Violation> {
    if text.is_empty() { Err(Violation::new(field, "is missing: send an id or a name")) } else { Ok(()) }
}

/// `is_needed`: left out it is missing, and not 0.
fn ledger(ledger: Option<u32>, asset: Option<&String>, is_needed: bool) -> Result<LedgerNumber, Violation> {
    match (ledger, asset) {
        (Some(_), Some(_)) => Err(Violation::new("asset", "stands in place of ledger: send one of them")),
        (None, None) if is_needed => {
            Err(Violation::new("asset", "is missing: send an asset, such as \"EUR\", or a ledger number"))
        }
        (ledger, _) => Ok(LedgerNumber(ledger.unwrap_or(0))),
    }
}

fn code(code: Option<u16>, is_needed: bool) -> Result<u16, Violation> {
    match code {
        None if is_needed => {
            Err(Violation::new("code", "is missing: send a category of your own, 1 to 65535"))
        }
        code => Ok(code.unwrap_or(0)),
    }
}

fn flags<Flags: Copy + Default>(
    names: &[String],
    from_name: impl Fn(&str) -> Option<Flags>,
    union: impl Fn(Flags, Flags) -> Flags,
    known: &[(Flags, &str)],
) -> Result<Flags, Violation> {
    names.iter().try_fold(Flags::default(), |sum, name| {
        from_name(name).map(|flag| union(sum, flag)).ok_or_else(|| {
            let names: Vec<_> = known.iter().map(|(_, name)| *name).collect();
            Violation::new("flags", format!("there is no flag '{name}': use {}", names.join(", ")))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_bounds_is_what_it_names() {
        let change = |body: &[u8]| {
            let change = parse_bounds_change(body, AccountId(7)).unwrap();
            (change.minimum, change.maximum)
        };
        assert_eq!(change(br#"{"maximum":"5"}"#), (None, Some(5)));
        assert_eq!(change(br#"{"minimum":null}"#), (Some(i128::MIN), None));
        assert_eq!(change(br#"{"minimum":"-1","maximum":null}"#), (Some(-1), Some(i128::MAX)));
        assert_eq!(change(b"{}"), (None, None));
        for wrong in [&b"[]"[..], br#"{"min":"5"}"#, br#"{"minimum":5}"#] {
            assert!(parse_bounds_change(wrong, AccountId(7)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn one_object_and_an_array_of_them_are_read() {
        let body = br#"{"id":"7","name":"alice","asset":"EUR","code":1,"flags":["history"],"bounds":{"minimum":"-5"}}"#;
        let batch = parse_accounts(body).unwrap();
        assert!(!batch.is_array);
        let draft = &batch.events[0];
        assert_eq!(draft.event.account.id, AccountId(7));
        assert_eq!(draft.event.account.flags, AccountFlags::HISTORY);
        assert_eq!(draft.event.bounds, Bounds { minimum: -5, maximum: i128::MAX });
        assert_eq!(draft.asset.as_deref(), Some("EUR"));
        let body = br#" [{"debit_account":"1","credit_account":"bob","amount":"10","ledger":978,"code":1}] "#;
        let batch = parse_transfers(body).unwrap();
        assert!(batch.is_array && !batch.events[0].has_id);
        assert_eq!(batch.events[0].credit_account, AccountReference::Name("bob".to_owned()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases: &[(&[u8], &str)] = &[
            (br#"{"colour":1}"#, "unknown field `colour`"),
            (br#"{"amount":1050}"#, "amount: invalid type: integer `1050`, expected a string of digits"),
            (br#"[{"amount":"1"},{"amount":"x"}]"#, "[1].amount"),
            (
                br#"{"code":70000}"#,
                "code: invalid value: integer `70000`, expected a whole number from 0 to 65535",
            ),
            (br#"{"debit_account":"1","credit_account":"2"}"#, "amount: is missing"),
            (br#"{"credit_account":"2","amount":"1"}"#, "debit_account: is missing"),
            (br#"{"debit_account":"1","credit_account":"2","amount":"1","code":1}"#, "asset: is missing"),
            (br#"{"debit_account":"1","credit_account":"2","amount":"1","ledger":1}"#, "code: is missing"),
            (br#"[{"flags":["pendin"]}]"#, "[0].flags: there is no flag 'pendin'"),
            (br#"{"debit_account":"1","credit_account":"2","amount":"1","ledger":1,"asset":"EUR"}"#, "asset: stands in place of ledger"),
            (br#"{"debit_account":"1","credit_account":"2","amount":"1","ledger":1,"code":1,"prev_hash":"00"}"#, "prev_hash: is 64 hexadecimal digits"),
            (
                br#"{"amount":"1","ledger":1,"code":1,"credit_account":"2","debit_account":"999999999999999999999999999999999999999"}"#,
                "debit_account: ",
            ),
            (b"{} {}", "trailing characters"),
            (b"", "EOF"),
            (b"[]", "the array is empty"),
        ];
        for (body, expected) in cases {
            let detail = parse_transfers(body).unwrap_err().detail;
            assert!(detail.contains(expected), "{detail}");
        }
        let many = format!("[{}{{}}]", "{},".repeat(limits::EVENTS_MAX));
        assert_eq!(parse_transfers(many.as_bytes()).unwrap_err().code, ErrorCode::TooManyEvents);
    }

    #[test]
    fn an_object_is_not_an_array_of_its_values() {
        for body in [r#"[["7",null,978,null,1]]"#, r#"[{"bounds":["1","2"]}]"#, "[null]"] {
            let error = parse_accounts(body.as_bytes()).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidJson, "{body}");
            assert!(error.detail.contains("expected an object"), "{}", error.detail);
        }
        assert!(parse_transfers(br#"[["7","1","2","5"]]"#).is_err());
        assert!(parse_assets(br#"[[7,"GOLD",2]]"#).is_err());
        assert!(parse_bounds(br#"["1","2"]"#).is_err());
        assert!(parse_name(br#"["alice"]"#).is_err());
        assert!(parse_resolution(br#"["1"]"#).is_err());
        let batch = parse_accounts(br#"{"bounds":null,"ledger":1,"code":1}"#).unwrap();
        assert_eq!(batch.events[0].event.bounds, Bounds::NONE);
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_crash() {
        let body = "[".repeat(100_000);
        assert_eq!(parse_accounts(body.as_bytes()).unwrap_err().code, ErrorCode::InvalidJson);
    }

    #[test]
    fn an_empty_resolution_means_all_of_it() {
        assert!(parse_resolution(b"").unwrap().amount.is_none());
        assert_eq!(parse_resolution(br#"{"amount":"5"}"#).unwrap().amount, Some(Amount(5)));
    }
}
