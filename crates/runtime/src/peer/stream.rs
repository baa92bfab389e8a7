//! The stream between two nodes, and its timeouts.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// The timeout of connecting.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The timeout of a whole handshake.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that carries nothing for this time has ended: a running peer sends heartbeats more often.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(3);
/// The interval of heartbeats on an idle connection.
pub(super) const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);

/// The stream that is read and written. Plain TCP for now.
pub(super) type Stream = TcpStream;

/// Makes the stream of a connection, on either side. TLS belongs here: a stream with a session around the
/// socket, of which one direction carries frames and the other only the handshake.
fn wrap(socket: TcpStream) -> io::Result<Stream> {
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(IDLE_MAX))?;
    Ok(socket)
}

/// Connects to the first address that answers, if the name has several.
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

/// Makes the stream of an accepted connection.
pub(super) fn accepted(socket: TcpStream) -> io::Result<Stream> {
    wrap(socket)
}

/// A stream during its handshake. A client that sends single bytes holds its place no longer than a client
/// that sends nothing.
#[derive(Debug)]
pub(super) struct TimedStream<'stream> {
    stream: &'stream mut Stream,
    until: Instant,
}

impl<'stream> TimedStream<'stream> {
    pub(super) fn new(stream: &'stream mut Stream) -> Self {
        Self { stream, until: Instant::now() + HANDSHAKE_TIMEOUT }
    }
}

impl Read for TimedStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer)
    }
}

impl Write for TimedStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Ends a stream that another thread may be reading.
pub(super) fn shut_down(stream: &Stream) {
    // The connection may have ended already.
    drop(stream.shutdown(Shutdown::Both));
}
