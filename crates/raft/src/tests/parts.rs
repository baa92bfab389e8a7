//! The parts of the engine one by one, at their limits: the log in memory, held messages, reads, timeouts,
//! and the messages that a replica must not accept.

use bezant_consensus::{Change, ChangeError, Part, Role, WriteNumber};
use raft::Storage;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use super::*;
use crate::conf::conf_state;
use crate::held::{Held, Written};
use crate::install::{Installing, snapshot, snapshot_message};
use crate::read::Reads;
use crate::tail::Tail;
use crate::timeout::Timeouts;
use crate::wire::{change_in, encode, raft_entry};

/// Bytes of entries that a log in memory keeps although a checkpoint covers them.
const RETAINED: usize = 32 << 20;

pub(super) fn log_entry(index: u64, term: u64, size: usize) -> LogEntry {
    let payload = Bytes::from(vec![7; size]);
    LogEntry { index: LogIndex(index), term: Term(term), kind: EntryKind::Command, payload }
}

fn entries(indexes: std::ops::RangeInclusive<u64>, size: usize) -> Vec<Entry> {
    indexes.map(|index| raft_entry(log_entry(index, 3, size)).unwrap()).collect()
}

/// The entries 11 to 15 of term 3, after a checkpoint of 10 in term 2.
fn tail() -> Tail {
    let log = (11..=15).map(|index| log_entry(index, 3, 100)).collect();
    let vote = Vote { term: Term(4), voted_for: NodeId(2) };
    Tail::new((LogIndex(10), Term(2)), log, vote, options(0, 3, 0).members).unwrap()
}

#[test]
fn a_log_in_memory_begins_after_its_checkpoint() {
    let tail = tail();
    assert_eq!((tail.first_index(), tail.last_index()), (Ok(11), Ok(15)));
    let terms = [9, 10, 11, 15, 16].map(|index| tail.term(index).ok());
    assert_eq!(terms, [None, Some(2), Some(3), Some(3), None]);
    let known = [9, 10, 11, 15, 16].map(|index| tail.term_of(index));
    assert_eq!(known, [None, Some(2), Some(3), Some(3), None]);
    let found = [9, 10, 11, 15, 16].map(|index| tail.entry(index).map(|entry| entry.index));
    assert_eq!(found, [None, None, Some(11), Some(15), None]);
    let range: Vec<u64> = tail.range(12, 14).map(|entry| entry.index).collect();
    assert_eq!(range, [12, 13, 14]);
    let state = tail.initial_state().unwrap();
    assert_eq!((state.hard_state.term, state.hard_state.vote, state.hard_state.commit), (4, 2, 10));
    assert_eq!(state.conf_state.voters, [1, 2, 3]);
}

#[test]
fn entries_of_a_message_have_a_maximum_size() {
    let tail = tail();
    let context = || raft::GetEntriesContext::empty(false);
    let read = |low, high, size: Option<u64>| -> Vec<u64> {
        let entries = tail.entries(low, high, size, context()).unwrap();
        entries.iter().map(|entry| entry.index).collect()
    };
    assert_eq!(read(11, 16, None), [11, 12, 13, 14, 15]);
    assert_eq!(read(12, 14, None), [12, 13], "without the entry at the end");
    // An entry counts as its payload and 64 bytes.
    assert_eq!(read(11, 16, Some(328)), [11, 12], "exactly two fit");
    assert_eq!(read(11, 16, Some(327)), [11]);
    assert_eq!(read(11, 16, Some(0)), [11], "the first is always sent");
    assert!(tail.entries(10, 12, None, context()).is_err(), "the checkpoint has it");
}

#[test]
fn a_snapshot_is_offered_up_to_the_checkpoint() {
    let tail = tail();
    for request in [0, 10] {
        let metadata = tail.snapshot(request, 2).unwrap().take_metadata();
        assert_eq!((metadata.index, metadata.term), (10, 2));
        assert_eq!(metadata.get_conf_state().voters, [1, 2, 3]);
    }
    assert!(tail.snapshot(11, 2).is_err(), "a later entry was asked for");
    let zero = (LogIndex(0), Term(0));
    let new = Tail::new(zero, Vec::new(), Vote::default(), Members::default()).unwrap();
    assert!(new.snapshot(0, 2).is_err(), "there is no checkpoint");
}

#[test]
fn released_entries_stay_while_they_are_small() {
    let size = RETAINED / 4 - size_of::<Entry>();
    // Four entries have exactly the size that is kept.
    let mut full = tail();
    full.restart(20, 3);
    assert_eq!((full.last(), full.term_of(20)), (20, Some(3)));
    full.append(&entries(21..=24, size));
    // Replaced entries do not count.
    full.append(&entries(22..=24, size));
    full.release(24, 3);
    assert_eq!(full.first_index(), Ok(21), "all fit");
    full.append(&entries(25..=25, 1));
    full.release(24, 3);
    assert_eq!(full.first_index(), Ok(21), "the checkpoint is not newer");
    full.release(25, 3);
    assert_eq!((full.first_index(), full.term(21)), (Ok(22), Ok(3)), "one entry makes space");
    assert_eq!(full.snapshot(0, 2).unwrap().get_metadata().index, 25);
    // Only entries in the checkpoint are dropped, however large the log is.
    full.append(&entries(26..=31, size));
    full.release(26, 3);
    assert_eq!(full.first_index(), Ok(27));
    full.restart(40, 3);
    full.append(&entries(41..=44, size));
    full.release(44, 3);
    assert_eq!(full.first_index(), Ok(41), "a restart forgets the sizes before it");
}

fn message(kind: MessageType, index: u64) -> Message {
    let mut message = Message { to: 2, term: 3, index, ..Message::default() };
    message.set_msg_type(kind);
    message
}

fn kinds(messages: &[Message]) -> Vec<(MessageType, u64, u64)> {
    messages.iter().map(|it| (it.get_msg_type(), it.to, it.index)).collect()
}

#[test]
fn only_messages_that_report_entries_wait_for_them() {
    let waits = [
        MessageType::MsgAppend,
        MessageType::MsgHeartbeat,
        MessageType::MsgRequestVote,
        MessageType::MsgRequestPreVote,
        MessageType::MsgAppendResponse,
    ];
    let leaves = [
        MessageType::MsgRequestVoteResponse,
        MessageType::MsgRequestPreVoteResponse,
        MessageType::MsgHeartbeatResponse,
        MessageType::MsgReadIndex,
    ];
    for (kinds, count) in [(&waits[..], 0), (&leaves[..], 1)] {
        for kind in kinds {
            let mut held = Held::default();
            held.push(1, Written::Entries, vec![message(*kind, 7)]);
            assert_eq!(held.free_unwritten().messages.len(), count, "{kind:?}");
            assert_eq!(held.free(WriteNumber(1)).messages.len(), 1 - count, "{kind:?}");
        }
    }
    let mut held = Held::default();
    let response = MessageType::MsgAppendResponse;
    let rejection = Message { reject: true, ..message(response, 7) };
    held.push(1, Written::Entries, vec![rejection, message(response, 0)]);
    assert_eq!(held.free_unwritten().messages.len(), 2, "neither confirms an entry");
}

#[test]
fn a_confirmation_replaces_only_an_earlier_one_to_the_same_leader() {
    let response = MessageType::MsgAppendResponse;
    let pairs = [
        (message(response, 8), vec![8]),
        (message(response, 7), vec![7]),
        (message(response, 6), vec![7]),
        (Message { to: 3, ..message(response, 8) }, vec![7, 8]),
        (Message { term: 4, ..message(response, 8) }, vec![7, 8]),
        (message(MessageType::MsgAppend, 8), vec![7, 8]),
    ];
    for (second, expected) in pairs {
        let mut held = Held::default();
        held.push(1, Written::Entries, vec![message(response, 7), second.clone()]);
        let freed = held.free(WriteNumber(1));
        let indexes: Vec<u64> = freed.messages.iter().map(|it| it.index).collect();
        assert_eq!(indexes, expected, "{second:?}");
    }
}

#[test]
fn a_step_without_a_write_waits_for_the_steps_before_it() {
    let mut held = Held::default();
    let append = MessageType::MsgAppend;
    held.push(1, Written::Nothing, vec![message(append, 1)]);
    let freed = held.free_unwritten();
    assert_eq!((freed.step, kinds(&freed.messages)), (Some(1), vec![(append, 2, 1)]));
    held.push(2, Written::Entries, vec![message(append, 2)]);
    held.push(3, Written::Nothing, vec![message(append, 3)]);
    held.push(4, Written::Entries, vec![message(append, 4)]);
    assert_eq!(held.free_unwritten().step, None);
    let freed = held.free(WriteNumber(2));
    assert_eq!((freed.step, kinds(&freed.messages)), (Some(3), vec![(append, 2, 2), (append, 2, 3)]));
    assert_eq!(held.free(WriteNumber(3)).step, None);
    assert_eq!(held.free(WriteNumber(4)).step, Some(4));
}

#[test]
fn a_checkpoint_in_transfer_suspends_only_the_log() {
    let fetching = Installing::Yes(LogIndex(5));
    let suspended = [MessageType::MsgAppend, MessageType::MsgSnapshot];
    for kind in suspended {
        assert!(
            fetching.ignores(&message(kind, 1)) && !Installing::No.ignores(&message(kind, 1)),
            "{kind:?}"
        );
    }
    for kind in [MessageType::MsgHeartbeat, MessageType::MsgRequestVote] {
        assert!(
            !fetching.ignores(&message(kind, 1)) && !Installing::No.ignores(&message(kind, 1)),
            "{kind:?}"
        );
    }
    let members = conf_state(&options(0, 3, 0).members);
    let made = snapshot_message(NodeId(2), 3, 7, (LogIndex(60), Term(5)), members.clone());
    assert_eq!((made.to, made.from, made.term), (2, 3, 7));
    assert_eq!(made.get_msg_type(), MessageType::MsgSnapshot);
    assert_eq!(made.get_snapshot(), &snapshot((LogIndex(60), Term(5)), members.clone()));
    let metadata = made.get_snapshot().get_metadata();
    assert_eq!((metadata.index, metadata.term, metadata.get_conf_state()), (60, 5, &members));
}

#[test]
fn a_read_is_asked_again_until_it_is_answered() {
    let mut reads = Reads::new(NodeId(2), 9);
    let first = reads.ask(ReadNumber(7));
    assert_eq!(first, [2_u64, 9, 7].map(u64::to_le_bytes).concat());
    for tick in 1..=11 {
        let again = reads.tick();
        assert_eq!(again.len(), usize::from(tick % 5 == 0), "tick {tick}");
        assert!(again.iter().all(|context| *context == first));
    }
    assert_eq!(reads.ask_again(), std::slice::from_ref(&first));
    let other = |node: u64, incarnation: u64| [node, incarnation, 7].map(u64::to_le_bytes).concat();
    assert_eq!(reads.answer(&other(3, 9)), None, "a read of another node");
    assert_eq!(reads.answer(&other(2, 8)), None, "a read of an earlier incarnation");
    assert_eq!(reads.answer(&[]), None);
    assert_eq!(reads.answer(&first), Some(ReadNumber(7)));
    assert_eq!(reads.answer(&first), None, "an answer that is duplicated");
    assert!(reads.ask_again().is_empty());
}

#[test]
fn election_timeouts_spread_over_their_range() {
    let mut timeouts = Timeouts::new(1, 10, 2);
    let drawn: Vec<usize> = (0..1_000).map(|_| timeouts.draw()).collect();
    let different: BTreeSet<usize> = drawn.iter().copied().collect();
    assert_eq!(
        different,
        (12..20).collect(),
        "from one heartbeat after the minimum to below twice the minimum"
    );
    let most = different.iter().map(|ticks| drawn.iter().filter(|it| *it == ticks).count()).max();
    assert!(most.is_some_and(|most| most < 200), "{most:?} of 1000 are equal");
    let sequence = |seed| {
        let mut timeouts = Timeouts::new(seed, 1_000, 1);
        (0..8).map(|_| timeouts.draw()).collect::<Vec<usize>>()
    };
    // xorshift64* of the seed, above the shortest timeout.
    let raw = |seed| {
        let mut timeouts = Timeouts::new(seed, 2_147_483_647, 1);
        [timeouts.draw(), timeouts.draw(), timeouts.draw()]
    };
    assert_eq!(raw(0), [2_923_664_597, 3_162_562_895, 2_154_266_896]);
    assert_eq!(raw(5), [2_662_328_242, 3_459_665_555, 2_744_172_863]);
    assert_ne!(sequence(4), sequence(5), "seeds that differ in one bit");
    assert_ne!(sequence(0), sequence(1));
    assert_eq!(Timeouts::new(1, 3, 9).draw(), 5, "a heartbeat interval that is too long");
    assert_eq!([0, 1, 2].map(Timeouts::after_loss), [1, 9, 17], "voters start elections one after another");
}

#[test]
fn only_entries_of_the_engine_are_changes() {
    let change = Change::Remove(NodeId(2));
    let mut net = Net::new(3);
    let leader = net.elect();
    let removed = NodeId((leader as u64 + 1) % 3 + 1);
    let removes = Change::Remove(removed);
    let index = net.replicas[leader].engine.change(removes.clone()).unwrap().unwrap();
    net.settle();
    let entry = net.replicas[leader].log.iter().find(|entry| entry.index == index).unwrap().clone();
    assert_eq!(change_in(&entry), Some(removes));
    assert_eq!(change_in(&LogEntry { kind: EntryKind::Command, ..entry.clone() }), None);
    assert_eq!(change_in(&LogEntry { payload: Bytes::new(), ..entry.clone() }), None);
    assert_eq!(
        change_in(&LogEntry { payload: change.encode(), ..entry }),
        None,
        "not the form of the engine"
    );
}

impl Net {
    /// raft-rs must have the same configuration as the members of every replica.
    fn check_configurations(&self, after: &str) {
        for (at, replica) in self.replicas.iter().enumerate() {
            let engine = &replica.engine;
            let sorted = |mut state: raft::eraftpb::ConfState| {
                state.voters.sort_unstable();
                state.voters_outgoing.sort_unstable();
                state.learners.sort_unstable();
                state
            };
            let held = sorted(engine.raw.raft.prs().conf().to_conf_state());
            assert_eq!(held, sorted(conf_state(engine.members())), "replica {at} after {after}");
        }
    }
}

#[test]
fn both_halves_of_a_change_have_the_same_effect() {
    let mut net = Net::new(3);
    let leader = net.elect();
    let number = |at: usize| NodeId(at as u64 + 1);
    let address = |node: u64| format!("host{node}:1");
    let changes = [
        Change::Add { node: NodeId(4), address: address(4) },
        Change::Add { node: NodeId(5), address: address(5) },
        Change::Meet { node: NodeId(4), disk: 4 },
        Change::Meet { node: number(leader), disk: 9 },
        Change::Meet { node: number((leader + 1) % 3), disk: 8 },
        Change::Remove(NodeId(5)),
        Change::Remove(number((leader + 1) % 3)),
        Change::Add { node: NodeId(6), address: address(6) },
    ];
    let mut first = conf_state(net.replicas[leader].engine.members());
    first.voters.sort_unstable();
    assert_eq!((first.voters, first.learners.len(), first.voters_outgoing.len()), (vec![1, 2, 3], 0, 0));
    for change in changes {
        let made = net.replicas[leader].engine.change(change.clone());
        net.settle();
        net.tick();
        net.tick();
        assert!(made.is_ok_and(|index| index.is_some()), "{change:?}");
        assert!(!net.replicas[leader].engine.members().is_changing(), "{change:?}");
        net.check_configurations(&format!("{change:?}"));
    }
    let members = net.replicas[leader].engine.members().clone();
    let parts: Vec<(u64, Part)> = members.nodes.iter().map(|member| (member.node.0, member.part)).collect();
    assert_eq!(parts.iter().filter(|(_, part)| *part == Part::Voter).count(), 2, "{parts:?}");
    assert!(parts.ends_with(&[(4, Part::Learner), (6, Part::Learner)]), "{parts:?}");
    assert_eq!(members.get(number(leader)).map(|member| member.disk), Some(9));
}

#[test]
fn a_node_that_lags_too_far_may_not_lead() {
    let mut net = Net::new(3);
    let leader = net.elect();
    assert!(net.replicas[leader].engine.may_vote());
    for _ in 0..5 {
        net.propose(leader, b"x");
        net.tick();
    }
    let other = (leader + 1) % 3;
    let node = NodeId(other as u64 + 1);
    net.slow = [other].into();
    for _ in 0..256 {
        net.propose(leader, b"x");
    }
    net.propose(leader, b"x");
    assert_eq!(net.replicas[leader].engine.change(Change::Lead(node)), Err(ChangeError::Lagging(257)));
    net.slow.clear();
    net.settle();
    net.slow = [other].into();
    for _ in 0..256 {
        net.propose(leader, b"x");
    }
    assert_eq!(net.replicas[leader].engine.change(Change::Lead(node)), Ok(None), "256 entries are few");
    assert!(!net.replicas[leader].engine.is_leader(), "it transfers the leadership");
    assert_eq!(net.replicas[leader].engine.propose(Bytes::from_static(b"y")), None);
    let refused = net.replicas[leader].engine.change(Change::Remove(node));
    assert_eq!(refused, Err(ChangeError::NotLeading));
}

#[test]
fn a_leader_knows_which_peers_are_active() {
    let mut net = Net::new(3);
    let leader = net.elect();
    let index = net.propose(leader, b"x");
    net.tick();
    net.tick();
    let (away, near) = ((leader + 1) % 3, (leader + 2) % 3);
    let number = |at: usize| NodeId(at as u64 + 1);
    let active = |net: &Net| -> Vec<(NodeId, bool)> {
        let standing = net.replicas[leader].engine.standing();
        assert!(standing.peers.iter().all(|peer| peer.matched == index), "{:?}", standing.peers);
        standing.peers.iter().map(|peer| (peer.node, peer.is_active)).collect()
    };
    let mut both = vec![(number(away), true), (number(near), true)];
    both.sort();
    assert_eq!(active(&net), both, "in order of their numbers, without the leader");
    // Heartbeats are sent at every second tick. After a heartbeat, the peer that answered it is cut off.
    while net.replicas[leader].engine.raw.raft.heartbeat_elapsed() != 0 {
        net.tick();
    }
    net.cut = [away].into();
    for tick in 1..10 {
        net.tick();
        assert_eq!(active(&net), both, "{tick} ticks");
    }
    net.tick();
    let inactive: Vec<(NodeId, bool)> = both.iter().map(|(node, _)| (*node, *node != number(away))).collect();
    assert_eq!(active(&net), inactive, "ten ticks are the minimum of an election timeout");
    let follower = net.replicas[away].engine.standing();
    assert!(follower.ticks_since_leader == 10 && follower.peers.is_empty(), "{follower:?}");
    let standing = net.replicas[leader].engine.standing();
    assert_eq!((standing.role, standing.ticks_since_leader), (Role::Leader, 0));
    assert_eq!(
        (standing.leader, standing.committed, standing.announced),
        (Some(number(leader)), index, index)
    );
}

#[test]
fn messages_with_a_wrong_sender_or_receiver_are_dropped() {
    let mut net = Net::new(3);
    let leader = net.elect();
    net.tick();
    let term = net.replicas[leader].engine.standing().term.0;
    let itself = leader as u64 + 1;
    let peer = (leader as u64 + 1) % 3 + 1;
    let append = |from: u64, to: u64| {
        let mut message = Message { from, to, term: term + 5, ..Message::default() };
        message.set_msg_type(MessageType::MsgAppend);
        encode(&message)
    };
    for bytes in [append(peer, peer), append(itself, itself)] {
        net.replicas[leader].engine.handle(Input::Message { from: NodeId(peer), bytes });
        assert_eq!(net.replicas[leader].engine.standing().term.0, term);
    }
    let mut proposal = Message { from: peer, to: itself, term, ..Message::default() };
    proposal.set_msg_type(MessageType::MsgPropose);
    proposal.mut_entries().push(Entry { data: Bytes::from_static(b"forged"), ..Entry::default() });
    let bytes = encode(&proposal);
    net.replicas[leader].engine.handle(Input::Message { from: NodeId(peer), bytes });
    net.settle();
    assert!(net.replicas[leader].log.iter().all(|entry| entry.payload != "forged"));
    let bytes = append(peer, itself);
    net.replicas[leader].engine.handle(Input::Message { from: NodeId(peer), bytes });
    assert_eq!(net.replicas[leader].engine.standing().term.0, term + 5, "a later leader");
}

#[test]
fn a_heartbeat_may_announce_more_than_this_log_has() {
    let mut engine = Raft::new(&options(0, 3, 0), EngineState::default()).unwrap();
    let mut heartbeat = Message { from: 2, to: 1, term: 1, commit: 50, ..Message::default() };
    heartbeat.set_msg_type(MessageType::MsgHeartbeat);
    engine.handle(Input::Message { from: NodeId(2), bytes: encode(&heartbeat) });
    let standing = engine.standing();
    assert_eq!((standing.committed, standing.announced), (LogIndex(0), LogIndex(50)));
    assert_eq!((standing.role, standing.leader), (Role::Follower, Some(NodeId(2))));
    engine.handle(Input::Tick);
    assert_eq!(engine.standing().ticks_since_leader, 1);
    let earlier = Message { term: 0, commit: 60, ..heartbeat };
    engine.handle(Input::Message { from: NodeId(2), bytes: encode(&earlier) });
    assert_eq!(engine.standing().announced, LogIndex(50), "a leader of an earlier term announces nothing");
    assert!(!format!("{engine:?}").is_empty());
}

#[test]
fn an_entry_of_another_type_is_no_message() {
    let mut append = Message { from: 2, to: 1, term: 1, ..Message::default() };
    append.set_msg_type(MessageType::MsgAppend);
    let mut entry = Entry { index: 1, term: 1, data: Bytes::from_static(b"x"), ..Entry::default() };
    append.mut_entries().push(entry.clone());
    assert!(crate::wire::decode(&encode(&append)).is_some());
    entry.set_entry_type(EntryType::EntryConfChange);
    append.mut_entries().push(entry);
    assert!(crate::wire::decode(&encode(&append)).is_none());
}
