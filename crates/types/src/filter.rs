//! Filters of queries. TigerBeetle's binary protocol answers an invalid filter with an empty result; the
//! other protocols answer with an error. All of them call the filter's `is_valid`.

use crate::{AccountId, HoldPlace, LedgerNumber, MovementNumber, Nanos, Transfer, limits};

/// The flags of an [`AccountFilter`]: bit 0 debits, 1 credits, 2 reversed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AccountFilterFlags {
    /// Includes transfers that debit the account.
    pub debits: bool,
    /// Includes transfers that credit the account.
    pub credits: bool,
    /// Returns the newest first.
    pub reversed: bool,
}

/// Selects transfers or balances of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AccountFilter {
    /// The account that is debited or credited; not 0, not `u128::MAX`.
    pub account_id: AccountId,
    /// 0 = any.
    pub user_data_128: u128,
    /// 0 = any.
    pub user_data_64: u64,
    /// 0 = any.
    pub user_data_32: u32,
    /// 0 = any.
    pub code: u16,
    /// Inclusive; 0 = from the first.
    pub timestamp_min: Nanos,
    /// Inclusive; 0 = to the last.
    pub timestamp_max: Nanos,
    /// Maximum number of results; not 0, capped at [`limits::RESULTS_MAX`].
    pub limit: u32,
    /// Sides of the account, and the order of the results.
    pub flags: AccountFilterFlags,
}

impl AccountFilter {
    /// False when no row can match: a required field is 0 or the time range is empty.
    pub fn is_valid(&self) -> bool {
        self.account_id.0 != 0
            && self.account_id.0 != u128::MAX
            && self.limit != 0
            && (self.flags.debits || self.flags.credits)
            && range_is_valid(self.timestamp_min, self.timestamp_max)
    }

    /// The limit, capped at [`limits::RESULTS_MAX`].
    pub fn limit_capped(&self) -> usize {
        limit_capped(self.limit)
    }

    /// The filter of the next page, after a row with the timestamp `last`; `None` when no row can follow it.
    #[must_use]
    pub fn after(self, last: Nanos) -> Option<Self> {
        let range = range_after(self.timestamp_min, self.timestamp_max, last, self.flags.reversed);
        range.map(|(timestamp_min, timestamp_max)| Self { timestamp_min, timestamp_max, ..self })
    }
}

/// Selects accounts or transfers by their fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct QueryFilter {
    /// 0 = any.
    pub user_data_128: u128,
    /// 0 = any.
    pub user_data_64: u64,
    /// 0 = any.
    pub user_data_32: u32,
    /// 0 = any.
    pub ledger: LedgerNumber,
    /// 0 = any.
    pub code: u16,
    /// Inclusive; 0 = from the first.
    pub timestamp_min: Nanos,
    /// Inclusive; 0 = to the last.
    pub timestamp_max: Nanos,
    /// Maximum number of results; not 0, capped at [`limits::RESULTS_MAX`].
    pub limit: u32,
    /// Returns the newest first.
    pub reversed: bool,
}

impl QueryFilter {
    /// False when no row can match: a required field is 0 or the time range is empty.
    pub fn is_valid(&self) -> bool {
        self.limit != 0 && range_is_valid(self.timestamp_min, self.timestamp_max)
    }

    /// The limit, capped at [`limits::RESULTS_MAX`].
    pub fn limit_capped(&self) -> usize {
        limit_capped(self.limit)
    }

    /// The filter of the next page, after a row with the timestamp `last`; `None` when no row can follow it.
    #[must_use]
    pub fn after(self, last: Nanos) -> Option<Self> {
        let range = range_after(self.timestamp_min, self.timestamp_max, last, self.reversed);
        range.map(|(timestamp_min, timestamp_max)| Self { timestamp_min, timestamp_max, ..self })
    }
}

/// Selects change events in commit order, from a position of the history or from a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MovementFilter {
    /// The first movement that may be returned.
    pub from: MovementNumber,
    /// Inclusive; 0 = from the first.
    pub timestamp_min: Nanos,
    /// Inclusive; 0 = to the last.
    pub timestamp_max: Nanos,
    /// Maximum number of results; not 0, capped at [`limits::MOVEMENTS_MAX`].
    pub limit: u32,
}

impl MovementFilter {
    /// False when no row can match: a required field is 0 or the time range is empty.
    pub fn is_valid(&self) -> bool {
        self.limit != 0 && range_is_valid(self.timestamp_min, self.timestamp_max)
    }

    /// The limit, capped at [`limits::MOVEMENTS_MAX`].
    pub fn limit_capped(&self) -> usize {
        usize::try_from(self.limit).map_or(limits::MOVEMENTS_MAX, |limit| limit.min(limits::MOVEMENTS_MAX))
    }
}

/// Selects open pending transfers, in the order of their [`HoldPlace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HoldFilter {
    /// The debit or credit account of the transfer; 0 = any account.
    pub account_id: AccountId,
    /// Only transfers after this place; the default = from the first.
    pub after: HoldPlace,
    /// Maximum number of results; capped at [`limits::RESULTS_MAX`].
    pub limit: u32,
}

impl HoldFilter {
    /// The limit, capped at [`limits::RESULTS_MAX`].
    pub fn limit_capped(&self) -> usize {
        limit_capped(self.limit)
    }

    /// True when the transfer debits or credits the account of this filter, or the filter names no account.
    pub fn has(&self, transfer: &Transfer) -> bool {
        self.account_id.0 == 0
            || self.account_id == transfer.debit_account_id
            || self.account_id == transfer.credit_account_id
    }
}

fn limit_capped(limit: u32) -> usize {
    usize::try_from(limit).map_or(limits::RESULTS_MAX, |limit| limit.min(limits::RESULTS_MAX))
}

fn range_is_valid(min: Nanos, max: Nanos) -> bool {
    min <= Nanos::MAX && max <= Nanos::MAX && (max.0 == 0 || min <= max)
}

/// Narrows a time range to the part after `last`, in the order of the results; `None` when that part is
/// empty.
const fn range_after(min: Nanos, max: Nanos, last: Nanos, is_reversed: bool) -> Option<(Nanos, Nanos)> {
    if is_reversed {
        let max = Nanos(last.0.saturating_sub(1));
        // A maximum of 0 would mean "to the last".
        if max.0 == 0 || max.0 < min.0 { None } else { Some((min, max)) }
    } else {
        let min = Nanos(last.0.saturating_add(1));
        if max.0 != 0 && min.0 > max.0 { None } else { Some((min, max)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_begins_just_after_the_last_row() {
        let range = |min, max, last, is_reversed| {
            range_after(Nanos(min), Nanos(max), Nanos(last), is_reversed).map(|(min, max)| (min.0, max.0))
        };
        assert_eq!(range(0, 0, 7, false), Some((8, 0)));
        assert_eq!(range(0, 9, 8, false), Some((9, 9)));
        assert_eq!(range(0, 9, 9, false), None, "the range is empty");
        assert_eq!(range(0, 0, 7, true), Some((0, 6)));
        assert_eq!(range(5, 0, 5, true), None, "the range is empty");
        assert_eq!(range(0, 0, 1, true), None, "0 would mean no maximum");
    }
}
