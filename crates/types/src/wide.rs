//! Sums of amounts: each amount fits in 128 bits, the sum over many accounts need not.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};
use core::ops::AddAssign;

/// A sum of amounts in minor units, exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct WideAmount {
    /// How many times 2^128.
    pub high: u128,
    /// What is left.
    pub low: u128,
}

impl From<u128> for WideAmount {
    fn from(low: u128) -> Self {
        Self { high: 0, low }
    }
}

impl AddAssign<u128> for WideAmount {
    fn add_assign(&mut self, amount: u128) {
        let (low, carries) = self.low.overflowing_add(amount);
        self.low = low;
        self.high += u128::from(carries);
    }
}

/// Digits that one step of the division below gives.
const STEP_DIGITS: usize = 19;
/// The greatest power of ten in 64 bits.
const STEP: u128 = 10_000_000_000_000_000_000;

impl fmt::Display for WideAmount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.high == 0 {
            return fmt::Display::fmt(&self.low, formatter);
        }
        // Division by hand, 64 bits at a time: the rest of one limb goes before the next.
        let low_half = u128::from(u64::MAX);
        let mut limbs = [self.high >> 64, self.high & low_half, self.low >> 64, self.low & low_half];
        let mut groups = Vec::new();
        while limbs != [0; 4] {
            let mut rest = 0;
            for limb in &mut limbs {
                let value = rest << 64 | *limb;
                (*limb, rest) = (value / STEP, value % STEP);
            }
            groups.push(rest);
        }
        let mut text = String::new();
        for group in groups.into_iter().rev() {
            if text.is_empty() {
                write!(text, "{group}")?;
            } else {
                write!(text, "{group:0STEP_DIGITS$}")?;
            }
        }
        formatter.pad_integral(true, "", &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn sums_past_128_bits_are_exact() {
        let mut sum = WideAmount::default();
        assert_eq!(sum.to_string(), "0");
        sum += u128::MAX;
        assert_eq!(sum, WideAmount::from(u128::MAX));
        assert_eq!(sum.to_string(), u128::MAX.to_string());
        sum += 1;
        assert_eq!(sum, WideAmount { high: 1, low: 0 });
        assert_eq!(sum.to_string(), "340282366920938463463374607431768211456");
        (0..2).for_each(|_| sum += u128::MAX);
        assert_eq!(sum.to_string(), "1020847100762815390390123822295304634366");
        let most = WideAmount { high: u128::MAX, low: u128::MAX };
        let text = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
        assert_eq!(most.to_string(), text, "2^256 - 1");
    }
}
