//! REST against a real node.
#![allow(missing_docs, clippy::unwrap_used, dead_code, reason = "tests")]

mod common;

use common::Server;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

#[tokio::test(flavor = "multi_thread")]
async fn money_moves_and_shows() {
    let server = Server::start().await;
    server.two_accounts().await;
    let body = r#"{"id":"10","debit_account":"alice","credit_account":"bob","amount":"1050","asset":"EUR","code":7}"#;
    let answer = server.post("/v1/transfers", body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert!(answer.head.contains("location: /v1/transfers/10"), "{}", answer.head);
    let again = server.post("/v1/transfers", body).await;
    assert_eq!((again.status, again.json()["status"].as_str()), (200, Some("exists")));
    assert_eq!(again.json()["timestamp"], answer.json()["timestamp"]);

    let transfer = server.get("/v1/transfers/10").await.json();
    assert_eq!(
        (transfer["amount"].as_str(), transfer["display"].as_str()),
        (Some("1050"), Some("10.50 EUR"))
    );
    let alice = server.get("/v1/accounts/alice").await.json();
    assert_eq!(alice["balances"]["debits_posted"], "1050");
    assert_eq!(alice["balances"]["display"], "-10.50 EUR");
    assert_eq!(
        (alice["spends"]["sequence"].as_u64(), alice["receipts"]["sequence"].as_u64()),
        (Some(1), Some(0))
    );
    let balances = server.get("/v1/accounts/bob/balances").await.json();
    assert_eq!(balances["items"][0]["balances"]["credits_posted"], "1050");
    let history = server.get("/v1/accounts/2/history").await.json();
    assert_eq!(history["items"][0]["kind"], "single_phase");
    let books = server.get("/v1/books").await.json();
    assert_eq!((books["balanced"].as_bool(), books["movements"].as_u64()), (Some(true), Some(1)));
    assert_eq!(books["ledgers"][0]["asset"], "EUR");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_problems_with_the_status_as_code() {
    let server = Server::start().await;
    server.two_accounts().await;
    let send = async |body: &str| server.post("/v1/transfers", body).await;
    let body = r#"{"id":"10","debit_account":"1","credit_account":"2","amount":"1","asset":"EUR","code":7}"#;
    assert_eq!(send(body).await.status, 201);
    let other = send(&body.replace(r#""amount":"1""#, r#""amount":"2""#)).await;
    assert_eq!((other.status, other.code().as_str()), (409, "exists_with_different_amount"));
    assert!(other.head.contains("application/problem+json"), "{}", other.head);
    let same = send(&body.replace(r#""10""#, r#""11""#).replace(r#""2""#, r#""1""#)).await;
    assert_eq!((same.status, same.code().as_str()), (422, "accounts_must_be_different"));
    let unknown = send(&body.replace(r#""10""#, r#""12""#).replace(r#""2""#, r#""carol""#)).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (422, "name_not_found"));
    assert_eq!(unknown.json()["errors"][0]["field"], "credit_account");
    let stream = server.get("/v1/events/stream?limit=5").await;
    assert_eq!(
        (stream.code().as_str(), &stream.json()["errors"][0]["field"]),
        ("invalid_query", &"limit".into())
    );
    let asset = send(&body.replace("EUR", "GOLD")).await;
    assert_eq!((asset.status, asset.code().as_str()), (422, "asset_not_found"));
    let field = send(r#"{"id":"10","colour":"red"}"#).await;
    assert_eq!((field.status, field.code().as_str()), (400, "invalid_json"));
    assert!(field.json()["detail"].as_str().unwrap().contains("unknown field `colour`"), "{}", field.body);
    let batch = send(&format!("[{body},{}]", body.replace(r#""10""#, r#""0""#))).await.json();
    assert_eq!((batch["created"].as_u64(), batch["refused"].as_u64()), (Some(0), Some(1)));
    assert_eq!(batch["results"][1]["status"], "id_must_not_be_zero");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_a_retry_find_the_first_outcome() {
    let server = Server::start().await;
    server.two_accounts().await;
    let body = r#"{"debit_account":"1","credit_account":"2","amount":"5","ledger":978,"code":1}"#;
    let send = async |key: &str, body: &str| {
        server.send("POST", "/v1/transfers", &format!("idempotency-key: {key}\r\n"), body).await
    };
    let first = send("order-1", body).await;
    let again = send("order-1", body).await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.json()["id"], again.json()["id"]);
    let changed = send("order-1", &body.replace(r#""5""#, r#""6""#)).await;
    assert_eq!((changed.status, changed.code().as_str()), (409, "exists_with_different_amount"));
    let other = send("order-2", body).await;
    assert_eq!(other.status, 201);
    let keyless = server.post("/v1/transfers", body).await.json()["id"].as_str().unwrap().to_owned();
    let later = server.post("/v1/transfers", body).await.json()["id"].as_str().unwrap().to_owned();
    assert!(keyless.parse::<u128>().unwrap() < later.parse::<u128>().unwrap(), "ids grow with time");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_transfers_are_posted_and_voided() {
    let server = Server::start().await;
    server.two_accounts().await;
    for id in [20, 21] {
        let body = format!(
            r#"{{"id":"{id}","debit_account":"1","credit_account":"2","amount":"100","ledger":978,"code":1,"flags":["pending"]}}"#
        );
        assert_eq!(server.post("/v1/transfers", &body).await.status, 201);
    }
    let part = server.post("/v1/transfers/20/post", r#"{"amount":"40"}"#).await;
    assert_eq!(part.status, 201, "{}", part.body);
    let twice = server.post("/v1/transfers/20/post", "").await;
    assert_eq!((twice.status, twice.code().as_str()), (409, "pending_transfer_already_posted"));
    assert_eq!(server.post("/v1/transfers/21/void", "").await.status, 201);
    let bob = server.get("/v1/accounts/bob").await.json();
    assert_eq!(
        (&bob["balances"]["credits_posted"], &bob["balances"]["credits_pending"]),
        (&"40".into(), &"0".into())
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_names_and_assets_change() {
    let server = Server::start().await;
    let created = server.post("/v1/accounts", r#"{"id":"5","ledger":700,"code":1}"#).await;
    assert_eq!(created.status, 201, "{}", created.body);
    let named = server.send("PUT", "/v1/accounts/5/name", "", r#"{"name":"till"}"#).await;
    assert_eq!(named.status, 200, "{}", named.body);
    let bound = server.send("PATCH", "/v1/accounts/till/bounds", "", r#"{"minimum":"-500"}"#).await;
    assert_eq!(bound.status, 200, "{}", bound.body);
    let wrong = server.send("PUT", "/v1/accounts/till/bounds", "", r#"{"minimum":"2","maximum":"1"}"#).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (422, "bounds_invalid"));
    let asset = server.post("/v1/assets", r#"{"ledger":700,"code":"POINTS","scale":1}"#).await;
    assert_eq!(asset.status, 201, "{}", asset.body);
    let taken = server.post("/v1/assets", r#"{"ledger":701,"code":"EUR","scale":2}"#).await;
    assert_eq!((taken.status, taken.code().as_str()), (409, "code_taken"));
    let till = server.get("/v1/accounts/till").await.json();
    assert_eq!(till["bounds"]["minimum"], "-500");
    assert_eq!(till["bounds"]["maximum"], serde_json::Value::Null);
    assert_eq!(server.get("/v1/accounts/nobody").await.code(), "account_not_found");
    assert_eq!(server.get("/v1/accounts/till/balances").await.code(), "history_not_kept");
    let assets = server.get("/v1/assets").await.json();
    assert!(
        assets
            .as_array()
            .unwrap()
            .iter()
            .any(|asset| asset["code"] == "POINTS" && asset["built_in"] == false)
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_read_in_pages() {
    let server = Server::start().await;
    server.two_accounts().await;
    let transfers: Vec<_> = (1..=5)
        .map(|id| {
            format!(r#"{{"id":"{id}","debit_account":"1","credit_account":"2","amount":"{id}","ledger":978,"code":1}}"#)
        })
        .collect();
    assert_eq!(
        server.post("/v1/transfers", &format!("[{}]", transfers.join(","))).await.json()["created"],
        5
    );
    for (path, expected) in [
        ("/v1/transfers?ledger=978&limit=2", ["1", "2", "3", "4", "5"]),
        ("/v1/accounts/alice/transfers?limit=2&reversed=true", ["5", "4", "3", "2", "1"]),
    ] {
        let (mut seen, mut next) = (Vec::new(), path.to_owned());
        loop {
            let page = server.get(&next).await.json();
            let items = page["items"].as_array().unwrap();
            seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            assert_eq!(page["has_more"], page["next_cursor"].is_string(), "{page}");
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            next = format!("{path}&cursor={cursor}");
        }
        assert_eq!(seen, expected, "{path}");
    }
    let cursor = server.get("/v1/transfers?ledger=978&limit=2").await.json()["next_cursor"].clone();
    let cursor = cursor.as_str().unwrap();
    assert_eq!(
        server.get(&format!("/v1/transfers?limit=2&cursor={cursor}")).await.code(),
        "cursor_of_another_query"
    );
    assert_eq!(server.get("/v1/transfers?cursor=abc").await.code(), "invalid_cursor");
    assert_eq!(server.get("/v1/transfers?colour=red").await.code(), "invalid_query");
    let lower = server.get("/v1/accounts?asset=eur").await.json();
    assert_eq!(lower["code"], "asset_not_found");
    assert!(lower["detail"].as_str().unwrap().contains("write EUR"), "{lower}");
    let bytes = server.get("/v1/accounts/%ff").await.json();
    assert!(bytes["detail"].as_str().unwrap().contains("/v1/accounts/%ff are not UTF-8"), "{bytes}");
    let accounts = server.get("/v1/accounts?asset=EUR").await.json();
    assert_eq!(accounts["items"].as_array().map(Vec::len), Some(2));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn change_events_follow_and_resume() {
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
    assert_eq!((since["items"].as_array().map(Vec::len), since["next"].as_u64()), (Some(0), Some(2)));
    let since = server.get("/v1/events?since=2001-01-01").await.json();
    assert_eq!(since["items"][0], page["items"][0]);
    assert_eq!((page["items"][0]["transfer"]["id"].as_str(), page["next"].as_u64()), (Some("1"), Some(1)));
    let mut stream = server.connect().await;
    let request =
        "GET /v1/events HTTP/1.1\r\nhost: b\r\naccept: text/event-stream\r\nlast-event-id: 0\r\n\r\n";
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
    assert_eq!(ids, ["1", "2"], "what was there after the last one seen, then what is new");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_after_the_end_is_refused_and_the_end_is_named() {
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
    let end = server.get("/v1/events?from=10").await.json();
    assert_eq!((end["items"].as_array().map(Vec::len), end["next"].as_u64()), (Some(0), Some(10)));
    for (path, has_more) in [("from=0&limit=9", true), ("from=0&limit=10", false), ("from=9&limit=1", false)]
    {
        let page = server.get(&format!("/v1/events?{path}")).await.json();
        assert_eq!(page["has_more"], has_more, "{path}");
    }
    // A follower that has read to the end goes on after the last event.
    let mut stream = server.connect().await;
    let request = "GET /v1/events/stream HTTP/1.1\r\nhost: bezant\r\nlast-event-id: 9\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let status = BufReader::new(stream).lines().next_line().await.unwrap();
    assert_eq!(status.as_deref(), Some("HTTP/1.1 200 OK"));
    let cases = [
        ("/v1/events?from=11", ""),
        ("/v1/events?from=11", "bezant-read: stale\r\n"),
        ("/v1/events/stream?from=5000", ""),
        ("/v1/events/stream", "last-event-id: 10\r\n"),
        ("/v1/events/stream", "last-event-id: 5000\r\nbezant-read: stale\r\n"),
        ("/v1/events?from=0", "accept: text/event-stream\r\nlast-event-id: 5000\r\n"),
    ];
    for (path, headers) in cases {
        let answer = server.send("GET", path, headers, "").await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "position_after_end"), "{path} {headers}");
        assert_eq!(answer.json()["end"], 10, "{path} {headers}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_members_is_read_strictly_and_refused_by_a_node_that_is_alone() {
    let server = Server::start().await;
    let cases = [
        (r#"{"change":"promote","node":2}"#, 409, "change_refused"),
        (r#"{"change":"add","node":2,"address":"b.example:7071"}"#, 409, "change_refused"),
        (r#"{"change":"add","node":2}"#, 400, "invalid_field"),
        (r#"{"change":"grow","node":2}"#, 400, "invalid_json"),
        (r#"{"change":"lead","node":0}"#, 400, "invalid_field"),
        (r#"{"change":"lead","node":2,"force":true}"#, 400, "invalid_json"),
    ];
    for (body, status, code) in cases {
        let answer = server.post("/v1/cluster", body).await;
        assert_eq!(answer.status, status, "{body}");
        assert_eq!(answer.json()["code"], code, "{body}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_and_readers_find_their_pages() {
    let server = Server::start().await;
    server.two_accounts().await;
    assert_eq!(server.get("/livez").await.status, 200);
    assert_eq!(server.get("/readyz").await.body, "ready\n");
    let metrics = server.get("/metrics").await.body;
    for line in [
        r#"bezant_requests_total{api="rest",call="create_accounts",outcome="ok"} 1"#,
        r#"bezant_events_total{operation="create_accounts_extended",status="created"} 2"#,
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    assert_eq!(server.get("/openapi.json").await.json()["info"]["title"], "Bezant");
    assert!(server.get("/docs").await.body.contains("<title>"));
    assert!(server.get("/").await.body.contains("/openapi.json"));
    let missing = server.get("/v2/accounts").await;
    assert_eq!((missing.status, missing.code().as_str()), (404, "route_not_found"));
    let method = server.send("DELETE", "/v1/accounts/1", "", "").await;
    assert_eq!((method.status, method.code().as_str()), (405, "method_not_allowed"));
    let text = server.send("POST", "/v1/accounts", "", "").await;
    assert_eq!(text.code(), "invalid_json");
    server.stop().await;
}
