//! Situations that are easier to write in code than in a script.

use std::vec;
use std::vec::Vec;

use bezant_consensus::{
    Change, ChangeError, Engine, EngineOptions, EngineState, EntryKind, Input, LogEntry, Output, ReadNumber,
    Role, Vote,
};
use bezant_types::{LogIndex, NodeId, Term};
use bytes::Bytes;

use super::net::{Disk, Net, Packet, first_members};
use crate::ballot::{Ballot, Mark};
use crate::describe::describe_in_full;
use crate::message::Message;
use crate::wire::{decode, encode};
use crate::{Paxos, describe};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

fn with_leader() -> Net {
    let mut net = Net::new(3, 5);
    assert_eq!(net.elect(), ONE);
    net
}

fn decide(net: &mut Net, payload: &str) -> LogIndex {
    let leader = net.elect();
    let slot = net.propose(leader, payload).unwrap();
    net.settle();
    slot
}

fn ticks(net: &mut Net, count: usize) {
    for _ in 0..count {
        net.tick();
        net.settle();
    }
}

#[test]
fn a_group_of_one_decides_alone() {
    let mut net = Net::new(1, 5);
    net.elect();
    let slot = decide(&mut net, "a");
    net.read(ONE, 1);
    net.settle();
    assert_eq!(net.machine(ONE).committed, slot);
    assert_eq!(net.machine(ONE).readable.len(), 1);
}

#[test]
fn two_followers_are_a_quorum_without_the_leaders_disk() {
    let mut net = with_leader();
    net.slow.insert(ONE);
    let slot = decide(&mut net, "a");
    net.tick();
    net.settle();
    assert_eq!(net.machine(TWO).committed, slot);
    assert_eq!(net.machine(ONE).committed, LogIndex(slot.0 - 1), "the value is not on its own disk");
}

#[test]
fn a_replica_with_a_full_disk_still_promises() {
    let mut net = with_leader();
    net.full.insert(TWO);
    let slot = decide(&mut net, "a");
    assert_eq!(net.machine(ONE).committed, slot);
    net.cut.insert(ONE);
    ticks(&mut net, 100);
    assert!(net.engine(THREE).is_leader(), "the node with the full disk has promised");
    assert!(net.machine(THREE).committed <= slot, "one disk of three is not a majority");
    net.full.clear();
    let next = decide(&mut net, "b");
    ticks(&mut net, 4);
    for node in [TWO, THREE] {
        assert_eq!(net.machine(node).committed, next);
    }
}

/// Delivers messages until none is left, with the disk of node 2 full; `carries` says which are delivered.
fn settle_with_a_full_disk(net: &mut Net, mut carries: impl FnMut(&mut Net, &Packet, &str) -> bool) {
    loop {
        net.sync(ONE);
        net.sync_vote(TWO);
        net.sync(THREE);
        let Some(packet) = net.packets.pop_front() else { return };
        let text = describe_in_full(&packet.bytes).unwrap().text;
        if carries(net, &packet, &text) {
            net.carry(packet);
        }
    }
}

#[test]
fn a_promise_of_values_that_a_crash_lost_stops_no_scout() {
    let mut net = with_leader();
    decide(&mut net, "a");
    // Node 2 has "b" and "c" in memory only. Node 3 has "b", which is decided, and not "c".
    let decided = net.propose(ONE, "b").unwrap();
    net.propose(ONE, "c").unwrap();
    for _ in 0..6 {
        settle_with_a_full_disk(&mut net, |_, packet, text| packet.to != THREE || !text.contains("=c"));
        net.tick();
    }
    assert_eq!(net.machine(THREE).committed, decided);
    assert_eq!((net.end(TWO).slot, net.end(THREE).slot), (decided.next(), decided));
    net.packets.clear();
    net.crash(ONE, 0);
    let mut has_crashed = false;
    for _ in 0..200 {
        net.tick();
        settle_with_a_full_disk(&mut net, |net, packet, text| {
            if !has_crashed && (packet.from, packet.to) == (TWO, THREE) && text.starts_with("promise") {
                net.crash(TWO, 0);
                net.start(TWO);
                has_crashed = true;
            }
            // Node 2 never leads here.
            (packet.from, packet.to) != (THREE, TWO) || !text.contains("granted")
        });
    }
    assert!(has_crashed, "node 2 has promised");
    assert_eq!(net.machine(THREE).conflicts, [], "node 3 has all that was decided");
    let next = decide(&mut net, "d");
    ticks(&mut net, 4);
    for node in [TWO, THREE] {
        assert_eq!(net.machine(node).committed, next);
    }
}

#[test]
fn a_leader_with_full_disks_still_confirms_reads() {
    let mut net = with_leader();
    let slot = decide(&mut net, "a");
    net.full = [ONE, TWO, THREE].into();
    net.propose(ONE, "b").unwrap();
    for read in 0..100 {
        net.tick();
        net.settle();
        assert!(net.engine(ONE).is_leader());
        net.read(ONE, read);
        net.settle();
        assert_eq!(net.machine(ONE).readable.pop(), Some((ReadNumber(read), slot)));
    }
    net.full.clear();
    ticks(&mut net, 4);
    for node in [ONE, TWO, THREE] {
        assert_eq!(net.machine(node).committed, slot.next());
    }
}

#[test]
fn large_values_are_sent_alone_and_small_values_in_batches() {
    let mut net = with_leader();
    net.trace = Some(Vec::new());
    net.propose(ONE, vec![b'x'; 3 << 20]).unwrap();
    let cut = net.packets.iter().map(|packet| packet.bytes.len()).max();
    assert!(cut > Some(3 << 20));
    net.settle();
    net.cut.insert(THREE);
    for _ in 0..100 {
        net.propose(ONE, vec![b'y'; 100_000]).unwrap();
    }
    net.settle();
    net.cut.clear();
    for _ in 0..20 {
        net.tick();
        let largest = net.packets.iter().map(|packet| packet.bytes.len()).max();
        assert!(largest < Some(2 << 20), "a batch is bounded");
        net.settle();
    }
    let last = net.machine(ONE).committed;
    assert_eq!(net.machine(THREE).committed, last);
}

#[test]
fn a_repaired_replica_regains_its_values_and_its_vote() {
    for lost in 0..=4 {
        let mut net = with_leader();
        for payload in ["a", "b", "c"] {
            decide(&mut net, payload);
        }
        net.damage(TWO, lost);
        net.start(TWO);
        ticks(&mut net, 80);
        assert!(net.machine(TWO).has_caught_up, "{lost} values were lost");
        let last = net.machine(ONE).committed;
        assert_eq!(net.machine(TWO).committed, last);
        net.handle(TWO, Input::Admit);
        net.crash(THREE, 0);
        net.start(THREE);
        let leader = net.elect();
        net.cut.insert(leader);
        decide(&mut net, "d");
    }
}

#[test]
fn an_acceptance_from_before_the_loss_does_not_count() {
    let mut net = with_leader();
    net.cut.insert(THREE);
    net.slow.insert(ONE);
    let slot = decide(&mut net, "b");
    assert!(net.machine(TWO).committed < slot, "the value is on one disk only");
    net.damage(TWO, 1);
    net.start(TWO);
    ticks(&mut net, 8);
    // Now the value is on the leader's disk alone.
    net.slow.clear();
    net.settle();
    let is_decided = net.machine(ONE).committed >= slot;
    net.cut = [ONE].into();
    ticks(&mut net, 100);
    assert!(!is_decided || net.leader().is_none(), "the other two lack the decided value");
}

#[test]
fn a_replica_is_admitted_only_after_a_leader_exists() {
    let mut net = with_leader();
    decide(&mut net, "a");
    net.damage(THREE, 9);
    net.start(THREE);
    net.cut.insert(ONE);
    // Node 2 cannot lead: node 3 does not promise.
    ticks(&mut net, 100);
    assert!(net.leader().is_none());
    assert!(!net.machine(THREE).has_caught_up);
    net.cut.clear();
    ticks(&mut net, 100);
    assert!(net.machine(THREE).has_caught_up);
}

#[test]
fn unsafe_changes_are_rejected() {
    let mut net = with_leader();
    ticks(&mut net, 4);
    let mut change = |change| {
        let made = net.engine(ONE).change(change);
        net.drain(ONE);
        made
    };
    assert_eq!(change(Change::Remove(ONE)), Err(ChangeError::Leads));
    assert_eq!(change(Change::Remove(NodeId(9))), Err(ChangeError::Unknown));
    assert_eq!(change(Change::Promote(TWO)), Err(ChangeError::Votes));
    assert_eq!(change(Change::Lead(ONE)), Ok(None));
    net.cut.insert(TWO);
    ticks(&mut net, 15);
    let made = net.engine(ONE).change(Change::Remove(THREE));
    assert_eq!(made, Err(ChangeError::TooFew));
    let made = net.engine(ONE).change(Change::Lead(TWO));
    assert_eq!(made, Err(ChangeError::Lagging(0)));
    assert_eq!(net.engine(THREE).change(Change::Remove(TWO)), Err(ChangeError::NotLeading));
}

#[test]
fn a_replica_removed_by_a_checkpoint_never_campaigns() {
    let mut net = with_leader();
    ticks(&mut net, 4);
    net.cut.insert(THREE);
    net.engine(ONE).change(Change::Remove(THREE)).unwrap();
    net.drain(ONE);
    ticks(&mut net, 4);
    net.checkpoint(ONE);
    let last = net.machine(ONE).disk.checkpoint;
    let ballot = Ballot { round: Term(1), node: ONE };
    let message = Message::Checkpoint { ballot, last: Mark::new(last.0, last.1) };
    net.handle(THREE, Input::Message { from: ONE, bytes: encode(&message) });
    assert!(net.install(THREE));
    assert_eq!(net.engine(THREE).members().get(THREE), None);
    for _ in 0..100 {
        net.tick();
        net.settle();
        assert_eq!(net.engine(THREE).standing().role, Role::Follower);
    }
}

#[test]
fn invalid_messages_change_nothing() {
    let mut net = with_leader();
    decide(&mut net, "a");
    let before = net.engine(TWO).standing();
    let ballot = Ballot { round: Term(1), node: THREE };
    let own = Ballot { round: Term(1), node: TWO };
    let value = |index| LogEntry {
        index: LogIndex(index),
        term: Term(1),
        kind: EntryKind::Command,
        payload: Bytes::from_static(b"x"),
    };
    let after = Mark::new(LogIndex(1), Term(1));
    let (values, decided) = (vec![value(2)], LogIndex(99));
    let invalid = [
        // Messages in the name of another node.
        Message::Prepare { ballot: Ballot { round: Term(9), node: ONE } },
        Message::Accept { ballot: own, after, values: values.clone(), decided },
        Message::Heartbeat { ballot: Ballot { round: Term(9), node: ONE }, decided, sequence: 1 },
        // Answers without a request.
        Message::Promise { ballot: own, accepted: after },
        Message::Accepted { ballot: own, last: decided },
        Message::Missing { ballot: own, after: decided, hint: after },
        Message::Learned { ballot: own, after, values },
        Message::HeartbeatReply { ballot: own, sequence: 7 },
        Message::ReadIndexReply { incarnation: 3, read: 3, index: decided },
        Message::Refuse { ballot, promised: Ballot { round: Term(9), node: ONE } },
        Message::PreVoteGranted { attempt: 4, round: Term(7) },
    ];
    for message in invalid {
        net.handle(TWO, Input::Message { from: THREE, bytes: encode(&message) });
        assert_eq!(net.engine(TWO).standing(), before, "{message:?}");
    }
    net.handle(TWO, Input::Message { from: THREE, bytes: Bytes::from_static(b"invalid") });
    assert_eq!(describe(&Bytes::from_static(b"invalid")), None);
    assert_eq!(net.engine(TWO).standing(), before);
}

#[test]
fn a_log_of_another_engine_is_rejected() {
    let options = EngineOptions {
        node: ONE,
        members: first_members(3),
        election_ticks: 10,
        heartbeat_ticks: 2,
        may_vote: true,
        seed: 1,
    };
    let payload = Bytes::new();
    let first = LogEntry { index: LogIndex(1), term: Term(1), kind: EntryKind::Engine, payload };
    let state = EngineState { entries: vec![first], ..EngineState::default() };
    assert!(Paxos::new(&options, state).is_none());
}

#[test]
fn equal_input_gives_equal_output() {
    let run = || {
        let mut net = Net::new(3, 77);
        net.trace = Some(Vec::new());
        net.elect();
        decide(&mut net, "a");
        net.crash(ONE, 0);
        decide(&mut net, "b");
        net.start(ONE);
        ticks(&mut net, 50);
        net.trace
    };
    assert_eq!(run(), run());
}

#[test]
fn a_leader_without_a_quorum_steps_down() {
    let mut net = with_leader();
    net.cut.insert(ONE);
    ticks(&mut net, 25);
    assert_ne!(net.engine(ONE).standing().role, Role::Leader);
    let leader = net.elect();
    assert_ne!(leader, ONE);
}

fn change(net: &mut Net, change: Change) {
    net.engine(ONE).change(change).unwrap();
    net.drain(ONE);
    ticks(net, 4);
}

#[test]
fn a_learner_without_a_value_of_the_leader_is_not_promoted() {
    let four = NodeId(4);
    let mut net = Net::new(3, 5);
    assert_eq!(net.elect(), ONE);
    decide(&mut net, "a");
    // It answers heartbeats, and its disk has no space for a value. The whole log is shorter than the
    // permitted lag.
    net.full.insert(four);
    change(&mut net, Change::Add { node: four, address: "host4:1".into() });
    let members = net.newest_members();
    net.add(four, Disk { members, ..Disk::default() });
    change(&mut net, Change::Meet { node: four, disk: 4 });
    ticks(&mut net, 20);
    let lacks = net.machine(ONE).committed.0;
    let made = net.engine(ONE).change(Change::Promote(four));
    assert_eq!(made, Err(ChangeError::Lagging(lacks)));
    net.full.clear();
    ticks(&mut net, 5);
    assert!(net.machine(four).has_caught_up);
    change(&mut net, Change::Promote(four));
}

#[test]
fn a_learner_with_the_leaders_first_value_is_promoted() {
    let four = NodeId(4);
    let mut net = with_leader();
    change(&mut net, Change::Add { node: four, address: "host4:1".into() });
    let members = net.newest_members();
    net.add(four, Disk { members, ..Disk::default() });
    change(&mut net, Change::Meet { node: four, disk: 4 });
    ticks(&mut net, 20);
    let before = net.end(ONE);
    net.engine(ONE).transfer_leadership();
    net.drain(ONE);
    net.settle();
    ticks(&mut net, 2);
    assert_eq!(net.leader(), Some(TWO));
    let first = net.end(four);
    assert!(first.slot == before.slot.next() && first.round > before.round, "{first}: one value of node 2");
    assert!(net.engine(TWO).change(Change::Promote(four)).is_ok_and(|slot| slot.is_some()));
}

#[test]
fn a_promise_of_a_replaced_disk_does_not_count() {
    let (four, five) = (NodeId(4), NodeId(5));
    let mut net = Net::new(5, 5);
    assert_eq!(net.elect(), ONE);
    decide(&mut net, "a");
    // Node 5 is removed, and its number is added again with a new disk. Node 2 receives none of this.
    net.cut.insert(TWO);
    change(&mut net, Change::Remove(five));
    let members = net.newest_members();
    net.add(five, Disk { members, ..Disk::default() });
    change(&mut net, Change::Add { node: five, address: "host5:1".into() });
    change(&mut net, Change::Meet { node: five, disk: 5 });
    ticks(&mut net, 20);
    assert!(net.machine(five).has_caught_up);
    net.machine(five).disk.is_admitted = true;
    net.handle(five, Input::Admit);
    change(&mut net, Change::Promote(five));
    // One more change: a log proves that all its changes but the last are decided.
    change(&mut net, Change::Add { node: NodeId(6), address: "host6:1".into() });
    let last = net.machine(ONE).committed;
    assert!(net.machine(four).committed == last && net.machine(TWO).committed < last);
    // Node 4 is cut off as well, and a value is decided without both.
    net.cut.insert(four);
    let slot = decide(&mut net, "e");
    ticks(&mut net, 4);
    assert_eq!(net.machine(five).committed, slot);
    // Nodes 2 and 4 are connected now, with the previous disk of node 5.
    net.cut = [ONE, THREE, five].into();
    let mut ballots = 0;
    for _ in 0..200 {
        net.handle(TWO, Input::Tick);
        net.handle(four, Input::Tick);
        for node in [TWO, four] {
            net.sync(node);
        }
        while let Some(packet) = net.packets.pop_front() {
            if (packet.from, packet.to) == (TWO, five) {
                let answer = match decode(&packet.bytes) {
                    Some(Message::PreVote { attempt, .. }) => {
                        Message::PreVoteGranted { attempt, round: Term(1) }
                    }
                    Some(Message::Prepare { ballot }) => {
                        ballots += 1;
                        Message::Promise { ballot, accepted: Mark::new(LogIndex(1), Term(1)) }
                    }
                    _ => continue,
                };
                if net.engine(TWO).members().index == LogIndex(0) {
                    net.handle(TWO, Input::Message { from: five, bytes: encode(&answer) });
                }
            } else {
                net.carry(packet);
            }
            net.sync(TWO);
            net.sync(four);
            assert!(!net.engine(TWO).is_leader(), "only two of the five current disks have promised");
        }
    }
    assert!(ballots > 0, "node 2 campaigned");
    assert!(
        net.engine(TWO).members().get(five).is_some_and(|member| member.disk == 5),
        "node 2 has the new disk in its members"
    );
    // With another node a value is decided again, after the previous ones.
    net.cut = [ONE].into();
    net.packets.clear();
    let next = decide(&mut net, "f");
    ticks(&mut net, 20);
    assert!(next > slot);
    let last = net.machine(five).committed;
    assert_eq!(net.machine(TWO).committed, last);
}

#[test]
fn a_checkpoint_of_a_later_round_promises_that_round() {
    let mut net = with_leader();
    ticks(&mut net, 4);
    net.cut.insert(THREE);
    decide(&mut net, "a");
    change(&mut net, Change::Lead(TWO));
    assert_eq!(net.elect(), TWO);
    decide(&mut net, "b");
    net.checkpoint(TWO);
    let (index, term) = net.machine(TWO).disk.checkpoint;
    assert!(term > Term(1));
    // The old leader, node 1, offers a checkpoint to node 3. Node 3 gets the checkpoint of node 2 instead.
    let ballot = Ballot { round: Term(1), node: ONE };
    let message = Message::Checkpoint { ballot, last: Mark::new(LogIndex(index.0 - 1), Term(1)) };
    net.handle(THREE, Input::Message { from: ONE, bytes: encode(&message) });
    net.machine(THREE).installs[0].0 = TWO;
    assert!(net.install(THREE));
    assert_eq!(net.machine(THREE).disk.vote, Some(Vote { term, voted_for: NodeId(0) }));
    // Node 1 then sends a value in its old round. It is refused: it would follow a value of a later round.
    let after = Mark::new(index, term);
    let value =
        LogEntry { index: index.next(), term: Term(1), kind: EntryKind::Command, payload: "z".into() };
    let message = Message::Accept { ballot, after, values: vec![value], decided: LogIndex(0) };
    net.handle(THREE, Input::Message { from: ONE, bytes: encode(&message) });
    assert_eq!(net.end(THREE), after);
}

#[test]
fn an_unwritten_promise_is_written_with_the_next_value() {
    let options = EngineOptions::new(THREE, first_members(3), true, 1);
    let vote = Some(Vote { term: Term(1), voted_for: ONE });
    let state = EngineState { vote, checkpoint: (LogIndex(5), Term(2)), ..EngineState::default() };
    let mut engine = Paxos::new(&options, state).unwrap();
    assert_eq!(engine.standing().term, Term(2));
    let ballot = Ballot { round: Term(2), node: TWO };
    let value = LogEntry { index: LogIndex(6), term: Term(2), kind: EntryKind::Command, payload: "z".into() };
    let after = Mark::new(LogIndex(5), Term(2));
    let message = Message::Accept { ballot, after, values: vec![value], decided: LogIndex(5) };
    engine.handle(Input::Message { from: TWO, bytes: encode(&message) });
    let votes: Vec<Vote> = core::iter::from_fn(|| engine.poll())
        .filter_map(|output| if let Output::Persist(write) = output { write.vote } else { None })
        .collect();
    assert_eq!(votes, [Vote { term: Term(2), voted_for: NodeId(0) }]);
}

#[test]
fn a_leader_announces_its_own_removal() {
    let mut net = Net::new(2, 5);
    assert_eq!(net.elect(), ONE);
    ticks(&mut net, 4);
    // Node 1 proposes both steps, and crashes before the second is decided.
    net.engine(ONE).change(Change::Remove(TWO)).unwrap();
    net.drain(ONE);
    while net.engine(TWO).acceptor.values().changes_after(LogIndex(0)).nth(1).is_none() {
        net.sync(ONE);
        net.sync(TWO);
        let packet = net.packets.pop_front().unwrap();
        net.carry(packet);
    }
    net.sync(TWO);
    net.crash(ONE, 9);
    net.packets.clear();
    net.start(ONE);
    // Node 2 leads, and decides its own removal.
    for _ in 0..200 {
        net.handle(TWO, Input::Tick);
        net.settle();
        if net.engine(TWO).members().get(TWO).is_none() {
            break;
        }
    }
    assert_eq!(net.engine(TWO).members().get(TWO), None);
    assert_eq!(net.engine(TWO).standing().role, Role::Follower, "it leads no longer");
    // From here on node 2 has no connections, and node 1 needs none.
    net.cut.insert(TWO);
    assert_eq!(net.elect(), ONE);
    decide(&mut net, "a");
}

#[test]
fn repeated_leadership_transfers_reach_every_voter() {
    let mut net = with_leader();
    for next in [TWO, THREE, ONE, TWO] {
        decide(&mut net, "a");
        ticks(&mut net, 2);
        let leader = net.leader().unwrap();
        net.engine(leader).transfer_leadership();
        net.drain(leader);
        net.settle();
        ticks(&mut net, 2);
        assert_eq!(net.leader(), Some(next), "leadership went to the next voter");
    }
}
