//! gRPC against a real node.
#![allow(missing_docs, clippy::unwrap_used, dead_code, reason = "tests")]

mod common;

use std::time::Duration;

use bezant_api::token::{EventPosition, LEDGER_GROUP};
use bezant_api::v1;
use bezant_codec::{MOVEMENT_SIZE, movement_from_bytes, result_from_bytes, transfer_to_bytes};
use bezant_server::Limits;
use bezant_types::{
    AccountId, CreateTransferStatus, GroupId, LedgerNumber, MovementNumber, Transfer, TransferId,
};
use bytes::Bytes;
use common::Server;
use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_request::MessageRequest};
use tonic_types::StatusExt;

fn id(value: u128) -> v1::Uint128 {
    value.into()
}

fn named(name: &str) -> v1::AccountRef {
    v1::AccountRef { reference: Some(v1::account_ref::Reference::Name(name.to_owned())) }
}

fn by_id(value: u128) -> v1::AccountRef {
    v1::AccountRef { reference: Some(v1::account_ref::Reference::Id(value.into())) }
}

fn transfer(id: u128) -> Transfer {
    Transfer {
        id: TransferId(id),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        amount: 1,
        ledger: LedgerNumber(978),
        code: 1,
        ..Transfer::default()
    }
}

/// The position before a row of the ledger's history.
fn position(row: u64) -> String {
    EventPosition::of(LEDGER_GROUP, MovementNumber(row)).to_string()
}

fn page(from: String) -> v1::GetMovementsRequest {
    v1::GetMovementsRequest { from, ..v1::GetMovementsRequest::default() }
}

fn watch(from: String) -> v1::WatchEventsRequest {
    v1::WatchEventsRequest { from, from_number: None }
}

fn records(ids: impl Iterator<Item = u128>) -> Bytes {
    ids.flat_map(|id| transfer_to_bytes(&transfer(id))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fast_path_accepts_a_full_batch() {
    let server = Server::start().await;
    server.two_accounts().await;
    let mut client = server.grpc().await;
    let request =
        v1::SubmitRequest { operation: v1::Operation::CreateTransfers.into(), records: records(1..=8189) };
    let reply = client.submit(request).await.unwrap().into_inner();
    let (results, rest) = reply.results.as_chunks::<16>();
    assert_eq!((results.len(), rest.len()), (8189, 0));
    let created = CreateTransferStatus::Created.number();
    assert!(results.iter().all(|result| result_from_bytes(result).status == created));
    assert_eq!(result_from_bytes(&results[8188]).timestamp.0, reply.timestamp);

    for (operation, records) in
        [(2, Bytes::from_static(b"x")), (2, Bytes::new()), (8, records(1..=1)), (2, records(1..=8190))]
    {
        let status = client.submit(v1::SubmitRequest { operation, records }).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert_eq!(status.get_details_error_info().unwrap().reason, "invalid_records");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_calls_write_and_read_everything() {
    let server = Server::start().await;
    server.two_accounts().await;
    let mut client = server.grpc().await;
    let input = |id_: u128, from, to| v1::TransferInput {
        id: Some(id(id_)),
        debit_account: Some(from),
        credit_account: Some(to),
        amount: Some(id(5)),
        ledger: Some(978),
        code: Some(1),
        ..Default::default()
    };
    let transfers = vec![input(7, named("alice"), by_id(2)), input(8, by_id(9), by_id(2))];
    let reply = client.create_transfers(v1::CreateTransfersRequest { transfers }).await.unwrap().into_inner();
    let names: Vec<_> = reply.results.iter().map(|result| result.name.as_str()).collect();
    assert_eq!(names, ["created", "debit_account_not_found"]);

    let accounts = vec![by_id(1), by_id(99), named("bob")];
    let found =
        client.lookup_accounts(v1::LookupAccountsRequest { accounts }).await.unwrap().into_inner().accounts;
    let seen: Vec<_> = found.iter().map(|account| account.name.as_str()).collect();
    assert_eq!(seen, ["alice", "bob"]);
    assert_eq!(found[0].spends.as_ref().unwrap().head.len(), 32);
    let transfers =
        client.lookup_transfers(v1::LookupTransfersRequest { ids: vec![7.into(), 8.into()] }).await;
    assert_eq!(transfers.unwrap().into_inner().transfers.len(), 1);
    let filter = v1::AccountFilter { account: Some(named("bob")), ..Default::default() };
    assert_eq!(client.get_account_transfers(filter.clone()).await.unwrap().into_inner().transfers.len(), 1);
    assert_eq!(client.get_account_balances(filter.clone()).await.unwrap().into_inner().balances.len(), 1);
    let rows = client.get_account_movements(filter).await.unwrap().into_inner();
    assert_eq!((rows.numbers.as_slice(), rows.rows.len(), rows.group), (&[0][..], MOVEMENT_SIZE, 1));
    let movement = movement_from_bytes(rows.rows.first_chunk().unwrap()).unwrap();
    assert_eq!(movement.transfer.id, TransferId(7));
    let query = v1::QueryFilter { ledger: 978, ..Default::default() };
    assert_eq!(client.query_accounts(query).await.unwrap().into_inner().accounts.len(), 2);
    assert_eq!(client.query_transfers(query).await.unwrap().into_inner().transfers.len(), 1);
    let all = client.get_movements(v1::GetMovementsRequest::default()).await.unwrap().into_inner();
    assert_eq!((all.numbers.as_slice(), all.next), (&[0][..], position(1)));
    let books = client.get_books(v1::GetBooksRequest {}).await.unwrap().into_inner();
    assert_eq!((books.movements, books.refusals, books.accounts), (1, 1, 2));
    assert!(client.list_assets(v1::ListAssetsRequest {}).await.unwrap().into_inner().assets.len() > 150);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_carry_their_details() {
    let server = Server::start().await;
    let mut client = server.grpc().await;
    let whole = v1::AccountInput { ledger: Some(978), code: Some(1), ..Default::default() };
    for (code, sentence) in [(Some(65_536), "at most 65535"), (None, "is missing")] {
        let accounts = vec![whole.clone(), v1::AccountInput { code, ..whole.clone() }];
        let status = client.create_accounts(v1::CreateAccountsRequest { accounts }).await.unwrap_err();
        let fields = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(fields[0].field, "accounts[1].code");
        assert!(fields[0].description.contains(sentence), "{fields:?}");
    }
    let accounts = vec![whole.clone(), v1::AccountInput { code: Some(65_536), ..whole }];
    let status = client.create_accounts(v1::CreateAccountsRequest { accounts }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let fields = status.get_details_bad_request().unwrap().field_violations;
    assert_eq!(fields[0].field, "accounts[1].code");
    let status = client.create_accounts(v1::CreateAccountsRequest::default()).await.unwrap_err();
    assert_eq!(status.get_details_error_info().unwrap().reason, "no_events");
    let filter = v1::AccountFilter { account: Some(named("unknown")), ..Default::default() };
    let status = client.get_account_transfers(filter).await.unwrap_err();
    assert_eq!(
        (status.code(), status.get_details_error_info().unwrap().reason.as_str()),
        (Code::NotFound, "account_not_found")
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_tonic_refuses_have_a_code() {
    let server = Server::start().await;
    let call = async |path: &'static str, message: &'static [u8]| {
        let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
        let mut client = Grpc::new(endpoint.connect().await.unwrap());
        client.ready().await.unwrap();
        let request = v1::SubmitReply { results: Bytes::from_static(message), ..Default::default() };
        let codec = ProstCodec::<v1::SubmitReply, v1::SubmitReply>::default();
        client.unary(Request::new(request), PathAndQuery::from_static(path), codec).await.unwrap_err()
    };
    let reason = |status: &Status| status.get_error_details().error_info().map(|info| info.reason.clone());
    for path in ["/bezant.v1.Ledger/Burn", "/bezant.v2.Ledger/Submit"] {
        let status = call(path, b"").await;
        assert_eq!(status.code(), Code::Unimplemented, "{status}");
        assert_eq!(reason(&status).as_deref(), Some("route_not_found"), "{path}");
    }
    // Field 3 is bytes in the sent message, and a number in the call's request.
    let status = call("/bezant.v1.Ledger/QueryTransfers", b"\xff\xff").await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert_eq!(reason(&status).as_deref(), Some("invalid_message"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_starts_at_its_position() {
    let mut server = Server::start().await;
    server.two_accounts().await;
    let mut client = server.grpc().await;
    let submit =
        |ids: std::ops::RangeInclusive<u128>| v1::SubmitRequest { operation: 2, records: records(ids) };
    client.submit(submit(1..=2000)).await.unwrap();
    let mut events = client.watch_events(watch(position(1500))).await.unwrap().into_inner();
    for number in 1500..2000 {
        let event = events.message().await.unwrap().unwrap();
        assert_eq!((event.group, event.number, event.position), (1, number, position(number + 1)));
    }
    client.submit(submit(2001..=2001)).await.unwrap();
    let event = events.message().await.unwrap().unwrap();
    assert_eq!((event.number, event.transfer.unwrap().id), (2000, Some(id(2001))));
    server.begin_stop();
    let status = events.message().await.unwrap_err();
    assert_eq!(status.get_details_error_info().unwrap().reason, "stopping");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_report_whether_more_exist() {
    let server = Server::start().await;
    server.two_accounts().await;
    let mut client = server.grpc().await;
    client.submit(v1::SubmitRequest { operation: 2, records: records(1..=10) }).await.unwrap();
    for (limit, has_more) in [(9, true), (10, false), (11, false), (0, false)] {
        for reversed in [false, true] {
            let filter =
                v1::AccountFilter { account: Some(named("bob")), limit, reversed, ..Default::default() };
            let query = v1::QueryFilter { limit, reversed, ..Default::default() };
            let found = [
                client.get_account_transfers(filter.clone()).await.unwrap().into_inner().has_more,
                client.get_account_balances(filter.clone()).await.unwrap().into_inner().has_more,
                client.get_account_movements(filter).await.unwrap().into_inner().has_more,
                client.query_transfers(query).await.unwrap().into_inner().has_more,
            ];
            assert_eq!(found, [has_more; 4], "{limit}, reversed: {reversed}");
        }
        let rows = client.get_movements(v1::GetMovementsRequest { limit, ..Default::default() }).await;
        assert_eq!(rows.unwrap().into_inner().has_more, has_more, "{limit}");
    }
    for (limit, has_more) in [(1, true), (2, false), (0, false)] {
        let query = v1::QueryFilter { limit, ..Default::default() };
        assert_eq!(client.query_accounts(query).await.unwrap().into_inner().has_more, has_more, "{limit}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_after_the_end_is_refused_with_the_end() {
    let server = Server::start().await;
    server.two_accounts().await;
    let mut client = server.grpc().await;
    client.submit(v1::SubmitRequest { operation: 2, records: records(1..=10) }).await.unwrap();
    let end = client.get_movements(page(position(10))).await.unwrap().into_inner();
    assert_eq!((end.numbers.len(), end.next), (0, position(10)));
    // A position of another group is another ledger's.
    let mut of_others = EventPosition::of(LEDGER_GROUP, MovementNumber(3));
    of_others.merge(&EventPosition::of(GroupId(2), MovementNumber(1)));
    let refused = [
        client.get_movements(page(position(11))).await.unwrap_err(),
        client.get_movements(page(of_others.to_string())).await.unwrap_err(),
        client.watch_events(watch(position(5000))).await.unwrap_err(),
    ];
    for status in refused {
        assert_eq!(status.code(), Code::OutOfRange, "{status}");
        let info = status.get_details_error_info().unwrap();
        assert_eq!((&*info.reason, info.metadata.get("end")), ("position_after_end", Some(&position(10))));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_names_the_position_after_it() {
    let server = Server::start().await;
    server.two_accounts().await;
    let mut client = server.grpc().await;
    client.submit(v1::SubmitRequest { operation: 2, records: records(1..=10) }).await.unwrap();
    let mut next = async |request| client.get_movements(request).await.unwrap().into_inner().next;
    assert_eq!(next(v1::GetMovementsRequest { limit: 3, ..page(position(2)) }).await, position(5));
    assert_eq!(next(page("start".to_owned())).await, position(10));
    assert_eq!(next(page("now".to_owned())).await, position(10));
    // No row is that late yet: a reader that begins there continues at the end.
    let late = u64::MAX >> 1;
    assert_eq!(
        next(v1::GetMovementsRequest { timestamp_min: late, ..page(position(2)) }).await,
        position(10)
    );
    let quiet = v1::GetMovementsRequest { timestamp_min: late, timestamp_max: late, ..page(position(2)) };
    assert_eq!(next(quiet).await, position(10), "a range without rows at the end");
    let early = v1::GetMovementsRequest { timestamp_min: 1, timestamp_max: 1, ..page("start".to_owned()) };
    assert_eq!(next(early).await, position(0), "a range without rows before the first");
    assert_eq!(next(v1::GetMovementsRequest { timestamp_max: 1, ..page(position(2)) }).await, position(2));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_in_place_of_positions_and_sessions_are_refused() {
    let server = Server::start().await;
    let mut client = server.grpc().await;
    // The fields as version 0.1 sent them.
    let old_page = v1::GetMovementsRequest { from_number: 7, ..v1::GetMovementsRequest::default() };
    let old_watch = v1::WatchEventsRequest { from_number: Some(0), ..v1::WatchEventsRequest::default() };
    let refused = [
        client.get_movements(old_page).await.unwrap_err(),
        client.watch_events(old_watch).await.unwrap_err(),
        client.watch_events(watch("7".to_owned())).await.unwrap_err(),
    ];
    for status in refused {
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().ends_with("use the `position` of an event, or `start`"), "{status}");
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "from");
    }
    for (name, value) in [("bezant-index", "7"), ("bezant-session", "7")] {
        let mut request = Request::new(v1::GetBooksRequest {});
        request.metadata_mut().insert("bezant-read", "session".parse().unwrap());
        request.metadata_mut().insert(name, value.parse().unwrap());
        let status = client.get_books(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().ends_with("send the `Bezant-Session` of the last answer"), "{status}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_answer() {
    let server = Server::start().await;
    let channel = Endpoint::new(format!("http://{}", server.address)).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel.clone());
    let request = HealthCheckRequest { service: "bezant.v1.Ledger".to_owned() };
    assert_eq!(health.check(request).await.unwrap().into_inner().status, 1);
    let request = HealthCheckRequest { service: "other".to_owned() };
    assert_eq!(health.check(request).await.unwrap_err().code(), Code::NotFound);

    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol("bezant.v1.Ledger".to_owned())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let mut answers =
        reflection.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().unwrap().message_response.is_some());
    drop(answers);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_has_the_ids() {
    let limits = Limits { deadline_max: Duration::ZERO, ..Limits::default() };
    let server = Server::start_with(limits).await;
    server.two_accounts().await;
    let mut client = server.grpc().await;
    let operation = v1::Operation::CreateTransfers.into();
    let request = v1::SubmitRequest { operation, records: records(70..=71) };
    let status = client.submit(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    let info = status.get_details_error_info().expect("the server answers");
    assert_eq!(info.metadata.get("ids").map(String::as_str), Some("70,71"));
    let input = v1::TransferInput {
        id: Some(id(72)),
        debit_account: Some(by_id(1)),
        credit_account: Some(by_id(2)),
        amount: Some(id(1)),
        ledger: Some(978),
        code: Some(1),
        ..Default::default()
    };
    let request = v1::CreateTransfersRequest { transfers: vec![input] };
    let status = client.create_transfers(request).await.unwrap_err();
    let info = status.get_details_error_info().expect("the server answers");
    assert_eq!(info.metadata.get("ids").map(String::as_str), Some("72"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_chain_exists_and_a_refusal_has_its_case() {
    let server = Server::start().await;
    server.two_accounts().await;
    let mut client = server.grpc().await;
    let input = |number: u128, flags: i32| v1::TransferInput {
        id: Some(id(number)),
        debit_account: Some(named("alice")),
        credit_account: Some(named("bob")),
        amount: Some(id(1)),
        ledger: Some(978),
        code: Some(1),
        flags: flags.unsigned_abs(),
        ..Default::default()
    };
    let chain = vec![input(80, v1::TransferFlag::Linked.into()), input(81, 0)];
    for expected in ["created", "exists"] {
        let request = v1::CreateTransfersRequest { transfers: chain.clone() };
        let reply = client.create_transfers(request).await.unwrap().into_inner();
        assert!(reply.results.iter().all(|result| result.name == expected), "{reply:?}");
    }
    let changed = v1::TransferInput { amount: Some(id(2)), ..input(81, 0) };
    let request = v1::CreateTransfersRequest { transfers: vec![changed] };
    let reply = client.create_transfers(request).await.unwrap().into_inner();
    assert_eq!(reply.results[0].name, "exists_with_different_amount");
    assert!(reply.results[0].detail.contains("0.01 EUR, not 0.02 EUR"), "{reply:?}");
    server.stop().await;
}

/// A message as gRPC frames it.
fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_of_a_call_runs_from_its_head_on() {
    let server = Server::start().await;
    let asset = v1::Asset { ledger: 10001, code: "POINTS".to_owned(), scale: 0 };
    let calls = [
        ("RegisterAssets", framed(&v1::RegisterAssetsRequest { assets: vec![asset] })),
        ("Submit", framed(&v1::SubmitRequest { operation: 7, records: vec![0; 32].into() })),
    ];
    for (call, message) in calls {
        let (mut client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
        tokio::spawn(connection);
        let head = http::Request::post(format!("http://bezant/bezant.v1.Ledger/{call}"))
            .header("content-type", "application/grpc")
            .header("grpc-timeout", "20m");
        let (answer, mut body) = client.send_request(head.body(()).unwrap(), false).unwrap();
        // The head has arrived once the server counts the call. Then the deadline passes before the message.
        while !server.get("/metrics").await.body.contains("bezant_requests_in_flight 2\n") {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        body.send_data(message, true).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "4", "{call}: the deadline is exceeded");
    }
    server.stop().await;
}
