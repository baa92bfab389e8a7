//! A real node with a real server on free ports, and a minimal HTTP client.

use std::net::SocketAddr;
use std::time::Duration;

use bezant_api::v1::ledger_client::LedgerClient;
use bezant_ledger::Ledger;
use bezant_runtime::{Options, Running};
use bezant_server::{Limits, Listeners, ServerOptions, serve};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// The address of the listener for TigerBeetle's clients.
    pub(crate) tigerbeetle: SocketAddr,
    shutdown: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
    node: Option<Running<Ledger>>,
    folder: TempDir,
    limits: Limits,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    /// The token of the session; `None` when the answer has none.
    pub(crate) session: Option<String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(Limits::default()).await
    }

    pub(crate) async fn start_with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let node = bezant_runtime::start(&Options::new(folder.path())).unwrap();
        Self::serve(node, folder, limits).await
    }

    /// Serves a running node.
    pub(crate) async fn serve(node: Running<Ledger>, folder: TempDir, limits: Limits) -> Self {
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let frames = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, tigerbeetle) = (http.local_addr().unwrap(), frames.local_addr().unwrap());
        let (shutdown, stopped) = oneshot::channel::<()>();
        // The host names in the requests of these tests.
        let allowed_hosts = ["b", "bezant"].map(|host| host.parse().unwrap()).to_vec();
        let options = ServerOptions { limits: limits.clone(), allowed_hosts, token: None };
        let handle = node.handle();
        let listeners = Listeners { http, tigerbeetle: Some((frames, 0)) };
        let serving = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            serve(listeners, handle, options, stopped).await.unwrap();
        });
        let (shutdown, node) = (Some(shutdown), Some(node));
        Self { address, tigerbeetle, shutdown, serving, node, folder, limits }
    }

    /// Stops everything and starts it again on the same folder, on other ports.
    pub(crate) async fn restart(mut self) -> Self {
        self.begin_stop();
        self.serving.await.unwrap();
        let node = self.node.take().unwrap();
        tokio::task::spawn_blocking(|| node.stop()).await.unwrap();
        let node = bezant_runtime::start(&Options::new(self.folder.path())).unwrap();
        Self::serve(node, self.folder, self.limits).await
    }

    /// Stops the server, then the node.
    pub(crate) async fn stop(mut self) {
        self.begin_stop();
        self.ended().await;
    }

    /// Waits until the server has ended, then stops the node.
    pub(crate) async fn ended(mut self) {
        self.serving.await.unwrap();
        let node = self.node.take().unwrap();
        tokio::task::spawn_blocking(|| node.stop()).await.unwrap();
    }

    pub(crate) fn begin_stop(&mut self) {
        self.shutdown.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn grpc(&self) -> LedgerClient<Channel> {
        LedgerClient::connect(format!("http://{}", self.address)).await.unwrap()
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `request` unchanged on a new connection, and reads the answer to its end.
    pub(crate) async fn raw(&self, request: &str) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_answer(&mut stream).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.raw(&format!("GET {path} HTTP/1.1\r\nhost: bezant\r\nconnection: close\r\n\r\n")).await
    }

    /// The status of an answer; `None` when the connection got no place.
    pub(crate) async fn try_get(&self, path: &str) -> Option<u16> {
        let mut stream = TcpStream::connect(self.address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: bezant\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.ok()?;
        std::str::from_utf8(&head[9..]).ok()?.parse().ok()
    }

    pub(crate) async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let size = body.len();
        self.raw(&format!(
            "{method} {path} HTTP/1.1\r\nhost: bezant\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {size}\r\n{headers}\r\n{body}"
        ))
        .await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, "", body).await
    }

    /// The changes of the node's health.
    pub(crate) fn health(&self) -> tokio::sync::watch::Receiver<bezant_runtime::Health> {
        self.node.as_ref().unwrap().handle().watch_health()
    }

    /// Two accounts in EUR, `alice` (1) and `bob` (2), both with history.
    pub(crate) async fn two_accounts(&self) {
        let body = r#"[{"id":"1","name":"alice","asset":"EUR","code":1,"flags":["history"]},
            {"id":"2","name":"bob","asset":"EUR","code":1,"flags":["history"]}]"#;
        let answer = self.post("/v1/accounts", body).await;
        assert_eq!((answer.status, answer.json()["created"].as_u64()), (200, Some(2)), "{}", answer.body);
    }
}

/// Reads until the server closes the connection.
pub(crate) async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
    read.expect("the server answers and closes").unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if is_chunked { unchunk(body) } else { body.to_owned() };
    let session = head.lines().find_map(|line| line.strip_prefix("bezant-session: ")).map(str::to_owned);
    Answer { status, head: head.to_ascii_lowercase(), session, body }
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        body = rest.get(size + 2..).unwrap_or("");
    }
    whole
}
