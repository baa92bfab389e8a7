//! Memory for direct I/O: it starts at a multiple of the block size.
//!
//! A vector is allocated one block too long and used from its first aligned byte on. So there is no unsafe
//! code, and bytes that were never written read as zero. Buffers are meant to be reused: a buffer grows and
//! never shrinks, and copies its content when it grows.

use std::ops::{Deref, DerefMut};

use crate::disk::BLOCK_SIZE;

/// A growable buffer whose first byte is at a multiple of [`BLOCK_SIZE`] in memory.
pub struct AlignedBuffer {
    /// The capacity and one more block; always initialized.
    bytes: Vec<u8>,
    /// Index of the first aligned byte.
    start: usize,
    /// Bytes in use.
    size: usize,
}

impl AlignedBuffer {
    /// An empty buffer that holds `capacity` bytes, rounded up to whole blocks, before it must grow.
    pub fn with_capacity(capacity: usize) -> Self {
        let bytes = vec![0; capacity.next_multiple_of(BLOCK_SIZE) + BLOCK_SIZE];
        let start = bytes.as_ptr().align_offset(BLOCK_SIZE);
        assert!(start < BLOCK_SIZE, "an aligned byte is within the first block");
        Self { bytes, start, size: 0 }
    }

    /// A buffer of `size` bytes, all zero.
    pub fn zeroed(size: usize) -> Self {
        let mut buffer = Self::with_capacity(size);
        buffer.size = size;
        buffer
    }

    /// Bytes that fit before it must grow.
    pub fn capacity(&self) -> usize {
        self.bytes.len() - BLOCK_SIZE
    }

    /// Drops the content and keeps the memory.
    pub fn clear(&mut self) {
        self.size = 0;
    }

    /// Drops everything after the first `size` bytes.
    pub fn truncate(&mut self, size: usize) {
        self.size = self.size.min(size);
    }

    /// Appends `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        let end = self.size + bytes.len();
        self.reserve(end);
        let from = self.start + self.size;
        self.bytes[from..from + bytes.len()].copy_from_slice(bytes);
        self.size = end;
    }

    /// Appends `count` zeros.
    pub fn extend_zeros(&mut self, count: usize) {
        let end = self.size + count;
        self.reserve(end);
        let from = self.start + self.size;
        self.bytes[from..from + count].fill(0);
        self.size = end;
    }

    /// Sets the size. The added bytes may be left over from an earlier use, so this is for a buffer that a
    /// read is about to fill.
    pub fn resize_stale(&mut self, size: usize) {
        self.reserve(size);
        self.size = size;
    }

    fn reserve(&mut self, size: usize) {
        if size > self.capacity() {
            let mut grown = Self::with_capacity(size.max(self.capacity() * 2));
            grown.size = self.size;
            grown.copy_from_slice(self);
            *self = grown;
        }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.size]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.size]
    }
}

impl std::fmt::Debug for AlignedBuffer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AlignedBuffer")
            .field("size", &self.size)
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_buffer_stays_aligned_and_keeps_its_content() {
        let mut buffer = AlignedBuffer::with_capacity(1);
        let mut expected = Vec::new();
        for piece in 0_u8..100 {
            buffer.extend(&[piece; 777]);
            buffer.extend_zeros(3);
            expected.extend_from_slice(&[piece; 777]);
            expected.extend_from_slice(&[0; 3]);
            assert_eq!(buffer.as_ptr().align_offset(BLOCK_SIZE), 0, "after {piece}");
        }
        assert_eq!(&*buffer, &*expected);
    }

    #[test]
    fn appended_zeros_overwrite_old_bytes() {
        let mut buffer = AlignedBuffer::with_capacity(16);
        buffer.extend(&[7; 16]);
        buffer.clear();
        buffer.extend_zeros(16);
        assert_eq!(&*buffer, &[0; 16]);
    }
}
