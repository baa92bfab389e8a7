//! The rules of rest, one test each; they are listed in `src/rest.rs`.

use std::collections::BTreeSet;

use bezant_replica::{Consistency, Input, Liveness, Millis, PeerMessage, Ticket};
use bezant_types::{LogIndex, Nanos, NodeId, Term};

use crate::engine::appointment;
use crate::net::{Net, command, query};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

fn lead(net: &mut Net, node: NodeId) {
    net.term = Term(net.term.0 + 1);
    let message = PeerMessage::Engine(appointment(net.term));
    net.handle(node, Input::Message { from: node, message });
}

/// Ticks of all nodes; all messages arrive in between.
fn pass(net: &mut Net, ticks: u64) {
    for _ in 0..ticks {
        let nodes: Vec<NodeId> = net.machines.keys().copied().collect();
        nodes.into_iter().for_each(|node| net.handle(node, Input::Tick));
        net.run();
    }
}

/// Node 1 leads `count` replicas, and nothing has happened for a while.
fn quiet(count: u64) -> Net {
    let mut net = Net::new(count, 1_000_000);
    lead(&mut net, ONE);
    net.run();
    pass(&mut net, 60);
    net
}

fn try_rest(net: &mut Net, connected: &[NodeId]) -> bool {
    let rests = net.replica(ONE).try_rest(&connected.iter().copied().collect());
    net.poll(ONE);
    rests
}

/// A group of three that rests.
fn resting() -> Net {
    let mut net = quiet(3);
    assert!(try_rest(&mut net, &[TWO, THREE]));
    net.run();
    pass(&mut net, 10);
    assert!([ONE, TWO, THREE].iter().all(|node| net.replica(*node).is_resting()));
    net
}

/// The messages of rest that are under way, with sender and receiver.
fn of_rest(net: &Net) -> Vec<(u64, u64, &str)> {
    let text = |message: &PeerMessage| match message {
        PeerMessage::Rest { .. } => Some("rest"),
        PeerMessage::Wake => Some("wake"),
        _ => None,
    };
    net.messages.iter().filter_map(|(from, to, message)| Some((from.0, to.0, text(message)?))).collect()
}

fn request(net: &mut Net, node: NodeId) {
    net.handle(node, Input::Request { ticket: Ticket(7), command: command(1, 1) });
}

#[test]
fn rule_1_a_replica_is_quiet_some_time_after_its_last_work() {
    let mut net = quiet(3);
    request(&mut net, ONE);
    assert!(!try_rest(&mut net, &[TWO, THREE]), "a command waits");
    net.slow.insert(ONE);
    net.run();
    assert!(!try_rest(&mut net, &[TWO, THREE]), "a write is not durable");
    net.slow.remove(&ONE);
    net.run();
    assert!(!try_rest(&mut net, &[TWO, THREE]), "it was busy a moment ago");
    pass(&mut net, 49);
    assert!(!try_rest(&mut net, &[TWO, THREE]));
    pass(&mut net, 2);
    for hold in [Some("clock".to_owned()), None] {
        let is_held = hold.is_some();
        net.handle(ONE, Input::Hold(hold));
        assert_eq!(try_rest(&mut net, &[TWO, THREE]), !is_held);
    }
}

#[test]
fn rule_2_a_leader_rests_when_all_connected_members_have_the_log() {
    let mut net = quiet(3);
    assert!(!try_rest(&mut net, &[]), "no quorum");
    assert!(!net.replica(TWO).try_rest(&BTreeSet::from([ONE, THREE])), "a follower");
    net.cut.insert(THREE);
    request(&mut net, ONE);
    net.run();
    pass(&mut net, 60);
    assert!(!try_rest(&mut net, &[TWO, THREE]), "node 3 lacks an entry");
    assert_eq!(of_rest(&net), []);
    assert!(try_rest(&mut net, &[TWO]), "a node without a connection keeps no group awake");
    assert_eq!(of_rest(&net), [(1, 2, "rest")]);
    assert!(net.replica(ONE).needs_ticks(), "for late responses");
    let mut alone = quiet(1);
    assert!(try_rest(&mut alone, &[]) && !alone.replica(ONE).needs_ticks(), "a voter without others");
}

#[test]
fn rule_3_only_a_quiet_follower_with_the_same_log_rests() {
    let mut net = quiet(3);
    let rest = |term, index| PeerMessage::Rest { term: Term(term), index: LogIndex(index) };
    for (from, message) in [(ONE, rest(1, 2)), (ONE, rest(2, 1)), (ONE, rest(0, 1)), (THREE, rest(1, 1))] {
        net.handle(TWO, Input::Message { from, message });
        assert_eq!(of_rest(&net), [(2, from.0, "wake")]);
        assert!(!net.replica(TWO).is_resting());
        net.messages.clear();
    }
    net.handle(TWO, query(8, Consistency::Linearizable));
    net.handle(TWO, Input::Message { from: ONE, message: rest(1, 1) });
    assert_eq!(of_rest(&net), [(2, 1, "wake")], "a read waits");
    net.run();
    pass(&mut net, 26);
    net.handle(TWO, Input::Message { from: ONE, message: rest(1, 1) });
    assert!(of_rest(&net).is_empty() && net.replica(TWO).is_resting() && !net.replica(TWO).needs_ticks());
}

#[test]
fn rule_4_everything_wakes_but_what_needs_no_answer() {
    let wakes: [fn() -> Input<crate::machine::Counter>; 9] = [
        || Input::Request { ticket: Ticket(1), command: command(1, 1) },
        || query(2, Consistency::Linearizable),
        || query(3, Consistency::AtLeast(LogIndex(2))),
        || Input::Message { from: THREE, message: PeerMessage::Wake },
        || Input::Lost(THREE),
        || Input::Met(THREE),
        || Input::Unresponsive(THREE),
        || Input::Failed { reason: "broken".to_owned() },
        || Input::TransferLeadership,
    ];
    let sleeps: [fn() -> Input<crate::machine::Counter>; 7] = [
        || query(4, Consistency::Stale),
        || query(5, Consistency::AtLeast(LogIndex(1))),
        || Input::Hold(Some("clock".to_owned())),
        || Input::Message { from: THREE, message: PeerMessage::Clock(Nanos(1)) },
        || Input::Met(NodeId(9)),
        || Input::Lost(NodeId(9)),
        || Input::Tick,
    ];
    for node in [ONE, TWO] {
        for (inputs, is_awake) in [(&wakes[..], true), (&sleeps[..], false)] {
            for (number, input) in (1..).zip(inputs) {
                let mut net = resting();
                net.handle(node, input());
                assert_eq!(net.replica(node).is_resting(), !is_awake, "node {node}, input {number}");
            }
        }
    }
    let mut net = resting();
    net.handle(ONE, Input::RestLost);
    assert!(!net.replica(ONE).is_resting(), "a follower does not know of the rest");
}

#[test]
fn rule_4_a_late_response_does_not_wake_the_leader() {
    let mut net = quiet(3);
    while net.messages.is_empty() {
        net.handle(ONE, Input::Tick);
    }
    while let Some(at) = net.messages.iter().position(|(_, to, _)| *to != ONE) {
        let heartbeat = net.messages.remove(at).expect("it is there");
        net.deliver(heartbeat);
    }
    assert!(try_rest(&mut net, &[TWO, THREE]));
    let response = net.messages.iter().find(|(from, ..)| *from == TWO).cloned().expect("a late response");
    net.deliver(response.clone());
    assert!(net.replica(ONE).is_resting());
    (0..9).for_each(|_| net.handle(ONE, Input::Tick));
    assert!(net.replica(ONE).needs_ticks());
    net.handle(ONE, Input::Tick);
    assert!(!net.replica(ONE).needs_ticks());
    net.deliver(response);
    assert!(!net.replica(ONE).is_resting(), "after that every message wakes");
}

#[test]
fn rule_4_a_deadline_of_the_machine_wakes_the_leader() {
    let mut net = quiet(3);
    net.handle(ONE, Input::Request { ticket: Ticket(7), command: command(4, 1) });
    net.run();
    pass(&mut net, 60);
    assert!(try_rest(&mut net, &[TWO, THREE]));
    net.run();
    pass(&mut net, 20);
    assert_eq!(net.replica(ONE).wake_at(), Some(Nanos(2_000)));
    assert_eq!(net.replica(TWO).wake_at(), None, "that is for the leader");
    let applied = net.replica(ONE).applied();
    net.machines.values_mut().for_each(|machine| machine.wall = Nanos(2_000));
    pass(&mut net, 1);
    assert!(net.replica(ONE).applied() > applied && !net.replica(TWO).is_resting());
}

#[test]
fn rule_5_a_follower_that_wakes_wakes_its_leader() {
    let mut net = resting();
    request(&mut net, TWO);
    assert_eq!(of_rest(&net), [(2, 1, "wake")]);
    net.run();
    assert!(!net.replica(ONE).is_resting() && !net.replica(THREE).is_resting());
    assert_eq!(net.replica(THREE).applied(), LogIndex(2));

    // A message of the leader needs no such answer, and the leader's heartbeats wake all followers.
    let mut net = resting();
    net.handle(ONE, Input::Met(THREE));
    while net.messages.is_empty() {
        net.handle(ONE, Input::Tick);
    }
    net.run();
    assert!(!net.replica(TWO).is_resting());
    assert!(!net.trace.iter().any(|line| line.contains("2 -> 1: wake")), "{:?}", net.trace);
}

#[test]
fn rule_6_an_unresponsive_leader_counts_as_lost() {
    let mut net = resting();
    net.handle(TWO, Input::Unresponsive(THREE));
    assert_eq!(net.replica(TWO).standing().leader, Some(ONE), "a follower that does not answer");
    let mut net = resting();
    net.handle(TWO, Input::Unresponsive(ONE));
    assert_eq!(net.replica(TWO).standing().leader, None);
    assert!(!net.replica(TWO).is_resting() && of_rest(&net).is_empty());
    // An awake follower has its ticks.
    let mut net = quiet(3);
    net.handle(TWO, Input::Unresponsive(ONE));
    assert_eq!(net.replica(TWO).standing().leader, Some(ONE));
}

#[test]
fn rule_7_a_leader_that_ceases_to_lead_wakes_those_it_told() {
    let mut net = resting();
    lead(&mut net, TWO);
    net.messages.retain(|(_, to, message)| *to == ONE && matches!(message, PeerMessage::Engine(_)));
    let entry = net.messages.pop_front().expect("the first entry of the next leader");
    net.deliver(entry);
    assert!(!net.replica(ONE).is_leader());
    let wakes: Vec<_> = of_rest(&net).into_iter().filter(|(from, ..)| *from == 1).collect();
    assert_eq!(wakes, [(1, 2, "wake"), (1, 3, "wake")]);

    let mut net = resting();
    net.handle(ONE, Input::Failed { reason: "broken".to_owned() });
    assert_eq!(of_rest(&net), [(1, 2, "wake"), (1, 3, "wake")]);
    net.run();
    assert!(!net.replica(TWO).is_resting() && !net.replica(THREE).is_resting());

    let mut net = quiet(3);
    net.handle(ONE, Input::Failed { reason: "broken".to_owned() });
    assert_eq!(of_rest(&net), [], "it told none");
}

#[test]
fn rule_8_the_leaders_node_shows_how_new_a_state_is() {
    let mut net = quiet(3);
    assert_eq!(net.replica(TWO).rests_under(), None);
    let mut net = resting();
    assert_eq!(net.replica(ONE).rests_under(), None, "the leader");
    let leader = net.replica(TWO).rests_under().expect("a resting follower");
    let mut liveness = Liveness::default();
    liveness.heard(ONE, Millis(40));
    liveness.heard(ONE, Millis(140));
    assert_eq!(liveness.heard_at(leader), Some(Millis(140)));
}
