//! A replica with its log, history and checkpoints, driven on one thread. Every output is performed at once.
//! The first failure ends the run, as it would end the real threads.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use bezant_consensus::{Solo, WriteNumber};
use bezant_ledger::{Ledger, LedgerAnswer, LedgerQuery};
use bezant_recovery::{Mode, RecoverError, Recovered, fetch, recover};
use bezant_replica::{Input, Now, Output, Replica, ReplicaOptions, Restored, Ticket};
use bezant_rsm::{Command, StateMachine};
use bezant_storage::checkpoint::{CheckpointStore, CheckpointWriter};
use bezant_storage::disk::Disk;
use bezant_storage::log::{Log, LogOptions};
use bezant_storage::{History, HistoryAnswer, HistoryQuery, MemoryDisk};
use bezant_types::{Nanos, NodeId};
use bytes::Bytes;

/// Small, so that a short workload fills segments and cuts checkpoints.
const LOG: LogOptions = LogOptions::fixed(64 << 10);
const CHECKPOINT_INTERVAL_BYTES: usize = 24 << 10;

/// Why a run ended.
pub(crate) type Failure = Box<dyn Error>;

pub(crate) struct Rig {
    replica: Replica<Ledger, Solo>,
    log: Log,
    history: History,
    store: CheckpointStore,
    writer: Option<CheckpointWriter>,
    clock: u64,
    next_ticket: u64,
    answers: HashMap<Ticket, Bytes>,
    checkpoints: usize,
}

impl Rig {
    pub(crate) fn open(disk: &MemoryDisk) -> Result<Self, RecoverError> {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let Recovered::<Ledger> { store, machine, history, log, checkpoint, applied, log_bytes, .. } =
            recover(&shared, LOG, Mode::Alone)?;
        let options = ReplicaOptions {
            checkpoint_interval_bytes: CHECKPOINT_INTERVAL_BYTES,
            ..ReplicaOptions::default()
        };
        let clock = machine.time().0 + 1;
        let restored = Restored::new(machine, applied, checkpoint.0, log_bytes);
        let replica = Replica::new(restored, Solo::new(NodeId(1), applied), options);
        Ok(Self {
            replica,
            log,
            history,
            store,
            writer: None,
            clock,
            next_ticket: 0,
            answers: HashMap::new(),
            checkpoints: 0,
        })
    }

    /// Sends commands that arrive together; returns their results, once all are durable and applied.
    pub(crate) fn submit(&mut self, commands: &[Command]) -> Result<Vec<Bytes>, Failure> {
        self.clock += 1_000;
        let mut tickets = Vec::new();
        for command in commands {
            let ticket = Ticket(self.next_ticket);
            self.next_ticket += 1;
            tickets.push(ticket);
            self.replica.handle(self.now(), Input::Request { ticket, command: command.clone() });
        }
        self.replica.handle(self.now(), Input::Tick);
        while tickets.iter().any(|ticket| !self.answers.contains_key(ticket)) {
            self.replica.propose(self.now());
            self.work()?;
        }
        Ok(tickets.iter().map(|ticket| self.answers.remove(ticket).expect("answered")).collect())
    }

    /// Lets time pass: due expirations go through the log.
    pub(crate) fn wait(&mut self, seconds: u64) -> Result<(), Failure> {
        self.clock += seconds * Nanos::PER_SECOND;
        self.replica.handle(self.now(), Input::Tick);
        self.replica.propose(self.now());
        self.work()
    }

    pub(crate) fn query(&self, query: LedgerQuery) -> LedgerAnswer {
        self.replica.machine().query(query)
    }

    pub(crate) fn read(&self, query: &HistoryQuery) -> HistoryAnswer {
        self.history
            .reader()
            .read(query, bezant_types::MovementNumber(u64::MAX))
            .expect("the history is sound")
    }

    pub(crate) const fn checkpoints(&self) -> usize {
        self.checkpoints
    }

    const fn now(&self) -> Now {
        Now { wall: Nanos(self.clock) }
    }

    /// Performs the outputs of the replica until there are no more.
    fn work(&mut self) -> Result<(), Failure> {
        loop {
            let mut written = None;
            while let Some(output) = self.replica.poll() {
                written = self.perform(output)?.or(written);
            }
            let Some(number) = written else { return Ok(()) };
            self.log.flush()?;
            self.replica.handle(self.now(), Input::Persisted(number));
        }
    }

    /// Performs an output; returns the number of a write that waits for a flush of the log.
    fn perform(&mut self, output: Output<Ledger>) -> Result<Option<WriteNumber>, Failure> {
        match output {
            Output::Persist(write) => {
                for entry in &write.entries {
                    self.log.append(entry)?;
                }
                return Ok(Some(write.number));
            }
            Output::Fetch { index, term, prefetch } => {
                let found = fetch(&self.history.reader(), &prefetch)?;
                self.replica.handle(self.now(), Input::Fetched { index, term, found });
            }
            Output::Rows(rows) => {
                self.history.append(rows.movements, rows.refusals)?;
            }
            Output::Answer { ticket, results, .. } => {
                self.answers.insert(ticket, results);
            }
            Output::Refuse { refusal, .. } => return Err(format!("{refusal:?}").into()),
            Output::QueryAnswer { .. } | Output::BarrierPassed { .. } => {}
            Output::CheckpointBegin { index, term } => self.writer = Some(self.store.begin(index, term)?),
            Output::CheckpointPiece(piece) => {
                self.writer.as_mut().expect("a checkpoint has begun").write(&piece)?;
                self.replica.handle(self.now(), Input::CheckpointPieceTaken);
            }
            Output::CheckpointEnd { index, time, position } => {
                assert!(self.history.flush()?.reaches(position), "the history is durable up to the cut");
                let writer = self.writer.take().expect("a checkpoint has begun");
                let digest = writer.finish(position, time)?.digest;
                self.history.handle_checkpointed(position)?;
                self.checkpoints += 1;
                self.replica.handle(self.now(), Input::CheckpointWritten { index, digest });
            }
            Output::Release(index) => self.log.release(index)?,
            other => return Err(format!("a replica that is alone returned {other:?}").into()),
        }
        Ok(None)
    }
}
