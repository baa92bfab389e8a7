//! The roles that agree, and the engine around them, at their limits: acceptor, scout, replica, admission,
//! quorums, the bytes of messages, and what a leader knows of its peers.

use std::vec;
use std::vec::Vec;

use bezant_consensus::{Change, ChangeError, Engine, LogEntry, Members, Part, Role};
use bezant_types::limits::ENTRY_SIZE_MAX;
use bezant_types::{NodeId, Term};
use bytes::Bytes;

use super::net::{Net, first_members};
use super::parts::{ballot, mark, slot, value, values};
use crate::acceptor::Acceptor;
use crate::ballot::{Ballot, Mark};
use crate::bootstrap::Bootstrap;
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
    use crate::quorum::{acceptors, is_acceptor, is_quorum};
    let mut members = first_members(4);
    members.nodes[3].part = Part::Learner;
    assert_eq!(acceptors(&members).collect::<Vec<_>>(), [ONE, TWO, THREE]);
    assert!(
        is_acceptor(&members, THREE)
            && !is_acceptor(&members, NodeId(4))
            && !is_acceptor(&members, NodeId(9))
    );
    let has = |members: &Members, nodes: &[u64]| is_quorum(members, |node| nodes.contains(&node.0));
    members.nodes[0].part = Part::Leaving;
    // Old voters 1 to 3, new voters 2 and 3.
    assert!(has(&members, &[2, 3]) && !has(&members, &[1, 2]) && !has(&members, &[1, 3, 4]));
    let two = first_members(2);
    assert!(has(&two, &[1, 2]) && !has(&two, &[1]), "half is no majority");
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
    net.tick();
    net.settle();
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
    let mut ticks = 0;
    while active(&mut net) == [true, true] {
        net.tick();
        net.settle();
        ticks += 1;
    }
    assert!(ticks == 9 || ticks == 10, "{ticks} ticks");
    assert_eq!(active(&mut net), [false, true]);
    let follows = standing(&mut net, TWO);
    assert!(follows.ticks_since_leader >= ticks && follows.peers.is_empty(), "{follows:?}");
    assert!(!std::format!("{:?}", net.engine(ONE)).is_empty());
}
