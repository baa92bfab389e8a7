//! The fingerprint of a call, which identifies it in the log: a hash of its kind, name and types.
//!
//! The hashed text has every token of the signature, separated by single spaces, and each punctuation mark is
//! a separate token. So it depends neither on the spacing of the declaration nor on how a compiler prints
//! types. The names of arguments are not in it. The hash is FNV-1a of 64 bits, with its top bits folded into
//! the rest. It only has to distinguish signatures: it is not cryptographic, and any program can compute it.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The first byte of every call: the version of the encoding.
const FORMAT: u64 = 1;

/// The text of some tokens.
pub(crate) fn text(tokens: TokenStream) -> String {
    let mut words = Vec::new();
    walk(tokens, &mut words);
    words.join(" ")
}

fn walk(tokens: TokenStream, words: &mut Vec<String>) {
    for token in tokens {
        let TokenTree::Group(group) = token else {
            words.push(token.to_string());
            continue;
        };
        let (open, close) = match group.delimiter() {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Brace => ("{", "}"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::None => {
                walk(group.stream(), words);
                continue;
            }
        };
        words.push(open.to_owned());
        walk(group.stream(), words);
        words.push(close.to_owned());
    }
}

/// The first 8 bytes of a call, little-endian: its format, and 56 bits of its fingerprint.
pub(crate) fn header(text: &str) -> u64 {
    let hash = fnv(text);
    let folded = (hash ^ (hash >> 56)) & (u64::MAX >> 8);
    (folded << 8) | FORMAT
}

/// The number of a stream: 32 bits.
pub(crate) fn stream(text: &str) -> u32 {
    let hash = fnv(text);
    u32::try_from((hash ^ (hash >> 32)) & u64::from(u32::MAX)).expect("invariant: masked to 32 bits")
}

fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(source: &str) -> String {
        text(source.parse().unwrap())
    }

    #[test]
    fn spacing_does_not_change_the_text() {
        assert_eq!(
            text_of("find(Vec<Vec<u8>>)->Option<a::B>"),
            text_of("find ( Vec < Vec < u8 > > ) -> Option<a :: B>")
        );
        assert_eq!(text_of("f(u8)->[u8;2]"), "f ( u8 ) - > [ u8 ; 2 ]");
    }

    /// Logs contain these numbers, so they must never change.
    #[test]
    fn fingerprints_never_change() {
        assert_eq!(fnv(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv("a"), 0xaf63_dc4c_8601_ec8c);
        let text = "cmd restock ( u32 , u32 ) - > u32";
        assert_eq!(format!("{:016x}", header(text)), "a31f9d38bd208c01");
        assert_eq!(format!("{:08x}", stream(text)), "921e3fbb");
    }
}
