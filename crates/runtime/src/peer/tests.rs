//! Nodes on loopback: what they say to each other, and whom they refuse.

use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::Duration;

use super::*;

/// No step may take longer.
const TIMEOUT: Duration = Duration::from_secs(20);

fn nodes(numbers: &[u64]) -> u64 {
    let peers: Vec<_> = numbers[1..].iter().map(|number| (NodeId(*number), String::new())).collect();
    checksum_of(NodeId(numbers[0]), &peers)
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

fn start(node: u64, token: u8, listener: TcpListener, peers: &[(u64, &str)]) -> Node {
    start_with(node, token, listener, peers, |_, _| Ok(()))
}

fn start_with(
    node: u64,
    token: u8,
    listener: TcpListener,
    peers: &[(u64, &str)],
    admit: impl Fn(NodeId, u128) -> Result<(), String> + Send + Sync + 'static,
) -> Node {
    let (tell, events) = mpsc::channel();
    let options = PeerOptions {
        token: [token; 32],
        node: NodeId(node),
        disk: u128::from(node) * 100,
        fresh: Arc::new(AtomicBool::new(true)),
        peers: peers.iter().map(|(node, address)| (NodeId(*node), (*address).to_owned())).collect(),
        listener,
    };
    let peers = Peers::start(options, admit, move |event| drop(tell.send(event))).unwrap();
    Node { peers, events }
}

impl Node {
    fn wait<T>(&self, what: &str, mut wanted: impl FnMut(PeerEvent) -> Option<T>) -> T {
        let deadline = std::time::Instant::now() + TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
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
            PeerEvent::Message { from, bytes } => Some((from, bytes)),
            _ => None,
        })
    }

    /// Sends as soon as there is a connection.
    fn send(&self, to: u64, bytes: &Bytes) {
        let deadline = std::time::Instant::now() + TIMEOUT;
        while !self.peers.is_connected(NodeId(to)) {
            assert!(std::time::Instant::now() < deadline, "no connection");
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
fn a_peer_that_comes_back_is_met_again() {
    let ((one_listens, one_at), (two_listens, two_at)) = (bind(), bind());
    let one = start(1, 7, one_listens, &[(2, &two_at)]);
    let two = start(2, 7, two_listens.try_clone().unwrap(), &[(1, &one_at)]);
    one.meet(2);
    two.peers.stop();
    drop(two);
    one.wait("the end", |event| matches!(event, PeerEvent::Lost { .. }).then_some(()));
    let two = start(2, 7, two_listens, &[(1, &one_at)]);
    // What goes into the end of the old connection is lost, as any message may be: it is sent again until it comes.
    let deadline = std::time::Instant::now() + TIMEOUT;
    loop {
        one.peers.send(NodeId(2), Bytes::from_static(b"again"));
        match two.events.recv_timeout(Duration::from_millis(20)) {
            Ok(PeerEvent::Message { bytes, .. }) => break assert_eq!(bytes, "again"),
            _ => assert!(std::time::Instant::now() < deadline, "the peer is not met again"),
        }
    }
    one.peers.stop();
    two.peers.stop();
}

/// What the handshake says to a node that dials with these words.
fn refusal(token: u8, node: u64, to: u64, list: &[u64], admit: Result<(), String>) -> String {
    let (listener, address) = bind();
    let one = start_with(1, 7, listener, &[(2, "127.0.0.1:1")], move |_, _| admit.clone());
    let mut stream = stream::dial(&address).unwrap();
    let own = Own { token: [token; 32], node: NodeId(node), nodes: nodes(list), disk: 5, is_fresh: false };
    let error = handshake::dial(&mut stream, &own, NodeId(to), |_| Ok(())).unwrap_err();
    one.peers.stop();
    error.to_string()
}

#[test]
fn whoever_does_not_belong_hears_why() {
    let cases = [
        (refusal(8, 2, 1, &[1, 2], Ok(())), "token"),
        (refusal(7, 3, 1, &[1, 2], Ok(())), "not in this node's list"),
        (refusal(7, 2, 1, &[1, 2, 3], Ok(())), "another list of nodes"),
        (refusal(7, 2, 4, &[1, 2], Ok(())), "node 4 was meant"),
        (refusal(7, 2, 1, &[1, 2], Err("another disk".to_owned())), "another disk"),
    ];
    for (text, word) in cases {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn an_acceptor_that_does_not_know_the_token_is_refused() {
    let (listener, address) = bind();
    let one = start(1, 8, listener, &[(2, "127.0.0.1:1")]);
    let mut stream = stream::dial(&address).unwrap();
    let own = Own { token: [7; 32], node: NodeId(2), nodes: nodes(&[1, 2]), disk: 5, is_fresh: false };
    let error = handshake::dial(&mut stream, &own, NodeId(1), |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("token"), "{error}");
    one.peers.stop();
}

#[test]
fn nothing_damaged_is_delivered() {
    let (listener, address) = bind();
    let one = start(1, 7, listener, &[(2, "127.0.0.1:1")]);
    let mut stream = stream::dial(&address).unwrap();
    let own = Own { token: [7; 32], node: NodeId(2), nodes: nodes(&[1, 2]), disk: 5, is_fresh: false };
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
        PeerEvent::Met { .. } => None,
    });
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "the connection has ended");
    one.peers.stop();
}

#[test]
fn a_peer_that_does_not_read_holds_up_nobody_else() {
    let ((one_listens, one_at), (three_listens, three_at)) = (bind(), bind());
    // It takes connections and shakes hands, and reads nothing after that.
    let (deaf_listens, deaf_at) = bind();
    let deaf = std::thread::spawn(move || {
        let own = Own { token: [7; 32], node: NodeId(2), nodes: nodes(&[1, 2, 3]), disk: 5, is_fresh: false };
        let mut stream = stream::accepted(deaf_listens.accept().unwrap().0).unwrap();
        handshake::accept(&mut stream, &own, |_| true, |_| Ok(())).unwrap();
        stream
    });
    let one = start(1, 7, one_listens, &[(2, &deaf_at), (3, &three_at)]);
    let three = start(3, 7, three_listens, &[(1, &one_at), (2, "127.0.0.1:1")]);
    let stream = deaf.join().unwrap();
    for number in 0..200 {
        one.send(2, &Bytes::from(vec![1; 1 << 20]));
        one.send(3, &Bytes::from(vec![number; 10]));
        assert_eq!(three.message().1[0], number);
    }
    drop(stream);
    one.peers.stop();
    three.peers.stop();
}
