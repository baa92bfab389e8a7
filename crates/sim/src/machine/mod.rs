//! A machine of the cluster: its disk, its clock, and the process that runs on it until the next crash.
//!
//! The process has one replica of each group (`slot`). A crash, a pause and a fault of the disk hit all of
//! them; everything else happens to one replica.

mod effect;
mod incarnation;
mod slot;

use std::collections::BTreeMap;
use std::sync::Arc;

use bezant_consensus::{Conflict, Members};
use bezant_replica::{Input, Liveness, Millis, Now};
use bezant_storage::record::{VoteStore, load_conflict, load_members};
use bezant_storage::{FaultPlan, MemoryDisk};
use bezant_types::{GroupId, Nanos, NodeId};

use crate::bug::FlawedLedger;
use crate::random::Random;
use crate::rot::rot;
use crate::time::{EPOCH, MILLI};

pub(crate) use effect::{Effect, SimReplica};
pub(crate) use slot::{Known, Slot, SlotOptions, Stop, state_bytes};

/// A group's replica on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ReplicaId {
    pub(crate) node: NodeId,
    pub(crate) group: GroupId,
}

/// A machine.
pub(crate) struct Machine {
    pub(crate) id: NodeId,
    pub(crate) disk: MemoryDisk,
    /// The difference between its clock and the world's, in ns; may be negative.
    pub(crate) clock_offset: i64,
    /// How much faster its clock runs than the world's, in millionths; may be negative.
    pub(crate) clock_drift: i64,
    /// The number of processes so far. Events for an earlier process are dropped.
    pub(crate) incarnations: u64,
    /// The number of disks that were lost so far; each was replaced by an empty one.
    pub(crate) disks: u64,
    /// The process pauses until this time, in ns.
    pub(crate) paused_until: u64,
    /// Which other machines the process hears from.
    liveness: Liveness,
    /// The process of each other machine that this process heard from last.
    heard: BTreeMap<NodeId, u64>,
    /// A copy of the disk, with what each group had known at that time.
    copy: Option<(MemoryDisk, BTreeMap<GroupId, Known>)>,
    /// True when a disk of this machine was ever damaged: the state that it sends may be unreadable.
    pub(crate) has_ever_rotten: bool,
    /// Every group of the run, whether or not this machine has a replica of it.
    pub(crate) slots: BTreeMap<GroupId, Slot>,
}

impl Machine {
    pub(crate) fn new(id: NodeId, groups: &BTreeMap<GroupId, SlotOptions>) -> Self {
        let slot = |(group, options): (&GroupId, &SlotOptions)| (*group, Slot::new(id, *options));
        Self {
            id,
            disk: MemoryDisk::new(),
            clock_offset: 0,
            clock_drift: 0,
            incarnations: 0,
            disks: 0,
            paused_until: 0,
            liveness: Liveness::default(),
            heard: BTreeMap::new(),
            copy: None,
            has_ever_rotten: false,
            slots: groups.iter().map(slot).collect(),
        }
    }

    /// The replica of a group, or the place for it.
    pub(crate) fn slot(&mut self, group: GroupId) -> &mut Slot {
        self.slots.get_mut(&group).expect("invariant: a machine has a slot for every group")
    }

    /// The running replica of a group.
    pub(crate) fn replica(&self, group: GroupId) -> Option<&SimReplica> {
        self.slots.get(&group)?.replica()
    }

    /// True while the process runs.
    pub(crate) fn is_up(&self) -> bool {
        self.slots.values().any(Slot::runs)
    }

    /// True when a replica of this machine leads its group.
    pub(crate) fn leads(&self) -> bool {
        self.slots.values().any(Slot::leads)
    }

    /// True when the disk belongs to a member of some group, or to a node that is being added.
    pub(crate) fn is_placed(&self) -> bool {
        self.slots.values().any(Slot::is_placed)
    }

    /// The members of a group, from the replica, or else from the disk.
    pub(crate) fn members(&self, group: GroupId) -> Option<Members> {
        let known = self.replica(group).map(|replica| replica.members().clone());
        known.or_else(|| load_members(&self.disk).ok().flatten())
    }

    /// The conflict for which the replica of a group has stopped, as the disk records it; `None` when it has
    /// not.
    pub(crate) fn conflict(&self, group: GroupId) -> Option<Conflict> {
        self.slots.get(&group)?;
        load_conflict(&self.disk).ok().flatten()
    }

    fn has_conflict(&self) -> bool {
        self.slots.keys().any(|group| self.conflict(*group).is_some())
    }

    fn now(&self, time: u64) -> Now {
        let since_beginning = i128::from(time.saturating_sub(EPOCH));
        let gained = since_beginning * i128::from(self.clock_drift) / 1_000_000;
        let ahead = self.clock_offset.saturating_add(i64::try_from(gained).unwrap_or(0));
        Now { wall: Nanos(time.saturating_add_signed(ahead)) }
    }

    /// Gives the disk an identity and the membership of a group. A disk of the first members is admitted at
    /// once.
    pub(crate) fn place(
        &mut self,
        group: GroupId,
        members: &Members,
        is_admitted: bool,
    ) -> Result<(), String> {
        let disk = u128::from(self.id.0) << 64 | u128::from(self.disks) << 32 | u128::from(group.0);
        let storage = self.disk.clone();
        self.slot(group).place(&storage, disk, members, is_admitted)
    }

    /// Starts a process on the disk, with the replicas of these groups and their seeds. The error is the
    /// reason why it does not start.
    pub(crate) fn start(&mut self, seeds: &[(GroupId, u64)]) -> Result<(), String> {
        self.incarnations += 1;
        self.liveness = Liveness::default();
        self.heard.clear();
        let (storage, now) = (self.disk.clone(), self.now(EPOCH));
        for (group, seed) in seeds {
            self.slot(*group).start(&storage, now, *seed)?;
        }
        Ok(())
    }

    /// A heartbeat of that machine's process arrived. True when it was not connected, or did not answer.
    pub(crate) fn hear(&mut self, from: NodeId, incarnation: u64, time: u64) -> bool {
        let before = self.heard.get(&from).copied();
        if before.is_some_and(|before| before > incarnation) {
            return false;
        }
        self.heard.insert(from, incarnation);
        self.liveness.heard(from, millis(time)) || before != Some(incarnation)
    }

    /// The connection to that machine ended.
    pub(crate) fn lose(&mut self, peer: NodeId) {
        self.liveness.lost(peer);
    }

    /// The machines that have become unresponsive.
    pub(crate) fn check_peers(&mut self, time: u64) -> Vec<NodeId> {
        self.liveness.tick(millis(time))
    }

    /// Lets the replica of a group rest, if it can.
    pub(crate) fn try_rest(&mut self, group: GroupId, time: u64) -> Vec<Effect> {
        let (now, connected) = (self.now(time), self.liveness.connected());
        self.slot(group).try_rest(now, &connected)
    }

    /// True when a resting leader's machine has reached its deadline.
    pub(crate) fn is_due(&self, group: GroupId, time: u64) -> bool {
        let wake_at = self.replica(group).and_then(SimReplica::wake_at);
        wake_at.is_some_and(|moment| moment <= self.now(time).wall)
    }

    fn end_process(&mut self) {
        self.slots.values_mut().for_each(Slot::end);
    }

    /// The power fails: writes that were not synced may be lost.
    pub(crate) fn crash(&mut self, seed: u64) {
        self.end_process();
        self.disk = self.disk.crash(seed);
    }

    /// The process is killed: everything that was written stays.
    pub(crate) fn kill(&mut self) {
        self.end_process();
        self.disk = self.disk.restart();
    }

    /// Replaces the disk by an empty one.
    pub(crate) fn lose_disk(&mut self) {
        self.end_process();
        self.disk = MemoryDisk::new();
        self.disks += 1;
        self.slots.values_mut().for_each(Slot::lose_disk);
    }

    /// Takes a copy of the disk.
    pub(crate) fn copy_disk(&mut self) {
        if self.is_up() && !self.has_conflict() {
            let known = self.slots.iter().map(|(group, slot)| (*group, slot.known.clone()));
            self.copy = Some((self.disk.restart(), known.collect()));
        }
    }

    /// Ends the process and replaces the disk by the copy. Returns false when there is no copy, or when a
    /// vote was stored since the copy was taken: the loss of a vote would be another fault.
    pub(crate) fn rewind(&mut self) -> bool {
        let vote = |disk: &MemoryDisk| VoteStore::open(Arc::new(disk.restart())).ok().map(|(_, vote)| vote);
        let has_same_vote = |copy: &MemoryDisk| vote(copy).is_some() && vote(copy) == vote(&self.disk);
        if self.has_conflict() || !self.copy.as_ref().is_some_and(|(disk, _)| has_same_vote(disk)) {
            return false;
        }
        let Some((disk, known)) = self.copy.take() else { return false };
        self.end_process();
        self.disk = disk;
        for (group, known) in known {
            self.slot(group).known = known;
        }
        true
    }

    /// Changes a few bits of a file, and returns its name. The machine must be off.
    pub(crate) fn rot(&mut self, random: &mut Random) -> Option<String> {
        let file = rot(&self.disk, random);
        if file.is_some() {
            self.slots.values_mut().for_each(Slot::note_rot);
            self.has_ever_rotten = true;
        }
        file
    }

    /// Passes an input to the replica of a group, and carries out its outputs.
    pub(crate) fn handle(&mut self, group: GroupId, time: u64, input: Input<FlawedLedger>) -> Vec<Effect> {
        let now = self.now(time);
        self.slot(group).handle(now, input)
    }

    /// Flushes the log of a group, and confirms the writes in it.
    pub(crate) fn flush(&mut self, group: GroupId, time: u64) -> Vec<Effect> {
        let now = self.now(time);
        self.slot(group).flush(now)
    }

    /// Records in an idle log which entries are committed, as the task of the log does in production.
    pub(crate) fn note_idle(&mut self, group: GroupId, time: u64) -> Vec<Effect> {
        let now = self.now(time);
        self.slot(group).note_idle(now)
    }

    /// Makes the disk fail at the given operation, counted from now.
    pub(crate) fn fail_disk(&self, after: u64) {
        let fail_at = Some(self.disk.counts().total() + after);
        self.disk.set_faults(FaultPlan { fail_at, ..self.disk.faults() });
    }

    /// Makes the power fail in the middle of the given operation of the disk, counted from now.
    pub(crate) fn fail_power(&self, after: u64) {
        let crash_at = Some(self.disk.counts().total() + after);
        self.disk.set_faults(FaultPlan { crash_at, ..self.disk.faults() });
    }

    /// Ends all faults of the disk.
    pub(crate) fn mend_disk(&self) {
        self.disk.set_faults(FaultPlan::default());
    }

    /// Limits the space of the disk to this number of further bytes; `None` removes the limit.
    pub(crate) fn set_space(&self, space: Option<u64>) {
        let capacity_bytes = space.map(|space| self.disk.used_bytes() + space);
        self.disk.set_faults(FaultPlan { capacity_bytes, ..self.disk.faults() });
    }
}

fn millis(time: u64) -> Millis {
    Millis(time / MILLI)
}
