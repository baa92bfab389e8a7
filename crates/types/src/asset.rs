//! Assets: what a ledger number counts, and how many digits stand behind its decimal point.

use core::fmt;
use core::str::FromStr;

use alloc::string::{String, ToString};

use crate::{LedgerNumber, limits};

/// Code of an asset, such as `EUR` or `POINTS`: 1 to 16 upper-case letters, digits, `_`, `-` or `.`, letter first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssetCode([u8; limits::ASSET_CODE_SIZE_MAX]);

impl AssetCode {
    /// The 16 bytes of the code, filled up with zeros.
    pub const fn to_bytes(self) -> [u8; limits::ASSET_CODE_SIZE_MAX] {
        self.0
    }

    /// Reads 16 bytes filled up with zeros.
    pub fn from_bytes(bytes: [u8; limits::ASSET_CODE_SIZE_MAX]) -> Option<Self> {
        let size = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let (text, rest) = bytes.split_at(size);
        let text = core::str::from_utf8(text).ok()?;
        if rest.iter().any(|byte| *byte != 0) { None } else { text.parse().ok() }
    }

    /// The code as text.
    pub fn as_str(&self) -> &str {
        let size = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        core::str::from_utf8(&self.0[..size]).unwrap_or("")
    }
}

impl FromStr for AssetCode {
    type Err = AssetError;

    fn from_str(text: &str) -> Result<Self, AssetError> {
        let letters = text.as_bytes();
        let fits = (1..=limits::ASSET_CODE_SIZE_MAX).contains(&letters.len())
            && letters.first().is_some_and(u8::is_ascii_uppercase)
            && letters.iter().all(|letter| {
                letter.is_ascii_uppercase() || letter.is_ascii_digit() || b"_-.".contains(letter)
            });
        if !fits {
            return Err(AssetError::Code);
        }
        let mut code = [0; limits::ASSET_CODE_SIZE_MAX];
        for (place, letter) in code.iter_mut().zip(letters) {
            *place = *letter;
        }
        Ok(Self(code))
    }
}

impl fmt::Display for AssetCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl fmt::Debug for AssetCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AssetCode({self})")
    }
}

/// Why a text is not an amount or a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AssetError {
    /// Not 1 to 16 upper-case letters, digits, `_`, `-`, `.`, letter first.
    Code,
    /// Not digits with at most one decimal point between them.
    Amount,
    /// More digits behind the decimal point than the asset has.
    TooPrecise,
    /// Does not fit in 128 bits.
    TooLarge,
}

impl fmt::Display for AssetError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Code => "an asset's code is 1 to 16 upper-case letters, digits, '_', '-' or '.', and begins with a letter",
            Self::Amount => "an amount is digits with at most one decimal point, such as 10.50",
            Self::TooPrecise => "the amount has more digits behind the decimal point than its asset",
            Self::TooLarge => "the amount does not fit in 128 bits",
        })
    }
}

impl core::error::Error for AssetError {}

/// A ledger number, the code that people know it by, and its scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    /// The number in accounts and transfers. ISO 4217 currencies have their numeric code (EUR = 978).
    pub ledger: LedgerNumber,
    /// The code.
    pub code: AssetCode,
    /// Digits behind the decimal point, 0 to 38: 2 makes 10.50 out of 1050.
    pub scale: u8,
}

impl Asset {
    /// Reads what people write (`10.50`, `10`, `.5`) into minor units. Never rounds.
    pub fn parse(&self, text: &str) -> Result<u128, AssetError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err(AssetError::Amount);
        }
        if !whole.bytes().chain(fraction.bytes()).all(|digit| digit.is_ascii_digit()) {
            return Err(AssetError::Amount);
        }
        let scale = usize::from(self.scale);
        let fraction = if fraction.len() > scale { fraction.trim_end_matches('0') } else { fraction };
        if fraction.len() > scale {
            return Err(AssetError::TooPrecise);
        }
        let zeros = scale - fraction.len();
        whole
            .bytes()
            .chain(fraction.bytes())
            .chain(core::iter::repeat_n(b'0', zeros))
            .try_fold(0_u128, |sum, digit| sum.checked_mul(10)?.checked_add(u128::from(digit - b'0')))
            .ok_or(AssetError::TooLarge)
    }

    /// Writes minor units as people read them: 1050 with scale 2 is `10.50`.
    pub fn format(&self, amount: u128) -> String {
        let digits = amount.to_string();
        let scale = usize::from(self.scale);
        if scale == 0 {
            return digits;
        }
        let padding = (scale + 1).saturating_sub(digits.len());
        let mut text: String = core::iter::repeat_n('0', padding).collect();
        text.push_str(&digits);
        text.insert(text.len() - scale, '.');
        text
    }

    /// Writes a signed balance, `-10.50`.
    pub fn format_signed(&self, amount: i128) -> String {
        let text = self.format(amount.unsigned_abs());
        if amount < 0 { alloc::format!("-{text}") } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn euro() -> Asset {
        Asset { ledger: LedgerNumber(978), code: "EUR".parse().unwrap(), scale: 2 }
    }

    #[test]
    fn amounts_read_and_write_without_loss() {
        for (text, amount) in
            [("10.50", 1050), ("0.01", 1), (".5", 50), ("7", 700), ("7.", 700), ("1.2300", 123), ("0", 0)]
        {
            assert_eq!(euro().parse(text), Ok(amount), "{text}");
        }
        assert_eq!(euro().format(1), "0.01");
        assert_eq!(euro().format(1050), "10.50");
        assert_eq!(euro().format_signed(-50), "-0.50");
        assert_eq!(euro().parse(&euro().format(u128::MAX)), Ok(u128::MAX));
    }

    #[test]
    fn wrong_amounts_say_why() {
        assert_eq!(euro().parse("10.505"), Err(AssetError::TooPrecise));
        assert_eq!(euro().parse("-1"), Err(AssetError::Amount));
        assert_eq!(euro().parse("1.2.3"), Err(AssetError::Amount));
        assert_eq!(euro().parse("."), Err(AssetError::Amount));
        assert_eq!(euro().parse(""), Err(AssetError::Amount));
        assert_eq!(euro().parse("1e3"), Err(AssetError::Amount));
        assert_eq!(euro().parse("340282366920938463463374607431768211456"), Err(AssetError::TooLarge));
    }

    #[test]
    fn codes_are_checked() {
        assert!("EUR".parse::<AssetCode>().is_ok());
        for wrong in ["", "eur", "1ST", "TOO_LONG_A_CODE_X", "A B", "É"] {
            assert_eq!(wrong.parse::<AssetCode>(), Err(AssetError::Code), "{wrong}");
        }
    }
}
