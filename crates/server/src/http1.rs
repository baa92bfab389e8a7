//! What stands between a connection and hyper where HTTP/1 leaves no choice.
//!
//! hyper takes what RFC 9112 lets a lenient server take: lines that end with LF alone, a length beside chunks, codings
//! before chunks. A proxy in front may read the same bytes as another request. So a filter follows the bytes of a
//! connection (heads, bodies by length, chunks), and at the first byte that is not to be taken hyper is given a byte
//! that no head may have: it answers 400, after the answers to the requests before, and closes. The filter keeps 128
//! bytes of a line at most and changes nothing else. HTTP/2 passes it by: hyper takes a connection for one of HTTP/2 when
//! it begins with the whole preface, so nothing less ends the filter.
//!
//! At the end of a connection of HTTP/1 that stops in the middle of a request, what still comes is read and dropped,
//! within bounds: closing at once would make the system take the answer back.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::upload::UNREAD_SIZE_MAX;

/// Bytes of a line that are kept: enough for the headers that say how long a body is.
const LINE_KEPT: usize = 128;
/// What hyper is given in place of bytes that are not to be taken.
const POISON: &[u8] = b"\0\r\n\r\n";
/// The lines with which a connection of HTTP/2 begins.
const PREFACE: &[&[u8]] = &[b"PRI * HTTP/2.0", b"", b"SM", b""];
/// How the first of them begins; a request of HTTP/1 has no such method.
const PREFACE_METHOD: &[u8] = b"PRI ";
/// Bytes that are read and dropped at a time.
const SCRATCH_SIZE: usize = 16 << 10;

/// Where in a request the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No line has come yet.
    #[default]
    Begin,
    /// In the preface of HTTP/2; these lines of it are to come.
    Preface(&'static [&'static [u8]]),
    /// Before the first line of a request.
    Request,
    /// In the lines of a head.
    Headers,
    /// In bytes that are not looked at, with so many to come; then `is_chunked` says what follows.
    Data(u64),
    /// In the line before a chunk.
    ChunkSize,
    /// In the lines behind the last chunk.
    Trailers,
    /// HTTP/2.
    Other,
}

/// Follows the bytes of a connection.
#[derive(Debug, Default)]
struct Filter {
    state: State,
    /// The beginning of the line that is not at its end.
    line: Vec<u8>,
    /// Bytes of that line.
    line_size: usize,
    /// The byte that came last.
    last: u8,
    content_length: Option<u64>,
    is_chunked: bool,
}

/// A line that is not to be taken.
#[derive(Debug, PartialEq, Eq)]
struct Malformed;

impl Filter {
    /// Follows these bytes; an error is the place of the first that is not to be taken.
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
        let room = LINE_KEPT.saturating_sub(self.line.len()).min(bytes.len());
        self.line.extend_from_slice(bytes.get(..room).unwrap_or_default());
        self.line_size = self.line_size.saturating_add(bytes.len());
        self.last = bytes.last().copied().unwrap_or(self.last);
    }

    /// True between two requests.
    fn is_at_rest(&self) -> bool {
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
        // Its memory serves the next line.
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
                // The chunk and the end of its line.
                size => State::Data(size.checked_add(2).ok_or(Malformed)?),
            },
            state => state,
        };
        Ok(())
    }

    /// Only the headers that say where the request ends are looked at.
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
        // A line that goes on with the one before it.
        if line.starts_with(b" ") || line.starts_with(b"\t") { Err(Malformed) } else { Ok(()) }
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    number(line.get(..end).unwrap_or_default(), 16)
}

/// Digits and nothing else.
fn number(text: &[u8], radix: u32) -> Result<u64, Malformed> {
    let text = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+')).ok_or(Malformed)?;
    u64::from_str_radix(text, radix).map_err(|_| Malformed)
}

/// A connection with its filter, and an end that leaves the last answer to the client.
#[derive(Debug)]
pub(crate) struct Strict<Stream> {
    stream: Stream,
    filter: Filter,
    /// Set when the whole preface of HTTP/2 has come.
    is_http2: Arc<AtomicBool>,
    is_malformed: bool,
    /// What hyper is still to be given in place of what came.
    poison: &'static [u8],
    linger_timeout: Duration,
    /// Set once nothing is written any more.
    linger: Option<Pin<Box<Sleep>>>,
    /// Bytes that are read and dropped at the end, at most.
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
            // Without poison left this is the end.
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

    /// Ends the answers, then waits until the client has ended its requests, within bounds.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let timer = if let Some(timer) = &mut this.linger {
            timer
        } else {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            if !this.is_malformed && this.filter.is_at_rest() {
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

    /// Where the first byte stands that is not taken, whichever way the bytes are cut into two.
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
    fn what_http_allows_passes_and_ends_at_rest() {
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
            assert!(filter.is_at_rest(), "{text:?}: {filter:?}");
        }
    }

    #[test]
    fn http_2_passes() {
        assert_eq!(place("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\n\n content-length: x\n"), None);
    }

    #[tokio::test]
    async fn only_the_whole_preface_makes_a_connection_one_of_http_2() {
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
    fn what_two_readers_may_read_differently_is_stopped_at_its_line() {
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
