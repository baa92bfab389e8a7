//! The byte stream of a connection, whatever carries it.
//!
//! The handlers of connections are generic over [`Transport`]: they read and write bytes, and know nothing of
//! sockets. [`open`] is the only code between an accepted socket and the handler of HTTP. It is the place for
//! the TLS handshake of clients: it would run the handshake within the same timeout, and return the stream
//! that decrypts.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::place::Place;

/// What the handler of a connection reads from and writes to.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for Stream {}

/// A stream of bytes, and the address of the peer at its other end.
#[derive(Debug)]
pub(crate) struct Connected<Stream> {
    pub(crate) stream: Stream,
    pub(crate) peer: SocketAddr,
}

/// Makes an accepted socket ready for the handler of HTTP, once its peer has sent something. `None` when it
/// sends nothing within the timeout, or when the connection loses its place.
///
/// Until then the connection has none of hyper's buffers.
pub(crate) async fn open(
    socket: Connected<TcpStream>,
    head_timeout: Duration,
    place: &Place,
) -> Option<Connected<impl Transport>> {
    let begins = tokio::select! {
        begins = timeout(head_timeout, socket.stream.readable()) => begins.is_ok(),
        () = place.lost() => false,
    };
    begins.then_some(socket)
}

#[cfg(test)]
mod tests;
