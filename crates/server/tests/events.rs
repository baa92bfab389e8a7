//! Change events over REST: positions, streams, and what is refused in their place.
#![allow(missing_docs, clippy::unwrap_used, dead_code, reason = "tests")]

mod common;

use bezant_api::token::{EventPosition, LEDGER_GROUP, SessionToken};
use bezant_types::MovementNumber;
use common::Server;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// The position before a row of the ledger's history.
fn position(row: u64) -> String {
    EventPosition::of(LEDGER_GROUP, MovementNumber(row)).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_change_events_resumes_after_a_position() {
    let server = Server::start().await;
    server.two_accounts().await;
    let transfer = |id: u32| {
        format!(
            r#"{{"id":"{id}","debit_account":"1","credit_account":"2","amount":"1","ledger":978,"code":1}}"#
        )
    };
    for id in [1, 2] {
        assert_eq!(server.post("/v1/transfers", &transfer(id)).await.status, 201);
    }
    let page = server.get("/v1/events?limit=1").await.json();
    let since = server.get("/v1/events?since=2100-01-01").await.json();
    assert_eq!((since["items"].as_array().map(Vec::len), &since["next"]), (Some(0), &position(2).into()));
    let since = server.get("/v1/events?since=2001-01-01").await.json();
    assert_eq!(since["items"][0], page["items"][0]);
    assert_eq!((&page["items"][0]["transfer"]["id"], &page["next"]), (&"1".into(), &position(1).into()));
    let first = &page["items"][0];
    assert_eq!(
        (&first["position"], &first["number"], &first["group"]),
        (&page["next"], &0.into(), &1.into())
    );
    let mut stream = server.connect().await;
    let received = position(1);
    let head = "GET /v1/events HTTP/1.1\r\nhost: b\r\naccept: text/event-stream\r\nlast-event-id:";
    let request = format!("{head} {received}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut ids = Vec::new();
    while ids.len() < 2 {
        let line = lines.next_line().await.unwrap().expect("the stream goes on");
        if let Some(id) = line.strip_prefix("id: ") {
            ids.push(id.to_owned());
            if ids.len() == 1 {
                assert_eq!(server.post("/v1/transfers", &transfer(3)).await.status, 201);
            }
        }
    }
    assert_eq!(ids, [position(2), position(3)], "the older event after the position, then the new one");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_after_the_end_is_refused_with_the_end() {
    let server = Server::start().await;
    server.two_accounts().await;
    let transfers: Vec<_> = (1..=10)
        .map(|id| {
            format!(
                r#"{{"id":"{id}","debit_account":"1","credit_account":"2","amount":"1","ledger":978,"code":1}}"#
            )
        })
        .collect();
    let batch = format!("[{}]", transfers.join(","));
    assert_eq!(server.post("/v1/transfers", &batch).await.json()["created"], 10);
    let (end, after_end, far) = (position(10), position(11), position(5000));
    for from in [end.as_str(), "now"] {
        let page = server.get(&format!("/v1/events?from={from}")).await.json();
        assert_eq!((page["items"].as_array().map(Vec::len), &page["next"]), (Some(0), &end.as_str().into()));
    }
    let start = || "start".to_owned();
    for (from, limit, has_more) in
        [(start(), 9, true), (start(), 10, false), (position(9), 1, false), (position(8), 1, true)]
    {
        let page = server.get(&format!("/v1/events?from={from}&limit={limit}")).await.json();
        assert_eq!(page["has_more"], has_more, "{from} {limit}");
    }
    // A client that has read to the end continues after the last event.
    let mut stream = server.connect().await;
    let request = format!("GET /v1/events/stream HTTP/1.1\r\nhost: bezant\r\nlast-event-id: {end}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let status = BufReader::new(stream).lines().next_line().await.unwrap();
    assert_eq!(status.as_deref(), Some("HTTP/1.1 200 OK"));
    let page = format!("/v1/events?from={after_end}");
    let stream = format!("/v1/events/stream?from={far}");
    let cases = [
        (&*page, String::new()),
        (&*page, "bezant-read: stale\r\n".to_owned()),
        (&*stream, String::new()),
        ("/v1/events/stream", format!("last-event-id: {after_end}\r\n")),
        ("/v1/events/stream", format!("last-event-id: {far}\r\nbezant-read: stale\r\n")),
        ("/v1/events?from=start", format!("accept: text/event-stream\r\nlast-event-id: {far}\r\n")),
    ];
    for (path, headers) in cases {
        let answer = server.send("GET", path, &headers, "").await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "position_after_end"), "{path} {headers}");
        assert_eq!(answer.json()["end"], end, "{path} {headers}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_in_place_of_positions_and_sessions_are_refused() {
    let server = Server::start().await;
    server.two_accounts().await;
    let (position, session) =
        ("use the `position` of an event, or `start`", "`Bezant-Session` of the last answer");
    let cases = [
        ("/v1/events?from=0", "", "invalid_query", position),
        ("/v1/events/stream?from=7", "", "invalid_query", position),
        ("/v1/events/stream", "last-event-id: 7\r\n", "invalid_field", position),
        ("/v1/books", "bezant-read: session\r\nbezant-index: 7\r\n", "invalid_field", session),
        ("/v1/books", "bezant-read: session\r\nbezant-session: 7\r\n", "invalid_field", session),
    ];
    for (path, headers, code, advice) in cases {
        let answer = server.send("GET", path, headers, "").await;
        assert_eq!((answer.status, &*answer.code()), (400, code), "{path} {headers}");
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.ends_with(advice), "{detail}");
    }
    let session = server.get("/v1/books").await.session.unwrap();
    assert!(session.parse::<SessionToken>().is_ok_and(|session| !session.is_empty()), "{session}");
    let headers = format!("bezant-read: session\r\nbezant-session: {session}\r\n");
    assert_eq!(server.send("GET", "/v1/books", &headers, "").await.status, 200);
    server.stop().await;
}
