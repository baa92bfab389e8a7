//! The engine: the roles of one replica, driven by the seam's inputs.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::fmt;

use bezant_consensus::{
    Change, ChangeError, Engine, EngineOptions, EngineState, EntryKind, Input, LogEntry, Members, Output,
    PeerStanding, ReadNumber, Role, Standing,
};
use bezant_types::{LogIndex, NodeId, Term};
use bytes::Bytes;

use crate::acceptor::Acceptor;
use crate::ballot::{Ballot, Mark};
use crate::bootstrap::Bootstrap;
use crate::disk::{After, Disk};
use crate::leader::Leader;
use crate::message::Message;
use crate::replica::Replica;
use crate::requester::Requester;
use crate::scout::Scout;
use crate::seed::{Seed, rank};
use crate::timeouts::Timeouts;
use crate::wire::{decode, encode};

/// How far this replica is on the way to lead.
#[derive(Debug)]
pub(crate) enum Position {
    /// It waits for a leader's word.
    Waiting,
    /// It asks whether it would be promised.
    Canvassing(Canvass),
    /// Phase 1.
    Scouting(Scout),
    /// Phase 2.
    Leading(Leader),
}

/// Who would promise, and in which round its promise is now.
#[derive(Debug)]
pub(crate) struct Canvass {
    pub(crate) turn: u64,
    pub(crate) willing: BTreeMap<NodeId, Term>,
}

/// One replica of a group that agrees by Multi-Paxos.
pub struct Paxos {
    pub(crate) node: NodeId,
    /// The newest list that is certainly agreed.
    pub(crate) members: Members,
    pub(crate) acceptor: Acceptor,
    pub(crate) replica: Replica,
    pub(crate) bootstrap: Bootstrap,
    pub(crate) requester: Requester,
    pub(crate) position: Position,
    pub(crate) disk: Disk,
    pub(crate) timeouts: Timeouts,
    /// A checkpoint of this slot or a later one is being fetched.
    pub(crate) installing: Option<LogIndex>,
    /// Ticks since this engine began.
    pub(crate) ticks: u64,
    /// When each of the others was heard of last.
    pub(crate) heard: BTreeMap<NodeId, u64>,
    /// The last slot that a leader has said to be decided.
    pub(crate) announced: LogIndex,
    /// The latest round that was heard of.
    pub(crate) round_seen: Term,
    /// Ballots of this replica that were pre-empted since it led or followed somebody.
    pub(crate) pre_emptions: u32,
    /// The last slot that the disk said to be decided.
    pub(crate) floor: LogIndex,
    /// What is decided here is contradicted: it takes part in nothing.
    pub(crate) is_stopped: bool,
    /// Messages of this replica's roles to each other.
    pub(crate) local: VecDeque<Message>,
    pub(crate) outputs: VecDeque<Output>,
}

impl fmt::Debug for Paxos {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Paxos")
            .field("node", &self.node)
            .field("standing", &self.standing())
            .finish_non_exhaustive()
    }
}

impl Paxos {
    /// A replica that goes on from what its disk held. `None` when the log holds an entry that no version of
    /// this engine wrote.
    ///
    /// # Panics
    /// When the options contradict themselves.
    pub fn new(options: &EngineOptions, state: EngineState) -> Option<Self> {
        assert!(options.node.0 != 0, "0 is nobody");
        assert!(options.members.voters().next().is_some(), "somebody votes");
        let mut timeouts = Timeouts::new(options.seed, options.election_ticks, options.heartbeat_ticks);
        let (checkpoint, floor) = (state.checkpoint.0, state.floor());
        let seed = Seed::new(options.node, &options.members, state)?;
        let learned = (seed.members.index > options.members.index).then(|| seed.members.clone());
        let waits = seed.stands_in.unwrap_or_else(|| timeouts.draw());
        Some(Self {
            node: options.node,
            members: seed.members,
            replica: Replica::new(checkpoint, waits),
            bootstrap: Bootstrap::new(options.may_vote),
            requester: Requester::new(options.seed),
            position: Position::Waiting,
            disk: Disk::new(seed.values.last().slot),
            acceptor: Acceptor::new(seed.promised, seed.written, seed.values),
            timeouts,
            installing: None,
            ticks: 0,
            heard: BTreeMap::new(),
            announced: LogIndex(0),
            round_seen: Term(0),
            pre_emptions: 0,
            floor,
            is_stopped: false,
            local: VecDeque::new(),
            outputs: learned.map(Output::Members).into_iter().collect(),
        })
    }

    /// Hands a message to a peer, or to a role of this replica.
    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        if to == self.node {
            self.local.push_back(message);
        } else {
            self.outputs.push_back(Output::Send { to, bytes: encode(&message) });
        }
    }

    /// The same, once what the message speaks of is durable.
    pub(crate) fn say(&mut self, after: After, to: NodeId, message: Message) {
        if let Some(message) = self.disk.hold(after, to, message) {
            self.send(to, message);
        }
    }

    /// Hands to the disk what the acceptor has promised and accepted.
    pub(crate) fn write(&mut self) {
        let (vote, entries) = self.acceptor.take_write();
        self.outputs.extend(self.disk.write(vote, entries).map(Output::Persist));
    }

    /// True when a message of that node came lately.
    pub(crate) fn is_heard(&self, node: NodeId) -> bool {
        self.heard.get(&node).is_some_and(|at| at + self.timeouts.election_ticks() > self.ticks)
    }

    /// Everything that follows from what has come.
    pub(crate) fn work(&mut self) {
        loop {
            while let Some(message) = self.local.pop_front() {
                self.handle_message(self.node, message);
            }
            if self.is_stopped {
                return;
            }
            self.commit();
            self.lead_on();
            if self.local.is_empty() {
                return;
            }
        }
    }

    /// Who leads, as far as this replica knows from now on. What was asked of the old leader is asked of the new one.
    pub(crate) fn follow(&mut self, leader: Option<NodeId>) {
        if self.replica.follow(leader)
            && let Some(leader) = leader
        {
            for question in self.requester.ask_again() {
                self.send(leader, question);
            }
        }
    }

    fn ask(&mut self, questions: Vec<Message>) {
        let Some(leader) = self.replica.leader() else { return };
        for question in questions {
            self.send(leader, question);
        }
    }

    /// The connection to a peer broke. When it led, its process is gone in all likelihood: this replica does not wait for the
    /// whole time, and does not keep the others from leading. They stand in turn, the lowest number first.
    fn handle_lost(&mut self, peer: NodeId) {
        match &mut self.position {
            Position::Leading(leader) => {
                if let Some(delivery) = leader.deliveries.get_mut(&peer) {
                    delivery.handle_lost();
                }
            }
            _ if self.replica.leader() == Some(peer) && self.installing.is_none() => {
                self.follow(None);
                self.replica.wait(Timeouts::turn(rank(&self.members, self.node, Some(peer))));
            }
            _ => {}
        }
    }

    fn handle_installed(&mut self, mark: Mark, members: Members) {
        assert!(self.installing.is_some(), "a checkpoint was asked for");
        self.installing = None;
        // One that was removed meanwhile knows it from here, and stands no more.
        if members.index > self.members.index {
            self.members = members.clone();
            self.outputs.push_back(Output::Members(members));
        }
        // Whoever has values of a round is in it: the next leader's word in an earlier one would not fit behind them.
        self.acceptor.follow(Ballot { round: mark.round, node: NodeId(0) });
        self.acceptor.restart(mark);
        self.disk.restart(mark.slot);
        self.write();
        self.replica.restart(mark.slot);
        self.note_decided(mark);
    }

    /// That value is decided, and on the disk.
    pub(crate) fn note_decided(&mut self, mark: Mark) {
        if self.bootstrap.handle_decided(mark.slot, mark.round) {
            self.outputs.push_back(Output::CaughtUp);
        }
    }

    /// Hands out what is decided and on the disk, and makes the changes in it.
    pub(crate) fn commit(&mut self) {
        while let Some(slot) = self.replica.next(self.disk.durable_slot()) {
            let entry = self.acceptor.values().entry(slot);
            let entry = entry.expect("invariant: what is not handed out is held").clone();
            self.replica.handle_committed(slot);
            self.make(&entry);
            let mark = Mark::of(&entry);
            self.outputs.push_back(Output::Commit(entry));
            self.note_decided(mark);
        }
    }
}

impl Engine for Paxos {
    fn propose(&mut self, payload: Bytes) -> Option<LogIndex> {
        assert!(!payload.is_empty(), "a command says something");
        if !self.is_leader() {
            return None;
        }
        let slot = self.give_out(EntryKind::Command, payload);
        self.work();
        slot
    }

    fn read(&mut self, read: ReadNumber) {
        let question = self.requester.ask(read);
        self.ask(Vec::from([question]));
        self.work();
    }

    fn change(&mut self, change: Change) -> Result<Option<LogIndex>, ChangeError> {
        let made = self.propose_change(&change);
        self.work();
        made
    }

    fn members(&self) -> &Members {
        &self.members
    }

    fn transfer_leadership(&mut self) {
        self.give_lead_away();
        self.work();
    }

    fn handle(&mut self, input: Input) {
        if self.is_stopped {
            return;
        }
        match input {
            Input::Persisted(number) => {
                for (to, message) in self.disk.handle_persisted(number) {
                    self.send(to, message);
                }
            }
            Input::VoteKept(number) => {
                for (to, message) in self.disk.handle_kept(number) {
                    self.send(to, message);
                }
            }
            Input::Message { from, bytes } if from != self.node => {
                if let Some(message) = decode(&bytes) {
                    self.heard.insert(from, self.ticks);
                    self.handle_message(from, message);
                }
            }
            Input::Message { .. } => {}
            Input::Lost(peer) => self.handle_lost(peer),
            Input::Released { index, term } => self.acceptor.release(Mark::new(index, term)),
            Input::Installed { index, term, members } => {
                self.handle_installed(Mark::new(index, term), members);
            }
            Input::Admit => self.bootstrap = Bootstrap::Admitted,
            Input::Tick => {
                let late = self.requester.handle_tick();
                self.ask(late);
                self.handle_tick();
            }
        }
        self.work();
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn may_vote(&self) -> bool {
        self.bootstrap.is_admitted()
    }

    fn is_leader(&self) -> bool {
        let leads = matches!(&self.position, Position::Leading(leader) if leader.successor.is_none());
        leads && !self.is_stopped
    }

    fn leader(&self) -> Option<NodeId> {
        self.replica.leader()
    }

    fn standing(&self) -> Standing {
        let (role, peers) = match &self.position {
            Position::Waiting => (Role::Follower, Vec::new()),
            Position::Canvassing(_) | Position::Scouting(_) => (Role::Candidate, Vec::new()),
            Position::Leading(leader) => {
                let peer = |(node, delivery): (&NodeId, &crate::delivery::Delivery)| PeerStanding {
                    node: *node,
                    matched: delivery.matched(),
                    is_active: self.is_heard(*node),
                };
                (Role::Leader, leader.deliveries.iter().map(peer).collect())
            }
        };
        Standing {
            role,
            term: self.acceptor.promised().round,
            leader: self.leader(),
            committed: self.replica.decided(),
            announced: self.announced.max(self.replica.decided()),
            ticks_since_leader: if role == Role::Leader { 0 } else { self.replica.silent_ticks() },
            peers,
        }
    }
}

impl Paxos {
    /// Puts a value into the next slot; `None` when this replica does not lead.
    pub(crate) fn give_out(&mut self, kind: EntryKind, payload: Bytes) -> Option<LogIndex> {
        let Position::Leading(leader) = &mut self.position else { return None };
        let (ballot, after) = (leader.ballot, self.acceptor.values().last());
        let value = LogEntry { index: after.slot.next(), term: ballot.round, kind, payload };
        let slot = value.index;
        if slot > leader.first {
            leader.command(slot);
        }
        let (values, decided) = (Vec::from([value]), self.replica.decided());
        // At once: the next value is put behind this one.
        self.handle_message(self.node, Message::Accept { ballot, after, values, decided });
        Some(slot)
    }

    /// The ballot in which this replica tries to lead, or leads.
    pub(crate) const fn ballot(&self) -> Option<Ballot> {
        match &self.position {
            Position::Waiting | Position::Canvassing(_) => None,
            Position::Scouting(scout) => Some(scout.ballot()),
            Position::Leading(leader) => Some(leader.ballot),
        }
    }
}
