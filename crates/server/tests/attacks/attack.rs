//! The attacks: each comes from its own address, and releases everything it holds when dropped.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// The address of all attacks. The machine owns every address of 127/8.
pub(crate) const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

/// Opens a connection from an address.
pub(crate) async fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    socket.connect(to).await
}

/// An HTTP/2 connection whose client reads heads, and no byte of any body.
pub(crate) struct Unreading {
    sender: SendRequest<Empty<Bytes>>,
    unread: Vec<Response<Incoming>>,
    tasks: JoinSet<()>,
}

impl Unreading {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        let stream = connect(ATTACKER, to).await.unwrap();
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(0)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        Self { sender, unread: Vec::new(), tasks }
    }

    /// Sends `count` requests at once; returns how many of all answers so far have status 200, all of them
    /// unread.
    pub(crate) async fn ask(&mut self, path: &str, count: usize) -> usize {
        let mut asked = JoinSet::new();
        for _ in 0..count {
            let request = Request::get(format!("http://127.0.0.1{path}")).body(Empty::new()).unwrap();
            self.sender.ready().await.unwrap();
            asked.spawn(self.sender.send_request(request));
        }
        let answers = asked.join_all().await.into_iter().flatten();
        self.unread.extend(answers.filter(|answer| answer.status() == 200));
        self.unread.len()
    }
}

/// Opens a stream of all change events over HTTP/1.1, and waits until the server begins to answer.
pub(crate) async fn event_stream(to: SocketAddr) -> Option<TcpStream> {
    let mut stream = connect(ATTACKER, to).await.ok()?;
    let head = "GET /v1/events/stream?from=start HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.ok()?;
    (&status == b"HTTP/1.1 200").then_some(stream)
}

/// Reads a stream as fast as it comes until it ends; returns the number of bytes.
pub(crate) async fn read_all(mut stream: TcpStream) -> u64 {
    let mut bytes = vec![0; 64 << 10];
    let mut count = 0;
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        count += read as u64;
    }
    count
}

/// Reads a stream until `text` has come.
pub(crate) async fn read_until(mut stream: TcpStream, text: String) {
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await.unwrap() > 0 {
        if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
            return;
        }
        // The end of what was read may be the beginning of the text.
        bytes.drain(..bytes.len().saturating_sub(text.len()));
    }
    panic!("the stream ended before {text:?}");
}

/// Opens connections that send nothing. The system may have accepted some that the server has not.
pub(crate) async fn idle_connections(to: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut idle = Vec::new();
    for _ in 0..count {
        idle.extend(connect(ATTACKER, to).await);
    }
    idle
}
