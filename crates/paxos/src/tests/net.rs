//! A simulated network, and the machines on it.

use std::string::String;
use std::vec::Vec;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bezant_consensus::{
    Conflict, Engine, EngineOptions, EngineState, Input, LogEntry, Members, Output, ReadNumber, Vote, Write,
    WriteNumber,
};
use bezant_types::{LogIndex, NodeId, Term};
use bytes::Bytes;

use crate::Paxos;
use crate::ballot::Mark;
use crate::describe::{describe_in_full, value};

/// The content of a disk. A vote is durable at once, and so is a truncation of the log. Values are durable
/// after a sync.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) vote: Option<Vote>,
    pub(super) checkpoint: (LogIndex, Term),
    pub(super) durable: Vec<LogEntry>,
    pub(super) staged: Vec<LogEntry>,
    pub(super) unconfirmed: Option<WriteNumber>,
    /// The last write with a vote, until the engine receives `VoteKept` for it.
    pub(super) voted: Option<WriteNumber>,
    pub(super) members: Members,
    pub(super) is_admitted: bool,
    /// The last index that the disk recorded as committed; the engine reads it at its start.
    pub(super) committed: LogIndex,
}

impl Disk {
    pub(super) fn last(&self) -> LogIndex {
        let last = self.staged.last().or_else(|| self.durable.last());
        last.map_or(self.checkpoint.0, |entry| entry.index)
    }

    fn write(&mut self, write: Write) {
        if write.vote.is_some() {
            self.vote = write.vote;
            self.voted = Some(write.number);
        }
        if let Some(first) = write.entries.first()
            && first.index <= self.last()
        {
            assert!(first.index > self.checkpoint.0, "a value in a checkpoint is never dropped");
            self.durable.append(&mut self.staged);
            self.durable.retain(|entry| entry.index < first.index);
        }
        for entry in write.entries {
            assert_eq!(entry.index, self.last().next(), "entries have no gaps");
            let last = self.staged.last().or_else(|| self.durable.last());
            let last_term = last.map_or(self.checkpoint.1, |last| last.term);
            assert!(entry.term >= last_term, "terms never decrease");
            self.staged.push(entry);
        }
        self.unconfirmed = Some(write.number);
    }

    fn sync(&mut self) -> Option<WriteNumber> {
        self.durable.append(&mut self.staged);
        self.unconfirmed.take()
    }

    /// The power fails. The first `survivors` of the values that were not synced are durable nevertheless.
    fn crash(&mut self, survivors: usize) {
        self.staged.truncate(survivors);
        self.durable.append(&mut self.staged);
        (self.unconfirmed, self.voted) = (None, None);
    }
}

/// A machine: an engine, its disk and its outputs.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) engine: Option<Paxos>,
    pub(super) disk: Disk,
    /// The number of disks that this node has had. Messages from or to an earlier disk are lost.
    pub(super) disks: u64,
    incarnations: u64,
    pub(super) committed: LogIndex,
    pub(super) readable: Vec<(ReadNumber, LogIndex)>,
    pub(super) installs: Vec<(NodeId, LogIndex)>,
    pub(super) conflicts: Vec<Conflict>,
    pub(super) has_caught_up: bool,
}

/// A message in flight.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    disks: (u64, u64),
    pub(super) bytes: Bytes,
}

/// The machines, the messages in flight, and the faults.
#[derive(Debug, Default)]
pub(super) struct Net {
    pub(super) machines: BTreeMap<NodeId, Machine>,
    pub(super) packets: VecDeque<Packet>,
    /// Nodes that no message leaves or reaches.
    pub(super) cut: BTreeSet<NodeId>,
    /// Pairs of sender and receiver whose messages are lost.
    pub(super) cut_links: BTreeSet<(NodeId, NodeId)>,
    /// Nodes whose disks do not sync at present.
    pub(super) slow: BTreeSet<NodeId>,
    /// Nodes whose disks have no space for values; they still store votes.
    pub(super) full: BTreeSet<NodeId>,
    /// The decided values, as the first replica committed them.
    pub(super) decisions: BTreeMap<LogIndex, LogEntry>,
    /// The events, one line each; `None` when no trace is recorded.
    pub(super) trace: Option<Vec<String>>,
    pub(super) seed: u64,
}

pub(super) fn first_members(count: u64) -> Members {
    Members::first((1..=count).map(|node| (NodeId(node), format!("host{node}:1"))))
}

impl Net {
    /// A new group of `count` nodes.
    pub(super) fn new(count: u64, seed: u64) -> Self {
        let mut net = Self { seed, ..Self::default() };
        for node in 1..=count {
            let disk = Disk { members: first_members(count), is_admitted: true, ..Disk::default() };
            net.add(NodeId(node), disk);
        }
        net
    }

    /// Starts a machine with that disk.
    pub(super) fn add(&mut self, node: NodeId, disk: Disk) {
        let before = self.machines.remove(&node);
        let disks = before.as_ref().map_or(0, |machine| machine.disks + 1);
        let incarnations = before.map_or(0, |machine| machine.incarnations);
        let machine = Machine {
            engine: None,
            disk,
            disks,
            incarnations,
            committed: LogIndex(0),
            readable: Vec::new(),
            installs: Vec::new(),
            conflicts: Vec::new(),
            has_caught_up: false,
        };
        self.machines.insert(node, machine);
        self.start(node);
    }

    pub(super) fn start(&mut self, node: NodeId) {
        let seed = self.seed;
        let machine = self.machine(node);
        machine.incarnations += 1;
        let options = EngineOptions {
            node,
            members: machine.disk.members.clone(),
            election_ticks: 10,
            heartbeat_ticks: 2,
            may_vote: machine.disk.is_admitted,
            seed: seed ^ (node.0 << 32) ^ machine.incarnations,
        };
        let Disk { vote, checkpoint, durable, .. } = machine.disk.clone();
        machine.committed = checkpoint.0;
        machine.installs.clear();
        machine.readable.clear();
        let committed = machine.disk.committed;
        let state = EngineState { vote, checkpoint, entries: durable, committed };
        machine.engine = Some(Paxos::new(&options, state).unwrap());
        self.drain(node);
    }

    pub(super) fn machine(&mut self, node: NodeId) -> &mut Machine {
        self.machines.get_mut(&node).expect("that node exists")
    }

    pub(super) fn engine(&mut self, node: NodeId) -> &mut Paxos {
        self.machine(node).engine.as_mut().expect("that node is up")
    }

    pub(super) fn nodes(&self) -> Vec<NodeId> {
        self.machines.keys().copied().collect()
    }

    pub(super) fn is_up(&self, node: NodeId) -> bool {
        self.machines.get(&node).is_some_and(|machine| machine.engine.is_some())
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    pub(super) fn handle(&mut self, node: NodeId, input: Input) {
        if let Some(engine) = &mut self.machine(node).engine {
            engine.handle(input);
            self.drain(node);
        }
    }

    /// Executes the outputs of one replica.
    pub(super) fn drain(&mut self, node: NodeId) {
        while let Some(output) = self.machine(node).engine.as_mut().and_then(Engine::poll) {
            match output {
                Output::Persist(write) => {
                    self.note(|| format!("{node} writes {}", written(&write)));
                    self.machine(node).disk.write(write);
                }
                Output::Commit(entry) => self.commit(node, &entry),
                Output::Send { to, bytes } => self.send(node, to, bytes),
                Output::Readable { read, index } => {
                    self.note(|| format!("{node} may answer read {} at {index}", read.0));
                    self.machine(node).readable.push((read, index));
                }
                Output::Install { from, index } => {
                    self.note(|| format!("{node} fetches a checkpoint of {index} from {from}"));
                    self.machine(node).installs.push((from, index));
                }
                Output::Members(members) => {
                    self.note(|| format!("{node} has the members of {}", members.index));
                    self.machine(node).disk.members = members;
                }
                Output::Conflict { conflict, .. } => {
                    self.note(|| format!("{node} stops"));
                    self.machine(node).conflicts.push(conflict);
                }
                Output::CaughtUp => {
                    self.note(|| format!("{node} has caught up"));
                    self.machine(node).has_caught_up = true;
                }
            }
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, bytes: Bytes) {
        let disk = |node| self.machines.get(&node).map_or(0, |machine| machine.disks);
        let disks = (disk(from), disk(to));
        self.packets.push_back(Packet { from, to, disks, bytes });
    }

    fn commit(&mut self, node: NodeId, entry: &LogEntry) {
        self.note(|| format!("{node} commits {}", value(entry)));
        let machine = self.machine(node);
        assert_eq!(entry.index, machine.committed.next(), "commits are in order");
        let is_durable = machine.disk.durable.iter().rev().any(|known| known == entry);
        assert!(is_durable, "{node} commits a value that is not on its disk");
        machine.committed = entry.index;
        let known = &*self.decisions.entry(entry.index).or_insert_with(|| entry.clone());
        assert_eq!(known, entry, "node {node} commits another value than other nodes");
    }

    /// The written values become durable.
    pub(super) fn sync(&mut self, node: NodeId) {
        if self.is_up(node)
            && let Some(number) = self.machine(node).disk.sync()
        {
            self.note(|| format!("{node} has it on disk"));
            self.handle(node, Input::Persisted(number));
        }
    }

    /// The vote becomes durable; values do not.
    pub(super) fn sync_vote(&mut self, node: NodeId) {
        if self.is_up(node)
            && let Some(number) = self.machine(node).disk.voted.take()
        {
            self.note(|| format!("{node} has its vote on disk"));
            self.handle(node, Input::VoteKept(number));
        }
    }

    fn is_cut(&self, packet: &Packet) -> bool {
        let disk = |node| self.machines.get(&node).map_or(0, |machine| machine.disks);
        self.cut.contains(&packet.from)
            || self.cut.contains(&packet.to)
            || self.cut_links.contains(&(packet.from, packet.to))
            || packet.disks != (disk(packet.from), disk(packet.to))
            || !self.is_up(packet.to)
    }

    pub(super) fn carry(&mut self, packet: Packet) {
        let is_lost = self.is_cut(&packet);
        let Packet { from, to, bytes, .. } = packet;
        self.note(|| {
            let end = if is_lost { " (lost)" } else { "" };
            format!("{from} -> {to}: {}{end}", describe_in_full(&bytes).unwrap().text)
        });
        if !is_lost {
            self.handle(to, Input::Message { from, bytes });
        }
    }

    /// Syncs disks and delivers messages until nothing is left to do.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            for node in self.nodes() {
                if self.full.contains(&node) {
                    self.sync_vote(node);
                } else if !self.slow.contains(&node) {
                    self.sync(node);
                }
            }
            let Some(packet) = self.packets.pop_front() else { return };
            self.carry(packet);
        }
        panic!("the messages never end");
    }

    /// One tick for every node.
    pub(super) fn tick(&mut self) {
        for node in self.nodes() {
            self.handle(node, Input::Tick);
        }
    }

    /// The power fails on a machine.
    pub(super) fn crash(&mut self, node: NodeId, survivors: usize) {
        let machine = self.machine(node);
        machine.engine = None;
        machine.disk.crash(survivors);
    }

    /// The disk of a node lost its last `lost` values and was repaired: the repair moved the node out of its
    /// round, and it may not vote.
    pub(super) fn damage(&mut self, node: NodeId, lost: usize) {
        let machine = self.machine(node);
        machine.engine = None;
        machine.disk.crash(0);
        let left = machine.disk.durable.len().saturating_sub(lost);
        machine.disk.durable.truncate(left);
        let term = Term(machine.disk.vote.unwrap_or_default().term.0 + 1);
        machine.disk.vote = Some(Vote { term, voted_for: NodeId(0) });
        machine.disk.is_admitted = false;
    }

    /// The newest list of members on any disk.
    pub(super) fn newest_members(&self) -> Members {
        let newest = self.machines.values().map(|machine| &machine.disk.members).max_by_key(|it| it.index);
        newest.cloned().unwrap_or_default()
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        let leads = |machine: &Machine| machine.engine.as_ref().is_some_and(Engine::is_leader);
        let leaders =
            self.machines.iter().filter(|(node, machine)| !self.cut.contains(node) && leads(machine));
        leaders.max_by_key(|(_, machine)| machine.disk.vote.map(|vote| vote.term)).map(|(node, _)| *node)
    }

    /// Ticks until a node leads, and returns it.
    pub(super) fn elect(&mut self) -> NodeId {
        for _ in 0..1000 {
            if let Some(leader) = self.leader() {
                return leader;
            }
            self.tick();
            self.settle();
        }
        panic!("no node leads")
    }

    pub(super) fn propose(&mut self, node: NodeId, payload: impl Into<Vec<u8>>) -> Option<LogIndex> {
        let payload: Vec<u8> = payload.into();
        let slot = self.engine(node).propose(payload.into());
        self.drain(node);
        slot
    }

    pub(super) fn read(&mut self, node: NodeId, read: u64) {
        self.engine(node).read(ReadNumber(read));
        self.drain(node);
    }

    /// Writes a checkpoint of everything that a machine has committed.
    pub(super) fn checkpoint(&mut self, node: NodeId) {
        let machine = self.machine(node);
        let index = machine.committed;
        let Some(term) = machine.disk.durable.iter().find(|it| it.index == index).map(|it| it.term) else {
            return;
        };
        machine.disk.checkpoint = (index, term);
        machine.disk.durable.retain(|entry| entry.index > index);
        self.handle(node, Input::Released { index, term });
    }

    /// Installs the checkpoint that a machine has requested; true when its source has one.
    pub(super) fn install(&mut self, node: NodeId) -> bool {
        let Some((from, index)) = self.machine(node).installs.first().copied() else { return false };
        if !self.is_up(node) {
            return false;
        }
        let source = self.machine(from);
        if source.disk.checkpoint.0 < index {
            return false;
        }
        let (checkpoint, members) = (source.disk.checkpoint, source.disk.members.clone());
        self.note(|| format!("{node} installs a checkpoint of {} from {from}", checkpoint.0));
        let machine = self.machine(node);
        machine.installs.clear();
        machine.disk.checkpoint = checkpoint;
        machine.disk.durable.clear();
        machine.disk.staged.clear();
        machine.committed = checkpoint.0;
        let (index, term) = checkpoint;
        self.handle(node, Input::Installed { index, term, members });
        true
    }

    /// The end of a replica's log.
    pub(super) fn end(&mut self, node: NodeId) -> Mark {
        self.engine(node).acceptor.values().last()
    }
}

fn written(write: &Write) -> String {
    let vote = write.vote.map(|vote| format!("promise {}.{}", vote.term, vote.voted_for));
    vote.into_iter().chain(write.entries.iter().map(value)).collect::<Vec<_>>().join(" ")
}
