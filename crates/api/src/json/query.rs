//! Parameters of lists, `?ledger=978&limit=20`, and the filters that they mean.
//!
//! Lists are read in pages: [`Page`](super::Page) carries the cursor of the next one. A cursor holds the
//! timestamp (or position) at which it goes on, and the fingerprint of all parameters but the limit.

use bezant_codec::{account_filter_to_bytes, query_filter_to_bytes};
use bezant_types::{
    AccountFilter, AccountFilterFlags, AccountId, HoldFilter, HoldPlace, LedgerNumber, Nanos, QueryFilter,
    Transfer,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::{IntoParams, ToSchema};

use super::number::{Amount, Text64};
use crate::cursor::{self, CursorError, Fingerprint};
use crate::error::{ErrorCode, Failure, Violation};
use crate::message::timestamps;

/// Rows of a page unless told.
const LIMIT_DEFAULT: u32 = 100;
/// Rows of a page at the most: about 1 MiB of JSON.
pub(super) const LIMIT_MAX: u32 = 1000;

/// Which side of an account's transfers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Those that debit it and those that credit it.
    #[default]
    Both,
    /// Those that debit it.
    Debits,
    /// Those that credit it.
    Credits,
}

/// Parameters of `GET /v1/accounts`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct AccountsQuery {
    /// Only of this ledger.
    pub ledger: Option<u32>,
    /// Only of this asset; instead of `ledger`.
    pub asset: Option<String>,
    /// Only of this category.
    pub code: u16,
    /// Only with this key.
    pub user_data_128: Amount,
    /// Only with this key.
    pub user_data_64: Text64,
    /// Only with this key.
    pub user_data_32: u32,
    /// Not older; nanoseconds since the Unix epoch, inclusive.
    pub timestamp_min: Text64,
    /// Not newer; nanoseconds since the Unix epoch, inclusive.
    pub timestamp_max: Text64,
    /// Newest first.
    pub reversed: bool,
    /// Rows of a page, 1 to 1000; 100 unless told.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Parameters of `GET /v1/transfers`: the same as of accounts.
pub type TransfersQuery = AccountsQuery;

/// Parameters of the lists of one account's transfers, balances and history.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryQuery {
    /// `debits`, `credits` or `both`.
    pub side: Side,
    /// Only of this category.
    pub code: u16,
    /// Only with this key.
    pub user_data_128: Amount,
    /// Only with this key.
    pub user_data_64: Text64,
    /// Only with this key.
    pub user_data_32: u32,
    /// Not older; nanoseconds since the Unix epoch, inclusive.
    pub timestamp_min: Text64,
    /// Not newer; nanoseconds since the Unix epoch, inclusive.
    pub timestamp_max: Text64,
    /// Newest first.
    pub reversed: bool,
    /// Rows of a page, 1 to 1000; 100 unless told.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Parameters of the lists of open holds.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct HoldsQuery {
    /// Rows of a page, 1 to 1000; 100 unless told.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Parameters of `GET /v1/events`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct EventsQuery {
    /// The first position wanted. Left out: a page begins at 0, a stream with what is new.
    pub from: Option<u64>,
    /// Rows of a page, 1 to 1000; 100 unless told.
    pub limit: Option<u32>,
}

/// Reads the parameters of a list.
pub fn parse_query<Query: DeserializeOwned>(text: &str) -> Result<Query, Failure> {
    serde_urlencoded::from_str(text).map_err(|error| {
        // The reader does not say where it was: every parameter may stand alone, so that one is found which fails.
        let wrong =
            text.split('&').find_map(|pair| Some((pair, serde_urlencoded::from_str::<Query>(pair).err()?)));
        let Some((pair, error)) = wrong else {
            return Failure::new(ErrorCode::InvalidQuery, format!("the query cannot be read: {error}"));
        };
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        let what = match error.to_string() {
            what if what.contains("invalid digit") || what.contains("empty string") => {
                "expected a whole number, in digits only".to_owned()
            }
            what if what.contains("number too large") => "the number is too large".to_owned(),
            what if what.contains("`true` or `false`") => "expected true or false".to_owned(),
            what => what,
        };
        let violations = vec![Violation::new(name, what.clone())];
        Failure { violations, ..Failure::new(ErrorCode::InvalidQuery, format!("{pair}: {what}")) }
    })
}

/// Rows of the page that was asked for.
fn limit(limit: Option<u32>) -> Result<u32, Failure> {
    match limit.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        limit => {
            let detail = format!("limit={limit} is not between 1 and {LIMIT_MAX}");
            Err(Failure::new(ErrorCode::InvalidQuery, detail))
        }
    }
}

/// A filter for one page, and what its cursors are bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paged<Filter> {
    /// Asks for one row more than the page has, to know whether another page follows.
    pub filter: Filter,
    /// Rows of the page.
    pub limit: usize,
    /// True for the newest first.
    pub is_reversed: bool,
    fingerprint: Fingerprint,
}

impl<Filter> Paged<Filter> {
    /// Cuts the rows to a page; the cursor of the next one where there is more.
    pub fn page<Row>(&self, rows: &mut Vec<Row>, timestamp: impl Fn(&Row) -> Nanos) -> Option<String> {
        let has_more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let last = rows.last().filter(|_| has_more).map(timestamp)?;
        let next = if self.is_reversed { last.0.checked_sub(1)? } else { last.0.checked_add(1)? };
        Some(cursor::encode(self.fingerprint, next))
    }
}

impl AccountsQuery {
    /// The filter of one page of `list`; `ledger` is that of the asset, where one is named.
    pub fn paged(&self, list: &str, ledger: LedgerNumber) -> Result<Paged<QueryFilter>, Failure> {
        let mut filter = QueryFilter {
            user_data_128: self.user_data_128.0,
            user_data_64: self.user_data_64.0,
            user_data_32: self.user_data_32,
            ledger,
            code: self.code,
            timestamp_min: Nanos(self.timestamp_min.0),
            timestamp_max: Nanos(self.timestamp_max.0),
            limit: 1,
            reversed: self.reversed,
        };
        check_range(filter.is_valid(), filter.timestamp_min, filter.timestamp_max)?;
        let fingerprint = Fingerprint::of(list, &[&query_filter_to_bytes(&filter)]);
        let limit = limit(self.limit)?;
        filter.limit = limit + 1;
        let (min, max) = (&mut filter.timestamp_min, &mut filter.timestamp_max);
        go_on(self.cursor.as_deref(), fingerprint, self.reversed, min, max)?;
        Ok(Paged { filter, limit: row_count(limit), is_reversed: self.reversed, fingerprint })
    }
}

impl HistoryQuery {
    /// The filter of one page of `list`.
    pub fn paged(&self, list: &str, account_id: AccountId) -> Result<Paged<AccountFilter>, Failure> {
        let mut filter = AccountFilter {
            account_id,
            user_data_128: self.user_data_128.0,
            user_data_64: self.user_data_64.0,
            user_data_32: self.user_data_32,
            code: self.code,
            timestamp_min: Nanos(self.timestamp_min.0),
            timestamp_max: Nanos(self.timestamp_max.0),
            limit: 1,
            flags: AccountFilterFlags {
                debits: self.side != Side::Credits,
                credits: self.side != Side::Debits,
                reversed: self.reversed,
            },
        };
        check_range(filter.is_valid(), filter.timestamp_min, filter.timestamp_max)?;
        let fingerprint = Fingerprint::of(list, &[&account_filter_to_bytes(&filter)]);
        let limit = limit(self.limit)?;
        filter.limit = limit + 1;
        let (min, max) = (&mut filter.timestamp_min, &mut filter.timestamp_max);
        go_on(self.cursor.as_deref(), fingerprint, self.reversed, min, max)?;
        Ok(Paged { filter, limit: row_count(limit), is_reversed: self.reversed, fingerprint })
    }
}

/// A filter for one page of open holds, and what its cursors are bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagedHolds {
    /// Asks for one row more than the page has, to know whether another page follows.
    pub filter: HoldFilter,
    limit: usize,
    fingerprint: Fingerprint,
}

impl HoldsQuery {
    /// The filter of one page; account 0 = everyone's.
    pub fn paged(&self, account_id: AccountId) -> Result<PagedHolds, Failure> {
        let fingerprint = Fingerprint::of("holds", &[&account_id.0.to_le_bytes()]);
        let limit = limit(self.limit)?;
        let after = match self.cursor.as_deref() {
            None => HoldPlace::default(),
            Some(text) => {
                let [expires_at, timestamp] =
                    cursor::decode_two(text, fingerprint).map_err(cursor_failure)?;
                HoldPlace { expires_at: Nanos(expires_at), timestamp: Nanos(timestamp) }
            }
        };
        let filter = HoldFilter { account_id, after, limit: limit + 1 };
        Ok(PagedHolds { filter, limit: row_count(limit), fingerprint })
    }
}

impl PagedHolds {
    /// Cuts the rows to a page; the cursor of the next one where there is more.
    pub fn page(&self, rows: &mut Vec<Transfer>) -> Option<String> {
        let has_more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let HoldPlace { expires_at, timestamp } = rows.last().filter(|_| has_more).map(HoldPlace::of)?;
        Some(cursor::encode_two(self.fingerprint, [expires_at.0, timestamp.0]))
    }
}

impl EventsQuery {
    /// Rows of the page that was asked for.
    pub fn limit(&self) -> Result<u32, Failure> {
        limit(self.limit)
    }
}

fn row_count(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

fn check_range(is_valid: bool, min: Nanos, max: Nanos) -> Result<(), Failure> {
    if is_valid {
        return Ok(());
    }
    let violation = timestamps(min, max);
    let detail = format!("{} {}", violation.field, violation.description);
    Err(Failure { violations: vec![violation], ..Failure::new(ErrorCode::InvalidQuery, detail) })
}

/// Narrows the range of timestamps to what the pages before did not show.
fn go_on(
    text: Option<&str>,
    query: Fingerprint,
    is_reversed: bool,
    min: &mut Nanos,
    max: &mut Nanos,
) -> Result<(), Failure> {
    let Some(text) = text else { return Ok(()) };
    let next = cursor::decode(text, query).map_err(cursor_failure)?;
    *(if is_reversed { max } else { min }) = Nanos(next);
    Ok(())
}

fn cursor_failure(error: CursorError) -> Failure {
    let code = match error {
        CursorError::AnotherQuery => ErrorCode::CursorOfAnotherQuery,
        CursorError::Damaged => ErrorCode::InvalidCursor,
    };
    Failure::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_holds_follow_each_other() {
        let mut query = HoldsQuery { limit: Some(1), ..HoldsQuery::default() };
        let paged = query.paged(AccountId(7)).unwrap();
        assert_eq!(paged.filter, HoldFilter { account_id: AccountId(7), limit: 2, ..HoldFilter::default() });
        let hold = |timestamp, timeout_seconds| Transfer {
            timestamp: Nanos(timestamp),
            timeout_seconds,
            ..Transfer::default()
        };
        for first in [hold(5, 1), hold(5, 0)] {
            let mut rows = vec![first, hold(3, 9)];
            query.cursor = paged.page(&mut rows);
            assert_eq!(rows, [first]);
            assert_eq!(query.paged(AccountId(7)).unwrap().filter.after, HoldPlace::of(&first));
        }
        assert_eq!(query.paged(AccountId(8)).unwrap_err().code, ErrorCode::CursorOfAnotherQuery);
        assert_eq!(paged.page(&mut vec![hold(5, 1)]), None);
    }

    #[test]
    fn moments_that_no_timestamp_can_be_are_named() {
        let query = |min, max| AccountsQuery {
            timestamp_min: Text64(min),
            timestamp_max: Text64(max),
            ..AccountsQuery::default()
        };
        for (query, field) in [(query(0, 1 << 63), "timestamp_max"), (query(u64::MAX, 0), "timestamp_min")] {
            let failure = query.paged("accounts", LedgerNumber(0)).unwrap_err();
            assert_eq!(failure.violations[0].field, field);
            assert!(failure.detail.contains("at most 2^63 - 1"), "{}", failure.detail);
        }
        assert!(query(0, (1 << 63) - 1).paged("accounts", LedgerNumber(0)).is_ok());
    }

    #[test]
    fn parameters_are_read_strictly() {
        let query: AccountsQuery =
            parse_query("asset=EUR&limit=5&reversed=true&user_data_64=18446744073709551615").unwrap();
        assert_eq!((query.asset.as_deref(), query.limit, query.reversed), (Some("EUR"), Some(5), true));
        assert_eq!(query.user_data_64, Text64(u64::MAX));
        for wrong in ["limt=5", "limit=-1", "reversed=yes", "user_data_64=1e3", "code=70000"] {
            let failure = parse_query::<AccountsQuery>(wrong).unwrap_err();
            assert_eq!(failure.code, ErrorCode::InvalidQuery, "{wrong}");
            let detail = parse_query::<AccountsQuery>(&format!("ledger=978&{wrong}")).unwrap_err().detail;
            assert!(detail.starts_with(&format!("{wrong}: ")), "{detail}");
        }
        let failure = parse_query::<AccountsQuery>("reversed=yes").unwrap_err();
        assert_eq!(failure.violations, [Violation::new("reversed", "expected true or false")]);
        let failure = parse_query::<AccountsQuery>("limit=1&limit=2").unwrap_err();
        assert!(failure.detail.contains("duplicate field `limit`"), "{}", failure.detail);
        let failure = parse_query::<HistoryQuery>("side=left").unwrap_err();
        assert!(failure.detail.contains("unknown variant `left`"), "{}", failure.detail);
    }

    #[test]
    fn pages_follow_each_other() {
        let mut query = AccountsQuery { limit: Some(2), ..AccountsQuery::default() };
        let paged = query.paged("transfers", LedgerNumber(978)).unwrap();
        assert_eq!(paged.filter.limit, 3);
        let mut rows = vec![Nanos(10), Nanos(20), Nanos(30)];
        query.cursor = paged.page(&mut rows, |row| *row);
        assert_eq!(rows, [Nanos(10), Nanos(20)]);
        let next = query.paged("transfers", LedgerNumber(978)).unwrap();
        assert_eq!(next.filter.timestamp_min, Nanos(21));
        let mut rows = vec![Nanos(30)];
        assert_eq!(next.page(&mut rows, |row| *row), None);
        let failure = query.paged("transfers", LedgerNumber(840)).unwrap_err();
        assert_eq!(failure.code, ErrorCode::CursorOfAnotherQuery);
        let failure = query.paged("accounts", LedgerNumber(978)).unwrap_err();
        assert_eq!(failure.code, ErrorCode::CursorOfAnotherQuery);
    }

    #[test]
    fn limits_and_ranges_are_checked() {
        let query = AccountsQuery { limit: Some(1001), ..AccountsQuery::default() };
        assert_eq!(query.paged("accounts", LedgerNumber(0)).unwrap_err().code, ErrorCode::InvalidQuery);
        let query =
            HistoryQuery { timestamp_min: Text64(2), timestamp_max: Text64(1), ..HistoryQuery::default() };
        assert_eq!(query.paged("history", AccountId(1)).unwrap_err().code, ErrorCode::InvalidQuery);
    }
}
