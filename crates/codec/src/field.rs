//! Fields at fixed offsets of fixed-size records. The offsets are checked at compile time, so that a read or
//! a write is one load or store.

/// The `N` bytes at offset `AT`.
pub(crate) fn get<const AT: usize, const N: usize, const SIZE: usize>(bytes: &[u8; SIZE]) -> [u8; N] {
    const { assert!(AT + N <= SIZE, "the field is inside the record") };
    let mut value = [0; N];
    value.copy_from_slice(&bytes[AT..AT + N]);
    value
}

/// Puts `value` at offset `AT`.
pub(crate) fn put<const AT: usize, const N: usize, const SIZE: usize>(
    bytes: &mut [u8; SIZE],
    value: [u8; N],
) {
    const { assert!(AT + N <= SIZE, "the field is inside the record") };
    bytes[AT..AT + N].copy_from_slice(&value);
}

/// Reads an integer at a fixed offset.
macro_rules! read {
    ($bytes:expr, $integer:ty, $at:literal) => {
        <$integer>::from_le_bytes($crate::field::get::<$at, { size_of::<$integer>() }, _>($bytes))
    };
}
/// Writes an integer at a fixed offset.
macro_rules! write {
    ($bytes:expr, $at:literal, $value:expr) => {
        $crate::field::put::<$at, _, _>($bytes, $value.to_le_bytes())
    };
}
pub(crate) use {read, write};
