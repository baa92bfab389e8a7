//! `bezant import tigerbeetle`: the accounts and the history of a TigerBeetle, read through its own protocol,
//! with ids and timestamps.
//!
//! Accounts come from queries, movements from change events, which include expiries. The newest movement of
//! the ledger is the place where an earlier import ended: the next one reads the source from there on. So the
//! source may be in use while most of it is copied. Once the source has no more writes, the sums of every
//! account are read from it and compared, and pending reserves begin to expire here. Until then expiry is
//! paused, since the row of an expiry here would be newer than the rows still to come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bezant_client::{
    Account, AccountFilter, AccountFilterFlags, AccountFlags, AccountId, AccountView, Movement, MovementKind,
    MovementNumber, Nanos, NewAccount, NewTransfer, QueryFilter, Transfer, TransferFlags, TransferId,
};
use bezant_codec::{
    account_filter_to_bytes, account_from_bytes, put_trailer, query_filter_to_bytes, records,
    transfer_from_bytes,
};
use bezant_load::{Frames, FramesError};
use bezant_tigerbeetle::{CHANGE_EVENT_SIZE, Operation, change_event_from_bytes, change_filter_to_bytes};
use bezant_types::MovementFilter;
use bezant_types::limits::{EVENTS_MAX, MOVEMENTS_MAX, RECORD_SIZE};
use clap::Args;
use serde::Serialize;

use super::history::{
    check_newest, compare_sums, create_accounts, create_transfers, imported_account, imported_transfer,
    is_complete, missing_accounts, not_empty, reserves_go_on,
};
use super::pause::{Pause, Timeless, open_without_timeout};
use crate::exit::Failure;
use crate::output;
use crate::output::Format;
use crate::session::Session;

/// The arguments of `bezant import tigerbeetle`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant import tigerbeetle 127.0.0.1:3000
  bezant import tigerbeetle 10.0.0.5:3001 --cluster 7 --server http://127.0.0.1:7080

Reads a TigerBeetle of the 0.17 line (or a Bezant that listens for its clients) into an empty \
ledger: name the replica that leads. Accounts and transfers keep their ids and timestamps and get \
the flag imported. Import again, after an interruption or while the source is in use: that imports \
only new rows. So the downtime is as long as the last import: stop all writes to the source, import \
once more, which compares all balances when the source has no new rows, and go on here. Nothing \
else may write to this ledger before.

A reserve that is still pending keeps its timeout. It begins to expire here, when it would have at \
the source, once an import has found no new rows at the source; this ledger is then no longer a \
copy. While the source will go on, import with --more-follows, except for the last time.

The flag linked is dropped: chains that failed are not in the history, those that succeeded are \
whole. An expiry becomes a void of the same moment.")]
pub(crate) struct TigerBeetleArgs {
    /// Address of the replica that leads: HOST:PORT
    address: String,
    /// Number of its cluster
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    cluster: u128,
    /// The source will go on after this import, even if it has no new rows now: reserves do not expire here
    /// yet
    #[arg(long)]
    more_follows: bool,
}

/// The result of an import, also its JSON answer.
#[derive(Debug, Serialize)]
struct Imported {
    accounts: usize,
    movements: u64,
    /// Rows that an earlier run had imported.
    movements_before: u64,
    /// Rows that the ledger added after a complete import. If there are any, balances were not compared.
    movements_after: u64,
    /// Reserves that are still pending.
    pending: u64,
    /// True when the pending reserves with a timeout expire here from now on.
    expires: bool,
    /// True when the source had no more movements, so that all balances were compared.
    is_whole: bool,
    /// Reserves that are still pending and expire only at the source.
    without_timeout: Timeless,
}

/// Imports the source.
pub(crate) async fn run(session: &Session, args: &TigerBeetleArgs) -> Result<(), Failure> {
    let mut pause = Pause::default();
    let imported = bring(session, args, &mut pause).await;
    report(session, &pause.settle(session, imported).await?)
}

async fn bring(session: &Session, args: &TigerBeetleArgs, pause: &mut Pause) -> Result<Imported, Failure> {
    let mut source = Source::open(args, session.timeout).await?;
    let books = session.client.books().await?;
    let there = books.history.movements;
    let own = own_movements(session, there).await?;
    let before = there - own;
    let mut events = Events::after(session, &mut source, before, own).await?;
    let mut accounts = Accounts::default();
    if own > 0 {
        let accounts = source.accounts_from(Nanos(0)).await?.len();
        let without_timeout = source.without_timeout(session).await?;
        return Ok(Imported {
            accounts,
            movements: before,
            movements_before: before,
            movements_after: own,
            pending: books.pending,
            expires: !books.expiry_is_paused,
            is_whole: true,
            without_timeout,
        });
    }
    let missing = accounts.find(session, &mut source).await?;
    let first = events.batch(&mut source).await?;
    if !missing.is_empty() || first.is_some() {
        pause.begin(session, before).await?;
    }
    create_accounts(session, &missing).await?;
    import_movements(session, &mut source, &mut accounts, &mut events, first).await?;
    let sums = source.accounts_from(Nanos(0)).await?;
    // Sums that were read while the source went on cannot be compared.
    let is_whole = sums.len() == accounts.known.len() && events.is_at_end(&mut source).await?;
    if is_whole {
        compare_sums(session, sums.iter().map(|account| (account.id, account.balances()))).await?;
    }
    let pending = session.client.books().await?.pending;
    let without_timeout = if is_whole { source.without_timeout(session).await? } else { Timeless::default() };
    let is_paused = pause.is_on() || books.expiry_is_paused;
    let ends = is_whole && !args.more_follows;
    if is_paused && ends {
        pause.end(session).await?;
    }
    Ok(Imported {
        accounts: accounts.known.len(),
        movements: before + events.count,
        movements_before: before,
        movements_after: 0,
        pending,
        expires: ends || !is_paused,
        is_whole,
        without_timeout,
    })
}

/// Imports the movements that the ledger does not have: `first`, and all after it.
async fn import_movements(
    session: &Session,
    source: &mut Source,
    accounts: &mut Accounts,
    events: &mut Events,
    first: Option<Vec<NewTransfer>>,
) -> Result<(), Failure> {
    let bar = output::progress(0, "movements");
    let mut next = first;
    while let Some(batch) = next {
        // An account may be newer than the list of accounts, since the source goes on.
        if batch.iter().any(|new| !accounts.has_those_of(new)) {
            accounts.follow(session, source).await?;
        }
        create_transfers(session, &batch).await?;
        bar.set_position(events.count);
        next = events.batch(source).await?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// The count of movements after the last imported one; all of them, if none was imported.
async fn own_movements(session: &Session, there: u64) -> Result<u64, Failure> {
    let mut end = there;
    while end > 0 {
        let start = end.saturating_sub(MOVEMENTS_MAX as u64);
        let limit = u32::try_from(end - start).unwrap_or(u32::MAX);
        let rows = session.client.movements(MovementNumber(start), limit).await?;
        let is_imported = |movement: &Movement| {
            movement.kind != MovementKind::Expired
                && movement.transfer.flags.contains(TransferFlags::IMPORTED)
        };
        if let Some((number, _)) = rows.iter().rfind(|(_, movement)| is_imported(movement)) {
            return Ok(there - number.0 - 1);
        }
        end = start;
    }
    Ok(there)
}

/// The accounts of the source that the ledger has.
#[derive(Default)]
struct Accounts {
    known: BTreeSet<AccountId>,
    /// The timestamp of the newest account.
    newest: Nanos,
}

impl Accounts {
    /// Creates the accounts of the source that are newer than `newest`.
    async fn follow(&mut self, session: &Session, source: &mut Source) -> Result<(), Failure> {
        let missing = self.find(session, source).await?;
        create_accounts(session, &missing).await
    }

    /// The accounts of the source that are newer than `newest` and missing in the ledger. At the first call
    /// the ledger may have some from an earlier import.
    async fn find(&mut self, session: &Session, source: &mut Source) -> Result<Vec<NewAccount>, Failure> {
        let accounts = source.accounts_from(Nanos(self.newest.0 + 1)).await?;
        let mut views = BTreeMap::new();
        for account in &accounts {
            views.insert(account.timestamp, source.as_created(account).await?);
        }
        let missing = if self.known.is_empty() {
            missing_accounts(session, &views).await?
        } else {
            views.values().map(imported_account).collect()
        };
        self.known.extend(accounts.iter().map(|account| account.id));
        self.newest = accounts.last().map_or(self.newest, |account| account.timestamp);
        Ok(missing)
    }

    /// True when both accounts of a transfer are known; a post or a void may leave them out (id 0).
    fn has_those_of(&self, new: &NewTransfer) -> bool {
        let Transfer { debit_account_id, credit_account_id, .. } = new.transfer;
        [debit_account_id, credit_account_id].iter().all(|id| id.0 == 0 || self.known.contains(id))
    }
}

fn report(session: &Session, imported: &Imported) -> Result<(), Failure> {
    if session.output == Format::Json {
        return output::json(imported);
    }
    let Imported { accounts, movements, movements_before, movements_after, pending, .. } = imported;
    if *movements_after > 0 {
        output::line(&is_complete(*movements_after))?;
        imported.without_timeout.report();
        return Ok(());
    }
    let new = movements - movements_before;
    let end = if imported.is_whole { "all balances agree" } else { "the source goes on" };
    output::line(&format!(
        "{accounts} accounts, {new} movements imported, {movements_before} there before; {end}"
    ))?;
    if !imported.is_whole {
        output::note(
            "balances were not compared: stop what writes to the source and import again, which brings only what is \
             new. Until then expiry is paused here",
        );
        return Ok(());
    }
    imported.without_timeout.report();
    if *pending > 0 {
        output::note(&if imported.expires {
            reserves_go_on(*pending)
        } else {
            format!(
                "{pending} reserves are still pending and do not expire here before the last import, without \
                 --more-follows"
            )
        });
    }
    Ok(())
}

/// The connection to the source.
struct Source {
    frames: Frames,
    address: String,
}

impl Source {
    async fn open(args: &TigerBeetleArgs, timeout: Duration) -> Result<Self, Failure> {
        let address = args.address.clone();
        let stream =
            Frames::dial(&address).await.map_err(|error| Failure::Unavailable(with_causes(error)))?;
        match Frames::open_on(stream, args.cluster, 0, timeout).await {
            Ok(frames) => Ok(Self { frames, address }),
            Err(error) => Err(Failure::Unavailable(format!(
                "{address}: {}. A server answers only clients of its cluster: {} was asked for, --cluster \
                 names another. Name the replica that leads",
                with_causes(error),
                args.cluster
            ))),
        }
    }

    /// All records that a filter finds.
    async fn find<const SIZE: usize>(
        &mut self,
        operation: Operation,
        filter: [u8; SIZE],
    ) -> Result<Vec<[u8; RECORD_SIZE]>, Failure> {
        let mut body = filter.to_vec();
        put_trailer(&mut body, &[1], SIZE);
        let found = self.frames.submit(operation, &body).await;
        let found = found.map_err(|error| unavailable(&self.address, error))?;
        Ok(records::<RECORD_SIZE>(&found).map_err(|error| self.damaged(&error.to_string()))?.to_vec())
    }

    /// The open reserves here that have a timeout only at the source.
    async fn without_timeout(&mut self, session: &Session) -> Result<Timeless, Failure> {
        let mut found = Vec::new();
        for ids in open_without_timeout(session).await?.chunks(EVENTS_MAX) {
            let mut body: Vec<u8> = ids.iter().flat_map(|id| id.0.to_le_bytes()).collect();
            put_trailer(&mut body, &[ids.len()], size_of::<TransferId>());
            let answer = self.frames.submit(Operation::LookupTransfers, &body).await;
            let answer = answer.map_err(|error| unavailable(&self.address, error))?;
            let rows = records::<RECORD_SIZE>(&answer).map_err(|error| self.damaged(&error.to_string()))?;
            let transfers = rows.iter().map(transfer_from_bytes);
            found.extend(transfers.filter(|it| it.timeout_seconds > 0).map(|it| it.id));
        }
        Ok(Timeless::new(&found))
    }

    /// The change events that a filter finds.
    async fn changes(&mut self, filter: &MovementFilter) -> Result<Vec<Movement>, Failure> {
        let found = self.frames.ask(Operation::GetChangeEvents, &change_filter_to_bytes(filter)).await;
        let found = found.map_err(|error| unavailable(&self.address, error))?;
        let events =
            records::<CHANGE_EVENT_SIZE>(&found).map_err(|error| self.damaged(&error.to_string()))?;
        let movements: Option<Vec<Movement>> = events.iter().map(change_event_from_bytes).collect();
        movements.ok_or_else(|| self.damaged("a change event of an unknown kind"))
    }

    /// All accounts with a timestamp of at least `first`, in the order of their creation.
    async fn accounts_from(&mut self, first: Nanos) -> Result<Vec<Account>, Failure> {
        let limit = u32::try_from(EVENTS_MAX).unwrap_or(u32::MAX);
        let mut filter = QueryFilter { limit, timestamp_min: first, ..QueryFilter::default() };
        let mut accounts: Vec<Account> = Vec::new();
        loop {
            let page = self.find(Operation::QueryAccounts, query_filter_to_bytes(&filter)).await?;
            accounts.extend(page.iter().map(account_from_bytes));
            if page.len() < EVENTS_MAX {
                return Ok(accounts);
            }
            filter.timestamp_min = Nanos(accounts.last().map_or(0, |account| account.timestamp.0) + 1);
        }
    }

    /// The account as it was created: an account that a transfer has closed was created open.
    async fn as_created(&mut self, account: &Account) -> Result<AccountView, Failure> {
        let mut view = AccountView { account: *account, ..AccountView::default() };
        if account.flags.contains(AccountFlags::CLOSED) && self.has_moved(account.id).await? {
            view.account.flags = account.flags.without(AccountFlags::CLOSED);
        }
        Ok(view)
    }

    async fn has_moved(&mut self, account: AccountId) -> Result<bool, Failure> {
        let filter = AccountFilter {
            account_id: account,
            limit: 1,
            flags: AccountFilterFlags { debits: true, credits: true, reversed: false },
            ..AccountFilter::default()
        };
        let found = self.find(Operation::GetAccountTransfers, account_filter_to_bytes(&filter)).await?;
        Ok(!found.is_empty())
    }

    fn damaged(&self, what: &str) -> Failure {
        Failure::Verification(format!("{}: the answer cannot be read: {what}", self.address))
    }
}

fn unavailable(address: &str, error: FramesError) -> Failure {
    Failure::Unavailable(format!("{address}: {}", with_causes(error)))
}

/// The error and its causes, separated by colons.
fn with_causes(error: FramesError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

/// The change events of the source, in their order.
struct Events {
    /// The timestamp of the last event that was read; 0 = none was.
    seen: Nanos,
    /// The count of events that were read.
    count: u64,
    has_ended: bool,
}

impl Events {
    /// The events after the ledger's first `before` movements, the last of which must be the source's, too.
    /// The ledger has `own` movements after those: if there are any, the source must have no more events.
    async fn after(session: &Session, source: &mut Source, before: u64, own: u64) -> Result<Self, Failure> {
        let mut events = Self { seen: Nanos(0), count: 0, has_ended: false };
        let Some(newest) = before.checked_sub(1) else {
            return if own == 0 { Ok(events) } else { Err(not_empty("its movement 0 was not imported")) };
        };
        let found = session.client.movements(MovementNumber(newest), 1).await?;
        let timestamp = found.first().map_or(Nanos(0), |(_, movement)| movement.timestamp);
        let same = source.changes(&filter(timestamp, 1)).await?;
        check_newest(session, before, same.first().map(transfer_of).as_ref()).await?;
        events.seen = timestamp;
        if own > 0 && !events.is_at_end(source).await? {
            return Err(not_empty(&format!(
                "{own} movements came here, such as a reserve that has expired here, since an import found no new rows \
                 at the source, and the source went on (while a source will go on, import with --more-follows)"
            )));
        }
        Ok(events)
    }

    /// The transfers that create the next movements here, at most as many as a request carries; `None` after
    /// the last.
    async fn batch(&mut self, source: &mut Source) -> Result<Option<Vec<NewTransfer>>, Failure> {
        let mut batch = Vec::new();
        while !self.has_ended && batch.len() + MOVEMENTS_MAX <= EVENTS_MAX {
            let limit = u32::try_from(MOVEMENTS_MAX).unwrap_or(u32::MAX);
            let events = source.changes(&filter(Nanos(self.seen.0 + 1), limit)).await?;
            self.has_ended = events.len() < MOVEMENTS_MAX;
            self.seen = events.last().map_or(self.seen, |last| last.timestamp);
            self.count += events.len() as u64;
            batch.extend(events.iter().map(transfer_of));
        }
        Ok(Some(batch).filter(|batch| !batch.is_empty()))
    }

    /// True when the source has no event after the last one that was read.
    async fn is_at_end(&self, source: &mut Source) -> Result<bool, Failure> {
        Ok(source.changes(&filter(Nanos(self.seen.0 + 1), 1)).await?.is_empty())
    }
}

/// The filter for change events with a timestamp of at least `timestamp_min`.
fn filter(timestamp_min: Nanos, limit: u32) -> MovementFilter {
    MovementFilter { timestamp_min, limit, ..MovementFilter::default() }
}

/// The transfer that creates the row of this event. An expiry has no transfer: the id of the expired
/// reserve may be in `pending_id` alone.
fn transfer_of(event: &Movement) -> NewTransfer {
    let Transfer { id, pending_id, .. } = event.transfer;
    if event.kind == MovementKind::Expired && id.0 == 0 {
        return imported_transfer(&Movement {
            transfer: Transfer { id: pending_id, ..event.transfer },
            ..*event
        });
    }
    imported_transfer(event)
}
