//! What the guard and the HTTP/1 filter refuse in front of a real node: web pages of other origins, foreign
//! host names, and malformed heads.
#![allow(missing_docs, clippy::unwrap_used, dead_code, reason = "tests")]

mod common;

use std::time::Duration;

use bezant_api::v1;
use bezant_api::v1::ledger_client::LedgerClient;
use bezant_codec::account_to_bytes;
use bezant_server::Limits;
use bezant_types::{Account, AccountId, LedgerNumber};
use bytes::Bytes;
use common::{Answer, Server, read_answer};
use http::{Method, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::Endpoint;
use tonic_types::StatusExt;

const JSON: &str = "content-type: application/json\r\n";
const EVIL: &str = "origin: https://evil.example\r\n";

impl Server {
    async fn ask(&self, method: &str, path: &str, host: &str, headers: &str, body: &str) -> Answer {
        let size = body.len();
        self.raw(&format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}content-length: {size}\r\n\r\n{body}"
        ))
        .await
    }

    /// A pending transfer of 5 from alice to bob, with id 9.
    async fn hold(&self) {
        let body = r#"{"id":"9","debit_account":"1","credit_account":"2","amount":"5","ledger":978,"code":1,"flags":["pending"]}"#;
        assert_eq!(self.post("/v1/transfers", body).await.status, 201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_write_of_a_page_of_another_origin_is_done() {
    let server = Server::start().await;
    server.two_accounts().await;
    server.hold().await;
    let own = server.address.to_string();
    let pay = r#"{"debit_account":"1","credit_account":"2","amount":"1","ledger":978,"code":1}"#;
    let writes = [
        ("POST", "/v1/transfers", pay),
        ("POST", "/v1/transfers/9/post", ""),
        ("POST", "/v1/transfers/9/void", ""),
        ("POST", "/v1/accounts", r#"{"id":"3","ledger":978,"code":1}"#),
        ("POST", "/v1/assets", r#"{"ledger":100001,"code":"POINTS","scale":0}"#),
        ("PUT", "/v1/accounts/1/bounds", r#"{"minimum":"0"}"#),
        ("PATCH", "/v1/accounts/1/bounds", r#"{"minimum":"0"}"#),
        ("PUT", "/v1/accounts/1/name", r#"{"name":"mallory"}"#),
        ("PATCH", "/v1/accounts/1/name", r#"{"name":"mallory"}"#),
        ("POST", "/v1/cluster", r#"{"change":"add","node":4,"address":"evil.example:7071"}"#),
    ];
    let text = "content-type: text/plain\r\n";
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let (foreign, evil) = (format!("{JSON}{EVIL}"), format!("{JSON}origin: http://evil.example:7070\r\n"));
    let (cross, null) = (format!("{JSON}sec-fetch-site: cross-site\r\n"), format!("{JSON}origin: null\r\n"));
    for (method, path, body) in writes {
        for (host, headers, status, code) in [
            (own.as_str(), "", 415, "unsupported_media_type"),
            (&own, text, 415, "unsupported_media_type"),
            (&own, form, 415, "unsupported_media_type"),
            (&own, &foreign, 403, "forbidden_origin"),
            (&own, &null, 403, "forbidden_origin"),
            (&own, &cross, 403, "forbidden_origin"),
            ("evil.example:7070", JSON, 421, "misdirected_request"),
            ("evil.example:7070", &evil, 421, "misdirected_request"),
        ] {
            let answer = server.ask(method, path, host, headers, body).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (status, code),
                "{method} {path} {host} {headers}"
            );
            assert!(!answer.head.contains("access-control"), "{}", answer.head);
        }
    }
    for path in ["/", "/v1/accounts/1", "/v1/events/stream", "/metrics", "/docs", "/nothing"] {
        assert_eq!(server.ask("GET", path, "evil.example:7070", "", "").await.status, 421, "{path}");
        assert_eq!(server.ask("OPTIONS", path, &own, EVIL, "").await.status, 403, "{path}");
    }
    let alice = server.get("/v1/accounts/1").await.json();
    assert_eq!(alice["balances"]["debits_posted"], "0");
    assert_eq!((&alice["balances"]["debits_pending"], &alice["name"]), (&"5".into(), &"alice".into()));
    assert_eq!(server.get("/v1/accounts/3").await.status, 404);
    // The server's own page may write, and so may a program that sends only what it must.
    let page = format!("{JSON}origin: http://{own}\r\nsec-fetch-site: same-origin\r\n");
    assert_eq!(server.ask("POST", "/v1/transfers", &own, &page, pay).await.status, 201);
    assert_eq!(server.ask("POST", "/v1/transfers/9/post", "localhost", JSON, "").await.status, 201);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_of_a_page_or_for_another_host_is_refused() {
    let server = Server::start().await;
    let endpoint = || Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let rebound = endpoint().origin("http://evil.example:7070".parse().unwrap());
    let mut client = LedgerClient::new(rebound.connect().await.unwrap());
    let submit = || v1::SubmitRequest { operation: 1, records: Bytes::from(vec![0; 128]) };
    let mut refusals = vec![client.submit(submit()).await.unwrap_err()];
    refusals.push(client.get_books(v1::GetBooksRequest {}).await.unwrap_err());
    for status in refusals.drain(..) {
        let reason = status.get_error_details().error_info().map(|info| info.reason.clone());
        assert_eq!((status.code(), reason.as_deref()), (Code::PermissionDenied, Some("misdirected_request")));
    }
    let mut client = server.grpc().await;
    for (name, value) in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        let mut request = tonic::Request::new(submit());
        request.metadata_mut().insert(name, value.parse().unwrap());
        let status = client.submit(request).await.unwrap_err();
        let reason = status.get_error_details().error_info().map(|info| info.reason.clone());
        assert_eq!((status.code(), reason.as_deref()), (Code::PermissionDenied, Some("forbidden_origin")));
    }
    // A page can send gRPC only under another content type.
    let path = "/bezant.v1.Ledger/Submit";
    for kind in ["application/grpc-web+proto", "text/plain"] {
        let headers = format!("content-type: {kind}\r\n");
        assert_eq!(server.ask("POST", path, "localhost", &headers, "\0\0\0\0\0").await.status, 415, "{kind}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_at_the_tigerbeetle_listener_gets_no_answer() {
    let server = Server::start().await;
    let mut stream = tokio::net::TcpStream::connect(server.tigerbeetle).await.unwrap();
    let page = format!("POST /v1/transfers HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(400));
    stream.write_all(page.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
    // A reset also closes the connection.
    drop(closed.expect("the connection is closed"));
    assert_eq!(bytes, b"");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_heads_are_refused_and_end_the_connection() {
    let server = Server::start().await;
    let write = "POST /v1/assets HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    for (what, request, status) in [
        ("no host", "GET /livez HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("two hosts", "GET /livez HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n".to_owned(), 400),
        ("an empty host", "GET /livez HTTP/1.1\r\nhost:\r\n\r\n".to_owned(), 400),
        (
            "another target",
            "GET http://evil.example/livez HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
            400,
        ),
        (
            "a foreign target",
            "GET http://evil.example/livez HTTP/1.1\r\nhost: evil.example\r\n\r\n".to_owned(),
            421,
        ),
        ("LF alone", "GET /livez HTTP/1.1\nhost: localhost\n\n".to_owned(), 400),
        ("LF in a header", "GET /livez HTTP/1.1\r\nhost: localhost\nx: y\r\n\r\n".to_owned(), 400),
        ("LF at the end", "GET /livez HTTP/1.1\r\nhost: localhost\r\n\n".to_owned(), 400),
        ("a folded header", "GET /livez HTTP/1.1\r\nhost: localhost\r\nx: y\r\n z\r\n\r\n".to_owned(), 400),
        ("gzip and chunks", format!("{write}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 400),
        ("another coding", format!("{write}transfer-encoding: identity\r\n\r\n"), 400),
        (
            "chunks twice",
            format!("{write}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (
            "a length beside chunks",
            format!("{write}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (
            "chunks beside a length",
            format!("{write}transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n"),
            400,
        ),
        ("two lengths", format!("{write}content-length: 2\r\ncontent-length: 2\r\n\r\n{{}}"), 400),
        (
            "chunks asked for",
            "GET /livez HTTP/1.1\r\nhost: localhost\r\nte: gzip, chunked\r\n\r\n".to_owned(),
            400,
        ),
        (
            "an expectation",
            "GET /livez HTTP/1.1\r\nhost: localhost\r\nexpect: 200-maybe\r\n\r\n".to_owned(),
            417,
        ),
        ("a tunnel", "CONNECT localhost:80 HTTP/1.1\r\nhost: localhost:80\r\n\r\n".to_owned(), 405),
    ] {
        // The client continues regardless: a request after the refused one is not answered.
        let answer = server.raw(&format!("{request}GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.head);
        assert!(!answer.body.contains("alive"), "{what}: {}", answer.body);
    }
    // A request before the refused one is answered.
    let first = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let both = server.raw(&format!("{first}GET /livez HTTP/1.1\nhost: localhost\n\n")).await;
    assert!(both.status == 200 && both.body.contains("HTTP/1.1 400"), "{}", both.body);
    // HTTP/1.0 has no header Host.
    assert_eq!(server.raw("GET /livez HTTP/1.0\r\n\r\n").await.status, 200);
    let continues =
        format!("{write}expect: 100-continue\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}");
    let answer = server.raw(&continues).await;
    assert!(answer.status == 100 && answer.body.contains("HTTP/1.1 400"), "{} {}", answer.head, answer.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_only_after_sending_gets_the_413() {
    const PIECE: usize = 1 << 20;
    let server = Server::start().await;
    let head = "POST /v1/transfers HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let piece = vec![b'x'; PIECE];
    let mut stream = server.connect().await;
    stream.write_all(format!("{head}content-length: {}\r\n\r\n", 50 * PIECE).as_bytes()).await.unwrap();
    for _ in 0..50 {
        stream.write_all(&piece).await.unwrap();
    }
    assert_eq!(read_answer(&mut stream).await.code(), "request_too_large");

    let mut stream = server.connect().await;
    stream.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    for _ in 0..20 {
        stream.write_all(format!("{PIECE:x}\r\n").as_bytes()).await.unwrap();
        stream.write_all(&piece).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(read_answer(&mut stream).await.code(), "request_too_large");
    server.stop().await;
}

/// Sends a body of `pieces` pieces over HTTP/2, and reads the answer only after the whole body.
async fn upload_over_http2(
    server: &Server,
    headers: &[(&str, &str)],
    piece: Bytes,
    pieces: usize,
) -> http::Response<Bytes> {
    let stream = server.connect().await;
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut request =
        Request::builder().method(Method::POST).uri(format!("http://{}/v1/transfers", server.address));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    for _ in 0..pieces {
        let mut left = piece.clone();
        while !left.is_empty() {
            body.reserve_capacity(left.len());
            let capacity = std::future::poll_fn(|context| body.poll_capacity(context)).await;
            let capacity = capacity.expect("the stream is open").expect("the server accepts more");
            body.send_data(left.split_to(capacity.min(left.len())), false).unwrap();
        }
    }
    body.send_data(Bytes::new(), true).unwrap();
    let (head, mut stream) = answer.await.unwrap().into_parts();
    let mut whole = Vec::new();
    while let Some(data) = stream.data().await {
        whole.extend_from_slice(&data.unwrap());
    }
    http::Response::from_parts(head, whole.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_client_that_reads_last_gets_the_413() {
    let server = Server::start().await;
    let piece = Bytes::from(vec![b'x'; 1 << 20]);
    let json = [("content-type", "application/json")];
    let answer = upload_over_http2(&server, &json, piece.clone(), 20).await;
    assert_eq!(answer.status(), 413);
    assert!(answer.body().windows(17).any(|part| part == b"request_too_large"));
    let announced = [("content-type", "application/json"), ("content-length", "20971520")];
    assert_eq!(upload_over_http2(&server, &announced, piece.clone(), 20).await.status(), 413);
    // A refusal for another reason arrives as well.
    assert_eq!(upload_over_http2(&server, &[], piece, 20).await.status(), 415);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_body_never_ends_is_disconnected() {
    let server =
        Server::start_with(Limits { linger_timeout: Duration::from_millis(300), ..Limits::default() }).await;
    let mut stream = server.connect().await;
    let head = "POST /v1/transfers HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 999999999\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let endless = async {
        let piece = [b'x'; 1000];
        while stream.write_all(&piece).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), endless).await.expect("the connection ends");
    assert_eq!(server.get("/livez").await.status, 200);
    server.stop().await;
}

fn records(ids: std::ops::RangeInclusive<u128>) -> Bytes {
    let account =
        |id| Account { id: AccountId(id), ledger: LedgerNumber(978), code: 1, ..Account::default() };
    ids.flat_map(|id| account_to_bytes(&account(id))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_messages_have_the_limit_of_plain_ones() {
    let server = Server::start().await;
    let mut client = server.grpc().await.send_compressed(CompressionEncoding::Gzip);
    let reply = client.submit(v1::SubmitRequest { operation: 1, records: records(1..=8189) }).await.unwrap();
    assert_eq!(reply.into_inner().results.len(), 8189 * 16);
    let id = |low| v1::AccountRef {
        reference: Some(v1::account_ref::Reference::Id(v1::Uint128 { high: 0, low })),
    };
    let request = v1::LookupAccountsRequest { accounts: vec![id(1), id(8189)] };
    assert_eq!(client.lookup_accounts(request).await.unwrap().into_inner().accounts.len(), 2);
    // 64 MiB of zeros are 64 KiB on the wire.
    let bomb = v1::SubmitRequest { operation: 1, records: Bytes::from(vec![0; 64 << 20]) };
    let status = client.submit(bomb).await.unwrap_err();
    let reason = status.get_error_details().error_info().map(|info| info.reason.clone());
    assert_eq!((status.code(), reason.as_deref()), (Code::OutOfRange, Some("request_too_large")), "{status}");

    let unknown = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-encoding", "zstd")];
    let stream = server.connect().await;
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let uri = format!("http://{}/bezant.v1.Ledger/Submit", server.address);
    let request =
        unknown.iter().fold(Request::post(uri), |request, (name, value)| request.header(*name, *value));
    let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    body.send_data(Bytes::from_static(b"\x01\0\0\0\x01x"), true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(
        (&answer.headers()["grpc-status"], &answer.headers()["grpc-accept-encoding"]),
        (&"12".parse().unwrap(), &"gzip,identity".parse().unwrap())
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_event_id_is_a_position_or_absent() {
    let server = Server::start().await;
    for headers in [
        "last-event-id:\r\n",
        "last-event-id: \r\n",
        "last-event-id: x\r\n",
        "last-event-id: 1\r\n",
        "last-event-id: start\r\nlast-event-id: start\r\n",
    ] {
        for (path, accept) in [("/v1/events/stream", ""), ("/v1/events", "accept: text/event-stream\r\n")] {
            let answer = server.ask("GET", path, "localhost", &format!("{accept}{headers}"), "").await;
            assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_field"), "{path} {headers:?}");
        }
    }
    server.stop().await;
}
