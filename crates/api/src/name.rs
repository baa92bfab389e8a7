//! Names of accounts: which names are accepted, their normalized form, and how they are printed.
//!
//! The ledger checks only a rule that never changes: UTF-8 of at most 64 bytes, no control characters, no
//! space at either end, not digits only. Unicode's tables say which names look the same and which characters
//! are invisible, and these tables grow. So this crate checks names against them before a command enters the
//! log. Replicas never depend on a version of Unicode.
//!
//! A new name is normalized with the profile `OpaqueString` of RFC 8265: the result is in normal form C, and
//! every space is U+0020. The profile refuses invisible characters (zero-width, direction, separator and tag
//! characters) and unassigned ones. This crate adds two rules. No character may have an empty glyph. No name
//! may begin with a combining mark, which would combine with the text before the name.
//!
//! Names that version 0.1 accepted stay valid, whatever they contain. So a printed text may contain
//! characters that no new name can have: they are printed as escapes. A backslash before text that looks like
//! such an escape is doubled.

use std::borrow::Cow;

use bezant_types::{name_from_bytes, name_to_bytes};
use precis_core::profile::PrecisFastInvocation as _;
use precis_core::{DerivedPropertyValue, FreeformClass, StringClass as _};
use precis_profiles::OpaqueString;
use unicode_normalization::char::{canonical_combining_class, is_combining_mark};
use unicode_normalization::{IsNormalized, is_nfc, is_nfc_quick};

/// The normalized form of a name for a new account; `None` when no new account can have the name. An empty
/// name stays empty.
pub fn normalized(name: &str) -> Option<Cow<'_, str>> {
    // HTTP clients remove the segments `.` and `..` from the path of a URL.
    if name == "." || name == ".." {
        return None;
    }
    let is_plain = name.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let normal = if is_plain { Cow::Borrowed(name) } else { OpaqueString::enforce(name).ok()? };
    name_to_bytes(&normal).as_ref().and_then(name_from_bytes)?;
    let is_shown = !normal.contains(is_blank) && !normal.starts_with(is_combining_mark);
    is_shown.then_some(normal)
}

/// Replaces each character that a new name cannot contain by its escape, such as `\u{202e}`. The result is
/// safe to print on a terminal, and a name that is not normalized prints differently from its normalized
/// form. Backslashes before an escape, or before text that looks like the rest of one (`u{`), are doubled. So
/// different texts never print the same. Line ends are not replaced.
pub fn printable(text: &str) -> Cow<'_, str> {
    let escape = |escaped: &mut String, letter: char| {
        double_backslashes(escaped);
        escaped.extend(letter.escape_unicode());
    };
    if !text.contains("\\u{") {
        return escaped(text, escape);
    }
    let mut doubled = String::with_capacity(text.len() + 8);
    for part in text.split_inclusive("u{") {
        let before = part.strip_suffix("u{");
        doubled.push_str(before.unwrap_or(part));
        if before.is_some() {
            double_backslashes(&mut doubled);
            doubled.push_str("u{");
        }
    }
    Cow::Owned(escaped(&doubled, escape).into_owned())
}

/// Doubles the backslashes at the end of the text.
fn double_backslashes(text: &mut String) {
    let count = text.len() - text.trim_end_matches('\\').len();
    text.extend(std::iter::repeat_n('\\', count));
}

/// Replaces the same characters as [`printable`], with escapes that the caller writes: `escape` appends the
/// escape of a character to the text so far. Backslashes are not doubled, unless `escape` does it.
pub fn escaped(text: &str, mut escape: impl FnMut(&mut String, char)) -> Cow<'_, str> {
    if text.chars().all(is_printable) && is_nfc(text) && !text.starts_with(is_combining_mark) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while !rest.is_empty() {
        let (part, after) = rest.split_at(part_size(rest));
        let is_normal = is_nfc(part);
        for (at, letter) in part.char_indices() {
            // In a part that is not normalized, only the first character can stay: if it stands alone. The
            // others are escaped.
            let is_itself = if at == 0 { stands_alone(letter) } else { is_normal };
            if is_printable(letter) && is_itself {
                escaped.push(letter);
            } else {
                escape(&mut escaped, letter);
            }
        }
        rest = after;
    }
    Cow::Owned(escaped)
}

/// The size in bytes of the first part of a text. A part is one character and all characters after it that do
/// not stand alone. The normal form of a text is the sequence of the normal forms of its parts (UAX #15,
/// 9.1).
fn part_size(text: &str) -> usize {
    let next = text.char_indices().skip(1).find(|(_, letter)| stands_alone(*letter));
    next.map_or(text.len(), |(at, _)| at)
}

/// True for a character that is in normal form C and never combines with the character before it.
fn stands_alone(letter: char) -> bool {
    letter.is_ascii()
        || !is_combining_mark(letter)
            && canonical_combining_class(letter) == 0
            && is_nfc_quick(std::iter::once(letter)) == IsNormalized::Yes
}

/// True for visible characters, for the space U+0020, and for the line end `\n`.
fn is_printable(letter: char) -> bool {
    if letter.is_ascii() {
        return letter == ' ' || letter == '\n' || letter.is_ascii_graphic();
    }
    !letter.is_whitespace()
        && !is_blank(letter)
        && matches!(
            FreeformClass::default().get_value_from_char(letter),
            DerivedPropertyValue::PValid
                | DerivedPropertyValue::SpecClassPval
                | DerivedPropertyValue::ContextO
        )
}

/// True for letters, symbols and marks whose glyph is empty. No property of Unicode distinguishes them from
/// visible characters: they are neither spaces nor ignorable. The list is from the code charts.
const fn is_blank(letter: char) -> bool {
    matches!(
        letter,
        // Braille pattern blank; object replacement character; Brahmi number joiner; musical symbol null
        // notehead.
        '\u{2800}' | '\u{fffc}' | '\u{1107f}' | '\u{1d159}'
        // Egyptian hieroglyph full and half blank; Khitan small script filler.
        | '\u{13441}' | '\u{13442}' | '\u{16fe4}'
        // Hangul fillers. `OpaqueString` refuses them as well.
        | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}'
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
    fn invisible_and_unreachable_names_are_refused() {
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
            "\u{2800}",
            "car\u{2800}ol",
            "\u{115f}",
            "\u{1160}",
            "\u{3164}",
            "\u{ffa0}",
            "\u{fffc}",
            "\u{1107f}",
            "\u{1d159}",
            "\u{13441}",
            "\u{13442}",
            "\u{16fe4}",
            "\u{301}carol",
            "\u{20dd}",
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
    fn invisible_characters_are_printed_as_escapes() {
        assert_eq!(printable("Jos\u{e9} 10.50 \u{20ac}\n"), "Jos\u{e9} 10.50 \u{20ac}\n");
        assert_eq!(printable("a\u{202e}b\u{1b}[31m"), "a\\u{202e}b\\u{1b}[31m");
        assert_eq!(printable("\u{200b}\u{e0061}\r"), "\\u{200b}\\u{e0061}\\u{d}");
        assert_eq!(printable("a\u{2800}\u{3164}b"), "a\\u{2800}\\u{3164}b");
        assert_eq!(printable("a\u{a0}b\u{3000}c"), "a\\u{a0}b\\u{3000}c", "spaces other than U+0020");
    }

    #[test]
    fn text_that_looks_like_an_escape_is_printed_differently() {
        for (name, shown) in [
            (r"a\u{202e}b", r"a\\u{202e}b"),
            (r"a\\u{202e}b", r"a\\\\u{202e}b"),
            ("a\u{202e}b", r"a\u{202e}b"),
            ("a\\\u{202e}b", r"a\\\u{202e}b"),
            ("\\\\\u{202e}\\u{", r"\\\\\u{202e}\\u{"),
            (r"\u{\u{u{", r"\\u{\\u{u{"),
            (r"C:\users\u \", r"C:\users\u \"),
        ] {
            assert_eq!(printable(name), shown, "{name:?}");
        }
    }

    #[test]
    fn names_that_are_not_normalized_are_printed_differently() {
        for (name, shown) in [
            ("Jose\u{301}", "Jose\\u{301}"),
            ("Jos\u{e9}", "Jos\u{e9}"),
            ("\u{212b}", "\\u{212b}"),
            ("5 \u{2126}", "5 \\u{2126}"),
            ("q\u{307}\u{323}", "q\\u{307}\\u{323}"),
            ("q\u{323}\u{307}", "q\u{323}\u{307}"),
            ("\u{1112}\u{1161}\u{11ab}", "\\u{1112}\\u{1161}\\u{11ab}"),
            ("\u{d55c}", "\u{d55c}"),
            ("\u{301}a", "\\u{301}a"),
            ("\u{b95}\u{bca}", "\u{b95}\u{bca}"),
            ("\u{b95}\u{bc6}\u{bbe}", "\u{b95}\\u{bc6}\\u{bbe}"),
            ("\u{928}\u{93c} Jose\u{301}", "\u{928}\\u{93c} Jose\\u{301}"),
        ] {
            assert_eq!(printable(name), shown, "{name:?}");
            let normal = normalized(name);
            assert_eq!(
                normal.as_deref() == Some(name),
                shown == name,
                "{name:?} is as it is printed: {normal:?}"
            );
        }
    }

    #[test]
    fn exactly_the_normalized_names_are_printed_unchanged() {
        // Arabic digits and some punctuation are accepted only beside letters of their own script.
        let has_context = |letter| {
            matches!(
                letter,
                '\u{b7}' | '\u{375}' | '\u{5f3}' | '\u{5f4}' | '\u{30fb}' | '\u{660}'..='\u{6f9}'
            )
        };
        for letter in (0xa0..0x3_0000).filter_map(char::from_u32) {
            let name = format!("a{letter}");
            let is_shown = printable(&name) == name;
            let is_taken = normalized(&name).as_deref() == Some(&name);
            assert!(is_shown == is_taken || is_shown && has_context(letter), "{name:?}");
        }
        assert_eq!(printable("l\u{b7}l"), normalized("l\u{b7}l").unwrap());
    }
}
