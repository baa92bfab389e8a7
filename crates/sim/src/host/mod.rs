//! A machine of the cluster: its disk, its clock, and the node that lives on it between two crashes.
//!
//! Every effect that the node wants is carried out (`life`), on the real storage over a disk in memory; what takes
//! time (a flush, a read of the history, a message) becomes an event of the world.

mod life;

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
use life::{Life, Trouble};

/// Small, so that a short run fills segments and cuts checkpoints.
const LOG: LogOptions = LogOptions { segment_size: 128 << 10, reserve_size: 0 };

/// Below so much room on its disk a node takes no more of its clients: four segments.
const ROOM_RESERVE: u64 = 512 << 10;

/// The node that a simulation runs: the one that runs in production.
pub(crate) type SimReplica = Replica<FlawedLedger, FlawedEngine<Box<dyn Engine + Send>>>;
type SimInput = Input<FlawedLedger>;
type SimOutput = Output<FlawedLedger>;

/// What a host wants of the world.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Carry this to a peer.
    Send(NodeId, PeerMessage),
    /// Flush after a while: something was written.
    Flush,
    /// Hand this to the node after a while.
    Later(SimInput),
    /// Tell a client.
    Reply(SimOutput),
    /// Show a client what the history holds.
    Show { ticket: Ticket, index: LogIndex, rows: HistoryAnswer },
    /// A peer's state could not be read: that needs a cause.
    Doubt { from: NodeId, reason: String },
}

/// A process that ended by itself.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) reason: String,
    /// The kind of the fault that explains it; `None` for a stop that nothing in the world explains.
    pub(crate) cause: Option<&'static str>,
}

/// What a machine knows, for the checker: in runs in which disks go back in time alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// What its process has applied, or one before on the same disk.
    pub(crate) applied: BTreeMap<LogIndex, LogEntry>,
    /// What of that its disk says to be committed.
    pub(crate) committed: BTreeMap<LogIndex, LogEntry>,
}

/// A machine.
#[expect(clippy::struct_excessive_bools, reason = "each says one thing, and none excludes another")]
pub(crate) struct Host {
    pub(crate) id: NodeId,
    pub(crate) disk: MemoryDisk,
    life: Option<Life>,
    /// What its clock shows more than the world's, in ns; may be negative.
    pub(crate) clock_offset: i64,
    /// How much faster it goes than the world's, in millionths; may be negative.
    pub(crate) clock_drift: i64,
    /// Counts processes: events for an earlier one are void.
    pub(crate) lives: u64,
    /// Counts disks: one that was lost is another's.
    pub(crate) disks: u64,
    /// Whether its disk may vote, as it was noted there when the process was looked at last; `None` for a spare machine,
    /// and one whose disk was lost.
    admission: Option<bool>,
    /// Nothing happens here before this moment: the process sleeps.
    pub(crate) paused_until: u64,
    bug: Option<Bug>,
    engine: EngineKind,
    /// The process ended by itself.
    pub(crate) stop: Option<Stop>,
    /// Entries that became known as applied, to be compared with what the others applied.
    pub(crate) newly_applied: Vec<LogEntry>,
    checkpoint_interval_bytes: usize,
    /// It gave somebody else its vote since this was looked at.
    pub(crate) has_voted: bool,
    /// What the last start has repaired.
    pub(crate) repairs: Vec<Repair>,
    /// Its disk has changed since it was read last.
    has_rot: bool,
    /// Disks go back in time in this run.
    has_rewinds: bool,
    /// A copy of its disk, and what that knew.
    copy: Option<(MemoryDisk, Known)>,
    pub(crate) known: Known,
    /// A disk of it has rotten at some time: what it sent then may be of no use to others.
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
            life: None,
            clock_offset: 0,
            clock_drift: 0,
            lives: 0,
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

    /// True when its disk holds all that it ever confirmed: not from the rot of a disk, or its loss, on until it may vote
    /// again.
    pub(crate) const fn is_whole(&self) -> bool {
        self.is_placed() && !self.has_rot && matches!(self.admission, Some(true))
    }

    /// True for a disk that takes part, or will.
    pub(crate) const fn is_placed(&self) -> bool {
        self.admission.is_some()
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.life.is_some()
    }

    pub(crate) fn leads(&self) -> bool {
        self.node().is_some_and(Replica::is_leader)
    }

    pub(crate) fn node(&self) -> Option<&SimReplica> {
        self.life.as_ref().map(|life| &life.node)
    }

    /// The members, as its process knows them, or else its disk.
    pub(crate) fn members(&self) -> Option<Members> {
        let known = self.node().map(|node| node.members().clone());
        known.or_else(|| load_members(&self.disk).ok().flatten())
    }

    /// The state, byte by byte, and the entry behind which it stands. The process ends with it.
    pub(crate) fn take_state(&mut self) -> Option<(LogIndex, Vec<u8>)> {
        let life = self.life.take()?;
        let applied = life.node.applied();
        Some((applied, state_bytes(life.node.into_machine().ledger)))
    }

    fn now(&self, time: u64) -> Now {
        let since_beginning = i128::from(time.saturating_sub(EPOCH));
        let gained = since_beginning * i128::from(self.clock_drift) / 1_000_000;
        let ahead = self.clock_offset.saturating_add(i64::try_from(gained).unwrap_or(0));
        Now { wall: Nanos(time.saturating_add_signed(ahead)) }
    }

    /// The disk belongs to a node of the cluster now. One with which the cluster begins may vote.
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

    /// The disk is lost for good.
    pub(crate) fn lose_disk(&mut self) {
        self.life = None;
        self.disk = MemoryDisk::new();
        self.disks += 1;
        self.admission = None;
        self.has_rot = false;
    }

    /// Starts a process on what the disk holds; an error says why it does not start.
    pub(crate) fn start(&mut self, seed: u64) -> Result<(), String> {
        self.lives += 1;
        self.stop = None;
        let members = load_members(&self.disk).map_err(|error| error.to_string())?;
        let members = members.ok_or("nobody takes part")?;
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
        let restored = restored.with_entries(&entries).map_err(|index| format!("entry {index} is none"))?;
        let by_index = entries.iter().map(|entry| (entry.index, entry.clone())).collect();
        let options = EngineOptions::new(self.id, members, is_admitted, seed);
        let state = EngineState { vote, checkpoint, entries, committed };
        let engine = bezant_engines::begin(self.engine, &options, state).ok_or("the log is none")?;
        let options = ReplicaOptions {
            node: self.id,
            is_alone: false,
            incarnation: seed,
            checkpoint_interval_bytes: self.checkpoint_interval_bytes,
        };
        let mut node = Replica::new(restored, FlawedEngine::new(engine, self.bug), options);
        if let Some(conflict) = recovered.conflict {
            node.handle(self.now(EPOCH), Input::Stopped(conflict));
        }
        let supplier = Supplier::new(Arc::new(self.disk.clone()), store.clone(), history.reader());
        self.life = Some(Life {
            disk: self.disk.clone(),
            node,
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
            questions: BTreeMap::new(),
            is_admitted,
            is_pressed: false,
            may_stop: self.has_rewinds,
        });
        Ok(())
    }

    /// Why its replica has stopped, as its disk says; `None` when it has not.
    pub(crate) fn conflict(&self) -> Option<Conflict> {
        load_conflict(&self.disk).ok().flatten()
    }

    /// Somebody takes a copy of the disk, as of one moment.
    pub(crate) fn copy_disk(&mut self) {
        if self.is_up() && self.conflict().is_none() {
            self.copy = Some((self.disk.restart(), self.known.clone()));
        }
    }

    /// The process ends, and the copy takes the place of the disk; false when there is none, or when a promise was made
    /// since: what a forgotten promise does is another fault.
    pub(crate) fn rewind(&mut self) -> bool {
        let vote = |disk: &MemoryDisk| VoteStore::open(Arc::new(disk.restart())).ok().map(|(_, vote)| vote);
        let has_same_vote = |copy: &MemoryDisk| vote(copy).is_some() && vote(copy) == vote(&self.disk);
        if self.conflict().is_some() || !self.copy.as_ref().is_some_and(|(disk, _)| has_same_vote(disk)) {
            return false;
        }
        let Some((disk, known)) = self.copy.take() else { return false };
        self.life = None;
        self.disk = disk;
        self.known = known;
        true
    }

    /// An idle log says what is committed, as the thread of the log does in production.
    pub(crate) fn note_idle(&mut self, time: u64) -> Vec<Wish> {
        let Some(life) = &mut self.life else { return Vec::new() };
        if !self.has_rewinds || life.unconfirmed.is_some() {
            return Vec::new();
        }
        life.log.note_committed(life.node.applied());
        if life.log.needs_note()
            && let Err(error) = life.log.mark()
        {
            return self.fail(time, Trouble::Storage(error.to_string()));
        }
        self.note_known();
        Vec::new()
    }

    /// What the disk says to be committed from now on.
    fn note_known(&mut self) {
        let Some(life) = &self.life else { return };
        if self.has_rewinds && life.node.conflict().is_none() {
            let noted = life.log.noted();
            let new = self.known.committed.last_key_value().map_or(LogIndex(1), |(index, _)| index.next());
            let applied = self.known.applied.range(new..).take_while(|(index, _)| **index <= noted);
            self.known.committed.extend(applied.map(|(index, entry)| (*index, entry.clone())));
        }
    }

    /// The power fails: what was not synced may be lost.
    pub(crate) fn crash(&mut self, seed: u64) {
        self.life = None;
        self.disk = self.disk.crash(seed);
    }

    /// The process is killed: what was written stays.
    pub(crate) fn kill(&mut self) {
        self.life = None;
        self.disk = self.disk.restart();
    }

    /// A few bits of a file change; says which file. The machine is off.
    pub(crate) fn rot(&mut self, random: &mut Random) -> Option<String> {
        let file = rot(&self.disk, random);
        self.has_rot |= file.is_some();
        self.has_ever_rotten |= file.is_some();
        file
    }

    /// Hands something to the node, and carries out what it wants then.
    pub(crate) fn handle(&mut self, time: u64, input: SimInput) -> Vec<Wish> {
        let now = self.now(time);
        if let Some(life) = &mut self.life {
            life.node.handle(now, input);
        }
        self.work(time)
    }

    /// What was written becomes durable.
    pub(crate) fn flush(&mut self, time: u64) -> Vec<Wish> {
        let Some(life) = &mut self.life else { return Vec::new() };
        let Some(number) = life.unconfirmed.take() else { return Vec::new() };
        life.log.note_committed(life.node.applied());
        if let Err(error) = life.log.flush() {
            // A write that found no room is none that failed: nothing was written.
            let is_failed = !matches!(error, LogError::NoSpace(_));
            let is_ignored = self.bug == Some(Bug::IgnoreFailedFsync) && is_failed && !self.has_no_power();
            if !is_ignored {
                return self.fail(time, Trouble::Storage(error.to_string()));
            }
        }
        self.note_known();
        self.handle(time, Input::Persisted(number))
    }

    /// The power failed in the middle of an operation of the disk.
    fn has_no_power(&self) -> bool {
        self.disk.faults().crash_at.is_some_and(|at| self.disk.counts().total() >= at)
    }

    /// The kind of the fault that explains why the disk refused.
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

    /// A write failed: the node takes part in nothing from now on.
    fn fail(&mut self, time: u64, trouble: Trouble) -> Vec<Wish> {
        let (reason, cause) = match trouble {
            Trouble::Storage(reason) => (reason, self.cause()),
            // States that were made of different logs: that is told as well.
            Trouble::Diverged(reason) => (reason, self.has_rewinds.then_some(kind::REWIND)),
        };
        self.stop = Some(Stop { reason: reason.clone(), cause });
        if self.has_no_power() {
            // It has no time to tell anybody.
            return Vec::new();
        }
        let now = self.now(time);
        let Some(life) = &mut self.life else { return Vec::new() };
        life.node.handle(now, Input::Failed { reason });
        let mut wishes = Vec::new();
        while let Some(output) = life.node.poll() {
            match output {
                Output::Send { to, message } => wishes.push(Wish::Send(to, message)),
                Output::Refuse { .. } | Output::Answer { .. } => wishes.push(Wish::Reply(output)),
                _ => {}
            }
        }
        wishes
    }

    /// Notes what a client wants to see of the history once the node says that it may.
    pub(crate) fn ask_history(&mut self, ticket: Ticket, ids: Vec<TransferId>) {
        if let Some(life) = &mut self.life {
            life.questions.insert(ticket, ids);
        }
    }

    fn work(&mut self, time: u64) -> Vec<Wish> {
        let now = self.now(time);
        let mut wishes = Vec::new();
        if let Some(life) = &mut self.life {
            life.node.propose(now);
        }
        while let Some(life) = &mut self.life
            && let Some(output) = life.node.poll()
        {
            if let Output::Persist(write) = &output
                && let Some(vote) = write.vote
            {
                self.has_voted |= ![NodeId(0), self.id].contains(&vote.voted_for);
            }
            let result = life.perform(output, self.bug, &mut wishes);
            if let Err(trouble) = result {
                wishes.extend(self.fail(time, trouble));
                break;
            }
        }
        if let Some(life) = &mut self.life
            && let Err(trouble) = life.show(&mut wishes)
        {
            wishes.extend(self.fail(time, trouble));
        }
        self.note_applied();
        wishes
    }

    fn note_applied(&mut self) {
        let Some(life) = &mut self.life else { return };
        self.admission = Some(life.is_admitted);
        let applied = life.node.applied();
        while life.applied < applied {
            life.applied = life.applied.next();
            // What came with a checkpoint of another was not applied here.
            if let Some(entry) = life.entries.remove(&life.applied) {
                if self.has_rewinds {
                    self.known.applied.insert(entry.index, entry.clone());
                }
                self.newly_applied.push(entry);
            } else if self.has_rewinds {
                self.known.applied.remove(&life.applied);
            }
        }
    }

    /// The disk fails at some operation from now on.
    pub(crate) fn fail_disk(&self, after: u64) {
        let fail_at = Some(self.disk.counts().total() + after);
        self.disk.set_faults(FaultPlan { fail_at, ..self.disk.faults() });
    }

    /// The power fails in the middle of some operation of the disk from now on.
    pub(crate) fn fail_power(&self, after: u64) {
        let crash_at = Some(self.disk.counts().total() + after);
        self.disk.set_faults(FaultPlan { crash_at, ..self.disk.faults() });
    }

    /// Nothing goes wrong with the disk any more.
    pub(crate) fn mend_disk(&self) {
        self.disk.set_faults(FaultPlan::default());
    }

    /// The disk takes so many bytes more, or as many as come.
    pub(crate) fn set_room(&self, room: Option<u64>) {
        let capacity_bytes = room.map(|room| self.disk.used_bytes() + room);
        self.disk.set_faults(FaultPlan { capacity_bytes, ..self.disk.faults() });
    }

    /// What the node must be told of the room on its disk, as the thread of the log does in production.
    pub(crate) fn look_at_room(&mut self) -> Option<SimInput> {
        let life = self.life.as_mut()?;
        let presses = life.disk.available_bytes().is_ok_and(|available| available < ROOM_RESERVE);
        let changes = presses != life.is_pressed;
        life.is_pressed = presses;
        changes.then(|| Input::Pressure(presses.then(|| "the disk is nearly full".to_owned())))
    }
}

/// All that a ledger holds.
pub(crate) fn state_bytes(mut ledger: Ledger) -> Vec<u8> {
    // A checkpoint under way ends first.
    while ledger.poll_checkpoint(1 << 20).is_some() {}
    ledger.begin_checkpoint();
    std::iter::from_fn(|| ledger.poll_checkpoint(1 << 20)).flatten().collect()
}
