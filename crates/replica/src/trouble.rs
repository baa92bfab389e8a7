//! Refuses waiting commands and reads that the replica cannot serve: the disk failed or is full, there is no
//! leader, or a queue is full.

use alloc::string::String;
use alloc::vec::Vec;

use bezant_consensus::{Change, Engine};
use bezant_rsm::StateMachine;
use bezant_types::NodeId;

use crate::event::{Output, Refusal};
use crate::message::Outcome;
use crate::origin::Origin;
use crate::pipeline::InFlight;
use crate::reads::Read;
use crate::replica::Replica;

/// Ticks between two attempts of a leader whose disk is nearly full to transfer leadership.
const PRESSURE_TICKS: u64 = 500;

impl<M: StateMachine, E: Engine> Replica<M, E> {
    /// Why this replica takes no commands now; `None` while it does. A follower with a nearly full disk takes
    /// them, because it only forwards them. A leader without disk space, or whose clock is not trusted,
    /// starts no command, but commands in flight continue.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        if let Some(reason) = &self.failed {
            return Some(Refusal::ReadOnly(reason.clone()));
        }
        let for_now = self.pressure.as_ref().or(self.hold.as_ref());
        for_now.filter(|_| self.engine.is_leader()).cloned().map(Refusal::NotTaken)
    }

    pub(crate) fn refuse(&mut self, origin: Origin, refusal: Refusal) {
        match origin {
            Origin::Client(ticket) => self.outputs.push_back(Output::Refuse { ticket, refusal }),
            Origin::Peer(node, number) => {
                let outcome = match refusal {
                    Refusal::Overloaded => Outcome::Overloaded,
                    Refusal::ReadOnly(reason) => Outcome::ReadOnly(reason),
                    Refusal::NotTaken(reason) => Outcome::NotTaken(reason),
                    Refusal::NoLeader | Refusal::NoState(_) => Outcome::NotDone,
                    Refusal::Interrupted => Outcome::Unknown,
                };
                self.send_outcome(node, number, outcome);
            }
            Origin::Own => self.own_command_waits = false,
        }
    }

    pub(crate) fn refuse_reads(&mut self) {
        let reads = self.reads.take_all();
        self.refuse_some(reads);
    }

    pub(crate) fn refuse_some(&mut self, reads: Vec<Read<M::Query>>) {
        for read in reads {
            self.outputs.push_back(Output::Refuse { ticket: read.ticket, refusal: Refusal::NoLeader });
        }
    }

    /// Another leader's entry replaces this one. A voter that still has this entry may become leader later
    /// and commit it (Raft, figure 8), so its commands may be done or not. The clients repeat them, and their
    /// ids show the outcome.
    pub(crate) fn take_back(&mut self, removed: InFlight<M::Found>) {
        for origin in removed.origins {
            self.refuse(origin, Refusal::Interrupted);
        }
    }

    /// Refuses everything that waits, after a long time without a leader. The clients can try another node.
    pub(crate) fn refuse_waiting(&mut self) {
        for origin in self.queue.take(|_| true) {
            self.refuse(origin, Refusal::NoLeader);
        }
        for origin in self.pipeline.take_origins() {
            self.refuse(origin, Refusal::Interrupted);
        }
        self.refuse_reads();
    }

    /// The disk is nearly full, or has space again. A leader refuses at once the commands that are in no
    /// entry yet, of which nothing was done. It then transfers leadership to a node whose disk may have
    /// space.
    pub(crate) fn handle_pressure(&mut self, reason: Option<String>) {
        self.pressure = reason;
        self.refuse_under_pressure();
        if self.pressure.is_some() {
            self.transfer_leadership(None);
        }
    }

    /// Like [`Self::handle_pressure`], but the driver looks for another leader.
    pub(crate) fn handle_hold(&mut self, reason: Option<String>) {
        self.hold = reason;
        self.refuse_under_pressure();
    }

    pub(crate) fn tick_pressure(&mut self) {
        self.refuse_under_pressure();
        if self.pressure.is_some() && self.ticks.is_multiple_of(PRESSURE_TICKS) {
            // No other node could lead at the last attempt, or this node was elected again.
            self.transfer_leadership(None);
        }
    }

    /// Transfers leadership to that node, or to the one with the longest log.
    pub(crate) fn transfer_leadership(&mut self, to: Option<NodeId>) {
        if let Some(node) = to {
            // An error is ignored: the driver repeats its request.
            self.engine.change(Change::Lead(node)).unwrap_or_default();
        } else {
            self.engine.transfer_leadership();
        }
        self.drain_engine();
    }

    pub(crate) fn refuse_under_pressure(&mut self) {
        let Some(refusal) = self.refusal() else { return };
        for origin in self.queue.take(|origin| origin != Origin::Own) {
            self.refuse(origin, refusal.clone());
        }
    }

    pub(crate) fn handle_failed(&mut self, reason: String) {
        let refusal = Refusal::ReadOnly(reason.clone());
        self.failed = Some(reason);
        self.wake(true);
        self.wake_told();
        let in_flight = self.pipeline.restart(self.applied);
        let waiting = in_flight.into_iter().flat_map(|entry| entry.origins);
        let waiting: Vec<Origin> = waiting.chain(self.queue.take(|_| true)).collect();
        for origin in waiting {
            self.refuse(origin, refusal.clone());
        }
        for ticket in self.forwards.take_all() {
            self.outputs.push_back(Output::Refuse { ticket, refusal: Refusal::Interrupted });
        }
        if !self.options.is_alone {
            self.refuse_reads();
        }
        self.answer_reads();
    }
}
