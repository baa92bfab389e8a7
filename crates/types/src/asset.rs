//! Assets: the code of a ledger number, and the number of digits after the decimal point of its amounts.

use core::fmt;
use core::str::FromStr;

use alloc::string::{String, ToString};

use crate::{LedgerNumber, Total, limits};

/// Code of an asset, such as `EUR` or `POINTS`: 1 to 16 upper-case letters, digits, `_`, `-` or `.`; the
/// first is a letter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssetCode([u8; limits::ASSET_CODE_SIZE_MAX]);

impl AssetCode {
    /// The code, padded with zeros to 16 bytes.
    pub const fn to_bytes(self) -> [u8; limits::ASSET_CODE_SIZE_MAX] {
        self.0
    }

    /// Reads a code that is padded with zeros to 16 bytes; `None` when it is not valid.
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
    /// Not 1 to 16 upper-case letters, digits, `_`, `-`, `.` with a letter first.
    Code,
    /// Not digits with at most one decimal point between them.
    Amount,
    /// Begins with a sign: an amount has none.
    Sign,
    /// Contains a character that groups digits or is a decimal comma: `,`, `_`, `'` or a space.
    Separator,
    /// Ends with its decimal point, as a number does that was cut off.
    OpenPoint,
    /// More digits after the decimal point than the asset has, such as `1.234` EUR.
    TooPrecise,
    /// More digits after the decimal point than the asset has, all of them zeros: `3.000` EUR may mean 3,000.
    TooManyZeros,
    /// Does not fit in 128 bits.
    TooLarge,
}

impl fmt::Display for AssetError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Code => "an asset's code is 1 to 16 upper-case letters, digits, '_', '-' or '.', and begins with a letter",
            Self::Amount => "an amount is digits with at most one decimal point, such as 10.50",
            Self::Sign => "an amount has no sign: write the digits alone",
            Self::Separator => {
                "an amount has no separator between its digits, and its decimal point is a point: write 1000.50 for \
                 one thousand and a half"
            }
            Self::OpenPoint => "digits are missing after the decimal point: write 7 or 7.00",
            Self::TooPrecise => {
                "the amount has more digits after the decimal point than its asset, and is never rounded"
            }
            Self::TooManyZeros => {
                "the amount has more digits after the decimal point than its asset, and zeros count as digits: for a \
                 whole number write no point"
            }
            Self::TooLarge => "the amount does not fit in 128 bits",
        })
    }
}

impl core::error::Error for AssetError {}

/// Reads an amount with at most `scale` digits after its decimal point into minor units; scale 0 = whole
/// minor units.
///
/// All amounts that people write are parsed here. The parser never rounds and never guesses. It refuses
/// digits beyond the scale even if they are zeros, since `3.000` means three in some countries and three
/// thousand in others.
pub fn parse_amount(text: &str, scale: u8) -> Result<u128, AssetError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    check_amount(text, whole, fraction)?;
    let scale = usize::from(scale);
    let Some(zeros) = scale.checked_sub(fraction.len()) else {
        let is_zeros = fraction.bytes().skip(scale).all(|digit| digit == b'0');
        return Err(if is_zeros { AssetError::TooManyZeros } else { AssetError::TooPrecise });
    };
    whole
        .bytes()
        .chain(fraction.bytes())
        .chain(core::iter::repeat_n(b'0', zeros))
        .try_fold(0_u128, |sum, digit| sum.checked_mul(10)?.checked_add(u128::from(digit - b'0')))
        .ok_or(AssetError::TooLarge)
}

/// Returns an error unless the parts of `text` before and after its first point are digits.
fn check_amount(text: &str, whole: &str, fraction: &str) -> Result<(), AssetError> {
    let is_separator = |letter: char| ",_'’".contains(letter) || letter.is_whitespace();
    if text.starts_with(['+', '-', '\u{2212}']) {
        Err(AssetError::Sign)
    } else if text.contains(is_separator) {
        Err(AssetError::Separator)
    } else if !whole.bytes().chain(fraction.bytes()).all(|digit| digit.is_ascii_digit()) {
        Err(AssetError::Amount)
    } else if fraction.is_empty() && text.ends_with('.') && !whole.is_empty() {
        Err(AssetError::OpenPoint)
    } else if whole.is_empty() && fraction.is_empty() {
        Err(AssetError::Amount)
    } else {
        Ok(())
    }
}

/// A ledger number with its code and scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    /// The number in accounts and transfers. An ISO 4217 currency has its numeric code (EUR = 978).
    pub ledger: LedgerNumber,
    /// The unique code that people write.
    pub code: AssetCode,
    /// Digits after the decimal point, 0 to 38: with 2, 1050 is written 10.50.
    pub scale: u8,
}

impl Asset {
    /// Parses a decimal amount (`10.50`, `10`, `.5`) into minor units, as [`parse_amount`] does.
    pub fn parse(&self, text: &str) -> Result<u128, AssetError> {
        parse_amount(text, self.scale)
    }

    /// Writes minor units as a decimal amount: 1050 with scale 2 is `10.50`.
    pub fn format(&self, amount: u128) -> String {
        self.format_total(Total::from(amount))
    }

    /// Writes a sum of amounts in the format of [`format`](Self::format).
    pub fn format_total(&self, total: Total) -> String {
        let digits = total.to_string();
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
    fn amounts_survive_parse_and_format() {
        for (text, amount) in
            [("10.50", 1050), ("0.01", 1), (".5", 50), ("7", 700), ("7.0", 700), ("007", 700), ("0", 0)]
        {
            assert_eq!(euro().parse(text), Ok(amount), "{text}");
        }
        assert_eq!(euro().format(1), "0.01");
        assert_eq!(euro().format(1050), "10.50");
        assert_eq!(euro().format_signed(-50), "-0.50");
        assert_eq!(euro().parse(&euro().format(u128::MAX)), Ok(u128::MAX));
    }

    #[test]
    fn each_wrong_amount_has_its_own_error() {
        for (error, texts) in [
            (AssetError::TooPrecise, &["10.505", "1.234", "0.001", "1.2304"][..]),
            (AssetError::TooManyZeros, &["3.000", "0.000", "1.2300"]),
            (AssetError::Sign, &["-1", "+5", "+", "-", "\u{2212}1", "+1,000"]),
            (
                AssetError::Separator,
                &["1,50", "1_000", "1'000.50", "1 000", " 1", "1\u{a0}000", "1\t", "1.5\n"],
            ),
            (AssetError::OpenPoint, &["7."]),
            (
                AssetError::Amount,
                &["1.2.3", ".", "", "1e3", "0x10", "1.-5", "ten", "\u{661}", "1\0", "NaN", "inf"],
            ),
            (AssetError::TooLarge, &["340282366920938463463374607431768211456"]),
        ] {
            texts.iter().for_each(|text| assert_eq!(euro().parse(text), Err(error), "{text:?}"));
        }
        assert!(!AssetError::TooPrecise.to_string().contains("zeros"), "1.234 has none");
        assert_eq!(parse_amount("1.0", 0), Err(AssetError::TooManyZeros), "whole minor units have no point");
        assert_eq!(parse_amount("340282366920938463463374607431768211455", 0), Ok(u128::MAX));
    }

    #[test]
    fn invalid_codes_are_refused() {
        assert!("EUR".parse::<AssetCode>().is_ok());
        for wrong in ["", "eur", "1ST", "TOO_LONG_A_CODE_X", "A B", "É"] {
            assert_eq!(wrong.parse::<AssetCode>(), Err(AssetError::Code), "{wrong}");
        }
    }
}
