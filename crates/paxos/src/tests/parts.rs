//! The parts of a replica one by one, at their limits: the values in memory, the disk, deliveries, reads, and
//! timeouts.

use std::vec;
use std::vec::Vec;

use bezant_consensus::{Change, EntryKind, LogEntry, Members, ReadNumber, Vote, WriteNumber};
use bezant_types::{LogIndex, NodeId, Term};
use bytes::Bytes;

use super::net::first_members;
use crate::ballot::{Ballot, Mark};
use crate::delivery::Delivery;
use crate::disk::{After, Disk};
use crate::message::Message;
use crate::reads::{ReadRequest, Reads};
use crate::requester::Requester;
use crate::timeouts::Timeouts;
use crate::values::Values;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

/// Bytes of values that stay in memory although a checkpoint covers them.
const RETAINED: usize = 32 << 20;

pub(super) const fn slot(slot: u64) -> LogIndex {
    LogIndex(slot)
}

pub(super) const fn mark(slot: u64, round: u64) -> Mark {
    Mark::new(LogIndex(slot), Term(round))
}

pub(super) const fn ballot(round: u64, node: u64) -> Ballot {
    Ballot { round: Term(round), node: NodeId(node) }
}

pub(super) fn value(slot: u64, round: u64, size: usize) -> LogEntry {
    let payload = Bytes::from(vec![7; size]);
    LogEntry { index: LogIndex(slot), term: Term(round), kind: EntryKind::Command, payload }
}

fn removal(slot: u64) -> LogEntry {
    let payload = crate::change::payload(&Change::Remove(TWO));
    LogEntry { index: LogIndex(slot), term: Term(3), kind: EntryKind::Engine, payload }
}

/// After the checkpoint 10@2: the values 11 and 12 of round 3, 13 and 14 of round 5, 15 of round 6.
pub(super) fn values() -> Values {
    let log = [(11, 3), (12, 3), (13, 5), (14, 5), (15, 6)].map(|(slot, round)| value(slot, round, 100));
    Values::new(mark(10, 2), log.into()).unwrap()
}

#[test]
fn values_begin_after_their_checkpoint() {
    let values = values();
    assert_eq!(
        (values.before(), values.checkpoint(), values.last()),
        (mark(10, 2), mark(10, 2), mark(15, 6))
    );
    let marks = [9, 10, 11, 15, 16].map(|at| values.mark(slot(at)));
    assert_eq!(marks, [None, Some(mark(10, 2)), Some(mark(11, 3)), Some(mark(15, 6)), None]);
    assert!(values.entry(slot(10)).is_none() && values.entry(slot(16)).is_none());
    assert_eq!(values.entry(slot(12)).map(|it| it.index), Some(slot(12)));
    assert!(values.holds(mark(13, 5)) && !values.holds(mark(13, 4)) && !values.holds(mark(16, 6)));
}

#[test]
fn the_place_where_two_logs_may_be_equal() {
    let values = values();
    let cases = [
        // The mark of another log, and the last slot here that may be equal.
        (mark(20, 9), 15),
        (mark(20, 6), 15),
        (mark(20, 5), 14),
        (mark(20, 4), 12),
        (mark(20, 2), 10),
        (mark(20, 1), 9),
        (mark(14, 9), 14),
        (mark(13, 5), 13),
        (mark(13, 4), 12),
        (mark(10, 2), 10),
        (mark(10, 1), 9),
        (mark(11, 1), 9),
        (mark(9, 1), 9),
        (mark(7, 2), 7),
    ];
    for (other, expected) in cases {
        assert_eq!(values.last_until(other), slot(expected), "{other}");
    }
    let empty = Values::new(mark(0, 0), Vec::new()).unwrap();
    assert_eq!(empty.last_until(mark(5, 3)), slot(0));
}

#[test]
fn a_batch_has_one_value_or_as_many_as_fit() {
    let values = values();
    let size = 100 + size_of::<LogEntry>();
    let batch = |first, size_max| values.batch(slot(first), size_max).len();
    assert_eq!([batch(11, usize::MAX), batch(13, usize::MAX), batch(15, usize::MAX)], [5, 3, 1]);
    assert_eq!([batch(11, 2 * size), batch(11, 2 * size - 1), batch(11, 0)], [2, 1, 1]);
    assert_eq!([batch(16, size), batch(9, size)], [0, 0]);
}

#[test]
fn a_log_with_gaps_or_decreasing_rounds_is_not_ours() {
    let log = |marks: &[(u64, u64)]| {
        let entries = marks.iter().map(|(slot, round)| value(*slot, *round, 1)).collect();
        Values::new(mark(10, 2), entries).is_some()
    };
    assert!(log(&[]) && log(&[(11, 2)]) && log(&[(11, 3), (12, 3)]));
    assert!(!log(&[(12, 3)]) && !log(&[(10, 3)]) && !log(&[(11, 3), (13, 3)]));
    assert!(!log(&[(11, 1)]) && !log(&[(11, 3), (12, 2)]));
    assert!(Values::new(mark(10, 2), vec![value(11, 3, 0)]).is_none(), "no command is empty");
}

#[test]
fn released_values_stay_while_they_are_small() {
    let size = RETAINED / 4 - size_of::<LogEntry>();
    let large =
        |slots: core::ops::RangeInclusive<u64>| slots.map(|at| value(at, 3, size)).collect::<Vec<_>>();
    let mut values = values();
    values.restart(mark(20, 3));
    assert_eq!(
        (values.before(), values.checkpoint(), values.last()),
        (mark(20, 3), mark(20, 3), mark(20, 3))
    );
    values.append(&large(21..=24));
    // Replaced values do not count.
    values.append(&large(22..=24));
    values.release(slot(24), Term(3));
    assert_eq!((values.before(), values.checkpoint()), (mark(20, 3), mark(24, 3)), "all fit");
    values.append(&[value(25, 3, 1)]);
    values.release(slot(24), Term(9));
    assert_eq!((values.before(), values.checkpoint()), (mark(20, 3), mark(24, 3)), "it is not newer");
    values.release(slot(25), Term(3));
    assert_eq!((values.before(), values.checkpoint()), (mark(21, 3), mark(25, 3)), "one value makes space");
    values.append(&large(26..=31));
    values.release(slot(26), Term(3));
    assert_eq!(values.before(), mark(26, 3), "only values that the checkpoint covers");
    values.restart(mark(40, 3));
    values.append(&large(41..=44));
    values.release(slot(44), Term(3));
    assert_eq!(values.before(), mark(40, 3), "a restart forgets the sizes before it");
}

#[test]
fn changes_of_members_are_found_by_their_slots() {
    let mut values = values();
    values.append(&[removal(16), value(17, 6, 1), removal(18)]);
    let after = |values: &Values, at| values.changes_after(slot(at)).map(|it| it.0).collect::<Vec<_>>();
    assert_eq!(after(&values, 0), [16, 18]);
    assert_eq!(
        [after(&values, 15), after(&values, 16), after(&values, 18)],
        [vec![16, 18], vec![18], vec![]]
    );
    values.append(&[value(18, 6, 1)]);
    assert_eq!(after(&values, 0), [16], "the change at 18 was replaced");
    values.append(&[removal(19), value(20, 6, RETAINED)]);
    values.release(slot(16), Term(6));
    assert_eq!((values.before().slot, after(&values, 0)), (slot(16), vec![19]), "16 left the memory");
    values.restart(mark(30, 6));
    assert!(after(&values, 0).is_empty());
}

#[test]
fn a_value_is_durable_when_its_write_is() {
    let mut disk = Disk::new(slot(10));
    assert_eq!(disk.write(None, Vec::new()), None, "there is nothing to write");
    let vote = Some(Vote { term: Term(3), voted_for: TWO });
    let promise = disk.write(vote, Vec::new()).unwrap();
    assert_eq!((promise.number, promise.vote, disk.durable_slot()), (WriteNumber(1), vote, slot(10)));
    let first = disk.write(None, vec![value(11, 3, 1), value(12, 3, 1)]).unwrap();
    assert_eq!((first.number, first.entries.len()), (WriteNumber(2), 2));
    // It replaces the value 12, which is in flight.
    disk.write(None, vec![value(12, 4, 1), value(13, 4, 1)]).unwrap();
    assert_eq!(disk.durable_slot(), slot(10));
    drop(disk.handle_persisted(WriteNumber(1)));
    assert_eq!(disk.durable_slot(), slot(10));
    drop(disk.handle_persisted(WriteNumber(2)));
    assert_eq!(disk.durable_slot(), slot(11), "the value 12 is being replaced");
    drop(disk.handle_persisted(WriteNumber(3)));
    assert_eq!(disk.durable_slot(), slot(13));
    disk.write(None, vec![value(12, 5, 1)]).unwrap();
    assert_eq!(disk.durable_slot(), slot(11), "a durable value is being replaced");
    disk.restart(slot(20));
    drop(disk.handle_persisted(WriteNumber(4)));
    assert_eq!(disk.durable_slot(), slot(20), "the write was of the log before the checkpoint");
}

fn accepted(round: u64, last: u64) -> Message {
    Message::Accepted { ballot: ballot(round, 1), last: slot(last) }
}

#[test]
fn messages_wait_for_the_state_that_they_report() {
    let mut disk = Disk::new(slot(10));
    let promise = |round| Message::Promise { ballot: ballot(round, 1), accepted: mark(1, 1) };
    assert!(disk.hold(After::Everything, ONE, accepted(3, 10)).is_some(), "all of it is durable");
    assert!(disk.hold(After::Promise, ONE, promise(3)).is_some());
    disk.write(None, vec![value(11, 3, 1)]).unwrap();
    assert!(disk.hold(After::Everything, ONE, accepted(3, 11)).is_none());
    assert!(disk.hold(After::Promise, ONE, promise(3)).is_some(), "the write has no promise");
    disk.write(Some(Vote::default()), Vec::new()).unwrap();
    disk.write(Some(Vote::default()), Vec::new()).unwrap();
    assert!(disk.hold(After::Promise, ONE, promise(4)).is_none());
    assert!(disk.handle_vote_durable(WriteNumber(2)).is_empty(), "the promise of the third write is held");
    assert_eq!(disk.handle_vote_durable(WriteNumber(3)), [(ONE, promise(4))]);
    assert!(disk.hold(After::Promise, ONE, promise(4)).is_some());
    assert!(disk.hold(After::Everything, TWO, promise(5)).is_none(), "the value is not durable");
    assert_eq!(disk.handle_persisted(WriteNumber(1)), [(ONE, accepted(3, 11))]);
    assert!(disk.handle_persisted(WriteNumber(2)).is_empty());
    assert_eq!(disk.handle_persisted(WriteNumber(3)), [(TWO, promise(5))]);
}

#[test]
fn held_acceptances_of_one_ballot_are_merged() {
    let refuse = Message::Refuse { ballot: ballot(3, 1), promised: ballot(4, 2) };
    let cases = [
        (ONE, accepted(3, 12), vec![(ONE, accepted(3, 12))]),
        (TWO, accepted(3, 12), vec![(ONE, accepted(3, 11)), (TWO, accepted(3, 12))]),
        (ONE, accepted(4, 12), vec![(ONE, accepted(3, 11)), (ONE, accepted(4, 12))]),
        (ONE, refuse.clone(), vec![(ONE, accepted(3, 11)), (ONE, refuse.clone())]),
    ];
    for (to, second, expected) in cases {
        let mut disk = Disk::new(slot(10));
        disk.write(None, vec![value(11, 3, 1)]).unwrap();
        assert!(disk.hold(After::Everything, ONE, accepted(3, 11)).is_none());
        assert!(disk.hold(After::Everything, to, second).is_none());
        assert_eq!(disk.handle_persisted(WriteNumber(1)), expected);
    }
    // Two messages of other kinds are never merged.
    let mut disk = Disk::new(slot(10));
    disk.write(None, vec![value(11, 3, 1)]).unwrap();
    assert!(disk.hold(After::Everything, ONE, refuse.clone()).is_none());
    assert!(disk.hold(After::Everything, ONE, refuse).is_none());
    assert_eq!(disk.handle_persisted(WriteNumber(1)).len(), 2);
}

/// A delivery to a replica that has promised with everything up to slot 10.
fn delivery() -> Delivery {
    Delivery::new(slot(0), slot(11), true)
}

#[test]
fn a_delivery_has_a_window_of_messages() {
    let mut delivery = delivery();
    assert!(!delivery.is_probing() && !delivery.is_ready(slot(10)) && delivery.is_ready(slot(11)));
    for last in 11..75 {
        assert!(delivery.is_ready(slot(100)), "{last}");
        delivery.handle_sent(slot(last));
        assert_eq!(delivery.next(), slot(last + 1));
    }
    assert!(!delivery.is_ready(slot(100)), "64 messages are in flight");
    delivery.handle_accepted(slot(11));
    assert!(delivery.is_ready(slot(100)));
    assert_eq!((delivery.matched(), delivery.next()), (slot(11), slot(75)));
    delivery.handle_accepted(slot(10));
    assert_eq!(delivery.matched(), slot(11), "an acceptance that is late");
    assert!(!delivery.is_probing());
}

#[test]
fn a_probe_ends_when_it_is_confirmed() {
    let mut delivery = Delivery::new(slot(0), slot(11), false);
    assert!(delivery.is_probing() && delivery.is_ready(slot(0)));
    delivery.handle_sent(slot(10));
    assert_eq!((delivery.next(), delivery.is_ready(slot(100))), (slot(11), false), "one probe at a time");
    delivery.handle_accepted(slot(9));
    assert!(delivery.is_probing(), "the replica confirms less than was asked for");
    delivery.handle_accepted(slot(10));
    assert!(!delivery.is_probing() && delivery.is_ready(slot(100)));
}

#[test]
fn a_missing_slot_moves_the_next_one_back() {
    let case = |matched: u64, next: u64, is_probing: bool, after: u64, guess: u64| {
        let mut delivery = Delivery::new(slot(0), slot(next), true);
        delivery.handle_accepted(slot(matched));
        if is_probing {
            delivery.handle_lost();
            delivery.handle_sent(slot(next - 1));
        }
        delivery.handle_missing(slot(after), slot(guess));
        (delivery.next().0, delivery.is_probing())
    };
    assert_eq!(case(5, 20, false, 12, 8), (9, true));
    assert_eq!(case(5, 20, false, 12, 3), (6, true), "everything up to 5 was accepted");
    assert_eq!(case(5, 20, false, 5, 3), (20, false), "it was accepted since");
    assert_eq!(case(5, 20, false, 6, 3), (6, true));
    assert_eq!(case(5, 20, false, 20, 3), (20, false), "it was not sent yet");
    assert_eq!(case(5, 20, false, 19, 3), (6, true));
    assert_eq!(case(5, 20, false, 12, 12), (20, false), "the guess is no earlier slot");
    assert_eq!(case(5, 20, false, 12, 11), (12, true));
    assert_eq!(case(5, 6, true, 5, 3), (4, true), "the answer to the probe: the disk may have lost data");
    assert_eq!(case(5, 8, true, 5, 3), (8, true), "not the answer to the probe");
    assert_eq!(case(5, 20, true, 12, 3), (6, true), "an answer to an earlier message");
}

#[test]
fn messages_count_as_lost_after_an_unanswered_heartbeat() {
    let mut delivery = delivery();
    delivery.handle_heartbeat();
    delivery.handle_heartbeat();
    assert!(!delivery.is_probing(), "nothing is in flight");
    delivery.handle_sent(slot(11));
    delivery.handle_heartbeat();
    assert!(delivery.is_probing(), "no answer since the last heartbeat");
    let mut answered = self::delivery();
    answered.handle_sent(slot(11));
    answered.handle_sent(slot(12));
    answered.handle_heartbeat();
    assert!(!answered.is_probing(), "the first heartbeat after the message");
    answered.handle_accepted(slot(11));
    answered.handle_heartbeat();
    assert!(!answered.is_probing());
    answered.handle_heartbeat();
    assert!(answered.is_probing() && answered.is_ready(slot(12)));
    let mut offered = self::delivery();
    offered.handle_checkpoint(slot(30));
    assert_eq!((offered.next(), offered.is_probing(), offered.is_ready(slot(50))), (slot(31), true, false));
}

fn request(read: u64) -> ReadRequest {
    ReadRequest { node: TWO, incarnation: 9, read }
}

fn confirmed(reads: &mut Reads, members: &Members) -> Vec<(u64, u64)> {
    reads.take_confirmed(ONE, members).into_iter().map(|(request, slot)| (request.read, slot.0)).collect()
}

#[test]
fn a_read_needs_a_confirmation_that_started_after_it() {
    let members = first_members(3);
    let mut reads = Reads::default();
    assert!(!reads.start_confirmation(), "no read waits");
    reads.add(request(1), Some(slot(10)));
    assert!(reads.start_confirmation());
    assert_eq!(reads.sequence(), 1);
    reads.add(request(2), Some(slot(11)));
    assert!(!reads.start_confirmation(), "one confirmation at a time");
    assert_eq!(confirmed(&mut reads, &members), [], "the leader alone is no quorum");
    reads.handle_reply(TWO, 0);
    assert_eq!(confirmed(&mut reads, &members), [], "a reply to an earlier confirmation");
    reads.handle_reply(TWO, 2);
    assert_eq!(confirmed(&mut reads, &members), [], "no such confirmation was sent");
    reads.handle_reply(TWO, 1);
    assert_eq!(confirmed(&mut reads, &members), [(1, 10)]);
    assert_eq!(confirmed(&mut reads, &members), [], "once");
    assert!(reads.start_confirmation());
    assert_eq!((reads.sequence(), confirmed(&mut reads, &members)), (2, vec![]));
    reads.handle_reply(TWO, 2);
    reads.handle_reply(TWO, 1);
    reads.remove(TWO);
    assert_eq!(confirmed(&mut reads, &members), [], "the replies of a removed node do not count");
    reads.handle_reply(THREE, 2);
    reads.handle_reply(THREE, 1);
    assert_eq!(confirmed(&mut reads, &members), [(2, 11)], "a late reply takes nothing back");
    assert!(!reads.start_confirmation());
}

#[test]
fn early_reads_wait_for_the_first_decision() {
    let members = first_members(1);
    let mut reads = Reads::default();
    reads.add(request(1), None);
    assert!(!reads.start_confirmation());
    reads.handle_first_decision(slot(4));
    assert!(reads.start_confirmation());
    assert_eq!(confirmed(&mut reads, &members), [(1, 4)]);
    let mut full = Reads::default();
    for read in 0..1 << 15 {
        full.add(request(read), None);
        full.add(request(read), Some(slot(1)));
    }
    full.add(request(77), None);
    full.add(request(77), Some(slot(1)));
    full.handle_first_decision(slot(1));
    full.start_confirmation();
    assert_eq!(full.take_confirmed(ONE, &members).len(), 1 << 16, "a read beyond the maximum is dropped");
}

#[test]
fn a_request_is_repeated_until_it_is_answered() {
    let mut requester = Requester::new(9);
    let ask = Message::ReadIndex { incarnation: 9, read: 7 };
    assert_eq!(requester.add(ReadNumber(7)), ask);
    for tick in 1..=11 {
        assert_eq!(requester.handle_tick().len(), usize::from(tick % 5 == 0), "tick {tick}");
    }
    assert_eq!(requester.pending(), [ask]);
    assert_eq!(requester.handle_read_index_reply(8, 7), None, "an earlier incarnation");
    assert_eq!(requester.handle_read_index_reply(9, 8), None, "an unknown read");
    assert_eq!(requester.handle_read_index_reply(9, 7), Some(ReadNumber(7)));
    assert_eq!(requester.handle_read_index_reply(9, 7), None, "a duplicate");
    assert!(requester.pending().is_empty());
}

#[test]
fn timeouts_spread_over_their_ranges() {
    let mut timeouts = Timeouts::new(1, 10, 2);
    assert_eq!((timeouts.election_ticks(), timeouts.heartbeat_ticks()), (10, 2));
    let mut range = |draw: &mut dyn FnMut(&mut Timeouts) -> u64| {
        let drawn: Vec<u64> = (0..2_000).map(|_| draw(&mut timeouts)).collect();
        let most = (0..100).map(|ticks| drawn.iter().filter(|it| **it == ticks).count()).max();
        (drawn.iter().min().copied().unwrap(), drawn.iter().max().copied().unwrap(), most.unwrap())
    };
    let (shortest, longest, most) = range(&mut Timeouts::draw);
    assert_eq!((shortest, longest), (12, 19));
    assert!(most < 350, "{most} of 2000 are equal");
    for (pre_emptions, expected) in [(0, 11), (1, 21), (2, 41), (3, 81), (4, 81), (u32::MAX, 81)] {
        let (shortest, longest, _) = range(&mut |timeouts| timeouts.back_off(pre_emptions));
        assert_eq!((shortest, longest), (2, expected), "after {pre_emptions} pre-emptions");
    }
    assert_eq!([0, 1, 2].map(Timeouts::staggered), [1, 9, 17]);
    // The first values of splitmix64, without their lowest bit.
    let raw = |seed| {
        let mut timeouts = Timeouts::new(seed, u32::MAX, 1);
        (0..2).map(|_| timeouts.draw()).collect::<Vec<u64>>()
    };
    assert_eq!(raw(0), [6_974_050_065, 7_505_006_948]);
    assert_eq!(raw(5), [7_327_980_729, 6_616_698_058]);
}
