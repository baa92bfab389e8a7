//! Identifiers as newtypes, so that the compiler rejects an account id in place of a transfer id.

use core::fmt;

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

identifier! {
    /// Id of an account, chosen by the client. 0 and `u128::MAX` are refused.
    AccountId(u128)
}
identifier! {
    /// Id of a transfer, chosen by the client; unique in the whole cluster and never reused. 0 and
    /// `u128::MAX` are refused.
    TransferId(u128)
}
identifier! {
    /// The asset that an account holds; transfers are possible only between accounts of one ledger. 0 is
    /// refused.
    LedgerNumber(u32)
}
identifier! {
    /// Number of a group: the replicas that agree on one log. 0 is kept for the map of the cluster; people
    /// choose from 1 to 255, and a node holds numbers up to 65,535.
    GroupId(u32)
}
identifier! {
    /// Position of an entry in a group's log. The first entry is 1; 0 means "before the first".
    LogIndex(u64)
}
identifier! {
    /// Number of a term: a period with at most one leader. 0 means "no leader yet".
    Term(u64)
}
identifier! {
    /// Number of a node of the cluster. 0 means "none".
    NodeId(u64)
}
identifier! {
    /// Id of a client with a session. The client draws it at random when its process starts. 0 is refused.
    ClientId(u128)
}
identifier! {
    /// Number of a client's session: the index of the log entry that opened it, so later sessions have
    /// greater numbers. 0 means "none".
    SessionNumber(u64)
}
identifier! {
    /// Position of a movement in the history, counted from 0 without gaps.
    MovementNumber(u64)
}

impl LogIndex {
    /// The index after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Head of a hash chain: the hash of its last movement (SHA-256, 32 bytes). All zeros in a request mean
/// "none"; a computed head is never all zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Head(pub [u8; 32]);

impl Head {
    /// Means "no head given".
    pub const NONE: Self = Self([0; 32]);

    /// True when no head is given.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// Parses 64 hexadecimal digits; `None` for any other text.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut head = [0; 32];
        for (byte, pair) in head.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(*pair.first()?).to_digit(16)?;
            let low = char::from(*pair.last()?).to_digit(16)?;
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        Some(Self(head))
    }
}

impl fmt::Display for Head {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Head({self})")
    }
}
