//! A cursor over untrusted bytes: a read past the end is an error.

use thiserror::Error;

/// Why bytes cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Too few bytes, too many, or not a multiple of the record's size.
    #[error("wrong size")]
    Size,
    /// A reserved byte is not zero.
    #[error("a reserved byte is not zero")]
    Reserved,
    /// A field has a value that is not defined.
    #[error("a field has a value that is not defined")]
    Value,
    /// A field's tag is unknown, not allowed in this record, repeated, or not in ascending order.
    #[error("a field has a tag that is unknown or out of order")]
    Tag,
    /// The checksum does not match.
    #[error("the checksum does not match")]
    Checksum,
    /// This program does not support the format version.
    #[error("this program does not support the format version")]
    Version,
}

/// Reads little-endian integers and slices one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'bytes> {
    rest: &'bytes [u8],
}

impl<'bytes> Reader<'bytes> {
    /// A reader at the start of `bytes`.
    pub const fn new(bytes: &'bytes [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes that have not been read.
    pub const fn rest(&self) -> &'bytes [u8] {
        self.rest
    }

    /// True when everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `size` bytes.
    pub fn take(&mut self, size: usize) -> Result<&'bytes [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(size).ok_or(DecodeError::Size)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Size)?;
        self.rest = rest;
        Ok(*head)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_le_bytes)
    }

    /// The next 2 bytes.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next 4 bytes.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next 8 bytes.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next 16 bytes.
    pub fn u128(&mut self) -> Result<u128, DecodeError> {
        self.array().map(u128::from_le_bytes)
    }

    /// The next 16 bytes, signed.
    pub fn i128(&mut self) -> Result<i128, DecodeError> {
        self.array().map(i128::from_le_bytes)
    }

    /// Returns an error unless everything has been read.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_reads_in_order_and_stops_at_the_end() {
        let mut reader = Reader::new(&[1, 2, 0, 3, 0, 0, 0]);
        assert_eq!((reader.u8(), reader.u16(), reader.u32()), (Ok(1), Ok(2), Ok(3)));
        assert_eq!(reader.u8(), Err(DecodeError::Size));
        assert_eq!(reader.finish(), Ok(()));
    }
}
