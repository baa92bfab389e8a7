//! Releases of clients, and which of them are supported.

use core::fmt;

/// The release of a client or server: major in the upper 16 bits, then minor and patch with 8 bits each.
/// Never 0 on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release(pub u32);

impl Release {
    /// The release with these numbers.
    pub const fn new(major: u16, minor: u8, patch: u8) -> Self {
        Self((major as u32) << 16 | (minor as u32) << 8 | patch as u32)
    }

    /// The oldest supported release. Older clients use other requests.
    pub const OLDEST: Self = Self::new(0, 17, 0);
    /// The newest supported release: the last possible one of the 0.17 line.
    pub const NEWEST: Self = Self::new(0, 17, u8::MAX);
    /// The release whose behaviour this crate was compared with. Servers send it to clients.
    pub const OWN: Self = Self::new(0, 17, 9);
}

impl fmt::Display for Release {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [patch, minor, low, high] = self.0.to_le_bytes();
        write!(formatter, "{}.{minor}.{patch}", u16::from_le_bytes([low, high]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_and_readable() {
        assert_eq!(Release::new(0, 17, 9).to_string(), "0.17.9");
        assert_eq!(Release::new(65535, 0, 0).to_string(), "65535.0.0");
        assert!(Release::new(0, 16, 78) < Release::OLDEST && Release::new(0, 18, 0) > Release::NEWEST);
        assert_eq!(Release::OWN.0.to_le_bytes(), [9, 17, 0, 0]);
    }
}
