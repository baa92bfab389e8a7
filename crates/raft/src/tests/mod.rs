//! A few replicas in one thread. The tests deliver messages and sync disks explicitly, so that each test
//! decides which messages are lost and when writes are durable.

mod checks;
mod floor;
mod golden;
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

use crate::describe::special;
use crate::wire::raft_entry;
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
    /// The last entry on its disk when the engine emitted `CaughtUp`.
    caught_up_with: Option<LogIndex>,
}

struct Net {
    replicas: Vec<Replica>,
    messages: VecDeque<(usize, usize, Bytes)>,
    cut: BTreeSet<usize>,
    /// Replicas whose disks do not sync at present.
    slow: BTreeSet<usize>,
    /// Replicas whose disks have no space for entries; they still store votes.
    full: BTreeSet<usize>,
    /// Replicas whose process has ended.
    down: BTreeSet<usize>,
    /// The events, one line each; `None` when no trace is recorded.
    trace: Option<Vec<String>>,
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
            down: BTreeSet::new(),
            trace: None,
        }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    /// Executes the outputs of one replica.
    fn drain(&mut self, at: usize) {
        while let Some(output) = self.replicas[at].engine.poll() {
            if let Some(line) = self.trace.is_some().then(|| shown(&output)).flatten() {
                self.note(|| format!("{} {line}", at + 1));
            }
            let replica = &mut self.replicas[at];
            match output {
                Output::Persist(write) => {
                    if write.vote.is_some() && self.full.contains(&at) {
                        self.note(|| format!("{} has the vote on disk", at + 1));
                        let replica = &mut self.replicas[at];
                        replica.vote = write.vote;
                        replica.engine.handle(Input::VoteKept(write.number));
                    }
                    self.replicas[at].unsynced.push_back(write);
                }
                Output::Commit(entry) => {
                    let mut log = replica.log.iter().rev();
                    let is_durable = log.any(|it| (it.index, it.term) == (entry.index, entry.term));
                    assert!(is_durable, "a replica commits only entries that are on its own disk");
                    replica.committed.push(entry);
                }
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

    /// Everything that a replica has written becomes durable.
    fn sync(&mut self, at: usize) {
        while let Some(write) = self.replicas[at].unsynced.pop_front() {
            self.note(|| format!("{} has it on disk", at + 1));
            self.replicas[at].write(write);
            self.drain(at);
        }
    }

    /// Delivers a message, unless its sender or its receiver is cut off or the receiver is down.
    fn deliver(&mut self, from: usize, to: usize, bytes: Bytes) {
        let described = describe(&bytes).expect("an engine describes its own messages");
        assert!(described.kind != MessageKind::Unknown, "{}", described.text);
        let is_cut = |at: &usize| self.cut.contains(at) || self.down.contains(at);
        let is_lost = is_cut(&to) || self.cut.contains(&from) || to >= self.replicas.len();
        self.note(|| {
            let end = if is_lost { " (lost)" } else { "" };
            format!("{} -> {}: {}{end}", from + 1, to + 1, described.text)
        });
        if !is_lost {
            let from = NodeId(from as u64 + 1);
            self.replicas[to].engine.handle(Input::Message { from, bytes });
            self.drain(to);
        }
    }

    /// Syncs disks and delivers messages until nothing is left to do.
    fn settle(&mut self) {
        self.settle_while(|_| true);
    }

    /// Syncs disks and delivers messages until nothing is left to do, or until `goes_on` returns false.
    fn settle_while(&mut self, goes_on: impl Fn(&Self) -> bool) {
        while goes_on(self) {
            for at in (0..self.replicas.len()).filter(|at| !self.down.contains(at)).collect::<Vec<_>>() {
                self.drain(at);
                if !self.slow.contains(&at) && !self.full.contains(&at) {
                    self.sync(at);
                }
            }
            let Some((from, to, bytes)) = self.messages.pop_front() else { return };
            self.deliver(from, to, bytes);
        }
    }

    fn tick(&mut self) {
        for at in (0..self.replicas.len()).filter(|at| !self.down.contains(at)) {
            self.replicas[at].engine.handle(Input::Tick);
        }
        self.settle();
    }

    fn leader(&self) -> Option<usize> {
        let is_away = |at: &usize| self.cut.contains(at) || self.down.contains(at);
        (0..self.replicas.len()).find(|at| !is_away(at) && self.replicas[*at].engine.is_leader())
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

    /// Cuts one replica off while the others commit and then drop entries that it lacks. When it is connected
    /// again, it is offered a checkpoint.
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

/// An output on one line; `None` for a message, which is shown when it is delivered.
fn shown(output: &Output) -> Option<String> {
    Some(match output {
        Output::Persist(write) => {
            let vote = write.vote.map(|vote| format!("term {} with vote {}", vote.term, vote.voted_for));
            let parts: Vec<_> = vote.into_iter().chain(write.entries.iter().map(entry_text)).collect();
            format!("writes {}", parts.join(", "))
        }
        Output::Commit(entry) => format!("commits {}", entry_text(entry)),
        Output::Send { .. } => return None,
        Output::Readable { read, index } => format!("may answer read {} at {index}", read.0),
        Output::Install { from, index } => format!("fetches a checkpoint of {index} from {from}"),
        Output::Members(members) => {
            let parts = members
                .nodes
                .iter()
                .map(|it| format!("{} {}", it.node, format!("{:?}", it.part).to_lowercase()));
            format!("has the members of {}: {}", members.index, parts.collect::<Vec<_>>().join(", "))
        }
        Output::CaughtUp => "has caught up".to_owned(),
        Output::Conflict { conflict, .. } => format!("stops: {conflict}"),
    })
}

/// Index, term and content of an entry: `3@1=a`.
fn entry_text(entry: &LogEntry) -> String {
    let special = raft_entry(entry.clone()).and_then(|it| special(&it));
    let content = special.unwrap_or_else(|| String::from_utf8_lossy(&entry.payload).into_owned());
    format!("{}@{}={content}", entry.index, entry.term)
}

fn commands(replica: &Replica) -> Vec<&[u8]> {
    let commands = replica.committed.iter().filter(|entry| entry.kind == EntryKind::Command);
    commands.map(|entry| &*entry.payload).collect()
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
