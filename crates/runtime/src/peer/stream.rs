//! The stream between two nodes, and its patience.

use std::io;
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long a connection may take to come about.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a word of the handshake may take.
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
    socket.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
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

/// Ends a stream that another thread may be reading.
pub(super) fn shut_down(stream: &Stream) {
    // It may have ended already.
    drop(stream.shutdown(Shutdown::Both));
}
