//! A running process. It carries out its replica's outputs on the real storage, over a disk in memory.

use std::collections::BTreeMap;

use bezant_consensus::{LogEntry, Members, Write, WriteNumber};
use bezant_recovery::{Supplier, fetch, verify};
use bezant_replica::{Input, Installable, Output, PeerMessage, Pull, Ticket};
use bezant_rsm::Prefetch;
use bezant_storage::checkpoint::{CheckpointError, CheckpointStore, CheckpointWriter};
use bezant_storage::disk::DiskError;
use bezant_storage::log::Log;
use bezant_storage::record::{
    Identity, RecordError, VoteStore, load_members, store_conflict, store_members, store_terms,
};
use bezant_storage::{History, HistoryQuery, MemoryDisk, RowChunk};
use bezant_types::{FetchKey, HistoryPosition, LogIndex, MovementNumber, Nanos, NodeId, Term, TransferId};

use super::effect::{Effect, SimInput, SimOutput, SimReplica};
use crate::bug::Bug;
use crate::faults::kind;

/// Why an output was not carried out.
pub(super) enum Trouble {
    /// The disk failed.
    Storage(String),
    /// The replica's state differs from that of other replicas, and no failed disk explains it.
    Diverged(String),
}

impl From<String> for Trouble {
    fn from(reason: String) -> Self {
        Self::Storage(reason)
    }
}

/// A client that waits until the history reaches its position.
pub(super) struct Reader {
    pub(super) ticket: Ticket,
    pub(super) index: LogIndex,
    pub(super) position: HistoryPosition,
}

/// A process: replica and open files.
pub(super) struct Incarnation {
    pub(super) disk: MemoryDisk,
    pub(super) replica: SimReplica,
    pub(super) log: Log,
    pub(super) votes: VoteStore,
    pub(super) history: History,
    pub(super) store: CheckpointStore,
    pub(super) supplier: Supplier,
    pub(super) writer: Option<CheckpointWriter>,
    /// The last write that was appended to the log and is not yet durable.
    pub(super) unconfirmed: Option<WriteNumber>,
    /// Entries that were appended to the log and are not yet known to be applied, by index.
    pub(super) entries: BTreeMap<LogIndex, LogEntry>,
    pub(super) applied: LogIndex,
    pub(super) readers: Vec<Reader>,
    /// The transfers that clients want to read from the history.
    pub(super) history_requests: BTreeMap<Ticket, Vec<TransferId>>,
    /// True when the disk's identity records that the replica may vote.
    pub(super) is_admitted: bool,
    /// True while the replica has the input that its disk is nearly full.
    pub(super) is_nearly_full: bool,
    /// True when old copies replace disks in this run: then a replica may stop for a conflict.
    pub(super) may_stop: bool,
}

impl Incarnation {
    pub(super) fn perform(
        &mut self,
        output: SimOutput,
        bug: Option<Bug>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Trouble> {
        let text = |error: &dyn std::error::Error| error.to_string();
        match output {
            Output::Persist(write) => self.persist(&write, bug, effects)?,
            Output::Send { to, message } => effects.push(Effect::Send(to, message)),
            Output::Fetch { index, term, prefetch } => {
                let found = self.fetch(index, term, &prefetch)?;
                effects.push(Effect::Later(found));
            }
            Output::Rows(rows) => {
                self.history.append(rows.movements, rows.refusals).map_err(|error| text(&error))?;
                while !self.is_nearly_full
                    && let Some(job) = self.history.next_job()
                {
                    let finished = job.run().map_err(|error| text(&error))?;
                    let lacks_space = finished.lacks_space();
                    self.history.complete(finished).map_err(|error| text(&error))?;
                    if lacks_space {
                        break;
                    }
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
                effects.push(Effect::Later(Input::CheckpointPieceTaken));
            }
            Output::CheckpointEnd { index, time, position } => {
                let written = self.end_checkpoint(time, position)?;
                let written = written.map(|digest| Input::CheckpointWritten { index, digest });
                effects.push(Effect::Later(written.unwrap_or(Input::CheckpointAbandoned(index))));
            }
            Output::Release(index) => self.log.release(index).map_err(|error| text(&error))?,
            Output::Serve { to, pull } => self.serve(to, pull, effects),
            Output::InstallRows { from, until, bytes } => {
                effects.push(Effect::Later(self.install_rows(from, until, &bytes)?));
            }
            Output::InstallCheckpoint(installable) => {
                effects.push(Effect::Later(self.install(&installable)?));
            }
            Output::Answer { .. } | Output::Refuse { .. } | Output::QueryAnswer { .. } => {
                effects.push(Effect::Reply(output));
            }
            Output::BarrierPassed { ticket, index, position } => {
                self.readers.push(Reader { ticket, index, position });
            }
            Output::Members(members) => self.learn(&members)?,
            Output::Terms(terms) => store_terms(&self.disk, &terms).map_err(|error| text(&error))?,
            Output::Stopped(conflict) if self.may_stop => {
                store_conflict(&self.disk, &conflict).map_err(|error| text(&error))?;
            }
            Output::Stopped(conflict) => return Err(Trouble::Diverged(conflict.to_string())),
            Output::CaughtUp => {
                self.admit().map_err(|error| text(&error))?;
                effects.push(Effect::Later(Input::Admit));
            }
            Output::Unreadable { from, reason, .. } => effects.push(Effect::Unreadable { from, reason }),
            // It is not known yet which replica is wrong. A later digest shows which state has a majority, or
            // that none has.
            Output::Differs { .. } | Output::PeerStopped { .. } => {}
            Output::Diverged { reason, .. } => return Err(Trouble::Diverged(reason)),
        }
        Ok(())
    }

    /// Answers the clients whose position the history has reached.
    pub(super) fn show(&mut self, effects: &mut Vec<Effect>) -> Result<(), Trouble> {
        if self.readers.is_empty() {
            return Ok(());
        }
        let history = self.history.reader();
        let reached = history.position();
        for reader in self.readers.extract_if(.., |reader| reached.reaches(reader.position)) {
            let Some(ids) = self.history_requests.remove(&reader.ticket) else { continue };
            let end = MovementNumber(reader.position.movements);
            let rows = history.read(&HistoryQuery::Transfers(ids), end).map_err(|error| error.to_string())?;
            effects.push(Effect::Show { ticket: reader.ticket, index: reader.index, rows });
        }
        Ok(())
    }

    /// True when the power failed in the middle of an operation of the disk.
    pub(super) fn has_no_power(&self) -> bool {
        self.disk.faults().crash_at.is_some_and(|at| self.disk.counts().total() >= at)
    }

    /// The kind of the fault that explains a failed operation of the disk.
    pub(super) fn cause(&self) -> Option<&'static str> {
        let plan = self.disk.faults();
        if self.has_no_power() {
            Some(kind::POWER_LOSS_IN_WRITE)
        } else if plan.fail_at.is_some_and(|at| self.disk.counts().total() >= at) {
            Some(kind::DISK_FAILURE)
        } else {
            plan.capacity_bytes.is_some().then_some(kind::FULL_DISK)
        }
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

    fn persist(&mut self, write: &Write, bug: Option<Bug>, effects: &mut Vec<Effect>) -> Result<(), String> {
        if let Some(vote) = write.vote {
            self.votes.save(vote).map_err(|error| error.to_string())?;
        }
        if write.vote.is_some() {
            effects.push(Effect::Later(Input::VoteKept(write.number)));
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
            effects.push(Effect::Later(Input::Persisted(write.number)));
        }
        self.unconfirmed = Some(write.number);
        effects.push(Effect::Flush);
        Ok(())
    }

    fn fetch(&self, index: LogIndex, term: Term, prefetch: &Prefetch<FetchKey>) -> Result<SimInput, String> {
        let found = fetch(&self.history.reader(), prefetch).map_err(|error| error.to_string())?;
        Ok(Input::Fetched { index, term, found })
    }

    /// Ends the checkpoint. Returns its digest; `None` when there was no space for the checkpoint.
    fn end_checkpoint(&mut self, time: Nanos, position: HistoryPosition) -> Result<Option<[u8; 32]>, String> {
        let durable = self.history.flush().map_err(|error| error.to_string())?;
        assert!(durable.reaches(position), "rows before the cut were output before it");
        let Some(writer) = self.writer.take() else { return Ok(None) };
        let Some(written) = self.unless_full(writer.finish(position, time))? else { return Ok(None) };
        self.history.handle_checkpointed(position).map_err(|error| error.to_string())?;
        Ok(Some(written.digest))
    }

    /// The result of writing a checkpoint. Without space, removes its files and returns `None`.
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

    fn serve(&mut self, to: NodeId, pull: Pull, effects: &mut Vec<Effect>) {
        match self.supplier.supply(to, pull) {
            Ok(Some(chunk)) => effects.push(Effect::Send(to, PeerMessage::Chunk(chunk))),
            Ok(None) => {}
            Err(_) => self.supplier.close(to),
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
        assert!(self.history.position() == until, "a chunk ends at its named position");
        Ok(Input::RowsInstalled)
    }

    fn install(&mut self, installable: &Installable) -> Result<SimInput, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let Installable { index, term, time, position, .. } = *installable;
        if !verify(installable) {
            return Ok(Input::InstallFailed);
        }
        let durable = self.history.flush().map_err(|error| text(&error))?;
        assert!(durable.reaches(position), "all rows arrived first");
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
