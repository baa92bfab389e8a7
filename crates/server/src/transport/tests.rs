//! The handlers of connections over streams that are not sockets.

use std::sync::Arc;

use bezant_runtime::{Options, Running};
use bezant_tigerbeetle::{HEADER_SIZE, Header, Ping, Release, message};
use bezant_types::{ClientId, SessionNumber};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;
use crate::guard::Guard;
use crate::http::{Common, HttpHandler};
use crate::limits::Limits;
use crate::place::{Places, Queue};
use crate::service::Service;
use crate::share::{Budget, Shares};
use crate::{connection, grpc, rest, tigerbeetle};

/// A node and the service that calls it, without listeners.
struct Server {
    service: Arc<Service>,
    node: Running<bezant_ledger::Ledger>,
    _folder: TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let node = bezant_runtime::start(&Options::new(folder.path())).unwrap();
        let guard = Guard::new("127.0.0.1:7070".parse().unwrap(), Vec::new(), None);
        let service = Arc::new(Service::new(node.handle(), Limits::default(), guard));
        Self { service, node, _folder: folder }
    }

    fn place(&self, budget: Budget) -> Place {
        let limits = &self.service.limits;
        let places = Places::new(budget, &Shares::new(limits), limits.check_interval, limits.head_timeout);
        let ((), place) = Queue::new(places).admit((), peer().ip().into()).expect("it does not wait");
        place.unwrap()
    }

    /// The client's end of a stream that the handler of HTTP serves.
    fn http(&self) -> (DuplexStream, JoinHandle<()>) {
        let (client, stream) = duplex(1 << 10);
        let service = Arc::clone(&self.service);
        let place = self.place(Budget::Connections);
        let router = rest::router(&service, Registry::default());
        let common = Common::new(Arc::clone(&service), grpc::reflection().unwrap(), router);
        let (builder, handler) = (connection::builder(&service.limits), HttpHandler::new(common, &place));
        let connected = Connected { stream, peer: peer() };
        let serving =
            tokio::spawn(async move { connection::serve(connected, builder, handler, &place).await });
        (client, serving)
    }

    async fn stop(self) {
        drop(self.service);
        tokio::task::spawn_blocking(|| self.node.stop()).await.unwrap();
    }
}

fn peer() -> SocketAddr {
    "127.0.0.1:50000".parse().unwrap()
}

#[tokio::test]
async fn rest_answers_over_a_stream_in_memory() {
    let server = Server::start();
    let (mut client, serving) = server.http();
    let body = r#"[{"id":"1","asset":"EUR","code":1},{"id":"2","asset":"EUR","code":1}]"#;
    let request = format!(
        "POST /v1/accounts HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\"created\":2") && answer.contains("\r\nbezant-session: s1"), "{answer}");
    serving.await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn tigerbeetles_protocol_answers_over_a_stream_in_memory() {
    let server = Server::start();
    let (mut client, stream) = duplex(1 << 10);
    let listener = Arc::new(tigerbeetle::Listener::new(Arc::clone(&server.service), 7));
    let serving = tokio::spawn(listener.serve(stream, server.place(Budget::FrameConnections)));
    let ping = Ping { client: ClientId(3), time: 9, session: SessionNumber(0) };
    client.write_all(&ping.to_bytes(7, Release::OWN)).await.unwrap();
    let mut pong = [0; HEADER_SIZE];
    client.read_exact(&mut pong).await.unwrap();
    assert_eq!(Header::read(&pong).unwrap().command, message::PONG);
    drop(client);
    serving.await.unwrap();
    server.stop().await;
}
