//! Reused memory for large frames: to allocate a fresh mebibyte takes the system a quarter of the time that
//! the ledger needs for its transfers.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bezant_tigerbeetle::MESSAGE_SIZE_MAX;

/// Buffers that are kept for later frames; further ones are freed.
const KEPT_MAX: usize = 16;

/// The buffers that are not in use.
#[derive(Default)]
pub(super) struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
}

impl fmt::Debug for Buffers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Buffers").finish_non_exhaustive()
    }
}

impl Buffers {
    /// An empty buffer with capacity for a whole frame.
    pub(super) fn take(self: &Arc<Self>) -> Buffer {
        let kept = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = kept.unwrap_or_else(|| Vec::with_capacity(MESSAGE_SIZE_MAX));
        Buffer { bytes, pool: Arc::clone(self) }
    }
}

/// A buffer that returns to its pool when dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
    pool: Arc<Buffers>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT_MAX {
            free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_reused_and_is_empty() {
        let buffers = Arc::<Buffers>::default();
        let mut buffer = buffers.take();
        buffer.bytes.extend_from_slice(b"frame");
        let memory = buffer.bytes.as_ptr();
        drop(bytes::Bytes::from_owner(buffer));
        let again = buffers.take();
        assert_eq!((again.bytes.as_ptr(), again.bytes.len()), (memory, 0));
    }

    #[test]
    fn buffers_beyond_the_limit_are_freed() {
        let buffers = Arc::<Buffers>::default();
        drop((0..2 * KEPT_MAX).map(|_| buffers.take()).collect::<Vec<_>>());
        assert_eq!(buffers.free.lock().unwrap().len(), KEPT_MAX);
    }
}
