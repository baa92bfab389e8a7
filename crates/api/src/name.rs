//! Names of accounts as people write them: which ones are taken, in which form, and how they are shown.
//!
//! The ledger keeps a rule that never changes: UTF-8 of at most 64 bytes, no control characters, no space at either end,
//! not digits only. What looks like another name, or like none, is a question of Unicode's tables, which grow; so it is
//! decided here, before a name enters the log, and replicas never have to agree on a version of Unicode.
//!
//! The profile is that of RFC 8265 for strings that people choose freely (`OpaqueString`): normal form C, every space is
//! U+0020, and nothing that cannot be seen: no zero-width, direction, separator or tag characters, nothing unassigned.

use std::borrow::Cow;

use bezant_ledger::{name_from_bytes, name_to_bytes};
use precis_core::profile::PrecisFastInvocation as _;
use precis_core::{DerivedPropertyValue, FreeformClass, StringClass as _};
use precis_profiles::OpaqueString;

/// A name in the form in which new accounts get it; `None` when no new account can have it. Empty = none.
pub fn normalized(name: &str) -> Option<Cow<'_, str>> {
    // Paths of URLs cannot hold these two: clients take them out.
    if name == "." || name == ".." {
        return None;
    }
    let is_plain = name.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let normal = if is_plain { Cow::Borrowed(name) } else { OpaqueString::enforce(name).ok()? };
    name_to_bytes(&normal).as_ref().and_then(name_from_bytes)?;
    Some(normal)
}

/// A text with everything that a new name could not hold as its escape, `\u{202e}`: it can be printed on a terminal.
/// Lines stay lines.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if is_printable(letter) {
            escaped.push(letter);
        } else {
            escaped.extend(letter.escape_unicode());
        }
    }
    Cow::Owned(escaped)
}

/// True for what can be seen, and for the end of a line.
pub fn is_printable(letter: char) -> bool {
    if letter.is_ascii() {
        return letter == ' ' || letter == '\n' || letter.is_ascii_graphic();
    }
    matches!(
        FreeformClass::default().get_value_from_char(letter),
        DerivedPropertyValue::PValid | DerivedPropertyValue::SpecClassPval
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_the_same_are_the_same() {
        for (written, kept) in [
            ("users:alice:main", "users:alice:main"),
            ("Jose\u{301}", "Jos\u{e9}"),
            ("Jos\u{e9}", "Jos\u{e9}"),
            ("a\u{a0}b", "a b"),
            ("\u{645}\u{62d}\u{645}\u{62f}", "\u{645}\u{62d}\u{645}\u{62f}"),
            ("\u{1f600}", "\u{1f600}"),
            ("\u{65e5}\u{672c}", "\u{65e5}\u{672c}"),
            ("...", "..."),
            ("", ""),
        ] {
            assert_eq!(normalized(written).as_deref(), Some(kept), "{written:?}");
        }
    }

    #[test]
    fn names_that_cannot_be_seen_or_reached_are_refused() {
        for wrong in [
            "carol\0",
            "car\u{200b}ol",
            "car\u{200d}ol",
            "car\u{feff}ol",
            "\u{202e}lorac",
            "car\u{2066}ol",
            "car\u{2028}ol",
            "car\u{2029}ol",
            "car\u{e0061}ol",
            "car\u{ad}ol",
            "car\u{fe0f}ol",
            "car\u{3164}ol",
            "car\u{7f}ol",
            "car\u{85}ol",
            "car\u{e000}ol",
            "tab\t",
            " carol",
            "carol\u{a0}",
            "1234",
            ".",
            "..",
        ] {
            assert_eq!(normalized(wrong), None, "{wrong:?}");
        }
        assert_eq!(normalized(&"\u{e9}".repeat(33)), None, "66 bytes");
        assert!(normalized(&"e\u{301}".repeat(32)).is_some(), "64 bytes in normal form");
    }

    #[test]
    fn what_cannot_be_seen_is_printed_as_its_escape() {
        assert_eq!(printable("Jos\u{e9} 10.50 \u{20ac}\n"), "Jos\u{e9} 10.50 \u{20ac}\n");
        assert_eq!(printable("a\u{202e}b\u{1b}[31m"), "a\\u{202e}b\\u{1b}[31m");
        assert_eq!(printable("\u{200b}\u{e0061}\r"), "\\u{200b}\\u{e0061}\\u{d}");
    }
}
