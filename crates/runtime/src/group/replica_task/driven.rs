//! The replica with what it needs for each of its inputs: its part in the cluster, its clock, and the state
//! that it shows to the handles.
//!
//! The clock is read and checked here, because a check may hold the replica or transfer its leadership.

use std::sync::Arc;
use std::time::Instant;

use bezant_consensus::Role;
use bezant_recovery::Machine;
use bezant_replica::{Input, NoState, Now};
use bezant_types::Nanos;

use super::clock_guard::ClockGuard;
use crate::clock::{Counting, counting};
use crate::group::membership::Membership;
use crate::group::shared::{DrivenReplica, Health, Shared};

/// A replica, its membership and its clock.
pub(super) struct Driven<M: Machine> {
    pub(super) replica: DrivenReplica<M>,
    /// The node's part in its cluster; `None` for a node that is alone.
    pub(super) membership: Option<Membership>,
    pub(super) clock: ClockGuard,
    pub(super) shared: Arc<Shared>,
    /// The last published reason why this replica has no state to show yet.
    no_state: Option<NoState>,
    /// The deadline of a stop; `None` before it.
    pub(super) stop_by: Option<Instant>,
}

impl<M: Machine> Driven<M> {
    pub(super) fn new(
        replica: DrivenReplica<M>,
        membership: Option<Membership>,
        clock: ClockGuard,
        shared: Arc<Shared>,
    ) -> Self {
        let no_state = replica.no_state();
        Self { replica, membership, clock, shared, no_state, stop_by: None }
    }

    /// Passes an input to the replica, with the time that the clock shows.
    pub(super) fn handle(&mut self, input: Input<M>) {
        self.replica.handle(self.clock.now(), input);
    }

    /// Announces that the replica has a state to show, when it has one.
    pub(super) fn publish_state(&mut self) {
        if self.no_state.is_some() && self.replica.no_state() != self.no_state {
            self.no_state = self.replica.no_state();
            self.publish_health();
        }
    }

    /// Announces whether the node takes writes and answers all reads.
    pub(super) fn publish_health(&self) {
        self.shared.metrics.has_state.set(i64::from(self.no_state.is_none()));
        if self.stop_by.is_none() {
            // The state of the replica decides, not the message: space on the disk does not repair a disk
            // that failed.
            let reason = self.replica.read_only_reason().map(str::to_owned);
            self.shared.metrics.read_only.set(i64::from(reason.is_some()));
            let shows = self.no_state.map_or(Health::Serving, |reason| Health::NoState { reason });
            self.shared.health.send_replace(reason.map_or(shows, |reason| Health::ReadOnly { reason }));
        }
    }

    /// Reads the clock, and checks it if that is due.
    pub(super) fn read_clock(&mut self) -> Now {
        let (now, was_set) = self.clock.look();
        if was_set && let Some(membership) = &mut self.membership {
            // All machines may have been suspended at the same time, so readings of the others may be old.
            membership.handle_clock_set();
        }
        // A new leader must stamp nothing before its clock was checked.
        if was_set || self.clock.has_news || self.clock.led != self.replica.is_leader() {
            self.check_clock();
        }
        now
    }

    /// Checks this node's clock, and does what follows from the result.
    pub(super) fn check_clock(&mut self) {
        let (own, now, ledger) = (self.clock.now().wall, Instant::now(), self.replica.time());
        let standing = self.replica.standing();
        let leads = standing.role == Role::Leader;
        self.clock.has_news = false;
        self.clock.led = self.replica.is_leader();
        let others = self.membership.as_ref().map(|membership| membership.clocks(&self.replica, now));
        let others = others.filter(|others| !others.is_only_voter);
        self.clock.is_alone = others.is_none();
        let mut successor = None;
        let reason = match others {
            None => self.clock.judge_alone(own, ledger),
            Some(others) if !others.votes => None,
            Some(others) => {
                let known: Vec<Nanos> = others.known.iter().map(|(_, wall)| *wall).chain([own]).collect();
                let counts = counting(&known, others.voters, ledger);
                if let Counting::Clock(counts) = counts {
                    successor = others.successor(&standing, counts);
                }
                self.clock.judge(own, counts, ledger, !leads || successor.is_some())
            }
        };
        self.clock.note(reason, now);
        if self.clock.should_transfer(leads, successor.is_some(), now)
            && let Some(successor) = successor
        {
            self.replica.handle(self.clock.now(), Input::TransferLeadershipTo(successor));
        }
        let pressure = self.clock.pressure(now);
        if pressure.is_some() != self.clock.is_pressed {
            self.clock.is_pressed = pressure.is_some();
            self.replica.handle(self.clock.now(), Input::Hold(pressure));
            self.publish_health();
        }
        self.publish_clock();
    }

    fn publish_clock(&mut self) {
        let reason = self.clock.reason();
        self.shared.metrics.clock_wrong.set(i64::from(reason.is_some()));
        if let Some(membership) = &mut self.membership {
            membership.set_clock(reason);
        } else if self.shared.cluster.borrow().clock.as_deref() != reason {
            let reason = reason.map(str::to_owned);
            self.shared.cluster.send_modify(|status| status.clock = reason);
        }
    }
}
