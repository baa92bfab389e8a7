//! Messages of the engines: what a peer sends, broken. Peers have proved that they hold the cluster's token, and
//! their frames have checksums; so this is about a peer of another version, or one with a fault of its own.

use bezant_consensus::{
    Engine, EngineKind, EngineOptions, EngineState, Input, Member, Members, Output, Part,
};
use bezant_types::{LogIndex, NodeId, Term};
use bytes::Bytes;

use super::Target;

pub(super) const RAFT: Target = Target {
    name: "raft",
    about: "messages of the engine raft, as they are described",
    seeds: || singles(EngineKind::Raft),
    run: |input| drop(bezant_engines::describe(EngineKind::Raft)(&Bytes::copy_from_slice(input))),
};

pub(super) const PAXOS: Target = Target {
    name: "paxos",
    about: "messages of the engine paxos, and a replica that is sent them",
    seeds: || vec![traffic(EngineKind::Paxos).iter().flat_map(framed).collect()],
    run: run_paxos,
};

const NODES: u64 = 3;
/// Ticks in which three nodes find a leader, and more.
const TICKS: usize = 100;
/// Who is fed.
const FED: NodeId = NodeId(1);

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

/// What three nodes tell the first while they find a leader and agree on something: by whom, and what.
fn traffic(kind: EngineKind) -> Vec<(NodeId, Bytes)> {
    let mut engines: Vec<_> = (1..=NODES).map(|node| begin(kind, node)).collect();
    let mut told = Vec::new();
    for tick in 0..TICKS {
        for engine in &mut engines {
            engine.handle(Input::Tick);
            if engine.is_leader() && tick % 10 == 0 {
                engine.propose(Bytes::from_static(b"an entry"));
            }
        }
        // As in `run_paxos`: a disk that is never busy, a network that loses nothing.
        loop {
            let mut sent = Vec::new();
            for (node, engine) in (1..).map(NodeId).zip(&mut engines) {
                work(engine.as_mut(), |to, bytes| sent.push((node, to, bytes)));
            }
            if sent.is_empty() {
                break;
            }
            for (from, to, bytes) in sent {
                if to == FED {
                    told.push((from, bytes.clone()));
                }
                let to = usize::try_from(to.0 - 1).expect("one of three");
                engines[to].handle(Input::Message { from, bytes });
            }
        }
    }
    assert!(engines.iter().any(Engine::is_leader), "nobody leads");
    told
}

/// Does what the engine wants, on a disk that is never busy.
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
            // A peer that lies may contradict what is committed: the engine says so, and changes nothing.
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

/// From u8, size u16, bytes.
fn framed((from, bytes): &(NodeId, Bytes)) -> Vec<u8> {
    let size = u16::try_from(bytes.len()).expect("a short message");
    let head = [u8::try_from(from.0).expect("one of three")].into_iter().chain(size.to_le_bytes());
    head.chain(bytes.iter().copied()).collect()
}

fn run_paxos(mut input: &[u8]) {
    let mut engine = begin(EngineKind::Paxos, FED.0);
    let mut committed = LogIndex(0);
    while let Some(([from, low, high], rest)) = input.split_first_chunk() {
        let size = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (bytes, rest) = rest.split_at(size);
        input = rest;
        let bytes = Bytes::copy_from_slice(bytes);
        drop(bezant_engines::describe(EngineKind::Paxos)(&bytes));
        engine.handle(Input::Message { from: NodeId(u64::from(*from % 4)), bytes });
        engine.handle(Input::Tick);
        work(engine.as_mut(), |to, _| assert_ne!(to, FED, "it sends to itself"));
        let standing = engine.standing();
        assert!(standing.committed >= committed, "what was agreed is taken back");
        committed = standing.committed;
    }
}
