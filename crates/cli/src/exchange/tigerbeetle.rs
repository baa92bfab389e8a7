//! `bezant import tigerbeetle`: the accounts and the history of a TigerBeetle, read through its own protocol, with ids
//! and timestamps.
//!
//! Accounts come from queries, everything that moved from change events, which tell of expiries too. What is there
//! already is passed over, so an import that broke off is simply started again. At the end the sums of every
//! account are read from the source once more and compared.

use std::collections::BTreeMap;

use bezant_client::{
    Account, AccountFilter, AccountFilterFlags, AccountFlags, AccountId, AccountView, Movement, MovementKind,
    Nanos, NewTransfer, QueryFilter, Transfer,
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
    check_newest, compare_sums, create_accounts, create_transfers, imported_transfer, missing_accounts,
    not_empty,
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
ledger: name the replica that leads. Nothing may write to the source meanwhile. Accounts and
transfers keep their ids and timestamps and get the flag imported; one that breaks off is simply
started again. At the end all balances are compared.

The flag linked is dropped: chains that failed are not in the history, those that succeeded are
whole. An expiry becomes a void of the same moment. A reserve that is still pending no longer
expires: post or void it.")]
pub(crate) struct TigerBeetleArgs {
    /// Address of the replica that leads: HOST:PORT
    address: String,
    /// Number of its cluster
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    cluster: u128,
}

/// What was imported.
#[derive(Debug, Serialize)]
struct Imported {
    accounts: usize,
    movements: u64,
    /// Rows that were there from an earlier try.
    movements_before: u64,
    /// Reserves that are still pending: they no longer expire.
    pending: u64,
}

/// Imports it.
pub(crate) async fn run(session: &Session, args: &TigerBeetleArgs) -> Result<(), Failure> {
    let mut source = Source::open(args).await?;
    let accounts = source.accounts().await?;
    let before = session.client.books().await?.history.movements;
    let mut views = BTreeMap::new();
    for account in &accounts {
        views.insert(account.timestamp, source.as_created(account).await?);
    }
    create_accounts(session, &missing_accounts(session, &views).await?).await?;
    let movements = import_movements(session, &mut source, before).await?;
    if before > movements {
        return Err(not_empty(&format!("it holds {before} movements, the source {movements}")));
    }
    let sums = source.accounts().await?;
    compare_sums(session, sums.iter().map(|account| (account.id, account.balances()))).await?;
    let pending = session.client.books().await?.pending;
    let imported = Imported { accounts: accounts.len(), movements, movements_before: before, pending };
    report(session, &imported)
}

/// Imports what the ledger does not have after its first `before` movements; how many the source has.
async fn import_movements(session: &Session, source: &mut Source, before: u64) -> Result<u64, Failure> {
    let bar = output::progress(0, "movements");
    let mut events = Events::default();
    let mut movements = 0;
    while let Some(batch) = events.batch(source).await? {
        let there = usize::try_from(before.saturating_sub(movements)).unwrap_or(usize::MAX).min(batch.len());
        movements += batch.len() as u64;
        if there > 0 && movements >= before {
            check_newest(session, before, batch.get(there - 1)).await?;
        }
        if let Some(new) = batch.get(there..).filter(|new| !new.is_empty()) {
            create_transfers(session, new).await?;
        }
        bar.set_position(movements);
    }
    bar.finish_and_clear();
    Ok(movements)
}

fn report(session: &Session, imported: &Imported) -> Result<(), Failure> {
    if session.output == Format::Json {
        return output::json(imported);
    }
    let Imported { accounts, movements, movements_before, pending } = imported;
    let new = movements - movements_before;
    output::line(&format!(
        "{accounts} accounts, {new} movements imported, {movements_before} there before; all balances agree"
    ))?;
    if *pending > 0 {
        output::note(&format!(
            "{pending} reserves are still pending and no longer expire: post or void them"
        ));
    }
    Ok(())
}

/// Questions to the source.
struct Source {
    frames: Frames,
    address: String,
}

impl Source {
    async fn open(args: &TigerBeetleArgs) -> Result<Self, Failure> {
        let address = args.address.clone();
        match Frames::open(&address, args.cluster, 0).await {
            Ok(frames) => Ok(Self { frames, address }),
            Err(error) => Err(unavailable(&address, &error)),
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

    /// All accounts, in the order in which they were created.
    async fn accounts(&mut self) -> Result<Vec<Account>, Failure> {
        let limit = u32::try_from(EVENTS_MAX).unwrap_or(u32::MAX);
        let mut filter = QueryFilter { limit, ..QueryFilter::default() };
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
#[derive(Default)]
struct Events {
    /// Of the last event that was read.
    seen: Nanos,
    has_ended: bool,
}

impl Events {
    /// What makes the next movements in another ledger, at most as many as a request carries; `None` behind the last.
    async fn batch(&mut self, source: &mut Source) -> Result<Option<Vec<NewTransfer>>, Failure> {
        let mut batch = Vec::new();
        while !self.has_ended && batch.len() + MOVEMENTS_MAX <= EVENTS_MAX {
            let filter = MovementFilter {
                timestamp_min: Nanos(self.seen.0 + 1),
                limit: u32::try_from(MOVEMENTS_MAX).unwrap_or(u32::MAX),
                ..MovementFilter::default()
            };
            let events = source.changes(&filter).await?;
            self.has_ended = events.len() < MOVEMENTS_MAX;
            self.seen = events.last().map_or(self.seen, |last| last.timestamp);
            batch.extend(events.iter().map(transfer_of));
        }
        Ok(Some(batch).filter(|batch| !batch.is_empty()))
    }
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
