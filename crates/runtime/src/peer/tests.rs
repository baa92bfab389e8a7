//! Nodes on loopback: what they send to each other, and whom they refuse.

use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bezant_consensus::{Change, EngineKind, Members};
use bezant_storage::MemoryDisk;
use bezant_storage::record::Identity;
use bezant_types::LogIndex;

use super::handshake::HandshakeError;
use super::*;
use crate::group::directory::Claim;

/// The timeout of each step.
const TIMEOUT: Duration = Duration::from_secs(20);

fn members(numbers: &[u64]) -> Members {
    Members::first(numbers.iter().map(|number| (NodeId(*number), format!("127.0.0.1:{number}"))))
}

struct Node {
    peers: Peers,
    events: mpsc::Receiver<PeerEvent>,
}

fn bind() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// A node with its disk, and the peers that it dials.
fn start(node: u64, token: u8, listener: TcpListener, peers: &[(u64, &str)]) -> Node {
    start_on(&directory(node, token, peers), listener)
}

fn directory(node: u64, token: u8, peers: &[(u64, &str)]) -> Arc<Directory> {
    let (node, disk) = (NodeId(node), u128::from(node) * 100);
    let (since, known) = (LogIndex(0), Vec::new());
    let identity = Identity {
        token: [token; 32],
        node,
        disk,
        since,
        is_admitted: false,
        engine: Some(EngineKind::Raft),
        known,
    };
    let others = peers.iter().map(|(peer, address)| (NodeId(*peer), (*address).to_owned()));
    let members = Members::first(others.chain([(node, "127.0.0.1:1".to_owned())]));
    Arc::new(Directory::new(Arc::new(MemoryDisk::new()), identity, members, [], true))
}

fn start_on(directory: &Arc<Directory>, listener: TcpListener) -> Node {
    let (tell, events) = mpsc::channel();
    let peers = Peers::start(Arc::clone(directory), listener, false, Clock::system(), move |event| {
        drop(tell.send(event));
    })
    .unwrap();
    Node { peers, events }
}

impl Node {
    fn wait<T>(&self, what: &str, mut wanted: impl FnMut(PeerEvent) -> Option<T>) -> T {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left).unwrap_or_else(|_| panic!("waited for {what}"));
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    }

    fn meet(&self, node: u64) {
        self.wait("a peer", |event| {
            matches!(event, PeerEvent::Met { node: met, .. } if met == NodeId(node)).then_some(())
        });
    }

    fn message(&self) -> (NodeId, Bytes) {
        self.wait("a message", |event| match event {
            PeerEvent::Message { from, bytes, .. } => Some((from, bytes)),
            _ => None,
        })
    }

    /// Sends as soon as there is a connection.
    fn send(&self, to: u64, bytes: &Bytes) {
        let deadline = Instant::now() + TIMEOUT;
        while !self.peers.is_connected(NodeId(to)) {
            assert!(Instant::now() < deadline, "no connection");
            std::thread::yield_now();
        }
        self.peers.send(NodeId(to), bytes.clone());
    }
}

#[test]
fn messages_come_in_order_both_ways() {
    let ((one_listens, one_at), (two_listens, two_at)) = (bind(), bind());
    let one = start(1, 7, one_listens, &[(2, &two_at)]);
    let two = start(2, 7, two_listens, &[(1, &one_at)]);
    one.meet(2);
    two.meet(1);
    let message = |number: u32| Bytes::from(number.to_le_bytes().repeat(1 + number as usize % 5_000));
    for number in 0..2_000 {
        one.send(2, &message(number));
    }
    two.send(1, &Bytes::from(vec![9; 5 << 20]));
    for number in 0..2_000 {
        assert_eq!(two.message(), (NodeId(1), message(number)));
    }
    assert_eq!(one.message().1.len(), 5 << 20);
    one.peers.stop();
    two.wait("the end", |event| matches!(event, PeerEvent::Lost { node: NodeId(1) }).then_some(()));
    two.peers.stop();
}

#[test]
fn a_restarted_peer_is_met_again() {
    let ((one_listens, one_at), (two_listens, two_at)) = (bind(), bind());
    let one = start(1, 7, one_listens, &[(2, &two_at)]);
    let two = start(2, 7, two_listens.try_clone().unwrap(), &[(1, &one_at)]);
    one.meet(2);
    two.peers.stop();
    drop(two);
    one.wait("the end", |event| matches!(event, PeerEvent::Lost { .. }).then_some(()));
    let two = start(2, 7, two_listens, &[(1, &one_at)]);
    // A message that is sent while the old connection ends may be lost, as any message may be. So it is sent
    // again until it arrives.
    let deadline = Instant::now() + TIMEOUT;
    loop {
        one.peers.send(NodeId(2), Bytes::from_static(b"again"));
        match two.events.recv_timeout(Duration::from_millis(20)) {
            Ok(PeerEvent::Message { bytes, .. }) => break assert_eq!(bytes, "again"),
            _ => assert!(Instant::now() < deadline, "the peer is not met again"),
        }
    }
    one.peers.stop();
    two.peers.stop();
}

fn own(token: u8, node: u64, list: &[u64]) -> Own {
    let disk = u128::from(node) * 100;
    let since = (!list.is_empty()).then_some(LogIndex(0));
    let engine = (!list.is_empty()).then_some(EngineKind::Raft);
    let node = NodeId(node);
    let (token, members) = ([token; 32], members(list));
    let (incarnation, clock) = (None, Clock::system());
    Own { token, node, disk, is_fresh: false, since, engine, members, incarnation, clock }
}

/// The refusal of node 1, which knows nodes 1 and 2, of a node that dials with this identity.
fn refusal(own: &Own, to: u64) -> String {
    let (listener, address) = bind();
    let directory = directory(1, 7, &[(2, "127.0.0.1:1")]);
    directory.admit(Claim { node: NodeId(2), disk: 200, since: Some(LogIndex(0)) }).unwrap();
    let one = start_on(&directory, listener);
    let mut stream = stream::dial(&address).unwrap();
    let error = handshake::dial(&mut stream, own, NodeId(to), |_| Ok(())).unwrap_err();
    one.peers.stop();
    error.to_string()
}

#[test]
fn a_refusal_names_its_reason() {
    let later = Members { index: LogIndex(9), ..members(&[1, 2]) };
    let cases = [
        (refusal(&own(8, 2, &[1, 2]), 1), "token"),
        (refusal(&Own { members: later, ..own(7, 3, &[]) }, 1), "not a member"),
        (refusal(&own(7, 3, &[]), 0), "add it to the cluster first"),
        (refusal(&own(7, 2, &[1, 2, 3]), 1), "another list of nodes"),
        (refusal(&own(7, 2, &[1, 2]), 4), "node 4 was dialed"),
        (
            refusal(&Own { engine: Some(EngineKind::Paxos), ..own(7, 2, &[1, 2]) }, 1),
            "different engines, raft and paxos",
        ),
        (refusal(&Own { disk: 5, ..own(7, 2, &[1, 2]) }, 1), "another disk"),
    ];
    for (text, word) in cases {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn a_joining_node_gets_the_members_after_it_was_added() {
    let (listener, address) = bind();
    let directory = directory(1, 7, &[(2, "127.0.0.1:1")]);
    let one = start_on(&directory, listener);
    let (addresses, wanted) = (vec!["127.0.0.1:1".to_owned(), address], own(7, 3, &[]));
    let joining = std::thread::spawn(move || join(&wanted, &addresses, &AtomicBool::new(false)));
    let add = Change::Add { node: NodeId(3), address: "127.0.0.1:2".to_owned() };
    let after = directory.members().after(&add, LogIndex(5));
    assert!(!joining.is_finished());
    assert_eq!(directory.learn(&after), Ok(true));
    one.peers.follow_directory();
    assert_eq!(joining.join().unwrap(), Ok((after, EngineKind::Raft)));
    let gives_up = AtomicBool::new(true);
    let gave_up = join(&own(7, 4, &[]), &["127.0.0.1:1".to_owned()], &gives_up).unwrap_err();
    assert!(gave_up.contains("does not answer"), "{gave_up}");
    one.peers.stop();
}

#[test]
fn the_newer_list_spreads_and_removes_a_connection() {
    let ((one_listens, one_at), (two_listens, two_at)) = (bind(), bind());
    let (first, second) = (directory(1, 7, &[(2, &two_at)]), directory(2, 7, &[(1, &one_at)]));
    let add = Change::Add { node: NodeId(3), address: "127.0.0.1:2".to_owned() };
    assert_eq!(first.learn(&first.members().after(&add, LogIndex(5))), Ok(true));
    let one = start_on(&first, one_listens);
    let two = start_on(&second, two_listens);
    one.meet(2);
    two.meet(1);
    assert_eq!(second.members(), first.members());
    let remove = [(Change::Remove(NodeId(2)), 6), (Change::Complete, 7)];
    for (change, index) in remove {
        assert_eq!(first.learn(&first.members().after(&change, LogIndex(index))), Ok(true));
    }
    one.peers.follow_directory();
    two.wait("the end", |event| matches!(event, PeerEvent::Lost { node: NodeId(1) }).then_some(()));
    one.peers.stop();
    two.peers.stop();
}

#[test]
fn an_acceptor_without_the_token_is_refused() {
    let (listener, address) = bind();
    let one = start(1, 8, listener, &[(2, "127.0.0.1:1")]);
    let mut stream = stream::dial(&address).unwrap();
    let own = own(7, 2, &[1, 2]);
    let error = handshake::dial(&mut stream, &own, NodeId(1), |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("token"), "{error}");
    one.peers.stop();
}

#[test]
fn a_damaged_frame_is_not_delivered() {
    let (listener, address) = bind();
    let one = start(1, 7, listener, &[(2, "127.0.0.1:1")]);
    let mut stream = stream::dial(&address).unwrap();
    let own = own(7, 2, &[1, 2]);
    handshake::dial(&mut stream, &own, NodeId(1), |_| Ok(())).unwrap();
    let mut bytes = Vec::new();
    frame::write_all(&mut bytes, &[Bytes::from_static(b"sound"), Bytes::from_static(b"damaged")]).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    stream.write_all(&bytes).unwrap();
    assert_eq!(one.message().1, "sound");
    one.wait("the end", |event| match event {
        PeerEvent::Message { bytes, .. } => panic!("{bytes:?}"),
        PeerEvent::Lost { .. } => Some(()),
        PeerEvent::Met { .. } | PeerEvent::Asks { .. } => None,
    });
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "the connection has ended");
    one.peers.stop();
}

#[test]
fn a_peer_that_does_not_read_delays_no_other() {
    let ((one_listens, one_at), (three_listens, three_at)) = (bind(), bind());
    // This peer accepts a connection and completes the handshake, and reads nothing after that.
    let (unread_listens, unread_at) = bind();
    let unread = std::thread::spawn(move || {
        let own = own(7, 2, &[1, 2, 3]);
        let mut stream = stream::accepted(unread_listens.accept().unwrap().0).unwrap();
        handshake::accept(&mut stream, &own, |_| Ok(())).unwrap();
        stream
    });
    let one = start(1, 7, one_listens, &[(2, &unread_at), (3, &three_at)]);
    let three = start(3, 7, three_listens, &[(1, &one_at), (2, "127.0.0.1:1")]);
    let stream = unread.join().unwrap();
    for number in 0..200 {
        one.send(2, &Bytes::from(vec![1; 1 << 20]));
        one.send(3, &Bytes::from(vec![number; 10]));
        assert_eq!(three.message().1[0], number);
    }
    drop(stream);
    one.peers.stop();
    three.peers.stop();
}

/// A process that runs as node 2: it has dialed node 1, and sends nothing unless the test does.
fn dial_as_two(address: &str, incarnation: Option<Incarnation>) -> Result<stream::Stream, HandshakeError> {
    let own = Own { incarnation, ..own(7, 2, &[1, 2]) };
    let mut stream = stream::dial(address).unwrap();
    handshake::dial(&mut stream::TimedStream::new(&mut stream), &own, NodeId(1), |_| Ok(()))?;
    Ok(stream)
}

#[test]
fn a_second_process_of_a_node_is_refused_by_name() {
    let ((one_listens, one_at), (two_listens, two_at)) = (bind(), bind());
    let one = start(1, 7, one_listens, &[(2, &two_at)]);
    let two = start(2, 7, two_listens, &[(1, &one_at)]);
    one.meet(2);
    two.meet(1);
    two.send(1, &Bytes::from_static(b"before"));
    assert_eq!(one.message().1, "before");
    let begun = Instant::now();
    let refused = dial_as_two(&one_at, Some(Incarnation::draw())).unwrap_err().to_string();
    assert!(begun.elapsed() < Duration::from_secs(5), "the answer comes soon");
    let process = format!("process {}", std::process::id());
    let named = refused.contains("two processes run as node 2") && refused.contains(&process);
    assert!(named, "{refused}");
    assert_eq!(one.peers.refusals().get(&NodeId(2)), Some(&refused));
    // The first connection was not disturbed: no loss of it comes before its next message.
    two.send(1, &Bytes::from_static(b"after"));
    let next = one.wait("a message", |event| match event {
        PeerEvent::Lost { .. } => Some(None),
        PeerEvent::Message { bytes, .. } => Some(Some(bytes)),
        PeerEvent::Met { .. } | PeerEvent::Asks { .. } => None,
    });
    assert_eq!(next.as_deref(), Some(&b"after"[..]));
    one.peers.stop();
    two.peers.stop();
}

#[test]
fn an_ended_process_is_replaced_at_once() {
    let (listener, address) = bind();
    let one = start(1, 7, listener, &[(2, "127.0.0.1:1")]);
    let first = dial_as_two(&address, Some(Incarnation::draw())).unwrap();
    one.meet(2);
    drop(first);
    let begun = Instant::now();
    let second = dial_as_two(&address, Some(Incarnation::draw())).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    // A machine that lost its power ends no connection: its successor waits for some heartbeats.
    let begun = Instant::now();
    let third = dial_as_two(&address, Some(Incarnation::draw())).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(one.peers.refusals().get(&NodeId(2)), None, "no two were running");
    drop((second, third));
    one.peers.stop();
}

#[test]
fn a_process_without_an_incarnation_replaces_and_is_replaced() {
    let (listener, address) = bind();
    let one = start(1, 7, listener, &[(2, "127.0.0.1:1")]);
    let begun = Instant::now();
    let connections = [None, Some(Incarnation::draw()), None, None]
        .map(|incarnation| dial_as_two(&address, incarnation).unwrap());
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    drop(connections);
    one.peers.stop();
}

#[test]
fn the_process_at_the_listed_address_is_accepted() {
    let ((one_listens, one_at), (two_listens, two_at)) = (bind(), bind());
    let one = start(1, 7, one_listens, &[(2, &two_at)]);
    // The copy connects first, and sends heartbeats.
    let mut copy = dial_as_two(&one_at, Some(Incarnation::draw())).unwrap();
    let copying = std::thread::spawn(move || {
        while frame::write_all(&mut copy, &[Bytes::new()]).is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let two = start(2, 7, two_listens, &[(1, &one_at)]);
    two.send(1, &Bytes::from_static(b"right"));
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match one.events.recv_timeout(Duration::from_millis(20)) {
            Ok(PeerEvent::Message { bytes, .. }) => break assert_eq!(bytes, "right"),
            _ => assert!(Instant::now() < deadline, "the right process is kept out"),
        }
        one.peers.send(NodeId(2), Bytes::from_static(b"hello"));
        two.peers.send(NodeId(1), Bytes::from_static(b"right"));
    }
    // The connection of the copy was ended.
    copying.join().unwrap();
    one.peers.stop();
    two.peers.stop();
}
