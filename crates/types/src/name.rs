//! Account names in the 64 bytes that a record has for them.

use crate::limits;

/// A name as the 64 bytes of a record. `None` when it is longer, or contains a zero byte, which would end it.
pub fn name_to_bytes(name: &str) -> Option<[u8; limits::NAME_SIZE_MAX]> {
    let mut bytes = [0; limits::NAME_SIZE_MAX];
    if name.contains('\0') {
        return None;
    }
    bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    Some(bytes)
}

/// The name in the 64 bytes of a record; empty = no name. `None` when it breaks the rules for names: UTF-8,
/// no control characters, no white space at either end, not only digits (those are ids).
pub fn name_from_bytes(bytes: &[u8; limits::NAME_SIZE_MAX]) -> Option<&str> {
    let size = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let name = core::str::from_utf8(&bytes[..size]).ok()?;
    let is_valid = name.is_empty()
        || (name.trim() == name
            && !name.chars().any(char::is_control)
            && !name.bytes().all(|letter| letter.is_ascii_digit()));
    is_valid.then_some(name)
}
