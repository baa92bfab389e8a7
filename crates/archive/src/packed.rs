//! Compressed files: gzip is unpacked while it is read; for any other format the error names the program that
//! unpacks it.
//!
//! The command line's imports of rows read their files in the same way as exports, so this is public. It is
//! hidden in the documentation, because it may change with them.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::GzDecoder;

/// The mark that some programs write at the beginning of UTF-8 text.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The first bytes of a gzip file.
const GZIP: &[u8] = b"\x1f\x8b";

/// The number of first bytes by which a file's format is recognized.
pub const HEAD_SIZE: u64 = 64;

/// The first bytes of a content, and the rest.
pub type Content = io::Chain<Cursor<Vec<u8>>, Box<dyn Read>>;

/// Unpacks a source if it is gzip. Returns the first `HEAD_SIZE` bytes of the content, fewer if it is shorter,
/// and a reader of the rest.
pub fn unpack(mut source: impl Read + 'static) -> io::Result<(Vec<u8>, Box<dyn Read>)> {
    let head = head_of(&mut source)?;
    if !head.starts_with(GZIP) {
        return Ok((head, Box::new(source)));
    }
    let mut unpacked = Unpacked::new(Cursor::new(head).chain(source));
    Ok((head_of(&mut unpacked)?, Box::new(unpacked)))
}

fn head_of(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    source.take(HEAD_SIZE).read_to_end(&mut head)?;
    Ok(head)
}

/// What is wrong with a file in a compressed format that no command reads, and how to unpack it: the end of a
/// sentence. `None` for any other content.
pub fn advice(head: &[u8]) -> Option<&'static str> {
    const ADVICE: [(&[u8], &str); 6] = [
        (GZIP, "is compressed twice: unpack it with gunzip"),
        (b"\x28\xb5\x2f\xfd", "is compressed: unpack it with unzstd"),
        (b"\xfd7zXZ\0", "is compressed: unpack it with unxz"),
        (b"BZh", "is compressed: unpack it with bunzip2"),
        (b"\x04\x22\x4d\x18", "is compressed: unpack it with unlz4"),
        (b"PK\x03\x04", "is a workbook or an archive: unpack it, or save the table as CSV (UTF-8)"),
    ];
    ADVICE.into_iter().find(|(beginning, _)| head.starts_with(beginning)).map(|(_, advice)| advice)
}

/// Reads the content of a gzip file. Every kind of damage becomes `InvalidData`; an error of the disk stays
/// as it is.
///
/// Members follow each other. Zeros after the last member are padding, as `gzip` accepts it from tapes and
/// block devices; anything else after it is damage.
struct Unpacked<Source: Read> {
    /// The current member; `None` after the last.
    member: Option<GzDecoder<BufReader<Source>>>,
}

impl<Source: Read> Unpacked<Source> {
    fn new(source: Source) -> Self {
        Self { member: Some(GzDecoder::new(BufReader::new(source))) }
    }

    fn read_members(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let size = member.read(buffer)?;
            if size > 0 || buffer.is_empty() {
                return Ok(size);
            }
            let is_next = has_data(member.get_mut())?;
            let ended = self.member.take().filter(|_| is_next);
            self.member = ended.map(|member| GzDecoder::new(member.into_inner()));
        }
        Ok(0)
    }
}

/// True where another member begins; false after zeros to the end.
fn has_data(source: &mut impl BufRead) -> io::Result<bool> {
    let mut is_padded = false;
    loop {
        let bytes = source.fill_buf()?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        if zeros < bytes.len() {
            let is_next = !is_padded && zeros == 0;
            let damage = || io::Error::new(io::ErrorKind::InvalidData, "bytes follow the padding");
            return if is_next { Ok(true) } else { Err(damage()) };
        }
        if zeros == 0 {
            return Ok(false);
        }
        is_padded = true;
        source.consume(zeros);
    }
}

impl<Source: Read> Read for Unpacked<Source> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_members(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                let what = format!("the file does not unpack, it is damaged or cut off: {error}");
                io::Error::new(io::ErrorKind::InvalidData, what)
            }
            _ => error,
        })
    }
}

/// The bytes as gzip packs them.
#[cfg(test)]
pub(crate) fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let (mut found, mut rest) = unpack(Cursor::new(bytes.to_vec()))?;
        rest.read_to_end(&mut found)?;
        Ok(found)
    }

    #[test]
    fn gzip_is_unpacked_and_other_bytes_stay() {
        for bytes in [&b""[..], b"\x1f", b"id", b"id,name\n"] {
            assert_eq!(read(bytes).unwrap(), bytes);
            assert_eq!(read(&packed(bytes)).unwrap(), bytes);
        }
        let parts = [packed(b"one "), packed(b"two")].concat();
        assert_eq!(read(&parts).unwrap(), b"one two", "concatenated gzip files");
    }

    #[test]
    fn zeros_after_gzip_are_padding() {
        for size in [1, 7, 512, 20_000] {
            let parts = [packed(b"one "), packed(b"two"), vec![0; size]].concat();
            assert_eq!(read(&parts).unwrap(), b"one two", "{size} zeros");
        }
    }

    #[test]
    fn damaged_gzip_is_an_error() {
        let whole = packed(b"id,name\n1,alice\n2,bob\n");
        for size in 2..whole.len() {
            let error = read(&whole[..size]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "cut after {size} bytes: {error}");
        }
        for rest in [&b"x"[..], b"\0x", b"\x1f", b"id,name\n"] {
            let error = read(&[&whole, rest].concat()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{rest:?}: {error}");
        }
        let late = [whole.clone(), vec![0; 20_000], whole.clone()].concat();
        assert_eq!(
            read(&late).unwrap_err().kind(),
            io::ErrorKind::InvalidData,
            "the program gzip ignores it"
        );
        let mut bent = whole.clone();
        bent[whole.len() - 6] ^= 1;
        assert_eq!(read(&bent).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
