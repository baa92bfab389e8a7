//! The contract of accounts and transfers, implemented as simply as possible.
//!
//! The state is maps and vectors with linear search. A linked chain changes the state directly. When it
//! fails, a copy of the state from before the chain is restored. The model shares with the ledger only types,
//! the bytes of events and the names of operations.
//!
//! It never reads the ledger's state.

mod accounts;
mod changes;
mod transfers;

use std::collections::BTreeMap;

use bezant_codec::Reader;
use bezant_ledger::{
    Books, Event, ExtendedAccount, ExtendedTransfer, LedgerTotals, Operation, TaggedAccount, TaggedTransfer,
};
use bezant_rsm::Command;
use bezant_types::{
    Account, AccountFlags, AccountId, AccountView, Asset, Bounds, CreateAccountStatus, CreateTransferStatus,
    EventResult, Head, Nanos, Refusal, Transfer, TransferFlags, TransferId,
};

use crate::history::History;

/// `created` of every operation.
pub(crate) const CREATED: u32 = u32::MAX;

/// The whole state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) accounts: BTreeMap<AccountId, AccountView>,
    /// The flags of each account when it was created. A later close does not change them.
    flags: BTreeMap<AccountId, AccountFlags>,
    pub(crate) history: History,
    /// Unresolved pending transfers.
    pub(crate) pending: BTreeMap<TransferId, Transfer>,
    pub(crate) registered: Vec<Asset>,
    /// While true, no imported pending transfer expires, and imported ones may have a timeout.
    pub(crate) expiry_is_paused: bool,
    pub(crate) time: Nanos,
    /// The rules of the entry that is being applied.
    pub(crate) rules: u8,
}

/// A refusal: the number of its status, and for `exists` the timestamp of the existing record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    status: u32,
    first: Option<Nanos>,
}

/// An event that creates an account or transfer.
#[derive(Clone, Copy, Debug)]
enum Creation {
    /// The 128 bytes of an account.
    Plain(Account),
    Extended(ExtendedAccount),
    Transfer(ExtendedTransfer),
}

impl Model {
    /// Applies one command; `time` is the timestamp of its last event.
    pub(crate) fn apply(&mut self, time: Nanos, command: &Command) -> Vec<EventResult> {
        let first = time.0 + 1 - u64::from(command.events);
        let body = &command.body;
        self.time = time;
        let operation = Operation::from_number(command.operation).unwrap();
        if self.rules < operation.rules() {
            return Vec::new();
        }
        match operation {
            Operation::CreateAccounts => self.create_all(first, &read(body, Creation::Plain)),
            Operation::CreateAccountsExtended => self.create_all(first, &read(body, Creation::Extended)),
            Operation::CreateTransfers => self.create_all(first, &read(body, plain_transfer)),
            Operation::CreateTransfersExtended => self.create_all(first, &read(body, Creation::Transfer)),
            Operation::CreateAccountsTagged => {
                self.create_all(first, &read(body, |TaggedAccount(event)| Creation::Extended(event)))
            }
            Operation::CreateTransfersTagged => {
                self.create_all(first, &read(body, |TaggedTransfer(event)| Creation::Transfer(event)))
            }
            Operation::SetBounds => self.each(first, &read(body, |it| it), Self::set_bounds),
            Operation::ChangeBounds => self.each(first, &read(body, |it| it), Self::change_bounds),
            Operation::SetName => self.each(first, &read(body, |it| it), Self::set_name),
            Operation::RegisterAssets => {
                let events: Vec<Vec<u8>> = body.chunks(32).map(<[u8]>::to_vec).collect();
                self.each(first, &events, |model, event| model.register_asset(event))
            }
            Operation::SetExpiry => {
                let events: Vec<Vec<u8>> = body.chunks(16).map(<[u8]>::to_vec).collect();
                self.each(first, &events, |model, event| model.set_expiry(event))
            }
            Operation::Expire => {
                self.expire(first, command.events);
                Vec::new()
            }
            Operation::OpenSession | Operation::SessionCreate | Operation::SessionReply => {
                panic!("the model has no sessions: see the tests in `session`")
            }
            Operation::CreateKeyed => panic!("the model has no keys: see the tests in `keyed`"),
        }
    }

    fn each<E>(
        &mut self,
        first: u64,
        events: &[E],
        mut apply: impl FnMut(&mut Self, &E) -> u32,
    ) -> Vec<EventResult> {
        let places = first..;
        let results = events.iter().zip(places);
        results.map(|(event, at)| EventResult { timestamp: Nanos(at), status: apply(self, event) }).collect()
    }

    fn create_all(&mut self, first: u64, events: &[Creation]) -> Vec<EventResult> {
        let mut results: Vec<EventResult> = Vec::new();
        while results.len() < events.len() {
            let start = results.len();
            let linked = events[start..].iter().take_while(|event| event.is_linked()).count();
            let end = (start + linked + 1).min(events.len());
            let before = (end - start > 1).then(|| self.clone());
            let mut broken = None;
            let mut is_used = false;
            for (at, event) in events.iter().enumerate().take(end).skip(start) {
                let place = Nanos(first + at as u64);
                if matches!(event, Creation::Transfer(_)) && !event.is_imported() {
                    (is_used, self.expiry_is_paused) = (true, false);
                }
                let own = if event.is_imported() { event.timestamp() } else { place };
                let outcome = if event.is_linked() && at + 1 == events.len() {
                    Err(event.chain_open())
                } else if broken.is_some() {
                    Err(event.linked_failed(if self.rules == 0 { own } else { place }))
                } else {
                    let last = Nanos(first + events.len() as u64 - 1);
                    event.check_batch(&events[0], last).and_then(|()| event.create(self, own))
                };
                results.push(match outcome {
                    Ok(()) => EventResult { timestamp: own, status: CREATED },
                    Err(refused) => {
                        EventResult { timestamp: refused.first.unwrap_or(place), status: refused.status }
                    }
                });
                if outcome.is_err() && broken.is_none() {
                    broken = Some(at);
                }
            }
            if let Some(at) = broken {
                *self = before.unwrap_or_else(|| std::mem::take(self));
                self.expiry_is_paused &= !is_used;
                let failed = events[at].linked_failed(Nanos(0)).status;
                results[start..at].iter_mut().for_each(|result| result.status = failed);
                self.record_refusal(&events[at], Nanos(first + at as u64), results[at].status);
            }
        }
        results
    }

    /// Records the id as used up, when the status is one that uses up ids.
    fn record_refusal(&mut self, event: &Creation, timestamp: Nanos, status: u32) {
        let Creation::Transfer(extended) = event else { return };
        let status = CreateTransferStatus::from_number(status).unwrap();
        if uses_up_id(status) {
            self.history.refusals.push(Refusal { id: extended.transfer.id, timestamp, status });
        }
    }

    /// A summary of the whole ledger.
    pub(crate) fn books(&self) -> Books {
        let mut ledgers: BTreeMap<u32, LedgerTotals> = BTreeMap::new();
        for AccountView { account, .. } in self.accounts.values() {
            let empty = LedgerTotals { ledger: account.ledger, ..LedgerTotals::default() };
            let totals = ledgers.entry(account.ledger.0).or_insert(empty);
            totals.accounts += 1;
            for (sum, amount) in [
                (&mut totals.debits_pending, account.debits_pending),
                (&mut totals.debits_posted, account.debits_posted),
                (&mut totals.credits_pending, account.credits_pending),
                (&mut totals.credits_posted, account.credits_posted),
            ] {
                *sum = sum.plus(amount);
            }
        }
        Books {
            time: self.time,
            history: self.history.position(),
            accounts: self.accounts.len() as u64,
            pending: self.pending.len() as u64,
            expiry_is_paused: self.expiry_is_paused,
            ledgers: ledgers.into_values().collect(),
        }
    }
}

/// The refusals that depend on state: marked with an asterisk in the contract.
fn uses_up_id(status: CreateTransferStatus) -> bool {
    const TRANSIENT: [CreateTransferStatus; 9] = [
        CreateTransferStatus::DebitAccountNotFound,
        CreateTransferStatus::CreditAccountNotFound,
        CreateTransferStatus::PendingTransferNotFound,
        CreateTransferStatus::DebitAccountAlreadyClosed,
        CreateTransferStatus::CreditAccountAlreadyClosed,
        CreateTransferStatus::ExceedsCredits,
        CreateTransferStatus::ExceedsDebits,
        CreateTransferStatus::PrevHashMismatch,
        CreateTransferStatus::BalanceOutOfBounds,
    ];
    TRANSIENT.contains(&status)
}

fn plain_transfer(transfer: Transfer) -> Creation {
    Creation::Transfer(ExtendedTransfer { transfer, prev_hash: Head::NONE })
}

/// Parses all events of a body.
fn read<E: Event, T>(body: &[u8], make: impl Fn(E) -> T) -> Vec<T> {
    let mut reader = Reader::new(body);
    let mut events = Vec::new();
    while !reader.is_empty() {
        events.push(make(E::from_reader(&mut reader).unwrap()));
    }
    events
}

impl Creation {
    fn is_linked(&self) -> bool {
        match self {
            Self::Plain(account) | Self::Extended(ExtendedAccount { account, .. }) => {
                account.flags.contains(AccountFlags::LINKED)
            }
            Self::Transfer(extended) => extended.transfer.flags.contains(TransferFlags::LINKED),
        }
    }

    fn is_imported(&self) -> bool {
        match self {
            Self::Plain(account) | Self::Extended(ExtendedAccount { account, .. }) => {
                account.flags.contains(AccountFlags::IMPORTED)
            }
            Self::Transfer(extended) => extended.transfer.flags.contains(TransferFlags::IMPORTED),
        }
    }

    /// The timestamp in the request.
    fn timestamp(&self) -> Nanos {
        match self {
            Self::Plain(account) | Self::Extended(ExtendedAccount { account, .. }) => account.timestamp,
            Self::Transfer(extended) => extended.transfer.timestamp,
        }
    }

    fn refused(&self, of_account: CreateAccountStatus, of_transfer: CreateTransferStatus) -> Refused {
        let status = match self {
            Self::Plain(_) | Self::Extended(_) => of_account.number(),
            Self::Transfer(_) => of_transfer.number(),
        };
        Refused { status, first: None }
    }

    fn chain_open(&self) -> Refused {
        self.refused(CreateAccountStatus::LinkedEventChainOpen, CreateTransferStatus::LinkedEventChainOpen)
    }

    fn linked_failed(&self, own: Nanos) -> Refused {
        let refused =
            self.refused(CreateAccountStatus::LinkedEventFailed, CreateTransferStatus::LinkedEventFailed);
        Refused { first: Some(own), ..refused }
    }

    /// The checks that depend on the whole request: `first` is its first event, `last` its last timestamp.
    fn check_batch(&self, first: &Self, last: Nanos) -> Result<(), Refused> {
        use {CreateAccountStatus as A, CreateTransferStatus as T};
        let timestamp = self.timestamp();
        if first.is_imported() && !self.is_imported() {
            return Err(self.refused(A::ImportedEventExpected, T::ImportedEventExpected));
        }
        if !first.is_imported() && self.is_imported() {
            return Err(self.refused(A::ImportedEventNotExpected, T::ImportedEventNotExpected));
        }
        if !self.is_imported() && timestamp.0 != 0 {
            return Err(self.refused(A::TimestampMustBeZero, T::TimestampMustBeZero));
        }
        if self.is_imported() && (timestamp.0 == 0 || timestamp.0 >= 1 << 63) {
            let (account, transfer) =
                (A::ImportedEventTimestampOutOfRange, T::ImportedEventTimestampOutOfRange);
            return Err(self.refused(account, transfer));
        }
        if self.is_imported() && timestamp >= last {
            let (account, transfer) =
                (A::ImportedEventTimestampMustNotAdvance, T::ImportedEventTimestampMustNotAdvance);
            return Err(self.refused(account, transfer));
        }
        Ok(())
    }

    fn create(&self, model: &mut Model, timestamp: Nanos) -> Result<(), Refused> {
        match self {
            Self::Plain(account) => {
                let extended = ExtendedAccount { account: *account, bounds: Bounds::NONE, name: [0; 64] };
                model.create_account(&extended, false, timestamp)
            }
            Self::Extended(extended) => model.create_account(extended, true, timestamp),
            Self::Transfer(extended) => model.create_transfer(extended, timestamp),
        }
    }
}
