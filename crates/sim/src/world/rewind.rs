//! Old copies that replace disks, and the checks at the end of such a run.
//!
//! A disk that comes back without entries that it has acknowledged breaks an assumption of the protocols.
//! Together with the replicas that were cut off, its replica is a majority without those entries. They cannot
//! be recovered, but a replica that has them must report the loss.

use bezant_types::{GroupId, LogIndex, NodeId};

use super::{Event, LATE, RECOVERY, SETTLING, World};
use crate::SimReport;
use crate::check;
use crate::faults::kind;
use crate::machine::{Machine, Slot};
use crate::trace::MarkKind;

impl World {
    /// Stops the machine, if it runs, and starts it on the copy of its disk.
    pub(super) fn rewind(&mut self, node: NodeId, away: u64) {
        if self.machine(node).rewind() {
            self.count(kind::REWIND);
            self.mark(MarkKind::Disk, node, || "an old copy replaces its disk".to_owned());
            self.notify_lost(node);
            self.at(self.time + away, Event::Restart(node));
        }
    }

    /// Checks the end of a run in which disks went back. The replicas of a group that did not stop must have
    /// one log; if they are a majority, they must make progress.
    pub(super) fn end_with_rewinds(&mut self) -> Result<SimReport, String> {
        let groups = self.group_numbers();
        let enough: Vec<bool> = groups.iter().map(|group| self.enough_go_on(*group)).collect();
        for (group, _) in groups.iter().zip(&enough).filter(|(_, is_enough)| **is_enough) {
            let late = self.plan_until + RECOVERY - LATE;
            check::every_client_progresses(&self.groups[group].clients, self.plan_until, late)?;
        }
        self.is_asking = false;
        self.run_until(self.plan_until + RECOVERY + SETTLING)?;
        let mut states = Vec::new();
        for (group, is_enough) in groups.into_iter().zip(enough) {
            states.push(self.check_end_with_rewinds(group, is_enough)?);
        }
        self.report_totals(&states);
        Ok(self.report.clone())
    }

    /// True when the replicas of a group that did not stop are a majority of its voters.
    fn enough_go_on(&self, group: GroupId) -> bool {
        let count = self.machines.values().filter(|machine| machine.conflict(group).is_none()).count();
        count > self.newest_members(group).voters().count() / 2
    }

    /// Runs the checks of a group; returns the checksum of its state.
    fn check_end_with_rewinds(&mut self, group: GroupId, is_enough: bool) -> Result<u64, String> {
        let goes_on = |machine: &&Machine| machine.conflict(group).is_none();
        let slots = self.machines.values().filter(goes_on);
        let slots: Vec<&Slot> = slots.filter_map(|machine| machine.slots.get(&group)).collect();
        self.report.stops += (self.machines.len() - slots.len()) as u64;
        let log = check::no_loss_is_unreported(&slots)?;
        let holds = |index: &LogIndex, time: u64| match log.get(index) {
            // An entry that reached all these replicas in a checkpoint is not in `log`.
            None => true,
            Some(entry) => bezant_rsm::Entry::decode(&entry.payload)
                .is_ok_and(|entry| entry.time.0 >= time && entry.time.0 - entry.events() < time),
        };
        let last = log.last_key_value().map_or(LogIndex(0), |(index, _)| *index);
        let is_lost = |index: &LogIndex, time: u64| *index > last || !holds(index, time);
        let acknowledged = &self.groups[&group].record.acknowledged;
        let lost = acknowledged.iter().filter(|write| is_lost(&write.index, write.time.0));
        self.report.lost += lost.count() as u64;
        self.report.entries += log.len() as u64;
        let mut states = Vec::new();
        for machine in self.machines.values_mut().filter(|machine| machine.conflict(group).is_none()) {
            let state = machine.slot(group).take_state();
            states.extend(state.map(|(index, bytes)| (machine.id, index, bytes)));
        }
        if is_enough && let Some((_, index, bytes)) = states.first().cloned() {
            check::states_are_equal(&states, &(index, bytes))?;
        }
        Ok(states.first().map_or(0, |(_, _, bytes)| bezant_codec::checksum(bytes)))
    }
}
