//! `bezant import tigerbeetle`: the accounts and the history of a TigerBeetle, read through its own protocol, with ids
//! and timestamps.
//!
//! Accounts come from queries, everything that moved from change events, which tell of expiries too. The newest
//! movement of the ledger says where an earlier import ended: the next one reads the source from there on. So the
//! source may be in use while most of it is copied. Once it stands still, the sums of every account are read from it
//! and compared, and what is still pending begins to expire here: until then expiry is paused, since a row of this
//! ledger's own would be newer than those to come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bezant_client::{
    Account, AccountFilter, AccountFilterFlags, AccountFlags, AccountId, AccountView, Movement, MovementKind,
    MovementNumber, Nanos, NewTransfer, QueryFilter, Transfer,
};
use bezant_codec::{
    account_filter_to_bytes, account_from_bytes, put_trailer, query_filter_to_bytes, records,
};
use bezant_tigerbeetle::{CHANGE_EVENT_SIZE, Operation, change_event_from_bytes, change_filter_to_bytes};
use bezant_types::MovementFilter;
use bezant_types::limits::{EVENTS_MAX, MOVEMENTS_MAX, RECORD_SIZE};
use clap::Args;
use serde::Serialize;

use super::history::{
    check_newest, compare_sums, create_accounts, create_transfers, imported_account, imported_transfer,
    missing_accounts, not_empty, reserves_go_on, set_expiry,
};
use crate::exit::Failure;
use crate::frames::Frames;
use crate::output;
use crate::output::Format;
use crate::session::Session;

/// Which TigerBeetle to read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant import tigerbeetle 127.0.0.1:3000
  bezant import tigerbeetle 10.0.0.5:3001 --cluster 7 --server http://127.0.0.1:7080

Reads a TigerBeetle of the 0.17 line (or a Bezant that listens for its clients) into an empty
ledger: name the replica that leads. Accounts and transfers keep their ids and timestamps and get
the flag imported. Import again, after a break or while the source is in use: that brings only
what is new. So moving takes as long as the last import: stop what writes to the source, import
once more, which compares all balances when the source stands still, and go on here. Nothing else
may write to this ledger before.

A reserve that is still pending keeps its timeout. It begins to expire here, when it would have at
the source, once an import has found the source standing still, and this ledger is then no longer a
copy. Of a source that only pauses, import with --more-follows until the last time.

The flag linked is dropped: chains that failed are not in the history, those that succeeded are
whole. An expiry becomes a void of the same moment.")]
pub(crate) struct TigerBeetleArgs {
    /// Address of the replica that leads: HOST:PORT
    address: String,
    /// Number of its cluster
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    cluster: u128,
    /// The source goes on after this import, even if it stands still now: reserves do not expire here yet
    #[arg(long)]
    more_follows: bool,
}

/// What was imported.
#[derive(Debug, Serialize)]
struct Imported {
    accounts: usize,
    movements: u64,
    /// Rows that were there from an earlier try.
    movements_before: u64,
    /// Reserves that are still pending.
    pending: u64,
    /// True when those with a timeout expire here from now on.
    expires: bool,
    /// True when the source stood still, so that all balances were compared.
    is_whole: bool,
}

/// Imports it.
pub(crate) async fn run(session: &Session, args: &TigerBeetleArgs) -> Result<(), Failure> {
    let mut source = Source::open(args, session.timeout).await?;
    let before = session.client.books().await?.history.movements;
    let mut accounts = Accounts::default();
    accounts.follow(session, &mut source).await?;
    let mut events = Events::after(session, &mut source, before).await?;
    import_movements(session, &mut source, &mut accounts, &mut events).await?;
    let sums = source.accounts_from(Nanos(0)).await?;
    // Of sums that were read while the source went on nothing can be said.
    let is_whole = sums.len() == accounts.known.len() && events.is_at_end(&mut source).await?;
    if is_whole {
        compare_sums(session, sums.iter().map(|account| (account.id, account.balances()))).await?;
    }
    let pending = session.client.books().await?.pending;
    let expires = is_whole && !args.more_follows;
    if expires {
        set_expiry(session, false).await?;
    }
    let imported = Imported {
        accounts: accounts.known.len(),
        movements: before + events.count,
        movements_before: before,
        pending,
        expires,
        is_whole,
    };
    report(session, &imported)
}

/// Imports what the ledger does not have.
async fn import_movements(
    session: &Session,
    source: &mut Source,
    accounts: &mut Accounts,
    events: &mut Events,
) -> Result<(), Failure> {
    let bar = output::progress(0, "movements");
    let mut is_paused = false;
    while let Some(batch) = events.batch(source).await? {
        if !is_paused {
            set_expiry(session, true).await?;
            is_paused = true;
        }
        // An account may be younger than the list of accounts, as its source goes on.
        if batch.iter().any(|new| !accounts.has_those_of(new)) {
            accounts.follow(session, source).await?;
        }
        create_transfers(session, &batch).await?;
        bar.set_position(events.count);
    }
    bar.finish_and_clear();
    Ok(())
}

/// The accounts of the source that the ledger has.
#[derive(Default)]
struct Accounts {
    known: BTreeSet<AccountId>,
    /// When the newest of them was created.
    newest: Nanos,
}

impl Accounts {
    /// Creates those that came after the newest. At first the ledger may have some of an earlier import.
    async fn follow(&mut self, session: &Session, source: &mut Source) -> Result<(), Failure> {
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
        create_accounts(session, &missing).await?;
        self.known.extend(accounts.iter().map(|account| account.id));
        self.newest = accounts.last().map_or(self.newest, |account| account.timestamp);
        Ok(())
    }

    /// True when both sides of a transfer are known; those of a post or a void may be left out.
    fn has_those_of(&self, new: &NewTransfer) -> bool {
        let Transfer { debit_account_id, credit_account_id, .. } = new.transfer;
        [debit_account_id, credit_account_id].iter().all(|id| id.0 == 0 || self.known.contains(id))
    }
}

fn report(session: &Session, imported: &Imported) -> Result<(), Failure> {
    if session.output == Format::Json {
        return output::json(imported);
    }
    let Imported { accounts, movements, movements_before, pending, expires, is_whole } = imported;
    let new = movements - movements_before;
    let end = if *is_whole { "all balances agree" } else { "the source goes on" };
    output::line(&format!(
        "{accounts} accounts, {new} movements imported, {movements_before} there before; {end}"
    ))?;
    if !is_whole {
        output::note(
            "balances were not compared: stop what writes to the source and import again, which brings only what is \
             new",
        );
        return Ok(());
    }
    if *pending > 0 {
        output::note(&if *expires {
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

/// Questions to the source.
struct Source {
    frames: Frames,
    address: String,
}

impl Source {
    async fn open(args: &TigerBeetleArgs, patience: Duration) -> Result<Self, Failure> {
        let address = args.address.clone();
        let stream = Frames::dial(&address).await.map_err(|error| unavailable(&address, &error))?;
        match Frames::open_on(stream, args.cluster, 0, patience).await {
            Ok(frames) => Ok(Self { frames, address }),
            Err(error) => Err(Failure::Unavailable(format!(
                "{address}: {error:#}. A server answers clients of its own cluster only: {} was asked for, --cluster \
                 names another. Name the replica that leads",
                args.cluster
            ))),
        }
    }

    /// Everything that one filter finds.
    async fn find<const SIZE: usize>(
        &mut self,
        operation: Operation,
        filter: [u8; SIZE],
    ) -> Result<Vec<[u8; RECORD_SIZE]>, Failure> {
        let mut body = filter.to_vec();
        put_trailer(&mut body, &[1], SIZE);
        let found = self.frames.submit(operation, &body).await;
        let found = found.map_err(|error| unavailable(&self.address, &error))?;
        Ok(records::<RECORD_SIZE>(&found).map_err(|error| self.damaged(&error.to_string()))?.to_vec())
    }

    /// The change events that a filter finds.
    async fn changes(&mut self, filter: &MovementFilter) -> Result<Vec<Movement>, Failure> {
        let found = self.frames.ask(Operation::GetChangeEvents, &change_filter_to_bytes(filter)).await;
        let found = found.map_err(|error| unavailable(&self.address, &error))?;
        let events =
            records::<CHANGE_EVENT_SIZE>(&found).map_err(|error| self.damaged(&error.to_string()))?;
        let movements: Option<Vec<Movement>> = events.iter().map(change_event_from_bytes).collect();
        movements.ok_or_else(|| self.damaged("a change event of an unknown kind"))
    }

    /// All accounts from that moment on, in the order in which they were created.
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

    /// The account as a new ledger gets it: one that a transfer has closed was created open.
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

fn unavailable(address: &str, error: &anyhow::Error) -> Failure {
    Failure::Unavailable(format!("{address}: {error:#}"))
}

/// The change events of the source, in their order.
struct Events {
    /// Of the last event that was read.
    seen: Nanos,
    /// So many were read.
    count: u64,
    has_ended: bool,
}

impl Events {
    /// Those that come after the ledger's `before` movements, the last of which must be the source's, too.
    async fn after(session: &Session, source: &mut Source, before: u64) -> Result<Self, Failure> {
        let mut events = Self { seen: Nanos(0), count: 0, has_ended: false };
        let Some(newest) = before.checked_sub(1) else { return Ok(events) };
        let found = session.client.movements(MovementNumber(newest), 1).await?;
        if found.first().is_some_and(|(_, movement)| movement.kind == MovementKind::Expired) {
            return Err(not_empty(
                "a reserve has expired here since an import found the source standing still (of a source that only \
                 pauses, import with --more-follows)",
            ));
        }
        let timestamp = found.first().map_or(Nanos(0), |(_, movement)| movement.timestamp);
        let same = source.changes(&filter(timestamp, 1)).await?;
        check_newest(session, before, same.first().map(transfer_of).as_ref()).await?;
        events.seen = timestamp;
        Ok(events)
    }

    /// What makes the next movements in another ledger, at most as many as a request carries; `None` after the last.
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

    /// True when nothing came after the last event that was read.
    async fn is_at_end(&self, source: &mut Source) -> Result<bool, Failure> {
        Ok(source.changes(&filter(Nanos(self.seen.0 + 1), 1)).await?.is_empty())
    }
}

/// Change events from that moment on.
fn filter(timestamp_min: Nanos, limit: u32) -> MovementFilter {
    MovementFilter { timestamp_min, limit, ..MovementFilter::default() }
}

/// The transfer that makes this event. An expiry is none: the reserve that expired may stand in the field of the
/// pending id alone.
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
