//! The replica itself: its inputs, and the order in which they are handled.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use bezant_consensus::{
    Conflict, Engine, Input as EngineInput, Members, Output as EngineOutput, Standing, Terms,
};
use bezant_rsm::{Command, Entry, Progress, StateMachine};
use bezant_types::{LogIndex, Nanos, NodeId};

use crate::begin::{ReplicaOptions, Restored};
use crate::checkpoint::Checkpoints;
use crate::digests::Digests;
use crate::event::{Consistency, Input, Now, Output, Refusal, Ticket};
use crate::forwards::Forwards;
use crate::install::Install;
use crate::message::{ChunkHead, PeerMessage};
use crate::origin::{Origin, accepts};
use crate::pipeline::{InFlight, Pipeline, Written};
use crate::queue::{Queue, fits};
use crate::reads::{Read, Reads, Wanted};
use crate::rest::Rest;

/// The time between two [`Input::Tick`]s: 10 ms.
pub const TICK_NANOS: u64 = 10_000_000;
/// Ticks without a leader after which everything that waits is refused.
const LEADERLESS_TICKS: u64 = 100;
/// Ticks without a message after which a leader counts as unknown; voters start elections long before.
const LEADER_TIMEOUT_TICKS: u64 = 100;
/// Ticks between two searches for commands that have waited too long.
const QUEUE_TICKS: u64 = 25;
/// Ticks of a write after which this replica is stalled: a hanging leader must not prevent elections.
const WRITE_TICKS_MAX: u64 = 150;

/// Engine and state machine of one replica. After one or several calls of [`handle`](Self::handle), call
/// [`poll`](Self::poll) until it returns `None`.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the flags are independent of each other")]
pub struct Replica<M: StateMachine, E> {
    pub(crate) options: ReplicaOptions,
    pub(crate) machine: M,
    pub(crate) engine: E,
    pub(crate) queue: Queue,
    pub(crate) pipeline: Pipeline<M::Found>,
    /// The proposed entry, until the engine outputs its write. No [`Entry`] for a change of the membership.
    pub(crate) proposed: Option<(LogIndex, Option<Entry>, Vec<Origin>)>,
    pub(crate) forwards: Forwards,
    pub(crate) reads: Reads<M::Query>,
    /// Cluster time of the newest entry of the log.
    pub(crate) time: Nanos,
    pub(crate) applied: LogIndex,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) digests: Digests,
    pub(crate) install: Option<Install>,
    /// The restored checkpoint of a peer. It becomes the state when it is durable.
    pub(crate) installing: Option<(M, ChunkHead, Members, Terms)>,
    /// A command of the replica itself ([`Origin::Own`]) is in the queue or in flight.
    pub(crate) own_command_waits: bool,
    /// Why this replica takes no writes for the rest of this incarnation; `None` while it works.
    pub(crate) failed: Option<String>,
    /// The conflict for which this replica has stopped; `None` while it has not.
    pub(crate) conflict: Option<Conflict>,
    /// The last entry that the disk recorded as committed when the replica started.
    pub(crate) floor: LogIndex,
    /// The terms of the applied entries.
    pub(crate) terms: Terms,
    /// `terms` changed since the last [`Output::Terms`].
    pub(crate) has_new_terms: bool,
    /// The state differs from that of the other replicas: it is not served to clients or peers.
    pub(crate) has_diverged: bool,
    /// Why a leader takes no writes for now: its disk is nearly full. It tries to transfer leadership.
    pub(crate) pressure: Option<String>,
    /// Why a leader takes no writes for now: its clock is not trusted. The driver chooses the next leader.
    pub(crate) hold: Option<String>,
    /// The entry that must be applied before the state is served; `None` while it is not known.
    pub(crate) shows_from: Option<LogIndex>,
    /// The engine has reported that this replica has caught up, and [`Output::CaughtUp`] is still due.
    pub(crate) has_caught_up: bool,
    /// Whether this replica rests, and since when nothing is under way in it.
    pub(crate) rest: Rest,
    /// Queries that need more steps. They take turns.
    queries: VecDeque<(Ticket, M::Query)>,
    /// Ticks since the replica started.
    pub(crate) ticks: u64,
    /// Writes that are not durable yet, with the tick at which each was output.
    pub(crate) writes: VecDeque<Written>,
    leader: Option<NodeId>,
    was_leader: bool,
    leader_since: u64,
    pub(crate) outputs: VecDeque<Output<M>>,
}

impl<M: StateMachine, E: Engine> Replica<M, E> {
    /// A replica that continues from `restored`. The engine must be made from the same log.
    pub fn new(restored: Restored<M, M::Found>, engine: E, options: ReplicaOptions) -> Self {
        let Restored { machine, applied, checkpoint, log_bytes, pipeline, floor, terms } = restored;
        let mut checkpoints = Checkpoints::new(checkpoint, options.checkpoint_interval_bytes);
        checkpoints.log_bytes = log_bytes;
        let mut replica = Self {
            time: machine.time().max(pipeline.time().unwrap_or_default()),
            forwards: Forwards::new(options.incarnation),
            digests: Digests::new(options.node),
            options,
            machine,
            engine,
            queue: Queue::default(),
            pipeline,
            proposed: None,
            reads: Reads::default(),
            applied,
            checkpoints,
            install: None,
            installing: None,
            own_command_waits: false,
            failed: None,
            conflict: None,
            floor,
            terms,
            has_new_terms: true,
            has_diverged: false,
            pressure: None,
            hold: None,
            shows_from: None,
            has_caught_up: false,
            rest: Rest::new(),
            queries: VecDeque::new(),
            ticks: 0,
            writes: VecDeque::new(),
            leader: None,
            was_leader: false,
            leader_since: 0,
            outputs: VecDeque::new(),
        };
        replica.begin_to_show();
        replica.drain_engine();
        replica
    }

    /// The state machine.
    pub const fn machine(&self) -> &M {
        &self.machine
    }

    /// The state machine, when nothing else of the replica is needed any more.
    pub fn into_machine(self) -> M {
        self.machine
    }

    /// Cluster time of the newest entry of the log; 0 for an empty log.
    pub const fn time(&self) -> Nanos {
        self.time
    }

    /// The last entry that was applied.
    pub const fn applied(&self) -> LogIndex {
        self.applied
    }

    /// True while this replica leads and is not stalled.
    pub fn is_leader(&self) -> bool {
        self.engine.is_leader() && !self.is_stalled()
    }

    /// False while this replica takes no part in elections: its disk, new or damaged, is not admitted.
    pub fn may_vote(&self) -> bool {
        self.engine.may_vote()
    }

    /// Role, term and indexes of the engine.
    pub fn standing(&self) -> Standing {
        self.engine.standing()
    }

    /// The members of the group; empty for a replica alone.
    pub fn members(&self) -> &Members {
        self.engine.members()
    }

    /// The last index at which all known digests were equal, own included, and their number; zeros at first.
    pub const fn agreed(&self) -> (LogIndex, usize) {
        self.digests.agreed
    }

    /// Bytes of a peer's checkpoint that have arrived, and its size; `None` when none is being fetched.
    pub fn install_progress(&self) -> Option<(u64, u64)> {
        self.install.as_ref().map(Install::progress)
    }

    /// Why no writes are taken; `None` while they are. A failure takes precedence over other reasons.
    pub fn read_only_reason(&self) -> Option<&str> {
        self.failed.as_deref().or(self.pressure.as_deref()).or(self.hold.as_deref())
    }

    /// The next output; `None` when nothing is left to do.
    pub fn poll(&mut self) -> Option<Output<M>> {
        // Reads that arrived together share one request.
        if self.outputs.is_empty()
            && let Some(read) = self.reads.ask()
        {
            self.engine.read(read);
            self.drain_engine();
        }
        // An entry's rows are fetched after its write was output, because the write takes longer.
        while self.outputs.is_empty()
            && self.install.is_none()
            && let Some(index) = self.pipeline.next_to_fetch()
        {
            self.fetch(index);
            self.apply_and_answer();
        }
        self.outputs.pop_front()
    }

    /// Handles one input.
    pub fn handle(&mut self, now: Now, input: Input<M>) {
        let was_resting = self.wake_for(&input);
        match input {
            Input::Request { ticket, command } => {
                debug_assert!(accepts::<M>(&command), "this node makes only commands that a leader accepts");
                self.handle_request(Origin::Client(ticket), command);
            }
            Input::Query { ticket, query, consistency } => {
                self.handle_read(ticket, Wanted::Query(query), consistency);
            }
            Input::Barrier { ticket, consistency } => self.handle_read(ticket, Wanted::Barrier, consistency),
            Input::Message { from, message } => self.handle_message(from, message),
            Input::Lost(peer) => self.pass_to_engine(EngineInput::Lost(peer)),
            Input::Unresponsive(peer) => self.handle_unresponsive(peer, was_resting),
            Input::Met(_) | Input::RestLost => {}
            Input::Persisted(number) => {
                while self.writes.pop_front_if(|write| write.number <= number).is_some() {}
                self.pass_to_engine(EngineInput::Persisted(number));
            }
            Input::VoteKept(number) => self.pass_to_engine(EngineInput::VoteKept(number)),
            Input::SpaceAwaited => self.writes.iter_mut().for_each(|write| write.since = self.ticks),
            Input::Fetched { index, term, found } => self.handle_fetched(index, term, found),
            Input::CheckpointPieceTaken => self.handle_piece_taken(),
            Input::CheckpointWritten { index, digest } => self.handle_checkpoint_written(index, digest),
            Input::CheckpointAbandoned(index) => {
                self.end_checkpoint(index);
            }
            Input::RowsInstalled => self.handle_rows_installed(),
            Input::Installed => self.handle_installed(),
            Input::InstallFailed => self.handle_install_failed(),
            Input::Failed { reason } => self.handle_failed(reason),
            Input::Stopped(conflict) => self.handle_stopped(conflict),
            Input::Pressure(reason) => self.handle_pressure(reason),
            Input::Hold(reason) => self.handle_hold(reason),
            Input::Admit => self.handle_admit(),
            Input::TransferLeadership => self.transfer_leadership(None),
            Input::TransferLeadershipTo(node) => self.transfer_leadership(Some(node)),
            Input::Tick => self.handle_tick(now),
        }
    }

    fn handle_message(&mut self, from: NodeId, message: PeerMessage) {
        match message {
            PeerMessage::Engine(bytes) => self.pass_to_engine(EngineInput::Message { from, bytes }),
            PeerMessage::Forward(number, command) => self.handle_forward(from, number, command),
            PeerMessage::Outcome(number, outcome) => self.handle_outcome(number, outcome),
            PeerMessage::Pull(_) if self.failed.is_some() => {}
            PeerMessage::Pull(pull) => self.outputs.push_back(Output::Serve { to: from, pull }),
            PeerMessage::Chunk(chunk) => self.handle_chunk(from, chunk),
            PeerMessage::Digest { index, digest } => self.handle_digest(from, index, digest),
            PeerMessage::Stopped(conflict) => self.outputs.push_back(Output::PeerStopped { from, conflict }),
            PeerMessage::Rest { term, index } => self.handle_rest(from, term, index),
            PeerMessage::Clock(_) | PeerMessage::Wake => {}
        }
    }

    /// Passes an input to the engine, unless this replica failed and has a group.
    pub(crate) fn pass_to_engine(&mut self, input: EngineInput) {
        if self.failed.is_none() || self.options.is_alone {
            self.engine.handle(input);
            self.drain_engine();
        }
    }

    /// True when the engine's messages must not be sent: a write failed, or takes too long.
    pub(crate) fn is_stalled(&self) -> bool {
        let is_hanging = self.writes.front().is_some_and(|write| write.since + WRITE_TICKS_MAX < self.ticks);
        !self.options.is_alone && (self.failed.is_some() || is_hanging)
    }

    /// Drops the reads whose client does not wait any more.
    pub fn retain_reads(&mut self, is_waited_for: impl Fn(Ticket) -> bool) {
        self.reads.retain(|read| is_waited_for(read.ticket));
        self.queries.retain(|(ticket, _)| is_waited_for(*ticket));
    }

    pub(crate) fn has_queries(&self) -> bool {
        !self.queries.is_empty()
    }

    /// Does one step of a long query; true while steps are left. The driver handles commands in between.
    pub fn step_queries(&mut self) -> bool {
        if self.has_diverged {
            for (ticket, _) in self.queries.drain(..) {
                self.outputs.push_back(Output::Refuse { ticket, refusal: Refusal::NoLeader });
            }
        }
        if let Some((ticket, query)) = self.queries.pop_front() {
            self.step_query(ticket, query);
        }
        !self.queries.is_empty()
    }

    fn step_query(&mut self, ticket: Ticket, query: M::Query) {
        match self.machine.query_step(query) {
            Progress::Done(answer) => {
                self.outputs.push_back(Output::QueryAnswer { ticket, index: self.applied, answer });
            }
            Progress::More(rest) => self.queries.push_back((ticket, rest)),
        }
    }

    fn handle_read(&mut self, ticket: Ticket, wanted: Wanted<M::Query>, consistency: Consistency) {
        if let Some(why) = self.no_state().filter(|_| consistency != Consistency::Linearizable) {
            self.outputs.push_back(Output::Refuse { ticket, refusal: Refusal::NoState(why) });
            return;
        }
        self.reads.push(Read { ticket, wanted, since: self.ticks }, consistency);
        self.answer_reads();
        if self.is_cut_off() {
            self.refuse_reads();
        }
    }

    /// Answers the reads whose entries are applied.
    pub(crate) fn answer_reads(&mut self) {
        if self.has_diverged {
            return;
        }
        // Without a group, no other replica can have acknowledged entries that this one failed to apply.
        let is_alone_and_failed = self.failed.is_some() && self.options.is_alone;
        let applied = if is_alone_and_failed { LogIndex(u64::MAX) } else { self.applied };
        while let Some(reads) = self.reads.take_ready(applied) {
            for Read { ticket, wanted, .. } in reads {
                match wanted {
                    Wanted::Query(query) => self.step_query(ticket, query),
                    Wanted::Barrier => {
                        let (index, position) = (self.applied, self.machine.position());
                        self.outputs.push_back(Output::BarrierPassed { ticket, index, position });
                    }
                }
            }
        }
    }

    /// True when no leader can confirm a read, and none could for long.
    fn is_cut_off(&self) -> bool {
        let has_failed = self.failed.is_some() && !self.options.is_alone;
        has_failed || (self.leader.is_none() && self.leader_since + LEADERLESS_TICKS <= self.ticks)
    }

    /// Merges the waiting commands into entries, or forwards them to the leader. This is separate from
    /// [`handle`](Self::handle), so that a driver can first pass in everything that has arrived.
    pub fn propose(&mut self, now: Now) {
        if self.engine.is_leader() {
            while let Some((origin, change)) = self.queue.pop_change() {
                self.handle_change(origin, &change.body);
            }
            self.propose_entries(now);
        } else if let Some(leader) = self.known_leader()
            && leader != self.options.node
        {
            self.forward(leader);
        }
    }

    fn propose_entries(&mut self, now: Now) {
        while !self.queue.is_empty() && self.has_slot() && self.refusal().is_none() && self.engine.is_leader()
        {
            let (origins, commands) = self.queue.take_entry();
            let events: u64 = commands.iter().map(|command| u64::from(command.events)).sum();
            let time = Nanos(self.time.max(now.wall).0 + events);
            let checkpoint = self.checkpoints.is_due() && !self.pipeline.cuts_checkpoint();
            let entry = Entry { time, commands, checkpoint, rules: M::RULES };
            let payload = entry.encode();
            let Some(index) = self.engine.propose(payload) else {
                for (origin, command) in origins.into_iter().zip(entry.commands).rev() {
                    self.queue.push_first(origin, command, self.ticks);
                }
                return;
            };
            assert!(time >= self.time, "cluster time only grows");
            self.time = time;
            self.proposed = Some((index, Some(entry), origins));
            self.drain_engine();
        }
    }

    fn has_slot(&self) -> bool {
        self.pipeline.len() < bezant_types::limits::ENTRIES_IN_FLIGHT_MAX
    }

    pub(crate) fn handle_request(&mut self, origin: Origin, command: Command) {
        if let Some(refusal) = self.refusal() {
            self.refuse(origin, refusal);
        } else if self.is_cut_off() {
            self.refuse(origin, Refusal::NoLeader);
        } else if !fits(&command) {
            let reason = "the command is larger than an entry of the log may be; nothing was done";
            self.refuse(origin, Refusal::NotTaken(reason.into()));
        } else if !self.queue.push(origin, command, self.ticks) {
            self.refuse(origin, Refusal::Overloaded);
        }
    }

    pub(crate) fn drain_engine(&mut self) {
        while let Some(output) = self.engine.poll() {
            match output {
                EngineOutput::Persist(write) => {
                    self.wake(true);
                    self.handle_write(write);
                }
                EngineOutput::Commit(entry) => {
                    if let Some(waiting) = self.pipeline.get_mut(entry.index) {
                        waiting.is_committed = true;
                    }
                }
                EngineOutput::Send { to, bytes } if !self.is_stalled() => {
                    self.wake(true);
                    self.outputs.push_back(Output::Send { to, message: PeerMessage::Engine(bytes) });
                }
                EngineOutput::Send { .. } => {}
                EngineOutput::Readable { read, index } => self.reads.confirm(read, index),
                EngineOutput::Install { from, index } => self.begin_install(from, index),
                EngineOutput::Members(members) => self.outputs.push_back(Output::Members(members)),
                EngineOutput::CaughtUp => self.note_caught_up(),
                EngineOutput::Conflict { conflict, entries } => self.handle_conflict(conflict, &entries),
            }
        }
        self.note_leader();
        self.apply_and_answer();
    }

    /// Outputs a write, and puts its entries in the pipeline.
    fn handle_write(&mut self, write: bezant_consensus::Write) {
        let first = write.entries.first().map(|entry| entry.index);
        self.writes.push_back(Written { number: write.number, since: self.ticks, first });
        if let Some(first) = write.entries.first() {
            for removed in self.pipeline.truncate(first.index) {
                self.take_back(removed);
            }
        }
        for entry in &write.entries {
            let proposed = self.proposed.take_if(|(index, ..)| *index == entry.index);
            let proposed = proposed.map(|(_, entry, origins)| (entry, origins));
            let Ok(in_flight) = InFlight::new(entry, proposed, M::RULES) else {
                let index = entry.index;
                self.handle_failed(alloc::format!("log entry {index} cannot be read by this version"));
                return;
            };
            if let Some(entry) = &in_flight.entry {
                self.time = self.time.max(entry.time);
            }
            self.pipeline.push(in_flight);
        }
        self.outputs.push_back(Output::Persist(write));
    }

    /// The leader, unless it has not sent anything for a long time. Without this limit, a replica that starts
    /// no elections, such as a removed one, would wait for its last leader for ever.
    fn known_leader(&self) -> Option<NodeId> {
        let is_alive = |leader: &NodeId| {
            *leader == self.options.node || self.engine.standing().ticks_since_leader < LEADER_TIMEOUT_TICKS
        };
        self.engine.leader().filter(is_alive)
    }

    /// Refuses the commands that a change of leader interrupts.
    fn note_leader(&mut self) {
        let (leader, is_leader) = (self.known_leader(), self.engine.is_leader());
        if leader != self.leader {
            self.leader = leader;
            self.leader_since = self.ticks;
            for ticket in self.forwards.take_all() {
                self.outputs.push_back(Output::Refuse { ticket, refusal: Refusal::Interrupted });
            }
        }
        if self.was_leader && !is_leader {
            for origin in self.queue.take(|origin| !matches!(origin, Origin::Client(_))) {
                self.refuse(origin, Refusal::NoLeader);
            }
            self.wake(true);
            self.wake_told();
        }
        self.was_leader = is_leader;
    }

    fn handle_tick(&mut self, now: Now) {
        if !self.tick_rest(now) {
            return;
        }
        self.ticks += 1;
        if !self.is_stalled() {
            self.pass_to_engine(EngineInput::Tick);
        }
        self.tick_install();
        self.tick_conflict();
        self.tick_pressure();
        let expired = self.reads.take_expired(self.ticks);
        self.refuse_some(expired);
        if self.ticks.is_multiple_of(QUEUE_TICKS) {
            for origin in self.queue.take_expired(self.ticks) {
                self.refuse(origin, Refusal::Overloaded);
            }
        }
        for ticket in self.forwards.take_expired(self.ticks) {
            self.outputs.push_back(Output::Refuse { ticket, refusal: Refusal::Interrupted });
        }
        if self.leader.is_none() && self.leader_since + LEADERLESS_TICKS == self.ticks {
            self.refuse_waiting();
        }
        let cluster_now = self.time.max(now.wall);
        let is_due = self.machine.due_at().is_some_and(|moment| moment <= cluster_now);
        if is_due
            && !self.own_command_waits
            && self.engine.is_leader()
            && self.refusal().is_none()
            && let Some(command) = self.machine.due(cluster_now)
        {
            self.own_command_waits = true;
            self.queue.push_first(Origin::Own, command, self.ticks);
        }
        self.note_rest_tick();
    }
}
