//! An engine without elections: the script appoints the leader of each term. Otherwise it is like Raft: an
//! entry is committed when a majority has it on disk, and a later leader replaces what is not committed.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bezant_consensus::{
    Change, ChangeError, Description, Engine, EntryKind, Input, LogEntry, Members, MessageKind, Output,
    PeerStanding, ReadNumber, Role, Standing, Write, WriteNumber,
};
use bezant_types::{LogIndex, NodeId, Term};
use bytes::Bytes;

/// Ticks without a message after which a peer counts as inactive.
const ACTIVE_TICKS: u64 = 20;
/// Ticks between two heartbeats.
const HEARTBEAT_TICKS: u64 = 4;

#[derive(Clone, Debug)]
enum Message {
    Append { term: Term, after: (LogIndex, Term), entries: Vec<LogEntry>, committed: LogIndex },
    Accepted { term: Term, last: LogIndex },
    Missing { term: Term, committed: LogIndex },
    Offer { term: Term, index: LogIndex },
    Ask { read: ReadNumber },
    Probe { term: Term, from: NodeId, read: ReadNumber },
    Confirm { term: Term, from: NodeId, read: ReadNumber },
    Answer { read: ReadNumber, index: LogIndex },
    Appoint { term: Term },
}

/// The message by which the script makes its receiver the leader of a term.
pub(crate) fn appointment(term: Term) -> Bytes {
    encode(Message::Appoint { term })
}

/// What the replicas ask of their engines beside entries and reads, for the trace.
pub(crate) type Asked = Rc<RefCell<Vec<String>>>;

thread_local! {
    /// All messages of this test; the bytes of a message are its number.
    static MESSAGES: RefCell<Vec<Message>> = const { RefCell::new(Vec::new()) };
}

fn encode(message: Message) -> Bytes {
    MESSAGES.with_borrow_mut(|all| {
        all.push(message);
        Bytes::copy_from_slice(&all.len().to_le_bytes())
    })
}

fn decode(bytes: &Bytes) -> Option<Message> {
    let number = usize::from_le_bytes(bytes.as_ref().try_into().ok()?);
    MESSAGES.with_borrow(|all| all.get(number.checked_sub(1)?).cloned())
}

/// A message on one line.
pub(crate) fn describe(bytes: &Bytes) -> Option<Description> {
    let text = match decode(bytes)? {
        Message::Append { entries, committed, after, .. } => match entries.last() {
            Some(last) if entries.len() == 1 => format!("entry {}, committed {committed}", last.index),
            Some(last) => format!("entries {}..{}, committed {committed}", after.0.next(), last.index),
            None => format!("committed {committed}"),
        },
        Message::Accepted { last, .. } => format!("has entries up to {last} on disk"),
        Message::Missing { committed, .. } => format!("lacks entries after {committed}"),
        Message::Offer { index, .. } => format!("a checkpoint of {index} is needed"),
        Message::Ask { read } => format!("which entry must read {} see?", read.0),
        Message::Probe { read, from, .. } => format!("do I still lead, for read {} of {from}?", read.0),
        Message::Confirm { read, from, .. } => format!("you lead, for read {} of {from}", read.0),
        Message::Answer { read, index } => format!("read {} must see entry {index}", read.0),
        Message::Appoint { term } => format!("lead term {term}"),
    };
    Some(Description::new(MessageKind::Entries, text))
}

#[derive(Debug)]
pub(crate) struct Appointed {
    node: NodeId,
    members: Members,
    term: Term,
    leader: Option<NodeId>,
    /// Index and term of the entry before the first one here.
    base: (LogIndex, Term),
    log: Vec<LogEntry>,
    durable: LogIndex,
    committed: LogIndex,
    emitted: LogIndex,
    last_write: WriteNumber,
    /// Writes that are not durable, with the last entry of the log after each.
    writes: VecDeque<(WriteNumber, LogIndex)>,
    /// The entry up to which the log equals the leader's.
    equal: LogIndex,
    next: BTreeMap<NodeId, LogIndex>,
    matched: BTreeMap<NodeId, LogIndex>,
    /// Reads that wait for confirmations, with the nodes that gave one.
    reads: BTreeMap<(NodeId, ReadNumber), Vec<NodeId>>,
    is_installing: bool,
    /// What this replica, whose disk is new, must have applied before it has caught up; `None` before the
    /// first message of a leader.
    wanted: Option<LogIndex>,
    may_vote: bool,
    ticks_since_leader: u64,
    ticks: u64,
    /// The tick at which the last message of each peer arrived.
    received_at: BTreeMap<NodeId, u64>,
    asked: Asked,
    outputs: VecDeque<Output>,
}

impl Appointed {
    /// An engine whose log is on disk, after a checkpoint of `base`.
    pub(crate) fn new(
        node: NodeId,
        members: Members,
        base: (LogIndex, Term),
        log: Vec<LogEntry>,
        may_vote: bool,
        asked: Asked,
    ) -> Self {
        let last = log.last().map_or(base, |last| (last.index, last.term));
        Self {
            node,
            members,
            term: last.1,
            leader: None,
            base,
            log,
            durable: last.0,
            committed: base.0,
            emitted: base.0,
            last_write: WriteNumber(0),
            writes: VecDeque::new(),
            equal: base.0,
            next: BTreeMap::new(),
            matched: BTreeMap::new(),
            reads: BTreeMap::new(),
            is_installing: false,
            wanted: None,
            may_vote,
            ticks_since_leader: 0,
            ticks: 0,
            received_at: BTreeMap::new(),
            asked,
            outputs: VecDeque::new(),
        }
    }

    /// The script makes this node the leader of `term`.
    fn appoint(&mut self, term: Term) {
        let last = self.last();
        (self.term, self.leader) = (term, Some(self.node));
        self.equal = last;
        self.next = self.peers().into_iter().map(|peer| (peer, last.next())).collect();
        self.matched = BTreeMap::new();
        self.append(EntryKind::Engine, Bytes::new());
    }

    fn peers(&self) -> Vec<NodeId> {
        self.members.nodes.iter().map(|member| member.node).filter(|node| *node != self.node).collect()
    }

    fn last(&self) -> LogIndex {
        self.log.last().map_or(self.base.0, |last| last.index)
    }

    fn term_of(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        self.log.iter().find(|entry| entry.index == index).map(|entry| entry.term)
    }

    fn send(&mut self, to: NodeId, message: Message) {
        self.outputs.push_back(Output::Send { to, bytes: encode(message) });
    }

    fn write(&mut self, entries: Vec<LogEntry>) {
        self.last_write = WriteNumber(self.last_write.0 + 1);
        self.writes.push_back((self.last_write, self.last()));
        self.outputs.push_back(Output::Persist(Write { number: self.last_write, vote: None, entries }));
    }

    fn append(&mut self, kind: EntryKind, payload: Bytes) -> LogIndex {
        let entry = LogEntry { index: self.last().next(), term: self.term, kind, payload };
        let index = entry.index;
        self.log.push(entry.clone());
        self.equal = index;
        self.write(vec![entry]);
        self.replicate(false);
        index
    }

    /// Sends every peer what it lacks, or a heartbeat.
    fn replicate(&mut self, is_heartbeat: bool) {
        for peer in self.peers() {
            let next = self.next.get(&peer).copied().unwrap_or_default();
            let before = LogIndex(next.0 - 1);
            let Some(term) = self.term_of(before) else {
                self.send(peer, Message::Offer { term: self.term, index: self.base.0 });
                continue;
            };
            let entries: Vec<_> = self.log.iter().filter(|entry| entry.index >= next).cloned().collect();
            if !entries.is_empty() || is_heartbeat {
                self.next.insert(peer, self.last().next());
                let (after, committed) = ((before, term), self.committed);
                self.send(peer, Message::Append { term: self.term, after, entries, committed });
            }
        }
    }

    fn follow(&mut self, from: NodeId, term: Term) -> bool {
        if term < self.term {
            return false;
        }
        if term > self.term {
            self.equal = self.base.0;
        }
        (self.term, self.leader, self.ticks_since_leader) = (term, Some(from), 0);
        true
    }

    fn handle_append(
        &mut self,
        from: NodeId,
        after: (LogIndex, Term),
        entries: Vec<LogEntry>,
        committed: LogIndex,
    ) {
        if self.is_installing {
            return;
        }
        if after.0 > self.base.0 && self.term_of(after.0) != Some(after.1) {
            return self.send(from, Message::Missing { term: self.term, committed: self.emitted });
        }
        self.equal = self.equal.max(entries.last().map_or(after.0, |last| last.index));
        let is_new =
            |entry: &&LogEntry| entry.index > self.base.0 && self.term_of(entry.index) != Some(entry.term);
        if let Some(first) = entries.iter().find(is_new).map(|entry| entry.index) {
            self.log.retain(|entry| entry.index < first);
            self.durable = self.durable.min(LogIndex(first.0 - 1));
            let new: Vec<_> = entries.into_iter().filter(|entry| entry.index >= first).collect();
            self.log.extend(new.iter().cloned());
            self.write(new);
        } else {
            self.confirm();
        }
        self.committed = self.committed.max(committed.min(self.equal));
        if !self.may_vote {
            self.wanted.get_or_insert_with(|| committed.max(LogIndex(1)));
        }
    }

    fn confirm(&mut self) {
        if let Some(leader) = self.leader.filter(|leader| *leader != self.node) {
            let last = self.durable.min(self.equal);
            self.send(leader, Message::Accepted { term: self.term, last });
        }
    }

    /// Commits what a majority has on disk, and emits what is committed and on this disk.
    fn advance(&mut self) {
        if self.is_leader() {
            let mut ends: Vec<LogIndex> =
                self.peers().iter().map(|peer| self.matched.get(peer).copied().unwrap_or_default()).collect();
            ends.push(self.durable);
            ends.sort_unstable();
            let shared = ends[(ends.len() - 1) / 2];
            if shared > self.committed && self.term_of(shared) == Some(self.term) {
                self.committed = shared;
                self.replicate(true);
            }
        }
        while self.emitted < self.committed.min(self.durable) {
            self.emitted = self.emitted.next();
            let entry = self.log.iter().find(|entry| entry.index == self.emitted).cloned();
            self.outputs.push_back(Output::Commit(entry.expect("a committed entry is in the log")));
            if self.wanted == Some(self.emitted) {
                self.outputs.push_back(Output::CaughtUp);
            }
        }
    }

    fn handle_message(&mut self, from: NodeId, message: Message) {
        match message {
            Message::Append { term, after, entries, committed } => {
                if self.follow(from, term) {
                    self.handle_append(from, after, entries, committed);
                }
            }
            Message::Accepted { term, last } if term == self.term && self.is_leader() => {
                let matched = self.matched.entry(from).or_default();
                *matched = (*matched).max(last);
            }
            Message::Missing { term, committed } if term == self.term && self.is_leader() => {
                self.next.insert(from, committed.next());
                self.replicate(false);
            }
            Message::Offer { term, index } => {
                if self.follow(from, term) && !self.is_installing {
                    self.is_installing = true;
                    self.outputs.push_back(Output::Install { from, index });
                }
            }
            Message::Ask { read } if self.is_leader() => self.begin_read(from, read),
            Message::Probe { term, from: reader, read } => {
                if self.follow(from, term) {
                    self.send(from, Message::Confirm { term, from: reader, read });
                }
            }
            Message::Confirm { term, from: reader, read } if term == self.term && self.is_leader() => {
                if let Some(nodes) = self.reads.get_mut(&(reader, read)) {
                    nodes.push(from);
                    self.finish_read(reader, read);
                }
            }
            Message::Appoint { term } => self.appoint(term),
            Message::Answer { read, index } => self.outputs.push_back(Output::Readable { read, index }),
            Message::Accepted { .. }
            | Message::Missing { .. }
            | Message::Ask { .. }
            | Message::Confirm { .. } => {}
        }
    }

    fn begin_read(&mut self, from: NodeId, read: ReadNumber) {
        self.reads.insert((from, read), vec![self.node]);
        for peer in self.peers() {
            self.send(peer, Message::Probe { term: self.term, from, read });
        }
    }

    fn finish_read(&mut self, reader: NodeId, read: ReadNumber) {
        let nodes = self.reads.get(&(reader, read)).cloned().unwrap_or_default();
        if self.members.is_quorum(|node| nodes.contains(&node)) {
            self.reads.remove(&(reader, read));
            if reader == self.node {
                self.outputs.push_back(Output::Readable { read, index: self.committed });
            } else {
                self.send(reader, Message::Answer { read, index: self.committed });
            }
        }
    }
}

impl Engine for Appointed {
    fn propose(&mut self, payload: Bytes) -> Option<LogIndex> {
        self.is_leader().then(|| self.append(EntryKind::Command, payload))
    }

    fn read(&mut self, read: ReadNumber) {
        match self.leader {
            Some(leader) if leader == self.node => self.begin_read(leader, read),
            Some(leader) => self.send(leader, Message::Ask { read }),
            None => {}
        }
    }

    fn change(&mut self, change: Change) -> Result<Option<LogIndex>, ChangeError> {
        self.asked.borrow_mut().push(format!("{}: asks the engine: {change:?}", self.node));
        Ok(None)
    }

    fn members(&self) -> &Members {
        &self.members
    }

    fn transfer_leadership(&mut self) {
        self.asked.borrow_mut().push(format!("{}: asks the engine to transfer the leadership", self.node));
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Persisted(number) => {
                while let Some((_, last)) = self.writes.pop_front_if(|(write, _)| *write <= number) {
                    self.durable = last.min(self.last());
                }
                self.confirm();
            }
            Input::Message { from, bytes } => {
                if let Some(message) = decode(&bytes) {
                    self.received_at.insert(from, self.ticks);
                    self.handle_message(from, message);
                }
            }
            Input::Lost(peer) if self.leader == Some(peer) => self.leader = None,
            Input::Released { index, term } => {
                self.base = (index, term);
                self.log.retain(|entry| entry.index > index);
            }
            Input::Installed { index, term, .. } => {
                self.base = (index, term);
                self.log.clear();
                self.writes.clear();
                (self.durable, self.committed, self.emitted, self.equal) = (index, index, index, index);
                self.is_installing = false;
                self.confirm();
            }
            Input::Admit => self.may_vote = true,
            Input::Tick => {
                (self.ticks, self.ticks_since_leader) = (self.ticks + 1, self.ticks_since_leader + 1);
                if self.is_leader() && self.ticks.is_multiple_of(HEARTBEAT_TICKS) {
                    self.replicate(true);
                }
            }
            Input::VoteKept(_) | Input::Lost(_) => {}
        }
        self.advance();
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn may_vote(&self) -> bool {
        self.may_vote
    }

    fn is_leader(&self) -> bool {
        self.leader == Some(self.node)
    }

    fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    fn standing(&self) -> Standing {
        let is_active =
            |peer: &NodeId| self.received_at.get(peer).is_some_and(|at| at + ACTIVE_TICKS > self.ticks);
        let peers = if self.is_leader() { self.peers() } else { Vec::new() };
        let peers = peers.into_iter().map(|node| PeerStanding {
            node,
            matched: self.matched.get(&node).copied().unwrap_or_default(),
            is_active: is_active(&node),
        });
        Standing {
            role: if self.is_leader() { Role::Leader } else { Role::Follower },
            term: self.term,
            leader: self.leader,
            committed: self.committed,
            announced: self.committed,
            ticks_since_leader: if self.is_leader() { 0 } else { self.ticks_since_leader },
            peers: peers.collect(),
        }
    }
}
