//! Time as a value that is passed in: the core crates never read a clock.

use core::fmt;

/// Cluster time: nanoseconds since the Unix epoch. 0 means "not given". Never above `i64::MAX`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The largest timestamp: 2^63 - 1.
    pub const MAX: Self = Self(i64::MAX as u64);
    /// Later than every timestamp, and never a timestamp itself.
    pub const NEVER: Self = Self(u64::MAX);
    /// Nanoseconds in a second.
    pub const PER_SECOND: u64 = 1_000_000_000;

    /// This time plus `nanos` nanoseconds; `None` when the sum is greater than [`Nanos::MAX`].
    pub fn checked_add(self, nanos: u64) -> Option<Self> {
        self.0.checked_add(nanos).map(Self).filter(|sum| *sum <= Self::MAX)
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl fmt::Debug for Nanos {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Nanos({})", self.0)
    }
}
