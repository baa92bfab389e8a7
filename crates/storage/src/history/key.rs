//! Keys: the values by which rows are found, hashed to 44 bits.
//!
//! Different values rarely have the same key, but they can. So every row that is found by key is compared
//! with the value. A key (44 bits) and a row's position in a first run (20 bits) fit into one integer and are
//! sorted as one.

use super::page::u64_at;

/// Bits of a key.
pub(crate) const KEY_BITS: u32 = 44;

/// The fields by which rows are found. The numbers are part of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    Id = 1,
    DebitAccount = 2,
    CreditAccount = 3,
    UserData128 = 4,
    UserData64 = 5,
    UserData32 = 6,
    Ledger = 7,
    Code = 8,
    /// The id of the pending transfer that a post, void or expiry resolves.
    Resolution = 9,
}

impl Kind {
    /// All kinds, in the order of their sections in a run.
    pub(crate) const ALL: [Self; 9] = [
        Self::Id,
        Self::DebitAccount,
        Self::CreditAccount,
        Self::UserData128,
        Self::UserData64,
        Self::UserData32,
        Self::Ledger,
        Self::Code,
        Self::Resolution,
    ];

    /// Its index in [`ALL`](Self::ALL).
    pub(crate) const fn index(self) -> usize {
        self as usize - 1
    }

    /// True when neighbouring rows mostly carry the same value; the postings of such kinds are intervals.
    pub(crate) const fn has_intervals(self) -> bool {
        matches!(self, Self::Ledger | Self::Code)
    }

    /// True when the run's filter contains the keys.
    pub(crate) const fn is_filtered(self) -> bool {
        matches!(self, Self::Id | Self::Resolution)
    }
}

/// The key of a value.
pub(crate) fn key(kind: Kind, value: u128) -> u64 {
    const LOW: u64 = 0x9e37_79b9_7f4a_7c15;
    const HIGH: u64 = 0xd1b5_4a32_d192_ed03;
    let [low, high] = halves(value);
    let seed = LOW ^ u64::from(kind as u8) << 56;
    fold(fold(low ^ seed, HIGH) ^ high, LOW) >> (u64::BITS - KEY_BITS)
}

fn halves(wide: u128) -> [u64; 2] {
    let bytes = wide.to_le_bytes();
    [u64_at(&bytes, 0), u64_at(&bytes, 8)]
}

fn fold(left: u64, right: u64) -> u64 {
    let [low, high] = halves(u128::from(left) * u128::from(right));
    low ^ high
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn keys_of_neighbouring_values_and_of_kinds_differ() {
        let keys: HashSet<u64> =
            Kind::ALL.iter().flat_map(|kind| (0..20_000).map(|value| key(*kind, value))).collect();
        assert_eq!(keys.len(), 180_000);
        assert!(keys.iter().all(|key| key >> KEY_BITS == 0));
    }

    #[test]
    fn keys_are_part_of_the_format() {
        assert_eq!(key(Kind::Id, 1), 0xe3f_0d53_f638);
        assert_eq!(key(Kind::Resolution, 1), 0x31e_fca1_07a5);
        assert_eq!(key(Kind::Id, 1 << 64), 0x705_fbcc_ac58);
    }
}
