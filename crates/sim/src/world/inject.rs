//! Injects faults, and ends them.

use bezant_replica::Input;
use bezant_types::{GroupId, NodeId};

use super::{Event, MILLI, World};
use crate::faults::{Fault, kind};
use crate::machine::{Machine, Slot};
use crate::net::Weather;
use crate::random::Random;
use crate::trace::{MarkKind, fault_mark};

impl World {
    pub(super) fn power_loss(&mut self, node: NodeId, away: u64) {
        let seed = self.random.next();
        self.machine(node).crash(seed);
        self.notify_lost(node);
        self.at(self.time + away, Event::Restart(node));
    }

    /// Most other nodes notice, after some time, that their connection ended.
    pub(super) fn notify_lost(&mut self, peer: NodeId) {
        for node in self.nodes.clone() {
            if node != peer && self.random.per_mille(700) {
                let at = self.time + self.random.between(100_000, 20 * MILLI);
                self.at(at, Event::Lost { node, peer });
            }
        }
    }

    /// True when the disk may be damaged: a majority of the voters of each group must have whole disks without
    /// it. A damaged disk counts as damaged until its replica may vote again. While the operator changes the
    /// membership, the voters are not certain; then only one disk at a time may be damaged.
    pub(super) fn may_damage(&self, node: NodeId) -> bool {
        self.groups.keys().all(|group| self.may_damage_group(node, *group))
    }

    fn may_damage_group(&self, node: NodeId, group: GroupId) -> bool {
        let is_whole = |machine: &Machine| machine.slots.get(&group).is_some_and(Slot::is_whole);
        // Spare machines that were never placed do not count. A machine whose disk was lost does.
        let is_missed = |machine: &&Machine| machine.id != node && (machine.is_placed() || machine.disks > 0);
        let mut missed = self.machines.values().filter(is_missed);
        if self.groups[&group].operator.step().is_some() && !missed.all(is_whole) {
            return false;
        }
        let members = self.newest_members(group);
        let is_whole = |voter: &NodeId| self.machines.get(voter).is_some_and(is_whole);
        let others = members.voters().filter(|voter| *voter != node).filter(is_whole).count();
        !members.is_changing() && others * 2 > members.voters().count()
    }

    /// Stops the machine, if it runs, and damages its disk before it starts again.
    fn rot(&mut self, node: NodeId, away: u64) {
        if self.machine(node).is_up() {
            if self.random.per_mille(500) {
                self.power_loss(node, away);
            } else {
                self.machine(node).kill();
                self.notify_lost(node);
                self.at(self.time + away, Event::Restart(node));
            }
        }
        let mut random = Random::new(self.random.next());
        if let Some(file) = self.machine(node).rot(&mut random) {
            self.count(Fault::BitRot(node, away).kind());
            self.mark(MarkKind::Disk, node, || format!("{file} has rotten"));
        }
    }

    /// A machine that has voted loses its power, if it is still up.
    pub(super) fn lose_power_after_vote(&mut self, node: NodeId, away: u64) {
        if self.machine(node).is_up() {
            self.count(kind::POWER_LOSS_AFTER_VOTE);
            self.mark(MarkKind::Crash, node, || kind::POWER_LOSS_AFTER_VOTE.to_owned());
            self.power_loss(node, away);
        }
    }

    /// True for a fault that has an effect now, and so is counted now. A fault whose effect comes later is
    /// counted then: a cut at each message that it stops, a failing disk at the operation that fails. A fault
    /// without an effect is not counted.
    fn takes_effect_at_once(&self, fault: Fault) -> bool {
        let is_up = |node: NodeId| self.machines.get(&node).is_some_and(Machine::is_up);
        match fault {
            Fault::PowerLoss(node, _)
            | Fault::Kill(node, _)
            | Fault::Pause(node, _)
            | Fault::CopyDisk(node)
            | Fault::ClockJump(node, _) => is_up(node),
            Fault::Blackout(_) => self.machines.values().any(Machine::is_up),
            Fault::TransferLeadership => self.machines.values().any(Machine::leads),
            Fault::Heal => self.net.cuts_something(),
            Fault::Weather(..) => true,
            Fault::PowerLossInWrite(..)
            | Fault::DiskFailure(..)
            | Fault::FullDisk(..)
            | Fault::SlowDisk(..)
            | Fault::PowerLossAfterVote(_)
            | Fault::BitRot(..)
            | Fault::Rewind(..)
            | Fault::Isolate(_)
            | Fault::Mute(_)
            | Fault::Deaf(_)
            | Fault::CutPair(..)
            | Fault::Split(_) => false,
        }
    }

    pub(super) fn inject(&mut self, fault: Fault) -> Result<(), String> {
        if let Fault::BitRot(node, _) = fault
            && !self.may_damage(node)
        {
            return Ok(());
        }
        if self.takes_effect_at_once(fault) {
            self.count(fault.kind());
        }
        let (mark, nodes, text) = fault_mark(fault);
        self.recorder.mark(mark, nodes, || text);
        match fault {
            Fault::PowerLoss(node, away) => self.power_loss(node, away),
            Fault::Blackout(away) => {
                for node in self.nodes.clone() {
                    let more = self.random.between(0, 200 * MILLI);
                    self.power_loss(node, away + more);
                }
            }
            Fault::Kill(node, away) => {
                self.machine(node).kill();
                self.notify_lost(node);
                self.at(self.time + away, Event::Restart(node));
            }
            // A disk that is not in use cannot fail.
            Fault::PowerLossInWrite(node, _) | Fault::DiskFailure(node, _) if !self.machine(node).is_up() => {
            }
            Fault::PowerLossInWrite(node, after) => self.machine(node).fail_power(after),
            Fault::DiskFailure(node, after) => self.machine(node).fail_disk(after),
            Fault::Pause(node, long) => {
                let until = self.time + long;
                self.machine(node).paused_until = until;
            }
            Fault::FullDisk(node, space, away) => {
                self.machine(node).set_space(Some(space));
                self.at(self.time + away, Event::FreeSpace(node));
            }
            Fault::SlowDisk(node, more) => {
                self.slow.insert(node, more);
            }
            Fault::ClockJump(node, by) => {
                let machine = self.machine(node);
                machine.clock_offset = machine.clock_offset.saturating_add(by);
            }
            Fault::BitRot(node, away) => self.rot(node, away),
            Fault::CopyDisk(node) => self.machine(node).copy_disk(),
            Fault::Rewind(node, away) => self.rewind(node, away),
            Fault::PowerLossAfterVote(node) => {
                self.vote_losers.insert(node);
            }
            Fault::TransferLeadership => {
                for replica in self.replicas() {
                    if self.slot(replica).leads() {
                        self.give(replica, None, Input::TransferLeadership)?;
                    }
                }
            }
            Fault::Weather(loss, doubles, delay_max) => {
                self.net.weather = Weather { delay_min: 20_000, delay_max, loss, doubles };
            }
            _ => self.cut(fault),
        }
        Ok(())
    }

    pub(super) fn cut(&mut self, fault: Fault) {
        let nodes = self.nodes.clone();
        for one in &nodes {
            for other in nodes.iter().filter(|other| *other != one) {
                let is_cut = match fault {
                    Fault::Isolate(node) => *one == node || *other == node,
                    Fault::Mute(node) => *one == node,
                    Fault::Deaf(node) => *other == node,
                    Fault::CutPair(first, second) => {
                        (*one, *other) == (first, second) || (*other, *one) == (first, second)
                    }
                    Fault::Split(mask) => (mask >> one.0 & 1) != (mask >> other.0 & 1),
                    _ => false,
                };
                if is_cut {
                    self.net.cut(*one, *other, fault.kind());
                }
            }
        }
        if fault == Fault::Heal {
            self.net.heal();
        }
    }

    /// Ends all faults.
    pub(super) fn end_faults(&mut self) -> Result<(), String> {
        self.note(|| "the faults end".to_owned());
        self.net.heal();
        self.net.weather = Weather::FAIR;
        self.slow.clear();
        self.vote_losers.clear();
        for node in self.nodes.clone() {
            self.machine(node).mend_disk();
            self.machine(node).paused_until = 0;
            if !self.machine(node).is_up() && self.machine(node).is_placed() {
                self.start(node)?;
            }
        }
        Ok(())
    }
}
