//! Frames: every message begins with this header.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 16 | checksum of bytes 16..256 |
//! | 16 | 16 | zero |
//! | 32 | 16 | checksum of the body |
//! | 48 | 32 | zero |
//! | 80 | 16 | cluster |
//! | 96 | 4 | size: header and body |
//! | 100 | 4 | zero |
//! | 104 | 4 | view |
//! | 108 | 4 | release |
//! | 112 | 2 | protocol: 0 |
//! | 114 | 1 | command: 3 ping, 4 pong, 5 request, 8 reply, 18 eviction |
//! | 115 | 1 | replica |
//! | 116 | 12 | zero |
//! | 128 | 128 | fields of the command, see [`message`](crate::message) |

use bezant_codec::{DecodeError, Reader};
use bytes::BufMut;
use thiserror::Error;

use crate::checksum::checksum;
use crate::release::Release;

/// Bytes of a header.
pub const HEADER_SIZE: usize = 256;
/// The most bytes of a frame: header and body.
pub const MESSAGE_SIZE_MAX: usize = 1 << 20;
/// The most bytes of a body.
pub const BODY_SIZE_MAX: usize = MESSAGE_SIZE_MAX - HEADER_SIZE;

/// Bytes of the command's fields, at the end of a header.
pub(crate) const OWN_SIZE: usize = 128;

/// Why bytes on a connection are not a frame. The following bytes cannot be trusted either, so the connection
/// must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The header's checksum does not match.
    #[error("the header's checksum does not match")]
    HeaderChecksum,
    /// The body's checksum does not match.
    #[error("the body's checksum does not match")]
    BodyChecksum,
    /// The size is smaller than a header, or larger than [`MESSAGE_SIZE_MAX`].
    #[error("the frame has {0} bytes: 256 to 1,048,576 are allowed")]
    Size(u32),
}

/// A header whose checksum matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Checksum of bytes 16..256. The reply to a request refers to it by this checksum.
    pub checksum: u128,
    /// Checksum of the body.
    pub checksum_body: u128,
    /// The number of the cluster that the message is for.
    pub cluster: u128,
    /// Bytes of header and body; within the limits.
    pub size: u32,
    /// The highest view that the sender has received.
    pub view: u32,
    /// The sender's release.
    pub release: Release,
    /// The kind of the message, see [`message`](crate::message).
    pub command: u8,
    /// Index of the sending replica; 0 from clients.
    pub replica: u8,
    /// The fields of the command.
    pub own: [u8; OWN_SIZE],
    /// True when all reserved bytes of the first half are zero, and the release is not 0.
    pub is_clean: bool,
}

impl Header {
    /// A header to be [sealed](Self::seal).
    pub const fn new(command: u8, cluster: u128, view: u32, release: Release, own: [u8; OWN_SIZE]) -> Self {
        Self {
            checksum: 0,
            checksum_body: 0,
            cluster,
            size: 0,
            view,
            release,
            command,
            replica: 0,
            own,
            is_clean: true,
        }
    }

    /// Parses a header.
    pub fn read(bytes: &[u8; HEADER_SIZE]) -> Result<Self, FrameError> {
        let header = Self::parse(bytes).map_err(|_| FrameError::HeaderChecksum)?;
        let covered = bytes.get(16..).unwrap_or_default();
        if checksum(covered) != header.checksum {
            return Err(FrameError::HeaderChecksum);
        }
        let size = usize::try_from(header.size).unwrap_or(usize::MAX);
        if !(HEADER_SIZE..=MESSAGE_SIZE_MAX).contains(&size) {
            return Err(FrameError::Size(header.size));
        }
        Ok(header)
    }

    fn parse(bytes: &[u8; HEADER_SIZE]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let checksum = reader.u128()?;
        let mut is_clean = reader.u128()? == 0;
        let checksum_body = reader.u128()?;
        is_clean &= reader.array()? == [0; 32];
        let cluster = reader.u128()?;
        let size = reader.u32()?;
        is_clean &= reader.u32()? == 0;
        let view = reader.u32()?;
        let release = Release(reader.u32()?);
        is_clean &= release.0 != 0;
        is_clean &= reader.u16()? == 0;
        let (command, replica) = (reader.u8()?, reader.u8()?);
        is_clean &= reader.array()? == [0; 12];
        let own = reader.array()?;
        Ok(Self { checksum, checksum_body, cluster, size, view, release, command, replica, own, is_clean })
    }

    /// Bytes of the body.
    pub fn body_size(&self) -> usize {
        usize::try_from(self.size).unwrap_or(0).saturating_sub(HEADER_SIZE)
    }

    /// Fails unless these bytes are the body.
    pub fn check_body(&self, body: &[u8]) -> Result<(), FrameError> {
        if checksum(body) == self.checksum_body { Ok(()) } else { Err(FrameError::BodyChecksum) }
    }

    /// The bytes of the header for this body: sets the size and both checksums.
    ///
    /// # Panics
    /// When the body is larger than [`BODY_SIZE_MAX`].
    pub fn seal(&self, body: &[u8]) -> [u8; HEADER_SIZE] {
        assert!(body.len() <= BODY_SIZE_MAX, "a body of {} bytes does not fit in a frame", body.len());
        let size = HEADER_SIZE + body.len();
        let mut bytes = [0; HEADER_SIZE];
        let mut rest = &mut bytes[32..];
        rest.put_u128_le(checksum(body));
        rest.put_bytes(0, 32);
        rest.put_u128_le(self.cluster);
        rest.put_u32_le(u32::try_from(size).expect("invariant: checked above"));
        rest.put_u32_le(0);
        rest.put_u32_le(self.view);
        rest.put_u32_le(self.release.0);
        rest.put_u16_le(0);
        rest.put_u8(self.command);
        rest.put_u8(self.replica);
        rest.put_bytes(0, 12);
        rest.put_slice(&self.own);
        let sum = checksum(&bytes[16..]).to_le_bytes();
        bytes[..16].copy_from_slice(&sum);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let mut header = Header::new(5, 7, 3, Release::OWN, [9; OWN_SIZE]);
        header.replica = 2;
        header
    }

    #[test]
    fn a_header_round_trips() {
        let bytes = header().seal(b"the body");
        let read = Header::read(&bytes).unwrap();
        let sealed =
            Header { checksum: read.checksum, checksum_body: read.checksum_body, size: 264, ..header() };
        assert_eq!((read, read.body_size()), (sealed, 8));
        read.check_body(b"the body").unwrap();
        assert_eq!(read.check_body(b"the bodY"), Err(FrameError::BodyChecksum));
    }

    #[test]
    fn every_flipped_bit_is_detected() {
        let bytes = header().seal(b"");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::read(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn sizes_outside_the_limits_are_refused_despite_the_checksum() {
        for size in [0, 255, (1 << 20) + 1, u32::MAX] {
            let mut bytes = header().seal(b"");
            bytes[96..100].copy_from_slice(&size.to_le_bytes());
            let sum = checksum(&bytes[16..]).to_le_bytes();
            bytes[..16].copy_from_slice(&sum);
            assert_eq!(Header::read(&bytes), Err(FrameError::Size(size)));
        }
    }

    #[test]
    fn bytes_that_must_be_zero_are_checked() {
        for at in (16..32).chain(48..80).chain(100..104).chain(112..114).chain(116..128) {
            let mut bytes = header().seal(b"");
            bytes[at] = 1;
            let sum = checksum(&bytes[16..]).to_le_bytes();
            bytes[..16].copy_from_slice(&sum);
            assert!(!Header::read(&bytes).unwrap().is_clean, "byte {at}");
        }
    }
}
