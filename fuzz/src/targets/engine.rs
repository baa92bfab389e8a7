//! Damaged messages of the engines. Peers have proved that they have the cluster's token, and their frames
//! have checksums. So such messages can come only from a peer of another version, or from a peer with a bug.

use bezant_consensus::{
    Engine, EngineKind, EngineOptions, EngineState, Input, Member, Members, Output, Part,
};
use bezant_types::{LogIndex, NodeId, Term};
use bytes::Bytes;

use super::Target;

pub(super) const RAFT: Target = Target {
    name: "raft",
    about: "messages of the engine raft, and their description",
    seeds: || singles(EngineKind::Raft),
    run: |input| drop(bezant_engines::describe(EngineKind::Raft)(&Bytes::copy_from_slice(input))),
};

pub(super) const PAXOS: Target = Target {
    name: "paxos",
    about: "messages of the engine paxos, and a replica that receives them",
    seeds: || vec![traffic(EngineKind::Paxos).iter().flat_map(framed).collect()],
    run: run_paxos,
};

const NODES: u64 = 3;
/// Ticks that are more than enough for three nodes to elect a leader.
const TICKS: usize = 100;
/// The node whose messages are recorded and replayed.
const RECEIVER: NodeId = NodeId(1);

fn begin(kind: EngineKind, node: u64) -> Box<dyn Engine + Send> {
    let nodes = (1..=NODES).map(|node| Member {
        node: NodeId(node),
        since: LogIndex(0),
        part: Part::Voter,
        disk: u128::from(node),
        address: format!("node{node}:7071"),
    });
    let members = Members { index: LogIndex(0), nodes: nodes.collect() };
    let options = EngineOptions::new(NodeId(node), members, true, node);
    bezant_engines::begin(kind, &options, EngineState::default()).expect("an empty log")
}

/// The messages that the first of three nodes receives while they elect a leader and commit entries, with
/// their senders.
fn traffic(kind: EngineKind) -> Vec<(NodeId, Bytes)> {
    let mut engines: Vec<_> = (1..=NODES).map(|node| begin(kind, node)).collect();
    let mut received = Vec::new();
    for tick in 0..TICKS {
        for engine in &mut engines {
            engine.handle(Input::Tick);
            if engine.is_leader() && tick % 10 == 0 {
                engine.propose(Bytes::from_static(b"an entry"));
            }
        }
        // As in `run_paxos`, every write is durable at once and no message is lost.
        loop {
            let mut sent = Vec::new();
            for (node, engine) in (1..).map(NodeId).zip(&mut engines) {
                work(engine.as_mut(), |to, bytes| sent.push((node, to, bytes)));
            }
            if sent.is_empty() {
                break;
            }
            for (from, to, bytes) in sent {
                if to == RECEIVER {
                    received.push((from, bytes.clone()));
                }
                let to = usize::try_from(to.0 - 1).expect("one of three");
                engines[to].handle(Input::Message { from, bytes });
            }
        }
    }
    assert!(engines.iter().any(Engine::is_leader), "no node leads");
    received
}

/// Executes the engine's outputs; every write is durable at once.
fn work(engine: &mut dyn Engine, mut send: impl FnMut(NodeId, Bytes)) {
    while let Some(output) = engine.poll() {
        match output {
            Output::Persist(write) => engine.handle(Input::Persisted(write.number)),
            Output::Send { to, bytes } => send(to, bytes),
            Output::CaughtUp => engine.handle(Input::Admit),
            Output::Install { index, .. } => {
                let members = engine.members().clone();
                engine.handle(Input::Installed { index, term: Term(1), members });
            }
            // A faulty peer may contradict committed entries: the engine reports that and changes nothing.
            Output::Commit(_) | Output::Readable { .. } | Output::Members(_) | Output::Conflict { .. } => {}
        }
    }
}

fn singles(kind: EngineKind) -> Vec<Vec<u8>> {
    let mut singles: Vec<Vec<u8>> = traffic(kind).into_iter().map(|(_, bytes)| bytes.to_vec()).collect();
    singles.sort();
    singles.dedup();
    singles
}

/// A message in an input: sender u8, size u16, bytes.
fn framed((from, bytes): &(NodeId, Bytes)) -> Vec<u8> {
    let size = u16::try_from(bytes.len()).expect("a short message");
    let head = [u8::try_from(from.0).expect("one of three")].into_iter().chain(size.to_le_bytes());
    head.chain(bytes.iter().copied()).collect()
}

fn run_paxos(mut input: &[u8]) {
    let mut engine = begin(EngineKind::Paxos, RECEIVER.0);
    let mut committed = LogIndex(0);
    while let Some(([from, low, high], rest)) = input.split_first_chunk() {
        let size = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (bytes, rest) = rest.split_at(size);
        input = rest;
        let bytes = Bytes::copy_from_slice(bytes);
        drop(bezant_engines::describe(EngineKind::Paxos)(&bytes));
        engine.handle(Input::Message { from: NodeId(u64::from(*from % 4)), bytes });
        engine.handle(Input::Tick);
        work(engine.as_mut(), |to, _| assert_ne!(to, RECEIVER, "the node sends to itself"));
        let standing = engine.standing();
        assert!(standing.committed >= committed, "the committed index went back");
        committed = standing.committed;
    }
}
