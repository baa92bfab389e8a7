//! The world: all events in the order of simulated time, and the machines, clients and network that they
//! change.

mod clients;
mod event;
mod group;
mod inject;
mod liveness;
mod operate;
mod rewind;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

use bezant_consensus::{Members, Role};
use bezant_replica::{Input, Output, PeerMessage};
use bezant_types::{GroupId, LogIndex, NodeId};

use crate::bug::{Bug, FlawedLedger};
use crate::check;
use crate::client::Client;
use crate::faults::{KIND_NAMES, Plan, REWIND_NAMES, clock_drifts, kind};
use crate::machine::{Effect, Machine, ReplicaId, Slot, SlotOptions, Stop, state_bytes};
use crate::net::Net;
use crate::operator::Operator;
use crate::random::Random;
use crate::time::{EPOCH, MILLI, SECOND};
use crate::trace::{MarkKind, Recorder, Trace, TraceWindow};
use crate::{SimOptions, SimReport};
use event::Event;
use group::GroupRun;
use liveness::draw_idle_times;

/// The group of every run. (Group 0 is kept for the map of the cluster.)
const GROUP: GroupId = GroupId(1);
const TICK: u64 = bezant_replica::TICK_NANOS;
/// Distinguishes the generator of heartbeats from the others of a run.
const NODE_SALT: u64 = 0xbea7;
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

pub(crate) struct World {
    random: Random,
    /// Draws the delays of heartbeats between machines.
    node_random: Random,
    time: u64,
    sequence: u64,
    events: BTreeMap<(u64, u64), Event>,
    nodes: Vec<NodeId>,
    machines: BTreeMap<NodeId, Machine>,
    groups: BTreeMap<GroupId, GroupRun>,
    slow: BTreeMap<NodeId, u64>,
    /// Machines that lose their power after their next vote.
    vote_losers: BTreeSet<NodeId>,
    net: Net,
    last_ticket: u64,
    plan_until: u64,
    /// The times in which clients begin no requests.
    idle_times: Vec<(u64, u64)>,
    is_asking: bool,
    /// True when old copies replace disks in this run.
    has_rewinds: bool,
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
        let clients = (0..clients).map(|number| Client::new(number, random.next())).collect();
        let slot = SlotOptions {
            engine: options.engine,
            bug: options.bug,
            checkpoint_interval_bytes: plan.checkpoint_interval_bytes,
            has_rewinds,
        };
        let slots = BTreeMap::from([(GROUP, slot)]);
        let mut world = Self {
            // The engine in use describes its messages on one line.
            recorder: Recorder::new(options.seed, &nodes, window, bezant_engines::describe(options.engine)),
            time: EPOCH,
            sequence: 0,
            events: BTreeMap::new(),
            machines: nodes.iter().map(|node| (*node, Machine::new(*node, &slots))).collect(),
            groups: BTreeMap::from([(GROUP, GroupRun::new(count, operator, clients))]),
            nodes,
            slow: BTreeMap::new(),
            vote_losers: BTreeSet::new(),
            net: Net::new(plan.weather),
            last_ticket: 0,
            plan_until: EPOCH + plan.until,
            idle_times: if options.bug.is_none() && !has_rewinds {
                draw_idle_times(options.seed, EPOCH, plan.until)
            } else {
                Vec::new()
            },
            is_asking: true,
            has_rewinds,
            report: SimReport {
                faults: kinds.iter().map(|kind| (*kind, 0)).collect(),
                ..SimReport::default()
            },
            broken: None,
            node_random: Random::new(options.seed ^ NODE_SALT),
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
            world.at(at, Event::Operate(GROUP));
        }
        for client in 0..world.group(GROUP).clients.len() {
            let at = EPOCH + world.random.between(0, 500 * MILLI);
            world.wake_at(at, GROUP, client);
        }
        world
    }

    fn let_clocks_drift(&mut self, seed: u64) {
        let drifts = clock_drifts(seed, self.machines.len());
        if drifts.iter().any(|drift| *drift != 0) {
            self.count(kind::CLOCK_DRIFT);
        }
        for (machine, drift) in self.machines.values_mut().zip(drifts) {
            machine.clock_drift = drift;
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
        self.found_groups()?;
        self.run_until(self.plan_until)?;
        self.end_faults()?;
        self.run_until(self.plan_until + RECOVERY)?;
        if self.has_rewinds {
            return self.end_with_rewinds();
        }
        for run in self.groups.values() {
            let late = self.plan_until + RECOVERY - LATE;
            check::every_client_progresses(&run.clients, self.plan_until, late)?;
            if let Some(step) = run.operator.step() {
                return Err(format!("the operator still waits for {step:?} long after the faults ended"));
            }
        }
        self.is_asking = false;
        self.run_until(self.plan_until + RECOVERY + SETTLING)?;
        let mut states = Vec::new();
        for group in self.group_numbers() {
            states.push(self.check_end(group)?);
        }
        self.report_totals(&states);
        Ok(self.report.clone())
    }

    /// Gives the first members of every group their disks, and starts them.
    fn found_groups(&mut self) -> Result<(), String> {
        let mut founders = BTreeSet::new();
        for group in self.group_numbers() {
            let count = self.group(group).first;
            let first = Members::first((1..=count).map(|node| (NodeId(node), format!("machine{node}:0"))));
            for member in &first.nodes {
                self.machine(member.node).place(group, &first, true)?;
                founders.insert(member.node);
            }
        }
        founders.into_iter().try_for_each(|node| self.start(node))
    }

    /// Runs the checks of a group at the end; returns the checksum of its state.
    fn check_end(&mut self, group: GroupId) -> Result<u64, String> {
        let record = &self.groups[&group].record;
        check::time_only_grows(record)?;
        check::no_read_shows_the_past(record)?;
        let ledger = check::answers_follow_the_log(record)?;
        let last = record.log.last_key_value().map_or(LogIndex(0), |(index, _)| *index);
        self.report.entries += record.log.len() as u64;
        let members = self.newest_members(group);
        let known = self.machines.iter();
        let known = known.filter_map(|(node, machine)| Some((*node, machine.replica(group)?.members())));
        check::members_are_equal(&members, known)?;
        let slots = self.machines.values().filter_map(|machine| machine.slots.get(&group));
        check::every_replica_may_vote(slots.filter(|slot| members.voters().any(|voter| voter == slot.node)))?;
        let mut states = Vec::new();
        for (node, machine) in self.machines.iter_mut().filter(|(node, _)| members.get(**node).is_some()) {
            let Some((index, bytes)) = machine.slot(group).take_state() else {
                return Err(format!("node {node} is down, although the faults have ended"));
            };
            states.push((*node, index, bytes));
        }
        check::states_are_equal(&states, &(last, state_bytes(ledger)))?;
        Ok(states.first().map_or(0, |(_, _, bytes)| bezant_codec::checksum(bytes)))
    }

    /// Fills in the report; `states` are the checksums of the groups' last states.
    fn report_totals(&mut self, states: &[u64]) {
        self.report.nanos = self.time - EPOCH;
        for GroupRun { record, .. } in self.groups.values() {
            self.report.writes += record.acknowledged.len() as u64;
            self.report.reads += (record.seen.len() + record.shown.len()) as u64;
            self.report.leaders += record.leaders.len() as u64;
        }
        let slots = self.machines.values().flat_map(|machine| machine.slots.values());
        self.report.rests = slots.map(|slot| slot.rests).sum();
        let states: Vec<u8> = states.iter().flat_map(|state| state.to_le_bytes()).collect();
        self.report.fingerprint = bezant_codec::checksum_seeded(self.report.events, &states);
    }

    fn run_until(&mut self, end: u64) -> Result<(), String> {
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= end
        {
            let ((time, _), event) = entry.remove_entry();
            self.time = time;
            self.report.events += 1;
            if let Some(group) = event.group() {
                self.group(group).events += 1;
            }
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
            Event::Tick(replica, incarnation) => self.tick(replica, incarnation)?,
            Event::Deliver { group, from, disk, to, message, .. } => {
                if self.machine(from).disks == disk {
                    self.give(ReplicaId { node: to, group }, None, Input::Message { from, message })?;
                }
            }
            Event::Operate(group) => self.operate(group)?,
            Event::Flush(replica, incarnation) => {
                if self.wakes(replica, incarnation, || Event::Flush(replica, incarnation)) {
                    let time = self.time;
                    let effects = self.machine(replica.node).flush(replica.group, time);
                    self.carry_out(replica, effects)?;
                }
            }
            Event::Input(replica, incarnation, input) => self.give(replica, Some(incarnation), input)?,
            Event::Ask { replica, ticket } => self.ask(replica, ticket)?,
            Event::Wake(group, client, plan) => {
                if plan == self.groups[&group].clients[client].plan {
                    self.wake(group, client);
                }
            }
            Event::Answer { group, ticket, output } if self.groups[&group].operator.waits_for(ticket) => {
                self.answer_operator(group, &output)?;
            }
            Event::Answer { group, ticket, output } => self.handle_answer(group, ticket, output),
            Event::History { group, ticket, index, rows } => self.handle_history(group, ticket, index, rows),
            Event::Fault(fault) => self.inject(fault)?,
            Event::Heartbeat(node, incarnation) => self.send_heartbeats(node, incarnation),
            Event::Hear { node, from, incarnation } => self.hear(node, from, incarnation)?,
            Event::Liveness(node, incarnation) => self.check_liveness(node, incarnation)?,
            Event::LosePower(node, away) => self.lose_power_after_vote(node, away),
            Event::Restart(node) => {
                if !self.machine(node).is_up() && self.machine(node).is_placed() {
                    self.start(node)?;
                }
            }
            Event::FreeSpace(node) => self.machine(node).set_space(None),
            Event::Lost { node, peer } => {
                self.machine(node).lose(peer);
                for group in self.group_numbers() {
                    self.give(ReplicaId { node, group }, None, Input::Lost(peer))?;
                }
            }
        }
        Ok(())
    }

    fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((time, self.sequence), event);
    }

    /// Plans the time at which a client continues. This replaces its earlier plan.
    fn wake_at(&mut self, time: u64, group: GroupId, client: usize) {
        let known = &mut self.group(group).clients[client];
        known.plan += 1;
        let plan = known.plan;
        self.at(time, Event::Wake(group, client, plan));
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

    fn machine(&mut self, node: NodeId) -> &mut Machine {
        self.machines.get_mut(&node).expect("invariant: all nodes have a machine")
    }

    fn slot(&mut self, ReplicaId { node, group }: ReplicaId) -> &mut Slot {
        self.machine(node).slot(group)
    }

    fn group(&mut self, group: GroupId) -> &mut GroupRun {
        self.groups.get_mut(&group).expect("invariant: events name groups of the run")
    }

    /// Every replica that the run may have, those of a node together.
    fn replicas(&self) -> Vec<ReplicaId> {
        let nodes = self.nodes.iter().copied();
        nodes
            .flat_map(|node| self.groups.keys().map(move |group| ReplicaId { node, group: *group }))
            .collect()
    }

    fn group_numbers(&self) -> Vec<GroupId> {
        self.groups.keys().copied().collect()
    }

    fn start(&mut self, node: NodeId) -> Result<(), String> {
        let placed = self.machines[&node].slots.iter().filter(|(_, slot)| slot.is_placed());
        let placed: Vec<GroupId> = placed.map(|(group, _)| *group).collect();
        let seeds: Vec<_> = placed.iter().map(|group| (*group, self.random.next())).collect();
        let machine = self.machine(node);
        machine.mend_disk();
        machine.start(&seeds).map_err(|error| format!("node {node} does not start: {error}"))?;
        let incarnation = machine.incarnations;
        for group in &placed {
            let repairs = std::mem::take(&mut self.slot(ReplicaId { node, group: *group }).repairs);
            self.report.repairs += repairs.len() as u64;
            for repair in repairs {
                self.mark(MarkKind::Disk, node, || repair.to_string());
            }
        }
        self.mark(MarkKind::Start, node, || "starts".to_owned());
        for group in placed {
            let first = self.time + self.random.between(1, TICK);
            self.at(first, Event::Tick(ReplicaId { node, group }, incarnation));
        }
        self.start_liveness(node, incarnation);
        Ok(())
    }

    /// True when that process still runs and is not paused. A paused process gets the event when it
    /// continues.
    fn wakes(&mut self, replica: ReplicaId, incarnation: u64, again: impl FnOnce() -> Event) -> bool {
        let time = self.time;
        if !self.runs(replica, incarnation) {
            return false;
        }
        let wakes_at = self.machine(replica.node).paused_until;
        if wakes_at > time {
            self.at(wakes_at, again());
            return false;
        }
        true
    }

    /// True when the replica runs, in the process with that number.
    fn runs(&mut self, replica: ReplicaId, incarnation: u64) -> bool {
        self.machine(replica.node).incarnations == incarnation && self.slot(replica).runs()
    }

    fn tick(&mut self, replica: ReplicaId, incarnation: u64) -> Result<(), String> {
        if !self.wakes(replica, incarnation, || Event::Tick(replica, incarnation)) {
            return Ok(());
        }
        if !self.slot(replica).needs_ticks() {
            self.slot(replica).is_ticking = false;
            return Ok(());
        }
        self.at(self.time + TICK, Event::Tick(replica, incarnation));
        if let Some(input) = self.slot(replica).check_space() {
            self.note_pressure(&input);
            self.give(replica, Some(incarnation), input)?;
        }
        if (self.time / TICK).is_multiple_of(IDLE_TICKS) {
            let time = self.time;
            let effects = self.machine(replica.node).note_idle(replica.group, time);
            self.carry_out(replica, effects)?;
        }
        self.give(replica, Some(incarnation), Input::Tick)?;
        self.try_rest(replica, incarnation)
    }

    /// Counts a disk that has become nearly full.
    fn note_pressure(&mut self, input: &Input<FlawedLedger>) {
        if matches!(input, Input::Pressure(Some(_))) {
            self.count(kind::FULL_DISK);
        }
    }

    /// Passes an input to the replica in the process with the number `incarnation`, or in the present one. If
    /// that process does not run, the input is dropped.
    fn give(
        &mut self,
        replica: ReplicaId,
        incarnation: Option<u64>,
        input: Input<FlawedLedger>,
    ) -> Result<(), String> {
        let ReplicaId { node, group } = replica;
        let incarnation = incarnation.unwrap_or_else(|| self.machine(node).incarnations);
        if !self.runs(replica, incarnation) {
            return Ok(());
        }
        let (time, wakes_at) = (self.time, self.machine(node).paused_until);
        if wakes_at > time {
            self.at(wakes_at, Event::Input(replica, incarnation, input));
            return Ok(());
        }
        let effects = self.machine(node).handle(group, time, input);
        self.carry_out(replica, effects)
    }

    /// Carries out the effects of a replica.
    fn carry_out(&mut self, replica: ReplicaId, effects: Vec<Effect>) -> Result<(), String> {
        let ReplicaId { node, group } = replica;
        let incarnation = self.machine(node).incarnations;
        for effect in effects {
            match effect {
                Effect::Send(to, message) => self.send(replica, to, &message),
                Effect::Flush => {
                    let slow = self.slow.get(&node).copied().unwrap_or(0);
                    if slow > 0 {
                        self.count(kind::SLOW_DISK);
                    }
                    let at = self.time + self.random.between(100_000, 2 * MILLI) + slow;
                    self.at(at, Event::Flush(replica, incarnation));
                }
                Effect::Later(input) => {
                    let at = self.time + self.random.between(10_000, MILLI);
                    self.at(at, Event::Input(replica, incarnation, input));
                }
                Effect::Reply(output) => self.reply(group, output),
                Effect::Show { ticket, index, rows } => {
                    let at = self.time + self.random.between(20_000, MILLI);
                    self.at(at, Event::History { group, ticket, index, rows });
                }
                Effect::Unreadable { from, reason } => {
                    if !self.machine(from).has_ever_rotten {
                        return Err(format!("node {node} cannot read the state of node {from}: {reason}"));
                    }
                    self.mark(MarkKind::Checkpoint, node, || format!("state of node {from}: {reason}"));
                }
            }
        }
        self.tick_again(replica);
        self.check_progress(replica)?;
        if std::mem::take(&mut self.slot(replica).has_voted) && self.vote_losers.remove(&node) {
            let (at, away) = (self.random.between(3, 6) * MILLI, self.random.between(1, 20) * MILLI);
            self.at(self.time + at, Event::LosePower(node, away));
        }
        if let Some(Stop { reason, cause }) = self.slot(replica).stop.take() {
            let cause =
                cause.ok_or_else(|| format!("node {node} stops, but no fault explains it: {reason}"))?;
            self.count(cause);
            self.mark(MarkKind::Crash, node, || format!("stops: {reason}"));
            let away = self.random.between(100 * MILLI, 2 * SECOND);
            self.power_loss(node, away);
        }
        Ok(())
    }

    /// Compares what a replica has applied, and the term that it leads in, with the others.
    fn check_progress(&mut self, replica: ReplicaId) -> Result<(), String> {
        let ReplicaId { node, group } = replica;
        for entry in std::mem::take(&mut self.slot(replica).newly_applied) {
            // In runs with rewinds, the logs are compared at the end.
            if !self.has_rewinds {
                check::one_entry_an_index(&mut self.group(group).record, node, entry)?;
            }
        }
        let standing = self.slot(replica).replica().map(bezant_replica::Replica::standing);
        if let Some(standing) = standing
            && standing.role == Role::Leader
        {
            let is_new = !self.group(group).record.leaders.contains_key(&standing.term);
            if is_new && !self.recorder.is_watching() {
                self.mark(MarkKind::Note, node, || format!("leads in term {}", standing.term));
            }
            check::one_leader_a_term(&mut self.group(group).record, standing.term, node)?;
        }
        Ok(())
    }

    fn send(&mut self, from: ReplicaId, to: NodeId, message: &PeerMessage) {
        let ReplicaId { node: from, group } = from;
        let disk = self.machine(from).disks;
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
            self.at(self.time + delay, Event::Deliver { group, from, disk, to, message, number });
        }
    }

    fn reply(&mut self, group: GroupId, output: Output<FlawedLedger>) {
        let ticket = match &output {
            Output::Answer { ticket, .. }
            | Output::Refuse { ticket, .. }
            | Output::QueryAnswer { ticket, .. }
            | Output::BarrierPassed { ticket, .. } => *ticket,
            _ => return,
        };
        let at = self.time + self.random.between(20_000, MILLI);
        self.at(at, Event::Answer { group, ticket, output });
    }
}
