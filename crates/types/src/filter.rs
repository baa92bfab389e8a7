//! What a query asks for. A filter that makes no sense finds nothing on the binary protocols, and is a
//! clear error on those for people; both ask [`AccountFilter::is_valid`] and its sisters.

use crate::{AccountId, HoldPlace, LedgerNumber, MovementNumber, Nanos, Transfer, limits};

/// The flags of an [`AccountFilter`]: bit 0 debits, 1 credits, 2 reversed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AccountFilterFlags {
    /// Wants transfers that debit the account.
    pub debits: bool,
    /// Wants transfers that credit the account.
    pub credits: bool,
    /// Wants the newest first.
    pub reversed: bool,
}

/// Transfers or balances of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AccountFilter {
    /// Whose.
    pub account_id: AccountId,
    /// 0 = any.
    pub user_data_128: u128,
    /// 0 = any.
    pub user_data_64: u64,
    /// 0 = any.
    pub user_data_32: u32,
    /// 0 = any.
    pub code: u16,
    /// Inclusive; 0 = from the beginning.
    pub timestamp_min: Nanos,
    /// Inclusive; 0 = to the end.
    pub timestamp_max: Nanos,
    /// At most so many results; not 0, capped at [`limits::RESULTS_MAX`].
    pub limit: u32,
    /// Which side, which order.
    pub flags: AccountFilterFlags,
}

impl AccountFilter {
    /// False when it can find nothing by its own terms.
    pub fn is_valid(&self) -> bool {
        self.account_id.0 != 0
            && self.account_id.0 != u128::MAX
            && self.limit != 0
            && (self.flags.debits || self.flags.credits)
            && range_is_valid(self.timestamp_min, self.timestamp_max)
    }

    /// How many results at the most.
    pub fn limit_capped(&self) -> usize {
        limit_capped(self.limit)
    }

    /// The same for what comes after a row of that timestamp; `None` when nothing can.
    #[must_use]
    pub fn after(self, last: Nanos) -> Option<Self> {
        let range = range_after(self.timestamp_min, self.timestamp_max, last, self.flags.reversed);
        range.map(|(timestamp_min, timestamp_max)| Self { timestamp_min, timestamp_max, ..self })
    }
}

/// Accounts or transfers by what they carry.
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
    /// Inclusive; 0 = from the beginning.
    pub timestamp_min: Nanos,
    /// Inclusive; 0 = to the end.
    pub timestamp_max: Nanos,
    /// At most so many results; not 0, capped at [`limits::RESULTS_MAX`].
    pub limit: u32,
    /// Wants the newest first.
    pub reversed: bool,
}

impl QueryFilter {
    /// False when it can find nothing by its own terms.
    pub fn is_valid(&self) -> bool {
        self.limit != 0 && range_is_valid(self.timestamp_min, self.timestamp_max)
    }

    /// How many results at the most.
    pub fn limit_capped(&self) -> usize {
        limit_capped(self.limit)
    }

    /// The same for what comes after a row of that timestamp; `None` when nothing can.
    #[must_use]
    pub fn after(self, last: Nanos) -> Option<Self> {
        let range = range_after(self.timestamp_min, self.timestamp_max, last, self.reversed);
        range.map(|(timestamp_min, timestamp_max)| Self { timestamp_min, timestamp_max, ..self })
    }
}

/// Change events in commit order, from a position of the history or from a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MovementFilter {
    /// The first movement wanted.
    pub from: MovementNumber,
    /// Inclusive; 0 = from the beginning.
    pub timestamp_min: Nanos,
    /// Inclusive; 0 = to the end.
    pub timestamp_max: Nanos,
    /// At most so many results; not 0, capped at [`limits::MOVEMENTS_MAX`].
    pub limit: u32,
}

impl MovementFilter {
    /// False when it can find nothing by its own terms.
    pub fn is_valid(&self) -> bool {
        self.limit != 0 && range_is_valid(self.timestamp_min, self.timestamp_max)
    }

    /// How many results at the most.
    pub fn limit_capped(&self) -> usize {
        usize::try_from(self.limit).map_or(limits::MOVEMENTS_MAX, |limit| limit.min(limits::MOVEMENTS_MAX))
    }
}

/// Pending transfers that wait, in the order of their [`HoldPlace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HoldFilter {
    /// Whose, on either side; 0 = anyone's.
    pub account_id: AccountId,
    /// Only those after this place; the default = from the first.
    pub after: HoldPlace,
    /// At most so many results; capped at [`limits::RESULTS_MAX`].
    pub limit: u32,
}

impl HoldFilter {
    /// How many results at the most.
    pub fn limit_capped(&self) -> usize {
        limit_capped(self.limit)
    }

    /// True when the transfer is of the account that is asked for.
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

/// Narrows a range of time to what comes after `last`; `None` when nothing is left of it.
const fn range_after(min: Nanos, max: Nanos, last: Nanos, is_reversed: bool) -> Option<(Nanos, Nanos)> {
    if is_reversed {
        let max = Nanos(last.0.saturating_sub(1));
        // A maximum of 0 would stand for "to the end".
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
        assert_eq!(range(0, 9, 9, false), None, "the range is used up");
        assert_eq!(range(0, 0, 7, true), Some((0, 6)));
        assert_eq!(range(5, 0, 5, true), None, "the range is used up");
        assert_eq!(range(0, 0, 1, true), None, "0 would stand for the end of time");
    }
}
