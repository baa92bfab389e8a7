//! The state in a checkpoint, with the version of its type.

use core::fmt;

use serde_core::de::DeserializeOwned;

use crate::export;

/// A state that this version of the program, or an earlier one, saved.
#[derive(Clone, Copy)]
pub struct SavedState<'checkpoint> {
    version: u32,
    bytes: &'checkpoint [u8],
}

impl<'checkpoint> SavedState<'checkpoint> {
    pub(crate) const fn new(version: u32, bytes: &'checkpoint [u8]) -> Self {
        Self { version, bytes }
    }

    /// `STATE_VERSION` of the program that saved the state.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// The state as a value of `T`, the type that it had in that version; `None` when it is not of that type.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        export::decode(self.bytes).ok()
    }
}

impl fmt::Debug for SavedState<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, bytes } = self;
        formatter.debug_struct("SavedState").field("version", version).field("size", &bytes.len()).finish()
    }
}
