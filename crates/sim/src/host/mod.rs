//! A machine of the cluster: its disk, its clock, and the process that runs on it until the next crash.
//!
//! `incarnation` carries out every output of the replica, on the real storage over a disk in memory. Actions
//! that take time (a flush, a read of the history, a message) become events of the world.

mod incarnation;

use std::collections::BTreeMap;
use std::sync::Arc;

use bezant_consensus::{Conflict, Engine, EngineKind, EngineOptions, EngineState, LogEntry, Members, Terms};
use bezant_ledger::Ledger;
use bezant_recovery::{Mode, Recovered, Repair, Supplier, recover};
use bezant_replica::{Input, Now, Output, PeerMessage, Replica, ReplicaOptions, Restored, Ticket};
use bezant_rsm::StateMachine;
use bezant_storage::disk::Disk;
use bezant_storage::log::{LogError, LogOptions};
use bezant_storage::record::{Identity, RecordError, VoteStore, load_conflict, load_members, store_members};
use bezant_storage::{FaultPlan, HistoryAnswer, MemoryDisk};
use bezant_types::{LogIndex, Nanos, NodeId, TransferId};

use crate::bug::{Bug, FlawedEngine, FlawedLedger};
use crate::faults::kind;
use crate::random::Random;
use crate::rot::rot;
use crate::world::EPOCH;
use incarnation::{Incarnation, Trouble};

/// Small segments, so that a short run fills several and cuts checkpoints.
const LOG: LogOptions = LogOptions::fixed(128 << 10);

/// With less space on its disk than this, four segments, a node takes no more commands of its clients.
const SPACE_RESERVE: u64 = 512 << 10;

/// The replica of a simulated node: the real one, with wrappers that can add a bug.
pub(crate) type SimReplica = Replica<FlawedLedger, FlawedEngine<Box<dyn Engine + Send>>>;
type SimInput = Input<FlawedLedger>;
type SimOutput = Output<FlawedLedger>;

/// What the world must carry out for a host.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Send this to a peer.
    Send(NodeId, PeerMessage),
    /// Flush the log after some time: it has a new write.
    Flush,
    /// Pass this to the replica after some time.
    Later(SimInput),
    /// Send this answer to its client.
    Reply(SimOutput),
    /// Send these rows of the history to the client.
    Show { ticket: Ticket, index: LogIndex, rows: HistoryAnswer },
    /// A peer's state could not be read: check that a fault explains it.
    Unreadable { from: NodeId, reason: String },
}

/// Why a process ended by itself.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) reason: String,
    /// The kind of the fault that explains it; `None` if no fault does.
    pub(crate) cause: Option<&'static str>,
}

/// The entries that a machine has known. Empty, except in runs in which old copies replace disks: there a
/// checker needs them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The entries that the processes on this disk have applied.
    pub(crate) applied: BTreeMap<LogIndex, LogEntry>,
    /// The applied entries that the disk records as committed.
    pub(crate) committed: BTreeMap<LogIndex, LogEntry>,
}

/// A machine.
#[expect(clippy::struct_excessive_bools, reason = "the flags are independent of each other")]
pub(crate) struct Host {
    pub(crate) id: NodeId,
    pub(crate) disk: MemoryDisk,
    /// The running process; `None` while the machine is down.
    incarnation: Option<Incarnation>,
    /// The difference between its clock and the world's, in ns; may be negative.
    pub(crate) clock_offset: i64,
    /// How much faster its clock runs than the world's, in millionths; may be negative.
    pub(crate) clock_drift: i64,
    /// The number of processes so far. Events for an earlier process are dropped.
    pub(crate) incarnations: u64,
    /// The number of disks that were lost so far; each was replaced by an empty one.
    pub(crate) disks: u64,
    /// Whether the disk is admitted, according to its identity when a process last ran. `None` for a spare
    /// machine, and after the disk was lost.
    admission: Option<bool>,
    /// The process pauses until this time, in ns.
    pub(crate) paused_until: u64,
    bug: Option<Bug>,
    engine: EngineKind,
    /// Set when the process ended by itself.
    pub(crate) stop: Option<Stop>,
    /// Entries that were applied since the world last compared them with those of other replicas.
    pub(crate) newly_applied: Vec<LogEntry>,
    checkpoint_interval_bytes: usize,
    /// True when the replica has voted for another replica since this was last reset.
    pub(crate) has_voted: bool,
    /// The repairs of the last start.
    pub(crate) repairs: Vec<Repair>,
    /// True when the disk was damaged after the last start.
    has_rot: bool,
    /// True when old copies replace disks in this run.
    has_rewinds: bool,
    /// A copy of the disk, with `known` at that time.
    copy: Option<(MemoryDisk, Known)>,
    pub(crate) known: Known,
    /// True when a disk of this machine was ever damaged: the state that it sends may be unreadable.
    pub(crate) has_ever_rotten: bool,
}

impl Host {
    pub(crate) fn new(
        id: NodeId,
        engine: EngineKind,
        bug: Option<Bug>,
        checkpoint_interval_bytes: usize,
        has_rewinds: bool,
    ) -> Self {
        Self {
            id,
            disk: MemoryDisk::new(),
            incarnation: None,
            clock_offset: 0,
            clock_drift: 0,
            incarnations: 0,
            disks: 0,
            admission: None,
            paused_until: 0,
            bug,
            engine,
            stop: None,
            newly_applied: Vec::new(),
            checkpoint_interval_bytes,
            has_voted: false,
            repairs: Vec::new(),
            has_rot: false,
            has_rewinds,
            copy: None,
            known: Known::default(),
            has_ever_rotten: false,
        }
    }

    /// True when the disk has everything that the replica ever acknowledged. It is false from damage or loss
    /// of the disk until the replica's next admission.
    pub(crate) const fn is_whole(&self) -> bool {
        self.is_placed() && !self.has_rot && matches!(self.admission, Some(true))
    }

    /// True when the disk belongs to a member, or to a node that is being added.
    pub(crate) const fn is_placed(&self) -> bool {
        self.admission.is_some()
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.incarnation.is_some()
    }

    pub(crate) fn leads(&self) -> bool {
        self.replica().is_some_and(Replica::is_leader)
    }

    pub(crate) fn replica(&self) -> Option<&SimReplica> {
        self.incarnation.as_ref().map(|incarnation| &incarnation.replica)
    }

    /// The members, from the replica, or else from the disk.
    pub(crate) fn members(&self) -> Option<Members> {
        let known = self.replica().map(|replica| replica.members().clone());
        known.or_else(|| load_members(&self.disk).ok().flatten())
    }

    /// The encoded state, and the last entry that it includes. Ends the process.
    pub(crate) fn take_state(&mut self) -> Option<(LogIndex, Vec<u8>)> {
        let incarnation = self.incarnation.take()?;
        let applied = incarnation.replica.applied();
        Some((applied, state_bytes(incarnation.replica.into_machine().ledger)))
    }

    fn now(&self, time: u64) -> Now {
        let since_beginning = i128::from(time.saturating_sub(EPOCH));
        let gained = since_beginning * i128::from(self.clock_drift) / 1_000_000;
        let ahead = self.clock_offset.saturating_add(i64::try_from(gained).unwrap_or(0));
        Now { wall: Nanos(time.saturating_add_signed(ahead)) }
    }

    /// Gives the disk an identity and the membership. A disk of the first members is admitted at once.
    pub(crate) fn place(&mut self, members: &Members, is_admitted: bool) -> Result<(), String> {
        let text = |error: RecordError| error.to_string();
        let (id, disk) = (self.id, u128::from(self.id.0) << 64 | u128::from(self.disks));
        let since = members.get(id).map_or(LogIndex(0), |member| member.since);
        let identity = Identity {
            token: [0; 32],
            node: id,
            disk,
            since,
            is_admitted,
            engine: Some(self.engine),
            known: Vec::new(),
        };
        identity.store(&self.disk).map_err(text)?;
        self.admission = Some(is_admitted);
        store_members(&self.disk, members).map_err(text)
    }

    /// Replaces the disk by an empty one.
    pub(crate) fn lose_disk(&mut self) {
        self.incarnation = None;
        self.disk = MemoryDisk::new();
        self.disks += 1;
        self.admission = None;
        self.has_rot = false;
    }

    /// Starts a process on the disk. The error is the reason why it does not start.
    pub(crate) fn start(&mut self, seed: u64) -> Result<(), String> {
        self.incarnations += 1;
        self.stop = None;
        let members = load_members(&self.disk).map_err(|error| error.to_string())?;
        let members = members.ok_or("the disk has no members")?;
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let mut recovered = recover(&disk, LOG, Mode::Grouped).map_err(|error| error.to_string())?;
        self.repairs = std::mem::take(&mut recovered.repairs);
        let identity = Identity::load(&self.disk).map_err(|error| error.to_string())?;
        let is_admitted =
            identity.is_some_and(|identity| identity.is_admitted) || self.bug == Some(Bug::VoteAfterDamage);
        self.admission = Some(is_admitted);
        self.has_rot = false;
        let Recovered { store, machine, history, log, votes, vote, checkpoint, applied, mut entries, .. } =
            recovered;
        let (mut committed, mut terms) = (recovered.committed, recovered.terms);
        if self.bug == Some(Bug::IgnoreFloor) {
            (committed, terms) = (applied, Terms::new());
        }
        if self.bug == Some(Bug::TruncateCommitted) {
            entries.truncate(entries.len().saturating_sub(3));
        }
        let vote = if self.bug == Some(Bug::ForgetVote) { None } else { vote };
        let restored = Restored::new(FlawedLedger::new(machine), applied, checkpoint.0, 0);
        let restored = restored.with_floor(committed, terms);
        let restored =
            restored.with_entries(&entries).map_err(|index| format!("entry {index} cannot be read"))?;
        let by_index = entries.iter().map(|entry| (entry.index, entry.clone())).collect();
        let options = EngineOptions::new(self.id, members, is_admitted, seed);
        let state = EngineState { vote, checkpoint, entries, committed };
        let engine = bezant_engines::begin(self.engine, &options, state).ok_or("the log is invalid")?;
        let options = ReplicaOptions {
            node: self.id,
            is_alone: false,
            incarnation: seed,
            checkpoint_interval_bytes: self.checkpoint_interval_bytes,
        };
        let mut replica = Replica::new(restored, FlawedEngine::new(engine, self.bug), options);
        if let Some(conflict) = recovered.conflict {
            replica.handle(self.now(EPOCH), Input::Stopped(conflict));
        }
        let supplier = Supplier::new(Arc::new(self.disk.clone()), store.clone(), history.reader());
        self.incarnation = Some(Incarnation {
            disk: self.disk.clone(),
            replica,
            log,
            votes,
            history,
            store,
            supplier,
            writer: None,
            unconfirmed: None,
            entries: by_index,
            applied,
            readers: Vec::new(),
            history_requests: BTreeMap::new(),
            is_admitted,
            is_nearly_full: false,
            may_stop: self.has_rewinds,
        });
        Ok(())
    }

    /// The conflict for which the replica has stopped, as the disk records it; `None` when it has not.
    pub(crate) fn conflict(&self) -> Option<Conflict> {
        load_conflict(&self.disk).ok().flatten()
    }

    /// Takes a copy of the disk.
    pub(crate) fn copy_disk(&mut self) {
        if self.is_up() && self.conflict().is_none() {
            self.copy = Some((self.disk.restart(), self.known.clone()));
        }
    }

    /// Ends the process and replaces the disk by the copy. Returns false when there is no copy, or when a
    /// vote was stored since the copy was taken: the loss of a vote would be another fault.
    pub(crate) fn rewind(&mut self) -> bool {
        let vote = |disk: &MemoryDisk| VoteStore::open(Arc::new(disk.restart())).ok().map(|(_, vote)| vote);
        let has_same_vote = |copy: &MemoryDisk| vote(copy).is_some() && vote(copy) == vote(&self.disk);
        if self.conflict().is_some() || !self.copy.as_ref().is_some_and(|(disk, _)| has_same_vote(disk)) {
            return false;
        }
        let Some((disk, known)) = self.copy.take() else { return false };
        self.incarnation = None;
        self.disk = disk;
        self.known = known;
        true
    }

    /// Records in an idle log which entries are committed, as the log thread does in production.
    pub(crate) fn note_idle(&mut self, time: u64) -> Vec<Effect> {
        let Some(incarnation) = &mut self.incarnation else { return Vec::new() };
        if !self.has_rewinds || incarnation.unconfirmed.is_some() {
            return Vec::new();
        }
        incarnation.log.note_committed(incarnation.replica.applied());
        if incarnation.log.needs_note()
            && let Err(error) = incarnation.log.mark()
        {
            return self.fail(time, Trouble::Storage(error.to_string()));
        }
        self.note_known();
        Vec::new()
    }

    /// Updates `known` with the entries that the disk records as committed.
    fn note_known(&mut self) {
        let Some(incarnation) = &self.incarnation else { return };
        if self.has_rewinds && incarnation.replica.conflict().is_none() {
            let noted = incarnation.log.noted();
            let new = self.known.committed.last_key_value().map_or(LogIndex(1), |(index, _)| index.next());
            let applied = self.known.applied.range(new..).take_while(|(index, _)| **index <= noted);
            self.known.committed.extend(applied.map(|(index, entry)| (*index, entry.clone())));
        }
    }

    /// The power fails: writes that were not synced may be lost.
    pub(crate) fn crash(&mut self, seed: u64) {
        self.incarnation = None;
        self.disk = self.disk.crash(seed);
    }

    /// The process is killed: everything that was written stays.
    pub(crate) fn kill(&mut self) {
        self.incarnation = None;
        self.disk = self.disk.restart();
    }

    /// Changes a few bits of a file, and returns its name. The machine must be off.
    pub(crate) fn rot(&mut self, random: &mut Random) -> Option<String> {
        let file = rot(&self.disk, random);
        self.has_rot |= file.is_some();
        self.has_ever_rotten |= file.is_some();
        file
    }

    /// Passes an input to the replica, and carries out its outputs.
    pub(crate) fn handle(&mut self, time: u64, input: SimInput) -> Vec<Effect> {
        let now = self.now(time);
        if let Some(incarnation) = &mut self.incarnation {
            incarnation.replica.handle(now, input);
        }
        self.work(time)
    }

    /// Flushes the log, and confirms the writes in it.
    pub(crate) fn flush(&mut self, time: u64) -> Vec<Effect> {
        let Some(incarnation) = &mut self.incarnation else { return Vec::new() };
        let Some(number) = incarnation.unconfirmed.take() else { return Vec::new() };
        incarnation.log.note_committed(incarnation.replica.applied());
        if let Err(error) = incarnation.log.flush() {
            // Without space nothing was written, so this is no failed flush.
            let is_failed = !matches!(error, LogError::NoSpace(_));
            let is_ignored = self.bug == Some(Bug::IgnoreFailedFsync) && is_failed && !self.has_no_power();
            if !is_ignored {
                return self.fail(time, Trouble::Storage(error.to_string()));
            }
        }
        self.note_known();
        self.handle(time, Input::Persisted(number))
    }

    /// True when the power failed in the middle of an operation of the disk.
    fn has_no_power(&self) -> bool {
        self.disk.faults().crash_at.is_some_and(|at| self.disk.counts().total() >= at)
    }

    /// The kind of the fault that explains a failed operation of the disk.
    fn cause(&self) -> Option<&'static str> {
        let plan = self.disk.faults();
        if self.has_no_power() {
            Some(kind::POWER_LOSS_IN_WRITE)
        } else if plan.fail_at.is_some_and(|at| self.disk.counts().total() >= at) {
            Some(kind::DISK_FAILURE)
        } else {
            plan.capacity_bytes.is_some().then_some(kind::FULL_DISK)
        }
    }

    /// A write failed, or the state diverged: the process ends.
    fn fail(&mut self, time: u64, trouble: Trouble) -> Vec<Effect> {
        let (reason, cause) = match trouble {
            Trouble::Storage(reason) => (reason, self.cause()),
            // In runs with rewinds, replicas may have different logs, and so different states.
            Trouble::Diverged(reason) => (reason, self.has_rewinds.then_some(kind::REWIND)),
        };
        self.stop = Some(Stop { reason: reason.clone(), cause });
        if self.has_no_power() {
            // Without power the process cannot send anything.
            return Vec::new();
        }
        let now = self.now(time);
        let Some(incarnation) = &mut self.incarnation else { return Vec::new() };
        incarnation.replica.handle(now, Input::Failed { reason });
        let mut effects = Vec::new();
        while let Some(output) = incarnation.replica.poll() {
            match output {
                Output::Send { to, message } => effects.push(Effect::Send(to, message)),
                Output::Refuse { .. } | Output::Answer { .. } => effects.push(Effect::Reply(output)),
                _ => {}
            }
        }
        effects
    }

    /// Records which transfers a client wants to read, until the barrier of its read is passed.
    pub(crate) fn ask_history(&mut self, ticket: Ticket, ids: Vec<TransferId>) {
        if let Some(incarnation) = &mut self.incarnation {
            incarnation.history_requests.insert(ticket, ids);
        }
    }

    fn work(&mut self, time: u64) -> Vec<Effect> {
        let now = self.now(time);
        let mut effects = Vec::new();
        if let Some(incarnation) = &mut self.incarnation {
            incarnation.replica.propose(now);
        }
        while let Some(incarnation) = &mut self.incarnation
            && let Some(output) = incarnation.replica.poll()
        {
            if let Output::Persist(write) = &output
                && let Some(vote) = write.vote
            {
                self.has_voted |= ![NodeId(0), self.id].contains(&vote.voted_for);
            }
            let result = incarnation.perform(output, self.bug, &mut effects);
            if let Err(trouble) = result {
                effects.extend(self.fail(time, trouble));
                break;
            }
        }
        if let Some(incarnation) = &mut self.incarnation
            && let Err(trouble) = incarnation.show(&mut effects)
        {
            effects.extend(self.fail(time, trouble));
        }
        self.note_applied();
        effects
    }

    fn note_applied(&mut self) {
        let Some(incarnation) = &mut self.incarnation else { return };
        self.admission = Some(incarnation.is_admitted);
        let applied = incarnation.replica.applied();
        while incarnation.applied < applied {
            incarnation.applied = incarnation.applied.next();
            // An entry that came with a peer's checkpoint was not applied here.
            if let Some(entry) = incarnation.entries.remove(&incarnation.applied) {
                if self.has_rewinds {
                    self.known.applied.insert(entry.index, entry.clone());
                }
                self.newly_applied.push(entry);
            } else if self.has_rewinds {
                self.known.applied.remove(&incarnation.applied);
            }
        }
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

    /// The input for the replica when the disk becomes nearly full or has space again. In production the log
    /// thread sends it.
    pub(crate) fn check_space(&mut self) -> Option<SimInput> {
        let incarnation = self.incarnation.as_mut()?;
        let is_nearly_full =
            incarnation.disk.available_bytes().is_ok_and(|available| available < SPACE_RESERVE);
        let changes = is_nearly_full != incarnation.is_nearly_full;
        incarnation.is_nearly_full = is_nearly_full;
        changes.then(|| Input::Pressure(is_nearly_full.then(|| "the disk is nearly full".to_owned())))
    }
}

/// The encoded state of a ledger.
pub(crate) fn state_bytes(mut ledger: Ledger) -> Vec<u8> {
    // A checkpoint under way is finished first.
    while ledger.poll_checkpoint(1 << 20).is_some() {}
    ledger.begin_checkpoint();
    std::iter::from_fn(|| ledger.poll_checkpoint(1 << 20)).flatten().collect()
}
