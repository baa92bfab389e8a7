//! The ledger as a state machine: what it holds, and how an entry becomes results and rows.

use alloc::vec::Vec;

use bezant_codec::records;
use bezant_rsm::{Applied, Command, Entry, Prefetch, Progress, RestoreError, Sessions, StateMachine};
use bezant_types::limits::{EXPIRE_MAX, RECORD_SIZE};
use bezant_types::{
    Account, AccountChangeStatus, Asset, AssetStatus, Bounds, ExpiryStatus, FetchKey, Fetched,
    HistoryPosition, HistoryRows, LogIndex, Nanos, Transfer, TransferFlags,
};
use bytes::Bytes;

use crate::accounts::Accounts;
use crate::assets::Assets;
use crate::batch::apply_each;
use crate::checkpoint::Cut;
use crate::found::Found;
use crate::keyed::KeyedHead;
use crate::operation::{
    ChangeBounds, EXTENDED_ACCOUNT_SIZE, EXTENDED_TRANSFER_SIZE, ExtendedAccount, ExtendedTransfer,
    Operation, SetBounds, SetExpiry, SetName, name_from_bytes,
};
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
    /// Timestamp of the newest movement; imported transfers must have later ones.
    pub(crate) last_movement_timestamp: Nanos,
    pub(crate) sessions: Sessions,
    /// An import is in progress: no imported pending transfer expires. See `expiry`.
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

    fn apply_command(&mut self, index: LogIndex, command: &Command, first: Nanos, found: &Found) -> Bytes {
        let body = &command.body;
        match Operation::from_number(command.operation) {
            Some(Operation::CreateAccounts) => self.apply_command_batch::<Account>(body, first, found),
            Some(Operation::CreateTransfers) => self.apply_command_batch::<Transfer>(body, first, found),
            Some(Operation::CreateAccountsExtended) => {
                self.apply_command_batch::<ExtendedAccount>(body, first, found)
            }
            Some(Operation::CreateTransfersExtended) => {
                self.apply_command_batch::<ExtendedTransfer>(body, first, found)
            }
            Some(operation @ Operation::SetBounds) => {
                apply_each(body, first, operation.event_size(), |_, event| {
                    event.map_or(AccountChangeStatus::BoundsInvalid, |it| self.set_bounds(&it)).number()
                })
            }
            Some(operation @ Operation::ChangeBounds) => {
                apply_each(body, first, operation.event_size(), |_, event| {
                    event.map_or(AccountChangeStatus::BoundsInvalid, |it| self.change_bounds(&it)).number()
                })
            }
            Some(operation @ Operation::SetExpiry) => {
                apply_each(body, first, operation.event_size(), |_, event: Result<SetExpiry, _>| {
                    event.map_or(ExpiryStatus::ExpiryInvalid, |it| self.set_expiry(it)).number()
                })
            }
            Some(operation @ Operation::SetName) => {
                apply_each(body, first, operation.event_size(), |_, event| {
                    event.map_or(AccountChangeStatus::NameInvalid, |it| self.set_name(&it)).number()
                })
            }
            Some(operation @ Operation::RegisterAssets) => {
                apply_each::<Asset>(body, first, operation.event_size(), |bytes, event| {
                    let refused = if bytes.starts_with(&[0; 4]) {
                        AssetStatus::LedgerMustNotBeZero
                    } else {
                        AssetStatus::CodeInvalid
                    };
                    event.map_or(refused, |it| self.register_asset(it)).number()
                })
            }
            Some(Operation::Expire) => {
                self.expire(first, usize::try_from(command.events).unwrap_or(EXPIRE_MAX));
                Bytes::new()
            }
            Some(
                operation @ (Operation::OpenSession | Operation::SessionCreate | Operation::SessionReply),
            ) => self.apply_session(operation, index, command, first, found),
            Some(Operation::CreateKeyed) => self.apply_keyed(body, first, found),
            // Written by a later version of the program. Every replica of this version ignores it.
            None => Bytes::new(),
        }
    }

    fn set_bounds(&mut self, change: &SetBounds) -> AccountChangeStatus {
        let Bounds { minimum, maximum } = change.bounds;
        let account_id = change.account_id;
        self.change_bounds(&ChangeBounds { account_id, minimum: Some(minimum), maximum: Some(maximum) })
    }

    fn change_bounds(&mut self, change: &ChangeBounds) -> AccountChangeStatus {
        let Some(place) = self.accounts.find(change.account_id) else {
            return AccountChangeStatus::AccountNotFound;
        };
        let before = self.accounts.get(place).bounds;
        let bounds = Bounds {
            minimum: change.minimum.unwrap_or(before.minimum),
            maximum: change.maximum.unwrap_or(before.maximum),
        };
        if bounds.minimum > bounds.maximum {
            return AccountChangeStatus::BoundsInvalid;
        }
        self.accounts.change(place).bounds = bounds;
        AccountChangeStatus::Created
    }

    fn register_asset(&mut self, asset: Asset) -> AssetStatus {
        let may_replace = self.rules.currencies_are_replaceable() && !self.accounts.has_ledger(asset.ledger);
        self.assets.register(asset, may_replace)
    }

    fn set_name(&mut self, change: &SetName) -> AccountChangeStatus {
        let Some(place) = self.accounts.find(change.account_id) else {
            return AccountChangeStatus::AccountNotFound;
        };
        if name_from_bytes(&change.name).is_none_or(str::is_empty) {
            return AccountChangeStatus::NameInvalid;
        }
        let name = self.accounts.name(place);
        if name == change.name {
            return AccountChangeStatus::Created;
        }
        if name != [0; _] {
            return AccountChangeStatus::NameAlreadySet;
        }
        if self.accounts.find_by_name(&change.name).is_some() {
            return AccountChangeStatus::NameTaken;
        }
        self.accounts.set_name(place, change.name);
        AccountChangeStatus::Created
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
        let operation = Operation::from_number(command.operation);
        if operation != Some(Operation::CreateKeyed) {
            self.prefetch_events(operation, &command.body, keys);
        } else if let Ok((head, events)) = KeyedHead::decode(&command.body) {
            self.prefetch_marks(&head, keys);
            self.prefetch_events(Some(head.operation), events, keys);
        }
    }

    fn prefetch_events(&self, operation: Option<Operation>, body: &[u8], keys: &mut Vec<FetchKey>) {
        match operation {
            Some(Operation::CreateTransfers) => {
                for record in records::<RECORD_SIZE>(body).unwrap_or_default() {
                    self.prefetch_transfer(record, keys);
                }
            }
            Some(Operation::CreateTransfersExtended) => {
                for extended in records::<EXTENDED_TRANSFER_SIZE>(body).unwrap_or_default() {
                    if let Some(record) = extended.first_chunk() {
                        self.prefetch_transfer(record, keys);
                    }
                }
            }
            Some(Operation::CreateAccounts) => {
                for record in records::<RECORD_SIZE>(body).unwrap_or_default() {
                    prefetch_account(record, keys);
                }
            }
            Some(Operation::CreateAccountsExtended) => {
                for extended in records::<EXTENDED_ACCOUNT_SIZE>(body).unwrap_or_default() {
                    if let Some(record) = extended.first_chunk() {
                        prefetch_account(record, keys);
                    }
                }
            }
            Some(Operation::SessionCreate) => {
                let (operation, records) = session::records_of(body);
                if operation == Some(Operation::CreateAccounts) {
                    records.for_each(|record| prefetch_account(record, keys));
                } else {
                    records.for_each(|record| self.prefetch_transfer(record, keys));
                }
            }
            Some(
                Operation::SetBounds
                | Operation::ChangeBounds
                | Operation::SetExpiry
                | Operation::SetName
                | Operation::RegisterAssets
                | Operation::Expire
                | Operation::OpenSession
                | Operation::SessionReply
                | Operation::CreateKeyed,
            )
            | None => {}
        }
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
        self.window.begin_entry(usize::try_from(events).unwrap_or(0));
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
