//! Shared by the commands that list: a range of time, a limit, and the format of ids, names and times in
//! tables.
//!
//! Rows come page by page. A list that ends at its limit reports on stderr that more rows exist. In tables an
//! account appears by its name where it has one, a long id is shortened to its last digits, and a time to its
//! second: `--wide` shows all of it. JSON is never shortened.

use std::collections::HashMap;

use bezant_client::pages::{PagedQuery, Pages};
use bezant_client::{AccountId, Nanos};
use clap::Args;
use serde::Serialize;

use crate::exit::Failure;
use crate::json::moment;
use crate::output::{self, Format};
use crate::session::Session;

/// Ids of at most this many digits are shown whole.
const ID_DIGITS_MAX: usize = 12;
/// The number of last digits of a long id that are shown.
const ID_DIGITS_SHOWN: usize = 8;
/// The most letters of a name that are shown.
const NAME_LETTERS_MAX: usize = 20;
/// The most accounts that one request looks up.
const LOOKUP_MAX: usize = 8_189;

/// A range of time.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct RangeArgs {
    /// Only from this moment on: 2026-11-01 (midnight UTC), 2026-11-01T09:30:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) since: Option<Nanos>,
    /// Only before this moment
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) until: Option<Nanos>,
}

impl RangeArgs {
    /// First and last timestamp, inclusive; 0 = no end. An error when nothing can lie between them.
    pub(crate) fn timestamps(self) -> Result<(Nanos, Nanos), Failure> {
        let (min, max) = (self.since.unwrap_or(Nanos(0)), self.until.map(|until| Nanos(until.0 - 1)));
        if max.is_some_and(|max| max < min) {
            return Err(Failure::Usage("--until is not after --since: nothing lies between them".to_owned()));
        }
        Ok((min, max.unwrap_or(Nanos(0))))
    }
}

/// Parses a moment on the command line.
pub(crate) fn parse_time(text: &str) -> Result<Nanos, String> {
    let time = bezant_api::parse_moment(text)?;
    if time.0 == 0 { Err("the ledger has no time 0 (1970-01-01T00:00:00Z)".to_owned()) } else { Ok(time) }
}

/// The number of rows, their order, and their width.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct LimitArgs {
    /// The most rows to list; 0 = all
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) limit: u64,
    /// Newest first
    #[arg(long)]
    pub(crate) reverse: bool,
    /// Show whole ids, names and times
    #[arg(long)]
    pub(crate) wide: bool,
}

/// The JSON note of a list that ended at its limit.
#[derive(Debug, Serialize)]
struct More {
    has_more: bool,
}

impl LimitArgs {
    /// The rows of a page: one more than the limit, to detect whether more exist; 0 = the server's own page
    /// size.
    pub(crate) fn page(self) -> u32 {
        if self.limit == 0 {
            0
        } else {
            u32::try_from(self.limit).ok().and_then(|n| n.checked_add(1)).unwrap_or(0)
        }
    }

    /// Calls `each` with every row, up to the limit.
    pub(crate) async fn each<Query: PagedQuery>(
        self,
        mut pages: Pages<Query>,
        mut each: impl FnMut(Query::Row) -> Result<(), Failure>,
    ) -> Result<End, Failure> {
        let mut left = if self.limit == 0 { u64::MAX } else { self.limit };
        while left > 0 {
            let Some(row) = pages.next().await? else { return Ok(End { more_than: None }) };
            each(row)?;
            left -= 1;
        }
        let has_more = pages.next().await?.is_some();
        Ok(End { more_than: has_more.then_some(self.limit) })
    }
}

/// The end of a list: complete, or at its limit.
#[derive(Clone, Copy, Debug)]
#[must_use = "call `report` after the rows, to report that more exist"]
pub(crate) struct End {
    /// The limit, if more rows exist; `None` = the list is complete.
    more_than: Option<u64>,
}

impl End {
    /// Reports on stderr if more rows exist than were shown.
    pub(crate) fn report(self, format: Format) -> Result<(), Failure> {
        match (self.more_than, format) {
            (None, _) => Ok(()),
            (Some(limit), Format::Table) => {
                output::note(&format!("more than {limit} exist: --limit 0 shows all"));
                Ok(())
            }
            (Some(_), Format::Json) => output::note_json(&More { has_more: true }),
        }
    }
}

/// Formats ids, names and times for the tables of one command.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    is_wide: bool,
    names: HashMap<AccountId, String>,
}

impl Shown {
    /// A formatter without names; `learn` looks them up.
    pub(crate) fn new(is_wide: bool) -> Self {
        Self { is_wide, names: HashMap::new() }
    }

    /// Looks up the names of the accounts that are not cached yet.
    pub(crate) async fn learn(
        &mut self,
        session: &Session,
        ids: impl IntoIterator<Item = AccountId>,
    ) -> Result<(), Failure> {
        let mut unknown: Vec<AccountId> = ids.into_iter().filter(|id| !self.names.contains_key(id)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        for some in unknown.chunks(LOOKUP_MAX) {
            self.names.extend(some.iter().map(|id| (*id, String::new())));
            let found = session.client.lookup_accounts(some).await?;
            self.names.extend(found.into_iter().map(|view| (view.account.id, view.name)));
        }
        Ok(())
    }

    /// An account by its name, else by its id.
    pub(crate) fn account(&self, id: AccountId) -> String {
        match self.names.get(&id).filter(|name| !name.is_empty()) {
            Some(name) => self.name(name),
            None => self.id(id.0),
        }
    }

    /// An account by its name and its id, or by its id alone.
    pub(crate) fn account_and_id(&self, id: AccountId) -> String {
        match self.names.get(&id).filter(|name| !name.is_empty()) {
            Some(name) => format!("{} ({id})", self.name(name)),
            None => id.to_string(),
        }
    }

    /// A name, shortened unless all is to be shown.
    pub(crate) fn name(&self, name: &str) -> String {
        if self.is_wide || name.chars().count() <= NAME_LETTERS_MAX {
            return name.to_owned();
        }
        name.chars().take(NAME_LETTERS_MAX - 1).chain(['…']).collect()
    }

    /// An id: a long one is drawn from the time, and differs in its last digits.
    pub(crate) fn id(&self, id: u128) -> String {
        let digits = id.to_string();
        if self.is_wide || digits.len() <= ID_DIGITS_MAX {
            return digits;
        }
        format!("…{}", &digits[digits.len() - ID_DIGITS_SHOWN..])
    }

    /// A time, to its second.
    pub(crate) fn time(&self, time: Nanos) -> String {
        let whole = moment(time);
        if self.is_wide {
            return whole;
        }
        whole
            .get(.."2026-01-31T12:00:00".len())
            .map_or_else(|| whole.clone(), |seconds| seconds.replace('T', " "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_excludes_its_end() {
        let range = |since, until| RangeArgs { since, until }.timestamps().ok();
        assert_eq!(range(None, None), Some((Nanos(0), Nanos(0))));
        assert_eq!(range(Some(Nanos(5)), Some(Nanos(9))), Some((Nanos(5), Nanos(8))));
        assert_eq!(range(Some(Nanos(5)), Some(Nanos(5))), None);
        assert!(parse_time("1970-01-01").is_err());
    }

    #[test]
    fn long_texts_are_shortened_unless_wide() {
        let (short, wide) = (Shown::new(false), Shown::new(true));
        let id = 2_170_294_520_487_723_393_699_621_115_624_408_762;
        assert_eq!(short.id(id), "…24408762");
        assert_eq!(wide.id(id), id.to_string());
        assert_eq!(short.id(123_456_789_012), "123456789012");
        assert_eq!(short.name("merchants:0123456789:main"), "merchants:012345678…");
        assert_eq!(short.time(Nanos(1_767_225_600_000_000_001)), "2026-01-01 00:00:00");
        assert_eq!(wide.time(Nanos(1_767_225_600_000_000_001)), "2026-01-01T00:00:00.000000001Z");
        assert_eq!(short.time(Nanos(0)), "-");
    }

    #[test]
    fn a_page_has_one_row_more_than_the_limit() {
        let page = |limit| LimitArgs { limit, reverse: false, wide: false }.page();
        assert_eq!((page(0), page(100), page(u64::MAX)), (0, 101, 0));
    }
}
