//! The service that all protocols call, with the [`RequestContext`] of each request; it calls the node.
//!
//! It turns names and asset codes into numbers, picks the operation that carries a request, and calls the
//! node. It caches what never changes (the id of a name, the asset of a ledger) and nothing else.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bezant_api::assets::AssetBook;
use bezant_api::token::{EventPosition, LEDGER_GROUP};
use bezant_api::{AccountReference, ErrorCode, Failure, Violation};
use bezant_ledger::{Event, LedgerAnswer, LedgerQuery, Operation, ToCommand};
use bezant_rsm::{Command, SessionRequest};
use bezant_runtime::{Committed, Consistency, ExecuteError, Health, Read, ReadError};
use bezant_storage::{HistoryAnswer, HistoryQuery};
use bezant_types::limits::RESULT_SIZE;
use bezant_types::{
    AccountId, AccountView, Asset, HoldFilter, LedgerNumber, MovementFilter, MovementNumber, Nanos, Transfer,
    TransferView,
};
use bytes::{Bytes, BytesMut};
use ulid::Generator;

use crate::LedgerHandle;
use crate::changes::Pages;
use crate::context::{Deadline, RequestContext};
use crate::failure;
use crate::guard::Guard;
use crate::limits::{Limits, NAMES_MAX};
use crate::metrics::{Api, Call, Metrics};

/// The copy of the assets is read again after this time when it has no asset for the ledger that is asked
/// for.
const ASSETS_AGE_MAX: Duration = Duration::from_secs(1);

/// The service of one server. See the module.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) handle: LedgerHandle,
    pub(crate) limits: Limits,
    /// Checks the requests at the listener for gRPC and REST.
    pub(crate) guard: Guard,
    pub(crate) metrics: Arc<Metrics>,
    /// Becomes true when the server stops.
    pub(crate) stopping: tokio::sync::watch::Sender<bool>,
    /// Lets the streams of change events read the history in turn.
    pub(crate) pages: Pages,
    names: RwLock<HashMap<String, AccountId>>,
    assets: RwLock<AssetCopy>,
    ids: Mutex<Generator>,
    /// Number of ledgers in the books when they were last read: the next read reserves space for so many.
    pub(crate) books_rows: AtomicUsize,
}

/// A copy of the assets.
#[derive(Clone, Debug)]
struct AssetCopy {
    book: Arc<AssetBook>,
    /// Ledgers whose built-in currency may still be replaced by another asset: the book may be outdated.
    provisional: Arc<BTreeSet<LedgerNumber>>,
    /// When the copy was read; `None` = never: it has only the built-in currencies.
    read_at: Option<Instant>,
}

impl AssetCopy {
    fn new() -> Self {
        let book = AssetBook::default();
        let provisional = Arc::new(book.iter().map(|asset| asset.ledger).collect());
        Self { book: Arc::new(book), provisional, read_at: None }
    }

    /// True when the book's entry for that ledger can never change.
    fn is_final(&self, ledger: LedgerNumber) -> bool {
        self.book.of(ledger).is_some() && !self.provisional.contains(&ledger)
    }
}

impl Service {
    pub(crate) fn new(handle: LedgerHandle, limits: Limits, guard: Guard) -> Self {
        Self {
            handle,
            guard,
            pages: Pages::default(),
            limits,
            metrics: Arc::new(Metrics::new()),
            stopping: tokio::sync::watch::Sender::new(false),
            names: RwLock::default(),
            assets: RwLock::new(AssetCopy::new()),
            ids: Mutex::new(Generator::new()),
            books_rows: AtomicUsize::new(0),
        }
    }

    /// Runs the work of a call and counts it.
    pub(crate) async fn observe<T>(
        &self,
        api: Api,
        call: Call,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        let result = work.await;
        self.metrics.call(api, call, begun.elapsed(), result.as_ref().err());
        result
    }

    /// Puts events in the log and waits for their results.
    pub(crate) async fn write(
        &self,
        operation: Operation,
        records: Bytes,
        context: &RequestContext,
    ) -> Result<Committed, Failure> {
        let command =
            operation.command(records.clone()).map_err(|error| failure::of_records(error, operation))?;
        self.execute(operation, command, context)
            .await
            .map_err(|failure| failure.of_events(operation.ids(&records)))
    }

    /// Puts a command in the log. Its results are counted as those of `operation`.
    pub(crate) async fn execute(
        &self,
        operation: Operation,
        command: Command,
        context: &RequestContext,
    ) -> Result<Committed, Failure> {
        // The node checks the deadline only of waiting commands: a call that is late already is not started.
        if context.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(failure::of_write(&ExecuteError::DeadlineExceeded));
        }
        let is_keyed = command.operation == Operation::CreateKeyed as u16;
        let size = usize::try_from(command.events).unwrap_or(0) * RESULT_SIZE;
        let committed = self.handle.execute(command, context.deadline).await;
        let committed = committed.map_err(|error| failure::of_write(&error))?;
        // No results of a keyed request: its key belongs to another request. Otherwise each event has its
        // result.
        let is_whole = committed.results.len() == size || (is_keyed && committed.results.is_empty());
        if !is_whole {
            return Err(failure::internal(
                "the ledger returned another number of results than the request has events",
            ));
        }
        context.freshness.note(committed.index);
        self.metrics.results(operation, &committed.results);
        Ok(committed)
    }

    /// Puts typed events in the log.
    pub(crate) async fn write_events<E: Event>(
        &self,
        operation: Operation,
        events: &[E],
        context: &RequestContext,
    ) -> Result<Committed, Failure> {
        let mut records = BytesMut::with_capacity(events.len() * operation.event_size());
        events.iter().for_each(|event| event.write(&mut records));
        self.write(operation, records.freeze(), context).await
    }

    /// Generates an id that grows with time, for an event that brings none.
    pub(crate) fn fresh_id(&self) -> u128 {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        match ids.generate() {
            Ok(id) => id.0,
            Err(overflow) => overflow.commit_overflow_random().0,
        }
    }

    /// Finds the account of a reference; `account_not_found` when there is none.
    pub(crate) async fn account(
        &self,
        reference: &AccountReference,
        context: &RequestContext,
    ) -> Result<AccountView, Failure> {
        let query = match reference {
            AccountReference::None => {
                return Err(Violation::new("account", "is missing: send an id or a name").into());
            }
            AccountReference::Id(id) => LedgerQuery::Accounts(vec![*id]),
            AccountReference::Name(name) => {
                let found = self.find_named(vec![name.clone()], context).await?.pop();
                return found.map(|(_, view)| view).ok_or_else(|| account_not_found(reference));
            }
        };
        self.accounts(query, context).await?.pop().ok_or_else(|| account_not_found(reference))
    }

    /// The id of a reference. Does not check that an account with a given id exists.
    pub(crate) async fn account_id(
        &self,
        reference: &AccountReference,
        context: &RequestContext,
    ) -> Result<AccountId, Failure> {
        let names = self.ids_of_names([reference], context).await?;
        match reference {
            AccountReference::Name(name) => {
                names.0.get(name).copied().ok_or_else(|| account_not_found(reference))
            }
            AccountReference::None | AccountReference::Id(_) => names.id_of(reference, "account"),
        }
    }

    /// Reads accounts for an answer.
    pub(crate) async fn accounts(
        &self,
        query: LedgerQuery,
        context: &RequestContext,
    ) -> Result<Vec<AccountView>, Failure> {
        let reserved = context.budget.reserve(query.rows_max())?;
        let accounts = self.find_accounts(query, context).await?;
        reserved.settle(accounts.len());
        Ok(accounts)
    }

    /// Reads accounts by name, in the order of the names, for an answer; unknown ones are left out.
    pub(crate) async fn accounts_named(
        &self,
        names: Vec<String>,
        context: &RequestContext,
    ) -> Result<Vec<AccountView>, Failure> {
        let reserved = context.budget.reserve(names.len())?;
        let found = self.find_named(names, context).await?;
        reserved.settle(found.len());
        Ok(found.into_iter().map(|(_, view)| view).collect())
    }

    /// Reads accounts for the service itself: they do not count in the memory of the answer.
    pub(crate) async fn find_accounts(
        &self,
        query: LedgerQuery,
        context: &RequestContext,
    ) -> Result<Vec<AccountView>, Failure> {
        match self.ask(query, context).await? {
            LedgerAnswer::Accounts(accounts) => Ok(accounts),
            _ => Err(failure::internal("the ledger's answer is of another kind")),
        }
    }

    /// The answer to a request with a session if it needs no work: it was done before, or is refused.
    pub(crate) async fn session(
        &self,
        request: SessionRequest,
        context: &RequestContext,
    ) -> Result<Option<Bytes>, Failure> {
        match self.ask(LedgerQuery::Session(request), context).await? {
            LedgerAnswer::Session(answer) => Ok(answer),
            _ => Err(failure::internal("the ledger's answer is of another kind")),
        }
    }

    /// Whether expiry is paused in the state of this replica, which may lag. `None` when it has no state, or
    /// does not answer before the deadline.
    pub(crate) async fn expiry_is_paused(&self, deadline: Deadline) -> Option<bool> {
        let query = LedgerQuery::ExpiryIsPaused;
        match self.handle.query_at(query, Consistency::Stale, deadline).await.ok()?.answer {
            LedgerAnswer::ExpiryIsPaused(is_paused) => Some(is_paused),
            _ => None,
        }
    }

    /// Reads all assets, for an answer that lists them.
    pub(crate) async fn list_assets(&self, context: &RequestContext) -> Result<Arc<AssetBook>, Failure> {
        let known = self.assets.read().unwrap_or_else(PoisonError::into_inner).book.iter().count();
        let reserved = context.budget.reserve(known)?;
        let assets = self.assets(context).await?;
        reserved.settle(assets.iter().count());
        Ok(assets)
    }

    /// Reads all assets, and renews the copy.
    pub(crate) async fn assets(&self, context: &RequestContext) -> Result<Arc<AssetBook>, Failure> {
        let LedgerAnswer::Assets { assets, provisional } = self.ask(LedgerQuery::Assets, context).await?
        else {
            return Err(failure::internal("the ledger's answer is of another kind"));
        };
        let book: Arc<AssetBook> = Arc::new(assets.into_iter().collect());
        let provisional = Arc::new(provisional.into_iter().collect());
        let mut copy = self.assets.write().unwrap_or_else(PoisonError::into_inner);
        *copy = AssetCopy { book: Arc::clone(&book), provisional, read_at: Some(Instant::now()) };
        Ok(book)
    }

    /// The assets that amounts are shown with. Reads them again where a ledger may have got another asset
    /// since the copy was made. For a ledger without an asset the copy may be a second old.
    pub(crate) async fn assets_for(
        &self,
        mut ledgers: impl Iterator<Item = LedgerNumber>,
        context: &RequestContext,
    ) -> Arc<AssetBook> {
        let copy = self.assets.read().unwrap_or_else(PoisonError::into_inner).clone();
        let is_fresh = copy.read_at.is_some_and(|read_at| read_at.elapsed() < ASSETS_AGE_MAX);
        let is_known = |ledger| copy.is_final(ledger) || (is_fresh && copy.book.of(ledger).is_none());
        if ledgers.all(is_known) {
            return copy.book;
        }
        // When the read fails, no amount is shown in a currency that may have been replaced.
        self.assets(context).await.unwrap_or_else(|_| {
            Arc::new(copy.book.iter().filter(|asset| copy.is_final(asset.ledger)).copied().collect())
        })
    }

    /// Finds the ledger of an asset's code.
    pub(crate) async fn ledger_of(
        &self,
        code: &str,
        context: &RequestContext,
    ) -> Result<LedgerNumber, Failure> {
        let known = self.assets.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(asset) = known.book.named(code).filter(|asset| known.is_final(asset.ledger)) {
            return Ok(asset.ledger);
        }
        let assets = self.assets(context).await?;
        let ledger = assets.named(code).map(|asset: &Asset| asset.ledger);
        ledger.ok_or_else(|| {
            let upper = code.to_ascii_uppercase();
            let detail = match assets.named(&upper) {
                Some(_) => format!("no ledger has an asset '{code}': codes are in upper case, write {upper}"),
                None => format!("no ledger has an asset '{code}': register it, or use its ledger number"),
            };
            Failure::new(ErrorCode::AssetNotFound, detail)
        })
    }

    /// Reads rows of the history for an answer.
    pub(crate) async fn history(
        &self,
        query: HistoryQuery,
        context: &RequestContext,
    ) -> Result<HistoryAnswer, Failure> {
        let reserved = context.budget.reserve(history_rows_max(&query))?;
        let consistency = context.freshness.consistency();
        let read = self.handle.query_history_at(query, consistency, context.deadline).await;
        let Read { index, answer: rows } = read.map_err(|error| failure::of_read(&error))?;
        context.freshness.note(index);
        reserved.settle(rows.len());
        Ok(rows)
    }

    /// Reads transfers for an answer, with the state of those that are pending transfers.
    pub(crate) async fn transfers(
        &self,
        query: HistoryQuery,
        context: &RequestContext,
    ) -> Result<Vec<TransferView>, Failure> {
        let reserved = context.budget.reserve(history_rows_max(&query))?;
        let consistency = context.freshness.consistency();
        let read = self.handle.query_transfers_at(query, consistency, context.deadline).await;
        let Read { index, answer: rows } = read.map_err(|error| failure::of_read(&error))?;
        context.freshness.note(index);
        reserved.settle(rows.len());
        Ok(rows)
    }

    /// Reads the pending transfers that are neither posted, voided nor expired.
    pub(crate) async fn holds(
        &self,
        filter: HoldFilter,
        context: &RequestContext,
    ) -> Result<Vec<Transfer>, Failure> {
        let reserved = context.budget.reserve(filter.limit_capped())?;
        let LedgerAnswer::Holds(rows) = self.ask(LedgerQuery::Holds(filter), context).await? else {
            return Err(failure::internal("the ledger's answer is of another kind"));
        };
        reserved.settle(rows.len());
        Ok(rows)
    }

    /// Refuses reads from this node's own state while it has no state to show.
    pub(crate) fn check_state(&self) -> Result<(), Failure> {
        match self.handle.health() {
            Health::NoState { reason } => Err(failure::of_read(&ReadError::NoState { reason })),
            Health::Serving | Health::ReadOnly { .. } | Health::Stopping => Ok(()),
        }
    }

    /// The number of the first row of the ledger's history that is after a position of change events. Refuses
    /// a position that is after the end, or that has rows of other groups.
    ///
    /// This node may lag, and another node may have returned the position. So this node's end counts only
    /// once it has everything that was committed.
    pub(crate) async fn row_at(
        &self,
        position: &EventPosition,
        context: &RequestContext,
    ) -> Result<MovementNumber, Failure> {
        if context.freshness.consistency() != Consistency::Linearizable {
            self.check_state()?;
        }
        let row = position.next(LEDGER_GROUP);
        let is_of_ledger = position.groups().all(|group| group == LEDGER_GROUP);
        if is_of_ledger && row <= *self.handle.watch_movements().borrow() {
            return Ok(row);
        }
        let end = self.history_end(context).await?;
        if is_of_ledger && row <= end {
            return Ok(row);
        }
        Err(Failure::position_after_end(position, EventPosition::of(LEDGER_GROUP, end)))
    }

    /// The number of the row after the last one that was committed to the ledger's history before the call.
    async fn history_end(&self, context: &RequestContext) -> Result<MovementNumber, Failure> {
        let read = self.handle.history_end(context.deadline).await;
        let Read { answer, .. } = read.map_err(|error| failure::of_read(&error))?;
        Ok(MovementNumber(answer.movements))
    }

    /// The position after the last event, as fresh as the request wants it.
    pub(crate) async fn end_of_events(&self, context: &RequestContext) -> Result<EventPosition, Failure> {
        let end = match context.freshness.consistency() {
            Consistency::Linearizable => self.history_end(context).await?,
            Consistency::AtLeast(_) | Consistency::Stale => {
                MovementNumber(self.books(context).await?.history.movements)
            }
        };
        Ok(EventPosition::of(LEDGER_GROUP, end))
    }

    /// The position before the first event at or after that moment; the end of the events if there is none.
    pub(crate) async fn events_since(
        &self,
        since: Nanos,
        context: &RequestContext,
    ) -> Result<EventPosition, Failure> {
        let from = MovementNumber(0);
        let filter = MovementFilter { from, timestamp_min: since, timestamp_max: Nanos(0), limit: 1 };
        // Read before the rows, so that an event between the two reads is in the rows.
        let end = self.end_of_events(context).await?;
        let rows = self.history(HistoryQuery::Movements(filter), context).await?;
        Ok(rows.first().map_or(end, |(row, _)| EventPosition::of(LEDGER_GROUP, *row)))
    }

    /// Asks the ledger, as fresh as the request wants it.
    pub(crate) async fn ask(
        &self,
        query: LedgerQuery,
        context: &RequestContext,
    ) -> Result<LedgerAnswer, Failure> {
        let read = self.handle.query_at(query, context.freshness.consistency(), context.deadline).await;
        let Read { index, answer } = read.map_err(|error| failure::of_read(&error))?;
        context.freshness.note(index);
        Ok(answer)
    }

    /// Finds the ids of all names among some references.
    pub(crate) async fn ids_of_names<'reference>(
        &self,
        references: impl IntoIterator<Item = &'reference AccountReference>,
        context: &RequestContext,
    ) -> Result<Names, Failure> {
        let mut found = HashMap::new();
        let mut unknown = BTreeSet::new();
        {
            let known = self.names.read().unwrap_or_else(PoisonError::into_inner);
            for reference in references {
                let AccountReference::Name(name) = reference else { continue };
                if let Some(id) = known.get(name) {
                    found.insert(name.clone(), *id);
                } else {
                    unknown.insert(name.clone());
                }
            }
        }
        if !unknown.is_empty() {
            let unknown = unknown.into_iter().collect();
            let views = self.find_named(unknown, context).await?;
            let mut known = self.names.write().unwrap_or_else(PoisonError::into_inner);
            for (name, view) in views {
                if known.len() >= NAMES_MAX {
                    known.clear();
                }
                // An account that was found under a normalized name is not cached: an old client may still
                // create the exact name.
                if name == view.name {
                    known.insert(name.clone(), view.account.id);
                }
                found.insert(name, view.account.id);
            }
        }
        Ok(Names(found))
    }
}

/// The ledgers of the asset codes of one request; reads each code once.
#[derive(Debug, Default)]
pub(crate) struct Ledgers(HashMap<String, LedgerNumber>);

impl Ledgers {
    /// Finds the ledger of a code.
    pub(crate) async fn find(
        &mut self,
        service: &Service,
        code: String,
        context: &RequestContext,
    ) -> Result<LedgerNumber, Failure> {
        if let Some(ledger) = self.0.get(&code) {
            return Ok(*ledger);
        }
        let ledger = service.ledger_of(&code, context).await?;
        self.0.insert(code, ledger);
        Ok(ledger)
    }
}

/// Ids of accounts by name.
#[derive(Debug)]
pub(crate) struct Names(HashMap<String, AccountId>);

impl Names {
    /// The id of a reference in the request's field `field`; 0 where none is given.
    pub(crate) fn id_of(&self, reference: &AccountReference, field: &str) -> Result<AccountId, Failure> {
        match reference {
            AccountReference::None => Ok(AccountId(0)),
            AccountReference::Id(id) => Ok(*id),
            AccountReference::Name(name) => self.0.get(name).copied().ok_or_else(|| {
                let detail = format!("no account has the name '{name}': create it first, or use an id");
                let violations = vec![Violation::new(field, detail.clone())];
                Failure { violations, ..Failure::new(ErrorCode::NameNotFound, detail) }
            }),
        }
    }
}

/// A failure of one event, with the event's place in the request.
pub(crate) fn at_place(mut failure: Failure, at: usize) -> Failure {
    failure.violations =
        failure.violations.into_iter().map(|violation| violation.within(format_args!("[{at}]"))).collect();
    failure
}

/// The most rows that the answer to a query of the history can have.
fn history_rows_max(query: &HistoryQuery) -> usize {
    match query {
        HistoryQuery::Transfers(ids) => ids.len(),
        HistoryQuery::AccountTransfers(filter) => filter.limit_capped(),
        HistoryQuery::QueryTransfers(filter) => filter.limit_capped(),
        HistoryQuery::Movements(filter) => filter.limit_capped(),
    }
}

/// A failure of an event that was sent alone: its fields are named without a place.
pub(crate) fn without_place(mut failure: Failure) -> Failure {
    for violation in &mut failure.violations {
        if let Some(field) = violation.field.strip_prefix("[0].") {
            violation.field = field.to_owned();
        }
    }
    failure
}

fn account_not_found(reference: &AccountReference) -> Failure {
    let account = match reference {
        AccountReference::None => "no account was named".to_owned(),
        AccountReference::Id(id) => format!("there is no account with the id {id}"),
        AccountReference::Name(name) => format!("no account has the name '{name}'"),
    };
    Failure::new(ErrorCode::AccountNotFound, account)
}
