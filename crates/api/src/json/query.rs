//! The parameters of lists, such as `?ledger=978&limit=20`, and the filters that they select.
//!
//! Lists are read in pages: [`Page`](super::Page) has the cursor of the next page. A cursor contains the
//! timestamp (or position) at which the next page starts, and the fingerprint of all parameters except the
//! limit.

use bezant_codec::{account_filter_to_bytes, query_filter_to_bytes};
use bezant_types::{
    AccountFilter, AccountFilterFlags, AccountId, HoldFilter, HoldPlace, LedgerNumber, Nanos, QueryFilter,
    Transfer,
};
use percent_encoding::percent_decode_str;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use utoipa::{IntoParams, ToSchema};

use super::moment::Moment;
use super::number::{Amount, Text64};
use crate::cursor::{self, CursorError, Fingerprint};
use crate::error::{ErrorCode, Failure, Violation};
use crate::token::EventsFrom;

/// Rows of a page where the request sets no limit.
const LIMIT_DEFAULT: u32 = 100;
/// The most rows of a page: about 1 MiB of JSON.
pub(super) const LIMIT_MAX: u32 = 1000;

/// The side on which an account's transfers have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Transfers that debit it and transfers that credit it.
    #[default]
    Both,
    /// Transfers that debit it.
    Debits,
    /// Transfers that credit it.
    Credits,
}

/// A number that no record has as 0: 0 in a filter would mean any, and is no number to ask for.
fn number<'de, Number, Source>(source: Source) -> Result<Number, Source::Error>
where
    Number: Deserialize<'de> + Default + PartialEq,
    Source: Deserializer<'de>,
{
    let number = Number::deserialize(source)?;
    if number == Number::default() {
        return Err(Source::Error::custom("expected a number from 1 on; left out, it filters nothing"));
    }
    Ok(number)
}

/// The same, where it may be missing.
fn some_number<'de, Source: Deserializer<'de>>(source: Source) -> Result<Option<u32>, Source::Error> {
    number(source).map(Some)
}

/// Where change events begin.
fn events_from<'de, Source: Deserializer<'de>>(source: Source) -> Result<Option<EventsFrom>, Source::Error> {
    String::deserialize(source)?.parse().map(Some).map_err(Source::Error::custom)
}

/// Parameters of `GET /v1/accounts`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct AccountsQuery {
    /// Only rows of this ledger, from 1 on.
    #[serde(deserialize_with = "some_number")]
    #[param(minimum = 1)]
    pub ledger: Option<u32>,
    /// Only rows of this asset; instead of `ledger`.
    pub asset: Option<String>,
    /// Only rows of this category, 1 to 65535.
    #[serde(deserialize_with = "number")]
    #[param(minimum = 1)]
    pub code: u16,
    /// Only rows with this key; 0 = any.
    pub user_data_128: Amount,
    /// Only rows with this key; 0 = any.
    pub user_data_64: Text64,
    /// Only rows with this key; 0 = any.
    pub user_data_32: u32,
    /// Only rows from this time on, inclusive; nanoseconds since the Unix epoch.
    pub timestamp_min: Text64,
    /// Only rows up to this time, inclusive; nanoseconds since the Unix epoch.
    pub timestamp_max: Text64,
    /// From this moment on: a date (its midnight in UTC) or a time with an offset,
    /// `2026-11-01T09:30:00+01:00`.
    pub since: Option<Moment>,
    /// Before this moment, exclusive; in the form of `since`.
    pub until: Option<Moment>,
    /// Newest first.
    pub reversed: bool,
    /// Rows of a page, 1 to 1000; the default is 100.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Parameters of `GET /v1/transfers`: the same as those of accounts.
pub type TransfersQuery = AccountsQuery;

/// Parameters of the lists of one account's transfers, balances and history.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryQuery {
    /// `debits`, `credits` or `both`.
    pub side: Side,
    /// Only rows of this category, 1 to 65535.
    #[serde(deserialize_with = "number")]
    #[param(minimum = 1)]
    pub code: u16,
    /// Only rows with this key; 0 = any.
    pub user_data_128: Amount,
    /// Only rows with this key; 0 = any.
    pub user_data_64: Text64,
    /// Only rows with this key; 0 = any.
    pub user_data_32: u32,
    /// Only rows from this time on, inclusive; nanoseconds since the Unix epoch.
    pub timestamp_min: Text64,
    /// Only rows up to this time, inclusive; nanoseconds since the Unix epoch.
    pub timestamp_max: Text64,
    /// From this moment on: a date (its midnight in UTC) or a time with an offset,
    /// `2026-11-01T09:30:00+01:00`.
    pub since: Option<Moment>,
    /// Before this moment, exclusive; in the form of `since`.
    pub until: Option<Moment>,
    /// Newest first.
    pub reversed: bool,
    /// Rows of a page, 1 to 1000; the default is 100.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Parameters of the lists of open holds.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct HoldsQuery {
    /// Rows of a page, 1 to 1000; the default is 100.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Parameters of `GET /v1/events`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct EventsQuery {
    /// Where the answer begins: the `position` of an event or the `next` of a page, `start` or `now`. Left
    /// out: a page begins at the start, a stream with the next new event.
    #[serde(deserialize_with = "events_from")]
    #[param(value_type = Option<String>)]
    pub from: Option<EventsFrom>,
    /// The first event at or after this moment, instead of `from`: a date (its midnight in UTC) or a time
    /// with an offset.
    pub since: Option<Moment>,
    /// Rows of a page, 1 to 1000; the default is 100.
    pub limit: Option<u32>,
}

/// Parses the parameters of a list.
pub fn parse_query<Query: DeserializeOwned>(text: &str) -> Result<Query, Failure> {
    if let Some(pair) = text.split('&').find(|pair| percent_decode_str(pair).decode_utf8().is_err()) {
        let detail = format!("{pair}: the bytes are not UTF-8, as every parameter is");
        return Err(Failure::new(ErrorCode::InvalidQuery, detail));
    }
    serde_urlencoded::from_str(text).map_err(|error| {
        // The parser does not report which parameter failed. Each parameter can be parsed alone, so this
        // finds the first one that fails.
        let wrong =
            text.split('&').find_map(|pair| Some((pair, serde_urlencoded::from_str::<Query>(pair).err()?)));
        let Some((pair, error)) = wrong else {
            return Failure::new(ErrorCode::InvalidQuery, format!("the query cannot be parsed: {error}"));
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

/// Rows of a page, checked against the limits.
fn limit(limit: Option<u32>) -> Result<u32, Failure> {
    match limit.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        limit => {
            let detail = format!("limit={limit} is not between 1 and {LIMIT_MAX}");
            Err(Failure::new(ErrorCode::InvalidQuery, detail))
        }
    }
}

/// A filter of one page, and what the cursors of its list depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paged<Filter> {
    /// The filter; it asks for one row more than the page has, to find out whether another page follows.
    pub filter: Filter,
    /// Rows of the page.
    pub limit: usize,
    /// True for the newest first.
    pub is_reversed: bool,
    fingerprint: Fingerprint,
}

impl<Filter> Paged<Filter> {
    /// Truncates the rows to a page; returns the cursor of the next page where there are more rows.
    pub fn page<Row>(&self, rows: &mut Vec<Row>, timestamp: impl Fn(&Row) -> Nanos) -> Option<String> {
        let has_more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let last = rows.last().filter(|_| has_more).map(timestamp)?;
        let next = if self.is_reversed { last.0.checked_sub(1)? } else { last.0.checked_add(1)? };
        Some(cursor::encode(self.fingerprint, next))
    }
}

impl AccountsQuery {
    /// The filter of one page of `list`; `ledger` is the ledger of the asset where the query names an asset.
    pub fn paged(&self, list: &str, ledger: LedgerNumber) -> Result<Paged<QueryFilter>, Failure> {
        let (timestamp_min, timestamp_max) =
            range((self.timestamp_min, self.timestamp_max), (self.since, self.until))?;
        let mut filter = QueryFilter {
            user_data_128: self.user_data_128.0,
            user_data_64: self.user_data_64.0,
            user_data_32: self.user_data_32,
            ledger,
            code: self.code,
            timestamp_min,
            timestamp_max,
            limit: 1,
            reversed: self.reversed,
        };
        check_range(self.timestamp_min, self.timestamp_max, filter.is_valid())?;
        let fingerprint = Fingerprint::of(list, &[&query_filter_to_bytes(&filter)]);
        let limit = limit(self.limit)?;
        filter.limit = limit + 1;
        let (min, max) = (&mut filter.timestamp_min, &mut filter.timestamp_max);
        resume_at_cursor(self.cursor.as_deref(), fingerprint, self.reversed, min, max)?;
        Ok(Paged { filter, limit: row_count(limit), is_reversed: self.reversed, fingerprint })
    }
}

impl HistoryQuery {
    /// The filter of one page of `list`.
    pub fn paged(&self, list: &str, account_id: AccountId) -> Result<Paged<AccountFilter>, Failure> {
        let (timestamp_min, timestamp_max) =
            range((self.timestamp_min, self.timestamp_max), (self.since, self.until))?;
        let mut filter = AccountFilter {
            account_id,
            user_data_128: self.user_data_128.0,
            user_data_64: self.user_data_64.0,
            user_data_32: self.user_data_32,
            code: self.code,
            timestamp_min,
            timestamp_max,
            limit: 1,
            flags: AccountFilterFlags {
                debits: self.side != Side::Credits,
                credits: self.side != Side::Debits,
                reversed: self.reversed,
            },
        };
        check_range(self.timestamp_min, self.timestamp_max, filter.is_valid())?;
        let fingerprint = Fingerprint::of(list, &[&account_filter_to_bytes(&filter)]);
        let limit = limit(self.limit)?;
        filter.limit = limit + 1;
        let (min, max) = (&mut filter.timestamp_min, &mut filter.timestamp_max);
        resume_at_cursor(self.cursor.as_deref(), fingerprint, self.reversed, min, max)?;
        Ok(Paged { filter, limit: row_count(limit), is_reversed: self.reversed, fingerprint })
    }
}

/// A filter of one page of open holds, and what the cursors of its list depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagedHolds {
    /// The filter; it asks for one row more than the page has, to find out whether another page follows.
    pub filter: HoldFilter,
    limit: usize,
    fingerprint: Fingerprint,
}

impl HoldsQuery {
    /// The filter of one page; account 0 = all accounts.
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
    /// Truncates the rows to a page; returns the cursor of the next page where there are more rows.
    pub fn page(&self, rows: &mut Vec<Transfer>) -> Option<String> {
        let has_more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let HoldPlace { expires_at, timestamp } = rows.last().filter(|_| has_more).map(HoldPlace::of)?;
        Some(cursor::encode_two(self.fingerprint, [expires_at.0, timestamp.0]))
    }
}

/// First and last timestamp, inclusive. Each may be given as a timestamp or as a moment, but not as both.
fn range(
    (min, max): (Text64, Text64),
    (since, until): (Option<Moment>, Option<Moment>),
) -> Result<(Nanos, Nanos), Failure> {
    let twice = |name: &str, other: &str| {
        let what = format!("send {name} or {other}, not both");
        let violations = vec![Violation::new(name, what.clone())];
        Failure { violations, ..Failure::new(ErrorCode::InvalidQuery, what) }
    };
    let min = match since {
        Some(_) if min.0 != 0 => return Err(twice("since", "timestamp_min")),
        Some(since) => since.0,
        None => Nanos(min.0),
    };
    let max = match until {
        Some(_) if max.0 != 0 => return Err(twice("until", "timestamp_max")),
        // A moment is never 0; a maximum of 0 would mean no maximum.
        Some(until) => Nanos(until.0.0 - 1),
        None => Nanos(max.0),
    };
    Ok((min, max))
}

impl EventsQuery {
    /// The moment that replaces a position; an error where both are given.
    pub fn since(&self) -> Result<Option<Nanos>, Failure> {
        if self.from.is_some() && self.since.is_some() {
            let what = "send from or since, not both";
            let violations = vec![Violation::new("since", what)];
            return Err(Failure { violations, ..Failure::new(ErrorCode::InvalidQuery, what) });
        }
        Ok(self.since.map(|since| since.0))
    }

    /// Rows of the page, checked against the limits.
    pub fn limit(&self) -> Result<u32, Failure> {
        limit(self.limit)
    }
}

fn row_count(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Describes what is wrong with a range of timestamps; `is_valid` is the filter's own check.
fn check_range(min: Text64, max: Text64, is_valid: bool) -> Result<(), Failure> {
    let refuse = |detail: String| Err(Failure::new(ErrorCode::InvalidQuery, detail));
    for (name, timestamp) in [("timestamp_min", min.0), ("timestamp_max", max.0)] {
        if timestamp == u64::MAX {
            return refuse(format!("{name} is 2^64 - 1, which is no timestamp: leave it out for no limit"));
        }
        if timestamp > Nanos::MAX.0 {
            return refuse(format!("{name} is above 2^63 - 1, the last moment that a timestamp can be"));
        }
        if let Some((unit, factor)) = other_unit(timestamp) {
            let nanos = timestamp.saturating_mul(factor);
            return refuse(format!(
                "{name}={timestamp} looks like {unit}: timestamps are nanoseconds since the Unix epoch, {nanos}"
            ));
        }
    }
    if max.0 != 0 && min > max {
        return refuse("timestamp_min is above timestamp_max: no timestamp is between them".to_owned());
    }
    if is_valid { Ok(()) } else { refuse("no timestamp is in that range".to_owned()) }
}

/// The unit that the client probably meant, and its nanoseconds: the unit in which the timestamp lies in the
/// years 2000 to 2100. In nanoseconds such a timestamp would be in the first weeks of 1970.
fn other_unit(timestamp: u64) -> Option<(&'static str, u64)> {
    const YEARS: std::ops::Range<u64> = 946_684_800..4_102_444_800;
    [("seconds", 1_000_000_000), ("milliseconds", 1_000_000), ("microseconds", 1_000)].into_iter().find(
        |(_, factor)| {
            let seconds = u128::from(timestamp) * u128::from(*factor) / 1_000_000_000;
            u64::try_from(seconds).is_ok_and(|seconds| YEARS.contains(&seconds))
        },
    )
}

/// Narrows the range of timestamps to the rows after the pages before.
fn resume_at_cursor(
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
    fn timestamps_out_of_range_are_named() {
        let query = |min, max| AccountsQuery {
            timestamp_min: Text64(min),
            timestamp_max: Text64(max),
            ..AccountsQuery::default()
        };
        for (query, field) in
            [(query(0, 1 << 63), "timestamp_max"), (query(u64::MAX - 1, 0), "timestamp_min")]
        {
            let failure = query.paged("accounts", LedgerNumber(0)).unwrap_err();
            assert!(
                failure.detail.starts_with(field) && failure.detail.contains("2^63 - 1"),
                "{}",
                failure.detail
            );
        }
        assert!(query(0, (1 << 63) - 1).paged("accounts", LedgerNumber(0)).is_ok());
    }

    #[test]
    fn parameters_are_parsed_strictly() {
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
    fn a_range_is_given_in_moments_or_in_timestamps() {
        let query: HistoryQuery =
            parse_query("since=2026-11-01&until=2026-11-01T01%3A00%3A00%2B01%3A00").unwrap();
        assert_eq!(query.paged("history", AccountId(1)).unwrap_err().code, ErrorCode::InvalidQuery, "empty");
        let query: HistoryQuery = parse_query("since=2026-11-01&until=2026-12-01").unwrap();
        let filter = query.paged("history", AccountId(1)).unwrap().filter;
        let (november, december) = (1_793_491_200_000_000_000, 1_796_083_200_000_000_000);
        assert_eq!((filter.timestamp_min, filter.timestamp_max), (Nanos(november), Nanos(december - 1)));
        let query: AccountsQuery = parse_query("since=2026-11-01&timestamp_min=1").unwrap();
        let failure = query.paged("accounts", LedgerNumber(0)).unwrap_err();
        assert_eq!(failure.violations, [Violation::new("since", "send since or timestamp_min, not both")]);
        let failure = parse_query::<AccountsQuery>("since=01.11.2026").unwrap_err();
        assert!(failure.detail.contains("2026-11-01T09:30:00Z"), "{}", failure.detail);
        assert!(parse_query::<EventsQuery>("since=1793491200").is_err(), "seconds are not nanoseconds");
        let query: EventsQuery = parse_query("since=2026-11-01&from=start").unwrap();
        assert!(query.since().is_err());
        let failure = parse_query::<EventsQuery>("limit=5&from=3").unwrap_err();
        assert_eq!((failure.code, &*failure.violations[0].field), (ErrorCode::InvalidQuery, "from"));
        assert!(failure.detail.ends_with("use the `position` of an event, or `start`"), "{}", failure.detail);
    }

    #[test]
    fn limits_and_ranges_are_checked() {
        let query = AccountsQuery { limit: Some(1001), ..AccountsQuery::default() };
        assert_eq!(query.paged("accounts", LedgerNumber(0)).unwrap_err().code, ErrorCode::InvalidQuery);
        let query =
            HistoryQuery { timestamp_min: Text64(2), timestamp_max: Text64(1), ..HistoryQuery::default() };
        assert_eq!(query.paged("history", AccountId(1)).unwrap_err().code, ErrorCode::InvalidQuery);
        let refused = |min, max| {
            let query = AccountsQuery {
                timestamp_min: Text64(min),
                timestamp_max: Text64(max),
                ..AccountsQuery::default()
            };
            query.paged("accounts", LedgerNumber(0)).unwrap_err().detail
        };
        assert!(refused(2, 1).contains("timestamp_min is above"));
        assert!(refused(0, u64::MAX).contains("timestamp_max is 2^64 - 1"));
        for (min, unit) in [
            (1_763_683_200, "seconds"),
            (1_763_683_200_000, "milliseconds"),
            (1_763_683_200_000_000, "microseconds"),
        ] {
            let detail = refused(min, 0);
            assert!(detail.contains(&format!("={min} looks like {unit}")), "{detail}");
            assert!(detail.ends_with("1763683200000000000"), "{detail}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_refused() {
        let failure = parse_query::<AccountsQuery>("limit=1&asset=%ff").unwrap_err();
        assert_eq!(failure.code, ErrorCode::InvalidQuery);
        assert!(failure.detail.starts_with("asset=%ff: the bytes are not UTF-8"), "{}", failure.detail);
        assert!(parse_query::<AccountsQuery>("asset=%E2%82%AC").is_ok());
    }
}
