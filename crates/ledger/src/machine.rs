//! The ledger as a state machine: its state, and how entries are applied.

use alloc::vec::Vec;

use bezant_codec::{Creates, KeyedHead, Operation, TaggedAccount, TaggedTransfer, records};
use bezant_rsm::{Applied, Command, Entry, Prefetch, Progress, RestoreError, Sessions, StateMachine};
use bezant_types::limits::{ENTRY_EVENTS_MAX, EXPIRE_MAX, RECORD_SIZE};
use bezant_types::{
    Account, Asset, ChangeBounds, ExtendedAccount, ExtendedTransfer, FetchKey, Fetched, HistoryPosition,
    HistoryRows, LogIndex, Nanos, SetBounds, SetExpiry, SetName, Transfer, TransferFlags,
};
use bytes::Bytes;

use crate::accounts::Accounts;
use crate::assets::Assets;
use crate::batch::BatchEvent;
use crate::checkpoint::Cut;
use crate::command::{count, has_events};
use crate::found::Found;
use crate::pending::PendingTransfers;
use crate::query::{LedgerAnswer, LedgerQuery};
use crate::rules::Rules;
use crate::scope::Scope;
use crate::session;
use crate::window::Window;

/// Accounts and transfers of one shard.
#[derive(Debug)]
pub struct Ledger {
    pub(crate) accounts: Accounts,
    pub(crate) pending: PendingTransfers,
    pub(crate) assets: Assets,
    pub(crate) window: Window,
    /// Timestamp of the newest movement. An imported transfer must have a later timestamp.
    pub(crate) last_movement_timestamp: Nanos,
    pub(crate) sessions: Sessions,
    /// True while an import is in progress: then no imported pending transfer expires. See `expiry`.
    pub(crate) expiry_is_paused: bool,
    /// Cluster time of the last entry that was applied.
    pub(crate) time: Nanos,
    /// The changes of the linked chain that is being applied.
    pub(crate) scope: Option<Scope>,
    /// The checkpoint that is being written.
    pub(crate) cut: Option<Cut>,
    /// The rules of the entry that is being applied.
    pub(crate) rules: Rules,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl Ledger {
    /// A ledger without accounts.
    pub fn new() -> Self {
        Self {
            accounts: Accounts::default(),
            pending: PendingTransfers::default(),
            assets: Assets::default(),
            window: Window::new(HistoryPosition::default(), bezant_types::TransferId(0)),
            last_movement_timestamp: Nanos(0),
            sessions: Sessions::default(),
            expiry_is_paused: false,
            time: Nanos(0),
            scope: None,
            cut: None,
            rules: Rules::new(Rules::NEWEST),
        }
    }

    /// Applies a command; `first` is the timestamp of its first event. A command whose number of events does
    /// not match its body does nothing and has no results: this program never proposes one (see `command`).
    fn apply_command(&mut self, index: LogIndex, command: &Command, first: Nanos, found: &Found) -> Bytes {
        let Command { events, ref body, .. } = *command;
        match Operation::from_number(command.operation) {
            Some(Operation::Expire) => {
                self.expire(first, usize::try_from(events).unwrap_or(EXPIRE_MAX));
                Bytes::new()
            }
            Some(
                operation @ (Operation::OpenSession | Operation::SessionCreate | Operation::SessionReply),
            ) => self.apply_session(operation, index, command, first, found),
            Some(Operation::CreateKeyed) => self.apply_keyed(command, first, found),
            Some(operation) if !has_events(operation, body, events) => Bytes::new(),
            Some(operation) => self.apply_events(operation, body, first, found),
            // Written by a later version of the program. Every replica of this version ignores it.
            None => Bytes::new(),
        }
    }

    /// Applies the events of a client; `first` is the timestamp of the first of them. They were
    /// [counted](has_events).
    pub(crate) fn apply_events(
        &mut self,
        operation: Operation,
        body: &[u8],
        first: Nanos,
        found: &Found,
    ) -> Bytes {
        match operation {
            Operation::CreateAccounts => self.apply_command_batch::<Account>(body, first, found),
            Operation::CreateTransfers => self.apply_command_batch::<Transfer>(body, first, found),
            Operation::CreateAccountsExtended => {
                self.apply_command_batch::<ExtendedAccount>(body, first, found)
            }
            Operation::CreateTransfersExtended => {
                self.apply_command_batch::<ExtendedTransfer>(body, first, found)
            }
            Operation::CreateAccountsTagged => {
                self.apply_tagged::<TaggedAccount>(operation, body, first, found)
            }
            Operation::CreateTransfersTagged => {
                self.apply_tagged::<TaggedTransfer>(operation, body, first, found)
            }
            Operation::SetBounds => self.apply_changes::<SetBounds>(body, first),
            Operation::SetName => self.apply_changes::<SetName>(body, first),
            Operation::RegisterAssets => self.apply_changes::<Asset>(body, first),
            Operation::ChangeBounds => self.apply_changes::<ChangeBounds>(body, first),
            Operation::SetExpiry => self.apply_changes::<SetExpiry>(body, first),
            Operation::Expire
            | Operation::OpenSession
            | Operation::SessionCreate
            | Operation::SessionReply
            | Operation::CreateKeyed => Bytes::new(),
        }
    }

    /// Applies events with tagged fields. Does nothing when the program that proposed the entry did not have
    /// the operation.
    fn apply_tagged<E: BatchEvent>(
        &mut self,
        operation: Operation,
        body: &[u8],
        first: Nanos,
        found: &Found,
    ) -> Bytes {
        if !self.rules.has(operation) {
            return Bytes::new();
        }
        self.apply_command_batch::<E>(body, first, found)
    }

    /// Adds the keys of the rows that the transfer's checks may need and that are not in memory.
    fn prefetch_transfer(&self, record: &[u8; RECORD_SIZE], keys: &mut Vec<FetchKey>) {
        let transfer = bezant_codec::transfer_from_bytes(record);
        if transfer.id <= self.window.id_max() && !self.window.is_current(transfer.id) {
            keys.push(FetchKey::Transfer(transfer.id));
        }
        let resolves = TransferFlags::POST_PENDING.union(TransferFlags::VOID_PENDING);
        if transfer.flags.intersects(resolves)
            && self.pending.get(transfer.pending_id).is_none()
            && !self.window.is_resolution_current(transfer.pending_id)
        {
            keys.push(FetchKey::Transfer(transfer.pending_id));
            keys.push(FetchKey::Resolution(transfer.pending_id));
        }
    }

    fn prefetch_command(&self, command: &Command, keys: &mut Vec<FetchKey>) {
        let Some(operation) = Operation::from_number(command.operation) else { return };
        if operation != Operation::CreateKeyed {
            self.prefetch_events(operation, &command.body, keys);
        } else if let Ok((head, events)) = KeyedHead::decode(&command.body) {
            self.prefetch_marks(&head, keys);
            self.prefetch_events(head.operation, events, keys);
        }
    }

    fn prefetch_events(&self, operation: Operation, body: &[u8], keys: &mut Vec<FetchKey>) {
        match operation.creates() {
            Some(Creates::Accounts) => each_record(operation, body, |record| prefetch_account(record, keys)),
            Some(Creates::Transfers) => {
                each_record(operation, body, |record| self.prefetch_transfer(record, keys));
            }
            None if operation == Operation::SessionCreate => {
                let (creates, records) = session::records_of(body);
                if creates == Some(Creates::Accounts) {
                    records.for_each(|record| prefetch_account(record, keys));
                } else {
                    records.for_each(|record| self.prefetch_transfer(record, keys));
                }
            }
            // A change finds all that it needs in memory.
            None => {}
        }
    }
}

/// Passes the record of each event on.
fn each_record(operation: Operation, body: &[u8], mut visit: impl FnMut(&[u8; RECORD_SIZE])) {
    if operation.event_size() == RECORD_SIZE {
        records::<RECORD_SIZE>(body).unwrap_or_default().iter().for_each(visit);
    } else {
        operation.events(body).filter_map(<[u8]>::first_chunk).for_each(&mut visit);
    }
}

/// An imported account must not share its timestamp with a movement.
fn prefetch_account(record: &[u8; RECORD_SIZE], keys: &mut Vec<FetchKey>) {
    let account = bezant_codec::account_from_bytes(record);
    if account.flags.contains(bezant_types::AccountFlags::IMPORTED) {
        keys.push(FetchKey::Timestamp(account.timestamp));
    }
}

impl StateMachine for Ledger {
    type Key = FetchKey;
    type Found = Fetched;
    type Rows = HistoryRows;
    type Query = LedgerQuery;
    type Answer = LedgerAnswer;
    const RULES: u8 = Rules::NEWEST;

    fn time(&self) -> Nanos {
        self.time
    }

    fn position(&self) -> HistoryPosition {
        self.window.position()
    }

    fn prefetch(&self, entry: &Entry) -> Prefetch<FetchKey> {
        let mut keys = Vec::new();
        entry.commands.iter().for_each(|command| self.prefetch_command(command, &mut keys));
        Prefetch { keys, position: self.window.current_start() }
    }

    fn apply(&mut self, index: LogIndex, entry: &Entry, fetched: Fetched) -> Option<Applied<HistoryRows>> {
        if !self.window.covers(fetched.seen) {
            return None;
        }
        let events = entry.events();
        assert!(entry.time.0 >= self.time.0 + events, "time never goes back: the log is damaged");
        self.time = entry.time;
        self.rules = Rules::new(entry.rules);
        // The number of events is not yet compared with the bodies, so the memory for rows is limited.
        self.window.begin_entry(usize::try_from(events).map_or(0, |events| events.min(ENTRY_EVENTS_MAX)));
        let found = Found::from(fetched);
        let mut first = Nanos(entry.time.0 - events + 1);
        let mut results = Vec::with_capacity(entry.commands.len());
        for command in &entry.commands {
            results.push(self.apply_command(index, command, first, &found));
            first = Nanos(first.0 + u64::from(command.events));
        }
        assert!(self.scope.is_none(), "a linked chain ends in its batch");
        assert!(self.last_movement_timestamp <= self.time, "no movement is later than its entry");
        let (movements, refusals) = self.window.finish_entry();
        Some(Applied { results, rows: HistoryRows { movements, refusals } })
    }

    fn accepts(command: &Command) -> bool {
        count(command) == Ok(command.events)
    }

    fn due(&self, now: Nanos) -> Option<Command> {
        let count = self.expired(now, EXPIRE_MAX).count();
        let events = u32::try_from(count).ok().filter(|count| *count > 0)?;
        Some(Command { operation: Operation::Expire as u16, events, body: Bytes::new() })
    }

    fn due_at(&self) -> Option<Nanos> {
        self.pending.next_expiry(self.expiry_is_paused)
    }

    fn query_step(&self, query: LedgerQuery) -> Progress<LedgerQuery, LedgerAnswer> {
        self.answer_step(query)
    }

    fn begin_checkpoint(&mut self) {
        self.begin_cut();
    }

    fn poll_checkpoint(&mut self, size: usize) -> Option<Vec<u8>> {
        self.poll_cut(size)
    }

    fn restore(checkpoint: &[u8]) -> Result<Self, RestoreError> {
        Self::from_checkpoint(checkpoint)
    }
}
