//! A filter between a connection and hyper that makes HTTP/1 strict.
//!
//! hyper accepts what RFC 9112 allows a lenient server to accept: lines that end with LF alone, a
//! `Content-Length` beside a chunked body, other transfer codings before `chunked`. A proxy in front of the
//! server may find other requests in the same bytes (request smuggling). So a filter follows the bytes of a
//! connection: heads, bodies by length, chunks. At the first byte that it rejects, it gives hyper a byte that
//! no head may contain. hyper then answers 400, after the answers to earlier requests, and closes. The filter
//! keeps at most 128 bytes of a line and changes no other byte. It does not filter HTTP/2. hyper treats a
//! connection as HTTP/2 when it begins with the whole preface, so only the whole preface ends the filter.
//!
//! When a connection of HTTP/1 ends in the middle of a request, the bytes that still come are read and
//! dropped, within limits: if it were closed at once, the system would discard the answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::upload::UNREAD_SIZE_MAX;

/// Bytes of a line that are kept: enough for the headers that give the length of a body.
const LINE_KEPT: usize = 128;
/// What hyper receives in place of rejected bytes: no head may contain NUL.
const POISON: &[u8] = b"\0\r\n\r\n";
/// The lines that begin a connection of HTTP/2.
const PREFACE: &[&[u8]] = &[b"PRI * HTTP/2.0", b"", b"SM", b""];
/// The beginning of the first of these lines; no request of HTTP/1 has such a method.
const PREFACE_METHOD: &[u8] = b"PRI ";
/// Bytes that are read and dropped at a time.
const SCRATCH_SIZE: usize = 16 << 10;

/// The part of a request that the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No line has come yet.
    #[default]
    Begin,
    /// The preface of HTTP/2, with the lines that are still to come.
    Preface(&'static [&'static [u8]]),
    /// Before the first line of a request.
    Request,
    /// The lines of a head.
    Headers,
    /// Bytes of a body or chunk, with this many still to come; then `is_chunked` decides what follows.
    Data(u64),
    /// The line before a chunk.
    ChunkSize,
    /// The lines after the last chunk.
    Trailers,
    /// HTTP/2: not filtered.
    Other,
}

/// Follows the bytes of a connection. See the module.
#[derive(Debug, Default)]
struct Filter {
    state: State,
    /// The first bytes of the unfinished line, up to [`LINE_KEPT`].
    line: Vec<u8>,
    /// Bytes of the unfinished line, also those that are not kept.
    line_size: usize,
    /// The last byte of the unfinished line.
    last: u8,
    content_length: Option<u64>,
    is_chunked: bool,
}

/// A line that the filter rejects.
#[derive(Debug, PartialEq, Eq)]
struct Malformed;

impl Filter {
    /// Follows these bytes; an error is the index of the first rejected byte.
    fn pass(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match self.state {
                State::Other => return Ok(()),
                State::Data(left) => {
                    let size = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    at += size;
                    self.state = match left - size as u64 {
                        0 if self.is_chunked => State::ChunkSize,
                        0 => State::Request,
                        left => State::Data(left),
                    };
                }
                _ => {
                    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                        self.keep(rest);
                        return Ok(());
                    };
                    self.keep(rest.get(..end).unwrap_or_default());
                    at += end + 1;
                    self.end_line().map_err(|Malformed| at - 1)?;
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) {
        let size = LINE_KEPT.saturating_sub(self.line.len()).min(bytes.len());
        self.line.extend_from_slice(bytes.get(..size).unwrap_or_default());
        self.line_size = self.line_size.saturating_add(bytes.len());
        self.last = bytes.last().copied().unwrap_or(self.last);
    }

    /// True between two requests.
    fn is_between_requests(&self) -> bool {
        matches!(self.state, State::Begin | State::Request | State::Other) && self.line_size == 0
    }

    fn end_line(&mut self) -> Result<(), Malformed> {
        let (mut line, size, last) = (std::mem::take(&mut self.line), self.line_size, self.last);
        (self.line_size, self.last) = (0, 0);
        if last != b'\r' {
            return Err(Malformed);
        }
        let is_whole = line.len() == size;
        if is_whole {
            line.pop();
        }
        self.read_line(&line, is_whole)?;
        // The next line uses its memory again.
        line.clear();
        self.line = line;
        Ok(())
    }

    fn read_line(&mut self, line: &[u8], is_whole: bool) -> Result<(), Malformed> {
        self.state = match self.state {
            State::Begin if is_whole && PREFACE.first() == Some(&line) => {
                State::Preface(PREFACE.get(1..).unwrap_or_default())
            }
            State::Preface([next, rest @ ..]) if is_whole && line == *next => match rest {
                [] => State::Other,
                rest => State::Preface(rest),
            },
            State::Preface(_) => return Err(Malformed),
            State::Begin | State::Request if line.starts_with(PREFACE_METHOD) => return Err(Malformed),
            State::Begin | State::Request | State::Trailers if line.is_empty() => State::Request,
            State::Begin | State::Request => {
                (self.content_length, self.is_chunked) = (None, false);
                State::Headers
            }
            State::Headers if line.is_empty() => match self.content_length {
                Some(_) if self.is_chunked => return Err(Malformed),
                None if self.is_chunked => State::ChunkSize,
                None | Some(0) => State::Request,
                Some(size) => State::Data(size),
            },
            State::Headers => {
                self.read_header(line, is_whole)?;
                State::Headers
            }
            State::ChunkSize if !is_whole => return Err(Malformed),
            State::ChunkSize => match chunk_size(line)? {
                0 => State::Trailers,
                // The chunk and its CRLF.
                size => State::Data(size.checked_add(2).ok_or(Malformed)?),
            },
            state => state,
        };
        Ok(())
    }

    /// Reads only the headers that determine where the request ends.
    fn read_header(&mut self, line: &[u8], is_whole: bool) -> Result<(), Malformed> {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let is_length = name.eq_ignore_ascii_case(b"content-length");
        if is_length || name.eq_ignore_ascii_case(b"transfer-encoding") {
            if !is_whole {
                return Err(Malformed);
            }
            if is_length {
                let is_first = self.content_length.replace(number(value, 10)?).is_none();
                return if is_first { Ok(()) } else { Err(Malformed) };
            }
            if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed);
            }
            self.is_chunked = true;
        }
        // A line that continues the one before it (obsolete line folding).
        if line.starts_with(b" ") || line.starts_with(b"\t") { Err(Malformed) } else { Ok(()) }
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    number(line.get(..end).unwrap_or_default(), 16)
}

/// Parses digits and nothing else.
fn number(text: &[u8], radix: u32) -> Result<u64, Malformed> {
    let text = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+')).ok_or(Malformed)?;
    u64::from_str_radix(text, radix).map_err(|_| Malformed)
}

/// A connection with its filter. Its shutdown waits until the client can read the last answer.
#[derive(Debug)]
pub(crate) struct Strict<Stream> {
    stream: Stream,
    filter: Filter,
    /// Set when the whole preface of HTTP/2 has come.
    is_http2: Arc<AtomicBool>,
    is_malformed: bool,
    /// The rest of [`POISON`] that hyper has not read yet.
    poison: &'static [u8],
    linger_timeout: Duration,
    /// Runs from the end of the answers on.
    linger: Option<Pin<Box<Sleep>>>,
    /// Bytes that may still be read and dropped at the end.
    left: usize,
}

impl<Stream> Strict<Stream> {
    pub(crate) fn new(stream: Stream, linger_timeout: Duration, is_http2: Arc<AtomicBool>) -> Self {
        Self {
            stream,
            filter: Filter::default(),
            is_http2,
            is_malformed: false,
            poison: b"",
            linger_timeout,
            linger: None,
            left: UNREAD_SIZE_MAX,
        }
    }

    fn give_poison(&mut self, buffer: &mut ReadBuf<'_>) {
        let size = self.poison.len().min(buffer.remaining());
        let (now, later) = self.poison.split_at(size);
        buffer.put_slice(now);
        self.poison = later;
    }
}

impl<Stream: AsyncRead + Unpin> AsyncRead for Strict<Stream> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_malformed {
            // Once the poison is read, this reports the end of the connection.
            this.give_poison(buffer);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        let new = buffer.filled().get(before..).unwrap_or_default();
        if let Err(at) = this.filter.pass(new) {
            buffer.set_filled(before + at);
            (this.is_malformed, this.poison) = (true, POISON);
            this.give_poison(buffer);
        } else if this.filter.state == State::Other {
            this.is_http2.store(true, Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<Stream: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Strict<Stream> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Ends the answers, then waits until the client has ended its requests, within limits.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let timer = if let Some(timer) = &mut this.linger {
            timer
        } else {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            if !this.is_malformed && this.filter.is_between_requests() {
                return Poll::Ready(Ok(()));
            }
            this.linger.insert(Box::pin(tokio::time::sleep(this.linger_timeout)))
        };
        let mut scratch = [0; SCRATCH_SIZE];
        while timer.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut this.stream).poll_read(context, &mut buffer));
            let size = buffer.filled().len();
            match this.left.checked_sub(size) {
                Some(left) if size > 0 && read.is_ok() => this.left = left,
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    /// The index of the first rejected byte, the same wherever the text is cut in two.
    fn place(text: &str) -> Option<usize> {
        let whole = Filter::default().pass(text.as_bytes()).err();
        for cut in 0..=text.len() {
            let mut filter = Filter::default();
            let (first, second) = text.as_bytes().split_at(cut);
            let found = filter.pass(first).err().or_else(|| filter.pass(second).err().map(|at| cut + at));
            assert_eq!(found, whole, "{text:?} cut at {cut}");
        }
        whole
    }

    #[test]
    fn valid_requests_pass_and_end_between_requests() {
        let long = format!("GET /{} HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(9000), "y".repeat(300));
        for text in [
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\na\nb\ncGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length:0\r\n\r\nPOST / HTTP/1.1\r\ncontent-length:\t3 \r\n\r\n\n\n\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=b\r\n\n\n\n\r\n0\r\nt: x\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            &long,
        ] {
            assert_eq!(place(text), None, "{text:?}");
            let mut filter = Filter::default();
            filter.pass(text.as_bytes()).unwrap();
            assert!(filter.is_between_requests(), "{text:?}: {filter:?}");
        }
    }

    #[test]
    fn http_2_passes() {
        assert_eq!(place("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\n\n content-length: x\n"), None);
    }

    #[tokio::test]
    async fn only_the_whole_preface_ends_the_filter() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let cases =
            [(&preface[..], true), (&preface[..23], false), (b"PRI / HTTP/1.1\r\nhost: a\r\n\r\n", false)];
        for (bytes, expected) in cases {
            let is_http2 = Arc::new(AtomicBool::new(false));
            let stream = tokio::io::join(bytes, tokio::io::sink());
            let mut strict = Strict::new(stream, Duration::ZERO, Arc::clone(&is_http2));
            strict.read_to_end(&mut Vec::new()).await.unwrap();
            assert_eq!(is_http2.load(Relaxed), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn ambiguous_requests_are_rejected_at_their_line() {
        for (text, end) in [
            ("GET / HTTP/1.1\n", "GET / HTTP/1.1"),
            ("\nGET / HTTP/1.1\r\n", ""),
            ("GET / HTTP/1.1\r\nhost: a\n\r\n", "GET / HTTP/1.1\r\nhost: a"),
            ("GET / HTTP/1.1\r\nhost: a\r\n\nGET", "GET / HTTP/1.1\r\nhost: a\r\n"),
            ("PRI /v1/assets HTTP/1.1\r\nhost: a\r\n\r\n", "PRI /v1/assets HTTP/1.1\r"),
            ("PRI * HTTP/1.1\r\n\r\n", "PRI * HTTP/1.1\r"),
            ("PRI * HTTP/2.0 \r\n\r\n", "PRI * HTTP/2.0 \r"),
            ("PRI * HTTP/2.0\n\nSM\n\n", "PRI * HTTP/2.0"),
            ("PRI * HTTP/2.0\r\nX: y\r\n", "PRI * HTTP/2.0\r\nX: y\r"),
            ("PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r"),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\nX: y\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\nX: y\r"),
            ("\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\r\nPRI * HTTP/2.0\r"),
            ("GET / HTTP/1.1\r\n\r\nPRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\n\r\nPRI * HTTP/2.0\r"),
        ] {
            assert_eq!(place(text), Some(end.len()), "{text:?}");
        }
        let long = format!("content-length: {}1", "0".repeat(200));
        for header in [
            "transfer-encoding: gzip, chunked",
            "transfer-encoding: chunked, chunked",
            "transfer-encoding: identity",
            "transfer-encoding:",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "content-length: 5\r\ncontent-length: 5",
            "content-length: 5, 5",
            "content-length: +5",
            "content-length: ",
            "content-length: 0x5",
            "content-length: 99999999999999999999",
            "x: y\r\n z: folded",
            &long,
        ] {
            let text = format!("POST / HTTP/1.1\r\n{header}\r\n\r\n");
            assert_eq!(place(&text), Some(text.len() - 3), "{header}");
        }
        for both in [
            "content-length: 5\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ncontent-length: 5",
        ] {
            let text = format!("POST / HTTP/1.1\r\n{both}\r\n\r\n");
            assert_eq!(place(&text), Some(text.len() - 1), "{both}");
        }
        let chunked = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
        for chunk in ["\r\n", "x\r\n", "ffffffffffffffff\r\n", "3\n", "0\r\nt: x\n"] {
            let text = format!("{chunked}{chunk}");
            assert_eq!(place(&text), Some(text.len() - 1), "{chunk:?}");
        }
    }
}
