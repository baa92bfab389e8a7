//! The roles that agree, and the engine around them, at their limits: acceptor, scout, replica, admission,
//! quorums, the bytes of messages, and what a leader knows of its peers.

use std::vec;
use std::vec::Vec;

use bezant_consensus::{Change, ChangeError, Engine, Input, LogEntry, Members, Part, Role};
use bezant_types::limits::ENTRY_SIZE_MAX;
use bezant_types::{LogIndex, NodeId, Term};
use bytes::Bytes;

use super::net::{Net, first_members};
use super::parts::{ballot, mark, slot, value, values};
use crate::acceptor::Acceptor;
use crate::ballot::{Ballot, Mark};
use crate::bootstrap::Bootstrap;
use crate::commander::Commander;
use crate::message::Message;
use crate::replica::Replica;
use crate::scout::{Scout, Step};
use crate::seed::rank;
use crate::wire::{decode, encode};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

/// An acceptor that has promised 6.2 and has the values of [`values`].
fn acceptor() -> Acceptor {
    Acceptor::new(ballot(6, 2), ballot(6, 2), values())
}

#[test]
fn an_acceptor_promises_one_node_in_a_round() {
    let promises = |round, node, asked: Ballot| {
        let mut acceptor = Acceptor::new(ballot(round, node), Ballot::default(), values());
        let answer = acceptor.handle_prepare(asked);
        let is_promise = matches!(answer, Message::Promise { accepted, .. } if accepted == mark(15, 6));
        assert_eq!(acceptor.promised() == asked, is_promise, "{answer:?}");
        is_promise
    };
    assert!(promises(6, 2, ballot(7, 1)) && promises(6, 2, ballot(6, 2)), "a later round, or a repetition");
    assert!(!promises(6, 2, ballot(6, 1)) && !promises(6, 2, ballot(5, 2)) && !promises(6, 2, ballot(5, 1)));
    assert!(promises(6, 0, ballot(6, 1)), "the round was entered without a promise");
    assert!(!promises(6, 0, ballot(5, 1)));
}

#[test]
fn an_acceptor_accepts_values_that_follow_its_own() {
    let accept = |round, after: Mark, values: &[LogEntry], decided: u64| {
        let mut acceptor = acceptor();
        let answer = acceptor.handle_accept(ballot(round, 2), after, values, slot(decided));
        let (vote, written) = acceptor.take_write();
        assert_eq!(vote.map(|it| it.term), (round > 6).then_some(Term(round)));
        assert_eq!(acceptor.take_write(), (None, Vec::new()), "it is written once");
        (answer, written.iter().map(|it| it.index.0).collect::<Vec<_>>(), acceptor.values().last())
    };
    let accepted = |round, last| Message::Accepted { ballot: ballot(round, 2), last: slot(last) };
    let next = [value(16, 7, 1), value(17, 7, 1)];
    assert_eq!(accept(7, mark(15, 6), &next, 0), (accepted(7, 17), vec![16, 17], mark(17, 7)));
    assert_eq!(accept(7, mark(15, 6), &[], 0), (accepted(7, 15), vec![], mark(15, 6)), "a probe");
    assert_eq!(accept(7, mark(12, 3), &[], 14), (accepted(7, 14), vec![], mark(15, 6)), "14 is decided");
    let known = [value(15, 6, 100), value(16, 7, 1)];
    assert_eq!(accept(7, mark(14, 5), &known, 0), (accepted(7, 16), vec![16], mark(16, 7)), "15 is known");
    let other = [value(15, 7, 1)];
    assert_eq!(accept(7, mark(14, 5), &other, 0), (accepted(7, 15), vec![15], mark(15, 7)), "15 is replaced");
    let missing = |after, hint| Message::Missing { ballot: ballot(7, 2), after: slot(after), hint };
    assert_eq!(accept(7, mark(18, 7), &[], 0), (missing(18, mark(15, 6)), vec![], mark(15, 6)));
    assert_eq!(accept(7, mark(14, 4), &[], 0), (missing(14, mark(12, 3)), vec![], mark(15, 6)));
    assert_eq!(accept(7, mark(14, 4), &[], 13), (missing(14, mark(13, 5)), vec![], mark(15, 6)));
    assert_eq!(accept(7, mark(14, 4), &[], 14), (accepted(7, 14), vec![], mark(15, 6)), "it is decided");
    let mut earlier = acceptor();
    let answer = earlier.handle_accept(ballot(5, 2), mark(15, 6), &next, slot(0));
    assert_eq!(answer, Message::Refuse { ballot: ballot(5, 2), promised: ballot(6, 2) });
}

#[test]
fn a_match_belongs_to_one_round() {
    let mut acceptor = acceptor();
    let accept = |acceptor: &mut Acceptor, round, decided| {
        drop(acceptor.handle_accept(ballot(round, 2), mark(12, 3), &[], slot(decided)));
        acceptor.matched()
    };
    assert_eq!(accept(&mut acceptor, 7, 0), slot(12));
    assert_eq!(accept(&mut acceptor, 7, 14), slot(14));
    assert_eq!(accept(&mut acceptor, 7, 0), slot(14), "it never decreases in a round");
    assert!(acceptor.follow(ballot(7, 2)) && acceptor.matched() == slot(14));
    let again = acceptor.handle_prepare(ballot(7, 2));
    assert!(matches!(again, Message::Promise { .. } | Message::Refuse { .. }));
    assert_eq!(acceptor.matched(), slot(14), "the same round");
    assert!(!acceptor.follow(ballot(6, 2)));
    assert!(acceptor.follow(ballot(8, 3)) && acceptor.matched() == slot(0), "another leader");
}

#[test]
fn a_scout_is_sent_values_from_where_the_logs_are_equal() {
    let acceptor = acceptor();
    let asks = ballot(6, 2);
    let learn = |after| acceptor.handle_learn(asks, after);
    let learned = |after, count| match learn(after) {
        Message::Learned { values, .. } => values.len() == count,
        _ => false,
    };
    assert!(learned(mark(13, 5), 2) && learned(mark(10, 2), 5) && learned(mark(15, 6), 0));
    assert_eq!(learn(mark(9, 2)), Message::Checkpoint { ballot: asks, last: mark(10, 2) });
    assert_eq!(learn(mark(14, 4)), Message::Missing { ballot: asks, after: slot(14), hint: mark(12, 3) });
    let other = ballot(6, 1);
    assert_eq!(
        acceptor.handle_learn(other, mark(13, 5)),
        Message::Refuse { ballot: other, promised: asks },
        "it promised another node"
    );
}

#[test]
fn a_scout_adopts_the_latest_log_of_a_quorum() {
    let members = first_members(3);
    let mut scout = Scout::new(ballot(7, 1));
    scout.handle_promise(ONE, mark(15, 6));
    assert_eq!(scout.step(mark(15, 6), &members), Step::Wait);
    scout.handle_promise(THREE, mark(12, 9));
    scout.handle_promise(THREE, mark(99, 9));
    assert!(scout.has_promised(THREE) && !scout.has_promised(TWO));
    assert_eq!(scout.step(mark(15, 6), &members), Step::Learn(THREE), "the later round wins");
    assert_eq!(scout.step(mark(12, 9), &members), Step::Adopt, "only the first promise counts");
    scout.handle_promise(TWO, mark(12, 9));
    assert_eq!(scout.step(mark(15, 6), &members), Step::Learn(TWO), "of equal logs the lowest number");
    scout.ask(TWO, slot(15));
    assert!(!scout.take_answer(THREE, slot(15)) && !scout.take_answer(TWO, slot(14)));
    assert!(scout.take_answer(TWO, slot(15)) && scout.asked().is_none());
    assert!(!scout.take_answer(TWO, slot(15)), "once");
    scout.ask(TWO, slot(15));
    for time in 0..4 {
        scout.handle_promise(TWO, mark(12, 9));
        assert!(scout.drop_promise(TWO) && !scout.has_promised(TWO), "{time}");
        assert!(scout.asked().is_none());
    }
    scout.handle_promise(TWO, mark(12, 9));
    assert!(!scout.drop_promise(TWO) && scout.has_promised(TWO), "too often for a crash to be the reason");
    assert!(scout.drop_promise(THREE), "each acceptor is counted alone");
    let mut refused = Scout::new(ballot(7, 1));
    assert!(!refused.handle_refused(TWO, &members) && !refused.handle_refused(TWO, &members));
    assert!(refused.handle_refused(THREE, &members), "the one that is left is no quorum");
}

#[test]
fn a_replica_emits_decided_and_durable_values_in_order() {
    let mut replica = Replica::new(slot(10), 3);
    assert_eq!(replica.next(slot(20)), None);
    replica.handle_decided(slot(12));
    replica.handle_decided(slot(11));
    assert_eq!(replica.decided(), slot(12));
    assert_eq!((replica.next(slot(10)), replica.next(slot(11))), (None, Some(slot(11))));
    replica.handle_committed(slot(11));
    replica.handle_committed(slot(12));
    assert_eq!((replica.committed(), replica.next(slot(20))), (slot(12), None));
    assert_eq!([replica.handle_tick(), replica.handle_tick(), replica.handle_tick()], [false, false, true]);
    assert_eq!(replica.ticks_since_leader(), 3);
    assert!(replica.follow(Some(ONE)) && !replica.follow(Some(ONE)) && !replica.follow(None));
    assert_eq!(replica.ticks_since_leader(), 0);
    replica.reset_timeout(1);
    assert!(replica.handle_tick());
    replica.restart(slot(30));
    assert_eq!((replica.decided(), replica.committed()), (slot(30), slot(30)));
}

#[test]
fn a_new_disk_waits_for_the_slots_of_its_first_leader() {
    let mut bootstrap = Bootstrap::new(false);
    assert!(!bootstrap.handle_decided(slot(99), Term(99)), "it has followed no leader");
    bootstrap.handle_leader(ballot(5, 1), slot(10));
    bootstrap.handle_leader(ballot(4, 1), slot(3));
    assert!(!bootstrap.handle_decided(slot(9), Term(5)), "a slot is missing");
    assert!(!bootstrap.handle_decided(slot(10), Term(4)), "no value of that round");
    assert!(bootstrap.handle_decided(slot(10), Term(5)) && !bootstrap.is_admitted());
    assert!(!bootstrap.handle_decided(slot(11), Term(5)), "once");
    let mut empty = Bootstrap::new(false);
    empty.handle_leader(ballot(5, 1), slot(0));
    assert!(!empty.handle_decided(slot(0), Term(5)), "at least the first slot");
    assert!(Bootstrap::new(true).is_admitted());
}

#[test]
fn voters_campaign_in_the_order_of_their_numbers() {
    let members = first_members(4);
    let ranks = [1, 2, 3, 4].map(|node| rank(&members, NodeId(node), None));
    assert_eq!(ranks, [0, 1, 2, 3]);
    let ranks = [1, 3, 4].map(|node| rank(&members, NodeId(node), Some(TWO)));
    assert_eq!(ranks, [0, 1, 2], "the one that is absent does not count");
}

#[test]
fn members_count_by_their_parts() {
    use crate::quorum::{acceptors, is_acceptor};
    let mut members = first_members(4);
    members.nodes[3].part = Part::Learner;
    assert_eq!(acceptors(&members).collect::<Vec<_>>(), [ONE, TWO, THREE]);
    assert!(
        is_acceptor(&members, THREE)
            && !is_acceptor(&members, NodeId(4))
            && !is_acceptor(&members, NodeId(9))
    );
    let has = |members: &Members, nodes: &[u64]| members.is_quorum(|node| nodes.contains(&node.0));
    members.nodes[0].part = Part::Leaving;
    // Old voters 1 to 3, new voters 2 and 3.
    assert!(has(&members, &[2, 3]) && !has(&members, &[1, 2]) && !has(&members, &[1, 3, 4]));
    let two = first_members(2);
    assert!(has(&two, &[1, 2]) && !has(&two, &[1]), "half is no majority");
    let mut joint = first_members(3);
    joint.nodes[2].part = Part::Joining;
    assert!(has(&joint, &[1, 2]) && !has(&joint, &[1, 3]), "one of the two old voters");
}

fn message(values: Vec<LogEntry>, after: Mark, round: u64) -> Bytes {
    encode(&Message::Accept { ballot: ballot(round, 2), after, values, decided: slot(3) })
}

#[test]
fn bytes_beyond_a_limit_are_no_message() {
    let is_message = |values: Vec<LogEntry>, after, round| decode(&message(values, after, round)).is_some();
    let last = 1 << 62;
    assert!(is_message(vec![], mark(last, 1), last) && !is_message(vec![], mark(last + 1, 1), last));
    assert!(!is_message(vec![], mark(last, 1), last + 1));
    let prepare = |round, node| decode(&encode(&Message::Prepare { ballot: ballot(round, node) })).is_some();
    assert!(prepare(1, 1) && !prepare(0, 1) && !prepare(1, 0));
    let with_size = |size| is_message(vec![value(11, 3, size)], mark(10, 3), 3);
    assert!(with_size(1) && !with_size(0), "no command is empty");
    assert!(with_size(ENTRY_SIZE_MAX) && !with_size(ENTRY_SIZE_MAX + 1));
    assert!(!is_message(vec![value(11, 0, 1)], mark(10, 0), 3), "no value has round 0");
    let many = |count: u64| (11..11 + count).map(|at| value(at, 3, 1)).collect::<Vec<_>>();
    assert!(is_message(many(1 << 16), mark(10, 3), 3) && !is_message(many((1 << 16) + 1), mark(10, 3), 3));
    let bytes = message(vec![value(11, 3, 1)], mark(10, 3), 3);
    let mut other = bytes.to_vec();
    other[0] = 2;
    assert_eq!(decode(&other.into()), None, "another version");
    let kind = bytes.len() - 6;
    assert_eq!(bytes[kind], 0);
    let mut other = bytes.to_vec();
    other[kind] = 2;
    assert_eq!(decode(&other.into()), None, "an unknown kind of value");
    let mut cut = bytes.to_vec();
    cut[kind + 1] = 2;
    assert_eq!(decode(&cut.into()), None, "the payload is shorter than its size");
}

#[test]
fn a_message_is_not_copied_to_append_to_it() {
    let payload = 100_000;
    let bytes = message(vec![value(11, 3, payload)], mark(10, 3), 3);
    let size = bytes.len();
    let mut buffer = bytes.try_into_mut().unwrap();
    assert!(buffer.capacity() >= size + 16 && buffer.capacity() < size + 256, "{}", buffer.capacity());
    buffer.extend_from_slice(&[0; 16]);
    assert_eq!(buffer.len(), size + 16);
}

#[test]
fn a_node_that_lags_too_far_may_not_lead() {
    let mut net = Net::new(3, 5);
    assert_eq!(net.elect(), ONE);
    for _ in 0..5 {
        net.propose(ONE, "x").unwrap();
        net.tick();
        net.settle();
    }
    let lag = |net: &mut Net| {
        net.slow.insert(TWO);
        for _ in 0..256 {
            net.propose(ONE, "x").unwrap();
        }
        net.settle();
    };
    lag(&mut net);
    net.propose(ONE, "x").unwrap();
    net.settle();
    assert_eq!(net.engine(ONE).change(Change::Lead(TWO)), Err(ChangeError::Lagging(257)));
    net.slow.clear();
    net.settle();
    lag(&mut net);
    assert_eq!(net.engine(ONE).change(Change::Lead(TWO)), Ok(None), "256 slots are few");
    net.drain(ONE);
    assert!(!net.engine(ONE).is_leader() && net.propose(ONE, "y").is_none(), "it transfers the leadership");
    assert_eq!(net.engine(ONE).change(Change::Remove(THREE)), Err(ChangeError::NotLeading));
}

#[test]
fn a_leader_knows_which_peers_are_active() {
    let mut net = Net::new(3, 5);
    assert_eq!(net.elect(), ONE);
    let last = net.propose(ONE, "x").unwrap();
    net.settle();
    for _ in 0..4 {
        net.tick();
        net.settle();
    }
    let standing = |net: &mut Net, node| net.engine(node).standing();
    let active =
        |net: &mut Net| standing(net, ONE).peers.iter().map(|peer| peer.is_active).collect::<Vec<_>>();
    let leads = standing(&mut net, ONE);
    assert_eq!((leads.role, leads.leader, leads.ticks_since_leader), (Role::Leader, Some(ONE), 0));
    assert_eq!((leads.committed, leads.announced), (last, last));
    assert!(leads.peers.iter().all(|peer| peer.matched == last), "{:?}", leads.peers);
    // The last message of node 2 arrived at this tick or at the one before it.
    net.cut.insert(TWO);
    let received_at = net.engine(ONE).received_at[&TWO];
    let mut ticks = 0;
    while active(&mut net) == [true, true] {
        assert!(net.engine(ONE).ticks < received_at + 10, "{ticks} ticks");
        net.tick();
        net.settle();
        ticks += 1;
    }
    assert_eq!((net.engine(ONE).ticks, active(&mut net)), (received_at + 10, vec![false, true]));
    let follows = standing(&mut net, TWO);
    assert!(follows.ticks_since_leader >= ticks && follows.peers.is_empty(), "{follows:?}");
    assert!(!std::format!("{:?}", net.engine(ONE)).is_empty());
}

#[test]
fn a_commander_counts_nodes_that_have_all_of_its_slots() {
    let members = first_members(3);
    let mut commander = Commander::new(slot(5), slot(7));
    assert_eq!((commander.first(), commander.last()), (slot(5), slot(7)));
    commander.handle_accepted(ONE, slot(7));
    commander.handle_accepted(ONE, slot(8));
    commander.handle_accepted(TWO, slot(6));
    assert!(!commander.is_done(&members), "one node twice, and one without slot 7");
    commander.handle_accepted(TWO, slot(8));
    assert!(commander.is_done(&members));
    commander.remove(TWO);
    assert!(!commander.is_done(&members));
    commander.handle_accepted(TWO, slot(7));
    commander.continue_after(slot(5));
    assert_eq!((commander.first(), commander.is_done(&members)), (slot(6), true));
}

#[test]
fn a_released_checkpoint_is_offered_to_scouts() {
    let mut acceptor = acceptor();
    acceptor.release(mark(14, 5));
    assert_eq!(acceptor.values().checkpoint(), mark(14, 5));
    acceptor.restart(mark(30, 6));
    assert_eq!((acceptor.values().last(), acceptor.matched()), (mark(30, 6), slot(0)));
}

#[test]
fn adopted_values_follow_a_value_that_is_here_or_decided() {
    let adopt = |after: Mark, decided| {
        let mut acceptor = acceptor();
        acceptor.adopt(after, &[value(after.slot.0 + 1, 7, 1)], slot(decided));
        acceptor.values().last()
    };
    assert_eq!(adopt(mark(14, 5), 0), mark(15, 7));
    assert_eq!(adopt(mark(14, 4), 0), mark(15, 6), "not the value that is here");
    assert_eq!(adopt(mark(14, 4), 14), mark(15, 7), "it is decided");
    assert_eq!(adopt(mark(14, 4), 13), mark(15, 6));
}

/// Three nodes; node 1 leads, and no message is in flight.
fn led() -> Net {
    let mut net = Net::new(3, 5);
    assert_eq!(net.elect(), ONE);
    net.propose(ONE, "a").unwrap();
    net.settle();
    for _ in 0..4 {
        net.tick();
        net.settle();
    }
    net
}

fn deliver(net: &mut Net, from: NodeId, to: NodeId, message: &Message) {
    net.handle(to, Input::Message { from, bytes: encode(message) });
}

#[test]
fn an_acceptance_counts_in_its_ballot_only() {
    let mut net = led();
    assert!(net.engine(ONE).may_vote());
    let round = net.engine(ONE).standing().term;
    net.cut = [TWO, THREE].into();
    let last = net.propose(ONE, "b").unwrap();
    net.settle();
    let decided = |net: &mut Net| net.engine(ONE).standing().committed;
    for (other, slot) in [
        (Ballot { round, node: TWO }, last),
        (Ballot { round: Term(round.0 + 1), node: ONE }, last),
        (Ballot { round, node: ONE }, last.next()),
    ] {
        deliver(&mut net, TWO, ONE, &Message::Accepted { ballot: other, last: slot });
        assert_eq!(decided(&mut net), LogIndex(last.0 - 1), "{other} {slot}");
    }
    deliver(&mut net, TWO, ONE, &Message::Accepted { ballot: Ballot { round, node: ONE }, last });
    assert_eq!(decided(&mut net), last);
}

#[test]
fn a_leader_ignores_another_leader_of_its_round() {
    let mut net = led();
    let round = net.engine(ONE).standing().term;
    let heartbeat =
        |round, node| Message::Heartbeat { ballot: Ballot { round, node }, decided: slot(0), sequence: 0 };
    deliver(&mut net, TWO, ONE, &heartbeat(round, TWO));
    assert!(net.engine(ONE).is_leader(), "a round has one leader");
    deliver(&mut net, TWO, ONE, &heartbeat(Term(round.0 + 1), TWO));
    assert!(!net.engine(ONE).is_leader(), "a later round");
}

#[test]
fn leadership_goes_to_an_active_voter() {
    let mut net = led();
    net.cut.insert(TWO);
    for _ in 0..11 {
        net.tick();
        net.settle();
    }
    net.engine(ONE).transfer_leadership();
    net.drain(ONE);
    net.settle();
    assert_eq!(net.leader(), Some(THREE), "node 2 would be the next one");
}

#[test]
fn a_scout_that_too_many_refuse_waits() {
    let mut net = led();
    net.cut.insert(ONE);
    let position = |net: &mut Net| net.engine(TWO).standing();
    // Node 2 scouts, and its messages do not arrive.
    while net.engine(TWO).ballot().is_none() {
        net.tick();
        for node in [TWO, THREE] {
            net.sync(node);
        }
        let packets: Vec<_> = net.packets.drain(..).collect();
        for packet in packets {
            let is_pre_vote = matches!(
                decode(&packet.bytes),
                Some(Message::PreVote { .. } | Message::PreVoteGranted { .. })
            );
            if is_pre_vote {
                net.carry(packet);
            }
        }
    }
    assert_eq!(position(&mut net).role, Role::Candidate);
    let asked = net.engine(TWO).ballot().unwrap();
    let refuse = |node| Message::Refuse { ballot: asked, promised: Ballot { round: asked.round, node } };
    deliver(&mut net, ONE, TWO, &refuse(ONE));
    assert_eq!(position(&mut net).role, Role::Candidate, "two acceptors are left, which are a quorum");
    deliver(&mut net, ONE, TWO, &refuse(ONE));
    assert_eq!(position(&mut net).role, Role::Candidate, "the same acceptor");
    deliver(&mut net, THREE, TWO, &refuse(ONE));
    assert_eq!(position(&mut net).role, Role::Follower);
}

#[test]
fn a_change_that_was_made_is_not_made_again() {
    let mut net = led();
    for change in [Change::Add { node: NodeId(4), address: "host4:1".into() }, Change::Remove(NodeId(4))] {
        assert!(net.engine(ONE).change(change).is_ok_and(|made| made.is_some()));
        net.drain(ONE);
        net.settle();
        net.tick();
        net.settle();
    }
    let members = net.engine(TWO).members().clone();
    assert_eq!(members.nodes.len(), 3);
    net.crash(TWO, 0);
    net.trace = Some(Vec::new());
    net.start(TWO);
    net.propose(ONE, "b").unwrap();
    for _ in 0..4 {
        net.settle();
        net.tick();
    }
    assert_eq!(net.engine(TWO).members(), &members);
    let lines = net.trace.take().unwrap();
    assert!(lines.iter().any(|line| line.starts_with("2 commits")), "the log is emitted again");
    assert!(!lines.iter().any(|line| line.contains("has the members")), "{lines:?}");
}

#[test]
fn a_leader_steps_down_an_election_timeout_after_its_last_quorum() {
    let mut net = led();
    net.cut.insert(ONE);
    let leader = net.elect();
    assert!(leader != ONE && net.engine(leader).ticks > 11, "it leads since a later tick");
    net.cut.clear();
    for _ in 0..20 {
        net.tick();
        net.settle();
    }
    assert!(net.engine(leader).is_leader());
    net.cut = [ONE, TWO, THREE].into();
    let mut ticks = 0;
    while net.engine(leader).is_leader() {
        net.tick();
        net.settle();
        ticks += 1;
        assert!(ticks <= 12, "it still leads");
    }
    assert!(ticks >= 8, "{ticks} ticks");
}

#[test]
fn a_leader_resumes_when_its_successor_does_not_lead() {
    let mut net = led();
    for _ in 0..20 {
        net.tick();
        net.settle();
    }
    net.slow.insert(TWO);
    net.propose(ONE, "b").unwrap();
    net.settle();
    assert_eq!(net.engine(ONE).change(Change::Lead(TWO)), Ok(None));
    for tick in 1..10 {
        net.tick();
        net.settle();
        assert!(!net.engine(ONE).is_leader(), "{tick} ticks");
    }
    net.tick();
    assert!(net.engine(ONE).is_leader(), "an election timeout has passed");
}

#[test]
fn one_change_of_members_is_made_at_a_time() {
    let mut net = led();
    net.slow = [ONE, TWO, THREE].into();
    let add = |node: u64| Change::Add { node: NodeId(node), address: std::format!("host{node}:1") };
    assert!(net.engine(ONE).change(add(4)).is_ok_and(|slot| slot.is_some()));
    assert_eq!(net.engine(ONE).change(add(5)), Err(ChangeError::UnderWay));
    assert_eq!(net.engine(ONE).change(Change::Lead(TWO)), Ok(None));
}

#[test]
fn a_lost_connection_matters_to_the_leader_and_its_followers() {
    let mut net = led();
    let is_probing = |net: &mut Net| match &net.engine(ONE).position {
        crate::engine::Position::Leading(leader) => leader.deliveries[&TWO].is_probing(),
        _ => panic!("node 1 leads"),
    };
    assert!(!is_probing(&mut net));
    net.engine(ONE).handle(Input::Lost(TWO));
    assert!(is_probing(&mut net), "messages in flight may be lost");
    net.engine(TWO).handle(Input::Lost(THREE));
    assert_eq!(net.engine(TWO).leader(), Some(ONE), "another follower was lost");
    net.engine(TWO).handle(Input::Lost(ONE));
    assert_eq!(net.engine(TWO).leader(), None);
}

#[test]
fn only_the_node_of_a_ballot_speaks_for_it() {
    let mut net = led();
    let round = net.engine(ONE).standing().term;
    let ballot = Ballot { round, node: ONE };
    net.cut.insert(TWO);
    net.propose(ONE, "b").unwrap();
    net.settle();
    let (end, decided) = (net.end(TWO), net.engine(TWO).standing().committed);
    let forged =
        Message::Accept { ballot, after: end, values: vec![value(end.slot.0 + 1, round.0, 1)], decided };
    deliver(&mut net, THREE, TWO, &forged);
    assert_eq!(net.end(TWO), end, "an Accept of another node");
    deliver(&mut net, ONE, TWO, &forged);
    assert_eq!(net.end(TWO).slot, end.slot.next());
    net.sync(TWO);
    let last = end.slot.next();
    deliver(&mut net, THREE, TWO, &Message::Decision { ballot, decided: last });
    deliver(&mut net, THREE, TWO, &Message::Heartbeat { ballot, decided: last, sequence: 1 });
    assert_eq!(net.engine(TWO).standing().committed, decided, "a decision of another node");
    let later = Ballot { round: Term(round.0 + 1), node: ONE };
    deliver(&mut net, THREE, TWO, &Message::Prepare { ballot: later });
    deliver(&mut net, THREE, TWO, &Message::TransferLeadership { ballot });
    assert_eq!(net.engine(TWO).standing().term, round, "a Prepare of another node");
}

#[test]
fn a_replica_without_admission_has_no_vote() {
    let mut net = led();
    net.damage(TWO, 1);
    net.start(TWO);
    assert!(!net.engine(TWO).may_vote() && net.engine(THREE).may_vote());
    let message = Message::Prepare { ballot: ballot(3, 1) };
    assert_eq!(crate::describe(&encode(&message)).map(|it| it.text.is_empty()), Some(false));
}
