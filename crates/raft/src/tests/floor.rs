//! An old copy of a disk is restored. Entries that are known as committed on another replica are not dropped:
//! that replica stops and reports a conflict.

use super::*;

impl Net {
    /// Restarts a replica with the first `entries` entries of its log, and with `committed` as the index that
    /// its disk recorded as committed.
    fn restart_knowing(&mut self, at: usize, incarnation: u64, entries: usize, committed: LogIndex) {
        let old = &self.replicas[at];
        let mut log = old.log.clone();
        log.truncate(entries);
        let state = EngineState { vote: old.vote, entries: log.clone(), committed, ..EngineState::default() };
        let vote = old.vote;
        let engine = Raft::new(&options(at, self.replicas.len(), incarnation), state).unwrap();
        self.replicas[at] = Replica { vote, log, ..Replica::new(engine) };
    }

    /// Cuts one replica off while the other two commit entries. Then one of these two restarts without the
    /// last three entries, and elects a leader together with the replica that was cut off. Returns the
    /// replica that still has the entries, and its commit index.
    fn go_back(&mut self) -> (usize, LogIndex) {
        let leader = self.elect();
        let (old, away) = ((leader + 1) % 3, (leader + 2) % 3);
        self.propose(leader, b"a");
        self.tick();
        self.cut = [away].into();
        let kept = self.replicas[old].log.len();
        for payload in [b"b", b"c", b"d"] {
            self.propose(leader, payload);
        }
        self.tick();
        let committed = self.replicas[leader].engine.standing().committed;
        self.cut = [leader].into();
        self.restart_knowing(old, 50, kept, LogIndex(kept as u64));
        let next = self.elect();
        assert_ne!(next, leader);
        self.propose(next, b"e");
        (leader, committed)
    }

    /// Restarts a replica with a checkpoint of its whole log, so with no entries in memory.
    fn restart_at_checkpoint(&mut self, at: usize, incarnation: u64) {
        let old = &self.replicas[at];
        let (vote, log) = (old.vote, old.log.clone());
        let last = log.last().unwrap();
        let (index, term) = (last.index, last.term);
        let checkpoint = (index, term);
        let state = EngineState { vote, checkpoint, committed: index, ..EngineState::default() };
        let engine = Raft::new(&options(at, self.replicas.len(), incarnation), state).unwrap();
        self.replicas[at] = Replica { vote, log, ..Replica::new(engine) };
    }

    fn check_stopped(&mut self, at: usize, committed: LogIndex) {
        for _ in 0..40 {
            self.tick();
        }
        let log = self.replicas[at].log.clone();
        let [(conflict, entries)] = self.replicas[at].conflicts[..] else {
            panic!("{:?}", self.replicas[at].conflicts)
        };
        assert_eq!(conflict.committed, committed);
        assert_eq!(conflict.entries(), 3);
        assert_eq!(entries, 3);
        assert!(log.iter().any(|entry| entry.payload == "d"), "the stopped replica keeps its entries");
        let others: Vec<_> = (0..3).filter(|other| *other != at).collect();
        for other in others {
            assert!(
                self.replicas[other].conflicts.is_empty(),
                "only the replica with the committed entries stops"
            );
            assert!(commands(&self.replicas[other]).contains(&&b"e"[..]), "the other replicas continue");
        }
    }
}

#[test]
fn entries_committed_before_a_restart_are_kept() {
    let mut net = Net::new(3);
    let (witness, committed) = net.go_back();
    let entries = net.replicas[witness].log.len();
    net.restart_knowing(witness, 60, entries, committed);
    net.cut.clear();
    net.check_stopped(witness, committed);
    assert!(net.replicas[witness].conflicts[0].0.is_first_exact, "the first differing entry is found");
}

#[test]
fn entries_committed_since_the_start_are_kept() {
    let mut net = Net::new(3);
    let (witness, committed) = net.go_back();
    net.cut.clear();
    net.check_stopped(witness, committed);
}

#[test]
fn entries_not_known_to_be_committed_are_overwritten() {
    let mut net = Net::new(3);
    let (witness, _) = net.go_back();
    let entries = net.replicas[witness].log.len();
    net.restart_knowing(witness, 60, entries, LogIndex(0));
    net.cut.clear();
    for _ in 0..40 {
        net.tick();
    }
    assert!(net.replicas[witness].conflicts.is_empty());
    assert!(net.replicas[witness].log.iter().all(|entry| entry.payload != "d"));
}

#[test]
fn a_checkpoint_that_contradicts_the_leader_is_kept() {
    // The other replicas have an entry of another term at the checkpoint's index, or their logs are shorter
    // and reach that index later.
    for others in 0..4 {
        let mut net = Net::new(3);
        let (witness, committed) = net.go_back();
        for _ in 0..others {
            let leader = (0..3).find(|at| *at != witness && net.replicas[*at].engine.is_leader()).unwrap();
            net.propose(leader, b"f");
            net.tick();
        }
        net.restart_at_checkpoint(witness, 60);
        net.cut.clear();
        for _ in 0..40 {
            net.tick();
        }
        let [(conflict, _)] = net.replicas[witness].conflicts[..] else {
            panic!("{others}: {:?}", net.replicas[witness].conflicts)
        };
        assert_eq!(conflict.committed, committed, "{others}");
        assert_eq!((conflict.first, conflict.is_first_exact), (committed, false), "{others}");
        assert!(net.replicas[witness].log.iter().any(|entry| entry.payload == "d"), "{others}");
    }
}

#[test]
fn a_replica_with_a_matching_checkpoint_continues() {
    let mut net = Net::new(3);
    let leader = net.elect();
    for payload in [b"a", b"b", b"c"] {
        net.propose(leader, payload);
    }
    net.tick();
    net.tick();
    let at = (leader + 1) % 3;
    assert_eq!(net.replicas[at].log, net.replicas[leader].log);
    net.restart_at_checkpoint(at, 60);
    net.propose(leader, b"e");
    for _ in 0..40 {
        net.tick();
    }
    // It also continues under a leader of another term.
    net.cut = [leader].into();
    net.restart_at_checkpoint(at, 61);
    let next = net.elect();
    net.propose(next, b"f");
    net.cut.clear();
    for _ in 0..40 {
        net.tick();
    }
    for replica in &net.replicas {
        assert!(replica.conflicts.is_empty());
        assert_eq!(replica.log, net.replicas[next].log, "every replica has the same log");
        assert!(commands(replica).contains(&&b"f"[..]));
    }
}

#[test]
fn the_last_entry_of_a_checkpoint_is_compared_by_term() {
    use raft::eraftpb::{Entry, Message, MessageType};
    for (term, expected) in [(2, false), (3, true)] {
        let state =
            EngineState { checkpoint: (LogIndex(7), Term(2)), committed: LogIndex(7), ..Default::default() };
        let mut engine = Raft::new(&options(0, 3, 0), state).unwrap();
        let mut message = Message { from: 2, to: 1, term: 4, index: 6, log_term: 1, ..Message::default() };
        message.set_msg_type(MessageType::MsgAppend);
        message.mut_entries().push(Entry { index: 7, term, ..Entry::default() });
        assert_eq!(engine.stop_on_conflict(NodeId(2), &message), expected, "term {term}");
    }
}
