//! The stream between two nodes, and its patience.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long a connection may take to come about.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a handshake may take, all of it.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which nothing moves for so long has ended: a peer that lives gives a sign of life more often.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(3);
/// How often a connection without messages carries a sign of life.
pub(super) const SIGN_OF_LIFE: Duration = Duration::from_millis(500);

/// What is read and written. Plain TCP for now.
pub(super) type Stream = TcpStream;

/// Makes the stream of a connection, on either side. TLS goes here: a stream with a session around the socket,
/// of which one direction carries frames and the other only the handshake.
fn wrap(socket: TcpStream) -> io::Result<Stream> {
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(SILENCE_MAX))?;
    Ok(socket)
}

/// Dials; of several addresses, the first that answers.
pub(super) fn dial(address: &str) -> io::Result<Stream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(socket) => return wrap(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A connection that was accepted.
pub(super) fn accepted(socket: TcpStream) -> io::Result<Stream> {
    wrap(socket)
}

/// A stream during its handshake: a stranger that sends a byte now and then holds its place no longer than one that
/// sends nothing.
#[derive(Debug)]
pub(super) struct Greeting<'stream> {
    stream: &'stream mut Stream,
    until: Instant,
}

impl<'stream> Greeting<'stream> {
    pub(super) fn new(stream: &'stream mut Stream) -> Self {
        Self { stream, until: Instant::now() + HANDSHAKE_TIMEOUT }
    }
}

impl Read for Greeting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer)
    }
}

impl Write for Greeting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Ends a stream that another thread may be reading.
pub(super) fn shut_down(stream: &Stream) {
    // It may have ended already.
    drop(stream.shutdown(Shutdown::Both));
}
