//! The versions of the rules by which entries are applied.
//!
//! An entry of the log always gives the same results and the same state, whichever version of the program
//! applies it. So a change of the rules must not affect earlier entries. Each entry contains the number of
//! its rules ([`Entry::rules`](bezant_rsm::Entry::rules)), and each difference between two versions is a
//! method here.
//!
//! | rules | version | what is new |
//! |---|---|---|
//! | 0 | 0.1 | |
//! | 1 | 0.2, before its release | balancing counts bounds; results after the failed event of an imported chain have the timestamp of their position in the request; the ledger number of a currency without accounts can be registered for another asset; one bound can be changed alone; an imported account that is created again without the flag `imported` gets `exists`; while expiry is paused, imported pending transfers keep their timeouts |
//! | 2 | 0.2 | operations 15 and 16: accounts and transfers with tagged fields |

use bezant_codec::Operation;

/// The rules of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    number: u8,
    /// True for a client that supports only TigerBeetle's model of accounts and transfers (statuses below
    /// 1000).
    is_classic: bool,
}

impl Rules {
    /// The number of the rules in the entries that this program proposes.
    pub(crate) const NEWEST: u8 = 2;

    /// The rules with that number.
    ///
    /// # Panics
    /// When the number is greater than [`NEWEST`](Self::NEWEST): such an entry is rejected when it is read.
    pub(crate) const fn new(number: u8) -> Self {
        assert!(number <= Self::NEWEST, "the rules of the entry are newer than this program");
        Self { number, is_classic: false }
    }

    /// The same rules for a client that supports only TigerBeetle's model.
    pub(crate) const fn classic(self) -> Self {
        Self { is_classic: true, ..self }
    }

    /// True when the program that proposed the entry had the operation; otherwise it does nothing.
    pub(crate) const fn has(self, operation: Operation) -> bool {
        operation.rules() <= self.number
    }

    /// A balancing transfer never moves more than the bounds of the account that it balances allow.
    pub(crate) const fn balancing_counts_bounds(self) -> bool {
        self.number >= 1
    }

    /// The result of an imported event after the failed event of its chain has the timestamp of its position
    /// in the request, not the event's own.
    pub(crate) const fn broken_chains_have_no_own_time(self) -> bool {
        self.number >= 1
    }

    /// A repeated request for an imported account gets `exists` even without the flag `imported`.
    pub(crate) const fn ignores_missing_import(self) -> bool {
        self.number >= 1
    }

    /// While expiry is paused, an imported pending transfer may have a timeout, and may be posted or voided
    /// after it.
    pub(crate) const fn imports_keep_timeouts(self) -> bool {
        self.number >= 1 && !self.is_classic
    }

    /// The ledger number of a built-in currency can be registered for another asset while no account uses it.
    pub(crate) const fn currencies_are_replaceable(self) -> bool {
        self.number >= 1
    }
}
