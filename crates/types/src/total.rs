//! Sums of many amounts, which may need more bits than each of them.

use core::fmt;

use alloc::string::{String, ToString};

/// The sum of up to 2^64 amounts. It never wraps, so equal totals mean equal sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Total {
    /// Multiples of 2^128; 0 in every realistic ledger.
    pub high: u64,
    /// The remainder modulo 2^128.
    pub low: u128,
}

impl Total {
    /// This total plus `amount`.
    #[must_use]
    pub const fn plus(self, amount: u128) -> Self {
        let (low, has_carry) = self.low.overflowing_add(amount);
        Self { high: if has_carry { self.high.saturating_add(1) } else { self.high }, low }
    }

    /// The sum; `None` when it does not fit in 128 bits.
    pub const fn to_u128(self) -> Option<u128> {
        if self.high == 0 { Some(self.low) } else { None }
    }
}

impl From<u128> for Total {
    fn from(low: u128) -> Self {
        Self { high: 0, low }
    }
}

impl fmt::Display for Total {
    /// Decimal digits, up to 58 of them.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GROUP: u128 = 10_u128.pow(19);
        let limb = |value: u128| value & u128::from(u64::MAX);
        let mut limbs = [u128::from(self.high), self.low >> 64, limb(self.low)];
        let mut digits = String::new();
        // Long division by 10^19: the remainder of one limb becomes the high part of the next dividend.
        while limbs != [0; 3] {
            let mut rest = 0;
            for part in &mut limbs {
                let value = rest << 64 | *part;
                *part = value / GROUP;
                rest = value % GROUP;
            }
            let group = rest.to_string();
            let zeros = if limbs == [0; 3] { 0 } else { 19_usize.saturating_sub(group.len()) };
            let mut grown: String = core::iter::repeat_n('0', zeros).collect();
            grown.push_str(&group);
            grown.push_str(&digits);
            digits = grown;
        }
        formatter.pad_integral(true, "", if digits.is_empty() { "0" } else { &digits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_exceed_128_bits_without_wrapping() {
        let full = Total::from(u128::MAX);
        assert_eq!(full.to_string(), "340282366920938463463374607431768211455");
        let more = full.plus(1);
        assert_eq!(more, Total { high: 1, low: 0 });
        assert_eq!(more.to_string(), "340282366920938463463374607431768211456");
        assert_eq!(
            full.plus(u128::MAX).plus(u128::MAX).to_string(),
            "1020847100762815390390123822295304634365"
        );
        assert_eq!((full.to_u128(), more.to_u128()), (Some(u128::MAX), None));
        assert!(more > full && more != Total::default());
    }

    #[test]
    fn totals_print_the_same_digits_as_amounts() {
        let powers = (0..39).map(|power| 10_u128.pow(power));
        for amount in powers.flat_map(|power| [power - 1, power, power + 1]).chain([0, u128::MAX]) {
            assert_eq!(Total::from(amount).to_string(), amount.to_string());
        }
        let largest = Total { high: u64::MAX, low: u128::MAX };
        assert_eq!(largest.to_string(), "6277101735386680763835789423207666416102355444464034512895");
    }
}
