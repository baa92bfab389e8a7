//! Frames: what a connection between two nodes carries.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic "BZPF" |
//! | 4 | 4 | size of the payload in bytes; 0 = a heartbeat |
//! | 8 | 8 | checksum of the payload, seeded with its size |
//! | 16 | 8 | checksum of bytes 0..16, seeded with 0 |
//!
//! Integers are little-endian. A damaged frame ends the connection: the engine sends again.

use std::io::{self, ErrorKind, IoSlice, Read, Write};

use bezant_codec::checksum_seeded;
use bytes::{Bytes, BytesMut};

/// The size of a frame's header in bytes.
const HEADER_SIZE: usize = 24;
/// The largest payload in bytes: the largest entry, and space for what goes with it.
pub(super) const PAYLOAD_SIZE_MAX: usize = 8 << 20;
/// The most frames that one system call writes.
const GATHER_MAX: usize = 64;
const MAGIC: u32 = u32::from_le_bytes(*b"BZPF");

const _: () = assert!(
    PAYLOAD_SIZE_MAX >= bezant_types::limits::ENTRY_SIZE_MAX + (1 << 20),
    "every entry fits, with entries before it up to the engine's size of a message"
);

/// The header of a payload.
fn header(payload: &[u8]) -> [u8; HEADER_SIZE] {
    let size = u32::try_from(payload.len()).expect("invariant: payloads are limited");
    let mut bytes = [0; HEADER_SIZE];
    bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[4..8].copy_from_slice(&size.to_le_bytes());
    bytes[8..16].copy_from_slice(&checksum_seeded(u64::from(size), payload).to_le_bytes());
    let checksum = checksum_seeded(0, &bytes[..16]);
    bytes[16..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Writes frames, many in one system call, without copying their payloads.
pub(super) fn write_all(stream: &mut impl Write, payloads: &[Bytes]) -> io::Result<()> {
    for payloads in payloads.chunks(GATHER_MAX) {
        let headers: Vec<_> = payloads.iter().map(|payload| header(payload)).collect();
        let parts = headers.iter().zip(payloads);
        let mut slices: Vec<IoSlice<'_>> = parts
            .flat_map(|(header, payload)| [IoSlice::new(header), IoSlice::new(payload)])
            .filter(|slice| !slice.is_empty())
            .collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            match stream.write_vectored(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Reads one frame's payload of at most `size_max` bytes; empty for a heartbeat.
pub(super) fn read(stream: &mut impl Read, size_max: usize) -> io::Result<Bytes> {
    let wrong = |what: &str| io::Error::new(ErrorKind::InvalidData, what.to_owned());
    let mut header = [0; HEADER_SIZE];
    stream.read_exact(&mut header)?;
    let mut reader = bezant_codec::Reader::new(&header);
    let broken = |_| wrong("a frame's header cannot be read");
    let (magic, size) = (reader.u32().map_err(broken)?, reader.u32().map_err(broken)?);
    let (payload_checksum, header_checksum) = (reader.u64().map_err(broken)?, reader.u64().map_err(broken)?);
    if header_checksum != checksum_seeded(0, &header[..16]) {
        return Err(wrong("a frame's header is damaged"));
    }
    if magic != MAGIC {
        return Err(wrong("a frame of another protocol"));
    }
    let wanted = usize::try_from(size).map_err(|_| wrong("a frame is too large"))?;
    if wanted > size_max {
        return Err(wrong("a frame is too large"));
    }
    let mut payload = BytesMut::zeroed(wanted);
    stream.read_exact(&mut payload)?;
    if payload_checksum != checksum_seeded(u64::from(size), &payload) {
        return Err(wrong("a frame's payload is damaged"));
    }
    Ok(payload.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(payloads: &[Bytes]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_all(&mut bytes, payloads).unwrap();
        bytes
    }

    #[test]
    fn frames_are_read_as_written() {
        let payloads: Vec<Bytes> = (0..200_usize).map(|size| Bytes::from(vec![7; size * 31])).collect();
        let bytes = written(&payloads);
        let mut rest = bytes.as_slice();
        for payload in payloads {
            assert_eq!(read(&mut rest, PAYLOAD_SIZE_MAX).unwrap(), payload);
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = written(&[Bytes::from_static(b"payload")]);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            read(&mut flipped.as_slice(), PAYLOAD_SIZE_MAX).unwrap_err();
        }
    }

    #[test]
    fn a_large_frame_is_refused_before_memory_is_allocated() {
        let bytes = written(&[Bytes::from(vec![1; 1000])]);
        let error = read(&mut bytes.as_slice(), 999).unwrap_err();
        assert!(error.to_string().contains("too large"));
    }
}
