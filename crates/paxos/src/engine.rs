//! The engine: the roles of one replica, driven by the inputs of [`bezant_consensus`].

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

/// The state of this replica in elections.
#[derive(Debug)]
pub(crate) enum Position {
    /// It follows a leader or waits for one.
    Waiting,
    /// It runs a pre-vote: it asks whether a quorum would promise.
    PreVoting(PreVote),
    /// Phase 1.
    Scouting(Scout),
    /// Phase 2.
    Leading(Leader),
}

/// A pre-vote in progress. `attempt` is its number, the tick at which it started. `granted` holds the
/// acceptors that would promise, with the round of their current promise.
#[derive(Debug)]
pub(crate) struct PreVote {
    pub(crate) attempt: u64,
    pub(crate) granted: BTreeMap<NodeId, Term>,
}

/// One replica of a group that runs Multi-Paxos.
pub struct Paxos {
    pub(crate) node: NodeId,
    /// The newest list of members that is certainly decided; see `learn_members`.
    pub(crate) members: Members,
    pub(crate) acceptor: Acceptor,
    pub(crate) replica: Replica,
    pub(crate) bootstrap: Bootstrap,
    pub(crate) requester: Requester,
    pub(crate) position: Position,
    pub(crate) disk: Disk,
    pub(crate) timeouts: Timeouts,
    /// The first slot that the checkpoint being fetched must cover; `None` when no checkpoint is being
    /// fetched.
    pub(crate) installing: Option<LogIndex>,
    /// Ticks since this engine started.
    pub(crate) ticks: u64,
    /// The tick at which the last message of each peer arrived.
    pub(crate) received_at: BTreeMap<NodeId, u64>,
    /// The last slot that a leader has announced as decided.
    pub(crate) announced: LogIndex,
    /// The latest round in a granted pre-vote or a refusal.
    pub(crate) round_seen: Term,
    /// Consecutive ballots of this replica that were pre-empted; reset when it leads or follows a leader.
    pub(crate) pre_emptions: u32,
    /// The last slot that the disk recorded as decided when this engine started.
    pub(crate) floor: LogIndex,
    /// Set once a leader or an acceptor contradicts a decided value: this replica handles no input from then
    /// on.
    pub(crate) is_stopped: bool,
    /// Messages between the roles of this replica.
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
    /// A replica that continues from the state of its disk. `None` when the log holds an entry that no
    /// version of this engine wrote.
    ///
    /// # Panics
    /// When the options contradict themselves.
    pub fn new(options: &EngineOptions, state: EngineState) -> Option<Self> {
        assert!(options.node.0 != 0, "the number of a node is not 0");
        assert!(options.members.voters().next().is_some(), "at least one member is a voter");
        let mut timeouts = Timeouts::new(options.seed, options.election_ticks, options.heartbeat_ticks);
        let (checkpoint, floor) = (state.checkpoint.0, state.floor());
        let seed = Seed::new(options.node, &options.members, state)?;
        let learned = (seed.members.index > options.members.index).then(|| seed.members.clone());
        let timeout = seed.campaign_in.unwrap_or_else(|| timeouts.draw());
        Some(Self {
            node: options.node,
            members: seed.members,
            replica: Replica::new(checkpoint, timeout),
            bootstrap: Bootstrap::new(options.may_vote),
            requester: Requester::new(options.seed),
            position: Position::Waiting,
            disk: Disk::new(seed.values.last().slot),
            acceptor: Acceptor::new(seed.promised, seed.written, seed.values),
            timeouts,
            installing: None,
            ticks: 0,
            received_at: BTreeMap::new(),
            announced: LogIndex(0),
            round_seen: Term(0),
            pre_emptions: 0,
            floor,
            is_stopped: false,
            local: VecDeque::new(),
            outputs: learned.map(Output::Members).into_iter().collect(),
        })
    }

    /// Sends a message to a peer, or to a role of this replica.
    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        if to == self.node {
            self.local.push_back(message);
        } else {
            self.outputs.push_back(Output::Send { to, bytes: encode(&message) });
        }
    }

    /// Sends a message once the state that it depends on is durable.
    pub(crate) fn send_after(&mut self, after: After, to: NodeId, message: Message) {
        if let Some(message) = self.disk.hold(after, to, message) {
            self.send(to, message);
        }
    }

    /// Emits a write of the promises and pvalues that the acceptor has not written yet.
    pub(crate) fn write(&mut self) {
        let (vote, entries) = self.acceptor.take_write();
        self.outputs.extend(self.disk.write(vote, entries).map(Output::Persist));
    }

    /// True when that node sent a message within the last election timeout.
    pub(crate) fn is_active_peer(&self, node: NodeId) -> bool {
        self.received_at.get(&node).is_some_and(|at| at + self.timeouts.election_ticks() > self.ticks)
    }

    /// Processes local messages, and everything that follows from an input.
    pub(crate) fn work(&mut self) {
        loop {
            while let Some(message) = self.local.pop_front() {
                self.handle_message(self.node, message);
            }
            if self.is_stopped {
                return;
            }
            self.commit();
            self.advance_leader();
            if self.local.is_empty() {
                return;
            }
        }
    }

    /// Sets the leader that this replica follows. Unanswered reads are sent to the new leader.
    pub(crate) fn follow(&mut self, leader: Option<NodeId>) {
        if self.replica.follow(leader)
            && let Some(leader) = leader
        {
            for request in self.requester.pending() {
                self.send(leader, request);
            }
        }
    }

    fn send_to_leader(&mut self, requests: Vec<Message>) {
        let Some(leader) = self.replica.leader() else { return };
        for request in requests {
            self.send(leader, request);
        }
    }

    /// The connection to a peer broke. If the peer led, its process has most likely ended: this replica does
    /// not wait for the whole election timeout, and from now on grants pre-votes to others. The voters
    /// campaign one after another, the lowest number first.
    fn handle_lost(&mut self, peer: NodeId) {
        match &mut self.position {
            Position::Leading(leader) => {
                if let Some(delivery) = leader.deliveries.get_mut(&peer) {
                    delivery.handle_lost();
                }
            }
            _ if self.replica.leader() == Some(peer) && self.installing.is_none() => {
                self.follow(None);
                self.replica.reset_timeout(Timeouts::staggered(rank(&self.members, self.node, Some(peer))));
            }
            _ => {}
        }
    }

    fn handle_installed(&mut self, mark: Mark, members: Members) {
        assert!(self.installing.is_some(), "the engine asked for a checkpoint");
        self.installing = None;
        // If this replica was removed meanwhile, these members show it, and it does not campaign any more.
        if members.index > self.members.index {
            self.members = members.clone();
            self.outputs.push_back(Output::Members(members));
        }
        // A replica whose log ends with a value of a round takes part in no earlier round: values of an
        // earlier round cannot follow that value.
        self.acceptor.follow(Ballot { round: mark.round, node: NodeId(0) });
        self.acceptor.restart(mark);
        self.disk.restart(mark.slot);
        self.write();
        self.replica.restart(mark.slot);
        self.note_decided(mark);
    }

    /// The value at that mark is decided and durable.
    pub(crate) fn note_decided(&mut self, mark: Mark) {
        if self.bootstrap.handle_decided(mark.slot, mark.round) {
            self.outputs.push_back(Output::CaughtUp);
        }
    }

    /// Emits the values that are decided and durable, and applies the changes of members among them.
    pub(crate) fn commit(&mut self) {
        while let Some(slot) = self.replica.next(self.disk.durable_slot()) {
            let entry = self.acceptor.values().entry(slot);
            let entry = entry.expect("invariant: a value that was not emitted yet is in memory").clone();
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
        assert!(!payload.is_empty(), "the payload of a command is not empty");
        if !self.is_leader() {
            return None;
        }
        let slot = self.propose_value(EntryKind::Command, payload);
        self.work();
        slot
    }

    fn read(&mut self, read: ReadNumber) {
        let request = self.requester.add(read);
        self.send_to_leader(Vec::from([request]));
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
        self.transfer_to_most_advanced();
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
                for (to, message) in self.disk.handle_vote_durable(number) {
                    self.send(to, message);
                }
            }
            Input::Message { from, bytes } if from != self.node => {
                if let Some(message) = decode(&bytes) {
                    self.received_at.insert(from, self.ticks);
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
                let requests = self.requester.handle_tick();
                self.send_to_leader(requests);
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
            Position::PreVoting(_) | Position::Scouting(_) => (Role::Candidate, Vec::new()),
            Position::Leading(leader) => {
                let peer = |(node, delivery): (&NodeId, &crate::delivery::Delivery)| PeerStanding {
                    node: *node,
                    matched: delivery.matched(),
                    is_active: self.is_active_peer(*node),
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
            ticks_since_leader: if role == Role::Leader { 0 } else { self.replica.ticks_since_leader() },
            peers,
        }
    }
}

impl Paxos {
    /// Assigns the next slot to a value; `None` when this replica does not lead.
    pub(crate) fn propose_value(&mut self, kind: EntryKind, payload: Bytes) -> Option<LogIndex> {
        let Position::Leading(leader) = &mut self.position else { return None };
        let (ballot, after) = (leader.ballot, self.acceptor.values().last());
        let value = LogEntry { index: after.slot.next(), term: ballot.round, kind, payload };
        let slot = value.index;
        if slot > leader.first {
            leader.command(slot);
        }
        let (values, decided) = (Vec::from([value]), self.replica.decided());
        // Handled at once, because the next proposal must find this value at the end of the log.
        self.handle_message(self.node, Message::Accept { ballot, after, values, decided });
        Some(slot)
    }

    /// The ballot in which this replica tries to lead, or leads.
    pub(crate) const fn ballot(&self) -> Option<Ballot> {
        match &self.position {
            Position::Waiting | Position::PreVoting(_) => None,
            Position::Scouting(scout) => Some(scout.ballot()),
            Position::Leading(leader) => Some(leader.ballot),
        }
    }
}
