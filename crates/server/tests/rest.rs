//! REST against a real node.
#![allow(missing_docs, clippy::unwrap_used, dead_code, reason = "tests")]

mod common;

use bezant_api::v1::SubmitRequest;
use bezant_ledger::{Event, Operation, SetExpiry};
use common::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_shows_in_every_list_and_balance() {
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
async fn a_retry_with_a_key_returns_the_first_outcome() {
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
    assert_eq!((changed.status, changed.code().as_str()), (409, "idempotency_key_reused"));
    assert!(changed.body.contains("'order-1'"), "{}", changed.body);
    assert!(changed.body.contains("another value of `amount`. Nothing was done"), "{}", changed.body);
    // A refusal that depends on state uses up the key.
    let poor = r#"{"id":"3","ledger":978,"code":1,"flags":["debits_must_not_exceed_credits"]}"#;
    assert_eq!(server.post("/v1/accounts", poor).await.status, 201);
    let poor = body.replace(r#""debit_account":"1""#, r#""debit_account":"3""#);
    assert_eq!(send("poor", &poor).await.code(), "exceeds_credits");
    for later in [&poor, &body.to_owned()] {
        let refused = send("poor", later).await;
        assert_eq!((refused.status, refused.code().as_str()), (409, "id_already_failed"));
        for text in
            ["The key 'poor' is used up", "first refused with exceeds_credits", "a new Idempotency-Key"]
        {
            assert!(refused.body.contains(text), "{text}: {}", refused.body);
        }
    }
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
    assert_eq!(server.get("/v1/accounts/unknown").await.code(), "account_not_found");
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
        let (mut found, mut next) = (Vec::new(), path.to_owned());
        loop {
            let page = server.get(&next).await.json();
            let items = page["items"].as_array().unwrap();
            found.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            assert_eq!(page["has_more"], page["next_cursor"].is_string(), "{page}");
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            next = format!("{path}&cursor={cursor}");
        }
        assert_eq!(found, expected, "{path}");
    }
    let cursor = server.get("/v1/transfers?ledger=978&limit=2").await.json()["next_cursor"].clone();
    let cursor = cursor.as_str().unwrap();
    assert_eq!(
        server.get(&format!("/v1/transfers?limit=2&cursor={cursor}")).await.code(),
        "cursor_of_another_query"
    );
    assert_eq!(server.get("/v1/transfers?cursor=abc").await.code(), "invalid_cursor");
    assert_eq!(server.get("/v1/transfers?colour=red").await.code(), "invalid_query");
    for path in [
        "/v1/transfers?code=0",
        "/v1/accounts?ledger=0",
        "/v1/accounts?code=0",
        "/v1/accounts/1/history?code=0",
    ] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_query"), "{path}");
        assert!(answer.body.contains("from 1 on"), "{path}: {}", answer.body);
    }
    let lower = server.get("/v1/accounts?asset=eur").await.json();
    assert_eq!(lower["code"], "asset_not_found");
    assert!(lower["detail"].as_str().unwrap().contains("write EUR"), "{lower}");
    let bytes = server.get("/v1/accounts/%ff").await.json();
    assert!(bytes["detail"].as_str().unwrap().contains("/accounts/%ff are not UTF-8"), "{bytes}");
    let accounts = server.get("/v1/accounts?asset=EUR").await.json();
    assert_eq!(accounts["items"].as_array().map(Vec::len), Some(2));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standalone_node_parses_and_refuses_changes_of_members() {
    let server = Server::start().await;
    let cases = [
        (r#"{"change":"promote","node":2}"#, 409, "change_refused"),
        (r#"{"change":"add","node":2,"address":"b.example:7071"}"#, 409, "change_refused"),
        (r#"{"change":"add","node":2}"#, 400, "invalid_field"),
        (r#"{"change":"grow","node":2}"#, 400, "invalid_json"),
        (r#"{"change":"lead","node":0}"#, 400, "invalid_field"),
        (r#"{"change":"lead","node":2,"force":true}"#, 400, "invalid_json"),
        (r#"{"change":"promote","node":2,"group":1}"#, 409, "change_refused"),
        (r#"{"change":"promote","node":2,"group":2}"#, 400, "invalid_field"),
    ];
    for (body, status, code) in cases {
        let answer = server.post("/v1/cluster", body).await;
        assert_eq!(answer.status, status, "{body}");
        assert_eq!(answer.json()["code"], code, "{body}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_shows_itself_and_its_groups() {
    let server = Server::start().await;
    server.two_accounts().await;
    let cluster = server.get("/v1/cluster").await.json();
    assert_eq!(
        (&cluster["node"], &cluster["nodes"]),
        (&1.into(), &serde_json::Value::Array(Vec::new())),
        "{cluster}"
    );
    assert!(cluster["clock"].is_null() && cluster["disk_available"].as_u64() > Some(0), "{cluster}");
    let groups = cluster["groups"].as_array().unwrap();
    let ledger = &groups[0];
    assert_eq!(
        (groups.len(), &ledger["group"], &ledger["kind"]),
        (1, &1.into(), &"ledger".into()),
        "{cluster}"
    );
    assert_eq!(
        (&ledger["role"], &ledger["leader"], &ledger["may_vote"]),
        (&"leader".into(), &1.into(), &true.into())
    );
    assert!(ledger["engine"].is_null() && ledger["members"].as_array().unwrap().is_empty(), "{cluster}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_and_readers_get_their_pages() {
    let server = Server::start().await;
    server.two_accounts().await;
    assert_eq!(server.get("/livez").await.status, 200);
    assert_eq!(server.get("/readyz").await.body, "ready\n");
    let metrics = server.get("/metrics").await.body;
    for line in [
        r#"bezant_requests_total{api="rest",call="create_accounts",outcome="ok"} 1"#,
        r#"bezant_events_total{operation="create_accounts_tagged",status="created"} 2"#,
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

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_say_whether_expiry_is_paused() {
    let server = Server::start().await;
    let mut client = server.grpc().await;
    for is_paused in [0, 1, 0] {
        let records = Event::write_all(&[match is_paused {
            0 => SetExpiry::Runs,
            _ => SetExpiry::Paused { movements: 0 },
        }]);
        let request = SubmitRequest { operation: Operation::SetExpiry as i32, records };
        client.submit(request).await.unwrap();
        let metrics = server.get("/metrics").await.body;
        let line = format!("bezant_expiry_paused {is_paused}");
        assert!(metrics.lines().any(|shown| shown == line), "{line}\n{metrics}");
    }
    server.stop().await;
}

/// The amount that alice has spent.
async fn spent(server: &Server) -> String {
    let alice = server.get("/v1/accounts/alice").await.json();
    alice["balances"]["debits_posted"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_request() {
    let server = Server::start().await;
    server.two_accounts().await;
    let event = |amount: u32| {
        format!(r#"{{"debit_account":"1","credit_account":"2","amount":"{amount}","ledger":978,"code":1}}"#)
    };
    let several = |amounts: &[u32]| {
        format!("[{}]", amounts.iter().map(|amount| event(*amount)).collect::<Vec<_>>().join(","))
    };
    let send = async |path: &str, key: &str, body: &str| {
        server.send("POST", path, &format!("idempotency-key: {key}\r\n"), body).await
    };
    let first = send("/v1/transfers", "k", &several(&[1, 20])).await;
    assert_eq!(first.json()["created"], 2, "{}", first.body);
    let again = send("/v1/transfers", "k", &several(&[1, 20])).await.json();
    assert_eq!((&again["created"], &again["refused"]), (&0.into(), &0.into()));
    assert_eq!(again["results"][1]["id"], first.json()["results"][1]["id"]);
    for other in [several(&[300, 1, 20]), several(&[1, 20, 300]), several(&[1]), event(1), event(20)] {
        let answer = send("/v1/transfers", "k", &other).await;
        assert_eq!((answer.status, answer.code().as_str()), (409, "idempotency_key_reused"), "{other}");
        assert!(answer.body.contains("'k'"), "{}", answer.body);
    }
    assert_eq!(spent(&server).await, "21");

    // A single transfer first, then several; and a capture with the key of its reservation.
    assert_eq!(send("/v1/transfers", "single", &event(100)).await.status, 201);
    let several_then = send("/v1/transfers", "single", &several(&[100, 5])).await;
    assert_eq!(several_then.code(), "idempotency_key_reused");
    let reserve = event(50).replace('}', r#","flags":["pending"]}"#);
    let reserved = send("/v1/transfers", "hold", &reserve).await;
    assert_eq!(reserved.status, 201, "{}", reserved.body);
    let path = format!("/v1/transfers/{}/post", reserved.json()["id"].as_str().unwrap());
    let capture = send(&path, "hold", "").await;
    assert_eq!((capture.status, capture.code().as_str()), (409, "idempotency_key_reused"));
    assert!(capture.body.contains("'hold'"), "{}", capture.body);
    assert_eq!(send(&path, "capture", "").await.status, 201);
    assert_eq!(send(&path, "capture", "").await.status, 200);
    assert_eq!(spent(&server).await, "171");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_version_0_1_returns_its_outcomes() {
    use bezant_api::idempotency::{IdKind, event_id};

    let server = Server::start().await;
    server.two_accounts().await;
    let event = |amount: u32, id: &str| {
        format!(
            r#"{{{id}"debit_account":"1","credit_account":"2","amount":"{amount}","ledger":978,"code":1}}"#
        )
    };
    // Version 0.1 derived the ids of all events in this way.
    let id = |at| format!(r#""id":"{}","#, event_id(IdKind::Transfer, "old", at, 1));
    let made = format!("[{},{}]", event(1, &id(0)), event(20, &id(1)));
    assert_eq!(server.post("/v1/transfers", &made).await.json()["created"], 2);
    let send =
        async |body: String| server.send("POST", "/v1/transfers", "idempotency-key: old\r\n", &body).await;
    let again = send(format!("[{},{}]", event(1, ""), event(20, ""))).await.json();
    let statuses: Vec<_> =
        again["results"].as_array().unwrap().iter().map(|it| it["status"].clone()).collect();
    assert_eq!(statuses, ["exists", "exists"]);
    let other = send(format!("[{},{},{}]", event(300, ""), event(1, ""), event(20, ""))).await;
    assert_eq!((other.status, other.code().as_str()), (409, "idempotency_key_reused"));
    assert_eq!(spent(&server).await, "21");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_with_a_key_are_created_once() {
    let server = Server::start().await;
    let send = async |body: &str| server.send("POST", "/v1/accounts", "idempotency-key: a\r\n", body).await;
    let (one, two) = (r#"{"asset":"EUR","code":1}"#, r#"{"asset":"EUR","code":2}"#);
    let both = format!("[{one},{two}]");
    assert_eq!(send(&both).await.json()["created"], 2);
    assert_eq!(send(&both).await.json()["results"][1]["status"], "exists");
    for other in [format!("[{two},{one},{two}]"), one.to_owned(), two.to_owned()] {
        assert_eq!(send(&other).await.code(), "idempotency_key_reused", "{other}");
    }
    assert_eq!(server.get("/v1/accounts").await.json()["items"].as_array().unwrap().len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linked_chain_that_is_sent_again_exists() {
    let server = Server::start().await;
    server.two_accounts().await;
    let event = |id: u32, amount: u32, flags: &str| {
        format!(
            r#"{{"id":"{id}","debit_account":"1","credit_account":"2","amount":"{amount}","ledger":978,"code":1,"flags":[{flags}]}}"#
        )
    };
    let chain =
        |last: &str| format!("[{},{},{last}]", event(1, 10, r#""linked""#), event(2, 20, r#""linked""#));
    let first = server.post("/v1/transfers", &chain(&event(3, 30, ""))).await.json();
    assert_eq!(first["created"], 3);
    let again = server.post("/v1/transfers", &chain(&event(3, 30, ""))).await.json();
    assert_eq!((&again["created"], &again["refused"]), (&0.into(), &0.into()), "{again}");
    for at in 0..3 {
        assert_eq!(again["results"][at]["status"], "exists");
        assert_eq!(again["results"][at]["timestamp"], first["results"][at]["timestamp"]);
    }
    for other in [event(4, 30, ""), event(3, 31, "")] {
        let answer = server.post("/v1/transfers", &chain(&other)).await.json();
        assert_eq!((&answer["created"], &answer["refused"]), (&0.into(), &2.into()), "{answer}");
        assert_eq!(answer["results"][0]["status"], "exists");
    }
    assert_eq!(spent(&server).await, "60");
    let accounts =
        r#"[{"id":"7","asset":"EUR","code":1,"flags":["linked"]},{"id":"8","asset":"EUR","code":1}]"#;
    assert_eq!(server.post("/v1/accounts", accounts).await.json()["created"], 2);
    assert_eq!(server.post("/v1/accounts", accounts).await.json()["refused"], 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_its_case() {
    let server = Server::start().await;
    server.two_accounts().await;
    let floor = server.send("PUT", "/v1/accounts/alice/bounds", "", r#"{"minimum":"-500"}"#).await;
    assert_eq!(floor.status, 200, "{}", floor.body);
    let pay = |id: u32, amount: u32| {
        format!(
            r#"{{"id":"{id}","debit_account":"alice","credit_account":"bob","amount":"{amount}","asset":"EUR","code":1}}"#
        )
    };
    let reserve = pay(1, 100).replace('}', r#","flags":["pending"]}"#);
    assert_eq!(server.post("/v1/transfers", &reserve).await.status, 201);
    let alice = server.get("/v1/accounts/alice").await.json();
    assert_eq!((&alice["available"], &alice["available_display"]), (&"400".into(), &"4.00 EUR".into()));
    assert_eq!(server.get("/v1/accounts/bob").await.json()["available"], serde_json::Value::Null);

    let detail = async |path: &str, body: &str, status: u16| {
        let answer = server.post(path, body).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        answer.json()["detail"].as_str().unwrap().to_owned()
    };
    let refused = detail("/v1/transfers", &pay(2, 9900), 422).await;
    for text in ["alice (1)", "minimum of -5.00 EUR", "99.00 EUR was asked for", "4.00 EUR is available"] {
        assert!(refused.contains(text), "{refused}");
    }
    let again = detail("/v1/transfers", &pay(2, 1), 409).await;
    assert!(again.contains("refused first with balance_out_of_bounds"), "{again}");
    let different = detail("/v1/transfers", &pay(1, 200).replace('}', r#","flags":["pending"]}"#), 409).await;
    assert!(different.contains("amount 1.00 EUR, not 2.00 EUR"), "{different}");
    assert!(
        detail("/v1/transfers/1/post", r#"{"amount":"150"}"#, 422)
            .await
            .contains("reserved 1.00 EUR, 1.50 EUR")
    );
    assert!(detail("/v1/transfers/99/post", "", 422).await.contains("There is no transfer 99"));
    let name = detail("/v1/accounts", r#"{"id":"9","name":"bob","asset":"EUR","code":1}"#, 409).await;
    assert!(name.contains("is that of account 2"), "{name}");
    let account = r#"{"id":"2","name":"bob","asset":"JPY","code":1,"flags":["history"]}"#;
    let ledger = detail("/v1/accounts", account, 409).await;
    assert!(ledger.contains("EUR as of now, not JPY"), "{ledger}");
    for (body, field) in [
        (pay(5, 1).replace(r#","code":1"#, ""), "code"),
        (pay(5, 1).replace(r#","asset":"EUR""#, ""), "asset"),
        (pay(5, 1).replace(r#""debit_account":"alice","#, ""), "debit_account"),
    ] {
        let answer = server.post("/v1/transfers", &body).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_field"), "{body}");
        assert_eq!(answer.json()["errors"][0]["field"], field);
        assert!(answer.body.contains("is missing"), "{}", answer.body);
    }
    let batch = server.post("/v1/transfers", &format!("[{},{}]", pay(6, 1), pay(7, 9900))).await.json();
    assert!(batch["results"][1]["detail"].as_str().unwrap().contains("3.99 EUR is available"), "{batch}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_has_the_ids_that_the_server_generated() {
    let server = Server::start().await;
    server.two_accounts().await;
    let event = r#"{"debit_account":"1","credit_account":"2","amount":"5","ledger":978,"code":1}"#;
    let late = async |body: &str| server.send("POST", "/v1/transfers", "request-timeout: 0\r\n", body).await;
    let answer = late(event).await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "deadline_exceeded"));
    let problem = answer.json();
    let id = problem["ids"][0].as_str().expect("the answer has the id").to_owned();
    assert_eq!(
        (&problem["event"]["id"], &problem["event"]["status"]),
        (&id.clone().into(), &"unknown".into())
    );
    let several = late(&format!("[{event},{event},{event}]")).await.json();
    assert_eq!(several["ids"].as_array().map(Vec::len), Some(3), "{several}");
    // The same request with that id returns the outcome, and is done once.
    let with_id = event.replace('{', &format!(r#"{{"id":"{id}","#));
    assert_eq!(server.post("/v1/transfers", &with_id).await.status, 201);
    assert_eq!(server.post("/v1/transfers", &with_id).await.status, 200);
    let keyed = server
        .send("POST", "/v1/transfers", "request-timeout: 0\r\nidempotency-key: k\r\n", event)
        .await
        .json();
    let made = server.send("POST", "/v1/transfers", "idempotency-key: k\r\n", event).await.json();
    assert_eq!(keyed["ids"][0], made["id"]);
    server.stop().await;
}
