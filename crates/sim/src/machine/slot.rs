//! A group's replica on a machine: its process until the next crash, and what the world knows of it.
//!
//! `incarnation` carries out every output of the replica, on the real storage over a disk in memory. Actions
//! that take time (a flush, a read of the history, a message) become events of the world.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bezant_consensus::{EngineKind, EngineOptions, EngineState, LogEntry, Members, Terms};
use bezant_ledger::Ledger;
use bezant_recovery::{Mode, Recovered, Repair, Supplier, recover};
use bezant_replica::{Input, Now, Output, Replica, ReplicaOptions, Restored, Ticket};
use bezant_rsm::StateMachine;
use bezant_storage::MemoryDisk;
use bezant_storage::disk::Disk;
use bezant_storage::log::{LogError, LogOptions};
use bezant_storage::record::{Identity, RecordError, load_members, store_members};
use bezant_types::{LogIndex, NodeId, TransferId};

use super::effect::{Effect, SimInput, SimReplica};
use super::incarnation::{Incarnation, Trouble};
use crate::bug::{Bug, FlawedEngine, FlawedLedger};
use crate::faults::kind;

/// Small segments, so that a short run fills several and cuts checkpoints.
const LOG: LogOptions = LogOptions::fixed(128 << 10);

/// With less space on its disk than this, four segments, a node takes no more commands of its clients.
const SPACE_RESERVE: u64 = 512 << 10;

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

/// The settings of a group's replicas in this run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotOptions {
    pub(crate) engine: EngineKind,
    pub(crate) bug: Option<Bug>,
    pub(crate) checkpoint_interval_bytes: usize,
    /// True when old copies replace disks in this run.
    pub(crate) has_rewinds: bool,
}

/// The place of a group's replica on a machine.
pub(crate) struct Slot {
    pub(crate) node: NodeId,
    options: SlotOptions,
    /// The running replica and its files; `None` while it does not run.
    incarnation: Option<Incarnation>,
    /// Whether the disk is admitted, according to its identity when a process last ran. `None` when the
    /// machine has no replica of the group, and after the disk was lost.
    admission: Option<bool>,
    /// True while the world ticks the replica: not while it rests.
    pub(crate) is_ticking: bool,
    /// How often this replica, as leader, has let its group rest.
    pub(crate) rests: u64,
    /// Set when the process ended by itself.
    pub(crate) stop: Option<Stop>,
    /// Entries that were applied since the world last compared them with those of other replicas.
    pub(crate) newly_applied: Vec<LogEntry>,
    /// True when the replica has voted for another replica since this was last reset.
    pub(crate) has_voted: bool,
    /// The repairs of the last start.
    pub(crate) repairs: Vec<Repair>,
    /// True when the disk was damaged after the last start.
    has_rot: bool,
    pub(crate) known: Known,
}

impl Slot {
    pub(crate) fn new(node: NodeId, options: SlotOptions) -> Self {
        Self {
            node,
            options,
            incarnation: None,
            admission: None,
            is_ticking: false,
            rests: 0,
            stop: None,
            newly_applied: Vec::new(),
            has_voted: false,
            repairs: Vec::new(),
            has_rot: false,
            known: Known::default(),
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

    /// True while the replica runs.
    pub(crate) const fn runs(&self) -> bool {
        self.incarnation.is_some()
    }

    pub(crate) fn leads(&self) -> bool {
        self.replica().is_some_and(Replica::is_leader)
    }

    pub(crate) fn replica(&self) -> Option<&SimReplica> {
        self.incarnation.as_ref().map(|incarnation| &incarnation.replica)
    }

    /// The encoded state, and the last entry that it includes. Ends the process.
    pub(crate) fn take_state(&mut self) -> Option<(LogIndex, Vec<u8>)> {
        let incarnation = self.incarnation.take()?;
        let applied = incarnation.replica.applied();
        Some((applied, state_bytes(incarnation.replica.into_machine().ledger)))
    }

    /// Gives the disk an identity, with this number of the disk, and the membership.
    pub(super) fn place(
        &mut self,
        storage: &MemoryDisk,
        disk: u128,
        members: &Members,
        is_admitted: bool,
    ) -> Result<(), String> {
        let text = |error: RecordError| error.to_string();
        let node = self.node;
        let since = members.get(node).map_or(LogIndex(0), |member| member.since);
        let engine = Some(self.options.engine);
        let identity = Identity { token: [0; 32], node, disk, since, is_admitted, engine, known: Vec::new() };
        identity.store(storage).map_err(text)?;
        self.admission = Some(is_admitted);
        store_members(storage, members).map_err(text)
    }

    /// Ends the process.
    pub(super) fn end(&mut self) {
        self.incarnation = None;
    }

    /// The disk was replaced by an empty one.
    pub(super) fn lose_disk(&mut self) {
        self.admission = None;
        self.has_rot = false;
    }

    /// The disk was damaged.
    pub(super) fn note_rot(&mut self) {
        self.has_rot = true;
    }

    /// Starts the replica on the disk. The error is the reason why it does not start.
    pub(super) fn start(&mut self, storage: &MemoryDisk, now: Now, seed: u64) -> Result<(), String> {
        let SlotOptions { engine, bug, checkpoint_interval_bytes, has_rewinds } = self.options;
        self.stop = None;
        self.is_ticking = true;
        let members = load_members(storage).map_err(|error| error.to_string())?;
        let members = members.ok_or("the disk has no members")?;
        let disk: Arc<dyn Disk> = Arc::new(storage.clone());
        let mut recovered = recover(&disk, LOG, Mode::Grouped).map_err(|error| error.to_string())?;
        self.repairs = std::mem::take(&mut recovered.repairs);
        let identity = Identity::load(storage).map_err(|error| error.to_string())?;
        let is_admitted =
            identity.is_some_and(|identity| identity.is_admitted) || bug == Some(Bug::VoteAfterDamage);
        self.admission = Some(is_admitted);
        self.has_rot = false;
        let Recovered { store, machine, history, log, votes, vote, checkpoint, applied, mut entries, .. } =
            recovered;
        let (mut committed, mut terms) = (recovered.committed, recovered.terms);
        if bug == Some(Bug::IgnoreFloor) {
            (committed, terms) = (applied, Terms::new());
        }
        if bug == Some(Bug::TruncateCommitted) {
            entries.truncate(entries.len().saturating_sub(3));
        }
        let vote = if bug == Some(Bug::ForgetVote) { None } else { vote };
        let restored = Restored::new(FlawedLedger::new(machine), applied, checkpoint.0, 0);
        let restored = restored.with_floor(committed, terms);
        let restored =
            restored.with_entries(&entries).map_err(|index| format!("entry {index} cannot be read"))?;
        let by_index = entries.iter().map(|entry| (entry.index, entry.clone())).collect();
        let options = EngineOptions::new(self.node, members, is_admitted, seed);
        let state = EngineState { vote, checkpoint, entries, committed };
        let engine = bezant_engines::begin(engine, &options, state).ok_or("the log is invalid")?;
        let options =
            ReplicaOptions { node: self.node, is_alone: false, incarnation: seed, checkpoint_interval_bytes };
        let mut replica = Replica::new(restored, FlawedEngine::new(engine, bug), options);
        if let Some(conflict) = recovered.conflict {
            replica.handle(now, Input::Stopped(conflict));
        }
        let supplier = Supplier::new(Arc::new(storage.clone()), store.clone(), history.reader());
        self.incarnation = Some(Incarnation {
            disk: storage.clone(),
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
            may_stop: has_rewinds,
        });
        Ok(())
    }

    /// Records in an idle log which entries are committed, as the task of the log does in production.
    pub(super) fn note_idle(&mut self, now: Now) -> Vec<Effect> {
        let Some(incarnation) = &mut self.incarnation else { return Vec::new() };
        if !self.options.has_rewinds || incarnation.unconfirmed.is_some() {
            return Vec::new();
        }
        incarnation.log.note_committed(incarnation.replica.applied());
        if incarnation.log.needs_note()
            && let Err(error) = incarnation.log.mark()
        {
            return self.fail(now, Trouble::Storage(error.to_string()));
        }
        self.note_known();
        Vec::new()
    }

    /// Updates `known` with the entries that the disk records as committed.
    fn note_known(&mut self) {
        let Some(incarnation) = &self.incarnation else { return };
        if self.options.has_rewinds && incarnation.replica.conflict().is_none() {
            let noted = incarnation.log.noted();
            let new = self.known.committed.last_key_value().map_or(LogIndex(1), |(index, _)| index.next());
            let applied = self.known.applied.range(new..).take_while(|(index, _)| **index <= noted);
            self.known.committed.extend(applied.map(|(index, entry)| (*index, entry.clone())));
        }
    }

    /// Passes an input to the replica, and carries out its outputs.
    pub(super) fn handle(&mut self, now: Now, input: SimInput) -> Vec<Effect> {
        if let Some(incarnation) = &mut self.incarnation {
            incarnation.replica.handle(now, input);
        }
        self.work(now)
    }

    /// True when the replica runs, and needs ticks.
    pub(crate) fn needs_ticks(&self) -> bool {
        self.replica().is_some_and(Replica::needs_ticks)
    }

    /// Lets the replica rest, if it can.
    pub(super) fn try_rest(&mut self, now: Now, connected: &BTreeSet<NodeId>) -> Vec<Effect> {
        if let Some(incarnation) = &mut self.incarnation {
            let was_resting = incarnation.replica.is_resting();
            self.rests += u64::from(incarnation.replica.try_rest(connected) && !was_resting);
        }
        self.work(now)
    }

    /// Flushes the log, and confirms the writes in it.
    pub(super) fn flush(&mut self, now: Now) -> Vec<Effect> {
        let Some(incarnation) = &mut self.incarnation else { return Vec::new() };
        let Some(number) = incarnation.unconfirmed.take() else { return Vec::new() };
        incarnation.log.note_committed(incarnation.replica.applied());
        if let Err(error) = incarnation.log.flush() {
            // Without space nothing was written, so this is no failed flush.
            let is_failed = !matches!(error, LogError::NoSpace(_));
            let is_ignored =
                self.options.bug == Some(Bug::IgnoreFailedFsync) && is_failed && !incarnation.has_no_power();
            if !is_ignored {
                return self.fail(now, Trouble::Storage(error.to_string()));
            }
        }
        self.note_known();
        self.handle(now, Input::Persisted(number))
    }

    /// A write failed, or the state diverged: the process ends.
    fn fail(&mut self, now: Now, trouble: Trouble) -> Vec<Effect> {
        let Some(incarnation) = &mut self.incarnation else { return Vec::new() };
        let (reason, cause) = match trouble {
            Trouble::Storage(reason) => (reason, incarnation.cause()),
            // In runs with rewinds, replicas may have different logs, and so different states.
            Trouble::Diverged(reason) => (reason, self.options.has_rewinds.then_some(kind::REWIND)),
        };
        self.stop = Some(Stop { reason: reason.clone(), cause });
        if incarnation.has_no_power() {
            // Without power the process cannot send anything.
            return Vec::new();
        }
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

    fn work(&mut self, now: Now) -> Vec<Effect> {
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
                self.has_voted |= ![NodeId(0), self.node].contains(&vote.voted_for);
            }
            let result = incarnation.perform(output, self.options.bug, &mut effects);
            if let Err(trouble) = result {
                effects.extend(self.fail(now, trouble));
                break;
            }
        }
        if let Some(incarnation) = &mut self.incarnation
            && let Err(trouble) = incarnation.show(&mut effects)
        {
            effects.extend(self.fail(now, trouble));
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
                if self.options.has_rewinds {
                    self.known.applied.insert(entry.index, entry.clone());
                }
                self.newly_applied.push(entry);
            } else if self.options.has_rewinds {
                self.known.applied.remove(&incarnation.applied);
            }
        }
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
