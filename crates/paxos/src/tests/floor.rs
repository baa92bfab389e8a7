//! An old copy of a disk is restored. Values that are known as decided on another replica are not dropped:
//! that replica stops and reports a conflict.

use std::vec::Vec;

use bezant_types::{LogIndex, NodeId};

use super::net::Net;

const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

fn ticks(net: &mut Net, count: usize) {
    for _ in 0..count {
        net.tick();
        net.settle();
    }
}

fn decide(net: &mut Net, payload: &str) -> LogIndex {
    let leader = net.elect();
    let slot = net.propose(leader, payload).unwrap();
    net.settle();
    slot
}

/// Cuts one replica off while the other two decide three values. Then one of these two gets a copy of its
/// disk from before the values, and elects a leader together with the replica that was cut off. Returns the
/// replica that still has the values, and the last of their slots.
fn go_back(net: &mut Net) -> (NodeId, LogIndex) {
    let leader = net.elect();
    let others: Vec<NodeId> = NODES.into_iter().filter(|node| *node != leader).collect();
    let (old, away) = (others[0], others[1]);
    decide(net, "a");
    ticks(net, 4);
    let copy = net.machine(old).disk.clone();
    net.cut = [away].into();
    let decided = ["b", "c", "d"].map(|payload| decide(net, payload))[2];
    ticks(net, 4);
    net.cut = [leader].into();
    net.crash(old, 0);
    net.machine(old).disk = copy;
    net.start(old);
    // The two that elected the leader do not have the decided values in their logs.
    net.decisions.clear();
    decide(net, "e");
    (leader, decided)
}

fn check_stopped(net: &mut Net, witness: NodeId, decided: LogIndex) {
    net.cut.clear();
    ticks(net, 60);
    let machine = net.machine(witness);
    let [conflict] = machine.conflicts[..] else { panic!("{:?}", machine.conflicts) };
    assert_eq!(conflict.committed, decided);
    assert!((1..=3).contains(&conflict.entries()), "{conflict}");
    assert!(conflict.entries() == 3 || !conflict.is_first_exact);
    assert!(
        machine.disk.durable.iter().any(|entry| entry.payload == "d"),
        "the stopped replica keeps its values"
    );
    for other in NODES.into_iter().filter(|node| *node != witness) {
        assert!(net.machine(other).conflicts.is_empty(), "only the replica with the decided values stops");
        assert!(
            net.machine(other).disk.durable.iter().any(|entry| entry.payload == "e"),
            "the other replicas continue"
        );
    }
}

#[test]
fn values_decided_before_a_restart_are_kept() {
    let mut net = Net::new(3, 5);
    let (witness, decided) = go_back(&mut net);
    net.crash(witness, 9);
    net.machine(witness).disk.committed = decided;
    net.start(witness);
    check_stopped(&mut net, witness, decided);
}

#[test]
fn values_decided_since_the_start_are_kept() {
    let mut net = Net::new(3, 5);
    let (witness, decided) = go_back(&mut net);
    // The conflict is detected when the log of the other two has reached these slots.
    for payload in ["f", "g", "h", "i"] {
        decide(&mut net, payload);
    }
    check_stopped(&mut net, witness, decided);
}

#[test]
fn values_not_known_to_be_decided_are_overwritten() {
    let mut net = Net::new(3, 5);
    let (witness, _) = go_back(&mut net);
    net.crash(witness, 9);
    net.start(witness);
    net.cut.clear();
    ticks(&mut net, 60);
    assert!(net.machine(witness).conflicts.is_empty());
    assert!(net.machine(witness).disk.durable.iter().all(|entry| entry.payload != "d"));
}
