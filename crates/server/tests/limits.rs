//! Malformed, oversized, slow, idle and vanished clients: none of them blocks the server.
#![allow(missing_docs, clippy::unwrap_used, dead_code, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use bezant_api::v1;
use bezant_api::v1::ledger_client::LedgerClient;
use bezant_codec::account_to_bytes;
use bezant_server::Limits;
use bezant_types::{Account, AccountId, LedgerNumber};
use bytes::Bytes;
use common::{Server, read_answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_types::StatusExt;

/// The default limits with shorter timeouts.
fn short() -> Limits {
    Limits {
        head_timeout: Duration::from_millis(300),
        body_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(600),
        linger_timeout: Duration::from_millis(300),
        stall_timeout: Duration::from_secs(5),
        check_interval: Duration::from_millis(50),
        ..Limits::default()
    }
}

/// Waits until the server closes the connection; returns the bytes that came before.
async fn closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut bytes)).await;
    // A reset also closes the connection.
    drop(read.expect("the server closes the connection"));
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_without_a_whole_head_lose_their_connection() {
    // Only the timeout of heads can end these connections.
    let long = Duration::from_mins(10);
    let server = Server::start_with(Limits { idle_timeout: long, stall_timeout: long, ..short() }).await;
    for begin in
        ["", "G", "GET / HTTP/1.1\r\nhost: ", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        let mut stream = server.connect().await;
        stream.write_all(begin.as_bytes()).await.unwrap();
        closed(&mut stream).await;
    }
    assert_eq!(server.get("/livez").await.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_arrive_is_a_timeout() {
    let server = Server::start_with(short()).await;
    let head = "POST /v1/transfers HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\ncontent-length: 10\r\nconnection: close\r\n\r\n{";
    let answer = server.raw(head).await;
    assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_after_its_timeout() {
    let server = Server::start_with(short()).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: b\r\n\r\n").await.unwrap();
    let start = Instant::now();
    let bytes = closed(&mut stream).await;
    assert!(bytes.starts_with(b"HTTP/1.1 200"));
    assert!(
        start.elapsed() >= Duration::from_millis(550),
        "kept open for the idle timeout: {:?}",
        start.elapsed()
    );

    // A body in a separate packet does not count as a head that stays incomplete.
    let mut stream = server.connect().await;
    stream.write_all(b"POST /v1/assets HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n").await.unwrap();
    while !server.get("/metrics").await.body.contains("bezant_requests_in_flight 2\n") {
        tokio::task::yield_now().await;
    }
    stream.write_all(b"{}").await.unwrap();
    let start = Instant::now();
    assert!(closed(&mut stream).await.starts_with(b"HTTP/1.1 400"));
    assert!(
        start.elapsed() >= Duration::from_millis(550),
        "kept open for the idle timeout: {:?}",
        start.elapsed()
    );

    let mut client = server.grpc().await;
    for _ in 0..2 {
        client.get_books(v1::GetBooksRequest {}).await.unwrap();
        // The client's channel connects again after the server has closed the idle connection.
        let gone = async {
            while !server.get("/metrics").await.body.contains("bezant_connections_open 1\n") {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the idle connection is closed");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_is_refused_in_both_protocols() {
    let server =
        Server::start_with(Limits { linger_timeout: short().linger_timeout, ..Limits::default() }).await;
    let announced = "POST /v1/transfers HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\nconnection: close\r\n\r\n";
    assert_eq!(server.raw(announced).await.code(), "request_too_large");
    let mut stream = server.connect().await;
    let head = "POST /v1/transfers HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("40000\r\n{}\r\n", "x".repeat(0x40000));
    for _ in 0..5 {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    assert_eq!(read_answer(&mut stream).await.code(), "request_too_large");
    let long = format!("GET /{} HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n", "x".repeat(100_000));
    assert!(matches!(server.raw(&long).await.status, 414 | 431));

    let mut client = server.grpc().await;
    let records = Bytes::from(vec![0; 2 << 20]);
    let status = client.submit(v1::SubmitRequest { operation: 2, records }).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    client.get_books(v1::GetBooksRequest {}).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_refused_and_leave_nothing() {
    let server = Server::start_with(short()).await;
    for garbage in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\u{1}garbage garbage",
    ] {
        let mut stream = server.connect().await;
        stream.write_all(garbage.as_bytes()).await.unwrap();
        closed(&mut stream).await;
    }
    for body in ["{", "null", "[null]", "\"x\"", "{\"id\":1e400}", "\u{0}"] {
        let answer = server.post("/v1/transfers", body).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_json"), "{body}");
    }
    let path = server.get("/v1/accounts/%ff").await;
    assert_eq!((path.status, path.code().as_str()), (400, "invalid_field"));
    let text = "POST /v1/transfers HTTP/1.1\r\nhost: b\r\ncontent-type: text/xml\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    assert_eq!(server.raw(text).await.code(), "unsupported_media_type");
    assert_eq!(server.get("/livez").await.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_limits_clients_get_a_retry_delay() {
    let server = Server::start_with(Limits { requests_max: 0, ..Limits::default() }).await;
    let answer = server.get("/v1/books").await;
    assert_eq!((answer.status, answer.code().as_str()), (429, "overloaded"));
    assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
    let status = server.grpc().await.get_books(v1::GetBooksRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = status.get_error_details();
    assert!(details.retry_info().and_then(|info| info.retry_delay).is_some());
    server.stop().await;

    let server = Server::start_with(Limits { watchers_max: 0, ..Limits::default() }).await;
    let status = server.grpc().await.watch_events(v1::WatchEventsRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    server.stop().await;

    let server = Server::start_with(Limits { body_bytes_max: 8, ..Limits::default() }).await;
    let answer = server.post("/v1/transfers", "                 ").await;
    assert_eq!((answer.status, answer.code().as_str()), (429, "overloaded"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_idle_connection_loses_its_place() {
    let server = Server::start_with(Limits { connections_max: 1, ..short() }).await;
    let mut first = server.connect().await;
    first.write_all(b"GET /livez HTTP/1.1\r\nhost: b\r\n\r\n").await.unwrap();
    assert_eq!(first.read(&mut [0; 12]).await.unwrap(), 12);
    // A connection is in use for as long as its stream lasts.
    first.write_all(b"GET /v1/events/stream HTTP/1.1\r\nhost: b\r\n\r\n").await.unwrap();
    let mut came = Vec::new();
    while !String::from_utf8_lossy(&came).contains("text/event-stream") {
        assert!(first.read_buf(&mut came).await.unwrap() > 0);
    }
    let mut second = server.connect().await;
    drop(second.write_all(b"GET /livez HTTP/1.1\r\nhost: b\r\n\r\n").await);
    assert_eq!(closed(&mut second).await, b"", "there is no second place");
    drop(first);
    let mut third = loop {
        let mut stream = server.connect().await;
        drop(stream.write_all(b"GET /livez HTTP/1.1\r\nhost: b\r\n\r\n").await);
        if matches!(stream.read(&mut [0; 12]).await, Ok(12)) {
            break stream;
        }
    };
    // The third is idle from now on: it loses its place once it has been idle for the minimum time.
    while server.try_get("/livez").await != Some(200) {}
    closed(&mut third).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_call_fails_with_deadline_exceeded() {
    let server = Server::start().await;
    let head = "request-timeout: 0ms\r\n";
    let answer = server.send("POST", "/v1/accounts", head, r#"{"id":"1","ledger":1,"code":1}"#).await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "deadline_exceeded"));
    let wrong = server.send("POST", "/v1/accounts", "request-timeout: soon\r\n", "{}").await;
    assert_eq!(wrong.code(), "invalid_field");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_open_requests_and_accepts_no_new_ones() {
    let mut server = Server::start().await;
    let mut stream = server.connect().await;
    let body = r#"{"id":"1","ledger":1,"code":1}"#;
    let head = format!(
        "POST /v1/accounts HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{{",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The request is in flight once the server counts it.
    while !server.get("/metrics").await.body.contains("bezant_requests_in_flight 2\n") {
        tokio::task::yield_now().await;
    }
    server.begin_stop();
    let refused = async { while TcpStream::connect(server.address).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(5), refused).await.expect("the port is closed");
    stream.write_all(&body.as_bytes()[1..]).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    server.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_answers_are_limited() {
    const ROWS: u32 = 8000;
    let server = Server::start_with(Limits { answer_bytes_max: 32 << 20, ..short() }).await;
    let records: Vec<u8> = (1..=u128::from(ROWS))
        .flat_map(|id| {
            let ledger = LedgerNumber(978);
            account_to_bytes(&Account { id: AccountId(id), ledger, code: 1, ..Account::default() })
        })
        .collect();
    let mut client = server.grpc().await;
    client.submit(v1::SubmitRequest { operation: 1, records: records.into() }).await.unwrap();
    let query = v1::QueryFilter { limit: ROWS, ..v1::QueryFilter::default() };
    let read = client.query_accounts(query).await.unwrap().into_inner();
    assert_eq!(read.accounts.len(), 8000);

    // With an HTTP/2 window of zero a client receives heads, and no answers.
    let mut unreading = Vec::new();
    for _ in 0..3 {
        let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
        unreading.push(LedgerClient::new(endpoint.initial_stream_window_size(0).connect().await.unwrap()));
    }
    let mut calls = JoinSet::new();
    for client in &unreading {
        for _ in 0..8 {
            let (mut client, query) = (client.clone(), query);
            calls.spawn(async move { client.query_accounts(query).await });
        }
    }
    // 2 of 24 fit in half of the budget: the others are refused with the reason.
    for _ in 0..22 {
        let ended = tokio::time::timeout(Duration::from_secs(20), calls.join_next()).await;
        let status = ended.expect("an answer beyond the budget is refused").unwrap().unwrap().unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.get_error_details().retry_info().is_some(), "{status}");
    }
    let status = client.query_accounts(query).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert_eq!(server.get("/v1/accounts?limit=1000").await.code(), "overloaded");
    let account = r#"{"id":"9000","ledger":978,"code":1}"#;
    assert_eq!(server.post("/v1/accounts", account).await.status, 201, "writes are still accepted");

    drop((unreading, calls));
    let again = async {
        while client.query_accounts(query).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again).await.expect("the memory of answers is free again");
    server.stop().await;
}
