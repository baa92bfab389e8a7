//! A few replicas in one thread. The tests deliver messages and sync disks explicitly, so that each test
//! decides what is lost, and what is durable when.

mod floor;
mod limits;
mod members;
mod parts;

use std::collections::{BTreeSet, VecDeque};

use bezant_consensus::{
    Conflict, Engine, EngineOptions, EngineState, EntryKind, Input, LogEntry, Members, MessageKind, Output,
    ReadNumber, Vote, Write,
};
use bezant_types::{LogIndex, NodeId, Term};
use bytes::Bytes;

use crate::{Raft, describe};

mod repair;

/// One replica and the content of its disk.
struct Replica {
    engine: Raft,
    vote: Option<Vote>,
    log: Vec<LogEntry>,
    unsynced: VecDeque<Write>,
    committed: Vec<LogEntry>,
    readable: Vec<(ReadNumber, LogIndex)>,
    installs: Vec<(NodeId, LogIndex)>,
    conflicts: Vec<(Conflict, usize)>,
    has_caught_up: bool,
    members: Members,
    /// The last entry on its disk when it emitted `CaughtUp`.
    caught_up_with: Option<LogIndex>,
}

struct Net {
    replicas: Vec<Replica>,
    messages: VecDeque<(usize, usize, Bytes)>,
    cut: BTreeSet<usize>,
    /// Replicas whose disks do not sync for now.
    slow: BTreeSet<usize>,
    /// Replicas whose disks have no space for entries; they still store votes.
    full: BTreeSet<usize>,
}

fn options(node: usize, count: usize, incarnation: u64) -> EngineOptions {
    EngineOptions {
        node: NodeId(node as u64 + 1),
        members: Members::first((1..=count as u64).map(|node| (NodeId(node), format!("host{node}:1")))),
        election_ticks: 10,
        heartbeat_ticks: 2,
        may_vote: true,
        seed: node as u64 * 1000 + incarnation,
    }
}

impl Replica {
    fn new(engine: Raft) -> Self {
        Self {
            engine,
            vote: None,
            log: Vec::new(),
            unsynced: VecDeque::new(),
            committed: Vec::new(),
            readable: Vec::new(),
            installs: Vec::new(),
            conflicts: Vec::new(),
            has_caught_up: false,
            members: Members::default(),
            caught_up_with: None,
        }
    }

    fn write(&mut self, write: Write) {
        if write.vote.is_some() {
            self.vote = write.vote;
        }
        if let Some(first) = write.entries.first() {
            self.log.retain(|entry| entry.index < first.index);
        }
        self.log.extend(write.entries);
        self.engine.handle(Input::Persisted(write.number));
    }
}

impl Net {
    fn new(count: usize) -> Self {
        let replica =
            |node| Replica::new(Raft::new(&options(node, count, 0), EngineState::default()).unwrap());
        Self {
            replicas: (0..count).map(replica).collect(),
            messages: VecDeque::new(),
            cut: BTreeSet::new(),
            slow: BTreeSet::new(),
            full: BTreeSet::new(),
        }
    }

    /// Executes the outputs of one replica.
    fn drain(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        while let Some(output) = replica.engine.poll() {
            match output {
                Output::Persist(write) => {
                    if write.vote.is_some() && self.full.contains(&at) {
                        replica.vote = write.vote;
                        replica.engine.handle(Input::VoteKept(write.number));
                    }
                    replica.unsynced.push_back(write);
                }
                Output::Commit(entry) => replica.committed.push(entry),
                Output::Send { to, bytes } => {
                    let to = usize::try_from(to.0).unwrap() - 1;
                    self.messages.push_back((at, to, bytes));
                }
                Output::Readable { read, index } => replica.readable.push((read, index)),
                Output::Install { from, index } => replica.installs.push((from, index)),
                Output::Members(members) => replica.members = members,
                Output::Conflict { conflict, entries } => replica.conflicts.push((conflict, entries.len())),
                Output::CaughtUp => {
                    replica.has_caught_up = true;
                    replica.caught_up_with = replica.log.last().map(|entry| entry.index);
                }
            }
        }
    }

    /// Syncs disks and delivers messages until nothing is left to do.
    fn settle(&mut self) {
        self.settle_while(|_| true);
    }

    /// Syncs disks and delivers messages until nothing is left to do, or until `goes_on` returns false.
    fn settle_while(&mut self, goes_on: impl Fn(&Self) -> bool) {
        while goes_on(self) {
            for at in 0..self.replicas.len() {
                self.drain(at);
                if !self.slow.contains(&at) && !self.full.contains(&at) {
                    while let Some(write) = self.replicas[at].unsynced.pop_front() {
                        self.replicas[at].write(write);
                        self.drain(at);
                    }
                }
            }
            let Some((from, to, bytes)) = self.messages.pop_front() else { return };
            let described = describe(&bytes).expect("an engine describes its own messages");
            assert!(described.kind != MessageKind::Unknown, "{}", described.text);
            if !self.cut.contains(&from)
                && !self.cut.contains(&to)
                && let Some(replica) = self.replicas.get_mut(to)
            {
                let from = NodeId(from as u64 + 1);
                replica.engine.handle(Input::Message { from, bytes });
            }
        }
    }

    fn tick(&mut self) {
        for at in 0..self.replicas.len() {
            self.replicas[at].engine.handle(Input::Tick);
        }
        self.settle();
    }

    fn leader(&self) -> Option<usize> {
        (0..self.replicas.len()).find(|at| !self.cut.contains(at) && self.replicas[*at].engine.is_leader())
    }

    fn elect(&mut self) -> usize {
        for _ in 0..100 {
            if let Some(leader) = self.leader() {
                return leader;
            }
            self.tick();
        }
        panic!("no leader was elected")
    }

    fn propose(&mut self, at: usize, payload: &'static [u8]) -> LogIndex {
        let index = self.replicas[at].engine.propose(Bytes::from_static(payload)).unwrap();
        self.settle();
        index
    }

    /// While one replica is cut off, the others drop the entries that it lacks. When it returns, it is
    /// offered a checkpoint.
    fn outrun(&mut self, leader: usize, away: usize) -> (LogIndex, Term) {
        self.cut = [away].into();
        let payload: &'static [u8] = vec![7; 4 << 20].leak();
        let mut last = LogIndex(0);
        for _ in 0..12 {
            last = self.propose(leader, payload);
        }
        let term = self.replicas[leader].engine.standing().term;
        for at in (0..3).filter(|at| *at != away) {
            self.replicas[at].engine.handle(Input::Released { index: last, term });
        }
        self.cut.clear();
        for _ in 0..60 {
            self.tick();
        }
        (last, term)
    }

    /// The process ends and starts again from its disk.
    fn restart(&mut self, at: usize, incarnation: u64) {
        let old = &self.replicas[at];
        let state = EngineState { vote: old.vote, entries: old.log.clone(), ..EngineState::default() };
        let mut options = options(at, self.replicas.len(), incarnation);
        if old.members != Members::default() {
            options.members = old.members.clone();
        }
        let engine = Raft::new(&options, state).unwrap();
        let log = old.log.clone();
        let (vote, members) = (old.vote, old.members.clone());
        self.replicas[at] = Replica { vote, log, members, ..Replica::new(engine) };
    }
}

fn commands(replica: &Replica) -> Vec<&[u8]> {
    let commands = replica.committed.iter().filter(|entry| entry.kind == EntryKind::Command);
    commands.map(|entry| &*entry.payload).collect()
}

#[test]
fn three_replicas_elect_one_leader_and_commit() {
    let mut net = Net::new(3);
    let leader = net.elect();
    for payload in [b"a", b"b", b"c"] {
        net.propose(leader, payload);
    }
    net.tick();
    for replica in &net.replicas {
        assert_eq!(commands(replica), [b"a", b"b", b"c"]);
    }
    assert_eq!(net.replicas.iter().filter(|replica| replica.engine.is_leader()).count(), 1);
}

#[test]
fn nothing_commits_until_a_majority_has_it_on_disk() {
    let mut net = Net::new(3);
    let leader = net.elect();
    net.slow = [0, 1, 2].into_iter().filter(|at| *at != leader).collect();
    net.propose(leader, b"x");
    assert!(commands(&net.replicas[leader]).is_empty(), "one disk of three is not a majority");
    net.slow.pop_first();
    net.settle();
    assert_eq!(commands(&net.replicas[leader]), [b"x"]);
}

#[test]
fn two_followers_are_a_majority_without_the_leaders_disk() {
    let mut net = Net::new(3);
    let leader = net.elect();
    net.slow = [leader].into();
    let index = net.propose(leader, b"x");
    assert_eq!(net.replicas[leader].engine.standing().committed, index);
    assert!(commands(&net.replicas[leader]).is_empty(), "a replica applies only entries on its own disk");
    assert_eq!(commands(&net.replicas[(leader + 1) % 3]), [b"x"]);
}

#[test]
fn no_vote_leaves_before_it_is_on_disk() {
    let mut net = Net::new(3);
    net.slow = [0, 1, 2].into();
    for _ in 0..60 {
        net.tick();
        assert_eq!(net.leader(), None, "a vote that is not on disk does not count");
    }
    net.slow.clear();
    net.settle();
    net.elect();
}

#[test]
fn a_replica_with_a_full_disk_votes_but_never_campaigns() {
    let mut net = Net::new(3);
    let leader = net.elect();
    let (full, other) = ((leader + 1) % 3, (leader + 2) % 3);
    net.full = [full].into();
    net.propose(leader, b"x");
    net.cut = [leader].into();
    for _ in 0..100 {
        net.tick();
        assert!(
            !net.replicas[full].engine.is_leader(),
            "a replica whose log is not on its disk does not campaign"
        );
    }
    assert_eq!(net.leader(), Some(other), "a replica whose vote is on its disk votes");
    net.propose(other, b"y");
    assert_eq!(commands(&net.replicas[other]), [b"x"], "one disk of three is not a majority");
    net.full.clear();
    net.settle();
    for at in [full, other] {
        net.tick();
        assert_eq!(commands(&net.replicas[at]), [b"x", b"y"]);
    }
}

#[test]
fn a_leader_with_full_disks_still_confirms_reads() {
    let mut net = Net::new(3);
    let leader = net.elect();
    let committed = net.propose(leader, b"x");
    net.full = [0, 1, 2].into();
    net.propose(leader, b"y");
    for read in 0..100 {
        net.tick();
        assert_eq!(net.leader(), Some(leader));
        net.replicas[leader].engine.read(ReadNumber(read));
        net.settle();
        assert_eq!(net.replicas[leader].readable.pop(), Some((ReadNumber(read), committed)));
    }
    net.full.clear();
    net.settle();
    net.tick();
    for replica in &net.replicas {
        assert_eq!(commands(replica), [b"x", b"y"]);
    }
}

#[test]
fn an_uncommitted_entry_is_overwritten() {
    let mut net = Net::new(3);
    let old = net.elect();
    net.propose(old, b"committed");
    net.cut = [old].into();
    net.propose(old, b"lost");
    let new = net.elect();
    assert_ne!(new, old);
    net.propose(new, b"kept");
    net.cut.clear();
    for _ in 0..40 {
        net.tick();
    }
    for replica in &net.replicas {
        assert_eq!(commands(replica), [&b"committed"[..], b"kept"]);
        assert!(replica.log.iter().all(|entry| &*entry.payload != b"lost"));
    }
}

#[test]
fn a_restart_keeps_log_and_vote() {
    let mut net = Net::new(3);
    let leader = net.elect();
    net.propose(leader, b"a");
    for at in 0..3 {
        net.restart(at, 1);
    }
    let leader = net.elect();
    net.propose(leader, b"b");
    net.tick();
    for replica in &net.replicas {
        assert_eq!(commands(replica), [b"a", b"b"]);
    }
}

#[test]
fn only_a_leader_with_a_majority_confirms_reads() {
    let mut net = Net::new(3);
    let leader = net.elect();
    let index = net.propose(leader, b"a");
    let follower = (leader + 1) % 3;
    net.replicas[follower].engine.read(ReadNumber(7));
    net.settle();
    assert_eq!(net.replicas[follower].readable, [(ReadNumber(7), index)]);
    net.cut = [leader].into();
    net.replicas[leader].engine.read(ReadNumber(8));
    net.settle();
    assert!(net.replicas[leader].readable.is_empty(), "a majority may have elected another leader");
    let new = net.elect();
    let newer = net.propose(new, b"b");
    net.cut.clear();
    for _ in 0..40 {
        net.tick();
    }
    let (read, seen) = net.replicas[leader].readable[0];
    assert_eq!(read, ReadNumber(8));
    assert!(seen >= newer, "the read covers the entries that were committed meanwhile");
}

#[test]
fn a_broken_leader_connection_shortens_the_election_timeout() {
    let mut net = Net::new(3);
    let leader = net.elect();
    net.cut = [leader].into();
    let peer = NodeId(leader as u64 + 1);
    for at in (0..3).filter(|at| *at != leader) {
        net.replicas[at].engine.handle(Input::Lost(peer));
    }
    net.tick();
    assert!(net.leader().is_some(), "the first of the other voters campaigns at once");
}

#[test]
fn a_leader_transfers_leadership_to_another_voter() {
    let mut net = Net::new(3);
    let leader = net.elect();
    net.propose(leader, b"a");
    net.replicas[leader].engine.transfer_leadership();
    net.settle();
    let new = net.leader().unwrap();
    assert_ne!(new, leader);
    net.propose(new, b"b");
}

#[test]
fn repeated_leadership_transfers_reach_every_voter() {
    let mut net = Net::new(3);
    let first = net.elect();
    for step in 0..4 {
        let leader = (first + step) % 3;
        assert_eq!(net.leader(), Some(leader), "leadership went to the next voter");
        net.propose(leader, b"a");
        net.tick();
        net.replicas[leader].engine.transfer_leadership();
        net.settle();
    }
}

#[test]
fn a_replica_that_lacks_released_entries_installs_a_checkpoint() {
    let mut net = Net::new(3);
    let leader = net.elect();
    let away = (leader + 1) % 3;
    let (last, term) = net.outrun(leader, away);
    let (from, index) = net.replicas[away].installs[0];
    assert_eq!(net.replicas[away].installs.len(), 1, "one checkpoint is requested");
    assert_eq!(index, last);
    assert!(net.leader().is_some_and(|leader| from == NodeId(leader as u64 + 1)));
    let before = net.replicas[away].committed.len();
    net.replicas[away].engine.handle(Input::Installed { index, term, members: Members::default() });
    net.replicas[away].log.clear();
    net.settle();
    let leader = net.elect();
    for _ in 0..10 {
        net.tick();
    }
    net.propose(leader, b"after");
    net.tick();
    let after = &net.replicas[away].committed[before..];
    assert!(
        after.iter().all(|entry| entry.index > last),
        "no entry that the checkpoint covers is committed again"
    );
    assert_eq!(after.last().map(|entry| &*entry.payload), Some(&b"after"[..]));
}

#[test]
fn a_wiped_disk_does_not_vote() {
    let mut net = Net::new(3);
    let leader = net.elect();
    let wiped = (leader + 1) % 3;
    let other = (leader + 2) % 3;
    net.cut = [other].into();
    net.propose(leader, b"only on the leader and the wiped disk");
    let options = EngineOptions { may_vote: false, ..options(wiped, 3, 1) };
    net.replicas[wiped] = Replica::new(Raft::new(&options, EngineState::default()).unwrap());
    net.cut = [leader].into();
    for _ in 0..200 {
        net.tick();
        assert_eq!(net.leader(), None, "the other voter alone is not a majority");
    }
    assert!(!net.replicas[wiped].engine.may_vote());
}

#[test]
fn a_new_disk_votes_after_it_has_all_committed_entries() {
    let mut net = Net::new(3);
    let options = EngineOptions { may_vote: false, ..options(2, 3, 0) };
    net.replicas[2] = Replica::new(Raft::new(&options, EngineState::default()).unwrap());
    net.cut = [2].into();
    let leader = net.elect();
    net.propose(leader, b"committed before it came");
    assert!(!net.replicas[2].has_caught_up);
    net.cut.clear();
    for _ in 0..20 {
        net.tick();
    }
    assert_eq!(commands(&net.replicas[2]), [b"committed before it came"]);
    assert!(
        net.replicas[2].has_caught_up && !net.replicas[2].engine.may_vote(),
        "admission waits for the driver to record it"
    );
    net.replicas[2].engine.handle(Input::Admit);
    net.cut = [leader].into();
    let new = net.elect();
    assert_ne!(new, leader, "its vote makes a majority");
}

#[test]
fn equal_input_gives_equal_output() {
    let run = || {
        let mut net = Net::new(5);
        let mut trace = Vec::new();
        for round in 0..120 {
            net.tick();
            if round % 40 == 39
                && let Some(leader) = net.leader()
            {
                net.cut = [leader].into();
            }
            trace
                .push((net.leader(), net.replicas.iter().map(|it| it.engine.standing()).collect::<Vec<_>>()));
        }
        trace
    };
    assert_eq!(run(), run());
}
