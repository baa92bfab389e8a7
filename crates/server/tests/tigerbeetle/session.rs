//! Retries get the bytes of the first try: on the same connection, on another, while it is being answered,
//! and after a restart. A client without a session gets the reason.

use bezant_codec::transfer_to_bytes;
use bezant_tigerbeetle::message::Reason;
use bezant_tigerbeetle::{ClientError, Operation, Ping, Pong, Release};
use bezant_types::limits::SESSIONS_MAX;
use bezant_types::{ClientId, SessionNumber};
use tokio::io::AsyncWriteExt;

use crate::common::Server;
use crate::peer::{CREATED, Peer, account, body, ids_to_bytes, statuses, transfer};

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_gets_the_same_bytes_on_any_connection() {
    let mut server = Server::start().await;
    let mut peer = Peer::open(&server, 1).await;
    let opened = peer.reply.clone();
    assert_eq!(peer.resend().await, opened, "opening a session is a request like any other");
    peer.two_accounts().await;
    assert_eq!(statuses(&peer.create_transfers(&[transfer(7, 5), transfer(7, 6)]).await), [CREATED, 39]);
    let first = peer.reply.clone();
    assert_eq!(peer.resend().await, first);
    peer.reconnect(&server).await;
    assert_eq!(peer.resend().await, first, "on another connection");
    for _ in 0..2 {
        server = server.restart().await;
        peer.reconnect(&server).await;
        assert_eq!(peer.resend().await, first, "after a restart");
    }
    let found = peer.lookup_accounts(&[1]).await;
    assert_eq!(found[0].debits_posted, 5, "the session continues, and the transfer was done once");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reply_to_a_read_is_kept() {
    let server = Server::start().await;
    let (mut peer, mut other) = (Peer::open(&server, 1).await, Peer::open(&server, 2).await);
    peer.two_accounts().await;
    peer.lookup_accounts(&[1, 2, 3]).await;
    let first = peer.reply.clone();
    other.create_transfers(&[transfer(1, 5)]).await;
    assert_eq!(peer.resend().await, first, "although the balances have changed");
    let server = server.restart().await;
    peer.reconnect(&server).await;
    assert_eq!(peer.resend().await, first, "after a restart");
    assert_eq!(peer.lookup_accounts(&[1]).await[0].debits_posted, 5);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_copies_of_a_request_are_done_once() {
    let server = Server::start().await;
    let mut peer = Peer::open(&server, 1).await;
    peer.two_accounts().await;
    for round in 0..20 {
        let events = (1..=500).flat_map(|id| transfer_to_bytes(&transfer(round * 1_000 + id, 1))).collect();
        let request = peer.frame(Operation::CreateTransfers, &body(Operation::CreateTransfers, &[events]));
        let mut others = Vec::new();
        for _ in 0..4 {
            let mut other = Peer::connect(&server, 1, Release::OWN).await;
            other.stream.write_all(&request).await.unwrap();
            others.push(other);
        }
        peer.exchange(request).await.unwrap();
        for mut other in others {
            assert_eq!(other.next_frame().await.unwrap(), peer.reply);
        }
    }
    assert_eq!(peer.lookup_accounts(&[1]).await[0].debits_posted, 10_000);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_session_was_evicted_gets_the_reason() {
    let server = Server::start().await;
    let mut oldest = Peer::open(&server, 1).await;
    let mut used = Peer::open(&server, 2).await;
    let mut others = Vec::new();
    for number in 0..SESSIONS_MAX as u128 - 2 {
        others.push(Peer::open(&server, 100 + number).await);
        if others.len() > 500 {
            others.clear();
        }
    }
    used.create_accounts(&[account(1)]).await;
    let _one_more = Peer::open(&server, 3).await;
    let events = body(Operation::LookupAccounts, &[ids_to_bytes(&[1])]);
    let request = oldest.frame(Operation::LookupAccounts, &events);
    assert_eq!(oldest.exchange(request).await, Err(ClientError::Evicted(Reason::NoSession)));
    assert_eq!(used.lookup_accounts(&[1]).await.len(), 1, "the session that was used since is kept");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_unsupported_releases_get_the_reason() {
    let server = Server::start().await;
    for (release, reason) in [
        (Release::new(0, 15, 3), Reason::ReleaseTooLow),
        (Release::new(0, 16, 78), Reason::ReleaseTooLow),
        (Release::new(0, 18, 0), Reason::ReleaseTooHigh),
        (Release::new(65535, 0, 0), Reason::ReleaseTooHigh),
    ] {
        let mut peer = Peer::connect(&server, 1, release).await;
        let register = peer.client.register();
        assert_eq!(peer.exchange(register).await, Err(ClientError::Evicted(reason)), "{release}");
    }
    for patch in [0, 5, 9, 200] {
        let mut peer = Peer::connect(&server, 100 + u128::from(patch), Release::new(0, 17, patch)).await;
        let register = peer.client.register();
        peer.exchange(register).await.unwrap();
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_requests_evict_with_their_reason() {
    let server = Server::start().await;
    let cases: [(u8, Vec<u8>, Reason); 6] = [
        (6, Vec::new(), Reason::InvalidOperation),
        (139, vec![0; 128], Reason::InvalidOperation),
        (147, vec![0; 128], Reason::InvalidBody),
        (147, Vec::new(), Reason::InvalidBody),
        (137, vec![0; 63], Reason::InvalidBody),
        (140, vec![0xff; 1_048_320], Reason::InvalidBody),
    ];
    for (number, (operation, body, reason)) in (1..).zip(cases) {
        let mut peer = Peer::open(&server, number).await;
        let header = peer.client.request_numbered(operation, &body);
        let evicted = peer.exchange([&header[..], &body].concat()).await;
        assert_eq!(evicted, Err(ClientError::Evicted(reason)), "operation {operation}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_are_answered_before_and_after_a_session_is_opened() {
    let server = Server::start().await;
    let mut peer = Peer::connect(&server, 9, Release::OWN).await;
    for session in [0, 5] {
        let ping = Ping { client: ClientId(9), time: 123, session: SessionNumber(session) };
        peer.stream.write_all(&ping.to_bytes(0, Release::OWN)).await.unwrap();
        let frame = peer.next_frame().await.unwrap();
        let header = bezant_tigerbeetle::Header::read(frame.first_chunk().unwrap()).unwrap();
        let pong = Pong::read(&header).unwrap();
        assert_eq!((pong.time, pong.view, header.release), (123, 1, Release::OWN));
    }
    server.stop().await;
}
