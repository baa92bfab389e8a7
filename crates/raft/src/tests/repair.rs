//! A replica lost entries that it had confirmed, and its disk recorded the loss. So it moved out of its term,
//! and may not vote.

use raft::eraftpb::{Message, MessageType};

use super::*;
use crate::wire::{encode, raft_entry};

impl Net {
    /// The disk of a replica was damaged and repaired: the first `left` entries remain.
    fn repair(&mut self, at: usize, left: usize) {
        let old = &mut self.replicas[at];
        old.log.truncate(left);
        let term = Term(old.vote.unwrap_or_default().term.0 + 1);
        old.vote = Some(Vote { term, voted_for: NodeId(0) });
        self.restart_as(at, 7, false);
    }

    fn restart_as(&mut self, at: usize, incarnation: u64, may_vote: bool) {
        let old = &self.replicas[at];
        let (log, vote) = (old.log.clone(), old.vote);
        let state = EngineState { vote, entries: log.clone(), ..EngineState::default() };
        let options = EngineOptions { may_vote, ..options(at, self.replicas.len(), incarnation) };
        let engine = Raft::new(&options, state).unwrap();
        self.replicas[at] = Replica { vote, log, ..Replica::new(engine) };
    }

    /// Delivers the pending messages of one replica, and drops the rest; its responses are not delivered.
    fn deliver_to(&mut self, to: usize) {
        for (from, receiver, bytes) in std::mem::take(&mut self.messages) {
            if receiver == to {
                let from = NodeId(from as u64 + 1);
                self.replicas[to].engine.handle(Input::Message { from, bytes });
            }
        }
        self.drain(to);
        while let Some(write) = self.replicas[to].unsynced.pop_front() {
            self.replicas[to].write(write);
            self.drain(to);
        }
    }
}

#[test]
fn a_repaired_replica_regains_its_entries_and_its_vote() {
    for left in 0..=3 {
        let mut net = Net::new(3);
        let leader = net.elect();
        for payload in [b"a", b"b", b"c"] {
            net.propose(leader, payload);
        }
        let lost = (leader + 1) % 3;
        net.repair(lost, left);
        for _ in 0..80 {
            net.tick();
        }
        assert_eq!(commands(&net.replicas[lost]), [b"a", b"b", b"c"], "{left} entries were left");
        assert!(net.replicas[lost].has_caught_up);
        net.replicas[lost].engine.handle(Input::Admit);
        let leader = net.elect();
        assert_ne!(leader, lost);
        net.cut = [leader].into();
        net.elect();
    }
}

#[test]
fn a_leader_that_lost_entries_is_replaced() {
    let mut net = Net::new(3);
    let leader = net.elect();
    net.propose(leader, b"a");
    net.repair(leader, 1);
    let new = net.elect();
    assert_ne!(new, leader);
    net.propose(new, b"b");
    for _ in 0..20 {
        net.tick();
    }
    assert_eq!(commands(&net.replicas[leader]), [b"a", b"b"]);
}

#[test]
fn a_confirmation_that_arrives_after_the_loss_loses_no_entry() {
    let mut net = Net::new(3);
    let leader = net.elect();
    let (lost, other) = ((leader + 1) % 3, (leader + 2) % 3);
    net.propose(leader, b"a");
    net.cut = [other].into();
    net.replicas[leader].engine.propose(Bytes::from_static(b"b")).unwrap();
    net.drain(leader);
    while let Some(write) = net.replicas[leader].unsynced.pop_front() {
        net.replicas[leader].write(write);
    }
    net.drain(leader);
    net.deliver_to(lost);
    let left = net.replicas[lost].log.len() - 1;
    net.repair(lost, left);
    // Now its confirmation arrives, of an entry that it has lost since. Together with the leader's disk this
    // makes a majority.
    net.deliver_to(leader);
    assert_eq!(commands(&net.replicas[leader]), [b"a", b"b"], "a client may have received an answer");
    net.messages.clear();
    net.cut = [leader].into();
    for _ in 0..200 {
        net.tick();
        assert_eq!(net.leader(), None, "neither of the other two has the entry");
    }
    net.cut.clear();
    net.elect();
    for _ in 0..80 {
        net.tick();
    }
    for replica in &net.replicas {
        assert_eq!(commands(replica).last(), Some(&&b"b"[..]));
    }
    assert!(net.replicas[lost].has_caught_up);
}

#[test]
fn a_confirmation_from_before_the_loss_does_not_count() {
    let mut net = Net::new(3);
    let leader = net.elect();
    let (lost, other) = ((leader + 1) % 3, (leader + 2) % 3);
    net.propose(leader, b"a");
    net.cut = [other].into();
    net.slow = [leader].into();
    net.propose(leader, b"b");
    assert_eq!(commands(&net.replicas[leader]), [b"a"], "the entry is on one disk only");
    let left = net.replicas[lost].log.len() - 1;
    net.repair(lost, left);
    net.replicas[leader].engine.propose(Bytes::from_static(b"c"));
    for _ in 0..8 {
        net.tick();
        if net.replicas[lost].has_caught_up {
            net.replicas[lost].engine.handle(Input::Admit);
        }
    }
    // Now the entry is on the leader's own disk. That would be a majority if the leader still counted the
    // other replica's confirmation.
    net.slow.clear();
    net.settle();
    let is_answered = commands(&net.replicas[leader]).len() > 1;
    net.cut = [leader].into();
    for _ in 0..200 {
        net.tick();
        let is_lost = is_answered && net.leader().is_some();
        assert!(!is_lost, "neither of the other two has an entry that was answered");
    }
}

#[test]
fn a_new_leader_admits_only_after_its_own_first_entry() {
    let mut net = Net::new(3);
    let leader = net.elect();
    let payload: &'static [u8] = vec![7; 1 << 20].leak();
    let mut last = LogIndex(0);
    for _ in 0..4 {
        last = net.propose(leader, payload);
    }
    let lost = (leader + 1) % 3;
    for at in (0..3).filter(|at| *at != lost) {
        net.restart_as(at, 1, true);
    }
    net.repair(lost, 1);
    for _ in 0..80 {
        net.tick();
    }
    let caught_up_with = net.replicas[lost].caught_up_with.unwrap();
    assert!(caught_up_with > last, "{caught_up_with:?}: an entry of the new leader follows {last:?}");
}

#[test]
fn a_checkpoint_of_a_later_term_advances_the_term() {
    let mut net = Net::new(3);
    let leader = net.elect();
    let away = (leader + 1) % 3;
    let (index, term) = net.outrun(leader, away);
    assert_eq!(net.replicas[away].installs.len(), 1);
    assert_eq!(net.replicas[away].vote.unwrap().term, term);
    // The replica receives a checkpoint of a later leader.
    let later = Term(term.0 + 3);
    let members = net.replicas[leader].engine.members().clone();
    net.cut = [away].into();
    net.replicas[away].engine.handle(Input::Installed { index: index.next(), term: later, members });
    net.replicas[away].log.clear();
    net.settle();
    assert_eq!(net.replicas[away].engine.standing().term, later);
    assert_eq!(net.replicas[away].vote, Some(Vote { term: later, voted_for: NodeId(0) }));
}

#[test]
fn an_unwritten_term_is_written_with_the_next_entry() {
    let vote = Some(Vote { term: Term(1), voted_for: NodeId(1) });
    let state = EngineState { vote, checkpoint: (LogIndex(5), Term(2)), ..EngineState::default() };
    let mut engine = Raft::new(&options(2, 3, 0), state).unwrap();
    assert_eq!(engine.standing().term, Term(2));
    let entry = LogEntry { index: LogIndex(6), term: Term(2), kind: EntryKind::Command, payload: "z".into() };
    let mut append = Message { from: 2, to: 3, term: 2, index: 5, log_term: 2, ..Message::default() };
    append.set_msg_type(MessageType::MsgAppend);
    append.set_entries(vec![raft_entry(entry).unwrap()].into());
    engine.handle(Input::Message { from: NodeId(2), bytes: encode(&append) });
    let writes: Vec<Write> = std::iter::from_fn(|| engine.poll())
        .filter_map(|output| if let Output::Persist(write) = output { Some(write) } else { None })
        .collect();
    let [write] = writes.as_slice() else { panic!("one write: {writes:?}") };
    assert_eq!((write.vote.unwrap().term, write.entries.len()), (Term(2), 1));
}
