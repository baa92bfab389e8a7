//! Clients that take everything they can get, and beside them a client of another address that pays.
//!
//! The short tests show that the payer is never refused and that places become free again. `figures` prints
//! how long the payments take while each attack runs at full size; see docs/benchmarks.md.
#![allow(missing_docs, clippy::unwrap_used, dead_code, reason = "tests")]

mod attack;
#[path = "../common/mod.rs"]
mod common;
mod figures;
mod payer;

use std::net::Ipv4Addr;
use std::time::Duration;

use bezant_api::token::{EventPosition, LEDGER_GROUP};
use bezant_server::Limits;
use bezant_tigerbeetle::{Ping, Release};
use bezant_types::{ClientId, MovementNumber, SessionNumber};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use attack::{ATTACKER, Unreading, connect, event_stream, idle_connections, read_until};
use common::{Server, read_answer};
use payer::Payer;

/// The most time that any step may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A server with two accounts.
async fn server(limits: Limits) -> Server {
    let server = Server::start_with(limits).await;
    server.two_accounts().await;
    server
}

/// The server's answer to a `GET` from an address.
async fn get(server: &Server, from: Ipv4Addr, path: &str) -> common::Answer {
    let mut stream = connect(from, server.address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    read_answer(&mut stream).await
}

/// The value of a metric.
async fn metric(server: &Server, name: &str) -> u64 {
    let metrics = server.get("/metrics").await.body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}"));
    line.trim().parse().unwrap()
}

async fn wait_until(what: &str, mut is_met: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_met().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_documents_take_almost_no_memory() {
    let server = server(Limits { answer_bytes_max: 8 << 20, ..Limits::default() }).await;
    let mut payer = Payer::connect(server.address, 0).await;
    let mut unreading = Vec::new();
    for _ in 0..4 {
        let mut connection = Unreading::connect(server.address).await;
        // Each document has some hundred KiB: two dozen copies would fill the memory of answers.
        assert_eq!(connection.ask("/openapi.json", 128).await, 128);
        unreading.push(connection);
    }
    payer.pay(20).await;
    assert_eq!(get(&server, ATTACKER, "/v1/accounts").await.status, 200, "another answer fits");
    drop(unreading);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_address_that_does_not_read_is_refused() {
    let server = server(Limits { answer_bytes_max: 400 << 10, ..Limits::default() }).await;
    let mut payer = Payer::connect(server.address, 0).await;
    payer.make_history(8189).await;
    let mut unreading = Unreading::connect(server.address).await;
    // The requests need 10 MiB for rows, of a share of 200 KiB.
    let read = unreading.ask("/v1/accounts/1/history?limit=100", 128).await;
    assert!(read < 3, "{read} of 128 answers fit");
    assert_eq!(get(&server, ATTACKER, "/v1/accounts/1/history?limit=100").await.status, 429);
    payer.pay(20).await;
    assert_eq!(server.get("/v1/accounts/1/history?limit=100").await.status, 200, "another address reads");
    let shed = metric(&server, r#"bezant_overloaded_total{api="rest",cause="answer_bytes"}"#).await;
    assert!(shed >= 126, "every refused call is counted: {shed}");
    drop(unreading);
    wait_until("the memory of answers is free again", async || {
        get(&server, ATTACKER, "/v1/accounts/1/history?limit=100").await.status == 200
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_one_address_leave_places_for_another() {
    let server = server(Limits { watchers_max: 8, ..Limits::default() }).await;
    let mut payer = Payer::connect(server.address, 0).await;
    payer.make_history(20_000).await;
    let mut streams = Vec::new();
    for _ in 0..6 {
        streams.extend(event_stream(server.address).await);
    }
    assert_eq!(streams.len(), 4, "half of the places");
    assert_eq!(metric(&server, r#"bezant_overloaded_total{api="rest",cause="streams"}"#).await, 2);
    payer.pay(20).await;
    let mut own = server.connect().await;
    own.write_all(b"GET /v1/events/stream?from=start HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await.unwrap();
    let mut status = [0; 12];
    own.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");

    // A stream that is read gets all of the history, whatever the others do.
    let last = EventPosition::after(LEDGER_GROUP, MovementNumber(24_566));
    let reading = tokio::spawn(read_until(streams.pop().unwrap(), format!("id: {last}\n")));
    payer.pay(20).await;
    tokio::time::timeout(TIMEOUT, reading).await.expect("every event comes").unwrap();
    drop(streams);
    wait_until("places are free again", async || event_stream(server.address).await.is_some()).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_evicted_and_end() {
    let limits = Limits {
        connections_max: 32,
        frame_connections_max: 32,
        head_timeout: Duration::from_secs(2),
        check_interval: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = server(limits).await;
    let mut payer = Payer::connect(server.address, 0).await;
    for listener in [server.address, server.tigerbeetle] {
        let mut idle = idle_connections(listener, 60).await;
        payer.pay(20).await;
        assert_eq!(server.get("/livez").await.status, 200, "a new connection has a place");
        let ping = Ping { client: ClientId(5), time: 99, session: SessionNumber(0) };
        let mut other = TcpStream::connect(server.tigerbeetle).await.unwrap();
        other.write_all(&ping.to_bytes(0, Release::OWN)).await.unwrap();
        let mut pong = [0; 256];
        tokio::time::timeout(TIMEOUT, other.read_exact(&mut pong)).await.expect("a place").unwrap();
        for stream in &mut idle {
            let read = tokio::time::timeout(TIMEOUT, stream.read(&mut [0; 1])).await;
            assert!(!matches!(read.expect("it ends"), Ok(1..)), "the server sends nothing");
        }
    }
    let shed = r#"bezant_overloaded_total{api="http",cause="connections"}"#;
    let refused = metric(&server, shed).await;
    let refused_frames =
        metric(&server, r#"bezant_overloaded_total{api="tigerbeetle",cause="connections"}"#).await;
    assert!(refused <= 60 && refused_frames <= 60, "{refused} {refused_frames}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_idle_connection_of_an_address_is_evicted() {
    let limits =
        Limits { connections_max: 4, check_interval: Duration::from_millis(50), ..Limits::default() };
    let server = server(limits).await;
    let ask = async |stream: &mut TcpStream| {
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await.unwrap();
        let mut bytes = [0; 512];
        let read = stream.read(&mut bytes).await.unwrap_or(0);
        read > 0 && bytes.starts_with(b"HTTP/1.1 200")
    };
    let mut first = connect(ATTACKER, server.address).await.unwrap();
    assert!(ask(&mut first).await);
    let mut second = connect(ATTACKER, server.address).await.unwrap();
    assert!(ask(&mut second).await);
    // Until the first has been idle for the minimum time, the new connection is refused.
    let mut third = None;
    wait_until("a place", async || {
        assert!(ask(&mut second).await, "the second is in use");
        let mut stream = connect(ATTACKER, server.address).await.unwrap();
        let is_taken = ask(&mut stream).await;
        third = Some(stream);
        is_taken
    })
    .await;
    let mut byte = [0];
    let ended = tokio::time::timeout(TIMEOUT, first.read(&mut byte)).await.expect("the first has ended");
    assert!(!matches!(ended, Ok(1..)), "it lost its place");
    assert!(ask(&mut second).await, "the second stays");
    assert_eq!(server.get("/livez").await.status, 200, "another address has places");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_waits_for_a_place_blocks_no_other() {
    let limits = Limits {
        connections_max: 2,
        check_interval: Duration::from_millis(50),
        head_timeout: TIMEOUT,
        ..Limits::default()
    };
    let server = server(limits).await;
    let ask = async |last: u8, path: &str| {
        let mut stream = connect(Ipv4Addr::new(127, 0, 0, last), server.address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    let answer = async |stream: &mut TcpStream| {
        let mut status = [0; 12];
        let read = tokio::time::timeout(TIMEOUT, stream.read_exact(&mut status)).await;
        read.expect("it is answered or closed").is_ok().then_some(status)
    };
    let mut used = Vec::new();
    for last in [2, 3] {
        let mut stream = ask(last, "/v1/events/stream?from=start").await;
        assert!(answer(&mut stream).await.is_some());
        used.push(stream);
    }
    let mut waiting = ask(4, "/livez").await;
    let mut other = ask(2, "/livez").await;
    assert_eq!(answer(&mut other).await, None, "it is refused while another address waits");
    drop(used);
    assert_eq!(answer(&mut waiting).await.as_ref(), Some(b"HTTP/1.1 200"));
    server.stop().await;
}
