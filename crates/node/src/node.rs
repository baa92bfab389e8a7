//! The node itself: from waiting command to answer.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use bezant_consensus::{Engine, Input as EngineInput, LogEntry, Output as EngineOutput};
use bezant_rsm::{Command, Entry, Progress, StateMachine};
use bezant_types::limits::ENTRIES_IN_FLIGHT_MAX;
use bezant_types::{LogIndex, Nanos, Term};

use crate::checkpoint::{Checkpoints, PIECE_SIZE, Stage};
use crate::event::{Input, Now, Output, Refusal, Ticket};
use crate::queue::Queue;

/// How a node behaves.
#[derive(Clone, Copy, Debug)]
pub struct NodeOptions {
    /// Bytes of log after which a checkpoint is cut; more where the checkpoint itself is larger.
    pub checkpoint_interval_bytes: usize,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self { checkpoint_interval_bytes: 64 << 20 }
    }
}

/// An entry between proposal and answer.
#[derive(Debug)]
struct InFlight<Found> {
    index: LogIndex,
    entry: Entry,
    /// One a command; the node's own have none.
    tickets: Vec<Option<Ticket>>,
    /// There when what it needs was fetched.
    found: Option<Found>,
    /// Its term, once it is committed.
    committed: Option<Term>,
    size: usize,
}

/// Engine and state machine of one replica. Call [`poll`](Self::poll) until `None` after every
/// [`handle`](Self::handle) or group of them.
#[derive(Debug)]
pub struct Node<M: StateMachine, E> {
    machine: M,
    engine: E,
    queue: Queue,
    /// In order of the log; the first is the next to be applied.
    in_flight: VecDeque<InFlight<M::Found>>,
    /// Entries for which nobody has asked yet what they need.
    unfetched: VecDeque<LogIndex>,
    /// Cluster time of the newest entry proposed or applied.
    time: Nanos,
    applied: LogIndex,
    checkpoints: Checkpoints,
    /// A command of the node's own is in the queue or in flight.
    own_command_waits: bool,
    /// Why no writes are taken, for good.
    failed: Option<String>,
    /// Why no writes are taken, for now.
    pressure: Option<String>,
    /// Queries that take long, on their way.
    queries: VecDeque<(Ticket, M::Query)>,
    outputs: VecDeque<Output<M>>,
}

impl<M: StateMachine, E: Engine> Node<M, E> {
    /// A node whose machine has applied everything up to `applied`, the engine's last entry, of which the
    /// checkpoint on disk holds everything up to `checkpoint`. `log_bytes` lie in the log behind it.
    pub fn new(
        machine: M,
        engine: E,
        applied: LogIndex,
        checkpoint: LogIndex,
        log_bytes: usize,
        options: NodeOptions,
    ) -> Self {
        let mut checkpoints = Checkpoints::new(checkpoint, options.checkpoint_interval_bytes);
        checkpoints.log_bytes = log_bytes;
        Self {
            time: machine.time(),
            machine,
            engine,
            queue: Queue::default(),
            in_flight: VecDeque::new(),
            unfetched: VecDeque::new(),
            applied,
            checkpoints,
            own_command_waits: false,
            failed: None,
            pressure: None,
            queries: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// The state machine.
    pub const fn machine(&self) -> &M {
        &self.machine
    }

    /// The last entry that was applied.
    pub const fn applied(&self) -> LogIndex {
        self.applied
    }

    /// Why no writes are taken; `None` while they are. A failure is for good, whatever comes after it.
    pub fn read_only_reason(&self) -> Option<&str> {
        self.failed.as_deref().or(self.pressure.as_deref())
    }

    /// What must be done next; `None` when nothing is left to do.
    pub fn poll(&mut self) -> Option<Output<M>> {
        // What an entry needs is found out once its write has been handed out: the disk takes longer.
        while self.outputs.is_empty()
            && let Some(index) = self.unfetched.pop_front()
        {
            self.fetch(index);
            self.apply_ready();
        }
        self.outputs.pop_front()
    }

    /// Takes what happened.
    pub fn handle(&mut self, now: Now, input: Input<M>) {
        match input {
            Input::Request { ticket, command } => self.handle_request(ticket, command),
            Input::Query { ticket, query } => self.step_query(ticket, query),
            Input::Barrier { ticket } => {
                let position = self.machine.position();
                self.outputs.push_back(Output::BarrierPassed { ticket, position });
            }
            Input::Persisted(index) => {
                self.engine.handle(EngineInput::Persisted(index));
                self.drain_engine();
            }
            Input::Fetched { index, found } => self.handle_fetched(index, found),
            Input::CheckpointPieceTaken => self.handle_piece_taken(),
            Input::CheckpointWritten(index) => {
                if self.end_checkpoint(index) {
                    self.outputs.push_back(Output::Release(index));
                }
            }
            Input::CheckpointAbandoned(index) => {
                self.end_checkpoint(index);
            }
            Input::Failed { reason } => self.handle_failed(reason),
            Input::Pressure(reason) => self.handle_pressure(reason),
            Input::Tick => self.handle_tick(now),
        }
    }

    /// Works on one of the queries that take long; true while there are any. Payments go on in between.
    pub fn step_queries(&mut self) -> bool {
        if let Some((ticket, query)) = self.queries.pop_front() {
            self.step_query(ticket, query);
        }
        !self.queries.is_empty()
    }

    fn step_query(&mut self, ticket: Ticket, query: M::Query) {
        match self.machine.query_step(query) {
            Progress::Done(answer) => self.outputs.push_back(Output::QueryAnswer { ticket, answer }),
            Progress::More(rest) => self.queries.push_back((ticket, rest)),
        }
    }

    /// Merges what waits into entries. Apart from [`handle`](Self::handle), so that a driver can hand over
    /// everything that has come before the merging begins.
    pub fn propose(&mut self, now: Now) {
        while !self.queue.is_empty()
            && self.in_flight.len() < ENTRIES_IN_FLIGHT_MAX
            && self.refusal().is_none()
        {
            let (tickets, commands) = self.queue.take_entry();
            let events: u64 = commands.iter().map(|command| u64::from(command.events)).sum();
            self.time = Nanos(self.time.max(now.wall).0 + events);
            let entry = Entry { time: self.time, commands };
            let payload = entry.encode();
            let size = payload.len();
            self.engine.handle(EngineInput::Propose(payload));
            let index = self.engine.last_index();
            self.in_flight.push_back(InFlight { index, entry, tickets, found: None, committed: None, size });
            self.unfetched.push_back(index);
            self.drain_engine();
        }
    }

    fn handle_request(&mut self, ticket: Ticket, command: Command) {
        if let Some(refusal) = self.refusal() {
            self.outputs.push_back(Output::Refuse { ticket, refusal });
        } else if !self.queue.push(ticket, command) {
            self.outputs.push_back(Output::Refuse { ticket, refusal: Refusal::Overloaded });
        }
    }

    fn refusal(&self) -> Option<Refusal> {
        self.read_only_reason().map(|reason| Refusal::ReadOnly(String::from(reason)))
    }

    /// Asks for the rows that the entry needs, if it needs any.
    fn fetch(&mut self, index: LogIndex) {
        let Some(waiting) = self.in_flight.iter_mut().find(|waiting| waiting.index == index) else { return };
        let prefetch = self.machine.prefetch(&waiting.entry);
        if prefetch.keys.is_empty() {
            waiting.found = Some(M::Found::from(prefetch.position));
        } else {
            self.outputs.push_back(Output::Fetch { index, prefetch });
        }
    }

    fn handle_fetched(&mut self, index: LogIndex, found: M::Found) {
        if let Some(waiting) = self.in_flight.iter_mut().find(|waiting| waiting.index == index) {
            waiting.found = Some(found);
        }
        self.apply_ready();
    }

    fn drain_engine(&mut self) {
        while let Some(output) = self.engine.poll() {
            match output {
                EngineOutput::Append(entry) => self.outputs.push_back(Output::Append(entry)),
                EngineOutput::Commit(entry) => self.handle_commit(&entry),
                EngineOutput::Send { .. } => {}
            }
        }
        self.apply_ready();
    }

    fn handle_commit(&mut self, entry: &LogEntry) {
        if let Some(waiting) = self.in_flight.iter_mut().find(|waiting| waiting.index == entry.index) {
            waiting.committed = Some(entry.term);
        }
    }

    /// Applies, in order, every entry that is committed and has what it needs.
    fn apply_ready(&mut self) {
        while self.failed.is_none()
            && let Some(first) = self.in_flight.front_mut()
            && let Some(term) = first.committed
            && let Some(found) = first.found.take()
        {
            assert!(first.index == self.applied.next(), "entries are applied in order of the log");
            let Some(applied) = self.machine.apply(first.index, &first.entry, found) else {
                // What was found is too old: ask again, now that everything before is applied.
                let index = first.index;
                self.fetch(index);
                continue;
            };
            let Some(done) = self.in_flight.pop_front() else { return };
            self.applied = done.index;
            self.checkpoints.log_bytes += done.size;
            self.outputs.push_back(Output::Rows(applied.rows));
            self.answer(&done, applied.results);
            self.begin_checkpoint_if_due(term);
        }
    }

    fn answer(&mut self, done: &InFlight<M::Found>, results: Vec<bytes::Bytes>) {
        let events = done.entry.events();
        let mut time = done.entry.time.0 - events;
        for ((ticket, command), results) in done.tickets.iter().zip(&done.entry.commands).zip(results) {
            time += u64::from(command.events);
            match ticket {
                Some(ticket) => {
                    let (ticket, index, time) = (*ticket, done.index, Nanos(time));
                    let events = command.events;
                    self.outputs.push_back(Output::Answer { ticket, index, time, events, results });
                }
                None => self.own_command_waits = false,
            }
        }
    }

    fn handle_tick(&mut self, now: Now) {
        self.engine.handle(EngineInput::Tick);
        self.drain_engine();
        let cluster_now = self.time.max(now.wall);
        let is_due = self.machine.due_at().is_some_and(|moment| moment <= cluster_now);
        if is_due
            && !self.own_command_waits
            && self.engine.is_leader()
            && self.refusal().is_none()
            && let Some(command) = self.machine.due(cluster_now)
        {
            self.own_command_waits = true;
            self.queue.push_own(command);
        }
    }

    /// Who waits for a place in an entry hears at once that there is none: nothing was done for them.
    fn handle_pressure(&mut self, reason: Option<String>) {
        self.pressure = reason;
        let Some(refusal) = self.refusal() else { return };
        for ticket in self.queue.take_clients() {
            self.outputs.push_back(Output::Refuse { ticket, refusal: refusal.clone() });
        }
    }

    fn handle_failed(&mut self, reason: String) {
        let refusal = Refusal::ReadOnly(reason.clone());
        self.failed = Some(reason);
        self.unfetched.clear();
        let in_flight = core::mem::take(&mut self.in_flight);
        let waiting: Vec<Ticket> = in_flight
            .into_iter()
            .flat_map(|entry| entry.tickets)
            .flatten()
            .chain(self.queue.take_all())
            .collect();
        for ticket in waiting {
            self.outputs.push_back(Output::Refuse { ticket, refusal: refusal.clone() });
        }
    }

    fn begin_checkpoint_if_due(&mut self, term: Term) {
        if !self.checkpoints.is_due() {
            return;
        }
        self.machine.begin_checkpoint();
        self.checkpoints.stage = Stage::Cutting { pieces_in_flight: 0 };
        self.checkpoints.index = self.applied;
        self.checkpoints.time = self.machine.time();
        self.checkpoints.position = self.machine.position();
        self.checkpoints.log_bytes = 0;
        self.checkpoints.size = 0;
        self.outputs.push_back(Output::CheckpointBegin { index: self.applied, term });
        self.cut_pieces();
    }

    fn handle_piece_taken(&mut self) {
        if let Stage::Cutting { pieces_in_flight } = &mut self.checkpoints.stage {
            *pieces_in_flight -= 1;
        }
        self.cut_pieces();
    }

    fn cut_pieces(&mut self) {
        while self.checkpoints.wants_piece() {
            if let Some(piece) = self.machine.poll_checkpoint(PIECE_SIZE) {
                self.checkpoints.size += piece.len();
                if let Stage::Cutting { pieces_in_flight } = &mut self.checkpoints.stage {
                    *pieces_in_flight += 1;
                }
                self.outputs.push_back(Output::CheckpointPiece(piece));
            } else {
                let Checkpoints { index, time, position, .. } = self.checkpoints;
                self.checkpoints.stage = Stage::Writing;
                self.outputs.push_back(Output::CheckpointEnd { index, time, position });
            }
        }
    }

    /// True when that is the checkpoint under way: another may follow then.
    fn end_checkpoint(&mut self, index: LogIndex) -> bool {
        let is_under_way = index == self.checkpoints.index;
        if is_under_way {
            self.checkpoints.stage = Stage::Idle;
        }
        is_under_way
    }
}
