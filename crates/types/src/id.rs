//! Names of things: newtypes, so that an account id can never stand where a transfer id belongs.

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
    /// Chosen by the client. 0 and `u128::MAX` are refused.
    AccountId(u128)
}
identifier! {
    /// Chosen by the client; unique over the whole cluster, for ever. 0 and `u128::MAX` are refused.
    TransferId(u128)
}
identifier! {
    /// Which asset an account holds; only accounts of one ledger transact. 0 is refused.
    LedgerNumber(u32)
}
identifier! {
    /// Position of an entry in a group's log. The first entry is 1; 0 means "before the first".
    LogIndex(u64)
}
identifier! {
    /// Reign of one leader. 0 means "no leader yet".
    Term(u64)
}
identifier! {
    /// A node of the cluster. 0 means "none".
    NodeId(u64)
}
identifier! {
    /// A client that keeps a session: chosen by it at random, once a process. 0 is refused.
    ClientId(u128)
}
identifier! {
    /// A client's session: the index of the log entry that opened it, so a later one is greater. 0 means "none".
    SessionNumber(u64)
}
identifier! {
    /// Position of a movement in the history of a shard, counted from 0 without gaps.
    MovementNumber(u64)
}

impl LogIndex {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Head of a hash chain: SHA-256, 32 bytes. All zero means "none" in a request; no real head is all zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Head(pub [u8; 32]);

impl Head {
    /// Stands for "no head given".
    pub const NONE: Self = Self([0; 32]);

    /// True when no head is given.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// Reads 64 hexadecimal digits.
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
