//! Old copies that replace disks, and the checks at the end of such a run.
//!
//! A disk that comes back without entries that it has acknowledged breaks an assumption of the protocols.
//! Together with the replicas that were cut off, its replica is a majority without those entries. They cannot
//! be recovered, but a replica that has them must report the loss.

use bezant_types::{LogIndex, NodeId};

use super::{Event, LATE, RECOVERY, SETTLING, World};
use crate::SimReport;
use crate::check;
use crate::faults::kind;
use crate::host::Host;
use crate::trace::MarkKind;

impl World {
    /// Stops the machine, if it runs, and starts it on the copy of its disk.
    pub(super) fn rewind(&mut self, node: NodeId, away: u64) {
        if self.host(node).rewind() {
            self.count(kind::REWIND);
            self.mark(MarkKind::Disk, node, || "an old copy replaces its disk".to_owned());
            self.notify_lost(node);
            self.at(self.time + away, Event::Restart(node));
        }
    }

    /// Checks the end of a run in which disks went back. The replicas that did not stop must have one log; if
    /// they are a majority, they must make progress.
    pub(super) fn end_with_rewinds(&mut self) -> Result<SimReport, String> {
        let members = self.newest_members();
        let goes_on = |host: &&Host| host.conflict().is_none();
        let count = self.hosts.values().filter(goes_on).count();
        let is_enough = count > members.voters().count() / 2;
        if is_enough {
            let late = self.plan_until + RECOVERY - LATE;
            check::every_client_progresses(&self.clients, self.plan_until, late)?;
        }
        self.is_asking = false;
        self.run_until(self.plan_until + RECOVERY + SETTLING)?;
        let hosts: Vec<&Host> = self.hosts.values().filter(goes_on).collect();
        self.report.stops = (self.hosts.len() - hosts.len()) as u64;
        let log = check::no_loss_is_unreported(&hosts)?;
        let holds = |index: &LogIndex, time: u64| match log.get(index) {
            // An entry that reached all these replicas in a checkpoint is not in `log`.
            None => true,
            Some(entry) => bezant_rsm::Entry::decode(&entry.payload)
                .is_ok_and(|entry| entry.time.0 >= time && entry.time.0 - entry.events() < time),
        };
        let last = log.last_key_value().map_or(LogIndex(0), |(index, _)| *index);
        let is_lost = |index: &LogIndex, time: u64| *index > last || !holds(index, time);
        let lost = self.record.acknowledged.iter().filter(|write| is_lost(&write.index, write.time.0));
        self.report.lost = lost.count() as u64;
        self.report.entries = log.len() as u64;
        let mut states = Vec::new();
        for host in self.hosts.values_mut().filter(|host| host.conflict().is_none()) {
            states.extend(host.take_state().map(|(index, bytes)| (host.id, index, bytes)));
        }
        if is_enough && let Some((_, index, bytes)) = states.first().cloned() {
            check::states_are_equal(&states, &(index, bytes))?;
        }
        self.report_totals(states.first().map_or(0, |(_, _, bytes)| bezant_codec::checksum(bytes)));
        Ok(self.report.clone())
    }
}
