//! The driver of several replicas in one thread: their disks, their messages, and a trace of all outputs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bezant_consensus::{LogEntry, Members, Terms, Write};
use bezant_replica::{
    Chunk, ChunkHead, ChunkPart, Consistency, Input, Installable, Now, Output, PeerMessage, Pull, Refusal,
    Replica, ReplicaOptions, Restored, Ticket,
};
use bezant_rsm::{Command, Entry, StateMachine};
use bezant_types::{HistoryPosition, LogIndex, Nanos, NodeId, Term};
use bytes::Bytes;

use crate::engine::{Appointed, Asked, describe};
use crate::machine::{Counter, Found};

/// Bytes of a state in one chunk: half of a checkpoint.
const CHUNK_SIZE: usize = 8;

type Node = Replica<Counter, Appointed>;

/// A message in flight: sender, receiver, content.
pub(crate) type InFlight = (NodeId, NodeId, PeerMessage);

/// A checkpoint that is on disk.
#[derive(Clone, Debug)]
struct Checkpoint {
    head: ChunkHead,
    bytes: Bytes,
}

/// The content of a disk.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    log: Vec<LogEntry>,
    staged: VecDeque<Write>,
    checkpoint: Option<Checkpoint>,
    /// What it records as committed, for the next start.
    pub(crate) committed: LogIndex,
    pub(crate) may_vote: bool,
    /// Rows of the history.
    rows: u64,
    terms: Terms,
}

#[derive(Debug)]
pub(crate) struct Machine {
    /// `None` while the process is down.
    pub(crate) replica: Option<Node>,
    pub(crate) disk: Disk,
    pub(crate) wall: Nanos,
    /// The checkpoint under way.
    cutting: Option<(LogIndex, Term, Vec<u8>)>,
    /// Inputs that the driver passes in once the disk has done its work.
    done: VecDeque<Input<Counter>>,
    incarnations: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Net {
    pub(crate) machines: BTreeMap<NodeId, Machine>,
    pub(crate) messages: VecDeque<InFlight>,
    pub(crate) cut: BTreeSet<NodeId>,
    /// Nodes whose disks do nothing for now.
    pub(crate) slow: BTreeSet<NodeId>,
    /// Nodes whose checkpoints have another digest than they should.
    pub(crate) flawed: BTreeSet<NodeId>,
    /// Nodes that supply states that cannot be read.
    pub(crate) unreadable: BTreeSet<NodeId>,
    pub(crate) interval_bytes: usize,
    pub(crate) trace: Vec<String>,
    pub(crate) term: Term,
    asked: Asked,
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest[..bytes.len()].copy_from_slice(bytes);
    digest
}

impl Net {
    pub(crate) fn new(count: u64, interval_bytes: usize) -> Self {
        let mut net = Self { interval_bytes, ..Self::default() };
        for node in (1..=count).map(NodeId) {
            let disk = Disk { may_vote: true, ..Disk::default() };
            let (cutting, done, wall) = (None, VecDeque::new(), Nanos(1_000));
            net.machines.insert(node, Machine { replica: None, disk, wall, cutting, done, incarnations: 0 });
        }
        for node in (1..=count).map(NodeId) {
            net.start(node);
        }
        net
    }

    pub(crate) fn note(&mut self, node: NodeId, line: &str) {
        self.trace.push(format!("{node}: {line}"));
    }

    pub(crate) fn machine(&mut self, node: NodeId) -> &mut Machine {
        self.machines.get_mut(&node).expect("that node exists")
    }

    pub(crate) fn replica(&mut self, node: NodeId) -> &mut Node {
        self.machine(node).replica.as_mut().expect("that node is up")
    }

    /// Starts a node from its disk.
    pub(crate) fn start(&mut self, node: NodeId) {
        let count = self.machines.len() as u64;
        let members = Members::first((1..=count).map(|node| (NodeId(node), format!("host{node}:1"))));
        let (interval, asked) = (self.interval_bytes, Asked::clone(&self.asked));
        let machine = self.machine(node);
        machine.incarnations += 1;
        let options = ReplicaOptions {
            node,
            is_alone: count == 1,
            incarnation: machine.incarnations,
            checkpoint_interval_bytes: interval,
        };
        let disk = &machine.disk;
        let head = disk.checkpoint.as_ref().map(|checkpoint| checkpoint.head);
        let base = head.map_or((LogIndex(0), Term(0)), |head| (head.index, head.term));
        let state = disk.checkpoint.as_ref().map(|checkpoint| Counter::restore(&checkpoint.bytes));
        let state = state.map_or_else(Counter::default, |state| state.expect("a checkpoint is readable"));
        let entries: Vec<LogEntry> = disk.log.iter().filter(|entry| entry.index > base.0).cloned().collect();
        let engine = Appointed::new(node, members, base, entries.clone(), disk.may_vote, asked);
        let restored = Restored::new(state, base.0, base.0, 0).with_floor(disk.committed, disk.terms.clone());
        let restored = restored.with_entries(&entries).expect("the entries are readable");
        machine.replica = Some(Replica::new(restored, engine, options));
        self.poll(node);
    }

    /// The process ends, and what was not synced is lost.
    pub(crate) fn crash(&mut self, node: NodeId) {
        let machine = self.machine(node);
        machine.replica = None;
        machine.disk.staged.clear();
        machine.cutting = None;
        machine.done.clear();
    }

    pub(crate) fn is_up(&self, node: NodeId) -> bool {
        self.machines.get(&node).is_some_and(|machine| machine.replica.is_some())
    }

    fn up(&self) -> Vec<NodeId> {
        self.machines.keys().copied().filter(|node| self.is_up(*node)).collect()
    }

    pub(crate) fn handle(&mut self, node: NodeId, input: Input<Counter>) {
        self.handle_all(node, [input]);
    }

    /// Passes in several inputs before the outputs of the first are carried out.
    pub(crate) fn handle_all(&mut self, node: NodeId, inputs: impl IntoIterator<Item = Input<Counter>>) {
        let now = Now { wall: self.machine(node).wall };
        if let Some(replica) = &mut self.machine(node).replica {
            inputs.into_iter().for_each(|input| replica.handle(now, input));
            self.poll(node);
        }
    }

    pub(crate) fn propose(&mut self, node: NodeId) {
        let now = Now { wall: self.machine(node).wall };
        self.replica(node).propose(now);
        self.poll(node);
    }

    /// Carries out the outputs of one replica.
    pub(crate) fn poll(&mut self, node: NodeId) {
        while let Some(output) = self.machine(node).replica.as_mut().and_then(Replica::poll) {
            self.carry_out(node, output);
        }
        self.trace.extend(self.asked.take());
    }

    fn carry_out(&mut self, node: NodeId, output: Output<Counter>) {
        match output {
            Output::Persist(write) => {
                self.note(node, &format!("writes {}", written(&write)));
                self.machine(node).disk.staged.push_back(write);
            }
            Output::Send { to, message } => self.messages.push_back((node, to, message)),
            Output::Fetch { index, term, prefetch } => {
                let keys: Vec<_> = prefetch.keys.iter().map(u64::to_string).collect();
                self.note(node, &format!("fetches row {} for entry {index}", keys.join(", ")));
                self.machine(node).done.push_back(Input::Fetched { index, term, found: Found });
            }
            Output::Rows(rows) => {
                self.note(node, &format!("passes rows up to {rows} to the history"));
                self.machine(node).disk.rows = rows;
            }
            Output::CheckpointBegin { index, term } => {
                self.note(node, &format!("cuts a checkpoint of entry {index}"));
                self.machine(node).cutting = Some((index, term, Vec::new()));
            }
            Output::CheckpointPiece(piece) => {
                let machine = self.machine(node);
                machine.cutting.as_mut().expect("a checkpoint has begun").2.extend(piece);
                machine.done.push_back(Input::CheckpointPieceTaken);
            }
            Output::CheckpointEnd { index, time, position } => {
                self.end_checkpoint(node, index, time, position);
            }
            Output::Release(index) => {
                self.note(node, &format!("releases the log up to {index}"));
                self.machine(node).disk.log.retain(|entry| entry.index > index);
            }
            Output::Serve { to, pull } => self.serve(node, to, pull),
            Output::InstallRows { until, .. } => {
                self.note(node, &format!("appends a peer's rows up to {}", until.movements));
                let machine = self.machine(node);
                machine.disk.rows = until.movements;
                machine.done.push_back(Input::RowsInstalled);
            }
            Output::InstallCheckpoint(installable) => self.install(node, installable),
            Output::Terms(terms) => self.machine(node).disk.terms = terms,
            Output::Members(_) => {}
            other => self.trace.extend(answer(node, &other)),
        }
    }

    fn end_checkpoint(&mut self, node: NodeId, index: LogIndex, time: Nanos, position: HistoryPosition) {
        let is_flawed = self.flawed.contains(&node);
        let machine = self.machine(node);
        let (begun, term, bytes) = machine.cutting.take().expect("a checkpoint has begun");
        assert_eq!(begun, index, "it ends as it began");
        assert_eq!(machine.disk.rows, position.movements, "the history is as far as the checkpoint");
        let mut digest = digest(&bytes);
        digest[0] ^= u8::from(is_flawed);
        let (size, bytes) = (bytes.len() as u64, Bytes::from(bytes));
        let head = ChunkHead { index, term, time, position, size, digest };
        machine.disk.checkpoint = Some(Checkpoint { head, bytes });
        machine.done.push_back(Input::CheckpointWritten { index, digest });
    }

    /// Sends a peer the next part of the newest checkpoint: rows first.
    fn serve(&mut self, node: NodeId, to: NodeId, pull: Pull) {
        let is_unreadable = self.unreadable.contains(&node);
        let Some(Checkpoint { head, bytes }) = self.machine(node).disk.checkpoint.clone() else { return };
        let part = if pull.position == head.position {
            let offset = if pull.index == head.index { pull.offset } else { 0 };
            let from = usize::try_from(offset).expect("a small offset");
            let until = bytes.len().min(from + CHUNK_SIZE);
            let until = if is_unreadable { until.min(from + 1) } else { until };
            let terms = self.machine(node).disk.terms.clone();
            ChunkPart::State { offset, members: Members::default(), terms, bytes: bytes.slice(from..until) }
        } else {
            ChunkPart::Rows { from: pull.position, until: head.position, bytes: Bytes::new() }
        };
        let head = if is_unreadable { ChunkHead { size: 1, ..head } } else { head };
        self.messages.push_back((node, to, PeerMessage::Chunk(Chunk { head, part })));
    }

    fn install(&mut self, node: NodeId, installable: Installable) {
        let Installable { index, term, time, position, digest, bytes } = installable;
        self.note(node, &format!("installs a checkpoint of entry {index}"));
        let head = ChunkHead { index, term, time, position, size: bytes.len() as u64, digest };
        let machine = self.machine(node);
        assert_eq!(machine.disk.rows, position.movements, "the history is as far as the checkpoint");
        machine.disk.checkpoint = Some(Checkpoint { head, bytes });
        machine.disk.log.clear();
        machine.disk.staged.clear();
        machine.done.push_back(Input::Installed);
    }

    /// Everything that a replica has written becomes durable, and its disk has done all other work.
    pub(crate) fn sync(&mut self, node: NodeId) {
        while let Some(write) = self.machine(node).disk.staged.pop_front() {
            let number = write.number;
            self.note(node, "has it on disk");
            let log = &mut self.machine(node).disk.log;
            if let Some(first) = write.entries.first() {
                log.retain(|entry| entry.index < first.index);
            }
            log.extend(write.entries);
            self.handle(node, Input::Persisted(number));
        }
        while let Some(input) = self.machine(node).done.pop_front() {
            self.handle(node, input);
        }
    }

    pub(crate) fn deliver(&mut self, (from, to, message): InFlight) {
        let is_lost = self.cut.contains(&from) || self.cut.contains(&to) || !self.is_up(to);
        let end = if is_lost { " (lost)" } else { "" };
        self.trace.push(format!("{from} -> {to}: {}{end}", message.describe(describe).text));
        if !is_lost {
            self.handle(to, Input::Message { from, message });
        }
    }

    /// Proposes, syncs disks and delivers messages until nothing is left to do.
    pub(crate) fn run(&mut self) {
        for _ in 0..10_000 {
            for node in self.up() {
                self.propose(node);
                if !self.slow.contains(&node) {
                    self.sync(node);
                }
            }
            let Some(message) = self.messages.pop_front() else { return };
            self.deliver(message);
        }
        panic!("the messages never end");
    }
}

fn written(write: &Write) -> String {
    let entry = |entry: &LogEntry| {
        let content = Entry::decode(&entry.payload).map_or_else(
            |_| "first of the term".to_owned(),
            |entry| {
                let checkpoint = if entry.checkpoint { " and a checkpoint" } else { "" };
                format!("{} at {}{checkpoint}", counted(entry.commands.len(), "command"), entry.time)
            },
        );
        format!("{}@{} ({content})", entry.index, entry.term)
    };
    write.entries.iter().map(entry).collect::<Vec<_>>().join(", ")
}

/// What a client or the operator learns.
fn answer(node: NodeId, output: &Output<Counter>) -> Option<String> {
    Some(match output {
        Output::Answer { ticket, index, time, .. } => {
            format!("{node}: answers {}: done in entry {index} at {time}", ticket.0)
        }
        Output::Refuse { ticket, refusal } => format!("{node}: refuses {}: {}", ticket.0, reason(refusal)),
        Output::QueryAnswer { ticket, index, answer } => {
            format!("{node}: answers {}: {} after entry {index}", ticket.0, counted(answer, "event"))
        }
        Output::BarrierPassed { ticket, index, position } => {
            format!(
                "{node}: answers {}: the history up to row {} (entry {index})",
                ticket.0, position.movements
            )
        }
        Output::CaughtUp => format!("{node}: has caught up"),
        Output::Stopped(conflict) => format!("{node}: stops: {conflict}"),
        Output::PeerStopped { from, .. } => format!("{node}: learns that {from} has stopped"),
        Output::Unreadable { from, index, reason } => {
            format!("{node}: cannot read checkpoint {index} of {from}: {reason}")
        }
        Output::Differs { index, others } => {
            let others: Vec<_> = others.iter().map(|other| format!("node {other}")).collect();
            format!("{node}: differs after entry {index} from {}", others.join(", "))
        }
        Output::Diverged { index, is_outvoted, .. } => {
            let by =
                if *is_outvoted { "outvoted by the majority" } else { "without a majority of equal states" };
            format!("{node}: has diverged after entry {index}, {by}")
        }
        _ => return None,
    })
}

fn reason(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Overloaded => "overloaded".to_owned(),
        Refusal::ReadOnly(reason) => {
            format!("read-only, outcome unknown: {}", reason.split(". ").next().unwrap_or_default())
        }
        Refusal::NotTaken(reason) => format!("nothing was done: {reason}"),
        Refusal::NoLeader => "no leader, nothing was done".to_owned(),
        Refusal::Interrupted => "interrupted, outcome unknown".to_owned(),
        Refusal::NoState(why) => format!("no state: {why}"),
    }
}

/// A number with its noun: `1 command`, `2 commands`.
fn counted(count: impl std::fmt::Display, noun: &str) -> String {
    let count = count.to_string();
    let end = if count == "1" { "" } else { "s" };
    format!("{count} {noun}{end}")
}

/// A client's command of that many events.
pub(crate) fn command(operation: u16, events: u32) -> Command {
    Command { operation, events, body: Bytes::from_static(b"event") }
}

/// A client's query of the state.
pub(crate) fn query(ticket: u64, consistency: Consistency) -> Input<Counter> {
    Input::Query { ticket: Ticket(ticket), query: (), consistency }
}
