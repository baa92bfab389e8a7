//! Intended mistakes: each proves that a checker can fail. They wrap the real code and are never in it.
//!
//! They change the replica's surroundings: how its writes are confirmed, its engine's inputs and outputs, and
//! its state machine. No other crate contains them.

use std::ops::Range;

use bezant_codec::Reader;
use bezant_consensus::{
    Change, ChangeError, Engine, EntryKind, Input, LogEntry, Members, Output, ReadNumber, Standing,
};
use bezant_ledger::{
    ChangeBounds, Event, KEYED_HEAD_SIZE, Ledger, LedgerAnswer, LedgerQuery, Operation, SetBounds, ToCommand,
};
use bezant_rsm::{Applied, Command, Entry, Prefetch, Progress, RestoreError, StateMachine};
use bezant_types::{Bounds, FetchKey, Fetched, HistoryPosition, HistoryRows, LogIndex, Nanos, NodeId};
use bytes::Bytes;

/// An intended mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A write is confirmed before it is on disk.
    AcknowledgeBeforeFsync,
    /// A write that failed is confirmed nevertheless.
    IgnoreFailedFsync,
    /// A restart does not read the vote.
    ForgetVote,
    /// A leader answers reads without confirming that it still leads.
    ReadFromDeposedLeader,
    /// At every tenth entry of an incarnation, the entry's commands are applied in reverse order.
    ApplyOutOfOrder,
    /// An entry counts as committed as soon as it is on the leader's own disk.
    CommitWithoutMajority,
    /// An id that is only in the history, and no longer in memory, counts as new.
    ForgetOldIds,
    /// A new leader begins with the timestamp of the last entry that it has.
    ReuseTimestamp,
    /// A restart removes the end of the log, although it was durable.
    TruncateCommitted,
    /// A replica that dropped damaged data continues to vote.
    VoteAfterDamage,
    /// A checkpoint omits the sessions. After a start from it, a retry counts as a new request.
    CheckpointWithoutSessions,
    /// A checkpoint omits the greatest id. After a start from it, every id counts as new.
    CheckpointWithoutIds,
    /// A restart ignores the index that the disk records as committed.
    IgnoreFloor,
    /// Keys are not stored: a different request with a used key is executed.
    ForgetKeys,
    /// A change of one bound removes the other one.
    ChangeBothBounds,
}

impl Bug {
    /// All bugs.
    pub const ALL: [Self; 15] = [
        Self::AcknowledgeBeforeFsync,
        Self::IgnoreFailedFsync,
        Self::ForgetVote,
        Self::ReadFromDeposedLeader,
        Self::ApplyOutOfOrder,
        Self::CommitWithoutMajority,
        Self::ForgetOldIds,
        Self::ReuseTimestamp,
        Self::TruncateCommitted,
        Self::VoteAfterDamage,
        Self::CheckpointWithoutSessions,
        Self::CheckpointWithoutIds,
        Self::IgnoreFloor,
        Self::ForgetKeys,
        Self::ChangeBothBounds,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcknowledgeBeforeFsync => "acknowledge-before-fsync",
            Self::IgnoreFailedFsync => "ignore-failed-fsync",
            Self::ForgetVote => "forget-vote",
            Self::ReadFromDeposedLeader => "read-from-deposed-leader",
            Self::ApplyOutOfOrder => "apply-out-of-order",
            Self::CommitWithoutMajority => "commit-without-majority",
            Self::ForgetOldIds => "forget-old-ids",
            Self::ReuseTimestamp => "reuse-timestamp",
            Self::TruncateCommitted => "truncate-committed",
            Self::VoteAfterDamage => "vote-after-damage",
            Self::CheckpointWithoutSessions => "checkpoint-without-sessions",
            Self::CheckpointWithoutIds => "checkpoint-without-ids",
            Self::IgnoreFloor => "ignore-floor",
            Self::ForgetKeys => "forget-keys",
            Self::ChangeBothBounds => "change-both-bounds",
        }
    }

    /// True for a bug that has an effect only if old copies replace disks.
    pub const fn needs_rewinds(self) -> bool {
        matches!(self, Self::IgnoreFloor)
    }

    /// The bug with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| bug.name() == name)
    }
}

/// The engine, with or without a bug.
#[derive(Debug)]
pub(crate) struct FlawedEngine<E> {
    inner: E,
    bug: Option<Bug>,
    outputs: Vec<Output>,
    /// The entries of writes, for the bug that commits whatever is on the leader's own disk.
    written: Vec<(u64, LogEntry)>,
    committed: LogIndex,
    /// The first bytes of the newest command entry: its timestamp.
    last_time: Option<[u8; 8]>,
    was_leader: bool,
}

impl<E: Engine> FlawedEngine<E> {
    pub(crate) fn new(inner: E, bug: Option<Bug>) -> Self {
        let committed = inner.standing().committed;
        Self {
            inner,
            bug,
            outputs: Vec::new(),
            written: Vec::new(),
            committed,
            last_time: None,
            was_leader: false,
        }
    }

    fn commit_early(&mut self, durable: u64) {
        let is_leader = self.inner.is_leader();
        let (ready, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.written)
            .into_iter()
            .partition(|(write, _)| *write <= durable && is_leader);
        self.written = rest;
        for (_, entry) in ready {
            if entry.index == self.committed.next() {
                self.committed = entry.index;
                self.outputs.push(Output::Commit(entry));
            }
        }
    }
}

impl<E: Engine> Engine for FlawedEngine<E> {
    fn propose(&mut self, mut payload: Bytes) -> Option<LogIndex> {
        let is_first = self.inner.is_leader() && !self.was_leader;
        self.was_leader = self.inner.is_leader();
        if self.bug == Some(Bug::ReuseTimestamp)
            && is_first
            && let Some(time) = self.last_time
        {
            payload = [&time[..], &payload[8..]].concat().into();
        }
        self.inner.propose(payload)
    }

    fn read(&mut self, read: ReadNumber) {
        if self.bug == Some(Bug::ReadFromDeposedLeader) && self.inner.is_leader() {
            let index = self.inner.standing().committed;
            self.outputs.push(Output::Readable { read, index });
        } else {
            self.inner.read(read);
        }
    }

    fn change(&mut self, change: Change) -> Result<Option<LogIndex>, ChangeError> {
        self.inner.change(change)
    }

    fn members(&self) -> &Members {
        self.inner.members()
    }

    fn transfer_leadership(&mut self) {
        self.inner.transfer_leadership();
    }

    fn handle(&mut self, input: Input) {
        if self.bug == Some(Bug::CommitWithoutMajority)
            && let Input::Persisted(number) = &input
        {
            self.commit_early(number.0);
        }
        self.inner.handle(input);
    }

    fn poll(&mut self) -> Option<Output> {
        if !self.outputs.is_empty() {
            return Some(self.outputs.remove(0));
        }
        loop {
            let output = self.inner.poll()?;
            self.was_leader &= self.inner.is_leader();
            if let Output::Persist(write) = &output
                && let Some(last) = write.entries.iter().rfind(|entry| entry.kind == EntryKind::Command)
            {
                self.last_time = last.payload.first_chunk().copied();
            }
            if self.bug != Some(Bug::CommitWithoutMajority) {
                return Some(output);
            }
            match &output {
                Output::Persist(write) => {
                    let first = write.entries.first().map(|entry| entry.index);
                    if let Some(first) = first {
                        self.written.retain(|(_, entry)| entry.index < first);
                    }
                    self.written.extend(write.entries.iter().map(|entry| (write.number.0, entry.clone())));
                }
                Output::Commit(entry) if entry.index <= self.committed => continue,
                Output::Commit(entry) => self.committed = entry.index,
                _ => {}
            }
            return Some(output);
        }
    }

    fn may_vote(&self) -> bool {
        self.inner.may_vote()
    }

    fn is_leader(&self) -> bool {
        self.inner.is_leader()
    }

    fn leader(&self) -> Option<NodeId> {
        self.inner.leader()
    }

    fn standing(&self) -> Standing {
        self.inner.standing()
    }
}

/// The ledger, with or without a bug.
#[derive(Debug)]
pub(crate) struct FlawedLedger {
    pub(crate) ledger: Ledger,
    bug: Option<Bug>,
    /// The number of applied entries, for a bug that has an effect at some of them.
    entries: u64,
    /// Remaining bytes of the checkpoint, for a bug that omits its end; `None` before its first piece.
    left: Option<usize>,
}

thread_local! {
    /// The bug of the simulation on this thread. It is not an argument, because `restore` has none for it.
    static BUG: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Sets the bug for the machines of this thread.
pub(crate) fn set(bug: Option<Bug>) {
    BUG.set(bug);
}

/// Bytes of the head of a ledger's checkpoint, with the layout of `ledger/src/checkpoint.rs`.
const HEAD_SIZE: usize = 128;
/// The position of the greatest id in the head.
const HEAD_ID_MAX: Range<usize> = 32..48;
/// For each section before the sessions: the position of its number of items in the head, and the bytes of
/// one item.
const HEAD_SECTIONS: [(usize, usize); 4] = [(64, 240), (72, 72), (80, 128), (88, 32)];
/// The position of the number of sessions in the head.
const HEAD_SESSIONS: Range<usize> = 96..104;

/// Sets the number of sessions in the head of a checkpoint to 0; returns the bytes of the rest.
fn without_sessions(head: &mut [u8]) -> usize {
    head[HEAD_SESSIONS].fill(0);
    let count = |at: usize| head[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let sections = HEAD_SECTIONS.map(|(at, size)| usize::try_from(count(at)).unwrap_or(0) * size);
    HEAD_SIZE + sections.iter().sum::<usize>()
}

/// The command as a ledger with that bug executes it.
fn misread(bug: Bug, command: &Command) -> Command {
    let operation = Operation::from_number(command.operation);
    let other = match (bug, operation) {
        (Bug::ForgetKeys, Some(Operation::CreateKeyed)) => {
            let number = command.body[32..].first_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes));
            let events = command.body.slice(KEYED_HEAD_SIZE..);
            Operation::from_number(number).and_then(|operation| operation.command(events).ok())
        }
        (Bug::ChangeBothBounds, Some(Operation::ChangeBounds)) => {
            let change = ChangeBounds::from_reader(&mut Reader::new(&command.body)).ok();
            change.and_then(|ChangeBounds { account_id, minimum, maximum }| {
                let (minimum, maximum) = (minimum.unwrap_or(i128::MIN), maximum.unwrap_or(i128::MAX));
                let event = SetBounds { account_id, bounds: Bounds { minimum, maximum } };
                Operation::SetBounds.command(Event::write_all(&[event])).ok()
            })
        }
        _ => None,
    };
    other.unwrap_or_else(|| command.clone())
}

impl FlawedLedger {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self { ledger, bug: BUG.get(), entries: 0, left: None }
    }
}

impl StateMachine for FlawedLedger {
    type Key = FetchKey;
    type Found = Fetched;
    type Rows = HistoryRows;
    type Query = LedgerQuery;
    type Answer = LedgerAnswer;
    const RULES: u8 = Ledger::RULES;

    fn time(&self) -> Nanos {
        self.ledger.time()
    }

    fn position(&self) -> HistoryPosition {
        self.ledger.position()
    }

    fn prefetch(&self, entry: &Entry) -> Prefetch<FetchKey> {
        self.ledger.prefetch(entry)
    }

    fn apply(&mut self, index: LogIndex, entry: &Entry, mut found: Fetched) -> Option<Applied<HistoryRows>> {
        self.entries += 1;
        match self.bug {
            Some(Bug::ApplyOutOfOrder) if self.entries.is_multiple_of(10) && entry.commands.len() > 1 => {
                let mut commands = entry.commands.clone();
                commands.reverse();
                let mut applied = self.ledger.apply(index, &Entry { commands, ..entry.clone() }, found)?;
                applied.results.reverse();
                return Some(applied);
            }
            // Transfers of the history are not found.
            Some(Bug::ForgetOldIds) => found.transfers.clear(),
            Some(bug @ (Bug::ForgetKeys | Bug::ChangeBothBounds)) => {
                let commands = entry.commands.iter().map(|command| misread(bug, command)).collect();
                return self.ledger.apply(index, &Entry { commands, ..entry.clone() }, found);
            }
            _ => {}
        }
        self.ledger.apply(index, entry, found)
    }

    fn accepts(command: &Command) -> bool {
        Ledger::accepts(command)
    }

    fn due(&self, now: Nanos) -> Option<Command> {
        self.ledger.due(now)
    }

    fn due_at(&self) -> Option<Nanos> {
        self.ledger.due_at()
    }

    fn query_step(&self, query: LedgerQuery) -> Progress<LedgerQuery, LedgerAnswer> {
        self.ledger.query_step(query)
    }

    fn begin_checkpoint(&mut self) {
        self.ledger.begin_checkpoint();
    }

    fn poll_checkpoint(&mut self, size: usize) -> Option<Vec<u8>> {
        let mut piece = self.ledger.poll_checkpoint(size);
        match (self.bug, &mut piece) {
            (Some(Bug::CheckpointWithoutSessions), Some(piece)) => {
                let left = self.left.get_or_insert_with(|| without_sessions(piece));
                piece.truncate(*left);
                *left -= piece.len();
            }
            (Some(Bug::CheckpointWithoutIds), Some(piece)) if self.left.replace(0).is_none() => {
                piece[HEAD_ID_MAX].fill(0);
            }
            (_, None) => self.left = None,
            _ => {}
        }
        piece
    }

    fn restore(checkpoint: &[u8]) -> Result<Self, RestoreError> {
        Ledger::restore(checkpoint).map(Self::new)
    }
}
