//! Heartbeats between machines, and the rest of groups.
//!
//! A process sends its heartbeats through the network, whatever its groups do. They have their own generator
//! of random numbers, so that they change nothing else in a run.

use bezant_replica::{HEARTBEAT_MILLIS, Input};
use bezant_types::NodeId;

use super::{Event, TICK, World};
use crate::machine::ReplicaId;
use crate::random::Random;
use crate::time::{MILLI, SECOND};

/// The time between two checks of which other machines answer.
const CHECK: u64 = 50 * MILLI;
/// Ticks between two attempts of a replica to rest.
const REST_TICKS: u64 = 10;
/// Distinguishes the generator of idle times from the others of a run.
const IDLE_SALT: u64 = 0x1d1e;

/// The times in which clients begin no requests, so that groups rest; none in a part of the runs.
pub(super) fn draw_idle_times(seed: u64, begin: u64, long: u64) -> Vec<(u64, u64)> {
    let mut random = Random::new(seed ^ IDLE_SALT);
    let mut times = Vec::new();
    if random.per_mille(600) {
        let mut time = begin + SECOND;
        while time < begin + long {
            let from = time + random.between(300, 3000) * MILLI;
            time = from + random.between(800, 4000) * MILLI;
            times.push((from, time));
        }
    }
    times.retain(|(_, end)| *end < begin + long);
    times
}

impl World {
    /// A new process begins to send heartbeats, and to check those of others.
    pub(super) fn start_liveness(&mut self, node: NodeId, incarnation: u64) {
        let (first, check) = (self.node_random.between(1, MILLI), self.node_random.between(1, CHECK));
        self.at(self.time + first, Event::Heartbeat(node, incarnation));
        self.at(self.time + check, Event::Liveness(node, incarnation));
    }

    /// True when that process runs and is not paused. A paused process gets the event when it continues.
    fn is_awake(&mut self, node: NodeId, incarnation: u64, again: impl FnOnce() -> Event) -> bool {
        let time = self.time;
        let machine = self.machine(node);
        let (runs, wakes_at) = (machine.is_up() && machine.incarnations == incarnation, machine.paused_until);
        if runs && wakes_at > time {
            self.at(wakes_at, again());
        }
        runs && wakes_at <= time
    }

    pub(super) fn send_heartbeats(&mut self, node: NodeId, incarnation: u64) {
        if !self.is_awake(node, incarnation, || Event::Heartbeat(node, incarnation)) {
            return;
        }
        self.at(self.time + HEARTBEAT_MILLIS * MILLI, Event::Heartbeat(node, incarnation));
        for to in self.nodes.clone().into_iter().filter(|to| *to != node) {
            for delay in self.net.delays(node, to, &mut self.node_random) {
                self.at(self.time + delay, Event::Hear { node: to, from: node, incarnation });
            }
        }
    }

    pub(super) fn hear(&mut self, node: NodeId, from: NodeId, incarnation: u64) -> Result<(), String> {
        let (time, present) = (self.time, self.machine(node).incarnations);
        let is_awake = self.is_awake(node, present, || Event::Hear { node, from, incarnation });
        if is_awake && self.machine(node).hear(from, incarnation, time) {
            for group in self.group_numbers() {
                self.give(ReplicaId { node, group }, Some(present), Input::Met(from))?;
            }
        }
        Ok(())
    }

    pub(super) fn check_liveness(&mut self, node: NodeId, incarnation: u64) -> Result<(), String> {
        if !self.is_awake(node, incarnation, || Event::Liveness(node, incarnation)) {
            return Ok(());
        }
        let time = self.time;
        self.at(time + CHECK, Event::Liveness(node, incarnation));
        for peer in self.machine(node).check_peers(time) {
            for group in self.group_numbers() {
                self.give(ReplicaId { node, group }, Some(incarnation), Input::Unresponsive(peer))?;
            }
        }
        for group in self.group_numbers() {
            let replica = ReplicaId { node, group };
            if self.slot(replica).is_ticking {
                continue;
            }
            // In production the process checks the space of its disk for all groups.
            if let Some(input) = self.slot(replica).check_space() {
                self.note_pressure(&input);
                self.give(replica, Some(incarnation), input)?;
            }
            if self.machine(node).is_due(group, time) {
                self.give(replica, Some(incarnation), Input::Tick)?;
            }
        }
        Ok(())
    }

    /// Lets a replica rest from time to time, if it can.
    pub(super) fn try_rest(&mut self, replica: ReplicaId, incarnation: u64) -> Result<(), String> {
        let is_turn = (self.time / TICK).is_multiple_of(REST_TICKS);
        if !is_turn || !self.runs(replica, incarnation) {
            return Ok(());
        }
        let time = self.time;
        let effects = self.machine(replica.node).try_rest(replica.group, time);
        self.carry_out(replica, effects)
    }

    /// Ticks a replica again that has ceased to rest.
    pub(super) fn tick_again(&mut self, replica: ReplicaId) {
        let (at, incarnation) = (self.time + TICK, self.machine(replica.node).incarnations);
        let slot = self.slot(replica);
        if slot.needs_ticks() && !slot.is_ticking {
            slot.is_ticking = true;
            self.at(at, Event::Tick(replica, incarnation));
        }
    }

    /// The end of the time in which clients begin no requests; `None` when they do.
    pub(super) fn idle_until(&self) -> Option<u64> {
        let is_now = |(from, until): &&(u64, u64)| (*from..*until).contains(&self.time);
        self.idle_times.iter().find(is_now).map(|(_, until)| *until)
    }
}
