//! A machine of the cluster: its disk, its clock, and the node that lives on it between two crashes.
//!
//! Every effect that the node wants is carried out here, on the real storage over a disk in memory; what takes
//! time (a flush, a read of the history, a message) becomes an event of the world.

use std::collections::BTreeMap;
use std::sync::Arc;

use bezant_consensus::{
    Engine, EngineKind, EngineOptions, EngineState, LogEntry, Members, Write, WriteNumber,
};
use bezant_ledger::Ledger;
use bezant_node::{Input, Installable, Node, NodeOptions, Now, Output, PeerMessage, Pull, Restored};
use bezant_replica::{Mode, Recovered, Repair, Supplier, fetch, recover, verify};
use bezant_rsm::{Prefetch, StateMachine};
use bezant_storage::checkpoint::{CheckpointError, CheckpointStore, CheckpointWriter};
use bezant_storage::disk::{Disk, DiskError};
use bezant_storage::log::{Log, LogOptions};
use bezant_storage::record::{Identity, RecordError, VoteStore, load_members, store_members};
use bezant_storage::{FaultPlan, History, MemoryDisk, RowChunk};
use bezant_types::{FetchKey, HistoryPosition, LogIndex, Nanos, NodeId, Term};

use crate::bug::{Bug, FlawedEngine, FlawedLedger};
use crate::faults::kind;
use crate::random::Random;
use crate::rot::rot;

/// Small, so that a short run fills segments and cuts checkpoints.
const LOG: LogOptions = LogOptions { segment_size: 128 << 10, reserve_size: 0 };

/// Below so much room on its disk a node takes no more of its clients: four segments.
const ROOM_RESERVE: u64 = 512 << 10;

/// The node that a simulation runs: the one that runs in production.
pub(crate) type SimNode = Node<FlawedLedger, FlawedEngine<Box<dyn Engine + Send>>>;
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

/// Why an effect was not carried out.
enum Trouble {
    /// Its disk refused.
    Storage(String),
    /// No disk explains it: the state of this replica is not that of the others.
    Diverged(String),
}

impl From<String> for Trouble {
    fn from(reason: String) -> Self {
        Self::Storage(reason)
    }
}

/// A process: node and open files.
struct Life {
    disk: MemoryDisk,
    node: SimNode,
    log: Log,
    votes: VoteStore,
    history: History,
    store: CheckpointStore,
    supplier: Supplier,
    writer: Option<CheckpointWriter>,
    /// The last write that was handed to the log and not confirmed.
    unconfirmed: Option<WriteNumber>,
    /// Entries handed to the log and not yet known to be applied, by index.
    entries: BTreeMap<LogIndex, LogEntry>,
    applied: LogIndex,
    /// It is noted on its disk that it may vote.
    is_admitted: bool,
    /// The node was told that its disk is nearly full.
    is_pressed: bool,
}

/// A machine.
pub(crate) struct Host {
    pub(crate) id: NodeId,
    pub(crate) disk: MemoryDisk,
    life: Option<Life>,
    /// What its clock shows more than the world's, in ns; may be negative.
    pub(crate) clock_offset: i64,
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
    /// A disk of it has rotten at some time: what it sent then may be of no use to others.
    pub(crate) has_ever_rotten: bool,
}

impl Host {
    pub(crate) fn new(
        id: NodeId,
        engine: EngineKind,
        bug: Option<Bug>,
        checkpoint_interval_bytes: usize,
    ) -> Self {
        Self {
            id,
            disk: MemoryDisk::new(),
            life: None,
            clock_offset: 0,
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
        self.node().is_some_and(Node::is_leader)
    }

    pub(crate) fn node(&self) -> Option<&SimNode> {
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
        Now { wall: Nanos(time.saturating_add_signed(self.clock_offset)) }
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
        if self.bug == Some(Bug::TruncateCommitted) {
            entries.truncate(entries.len().saturating_sub(3));
        }
        let vote = if self.bug == Some(Bug::ForgetVote) { None } else { vote };
        let restored = Restored::new(FlawedLedger::new(machine), applied, checkpoint.0, 0);
        let restored = restored.with_entries(&entries).map_err(|index| format!("entry {index} is none"))?;
        let by_index = entries.iter().map(|entry| (entry.index, entry.clone())).collect();
        let options = EngineOptions::new(self.id, members, is_admitted, seed);
        let state = EngineState { vote, checkpoint, entries };
        let engine = bezant_engines::begin(self.engine, &options, state).ok_or("the log is none")?;
        let options = NodeOptions {
            node: self.id,
            is_alone: false,
            life: seed,
            checkpoint_interval_bytes: self.checkpoint_interval_bytes,
        };
        let node = Node::new(restored, FlawedEngine::new(engine, self.bug), options);
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
            is_admitted,
            is_pressed: false,
        });
        Ok(())
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
        if let Err(error) = life.log.flush()
            && (self.bug != Some(Bug::IgnoreFailedFsync) || self.has_no_power())
        {
            return self.fail(time, Trouble::Storage(error.to_string()));
        }
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
            Trouble::Diverged(reason) => (reason, None),
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
                self.newly_applied.push(entry);
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

impl Life {
    fn perform(
        &mut self,
        output: SimOutput,
        bug: Option<Bug>,
        wishes: &mut Vec<Wish>,
    ) -> Result<(), Trouble> {
        let text = |error: &dyn std::error::Error| error.to_string();
        match output {
            Output::Persist(write) => self.persist(&write, bug, wishes)?,
            Output::Send { to, message } => wishes.push(Wish::Send(to, message)),
            Output::Fetch { index, term, prefetch } => {
                let found = self.fetch(index, term, &prefetch)?;
                wishes.push(Wish::Later(found));
            }
            Output::Rows(rows) => {
                self.history.append(rows.movements, rows.refusals).map_err(|error| text(&error))?;
                while !self.is_pressed
                    && let Some(job) = self.history.next_job()
                {
                    let finished = job.run().map_err(|error| text(&error))?;
                    self.history.complete(finished).map_err(|error| text(&error))?;
                }
            }
            Output::CheckpointBegin { index, term } => {
                self.writer = self.unless_full(self.store.begin(index, term))?;
            }
            Output::CheckpointPiece(piece) => {
                if let Some(mut writer) = self.writer.take() {
                    let written = self.unless_full(writer.write(&piece))?;
                    self.writer = written.map(|()| writer);
                }
                wishes.push(Wish::Later(Input::CheckpointPieceTaken));
            }
            Output::CheckpointEnd { index, time, position } => {
                let written = self.end_checkpoint(time, position)?;
                let written = written.map(|digest| Input::CheckpointWritten { index, digest });
                wishes.push(Wish::Later(written.unwrap_or(Input::CheckpointAbandoned(index))));
            }
            Output::Release(index) => self.log.release(index).map_err(|error| text(&error))?,
            Output::Serve { to, pull } => self.serve(to, pull, wishes),
            Output::InstallRows { from, until, bytes } => {
                wishes.push(Wish::Later(self.install_rows(from, until, &bytes)?));
            }
            Output::InstallCheckpoint(installable) => {
                wishes.push(Wish::Later(self.install(&installable)?));
            }
            Output::Answer { .. }
            | Output::Refuse { .. }
            | Output::QueryAnswer { .. }
            | Output::BarrierPassed { .. } => wishes.push(Wish::Reply(output)),
            Output::Members(members) => self.learn(&members)?,
            Output::CaughtUp => {
                self.admit().map_err(|error| text(&error))?;
                wishes.push(Wish::Later(Input::Admit));
            }
            Output::Unreadable { from, reason, .. } => wishes.push(Wish::Doubt { from, reason }),
            Output::Diverged { reason, .. } => return Err(Trouble::Diverged(reason)),
        }
        Ok(())
    }

    fn learn(&self, members: &Members) -> Result<(), String> {
        let known = load_members(&self.disk).map_err(|error| error.to_string())?;
        if known.is_none_or(|known| known.index < members.index) {
            store_members(&self.disk, members).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn admit(&mut self) -> Result<(), RecordError> {
        if let Some(identity) = Identity::load(&self.disk)? {
            Identity { is_admitted: true, ..identity }.store(&self.disk)?;
            self.is_admitted = true;
        }
        Ok(())
    }

    fn persist(&mut self, write: &Write, bug: Option<Bug>, wishes: &mut Vec<Wish>) -> Result<(), String> {
        if let Some(vote) = write.vote
            && bug != Some(Bug::ForgetVote)
        {
            self.votes.save(vote).map_err(|error| error.to_string())?;
        }
        if let Some(first) = write.entries.first()
            && first.index <= self.log.last_index()
        {
            let after = LogIndex(first.index.0 - 1);
            self.log.truncate(after).map_err(|error| error.to_string())?;
            self.entries.split_off(&first.index);
        }
        for entry in &write.entries {
            self.log.append(entry).map_err(|error| error.to_string())?;
            self.entries.insert(entry.index, entry.clone());
        }
        if bug == Some(Bug::AcknowledgeBeforeFsync) {
            wishes.push(Wish::Later(Input::Persisted(write.number)));
        }
        self.unconfirmed = Some(write.number);
        wishes.push(Wish::Flush);
        Ok(())
    }

    fn fetch(&self, index: LogIndex, term: Term, prefetch: &Prefetch<FetchKey>) -> Result<SimInput, String> {
        let found = fetch(&self.history.reader(), prefetch).map_err(|error| error.to_string())?;
        Ok(Input::Fetched { index, term, found })
    }

    /// The digest; `None` when there was no room for the checkpoint.
    fn end_checkpoint(&mut self, time: Nanos, position: HistoryPosition) -> Result<Option<[u8; 32]>, String> {
        let durable = self.history.flush().map_err(|error| error.to_string())?;
        assert!(durable.reaches(position), "rows before the cut were handed over before it");
        let Some(writer) = self.writer.take() else { return Ok(None) };
        let Some(written) = self.unless_full(writer.finish(position, time))? else { return Ok(None) };
        self.history.handle_checkpointed(position).map_err(|error| error.to_string())?;
        Ok(Some(written.digest))
    }

    /// What was written of a checkpoint; `None` when there is no room for it: then what there is of it is removed.
    fn unless_full<T>(&self, written: Result<T, CheckpointError>) -> Result<Option<T>, String> {
        match written {
            Ok(written) => Ok(Some(written)),
            Err(CheckpointError::Disk(DiskError::Full { .. })) => {
                self.store.abandon().map_err(|error| error.to_string())?;
                Ok(None)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn serve(&mut self, to: NodeId, pull: Pull, wishes: &mut Vec<Wish>) {
        match self.supplier.supply(to, pull) {
            Ok(Some(chunk)) => wishes.push(Wish::Send(to, PeerMessage::Chunk(chunk))),
            Ok(None) => {}
            Err(_) => self.supplier.forget(to),
        }
    }

    fn install_rows(
        &mut self,
        from: HistoryPosition,
        until: HistoryPosition,
        bytes: &[u8],
    ) -> Result<SimInput, String> {
        let Ok(chunk) = RowChunk::decode(bytes) else { return Ok(Input::InstallFailed) };
        if chunk.from != from || self.history.position() != from {
            return Ok(Input::InstallFailed);
        }
        self.history.append(chunk.movements, chunk.refusals).map_err(|error| error.to_string())?;
        assert!(self.history.position() == until, "a chunk ends where it says");
        Ok(Input::RowsInstalled)
    }

    fn install(&mut self, installable: &Installable) -> Result<SimInput, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let Installable { index, term, time, position, .. } = *installable;
        if !verify(installable) {
            return Ok(Input::InstallFailed);
        }
        let durable = self.history.flush().map_err(|error| text(&error))?;
        assert!(durable.reaches(position), "all rows came first");
        self.log.plan_reset(index, term).map_err(|error| text(&error))?;
        let written = self.store.begin(index, term).and_then(|mut writer| {
            writer.write(&installable.bytes)?;
            writer.finish(position, time)
        });
        if self.unless_full(written)?.is_none() {
            self.log.cancel_reset().map_err(|error| text(&error))?;
            return Ok(Input::InstallFailed);
        }
        self.log.reset(index, term).map_err(|error| text(&error))?;
        self.history.handle_checkpointed(position).map_err(|error| text(&error))?;
        self.entries.clear();
        Ok(Input::Installed)
    }
}
