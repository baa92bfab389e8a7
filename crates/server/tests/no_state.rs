//! A node that is filled or repaired from its peers reports `no_state` until it has what they have, and never
//! "not found".
#![allow(missing_docs, clippy::unwrap_used, dead_code, reason = "tests")]

mod common;

use std::net::TcpListener;
use std::sync::Arc;

use bezant_api::token::{EventPosition, LEDGER_GROUP, SessionToken};
use bezant_api::v1;
use bezant_runtime::{ClusterOptions, Health, Options, start_member};
use bezant_server::Limits;
use bezant_types::{LogIndex, MovementNumber, NodeId};
use common::Server;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

/// The server of the first of `count` nodes; the others do not run.
async fn first_of(count: u64) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().to_string();
    // No node listens on these ports.
    let others = (2..=count).map(|node| (NodeId(node), format!("127.0.0.1:{node}")));
    let cluster = ClusterOptions {
        node: NodeId(1),
        token: "a token for a test".to_owned(),
        engine: None,
        nodes: std::iter::once((NodeId(1), own)).chain(others).collect(),
        join: Vec::new(),
        give_up: Arc::default(),
        listener,
        growth: None,
    };
    let folder = tempfile::tempdir().unwrap();
    let node = start_member(&Options::new(folder.path()), cluster).unwrap();
    Server::serve(node, folder, Limits::default()).await
}

fn reason(status: &Status) -> (Code, String) {
    let info = status.get_details_error_info();
    (status.code(), info.map(|info| info.reason).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_reports_that_there_is_no_state_yet() {
    let server = first_of(3).await;
    let stale = "bezant-read: stale\r\n";
    let seen = SessionToken::of(LEDGER_GROUP, LogIndex(7));
    let session = format!("bezant-read: session\r\nbezant-session: {seen}\r\n");
    let (session, position) = (&*session, EventPosition::of(LEDGER_GROUP, MovementNumber(7)));
    let page = format!("/v1/events?from={position}");
    let received = format!("last-event-id: {position}\r\n");
    let cases = [
        ("/v1/books", stale),
        ("/v1/books", session),
        ("/v1/accounts/1", stale),
        ("/v1/accounts/1", session),
        ("/v1/transfers/1", stale),
        ("/v1/transfers/1", session),
        ("/v1/events", stale),
        (page.as_str(), stale),
        ("/v1/events/stream", ""),
        ("/v1/events/stream?from=start", ""),
        ("/v1/events/stream", received.as_str()),
        ("/readyz", ""),
    ];
    for (path, headers) in cases {
        let answer = server.send("GET", path, headers, "").await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "no_state"), "{path} {headers}");
        assert!(answer.head.contains("application/problem+json"), "{path} {headers}");
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(
            detail.contains("waits to meet the other nodes") && detail.contains("another node"),
            "{detail}"
        );
    }
    assert_eq!(server.get("/livez").await.status, 200);
    let cluster = server.get("/v1/cluster").await.json();
    let no_state = &cluster["groups"][0]["no_state"];
    assert!(no_state.as_str().is_some_and(|why| why.contains("waits to meet")), "{cluster}");
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.lines().any(|line| line == "bezant_has_state 0"), "{metrics}");
    assert!(!metrics.lines().any(|line| line.starts_with("bezant_expiry_paused ")), "{metrics}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_reports_that_there_is_no_state_yet() {
    let server = first_of(3).await;
    let mut client = server.grpc().await;
    let expected = (Code::Unavailable, "no_state".to_owned());
    for read in ["stale", "session"] {
        let mut request = Request::new(v1::GetBooksRequest {});
        request.metadata_mut().insert("bezant-read", read.parse().unwrap());
        assert_eq!(reason(&client.get_books(request).await.unwrap_err()), expected, "{read}");
        let mut request = Request::new(v1::GetMovementsRequest::default());
        request.metadata_mut().insert("bezant-read", read.parse().unwrap());
        assert_eq!(reason(&client.get_movements(request).await.unwrap_err()), expected, "{read}");
    }
    let watched = client.watch_events(v1::WatchEventsRequest::default()).await;
    assert_eq!(reason(&watched.unwrap_err()), expected);
    let reply = client.get_cluster(v1::GetClusterRequest {}).await.unwrap().into_inner();
    assert!(reply.ledger().unwrap().no_state.contains("waits to meet"), "{reply:?}");
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let mut health = HealthClient::new(endpoint.connect().await.unwrap());
    let service = String::new();
    let answer = health.check(HealthCheckRequest { service: service.clone() }).await.unwrap();
    assert_eq!(answer.into_inner().status(), ServingStatus::NotServing);
    let mut answers = health.watch(HealthCheckRequest { service }).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_cluster_whose_disks_are_all_new_is_ready() {
    let server = first_of(1).await;
    let mut health = server.health();
    health.wait_for(|health| *health == Health::Serving).await.unwrap();
    let begun = std::time::Instant::now();
    while server.get("/readyz").await.status != 200 {
        assert!(begun.elapsed().as_secs() < 60, "{}", server.get("/readyz").await.body);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let answer = server.send("GET", "/v1/accounts/1", "bezant-read: stale\r\n", "").await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "account_not_found"));
    let cluster = server.get("/v1/cluster").await.json();
    assert!(cluster["groups"][0]["no_state"].is_null(), "{cluster}");
    server.stop().await;
}
