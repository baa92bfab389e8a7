//! Invalid frames, and slow, idle and numerous clients. As the protocol requires, the server drops the frame,
//! closes the connection or waits; and it serves all other clients.

use std::sync::Arc;
use std::time::Duration;

use bezant_runtime::{Health, Options, start_on};
use bezant_server::Limits;
use bezant_storage::{FaultPlan, MemoryDisk};
use bezant_tigerbeetle::frame::Header;
use bezant_tigerbeetle::{HEADER_SIZE, Operation, Ping, Release, checksum};
use bezant_types::{ClientId, SessionNumber};
use tokio::io::AsyncWriteExt;

use crate::common::Server;
use crate::peer::{CREATED, Peer, account, body, ids_to_bytes, statuses, transfer};

/// Makes the checksum of a changed header valid.
fn reseal(frame: &mut [u8]) {
    let sum = checksum(&frame[16..HEADER_SIZE]).to_le_bytes();
    frame[..16].copy_from_slice(&sum);
}

/// Sends bytes, then a ping: true when the ping is answered and nothing before it.
async fn is_not_answered(peer: &mut Peer, frame: &[u8]) -> bool {
    let ping = Ping { client: ClientId(5), time: 99, session: SessionNumber(0) };
    peer.stream.write_all(frame).await.unwrap();
    peer.stream.write_all(&ping.to_bytes(0, Release::OWN)).await.unwrap();
    let answer = peer.next_frame().await.expect("the connection stays");
    answer[114] == 4
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_frame_is_dropped_and_the_connection_stays() {
    let server = Server::start().await;
    let mut peer = Peer::open(&server, 1).await;
    peer.two_accounts().await;
    let old = peer.request.clone();
    peer.lookup_accounts(&[1]).await;
    assert!(is_not_answered(&mut peer, &old).await, "an old request");
    let events = body(Operation::LookupAccounts, &[ids_to_bytes(&[1])]);
    let good = peer.frame(Operation::LookupAccounts, &events);
    let changes: [(&str, usize, u8); 11] = [
        ("a byte that must be zero", 16, 1),
        ("another such byte, in the first half", 127, 1),
        ("a reserved byte of the request", 255, 1),
        ("another protocol", 112, 1),
        ("a command of replicas", 114, 6),
        ("a reply", 114, 8),
        ("a timestamp", 184, 1),
        ("another parent", 128, 0xee),
        ("a session that is not opened yet", 183, 0xff),
        ("a view that is not reached", 104, 200),
        ("a number that the session has passed", 192, 1),
    ];
    for (what, at, value) in changes {
        let mut frame = good.clone();
        assert_ne!(frame[at], value, "{what}");
        frame[at] = value;
        reseal(&mut frame);
        assert!(is_not_answered(&mut peer, &frame).await, "{what}");
    }
    peer.exchange(good).await.unwrap();
    assert_eq!(peer.lookup_accounts(&[1, 2]).await.len(), 2, "the session continues");
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.contains("bezant_tigerbeetle_frames_dropped_total 12"), "{metrics}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_and_foreign_frames_end_the_connection_and_nothing_else() {
    let server = Server::start().await;
    let mut peer = Peer::open(&server, 1).await;
    peer.two_accounts().await;
    let events = body(Operation::LookupAccounts, &[ids_to_bytes(&[1])]);
    let good = peer.frame(Operation::LookupAccounts, &events);
    let mut broken = Vec::new();
    for at in [0, 20, 90, 200, good.len() - 1] {
        let mut frame = good.clone();
        frame[at] ^= 1;
        broken.push(frame);
    }
    for (at, value) in [(80, 1), (96, 0), (99, 0xff)] {
        let mut frame = good.clone();
        frame[at] = value;
        reseal(&mut frame);
        broken.push(frame);
    }
    broken.push(b"GET / HTTP/1.1\r\nhost: bezant\r\n\r\n".repeat(20));
    for frame in broken {
        let mut other = Peer::connect(&server, 1, Release::OWN).await;
        // The server may close before it has read all of the frame.
        drop(other.stream.write_all(&frame).await);
        assert_eq!(other.next_frame().await, None, "{:?}", &frame[..100]);
    }
    peer.exchange(good).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_may_come_in_any_pieces() {
    let server = Server::start().await;
    let mut peer = Peer::open(&server, 1).await;
    peer.two_accounts().await;
    let request =
        peer.frame(Operation::LookupAccounts, &body(Operation::LookupAccounts, &[ids_to_bytes(&[1])]));
    for byte in &request {
        peer.stream.write_all(&[*byte]).await.unwrap();
    }
    peer.request = request;
    peer.take_reply().await.unwrap();
    let ping = Ping { client: ClientId(1), time: 1, session: SessionNumber(0) }.to_bytes(0, Release::OWN);
    let frames = [&ping[..], &peer.request.clone(), &ping[..], &ping[..100]].concat();
    peer.stream.write_all(&frames).await.unwrap();
    let commands = [peer.next_frame().await, peer.next_frame().await, peer.next_frame().await]
        .map(|frame| frame.unwrap()[114]);
    assert_eq!(commands, [4, 8, 4]);
    peer.stream.write_all(&ping[100..]).await.unwrap();
    assert_eq!(peer.next_frame().await.unwrap()[114], 4);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_slow_and_idle_clients_delay_no_others() {
    // A server that waits for one of them would wait for minutes.
    let long = Duration::from_mins(10);
    let limits = Limits { head_timeout: long, body_timeout: long, ..Limits::default() };
    let server = Server::start_with(limits).await;
    let mut working = Peer::open(&server, 1).await;
    working.two_accounts().await;
    let mut others = Vec::new();
    for number in 0..300_u128 {
        let mut other = Peer::open(&server, 100 + number).await;
        let sent = [0, 100, 300_000][usize::try_from(number % 3).unwrap()];
        if sent > 0 {
            let events =
                vec![transfer(1, 1); 8_000].iter().flat_map(bezant_codec::transfer_to_bytes).collect();
            let body = body(Operation::CreateTransfers, &[events]);
            let request = other.frame(Operation::CreateTransfers, &body);
            other.stream.write_all(&request[..sent]).await.unwrap();
        }
        others.push(other);
    }
    for round in 0..50 {
        let transfers: Vec<_> = (0..100).map(|at| transfer(1_000 + round * 100 + at, 1)).collect();
        assert!(statuses(&working.create_transfers(&transfers).await).iter().all(|it| *it == CREATED));
    }
    assert_eq!(others[0].lookup_accounts(&[1]).await[0].debits_posted, 5_000, "idle ones are served too");
    drop(others);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_frames_and_missing_pings_end_the_connection() {
    let (short, long) = (Duration::from_millis(200), Duration::from_mins(10));
    let with = |frame_timeout, frame_idle_timeout| Limits {
        head_timeout: frame_timeout,
        body_timeout: frame_timeout,
        frame_idle_timeout,
        ..Limits::default()
    };
    let ping = Ping { client: ClientId(1), time: 1, session: SessionNumber(0) }.to_bytes(0, Release::OWN);
    let header = Header::new(5, 0, 0, Release::OWN, [0; 128]).seal(&vec![0; 100_000]);
    let server = Server::start_with(with(short, long)).await;
    for begin in [&[][..], &ping[..1], &ping[..255], &header, &[&header[..], &vec![0; 50_000]].concat()] {
        let mut peer = Peer::connect(&server, 1, Release::OWN).await;
        peer.stream.write_all(begin).await.unwrap();
        assert_eq!(peer.next_frame().await, None, "{} bytes", begin.len());
    }
    server.stop().await;

    let server = Server::start_with(with(long, short)).await;
    let mut peer = Peer::connect(&server, 1, Release::OWN).await;
    peer.stream.write_all(&ping).await.unwrap();
    assert!(peer.next_frame().await.is_some(), "a ping is answered");
    assert_eq!(peer.next_frame().await, None, "no further frame comes");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_accepts_no_writes_still_answers_reads() {
    let disk = MemoryDisk::new();
    let node = start_on(Arc::new(disk.clone()), &Options::new("unused")).unwrap();
    let server = Server::serve(node, tempfile::tempdir().unwrap(), Limits::default()).await;
    let mut peer = Peer::open(&server, 1).await;
    peer.two_accounts().await;
    disk.set_faults(FaultPlan { fail_at: Some(disk.counts().total() + 1), ..FaultPlan::default() });
    let events = body(Operation::CreateAccounts, &[bezant_codec::account_to_bytes(&account(3)).to_vec()]);
    let write = peer.client.clone().request(Operation::CreateAccounts, &events);
    assert!(is_not_answered(&mut peer, &[&write[..], &events].concat()).await, "a write has no answer");
    for _ in 0..3 {
        assert_eq!(peer.lookup_accounts(&[1, 2]).await.len(), 2, "reads are still answered");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_does_not_change_sessions() {
    let disk = MemoryDisk::new();
    let node = start_on(Arc::new(disk.clone()), &Options::new("unused")).unwrap();
    let mut health = node.handle().watch_health();
    let server = Server::serve(node, tempfile::tempdir().unwrap(), Limits::default()).await;
    let (mut reader, mut writer) = (Peer::open(&server, 1).await, Peer::open(&server, 2).await);
    writer.two_accounts().await;
    reader.lookup_accounts(&[1, 2]).await;
    let (read, written) = (reader.reply.clone(), writer.reply.clone());
    let mut opened = Peer::open(&server, 3).await;
    let registered = opened.reply.clone();

    disk.set_faults(FaultPlan { capacity_bytes: Some(100 << 20), ..FaultPlan::default() });
    let full = async {
        health.wait_for(|health| matches!(health, Health::ReadOnly { .. })).await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(30), full)
        .await
        .expect("the node reports that the disk is full");
    for peer in [&mut reader, &mut writer, &mut opened] {
        peer.reconnect(&server).await;
    }
    assert_eq!(reader.resend().await, read, "the stored reply");
    assert_eq!(writer.resend().await, written, "also of a write");
    assert_eq!(opened.resend().await, registered, "and of a register");
    for _ in 0..2 {
        assert_eq!(reader.lookup_accounts(&[1]).await.len(), 1, "reads are still answered");
    }

    disk.set_faults(FaultPlan::default());
    let mut health = health.clone();
    let space = async { health.wait_for(|health| *health == Health::Serving).await.unwrap().clone() };
    tokio::time::timeout(Duration::from_secs(30), space).await.expect("the disk has space again");
    reader.resend().await;
    let done = reader.create_transfers(&[transfer(1, 5)]).await;
    assert_eq!(statuses(&done), [CREATED], "the session continues, whichever reads the log has");
    assert_eq!(statuses(&writer.create_transfers(&[transfer(2, 5)]).await), [CREATED]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_without_a_session_adds_no_log_entry() {
    let server = Server::start().await;
    let mut peer = Peer::open(&server, 1).await;
    peer.two_accounts().await;
    let entries = async || {
        let metrics = server.get("/metrics").await.body;
        metrics.lines().find(|line| line.starts_with("bezant_log_entries_total")).map(str::to_owned).unwrap()
    };
    let before = entries().await;
    let events = body(Operation::LookupAccounts, &[ids_to_bytes(&[1])]);
    let mut stranger = peer.client.clone().request(Operation::LookupAccounts, &events);
    stranger[160] = 0xee;
    reseal(&mut stranger);
    for _ in 0..20 {
        peer.stream.write_all(&[&stranger[..], &events].concat()).await.unwrap();
        let evicted = peer.next_frame().await.unwrap();
        assert_eq!((evicted[114], evicted[255]), (18, 1), "no session");
    }
    assert_eq!(entries().await, before);
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.contains(r#"bezant_tigerbeetle_evictions_total{reason="no_session"} 20"#), "{metrics}");
    server.stop().await;
}
