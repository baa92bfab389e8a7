//! An old copy of a disk is put back: what another replica knows to be decided is not forgotten in silence.

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

fn agree(net: &mut Net, payload: &str) -> LogIndex {
    let leader = net.elect();
    let slot = net.propose(leader, payload).unwrap();
    net.settle();
    slot
}

/// One replica was away while the others agreed on three values, and one of those comes back without them: the two who lack
/// them go on. Says who has what they lack, and up to where it is decided.
fn go_back(net: &mut Net) -> (NodeId, LogIndex) {
    let leader = net.elect();
    let others: Vec<NodeId> = NODES.into_iter().filter(|node| *node != leader).collect();
    let (old, away) = (others[0], others[1]);
    agree(net, "a");
    ticks(net, 4);
    let copy = net.machine(old).disk.clone();
    net.cut = [away].into();
    let decided = ["b", "c", "d"].map(|payload| agree(net, payload))[2];
    ticks(net, 4);
    net.cut = [leader].into();
    net.crash(old, 0);
    net.machine(old).disk = copy;
    net.start(old);
    // Nobody agrees with what was agreed any more.
    net.agreed.clear();
    agree(net, "e");
    (leader, decided)
}

fn check_stopped(net: &mut Net, witness: NodeId, decided: LogIndex) {
    net.cut.clear();
    ticks(net, 60);
    let machine = net.machine(witness);
    let [conflict] = machine.conflicts[..] else { panic!("{:?}", machine.conflicts) };
    assert_eq!((conflict.committed, conflict.entries()), (decided, 3));
    assert!(machine.disk.durable.iter().any(|entry| entry.payload == "d"), "it keeps what it has");
    for other in NODES.into_iter().filter(|node| *node != witness) {
        assert!(net.machine(other).conflicts.is_empty(), "they know of nothing");
        assert!(net.machine(other).disk.durable.iter().any(|entry| entry.payload == "e"), "they go on");
    }
}

#[test]
fn what_was_decided_before_a_restart_is_kept() {
    let mut net = Net::new(3, 5);
    let (witness, decided) = go_back(&mut net);
    net.crash(witness, 9);
    net.machine(witness).disk.committed = decided;
    net.start(witness);
    check_stopped(&mut net, witness, decided);
}

#[test]
fn what_was_decided_in_this_life_is_kept() {
    let mut net = Net::new(3, 5);
    let (witness, decided) = go_back(&mut net);
    check_stopped(&mut net, witness, decided);
}

#[test]
fn what_is_not_known_to_be_decided_gives_way() {
    let mut net = Net::new(3, 5);
    let (witness, _) = go_back(&mut net);
    net.crash(witness, 9);
    net.start(witness);
    net.cut.clear();
    ticks(&mut net, 60);
    assert!(net.machine(witness).conflicts.is_empty());
    assert!(net.machine(witness).disk.durable.iter().all(|entry| entry.payload != "d"));
}
