//! The states of holds, and the rules of names, bounds and assets: over REST and gRPC against a real node.
#![allow(missing_docs, clippy::unwrap_used, dead_code, reason = "tests")]

mod common;

use bezant_api::token::{EventPosition, LEDGER_GROUP};
use bezant_api::v1;
use bezant_ledger::{Event as _, ExtendedAccount, TaggedAccount, name_to_bytes};
use bezant_types::{Account, AccountId, Bounds, CreateAccountStatus, LedgerNumber, MovementNumber};
use common::Server;
use serde_json::{Value, json};

/// Creates a hold of `amount` from alice to bob.
async fn hold(server: &Server, id: u32, amount: u32, timeout_seconds: u32) {
    let body = json!({
        "id": id.to_string(), "debit_account": "alice", "credit_account": "bob", "amount": amount.to_string(),
        "ledger": 978, "code": 1, "flags": ["pending"], "timeout_seconds": timeout_seconds,
    });
    let answer = server.post("/v1/transfers", &body.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
}

/// The id of a transfer, its state, the captured amount, and the id of the transfer that resolved it.
type State<'page> = (&'page str, Option<&'page str>, Option<&'page str>, Option<&'page str>);

/// The states of the transfers in a page.
fn states_of(page: &Value) -> Vec<State<'_>> {
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|item| {
            let text = |field: &str| item[field].as_str();
            (text("id").unwrap(), text("state"), text("captured_amount"), text("resolved_by"))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_shows_how_it_was_resolved() {
    let server = Server::start().await;
    server.two_accounts().await;
    for (id, amount) in [(20, 100), (21, 50), (22, 7)] {
        hold(&server, id, amount, 3600).await;
    }
    hold(&server, 23, 1, 1).await;
    let open = server.get("/v1/transfers/20").await.json();
    assert_eq!(open["state"], "pending");
    let expires_at: u64 = open["expires_at"].as_str().unwrap().parse().unwrap();
    let timestamp: u64 = open["timestamp"].as_str().unwrap().parse().unwrap();
    assert_eq!(expires_at - timestamp, 3600 * 1_000_000_000);
    assert!(open["captured_amount"].is_null() && open["resolved_at"].is_null(), "{open}");

    let posted = server.post("/v1/transfers/20/post", r#"{"id":"30","amount":"40"}"#).await.json();
    assert_eq!(server.post("/v1/transfers/21/void", r#"{"id":"31"}"#).await.status, 201);
    let shown = server.get("/v1/transfers/20").await.json();
    assert_eq!((&shown["state"], &shown["captured_amount"]), (&"posted".into(), &"40".into()));
    assert_eq!((&shown["resolved_by"], &shown["resolved_at"]), (&"30".into(), &posted["timestamp"]));
    assert_eq!(shown["amount"], "100", "the record does not change");

    // The last hold expires: an event reports it, and from then on every lookup.
    let expired = loop {
        let from = EventPosition::of(LEDGER_GROUP, MovementNumber(6));
        let events = server.get(&format!("/v1/events?from={from}")).await.json();
        if let Some(event) = events["items"].as_array().unwrap().first() {
            break event.clone();
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((&expired["kind"], &expired["transfer"]["id"]), (&"two_phase_expired".into(), &"23".into()));
    assert!(expired["transfer"]["state"].is_null(), "events do not change");
    let shown = server.get("/v1/transfers/23").await.json();
    assert_eq!((&shown["state"], &shown["resolved_at"]), (&"expired".into(), &expired["timestamp"]));
    assert_eq!((&shown["captured_amount"], &shown["resolved_by"]), (&"0".into(), &Value::Null));

    let expected = [
        ("20", Some("posted"), Some("40"), Some("30")),
        ("21", Some("voided"), Some("0"), Some("31")),
        ("22", Some("pending"), None, None),
        ("23", Some("expired"), Some("0"), None),
        ("30", None, None, None),
        ("31", None, None, None),
    ];
    for list in ["/v1/transfers", "/v1/accounts/alice/transfers", "/v1/accounts/bob/transfers"] {
        assert_eq!(states_of(&server.get(list).await.json()), expected, "{list}");
    }

    let mut client = server.grpc().await;
    let ids = (20..24).map(|id: u128| id.into()).collect();
    let found = client.lookup_transfers(v1::LookupTransfersRequest { ids }).await.unwrap().into_inner();
    let holds: Vec<_> = found.transfers.iter().map(|transfer| transfer.hold.unwrap()).collect();
    let states: Vec<_> = holds.iter().map(v1::Hold::state).collect();
    let expected =
        [v1::HoldState::Posted, v1::HoldState::Voided, v1::HoldState::Pending, v1::HoldState::Expired];
    assert_eq!(states, expected);
    assert_eq!((holds[0].captured_amount, holds[0].resolved_by), (Some(40.into()), Some(30.into())));
    assert_eq!((holds[2].resolved_at, holds[3].resolved_by), (0, None));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_holds_are_listed_by_account_and_expiry() {
    let server = Server::start().await;
    server.two_accounts().await;
    let carol = r#"{"id":"3","name":"carol","ledger":978,"code":1}"#;
    assert_eq!(server.post("/v1/accounts", carol).await.status, 201);
    for (id, timeout) in [(20, 0), (21, 9000), (22, 3000), (23, 5000), (24, 0)] {
        hold(&server, id, 1, timeout).await;
    }
    let body = r#"{"id":"25","debit_account":"bob","credit_account":"carol","amount":"0","ledger":978,"code":1,"flags":["pending"]}"#;
    assert_eq!(server.post("/v1/transfers", body).await.status, 201);
    assert_eq!(server.post("/v1/transfers/23/void", "").await.status, 201);

    let pages = async |path: &str| {
        let mut ids = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = server.get(&format!("{path}?limit=2{cursor}")).await.json();
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= 2 && items.iter().all(|item| item["state"] == "pending"), "{page}");
            ids.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            let Some(next) = page["next_cursor"].as_str() else { return ids };
            cursor = format!("&cursor={next}");
        }
    };
    assert_eq!(pages("/v1/holds").await, ["22", "21", "20", "24", "25"]);
    assert_eq!(pages("/v1/accounts/alice/holds").await, ["22", "21", "20", "24"]);
    assert_eq!(pages("/v1/accounts/bob/holds").await, ["22", "21", "20", "24", "25"]);
    assert_eq!(pages("/v1/accounts/3/holds").await, ["25"]);
    let first = server.get("/v1/accounts/bob/holds?limit=1").await.json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let other = server.get(&format!("/v1/accounts/alice/holds?cursor={cursor}")).await;
    assert_eq!((other.status, other.code().as_str()), (400, "cursor_of_another_query"), "{}", other.body);
    assert_eq!(server.get("/v1/accounts/unknown/holds").await.status, 404);

    let mut client = server.grpc().await;
    let mut request = v1::ListHoldsRequest { limit: 3, ..Default::default() };
    let mut seen = Vec::new();
    loop {
        let page = client.list_holds(request.clone()).await.unwrap().into_inner().transfers;
        let Some(last) = page.last() else { break };
        request.after_timestamp = last.timestamp;
        let timeout = u64::from(last.timeout_seconds) * 1_000_000_000;
        request.after_expires_at = if timeout == 0 { u64::MAX } else { last.timestamp + timeout };
        seen.extend(page.iter().map(|transfer| u128::from(transfer.id.unwrap())));
    }
    assert_eq!(seen, [22, 21, 20, 24, 25]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_changes_named_bounds_and_a_put_replaces_both() {
    let server = Server::start().await;
    server.two_accounts().await;
    let send = async |method: &str, body: &str| {
        let answer = server.send(method, "/v1/accounts/alice/bounds", "", body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        server.get("/v1/accounts/alice").await.json()["bounds"].clone()
    };
    assert_eq!(send("PUT", r#"{"minimum":"-5"}"#).await, json!({ "minimum": "-5", "maximum": null }));
    assert_eq!(send("PATCH", r#"{"maximum":"100"}"#).await, json!({ "minimum": "-5", "maximum": "100" }));
    assert_eq!(send("PATCH", "{}").await, json!({ "minimum": "-5", "maximum": "100" }));
    assert_eq!(send("PATCH", r#"{"minimum":null}"#).await, json!({ "minimum": null, "maximum": "100" }));
    assert_eq!(send("PUT", r#"{"minimum":"7"}"#).await, json!({ "minimum": "7", "maximum": null }));
    let above = server.send("PATCH", "/v1/accounts/alice/bounds", "", r#"{"maximum":"6"}"#).await;
    assert_eq!((above.status, above.code().as_str()), (422, "bounds_invalid"));

    let mut client = server.grpc().await;
    let mut change = v1::set_account_bounds_request::Change {
        account: Some(v1::AccountRef { reference: Some(v1::account_ref::Reference::Id(1.into())) }),
        bounds: Some(v1::Bounds { minimum: None, maximum: Some(9.into()) }),
        keep_minimum: true,
        keep_maximum: false,
    };
    let request = |change: &_| v1::SetAccountBoundsRequest { changes: vec![Clone::clone(change)] };
    client.set_account_bounds(request(&change)).await.unwrap();
    let bounds = server.get("/v1/accounts/alice").await.json()["bounds"].clone();
    assert_eq!(bounds, json!({ "minimum": "7", "maximum": "9" }));
    change.keep_maximum = true;
    let refused = client.set_account_bounds(request(&change)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_normalized_and_invisible_characters_are_refused() {
    let server = Server::start().await;
    let create = async |id: u32, name: &str| {
        let body = json!({ "id": id.to_string(), "name": name, "ledger": 978, "code": 1 });
        server.post("/v1/accounts", &body.to_string()).await
    };
    assert_eq!(create(1, "Jose\u{301}").await.status, 201);
    assert_eq!(server.get("/v1/accounts/1").await.json()["name"], "Jos\u{e9}");
    assert_eq!(create(1, "Jose\u{301}").await.status, 200, "a retry is the same request");
    assert_eq!(create(2, "Jos\u{e9}").await.code(), "name_taken");
    for path in ["/v1/accounts/Jose%CC%81", "/v1/accounts/Jos%C3%A9"] {
        assert_eq!(server.get(path).await.json()["id"], "1", "{path}");
    }
    assert_eq!(create(2, "carol").await.status, 201);
    for wrong in ["car\u{200b}ol", "\u{202e}lorac", "car\u{2028}ol", "car\u{e0061}ol", ".", ".."] {
        let refused = create(3, wrong).await;
        assert_eq!((refused.status, refused.code().as_str()), (422, "name_invalid"), "{wrong:?}");
    }
    let zero = create(3, "carol\0").await;
    assert_eq!((zero.status, &zero.json()["errors"][0]["field"]), (400, &"name".into()), "{}", zero.body);
    assert_eq!(server.get("/v1/accounts/carol%00").await.status, 404, "another name than carol");
    let rename = server.send("PUT", "/v1/accounts/2/name", "", r#"{"name":"a\u200bb"}"#).await;
    assert_eq!(rename.code(), "name_invalid");

    // The fast path returns a status for each event in its place.
    let extended = |id: u128, name: &str| ExtendedAccount {
        account: Account { id: AccountId(id), ledger: LedgerNumber(978), code: 1, ..Account::default() },
        bounds: Bounds::NONE,
        name: name_to_bytes(name).unwrap(),
    };
    let records = ExtendedAccount::write_all(&[extended(7, "a\u{200b}b"), extended(8, "e\u{301}")]);
    let mut client = server.grpc().await;
    let request = v1::SubmitRequest { operation: v1::Operation::CreateAccountsExtended.into(), records };
    let results = client.submit(request).await.unwrap().into_inner().results;
    let statuses: Vec<_> =
        results.chunks(16).map(|result| u32::from_le_bytes(result[8..12].try_into().unwrap())).collect();
    assert_eq!(statuses, [CreateAccountStatus::NameInvalid.number(), u32::MAX]);
    assert_eq!(server.get("/v1/accounts/8").await.json()["name"], "\u{e9}");
    let tagged = [extended(17, "a\u{200b}b"), extended(18, "o\u{308}"), extended(19, "")].map(TaggedAccount);
    let records = TaggedAccount::write_all(&tagged);
    let operation = v1::Operation::CreateAccountsTagged.into();
    let request = v1::SubmitRequest { operation, records: records.clone() };
    let results = client.submit(request).await.unwrap().into_inner().results;
    let statuses: Vec<_> =
        results.chunks(16).map(|result| u32::from_le_bytes(result[8..12].try_into().unwrap())).collect();
    assert_eq!(statuses, [CreateAccountStatus::NameInvalid.number(), u32::MAX, u32::MAX]);
    assert_eq!(server.get("/v1/accounts/18").await.json()["name"], "\u{f6}", "its size changed");
    let mut unknown = records.to_vec();
    unknown[130] = 9;
    let request = v1::SubmitRequest { operation, records: unknown.into() };
    let status = client.submit(request).await.unwrap_err();
    assert!(status.message().contains("a tag that is unknown"), "{status}");
    let named =
        |name: &str| v1::AccountRef { reference: Some(v1::account_ref::Reference::Name(name.to_owned())) };
    let accounts = vec![named("e\u{301}"), named("unknown"), named("carol")];
    let found = client.lookup_accounts(v1::LookupAccountsRequest { accounts }).await.unwrap().into_inner();
    let found: Vec<_> = found.accounts.iter().map(|account| account.name.as_str()).collect();
    assert_eq!(found, ["\u{e9}", "carol"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_currency_can_be_replaced_until_an_account_uses_it() {
    let server = Server::start().await;
    let shown = async |ledger: u32| {
        let assets = server.get("/v1/assets").await.json();
        assets.as_array().unwrap().iter().find(|asset| asset["ledger"] == ledger).unwrap().clone()
    };
    assert_eq!(shown(840).await, json!({ "ledger": 840, "code": "USD", "scale": 2, "built_in": true }));
    let points = r#"{"ledger":840,"code":"POINTS","scale":0}"#;
    assert_eq!(server.post("/v1/assets", points).await.status, 201);
    assert_eq!(shown(840).await, json!({ "ledger": 840, "code": "POINTS", "scale": 0, "built_in": false }));
    let till = r#"{"id":"1","name":"till","asset":"POINTS","code":1}"#;
    assert_eq!(server.post("/v1/accounts", till).await.status, 201);
    let till = server.get("/v1/accounts/till").await.json();
    assert_eq!((&till["asset"], &till["balances"]["display"]), (&"POINTS".into(), &"0 POINTS".into()));
    let dollars = r#"{"id":"2","asset":"USD","code":1}"#;
    assert_eq!(server.post("/v1/accounts", dollars).await.code(), "asset_not_found");
    assert_eq!(server.post("/v1/assets", r#"{"ledger":5000,"code":"USD","scale":2}"#).await.status, 201);
    assert_eq!(server.post("/v1/accounts", dollars).await.status, 201);

    let euro = r#"{"id":"3","asset":"EUR","code":1}"#;
    assert_eq!(server.post("/v1/accounts", euro).await.status, 201);
    let taken = server.post("/v1/assets", r#"{"ledger":978,"code":"MILES","scale":0}"#).await;
    assert_eq!((taken.status, taken.code().as_str()), (409, "ledger_taken"), "{}", taken.body);
    server.stop().await;
}
