//! Which rules apply an entry.
//!
//! An entry of the log gives the same results and the same state for ever, whichever program applies it again. So a
//! change of the rules leaves the entries before it alone: an entry names its rules
//! ([`Entry::rules`](bezant_rsm::Entry::rules)), and each difference stands here as a question.
//!
//! | rules | version | what is new |
//! |---|---|---|
//! | 0 | 0.1 | |
//! | 1 | 0.2 | balancing counts bounds; events after the break of an imported chain have the request's time; the ledger number of a currency without accounts can be registered for another asset; bounds change one by one; an imported account that is created again without the flag exists; while expiry is paused, imported pending transfers keep their timeouts |

/// The rules of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    number: u8,
    /// Those for a client that knows only the field's common model.
    is_classic: bool,
}

impl Rules {
    /// Those of the entries that this program proposes.
    pub(crate) const NEWEST: u8 = 1;

    /// The rules with that number.
    ///
    /// # Panics
    /// When this program does not know them: such an entry is never handed to the machine.
    pub(crate) const fn new(number: u8) -> Self {
        assert!(number <= Self::NEWEST, "an entry of later rules was refused when it was read");
        Self { number, is_classic: false }
    }

    /// The same for a client that knows only the field's common model.
    pub(crate) const fn classic(self) -> Self {
        Self { is_classic: true, ..self }
    }

    /// A balancing transfer moves no more than the bounds of the account that it balances allow.
    pub(crate) const fn balancing_counts_bounds(self) -> bool {
        self.number >= 1
    }

    /// An imported event after the break of its chain answers the time of its place in the request, not its own.
    pub(crate) const fn broken_chains_have_no_own_time(self) -> bool {
        self.number >= 1
    }

    /// An imported account that is created again without the flag `imported` exists.
    pub(crate) const fn imported_may_be_left_out(self) -> bool {
        self.number >= 1
    }

    /// An imported pending transfer may have a timeout, and may be ended after its time, while expiry is paused.
    pub(crate) const fn imports_keep_timeouts(self) -> bool {
        self.number >= 1 && !self.is_classic
    }

    /// The number of a built-in currency can be registered for another asset as long as no account has it.
    pub(crate) const fn currencies_give_way(self) -> bool {
        self.number >= 1
    }
}
