//! What a replica does at the edge of a rule: the search of a scout for the slot where two logs are equal,
//! offers of checkpoints, pre-votes, and reads while the members change.

use std::vec;
use std::vec::Vec;

use bezant_consensus::{Change, Engine, EntryKind, Input, LogEntry, ReadNumber, Role};
use bezant_types::{LogIndex, NodeId, Term};

use super::net::Net;
use super::parts::{mark, slot, value};
use crate::ballot::{Ballot, Mark};
use crate::message::Message;
use crate::wire::{decode, encode};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

/// A group in which node 1 leads; no message is in flight.
fn led(count: u64) -> Net {
    let mut net = Net::new(count, 5);
    assert_eq!(net.elect(), ONE);
    net.propose(ONE, "a").unwrap();
    net.settle();
    for _ in 0..4 {
        net.tick();
        net.settle();
    }
    net
}

/// The ballot of node 1.
fn ballot_of_one(net: &mut Net) -> Ballot {
    Ballot { round: net.engine(ONE).standing().term, node: ONE }
}

fn deliver(net: &mut Net, from: NodeId, to: NodeId, message: &Message) {
    net.handle(to, Input::Message { from, bytes: encode(message) });
}

/// Node 2 accepts values of node 1 that no other node receives. Returns the slot before them.
fn accept_undecided(net: &mut Net, values: Vec<LogEntry>) -> LogIndex {
    let (ballot, after) = (ballot_of_one(net), net.end(TWO));
    let decided = net.engine(TWO).standing().committed;
    assert_eq!(decided, after.slot);
    deliver(net, ONE, TWO, &Message::Accept { ballot, after, values, decided });
    net.sync(TWO);
    net.packets.clear();
    decided
}

/// Node 1 asks node 2 to lead; no other message arrives. Returns the ballot of node 2.
fn scout_of_two(net: &mut Net) -> Ballot {
    let ballot = ballot_of_one(net);
    deliver(net, ONE, TWO, &Message::TransferLeadership { ballot });
    net.sync(TWO);
    net.packets.clear();
    assert_eq!(net.engine(TWO).standing().role, Role::Candidate);
    net.engine(TWO).ballot().unwrap()
}

/// The messages that are in flight to that node.
fn sent(net: &mut Net, to: NodeId) -> Vec<Message> {
    let packets = net.packets.drain(..).filter(|packet| packet.to == to);
    packets.filter_map(|packet| decode(&packet.bytes)).collect()
}

#[test]
fn a_scout_searches_for_the_slot_where_two_logs_are_equal() {
    let mut net = led(3);
    let round = ballot_of_one(&mut net).round.0;
    let first = net.end(TWO).slot.0 + 1;
    let values = (first..first + 3).map(|at| value(at, round, 1)).collect();
    let decided = accept_undecided(&mut net, values);
    let end = net.end(TWO);
    let ballot = scout_of_two(&mut net);
    let accepted = Mark::new(LogIndex(end.slot.0 + 5), Term(round));
    deliver(&mut net, THREE, TWO, &Message::Promise { ballot, accepted });
    assert_eq!(sent(&mut net, THREE), [Message::Learn { ballot, after: end }]);
    let missing = |net: &mut Net, after: LogIndex, hint: LogIndex| {
        let hint = Mark::new(hint, Term(round));
        deliver(net, THREE, TWO, &Message::Missing { ballot, after, hint });
        sent(net, THREE)
    };
    assert_eq!(missing(&mut net, end.slot, end.slot), [], "no earlier slot");
    let asked = |slot: LogIndex| [Message::Learn { ballot, after: Mark::new(slot, Term(round)) }];
    let earlier = decided.next();
    assert_eq!(missing(&mut net, end.slot, earlier), asked(earlier));
    assert_eq!(missing(&mut net, end.slot, decided), [], "an answer to the request before");
    assert_eq!(missing(&mut net, earlier, slot(0)), asked(decided), "decided slots are equal");
    let renewed = missing(&mut net, decided, slot(0));
    assert_eq!(renewed, [Message::Prepare { ballot }], "it lacks a decided value: a new promise is needed");
}

#[test]
fn a_scout_that_learns_changes_goes_on_with_the_same_disks() {
    let mut net = led(3);
    net.cut.insert(TWO);
    for node in 4..6 {
        let change = Change::Add { node: NodeId(node), address: std::format!("host{node}:1") };
        assert!(net.engine(ONE).change(change).is_ok_and(|made| made.is_some()));
        net.drain(ONE);
        net.settle();
    }
    net.cut = [ONE].into();
    let ballot = ballot_of_one(&mut net);
    deliver(&mut net, ONE, TWO, &Message::TransferLeadership { ballot });
    net.settle();
    assert!(net.engine(TWO).is_leader(), "no further ballot is needed");
    assert_eq!(net.engine(TWO).members().nodes.len(), 5);
}

#[test]
fn a_checkpoint_is_fetched_only_when_values_are_missing() {
    let installs = |net: &mut Net| net.machine(TWO).installs.clone();
    let mut net = led(5);
    let own = ballot_of_one(&mut net);
    let (end, later) = (net.end(TWO), Mark::new(slot(99), own.round));
    deliver(&mut net, THREE, TWO, &Message::Checkpoint { ballot: own, last: later });
    assert_eq!(installs(&mut net), [], "an offer in the name of the leader");
    let ballot = scout_of_two(&mut net);
    deliver(&mut net, THREE, TWO, &Message::Promise { ballot, accepted: end });
    deliver(&mut net, THREE, TWO, &Message::Checkpoint { ballot, last: end });
    assert_eq!(installs(&mut net), [], "everything that it covers is decided here");
    assert_eq!(net.engine(TWO).standing().role, Role::Follower, "this replica cannot learn the rest");

    let mut net = led(3);
    let own = ballot_of_one(&mut net);
    let next = value(end.slot.0 + 1, own.round.0, 1);
    let held = Mark::of(&next);
    accept_undecided(&mut net, vec![next]);
    deliver(&mut net, ONE, TWO, &Message::Checkpoint { ballot: own, last: held });
    assert_eq!((installs(&mut net), net.engine(TWO).standing().committed), (vec![], held.slot));
    deliver(&mut net, ONE, TWO, &Message::Checkpoint { ballot: own, last: later });
    deliver(&mut net, ONE, TWO, &Message::Checkpoint { ballot: own, last: later });
    assert_eq!(installs(&mut net), [(ONE, slot(99))], "once");
    net.handle(TWO, Input::Lost(ONE));
    assert_eq!(net.engine(TWO).leader(), Some(ONE), "it does not campaign while it fetches a checkpoint");
}

#[test]
fn a_pre_vote_is_granted_an_election_timeout_after_the_leaders_message() {
    let mut net = led(3);
    loop {
        let ticks = net.engine(THREE).standing().ticks_since_leader;
        let last = net.end(THREE).slot;
        net.packets.clear();
        deliver(&mut net, TWO, THREE, &Message::PreVote { attempt: 1, last });
        let is_granted =
            sent(&mut net, TWO).iter().any(|message| matches!(message, Message::PreVoteGranted { .. }));
        assert_eq!(is_granted, ticks >= 10, "{ticks} ticks");
        if is_granted {
            break;
        }
        net.handle(THREE, Input::Tick);
    }
}

#[test]
fn an_early_read_covers_the_no_op_after_a_change_of_members() {
    let mut net = led(3);
    let (round, next) = (ballot_of_one(&mut net).round, net.end(TWO).slot.next());
    let change = Change::Add { node: NodeId(4), address: "host4:1".into() };
    let payload = crate::change::payload(&change);
    let change = LogEntry { index: next, term: round, kind: EntryKind::Engine, payload };
    let values = vec![change, value(next.0 + 1, round.0, 1)];
    accept_undecided(&mut net, values);
    net.cut.insert(ONE);
    net.read(TWO, 7);
    let ballot = ballot_of_one(&mut net);
    deliver(&mut net, ONE, TWO, &Message::TransferLeadership { ballot });
    net.settle();
    assert!(net.engine(TWO).is_leader());
    let no_op = LogIndex(next.0 + 2);
    assert_eq!(net.machine(TWO).readable, [(ReadNumber(7), no_op)]);
}

#[test]
fn messages_of_other_nodes_and_of_itself_are_dropped() {
    let mut net = led(3);
    let ballot = ballot_of_one(&mut net);
    let after = net.end(TWO);
    let learn = Message::Learn { ballot, after };
    deliver(&mut net, THREE, TWO, &learn);
    assert!(net.packets.is_empty(), "a scout of another node");
    deliver(&mut net, ONE, TWO, &learn);
    assert_eq!(sent(&mut net, ONE).len(), 1);
    let own = Ballot { round: Term(ballot.round.0 + 5), node: TWO };
    deliver(&mut net, TWO, TWO, &Message::Prepare { ballot: own });
    assert_eq!(net.engine(TWO).standing().term, ballot.round);
}

#[test]
fn a_replica_without_admission_does_not_succeed_the_leader() {
    let mut net = led(3);
    let ballot = ballot_of_one(&mut net);
    net.damage(TWO, 1);
    net.start(TWO);
    let ballot = Ballot { round: Term(ballot.round.0 + 1), ..ballot };
    deliver(&mut net, ONE, TWO, &Message::TransferLeadership { ballot });
    let standing = net.engine(TWO).standing();
    assert_eq!((standing.role, standing.term, standing.leader), (Role::Follower, ballot.round, Some(ONE)));
}

#[test]
fn the_mark_before_the_first_slot_contradicts_nothing() {
    let mut net = led(3);
    let ballot = ballot_of_one(&mut net);
    let engine = net.engine(TWO);
    let known = engine.acceptor.values().mark(slot(1)).unwrap();
    let (other, beyond) = (value(2, known.round.0, 9), value(9, known.round.0, 9));
    assert!(!engine.stop_on_conflict(ONE, ballot, mark(0, 5), &[]));
    assert!(!engine.stop_on_conflict(ONE, ballot, known, &[beyond]), "nothing is decided there");
    assert!(engine.stop_on_conflict(ONE, ballot, known, &[other]));
    net.drain(TWO);
    let conflict = net.machine(TWO).conflicts[0];
    assert_eq!((conflict.first, conflict.is_first_exact), (slot(2), true));
}
