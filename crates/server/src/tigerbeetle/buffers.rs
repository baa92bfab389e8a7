//! Memory for large frames, used again: a fresh mebibyte costs the system a quarter of the time that its
//! transfers cost the ledger.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bezant_tigerbeetle::MESSAGE_SIZE_MAX;

/// Buffers that are kept for the next frame; more are given back to the system.
const KEPT_MAX: usize = 16;

/// Buffers that nobody uses.
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
    /// An empty buffer with room for a whole frame.
    pub(super) fn take(self: &Arc<Self>) -> Buffer {
        let kept = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = kept.unwrap_or_else(|| Vec::with_capacity(MESSAGE_SIZE_MAX));
        Buffer { bytes, home: Arc::clone(self) }
    }
}

/// A buffer, on loan; goes home when dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
    home: Arc<Buffers>,
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
        let mut free = self.home.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT_MAX {
            free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_comes_back_empty() {
        let buffers = Arc::<Buffers>::default();
        let mut buffer = buffers.take();
        buffer.bytes.extend_from_slice(b"frame");
        let memory = buffer.bytes.as_ptr();
        drop(bytes::Bytes::from_owner(buffer));
        let again = buffers.take();
        assert_eq!((again.bytes.as_ptr(), again.bytes.len()), (memory, 0));
    }

    #[test]
    fn what_is_too_much_is_given_back() {
        let buffers = Arc::<Buffers>::default();
        drop((0..2 * KEPT_MAX).map(|_| buffers.take()).collect::<Vec<_>>());
        assert_eq!(buffers.free.lock().unwrap().len(), KEPT_MAX);
    }
}
