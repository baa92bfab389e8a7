//! The engine: the node of raft-rs, driven by the inputs of [`bezant_consensus`].

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bezant_consensus::{
    Change, ChangeError, Engine, EngineOptions, EngineState, Input, LogEntry, Members, Output, PeerStanding,
    ReadNumber, Role, Standing, Vote, Write, WriteNumber,
};
use bezant_types::{LogIndex, NodeId, Term};
use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};
use raft::{Config, RawNode, ReadOnlyOption, Ready, SnapshotStatus, StateRole};

use crate::conf::conf_state;
use crate::held::{Freed, Held, Written};
use crate::install::{Installing, snapshot, snapshot_message};
use crate::reached::{Reached, check_vote};
use crate::read::Reads;
use crate::tail::Tail;
use crate::timeout::Timeouts;
use crate::wire::{change_in, decode, encode, log_entry};

/// Bytes of entries in one message. An entry that is larger is sent alone.
const MESSAGE_SIZE_MAX: u64 = 1 << 20;
/// Messages with entries in flight to one follower.
const MESSAGES_IN_FLIGHT_MAX: usize = 64;

/// Whether this replica takes part in elections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    /// It votes and may start an election.
    Admitted,
    /// It has received no append of a leader yet.
    Waiting,
    /// It must have two things on disk: every entry up to `index`, the commit index in the first append that
    /// it received from a leader, and an entry of that leader's term or of a later term. The second is needed
    /// because a new leader may know a lower commit index than the group has reached. All entries that were
    /// committed before its term precede its first entry.
    Until { index: u64, term: u64 },
    /// It has these entries and has emitted `CaughtUp`.
    CaughtUp,
}

/// One replica of a group that runs Raft.
pub struct Raft {
    pub(crate) node: NodeId,
    pub(crate) raw: RawNode<Tail>,
    held: Held,
    reads: Reads,
    installing: Installing,
    timeouts: Timeouts,
    /// The term and the role for which the election timeout was drawn.
    drawn_for: (u64, StateRole),
    /// The election timeout, in ticks.
    drawn: usize,
    /// Ticks until this replica starts an election because the connection to its leader broke; `None`
    /// otherwise.
    campaign_in: Option<usize>,
    /// The vote that is on the disk, or in a write that was emitted.
    vote: Vote,
    /// The leader after the previous input, to detect a change; 0 for none.
    leader_before: u64,
    /// The last index that a leader has announced as committed.
    announced: u64,
    /// Ticks since the last message of the leader.
    ticks_since_leader: u64,
    /// Ticks since this engine started.
    ticks: u64,
    /// The tick at which the last message of each peer arrived.
    received_at: BTreeMap<NodeId, u64>,
    /// A peer counts as active for so many ticks after its last message.
    active_ticks: u64,
    admission: Admission,
    /// The last index that the disk recorded as committed when this engine started.
    pub(crate) floor: u64,
    /// Set once a leader contradicts a committed entry: this replica handles no input from then on.
    pub(crate) is_stopped: bool,
    pub(crate) reached: Reached,
    pub(crate) outputs: VecDeque<Output>,
}

impl fmt::Debug for Raft {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Raft")
            .field("node", &self.node)
            .field("standing", &self.standing())
            .finish_non_exhaustive()
    }
}

impl Raft {
    /// A replica that continues from the state of its disk. `None` when the log holds an entry that no
    /// version of this engine wrote.
    ///
    /// # Panics
    /// When the options contradict themselves.
    pub fn new(options: &EngineOptions, state: EngineState) -> Option<Self> {
        assert!(options.members.voters().next().is_some(), "at least one member is a voter");
        let election_ticks = usize::try_from(options.election_ticks).ok()?;
        let changes = state.entries.iter().filter_map(|entry| Some((entry.index, change_in(entry)?)));
        let members = options.members.catch_up(changes);
        let learned = (members.index > options.members.index).then(|| Output::Members(members.clone()));
        let (written, floor) = (state.vote.unwrap_or_default(), state.floor().0);
        let (index, term) = state.checkpoint;
        // A replica whose log ends with an entry of a term is at least in that term.
        let last_term = state.entries.last().map_or(term, |entry| entry.term);
        let vote =
            if written.term < last_term { Vote { term: last_term, ..Vote::default() } } else { written };
        let config = Config {
            id: options.node.0,
            election_tick: election_ticks,
            heartbeat_tick: usize::try_from(options.heartbeat_ticks).ok()?,
            min_election_tick: election_ticks,
            max_election_tick: 2 * election_ticks,
            applied: index.0,
            max_size_per_msg: MESSAGE_SIZE_MAX,
            max_inflight_msgs: MESSAGES_IN_FLIGHT_MAX,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::Safe,
            max_uncommitted_size: u64::MAX,
            ..Config::default()
        };
        let tail = Tail::new((index, term), state.entries, vote, members)?;
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config, tail, &logger).expect("invariant: the configuration is sound");
        let mut engine = Self {
            node: options.node,
            raw,
            held: Held::default(),
            reads: Reads::new(options.node, options.seed),
            installing: Installing::No,
            timeouts: Timeouts::new(options.seed, options.election_ticks, options.heartbeat_ticks),
            drawn_for: (u64::MAX, StateRole::Follower),
            drawn: 0,
            campaign_in: None,
            vote: written,
            leader_before: 0,
            announced: 0,
            ticks_since_leader: 0,
            ticks: 0,
            received_at: BTreeMap::new(),
            active_ticks: u64::from(options.election_ticks),
            admission: if options.may_vote { Admission::Admitted } else { Admission::Waiting },
            floor,
            is_stopped: false,
            reached: Reached::new(index.0),
            outputs: learned.into_iter().collect(),
        };
        engine.check_restored(written, vote);
        engine.work();
        Some(engine)
    }

    /// Handles a peer's message. A message with a wrong sender or receiver is dropped. raft-rs rejects
    /// message types that a replica sends only to itself.
    fn step(&mut self, from: NodeId, mut message: Message) {
        if message.from != from.0 || message.to != self.node.0 {
            return;
        }
        self.received_at.insert(from, self.ticks);
        if self.stop_on_conflict(from, &message) {
            return;
        }
        let is_leaders = matches!(
            message.get_msg_type(),
            MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot
        );
        if is_leaders && message.term >= self.raw.raft.term {
            self.ticks_since_leader = 0;
            let fetched = message.get_snapshot().get_metadata().index;
            self.announced = self.announced.max(message.commit).max(fetched);
        }
        if self.installing.ignores(&message) {
            return;
        }
        let log = &self.raw.raft.raft_log;
        let may_vote = self.admission == Admission::Admitted;
        match message.get_msg_type() {
            // The replica forwards commands outside of the engine, so a proposal from a peer is invalid.
            MessageType::MsgPropose => return,
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote | MessageType::MsgTimeoutNow
                if !may_vote =>
            {
                return;
            }
            MessageType::MsgAppend
                if self.admission == Admission::Waiting && message.term >= self.raw.raft.term =>
            {
                self.admission = Admission::Until { index: message.commit.max(1), term: message.term };
            }
            // raft-rs treats a commit index beyond the log as a broken invariant.
            MessageType::MsgHeartbeat => message.commit = message.commit.min(log.last_index()),
            MessageType::MsgSnapshot if message.term >= self.raw.raft.term => {
                let metadata = message.get_snapshot().get_metadata();
                let (index, term) = (metadata.index, metadata.term);
                if index > log.committed && !log.match_term(index, term) {
                    self.installing = Installing::Yes(LogIndex(index));
                    self.outputs.push_back(Output::Install { from, index: LogIndex(index) });
                    return;
                }
            }
            _ => {}
        }
        // A message that raft-rs rejects (a local message, an unknown peer) changes nothing.
        drop(self.raw.step(message));
    }

    /// True when that node sent a message within the last election timeout.
    pub(crate) fn is_active_peer(&self, node: NodeId) -> bool {
        self.received_at.get(&node).is_some_and(|at| at + self.active_ticks > self.ticks)
    }

    fn tick(&mut self) {
        self.ticks += 1;
        self.ticks_since_leader += 1;
        let is_member = self.raw.store().members().get(self.node).is_some();
        let may_campaign =
            self.admission == Admission::Admitted && self.installing == Installing::No && is_member;
        let is_written = self.is_written();
        match &mut self.campaign_in {
            Some(1) if is_written => {
                self.campaign_in = None;
                if may_campaign && self.raw.raft.promotable() {
                    drop(self.raw.campaign());
                }
            }
            None | Some(1) => {}
            Some(ticks) => *ticks -= 1,
        }
        if self.raw.raft.state == StateRole::Leader || (may_campaign && is_written) {
            self.raw.tick();
        } else if may_campaign {
            // The election timeout still elapses. After it, this replica grants pre-votes to others, and
            // starts an election as soon as its entries are on disk.
            self.raw.raft.election_elapsed += 1;
        }
        for context in self.reads.tick() {
            self.raw.read_index(context);
        }
    }

    /// True when all entries of this log are on the disk. A replica whose entries wait for disk space cannot
    /// ask for votes, because a candidate reports only entries that are on its disk.
    fn is_written(&self) -> bool {
        let log = &self.raw.raft.raft_log;
        log.persisted == log.last_index()
    }

    /// The connection to a peer broke. If the peer led, its process has most likely ended: this replica does
    /// not wait for the whole election timeout, and from now on grants votes to others. The voters start
    /// elections one after another, the lowest number first. A voter whose log is too short is not elected,
    /// and then the next one starts an election.
    fn handle_lost(&mut self, peer: NodeId) {
        let raft = &mut self.raw.raft;
        if raft.leader_id == peer.0 && raft.state == StateRole::Follower && self.installing == Installing::No
        {
            raft.become_follower(raft.term, raft::INVALID_ID);
            let voters = self.raw.store().members().voters();
            let rank = voters.filter(|voter| *voter < self.node && *voter != peer).count();
            self.campaign_in = Some(Timeouts::after_loss(rank));
        } else if raft.state == StateRole::Leader {
            self.raw.report_unreachable(peer.0);
        }
    }

    fn handle_installed(&mut self, index: LogIndex, term: Term, members: Members) {
        assert!(self.installing != Installing::No, "the engine asked for a checkpoint");
        self.installing = Installing::No;
        let mut voters = conf_state(self.raw.store().members());
        if members.index > self.raw.store().members().index {
            // raft-rs rejects a checkpoint whose members do not include this replica. If this replica was
            // removed meanwhile, raft-rs keeps the previous voters, and `tick` starts no election.
            if members.get(self.node).is_some() {
                voters = conf_state(&members);
            }
            self.raw.mut_store().set_members(members.clone());
            self.outputs.push_back(Output::Members(members));
        }
        let raft = &mut self.raw.raft;
        if raft.term < term.0 {
            // A replica whose log ends with an entry of a term takes part in no earlier term: entries of an
            // earlier term cannot follow that entry.
            raft.become_follower(term.0, raft::INVALID_ID);
        }
        if raft.leader_id == raft::INVALID_ID || raft.state != StateRole::Follower {
            if raft.state != StateRole::Follower {
                raft.become_follower(raft.term, raft::INVALID_ID);
            }
            raft.restore(snapshot((index, term), voters));
        } else {
            let message = snapshot_message(self.node, raft.leader_id, raft.term, (index, term), voters);
            drop(self.raw.step(message));
        }
        self.note_applied(index.0);
    }

    /// Processes everything that raft-rs has ready.
    pub(crate) fn work(&mut self) {
        self.note_leader();
        self.check_committed();
        while self.raw.has_ready() || self.complete_change() {
            let ready = self.raw.ready();
            self.take(ready);
            self.check_committed();
        }
        self.draw_timeout();
    }

    fn take(&mut self, mut ready: Ready) {
        let number = ready.number();
        let metadata = ready.snapshot().get_metadata();
        let (installed, term) = (metadata.index, metadata.term);
        if installed != 0 {
            self.raw.mut_store().restart(installed, term);
        }
        self.raw.mut_store().append(ready.entries());
        let written = self.write(number, &ready);
        self.send(ready.take_messages());
        self.held.push(number, written, ready.take_persisted_messages());
        for state in ready.take_read_states() {
            if let Some(read) = self.reads.answer(&state.request_ctx) {
                self.outputs.push_back(Output::Readable { read, index: LogIndex(state.index) });
            }
        }
        let committed = ready.take_committed_entries();
        self.raw.advance_append_async(ready);
        if installed != 0 {
            // The checkpoint was durable before the driver passed `Installed`, even if other writes are still
            // pending.
            self.raw.raft.on_persist_snap(installed);
            self.raw.advance_apply_to(installed);
        }
        self.commit(committed);
        let freed = self.held.free_unwritten();
        self.release(freed);
    }

    /// Emits the write of a step.
    fn write(&mut self, number: u64, ready: &Ready) -> Written {
        let state = self.raw.raft.hard_state();
        let promised = Vote { term: Term(state.term), voted_for: NodeId(state.vote) };
        check_vote(self.vote, promised);
        let vote = (promised != self.vote).then_some(promised);
        self.vote = promised;
        let entries: Vec<LogEntry> = ready.entries().iter().map(log_entry).collect();
        if vote.is_none() && entries.is_empty() {
            return Written::Nothing;
        }
        self.check_write(number);
        let written = if vote.is_some() { Written::Vote } else { Written::Entries };
        self.outputs.push_back(Output::Persist(Write { number: WriteNumber(number), vote, entries }));
        written
    }

    fn commit(&mut self, entries: Vec<Entry>) {
        let Some(last) = entries.last().map(|entry| entry.index) else { return };
        self.check_emitted(&entries);
        for entry in entries {
            if entry.get_entry_type() == EntryType::EntryConfChangeV2 {
                self.commit_change(&entry);
            }
            self.outputs.push_back(Output::Commit(log_entry(&entry)));
        }
        self.raw.advance_apply_to(last);
        // An entry that is emitted as committed is on this disk.
        self.note_applied(last);
    }

    fn note_applied(&mut self, index: u64) {
        if let Admission::Until { index: needed, term } = self.admission
            && index >= needed
            && self.raw.raft.raft_log.term(index).is_ok_and(|reached| reached >= term)
        {
            self.admission = Admission::CaughtUp;
            self.outputs.push_back(Output::CaughtUp);
        }
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let to = NodeId(message.to);
            self.outputs.push_back(Output::Send { to, bytes: encode(&message) });
            if message.get_msg_type() == MessageType::MsgSnapshot {
                // The checkpoint is transferred outside of the engine: see `install`.
                self.raw.report_snapshot(to.0, SnapshotStatus::Finish);
            }
        }
    }

    fn release(&mut self, freed: Freed) {
        if let Some(step) = freed.step {
            self.raw.on_persist_ready(step);
        }
        self.send(freed.messages);
    }

    /// Transfers leadership to the active voter with the longest matching log, if there is one.
    pub(crate) fn transfer_to_most_advanced(&mut self) {
        let voters = self.raw.store().members().voters();
        let others = voters.filter(|voter| *voter != self.node && self.is_active_peer(*voter));
        let matched =
            |voter: &NodeId| self.raw.raft.prs().get(voter.0).map_or(0, |progress| progress.matched);
        // Among equals the next higher number, so that repeated transfers reach every voter.
        let best = others.max_by_key(|voter| (matched(voter), *voter > self.node, std::cmp::Reverse(*voter)));
        if let Some(successor) = best {
            self.raw.transfer_leader(successor.0);
        }
    }

    /// Sends the unanswered reads again when the leader changes.
    fn note_leader(&mut self) {
        let leader = self.raw.raft.leader_id;
        if leader != self.leader_before {
            self.leader_before = leader;
            if leader != raft::INVALID_ID {
                self.campaign_in = None;
                for context in self.reads.ask_again() {
                    self.raw.read_index(context);
                }
            }
        }
    }

    /// Whenever its role changes, raft-rs draws an election timeout from the system's randomness. This
    /// replaces it by one from the seeded generator.
    fn draw_timeout(&mut self) {
        let raft = &mut self.raw.raft;
        let now = (raft.term, raft.state);
        if now != self.drawn_for {
            self.drawn_for = now;
            self.drawn = self.timeouts.draw();
        }
        raft.set_randomized_election_timeout(self.drawn);
    }
}

impl Engine for Raft {
    fn propose(&mut self, payload: Bytes) -> Option<LogIndex> {
        assert!(!payload.is_empty(), "the empty payload is reserved for a leader's first entry");
        if !self.is_leader() {
            return None;
        }
        let entry = Entry { data: payload, ..Entry::default() };
        let mut message = Message { from: self.node.0, ..Message::default() };
        message.set_msg_type(MessageType::MsgPropose);
        message.mut_entries().push(entry);
        self.raw.step(message).ok()?;
        let index = self.raw.raft.raft_log.last_index();
        self.work();
        Some(LogIndex(index))
    }

    fn read(&mut self, read: ReadNumber) {
        let context = self.reads.ask(read);
        self.raw.read_index(context);
        self.work();
    }

    fn change(&mut self, change: Change) -> Result<Option<LogIndex>, ChangeError> {
        self.make_change(&change)
    }

    fn members(&self) -> &Members {
        self.raw.store().members()
    }

    fn transfer_leadership(&mut self) {
        let raft = &self.raw.raft;
        if raft.state == StateRole::Leader && raft.lead_transferee.is_none() {
            self.transfer_to_most_advanced();
            self.work();
        }
    }

    fn handle(&mut self, input: Input) {
        if self.is_stopped {
            return;
        }
        match input {
            Input::Persisted(number) => {
                self.check_persisted(number);
                let freed = self.held.free(number);
                self.release(freed);
            }
            Input::VoteKept(number) => {
                self.check_persisted(number);
                let messages = self.held.handle_vote_durable(number);
                self.send(messages);
            }
            Input::Message { from, bytes } => {
                if let Some(message) = decode(&bytes) {
                    self.step(from, message);
                }
            }
            Input::Lost(peer) => self.handle_lost(peer),
            Input::Released { index, term } => self.raw.mut_store().release(index.0, term.0),
            Input::Installed { index, term, members } => self.handle_installed(index, term, members),
            Input::Admit => self.admission = Admission::Admitted,
            Input::Tick => self.tick(),
        }
        self.work();
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn may_vote(&self) -> bool {
        self.admission == Admission::Admitted
    }

    fn is_leader(&self) -> bool {
        let raft = &self.raw.raft;
        raft.state == StateRole::Leader && raft.lead_transferee.is_none() && !self.is_stopped
    }

    fn leader(&self) -> Option<NodeId> {
        let leader = self.raw.raft.leader_id;
        (leader != raft::INVALID_ID).then_some(NodeId(leader))
    }

    fn standing(&self) -> Standing {
        let raft = &self.raw.raft;
        let role = match raft.state {
            StateRole::Leader => Role::Leader,
            StateRole::Follower => Role::Follower,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
        };
        let mut peers = Vec::new();
        if role == Role::Leader {
            let others = raft.prs().iter().filter(|(id, _)| **id != self.node.0);
            peers.extend(others.map(|(id, progress)| PeerStanding {
                node: NodeId(*id),
                matched: LogIndex(progress.matched),
                is_active: self.is_active_peer(NodeId(*id)),
            }));
            peers.sort_by_key(|peer| peer.node);
        }
        Standing {
            role,
            term: Term(raft.term),
            leader: self.leader(),
            committed: LogIndex(raft.raft_log.committed),
            announced: LogIndex(self.announced.max(raft.raft_log.committed)),
            ticks_since_leader: if role == Role::Leader { 0 } else { self.ticks_since_leader },
            peers,
        }
    }
}
