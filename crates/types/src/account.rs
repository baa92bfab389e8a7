//! Accounts: the record of 128 bytes, and the view that adds the name, the bounds and the hash chains.

use alloc::string::String;

use crate::{AccountId, Head, LedgerNumber, Nanos};

/// The record of an account. 128 bytes on the wire, in this order of fields; amounts in minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Account {
    /// Chosen by the client; not 0, not `u128::MAX`.
    pub id: AccountId,
    /// Reserved by pending transfers that debit this account. 0 in a request.
    pub debits_pending: u128,
    /// Sum of all posted debits. 0 in a request.
    pub debits_posted: u128,
    /// Reserved by pending transfers that credit this account. 0 in a request.
    pub credits_pending: u128,
    /// Sum of all posted credits. 0 in a request.
    pub credits_posted: u128,
    /// A key that the client may query by; 0 = none.
    pub user_data_128: u128,
    /// A key that the client may query by; 0 = none.
    pub user_data_64: u64,
    /// A key that the client may query by; 0 = none.
    pub user_data_32: u32,
    /// Always 0.
    pub reserved: u32,
    /// Number of the asset; not 0.
    pub ledger: LedgerNumber,
    /// A category that the client defines; not 0.
    pub code: u16,
    /// Rules of this account.
    pub flags: AccountFlags,
    /// Cluster time at which the account was created; 0 in a request unless `imported`.
    pub timestamp: Nanos,
}

impl Account {
    /// The four sums of this account.
    pub const fn balances(&self) -> Balances {
        Balances {
            debits_pending: self.debits_pending,
            debits_posted: self.debits_posted,
            credits_pending: self.credits_pending,
            credits_posted: self.credits_posted,
        }
    }

    /// True when a debit of `amount` would break `debits_must_not_exceed_credits`. The caller has checked
    /// that the sum of pending debits, posted debits and `amount` fits in a `u128`.
    pub fn debits_exceed_credits(&self, amount: u128) -> bool {
        self.flags.contains(AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS)
            && self.debits_pending + self.debits_posted + amount > self.credits_posted
    }

    /// True when a credit of `amount` would break `credits_must_not_exceed_debits`. The caller has checked
    /// that the sum of pending credits, posted credits and `amount` fits in a `u128`.
    pub fn credits_exceed_debits(&self, amount: u128) -> bool {
        self.flags.contains(AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS)
            && self.credits_pending + self.credits_posted + amount > self.debits_posted
    }
}

/// The four sums of an account, in minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Balances {
    /// Reserved debits.
    pub debits_pending: u128,
    /// Posted debits.
    pub debits_posted: u128,
    /// Reserved credits.
    pub credits_pending: u128,
    /// Posted credits.
    pub credits_posted: u128,
}

macro_rules! flags {
    ($(#[$doc:meta])* $name:ident { $($(#[$flag_doc:meta])* $flag:ident = $bit:literal $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name(pub u16);

        impl $name {
            /// No flag set.
            pub const NONE: Self = Self(0);
            $($(#[$flag_doc])* pub const $flag: Self = Self(1 << $bit);)+
            /// All defined flags; any other bit is reserved and refused.
            pub const ALL: Self = Self($((1 << $bit) |)+ 0);
            /// Flags and their names, in order of their bits.
            pub const NAMES: &'static [(Self, &'static str)] = &[$((Self::$flag, $text),)+];

            /// True when every bit of `flags` is set.
            pub const fn contains(self, flags: Self) -> bool {
                self.0 & flags.0 == flags.0
            }

            /// True when any bit of `flags` is set.
            pub const fn intersects(self, flags: Self) -> bool {
                self.0 & flags.0 != 0
            }

            /// The flags that are set in `self` or in `flags`.
            #[must_use]
            pub const fn union(self, flags: Self) -> Self {
                Self(self.0 | flags.0)
            }

            /// The flags that are set in `self` and not in `flags`.
            #[must_use]
            pub const fn without(self, flags: Self) -> Self {
                Self(self.0 & !flags.0)
            }

            /// True when a reserved bit is set.
            pub const fn has_reserved(self) -> bool {
                self.0 & !Self::ALL.0 != 0
            }

            /// The flag of that name; `None` for an unknown name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::NAMES.iter().find(|(_, text)| *text == name).map(|(flag, _)| *flag)
            }

            /// The names of the flags that are set, in order of their bits.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                Self::NAMES.iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, text)| *text)
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                formatter.debug_set().entries(self.names()).finish()
            }
        }
    };
}
pub(crate) use flags;

flags! {
    /// Rules of an account, one bit a rule.
    AccountFlags {
        /// Chained with the next event of the request: all succeed or all fail.
        LINKED = 0 "linked",
        /// Refuses a debit after which posted and pending debits would exceed posted credits.
        DEBITS_MUST_NOT_EXCEED_CREDITS = 1 "debits_must_not_exceed_credits",
        /// Refuses a credit after which posted and pending credits would exceed posted debits.
        CREDITS_MUST_NOT_EXCEED_DEBITS = 2 "credits_must_not_exceed_debits",
        /// Clients may query the balance after each transfer.
        HISTORY = 3 "history",
        /// Keeps the client's timestamp.
        IMPORTED = 4 "imported",
        /// Refuses everything but voiding a pending transfer.
        CLOSED = 5 "closed",
    }
}

/// Minimum and maximum balance of an account, both inclusive, in minor units.
///
/// The balance is credits minus debits. Reserved amounts count against the account: pending debits for the
/// minimum, pending credits for the maximum. A transfer after which the balance would be out of bounds is
/// refused with `balance_out_of_bounds`. A bound that is set later applies to later transfers only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Minimum balance; `i128::MIN` = no limit.
    pub minimum: i128,
    /// Maximum balance; `i128::MAX` = no limit.
    pub maximum: i128,
}

impl Bounds {
    /// No limit on either side.
    pub const NONE: Self = Self { minimum: i128::MIN, maximum: i128::MAX };

    /// True when neither side is limited.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// True when the balance after a debit is below the minimum. `balances` are the sums after the debit.
    pub fn is_under_minimum(&self, balances: &Balances) -> bool {
        self.minimum != i128::MIN
            && self.minimum
                > difference(
                    balances.credits_posted,
                    balances.debits_posted.saturating_add(balances.debits_pending),
                )
    }

    /// True when the balance after a credit is above the maximum. `balances` are the sums after the credit.
    pub fn is_over_maximum(&self, balances: &Balances) -> bool {
        self.maximum != i128::MAX
            && self.maximum
                < difference(
                    balances.credits_posted.saturating_add(balances.credits_pending),
                    balances.debits_posted,
                )
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self::NONE
    }
}

/// `plus - minus`, saturating at the bounds of `i128`.
fn difference(plus: u128, minus: u128) -> i128 {
    if plus >= minus {
        i128::try_from(plus - minus).unwrap_or(i128::MAX)
    } else {
        i128::try_from(minus - plus).map_or(i128::MIN, |negative| -negative)
    }
}

/// Names one of the two hash chains of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChainSide {
    /// Transfers that debit the account.
    Spends,
    /// Transfers that credit the account.
    Receipts,
}

/// One of the two hash chains of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Chain {
    /// Number of transfers in the chain.
    pub sequence: u64,
    /// Hash of the last transfer, which covers all earlier ones; [`Head::NONE`] for an empty chain.
    pub head: Head,
}

impl AccountView {
    /// The largest amount that a debit may have now, in minor units. Minimum, flags and reserved amounts
    /// count. `None` = no rule of this account limits it.
    pub fn available(&self) -> Option<u128> {
        let account = &self.account;
        if account.flags.contains(AccountFlags::CLOSED) {
            return Some(0);
        }
        let debits = account.debits_posted.saturating_add(account.debits_pending);
        let by_flag = account
            .flags
            .contains(AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS)
            .then(|| account.credits_posted.saturating_sub(debits));
        let by_minimum = (self.bounds.minimum != i128::MIN)
            .then(|| margin(account.credits_posted, debits, self.bounds.minimum));
        by_flag.into_iter().chain(by_minimum).min()
    }

    /// The largest amount that a credit may have now, in minor units. Maximum, flags and reserved amounts
    /// count. `None` = no rule of this account limits it.
    pub fn receivable(&self) -> Option<u128> {
        let account = &self.account;
        if account.flags.contains(AccountFlags::CLOSED) {
            return Some(0);
        }
        let credits = account.credits_posted.saturating_add(account.credits_pending);
        let by_flag = account
            .flags
            .contains(AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS)
            .then(|| account.debits_posted.saturating_sub(credits));
        // With debits and credits exchanged, -maximum is the minimum of debits minus credits.
        let by_maximum = (self.bounds.maximum != i128::MAX)
            .then(|| margin(account.debits_posted, credits, self.bounds.maximum.saturating_neg()));
        by_flag.into_iter().chain(by_maximum).min()
    }
}

/// `plus - minus - minimum`; 0 where that is negative.
fn margin(plus: u128, minus: u128, minimum: i128) -> u128 {
    let size = minimum.unsigned_abs();
    if minimum < 0 {
        // Saturation is exact enough: an amount is at most `u128::MAX`.
        plus.saturating_add(size).saturating_sub(minus)
    } else {
        plus.saturating_sub(minus).saturating_sub(size)
    }
}

/// An account as a lookup returns it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AccountView {
    /// The record.
    pub account: Account,
    /// Its unique name; empty = none.
    pub name: String,
    /// Minimum and maximum balance.
    pub bounds: Bounds,
    /// Chain of the transfers that debit it.
    pub spends: Chain,
    /// Chain of the transfers that credit it.
    pub receipts: Chain,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(flags: AccountFlags, bounds: Bounds) -> AccountView {
        let account = Account {
            debits_pending: 5,
            debits_posted: 20,
            credits_pending: 7,
            credits_posted: 100,
            flags,
            ..Account::default()
        };
        AccountView { account, bounds, ..AccountView::default() }
    }

    #[test]
    fn available_counts_bounds_flags_and_reserved_amounts() {
        let none = AccountFlags::NONE;
        let minimum = |minimum| Bounds { minimum, ..Bounds::NONE };
        assert_eq!(view(none, Bounds::NONE).available(), None);
        assert_eq!(view(AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS, Bounds::NONE).available(), Some(75));
        assert_eq!(view(none, minimum(0)).available(), Some(75));
        assert_eq!(view(none, minimum(-50)).available(), Some(125));
        assert_eq!(view(none, minimum(70)).available(), Some(5));
        assert_eq!(view(none, minimum(80)).available(), Some(0));
        assert_eq!(view(none, minimum(i128::MIN + 1)).available(), Some(i128::MAX.unsigned_abs() + 75));
        let flag = AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS;
        assert_eq!(view(flag, minimum(-50)).available(), Some(75), "the tighter rule applies");
        assert_eq!(view(AccountFlags::CLOSED, Bounds::NONE).available(), Some(0));
    }

    #[test]
    fn receivable_is_available_with_exchanged_sides() {
        let maximum = |maximum| Bounds { maximum, ..Bounds::NONE };
        assert_eq!(view(AccountFlags::NONE, Bounds::NONE).receivable(), None);
        // 100 + 7 - 20 = 87 are credited or pending.
        assert_eq!(view(AccountFlags::NONE, maximum(100)).receivable(), Some(13));
        assert_eq!(view(AccountFlags::NONE, maximum(80)).receivable(), Some(0));
        assert_eq!(view(AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS, Bounds::NONE).receivable(), Some(0));
    }

    #[test]
    fn available_is_the_largest_debit_within_the_bounds() {
        for minimum in [-50, 0, 70, 80] {
            let bounds = Bounds { minimum, ..Bounds::NONE };
            let view = view(AccountFlags::NONE, bounds);
            let available = view.available().unwrap();
            let after = |more: u128| Balances {
                debits_posted: view.account.debits_posted + available + more,
                ..view.account.balances()
            };
            assert!(available == 0 || !bounds.is_under_minimum(&after(0)), "{minimum}");
            assert!(bounds.is_under_minimum(&after(1)), "{minimum}");
        }
    }
}
