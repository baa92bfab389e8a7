//! Moments as text, for the command line and for REST.
//!
//! A moment is a date (meaning its midnight in UTC), a date and a time with an offset (RFC 3339), or the
//! ledger's integer: nanoseconds since the Unix epoch. A time without an offset is refused: it would mean
//! different moments on different machines.

use bezant_types::Nanos;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// The smallest integer that is accepted as nanoseconds (in March 1973). Smaller integers are probably
/// seconds, milliseconds or microseconds of a present date.
const NANOS_MIN: u64 = 100_000_000_000_000_000;

/// The forms of a moment, for messages and help.
pub const MOMENT_FORMS: &str =
    "2026-11-01 (midnight UTC), 2026-11-01T09:30:00Z, 2026-11-01T09:30:00+01:00 or nanoseconds since 1970";

/// Parses a moment; the error describes the valid forms.
pub fn parse_moment(text: &str) -> Result<Nanos, String> {
    let wrong = || format!("{text:?} is not a moment: write {MOMENT_FORMS}");
    if !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit()) {
        let nanos = text.parse::<u64>().map_err(|_| wrong())?;
        return if nanos < NANOS_MIN {
            Err(format!("{text} is too small to count nanoseconds since 1970: write {MOMENT_FORMS}"))
        } else {
            Ok(Nanos(nanos))
        };
    }
    let moment = if text.len() == "2026-11-01".len() {
        let date: Date = text.parse().map_err(|_| wrong())?;
        date.to_zoned(TimeZone::UTC).map_err(|_| wrong())?.timestamp()
    } else {
        text.parse::<Timestamp>().map_err(|_| wrong())?
    };
    u64::try_from(moment.as_nanosecond()).map(Nanos).map_err(|_| format!("{text:?} is before 1970"))
}

/// Formats a moment for [`parse_moment`]: RFC 3339, in UTC.
pub fn show_moment(moment: Nanos) -> String {
    let shown = Timestamp::from_nanosecond(moment.0.into());
    shown.map_or_else(|_| moment.0.to_string(), |shown| shown.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_a_date_or_a_full_time() {
        let midnight = Nanos(1_793_491_200_000_000_000);
        for text in ["2026-11-01", "2026-11-01T00:00:00Z", "2026-11-01T01:00:00+01:00", "1793491200000000000"]
        {
            assert_eq!(parse_moment(text), Ok(midnight), "{text}");
        }
        assert_eq!(parse_moment("2026-11-01T00:00:00.000000001Z"), Ok(Nanos(midnight.0 + 1)));
        assert_eq!(show_moment(midnight), "2026-11-01T00:00:00Z");
        assert_eq!(show_moment(Nanos(midnight.0 + 1)), "2026-11-01T00:00:00.000000001Z");
        assert_eq!(parse_moment(&show_moment(Nanos(u64::MAX))), Ok(Nanos(u64::MAX)));
    }

    #[test]
    fn an_ambiguous_or_invalid_moment_is_refused() {
        let wrong = [
            "",
            "today",
            "2026-13-01",
            "2026-11-31",
            "01.11.2026",
            "2026-11-01T09:30:00",
            "1793491200",
            "1793491200000",
            "1793491200000000",
            "99999999999999999999",
            "1969-12-31",
            "-1",
            "2026-11-1",
        ];
        for text in wrong {
            assert!(parse_moment(text).is_err(), "{text:?}: {:?}", parse_moment(text));
        }
        assert!(parse_moment("1793491200").unwrap_err().contains("too small"));
    }
}
