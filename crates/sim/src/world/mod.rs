//! The world: all events in the order of simulated time, and the machines, clients and network that they
//! change.

mod clients;
mod inject;
mod operate;
mod rewind;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

use bezant_consensus::{Members, Role};
use bezant_replica::{Input, Output, PeerMessage, Ticket};
use bezant_storage::HistoryAnswer;
use bezant_types::{LogIndex, NodeId};

use crate::bug::{Bug, FlawedLedger};
use crate::check;
use crate::client::{Call, Client};
use crate::faults::{Fault, KIND_NAMES, Plan, REWIND_NAMES, clock_drifts, kind};
use crate::host::{Effect, Host, Stop, state_bytes};
use crate::net::Net;
use crate::operator::Operator;
use crate::random::Random;
use crate::record::Record;
use crate::trace::{MarkKind, MessageNumber, Recorder, Trace, TraceWindow};
use crate::{SimOptions, SimReport};

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLI;
const TICK: u64 = bezant_replica::TICK_NANOS;
/// The world's time at the beginning of a run: November 2023.
pub(crate) const EPOCH: u64 = 1_700_000_000 * SECOND;
/// Ticks after which an idle log records the committed index.
const IDLE_TICKS: u64 = 5;
/// How long a client waits for an answer before it asks another node.
const CALL_TIMEOUT: u64 = 800 * MILLI;
/// The time after the faults within which every client must make progress.
const RECOVERY: u64 = 15 * SECOND;
/// In this last part of that time every client must have a write done. It is long, because a client that asks
/// a removed node waits for its timeout.
const LATE: u64 = 7 * SECOND;
/// The time after that, without requests, within which all replicas must reach the same entry.
const SETTLING: u64 = 5 * SECOND;

/// An event.
#[derive(Debug)]
enum Event {
    Tick(NodeId, u64),
    Deliver {
        from: NodeId,
        /// The sender's disk: messages of an earlier disk are dropped.
        disk: u64,
        to: NodeId,
        message: PeerMessage,
        /// The recorder's number of the message; `None` when it is not recorded.
        number: Option<MessageNumber>,
    },
    Flush(NodeId, u64),
    Input(NodeId, u64, Input<FlawedLedger>),
    /// A client's request reaches a node.
    Ask {
        node: NodeId,
        ticket: Ticket,
    },
    /// The operator takes its next step.
    Operate,
    /// A client continues, unless it has a newer plan.
    Wake(usize, u64),
    /// An answer reaches a client.
    Answer {
        ticket: Ticket,
        output: Output<FlawedLedger>,
    },
    /// Rows of the history reach a client.
    History {
        ticket: Ticket,
        index: LogIndex,
        rows: HistoryAnswer,
    },
    Fault(Fault),
    /// A machine loses its power after a vote, and gets it back after a duration.
    LosePower(NodeId, u64),
    Restart(NodeId),
    /// A disk has unlimited space again.
    FreeSpace(NodeId),
    /// A peer notices that a connection ended.
    Lost {
        node: NodeId,
        peer: NodeId,
    },
}

pub(crate) struct World {
    random: Random,
    time: u64,
    sequence: u64,
    events: BTreeMap<(u64, u64), Event>,
    nodes: Vec<NodeId>,
    /// The number of members at the beginning.
    first: u64,
    hosts: BTreeMap<NodeId, Host>,
    slow: BTreeMap<NodeId, u64>,
    /// Machines that lose their power after their next vote.
    vote_losers: BTreeSet<NodeId>,
    net: Net,
    operator: Operator,
    clients: Vec<Client>,
    /// The client and the call of each ticket.
    tickets: BTreeMap<Ticket, (usize, Call)>,
    last_ticket: u64,
    plan_until: u64,
    is_asking: bool,
    /// True when old copies replace disks in this run.
    has_rewinds: bool,
    pub(crate) record: Record,
    report: SimReport,
    recorder: Recorder,
    broken: Option<String>,
}

impl World {
    pub(crate) fn new(options: SimOptions, window: Option<TraceWindow>) -> Self {
        let mut random = Random::new(options.seed);
        let count = if random.per_mille(250) { 5 } else { 3 };
        let has_rewinds = options.rewinds || options.bug.is_some_and(Bug::needs_rewinds);
        let has_operator = random.per_mille(400) && options.bug.is_none() && !has_rewinds;
        let operator = if has_operator { Operator::draw(&mut random, count) } else { Operator::default() };
        let spare = u64::from(has_operator);
        let nodes: Vec<NodeId> = (1..=count + spare).map(NodeId).collect();
        let plan = if has_rewinds {
            Plan::with_rewinds(&mut random, &nodes)
        } else {
            Plan::draw(&mut random, &nodes, options.bug)
        };
        let kinds: &[&'static str] = if has_rewinds { &REWIND_NAMES } else { &KIND_NAMES };
        let clients = random.between(2, 6);
        let host =
            |node| Host::new(node, options.engine, options.bug, plan.checkpoint_interval_bytes, has_rewinds);
        let mut world = Self {
            // The engine in use describes its messages on one line.
            recorder: Recorder::new(options.seed, &nodes, window, bezant_engines::describe(options.engine)),
            time: EPOCH,
            sequence: 0,
            events: BTreeMap::new(),
            hosts: nodes.iter().map(|node| (*node, host(*node))).collect(),
            nodes,
            first: count,
            operator,
            slow: BTreeMap::new(),
            vote_losers: BTreeSet::new(),
            net: Net::new(plan.weather),
            clients: (0..clients).map(|number| Client::new(number, random.next())).collect(),
            tickets: BTreeMap::new(),
            last_ticket: 0,
            plan_until: EPOCH + plan.until,
            is_asking: true,
            has_rewinds,
            record: Record::default(),
            report: SimReport {
                faults: kinds.iter().map(|kind| (*kind, 0)).collect(),
                ..SimReport::default()
            },
            broken: None,
            random,
        };
        if options.bug.is_none() {
            world.let_clocks_drift(options.seed);
        }
        for (at, fault) in plan.faults {
            world.at(EPOCH + at, Event::Fault(fault));
        }
        if has_operator {
            let at = EPOCH + world.random.between(SECOND / 2, 4 * SECOND);
            world.at(at, Event::Operate);
        }
        for client in 0..world.clients.len() {
            let at = EPOCH + world.random.between(0, 500 * MILLI);
            world.wake_at(at, client);
        }
        world
    }

    fn let_clocks_drift(&mut self, seed: u64) {
        let drifts = clock_drifts(seed, self.hosts.len());
        if drifts.iter().any(|drift| *drift != 0) {
            self.count(kind::CLOCK_DRIFT);
        }
        for (host, drift) in self.hosts.values_mut().zip(drifts) {
            host.clock_drift = drift;
        }
    }

    pub(crate) fn take_trace(&mut self) -> Trace {
        self.recorder.take()
    }

    /// Records that the run failed.
    pub(crate) fn note_broken(&mut self, reason: &str) {
        self.recorder.mark(MarkKind::Broken, Vec::new(), || reason.to_owned());
    }

    /// Runs to the end.
    pub(crate) fn run(&mut self) -> Result<SimReport, String> {
        let first = Members::first((1..=self.first).map(|node| (NodeId(node), format!("machine{node}:0"))));
        for member in &first.nodes {
            self.host(member.node).place(&first, true)?;
            self.start(member.node)?;
        }
        self.run_until(self.plan_until)?;
        self.end_faults()?;
        self.run_until(self.plan_until + RECOVERY)?;
        if self.has_rewinds {
            return self.end_with_rewinds();
        }
        check::every_client_progresses(&self.clients, self.plan_until, self.plan_until + RECOVERY - LATE)?;
        if let Some(step) = self.operator.step() {
            return Err(format!("the operator still waits for {step:?} long after the faults ended"));
        }
        self.is_asking = false;
        self.run_until(self.plan_until + RECOVERY + SETTLING)?;
        self.check_end()?;
        Ok(self.report.clone())
    }

    /// Runs the checks of the end.
    fn check_end(&mut self) -> Result<(), String> {
        check::time_only_grows(&self.record)?;
        check::no_read_shows_the_past(&self.record)?;
        let ledger = check::answers_follow_the_log(&self.record)?;
        let last = self.record.log.last_key_value().map_or(LogIndex(0), |(index, _)| *index);
        let members = self.newest_members();
        let known = self.hosts.iter().filter_map(|(node, host)| Some((*node, host.replica()?.members())));
        check::members_are_equal(&members, known)?;
        let mut states = Vec::new();
        let voters = self.hosts.values().filter(|host| members.voters().any(|voter| voter == host.id));
        check::every_replica_may_vote(voters)?;
        for (node, host) in self.hosts.iter_mut().filter(|(node, _)| members.get(**node).is_some()) {
            let Some((index, bytes)) = host.take_state() else {
                return Err(format!("node {node} is down, although the faults have ended"));
            };
            states.push((*node, index, bytes));
        }
        check::states_are_equal(&states, &(last, state_bytes(ledger)))?;
        self.report.entries = self.record.log.len() as u64;
        self.report_totals(states.first().map_or(0, |(_, _, bytes)| bezant_codec::checksum(bytes)));
        Ok(())
    }

    /// Fills in the report; `state` is the checksum of the last state.
    fn report_totals(&mut self, state: u64) {
        self.report.nanos = self.time - EPOCH;
        self.report.writes = self.record.acknowledged.len() as u64;
        self.report.reads = (self.record.seen.len() + self.record.shown.len()) as u64;
        self.report.leaders = self.record.leaders.len() as u64;
        self.report.fingerprint = bezant_codec::checksum_seeded(self.report.events, &state.to_le_bytes());
    }

    fn run_until(&mut self, end: u64) -> Result<(), String> {
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= end
        {
            let ((time, _), event) = entry.remove_entry();
            self.time = time;
            self.report.events += 1;
            self.watch_event(&event);
            self.handle(event)?;
            self.watch_nodes();
            if let Some(reason) = self.broken.take() {
                return Err(reason);
            }
        }
        self.time = end;
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Tick(node, incarnation) => self.tick(node, incarnation)?,
            Event::Deliver { from, disk, to, message, .. } => {
                if self.host(from).disks == disk {
                    self.give(to, None, Input::Message { from, message })?;
                }
            }
            Event::Operate => self.operate()?,
            Event::Flush(node, incarnation) => {
                if self.wakes(node, incarnation, || Event::Flush(node, incarnation)) {
                    let time = self.time;
                    let effects = self.host(node).flush(time);
                    self.carry_out(node, effects)?;
                }
            }
            Event::Input(node, incarnation, input) => self.give(node, Some(incarnation), input)?,
            Event::Ask { node, ticket } => self.ask(node, ticket)?,
            Event::Wake(client, plan) if plan == self.clients[client].plan => self.wake(client),
            Event::Wake(..) => {}
            Event::Answer { ticket, output } if self.operator.waits_for(ticket) => {
                self.answer_operator(&output)?;
            }
            Event::Answer { ticket, output } => self.handle_answer(ticket, output),
            Event::History { ticket, index, rows } => self.handle_history(ticket, index, rows),
            Event::Fault(fault) => self.inject(fault)?,
            Event::LosePower(node, away) => self.lose_power_after_vote(node, away),
            Event::Restart(node) => {
                if !self.host(node).is_up() && self.host(node).is_placed() {
                    self.start(node)?;
                }
            }
            Event::FreeSpace(node) => self.host(node).set_space(None),
            Event::Lost { node, peer } => self.give(node, None, Input::Lost(peer))?,
        }
        Ok(())
    }

    fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((time, self.sequence), event);
    }

    /// Plans the time at which a client continues. This replaces its earlier plan.
    fn wake_at(&mut self, time: u64, client: usize) {
        self.clients[client].plan += 1;
        let plan = self.clients[client].plan;
        self.at(time, Event::Wake(client, plan));
    }

    /// Counts a fault of this kind that had an effect.
    fn count(&mut self, kind: &'static str) {
        *self.report.faults.entry(kind).or_default() += 1;
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        self.recorder.mark(MarkKind::Note, Vec::new(), text);
    }

    /// Records a mark of one node.
    fn mark(&mut self, kind: MarkKind, node: NodeId, text: impl FnOnce() -> String) {
        self.recorder.mark(kind, vec![node], text);
    }

    fn host(&mut self, node: NodeId) -> &mut Host {
        self.hosts.get_mut(&node).expect("invariant: all nodes have a host")
    }

    fn start(&mut self, node: NodeId) -> Result<(), String> {
        let seed = self.random.next();
        let host = self.host(node);
        host.mend_disk();
        host.start(seed).map_err(|error| format!("node {node} does not start: {error}"))?;
        let incarnation = host.incarnations;
        let repairs = std::mem::take(&mut host.repairs);
        self.report.repairs += repairs.len() as u64;
        for repair in repairs {
            self.mark(MarkKind::Disk, node, || repair.to_string());
        }
        self.mark(MarkKind::Start, node, || "starts".to_owned());
        let first = self.time + self.random.between(1, TICK);
        self.at(first, Event::Tick(node, incarnation));
        Ok(())
    }

    /// True when that process still runs and is not paused. A paused process gets the event when it
    /// continues.
    fn wakes(&mut self, node: NodeId, incarnation: u64, again: impl FnOnce() -> Event) -> bool {
        let time = self.time;
        let host = self.host(node);
        if !host.is_up() || host.incarnations != incarnation {
            return false;
        }
        let wakes_at = host.paused_until;
        if wakes_at > time {
            self.at(wakes_at, again());
            return false;
        }
        true
    }

    fn tick(&mut self, node: NodeId, incarnation: u64) -> Result<(), String> {
        if !self.wakes(node, incarnation, || Event::Tick(node, incarnation)) {
            return Ok(());
        }
        self.at(self.time + TICK, Event::Tick(node, incarnation));
        if let Some(input) = self.host(node).check_space() {
            if matches!(input, Input::Pressure(Some(_))) {
                self.count(kind::FULL_DISK);
            }
            self.give(node, Some(incarnation), input)?;
        }
        if (self.time / TICK).is_multiple_of(IDLE_TICKS) {
            let time = self.time;
            let effects = self.host(node).note_idle(time);
            self.carry_out(node, effects)?;
        }
        self.give(node, Some(incarnation), Input::Tick)
    }

    /// Passes an input to the process with the number `incarnation`, or to the present one. If that process
    /// does not run, the input is dropped.
    fn give(
        &mut self,
        node: NodeId,
        incarnation: Option<u64>,
        input: Input<FlawedLedger>,
    ) -> Result<(), String> {
        let incarnation = incarnation.unwrap_or_else(|| self.host(node).incarnations);
        let time = self.time;
        let wakes_at = self.host(node).paused_until;
        if wakes_at > time && self.host(node).is_up() && self.host(node).incarnations == incarnation {
            self.at(wakes_at, Event::Input(node, incarnation, input));
            return Ok(());
        }
        if !self.host(node).is_up() || self.host(node).incarnations != incarnation {
            return Ok(());
        }
        let effects = self.host(node).handle(time, input);
        self.carry_out(node, effects)
    }

    /// Carries out the effects of a host.
    fn carry_out(&mut self, node: NodeId, effects: Vec<Effect>) -> Result<(), String> {
        let incarnation = self.host(node).incarnations;
        for effect in effects {
            match effect {
                Effect::Send(to, message) => self.send(node, to, &message),
                Effect::Flush => {
                    let slow = self.slow.get(&node).copied().unwrap_or(0);
                    if slow > 0 {
                        self.count(kind::SLOW_DISK);
                    }
                    let at = self.time + self.random.between(100_000, 2 * MILLI) + slow;
                    self.at(at, Event::Flush(node, incarnation));
                }
                Effect::Later(input) => {
                    let at = self.time + self.random.between(10_000, MILLI);
                    self.at(at, Event::Input(node, incarnation, input));
                }
                Effect::Reply(output) => self.reply(output),
                Effect::Show { ticket, index, rows } => {
                    let at = self.time + self.random.between(20_000, MILLI);
                    self.at(at, Event::History { ticket, index, rows });
                }
                Effect::Unreadable { from, reason } => {
                    if !self.host(from).has_ever_rotten {
                        return Err(format!("node {node} cannot read the state of node {from}: {reason}"));
                    }
                    self.mark(MarkKind::Checkpoint, node, || format!("state of node {from}: {reason}"));
                }
            }
        }
        for entry in std::mem::take(&mut self.host(node).newly_applied) {
            // In runs with rewinds, the logs are compared at the end.
            if !self.has_rewinds {
                check::one_entry_an_index(&mut self.record, node, entry)?;
            }
        }
        let standing = self.host(node).replica().map(bezant_replica::Replica::standing);
        if let Some(standing) = standing
            && standing.role == Role::Leader
        {
            if !self.record.leaders.contains_key(&standing.term) && !self.recorder.is_watching() {
                self.mark(MarkKind::Note, node, || format!("leads in term {}", standing.term));
            }
            check::one_leader_a_term(&mut self.record, standing.term, node)?;
        }
        if std::mem::take(&mut self.host(node).has_voted) && self.vote_losers.remove(&node) {
            let (at, away) = (self.random.between(3, 6) * MILLI, self.random.between(1, 20) * MILLI);
            self.at(self.time + at, Event::LosePower(node, away));
        }
        if let Some(Stop { reason, cause }) = self.host(node).stop.take() {
            let cause =
                cause.ok_or_else(|| format!("node {node} stops, but no fault explains it: {reason}"))?;
            self.count(cause);
            self.mark(MarkKind::Crash, node, || format!("stops: {reason}"));
            let away = self.random.between(100 * MILLI, 2 * SECOND);
            self.power_loss(node, away);
        }
        Ok(())
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: &PeerMessage) {
        let disk = self.host(from).disks;
        let delays = self.net.delays(from, to, &mut self.random);
        if let Some(kind) = self.net.cut_by(from, to) {
            self.count(kind);
        }
        if delays.is_empty() {
            self.watch_loss(from, to, message);
        }
        for (copy, delay) in delays.into_iter().enumerate() {
            let number = self.recorder.send(from, to, message, delay, copy > 0);
            let message = message.clone();
            self.at(self.time + delay, Event::Deliver { from, disk, to, message, number });
        }
    }

    fn reply(&mut self, output: Output<FlawedLedger>) {
        let ticket = match &output {
            Output::Answer { ticket, .. }
            | Output::Refuse { ticket, .. }
            | Output::QueryAnswer { ticket, .. }
            | Output::BarrierPassed { ticket, .. } => *ticket,
            _ => return,
        };
        let at = self.time + self.random.between(20_000, MILLI);
        self.at(at, Event::Answer { ticket, output });
    }
}
