//! `bezant import history`: a ledger rebuilt from an export of everything, with its ids and timestamps.
//!
//! The file is verified first, seals and chains; a file that does not verify is never sent. Then accounts and
//! rows are sent in their order, flagged `imported`. A row of the export becomes one row of the ledger. So
//! the length of the ledger's history is the place where an interrupted import goes on, and the last row
//! there must be the export's. A reserve that expired is voided at the moment of its expiry, by a void whose
//! id is derived from the reserve's id; so rows and sums stay the same. At the end the sums of every account
//! are compared.
//!
//! Reserves keep their timeouts. Expiry is paused (`pause`) until all rows are imported: the row of an expiry
//! here would be newer than the rows still to come. Then an open reserve expires when it would have at the
//! source.
//!
//! Bounds are set last: an export holds the newest bounds, and older rows need not satisfy them. Heads differ
//! from the source's, since the flag is part of what is hashed.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bezant_api::idempotency::{IdKind, event_id};
use bezant_archive::{ExportFile, Record, Verified};
use bezant_client::{
    Account, AccountFlags, AccountId, AccountView, ClientError, CreateAccountStatus, CreateTransferStatus,
    Movement, MovementKind, MovementNumber, Nanos, NewAccount, NewTransfer, QueryFilter, Transfer,
    TransferFlags, TransferId,
};
use bezant_types::Balances;
use bezant_types::limits::EVENTS_MAX;
use clap::Args;
use serde::Serialize;

use super::names::{self, Renamed};
use super::pause::{Pause, STATE, Timeless, open_without_timeout};
use crate::exit::Failure;
use crate::json::Text;
use crate::money::Unit;
use crate::output;
use crate::output::Format;
use crate::session::Session;

/// The arguments of `bezant import history`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant export --to ledger.jsonl
  bezant import history ledger.jsonl --server http://127.0.0.1:7080

Reads an export of everything, in JSON Lines, into an empty ledger. The file is verified \
first. Accounts and transfers keep their ids and timestamps and get the flag imported. \
Start an interrupted import again: it goes on where it ended. At the end all balances are compared.

An account whose name no new account can have (version 0.1 accepted names with invisible \
characters) is rebuilt with the normal form of the name, or without a name where there is \
none. stderr and the JSON answer (renamed) list each; the exit code is 0.

What differs from the source: the heads of the hash chains; assets that you registered, \
which no export holds (register them again); the flag linked, which is dropped. An expiry \
becomes a void of the same moment. A reserve that is still pending keeps its timeout, and \
expires when it would have at the source; at once where that moment has passed.

An import ends with its file, and reserves expire from then on. Once a reserve has expired here, a \
later export of the same source can no longer be imported.

Expiry is paused until the import ends. An import that fails resumes it. An interrupted import \
keeps the pause: start it again, or see `bezant import resume-expiry`. An import that is started \
again after its end reports how many movements came after it.")]
pub(crate) struct HistoryArgs {
    /// Export of everything, in JSON Lines
    file: PathBuf,
}

/// The result of an import, also its JSON answer.
#[derive(Debug, Serialize)]
struct Rebuilt {
    accounts: usize,
    movements: u64,
    /// Rows that an earlier run had imported.
    movements_before: u64,
    /// Rows that the ledger added after a complete import. If there are any, balances were not compared.
    movements_after: u64,
    /// Reserves that are still pending: those with a timeout expire in time.
    pending: u64,
    /// Accounts whose names no new account can have.
    renamed: Vec<Renamed>,
    /// Reserves that are still pending and expire only at the source.
    without_timeout: Timeless,
    /// Accounts that have bounds only at the source.
    without_bounds: Boundless,
}

/// Accounts with bounds in the export and none here. Bounds are set last, so an import that was interrupted
/// before that, in a ledger that went on since, leaves accounts without them. Only the operator can tell
/// whether this is intended.
#[derive(Debug, Default, Serialize)]
struct Boundless {
    count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_id: Option<Text<AccountId>>,
}

impl Boundless {
    async fn find(session: &Session, accounts: &BTreeMap<Nanos, AccountView>) -> Result<Self, Failure> {
        let has_bounds = |view: &&AccountView| !view.bounds.is_none();
        let bounded: BTreeSet<AccountId> =
            accounts.values().filter(has_bounds).map(|view| view.account.id).collect();
        let mut found = Self::default();
        let mut pages = session.client.query_accounts_paged(QueryFilter::default());
        while let Some(view) = pages.next().await? {
            if view.bounds.is_none() && bounded.contains(&view.account.id) {
                found.count += 1;
                found.first_id.get_or_insert(Text(view.account.id));
            }
        }
        Ok(found)
    }

    fn report(&self) {
        if let Self { count, first_id: Some(Text(first)) } = self {
            output::note(&format!(
                "warning: {count} of the accounts have bounds in the export and none here: an earlier import ended before it set \
                 them. Set them with `bezant account bounds`; the first is account {first}"
            ));
        }
    }
}

/// Rebuilds the ledger.
pub(crate) async fn run(session: &Session, args: &HistoryArgs) -> Result<(), Failure> {
    let mut pause = Pause::default();
    let rebuilt = rebuild(session, args, &mut pause).await;
    report(session, &pause.settle(session, rebuilt).await?)
}

async fn rebuild(session: &Session, args: &HistoryArgs, pause: &mut Pause) -> Result<Rebuilt, Failure> {
    let stamp = Stamp::of(&args.file)?;
    if stamp.is_pipe {
        return Err(Failure::Usage(format!(
            "{}: a pipe cannot be read twice: give a file",
            args.file.display()
        )));
    }
    let verified = bezant_archive::verify(&args.file, None)?;
    let mut accounts = accounts_of(&verified)?;
    let renamed = names::settle(&mut accounts);
    let total = verified.walk.movements();
    let books = session.client.books().await?;
    let before = books.history.movements;
    let mut rows = Rows::open(&args.file)?;
    if Stamp::of(&args.file)? != stamp {
        return Err(Failure::Usage(format!(
            "{} was changed while it was verified: nothing was sent",
            args.file.display()
        )));
    }
    let rebuilt = Rebuilt {
        accounts: accounts.len(),
        movements: total,
        movements_before: before.min(total),
        movements_after: before.saturating_sub(total),
        pending: books.pending,
        renamed,
        without_timeout: Timeless::default(),
        without_bounds: Boundless::default(),
    };
    if before > total {
        if total == 0 {
            return Err(not_empty(&format!("it holds {before} movements, the export none")));
        }
        rows.skip_those_there(session, total).await?;
        let without_timeout = rows.without_timeout(session).await?;
        let without_bounds = Boundless::find(session, &accounts).await?;
        return Ok(Rebuilt { without_timeout, without_bounds, ..rebuilt });
    }
    let missing = missing_accounts(session, &accounts).await?;
    rows.skip_those_there(session, before).await?;
    if !missing.is_empty() || before < total {
        pause.begin(session, before).await?;
    }
    create_accounts(session, &missing).await?;
    let bar = output::progress(total, "movements");
    bar.set_position(before);
    while let Some(batch) = rows.batch()? {
        create_transfers(session, &batch).await?;
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    for view in accounts.values().filter(|view| !view.bounds.is_none()) {
        let outcome = session.client.set_bounds(view.account.id, view.bounds).await?;
        if outcome.status != bezant_client::AccountChangeStatus::Created {
            return Err(Failure::refused(outcome.status.name(), outcome.status.meaning()));
        }
    }
    compare(session, &verified).await?;
    let pending = session.client.books().await?.pending;
    let without_timeout = rows.without_timeout(session).await?;
    if pause.is_on() || books.expiry_is_paused {
        pause.end(session).await?;
    }
    Ok(Rebuilt { pending, without_timeout, ..rebuilt })
}

fn report(session: &Session, rebuilt: &Rebuilt) -> Result<(), Failure> {
    names::report(session.output, &rebuilt.renamed)?;
    if session.output == Format::Json {
        return output::json(rebuilt);
    }
    let Rebuilt { accounts, movements, movements_before: before, movements_after: after, .. } = rebuilt;
    if *after > 0 {
        output::line(&is_complete(*after))?;
    } else {
        let new = movements - before;
        output::line(&format!(
            "{accounts} accounts, {new} movements imported, {before} there before; all balances agree"
        ))?;
        if rebuilt.pending > 0 {
            output::note(&reserves_go_on(rebuilt.pending));
        }
    }
    rebuilt.without_timeout.report();
    rebuilt.without_bounds.report();
    Ok(())
}

/// The message of an import that is complete, in a ledger that went on after it.
pub(super) fn is_complete(after: u64) -> String {
    format!("this import is complete; {after} movements came after it")
}

/// The message about reserves that are open after the last row.
pub(super) fn reserves_go_on(count: u64) -> String {
    format!(
        "{count} reserves are still pending; those with a timeout expire when they would have at the source"
    )
}

pub(super) fn not_empty(what: &str) -> Failure {
    Failure::Usage(format!(
        "the ledger is neither empty nor an unfinished import of this source: {what}; start one with an empty \
         folder"
    ))
}

/// The accounts of an export of everything, by their timestamps.
fn accounts_of(verified: &Verified) -> Result<BTreeMap<Nanos, AccountView>, Failure> {
    if let Some(id) = verified.account {
        return Err(Failure::Usage(format!("this is the export of account {id} alone: export everything")));
    }
    if !verified.has_accounts {
        return Err(Failure::Usage(
            "an export in CSV holds no accounts: export with --format jsonl".to_owned(),
        ));
    }
    if let Some(id) = verified.walk.unknown_accounts().first() {
        return Err(Failure::Usage(format!(
            "account {id} was created while the export was made and is not in it: export again"
        )));
    }
    let views = verified.walk.accounts().filter_map(|(_, expected, _)| expected);
    Ok(views.map(|view| (view.account.timestamp, view.clone())).collect())
}

/// The accounts that the ledger does not have yet. Every account in the ledger must be one of the export.
pub(super) async fn missing_accounts(
    session: &Session,
    accounts: &BTreeMap<Nanos, AccountView>,
) -> Result<Vec<NewAccount>, Failure> {
    let mut missing = accounts.clone();
    let mut pages = session.client.query_accounts_paged(QueryFilter::default());
    while let Some(view) = pages.next().await? {
        let id = view.account.id;
        if missing.remove(&view.account.timestamp).is_none_or(|expected| expected.account.id != id) {
            return Err(not_empty(&format!("account {id} is not the source's")));
        }
    }
    Ok(missing.into_values().map(|view| imported_account(&view)).collect())
}

/// The account as it was created: without sums and bounds. It is open, unless it was created closed.
pub(super) fn imported_account(view: &AccountView) -> NewAccount {
    let flags = view.account.flags.without(AccountFlags::LINKED).union(AccountFlags::IMPORTED);
    let is_unused = view.spends.sequence == 0 && view.receipts.sequence == 0;
    let flags = if is_unused { flags } else { flags.without(AccountFlags::CLOSED) };
    let account = Account {
        flags,
        debits_pending: 0,
        debits_posted: 0,
        credits_pending: 0,
        credits_posted: 0,
        ..view.account
    };
    NewAccount::from(account).name(view.name.as_str())
}

/// The transfer that creates this row of the history in another ledger.
pub(super) fn imported_transfer(movement: &Movement) -> NewTransfer {
    let transfer = &movement.transfer;
    if movement.kind == MovementKind::Expired {
        let key = format!("bezant export: expiry of {}", transfer.id);
        let id = TransferId(event_id(IdKind::Transfer, &key, 0, 1));
        let void = NewTransfer::void(id, transfer.id);
        let flags = void.transfer.flags.union(TransferFlags::IMPORTED);
        return NewTransfer::from(Transfer { flags, timestamp: movement.timestamp, ..void.transfer });
    }
    let flags = transfer.flags.without(TransferFlags::LINKED).union(TransferFlags::IMPORTED);
    NewTransfer::from(Transfer { flags, ..*transfer })
}

/// Waits for the outcomes of rows, and records for a failure or a signal how far the import has come.
pub(super) async fn send<T>(
    session: &Session,
    create: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, Failure> {
    session.changes.send_rows(STATE.to_owned());
    let outcomes = create.await;
    if outcomes.as_ref().err().is_none_or(|error| error.unknown_ids().is_empty()) {
        session.changes.rows_are_known(outcomes.is_ok(), STATE.to_owned());
    }
    Ok(outcomes?)
}

pub(super) async fn create_accounts(session: &Session, accounts: &[NewAccount]) -> Result<(), Failure> {
    for batch in accounts.chunks(EVENTS_MAX) {
        let outcomes = send(session, session.client.create_accounts(batch)).await?;
        if let Some((new, outcome)) = batch.iter().zip(outcomes).find(|(_, outcome)| !outcome.is_done()) {
            let status: CreateAccountStatus = outcome.status;
            return Err(refused(&format!("account {}", new.account.id), status.name(), status.meaning()));
        }
    }
    Ok(())
}

pub(super) async fn create_transfers(session: &Session, batch: &[NewTransfer]) -> Result<(), Failure> {
    let outcomes = send(session, session.client.create_transfers(batch)).await?;
    if let Some((new, outcome)) = batch.iter().zip(outcomes).find(|(_, outcome)| !outcome.is_done()) {
        let status: CreateTransferStatus = outcome.status;
        return Err(refused(&format!("transfer {}", new.transfer.id), status.name(), status.meaning()));
    }
    Ok(())
}

/// An error unless the last of the ledger's `count` movements is the transfer `expected`.
pub(super) async fn check_newest(
    session: &Session,
    count: u64,
    expected: Option<&NewTransfer>,
) -> Result<(), Failure> {
    let Some(newest) = count.checked_sub(1) else { return Ok(()) };
    let found = session.client.movements(MovementNumber(newest), 1).await?;
    let found = found.first().map(|(_, movement)| (movement.transfer.id, movement.timestamp));
    if found == expected.map(|new| (new.transfer.id, new.transfer.timestamp)) {
        return Ok(());
    }
    Err(not_empty(&format!("its movement {newest} is not the source's")))
}

fn refused(what: &str, name: &str, meaning: &str) -> Failure {
    Failure::Refused(format!("{what}: {name}: {meaning} Begin again with an empty folder."))
}

/// Metadata that changes when a file is written to or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    is_pipe: bool,
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Result<Self, Failure> {
        let metadata = std::fs::metadata(path)
            .map_err(|error| Failure::NotFound(format!("{} cannot be read: {error}", path.display())))?;
        Ok(Self {
            is_pipe: !metadata.is_file() && !metadata.is_dir(),
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// The rows of a verified file, from the first on. If the file is written to meanwhile, a seal no longer
/// matches.
struct Rows {
    file: ExportFile,
    /// The open reserves with a timeout, among the rows that were read so far.
    timed: BTreeSet<TransferId>,
}

impl Rows {
    fn open(path: &Path) -> Result<Self, Failure> {
        Ok(Self { file: bezant_archive::open(path)?, timed: BTreeSet::new() })
    }

    fn next(&mut self) -> Result<Option<NewTransfer>, Failure> {
        while let Some(record) = self.file.record()? {
            let Record::Movement(_, movement) = record else { continue };
            let Transfer { id, pending_id, timeout_seconds, .. } = movement.transfer;
            match movement.kind {
                MovementKind::Pending if timeout_seconds > 0 => self.timed.insert(id),
                MovementKind::Posted | MovementKind::Voided => self.timed.remove(&pending_id),
                MovementKind::Expired => self.timed.remove(&id),
                MovementKind::Pending | MovementKind::SinglePhase => false,
            };
            return Ok(Some(imported_transfer(&movement)));
        }
        Ok(None)
    }

    /// Skips the first `count` rows. The ledger must have the last of them at the same position.
    async fn skip_those_there(&mut self, session: &Session, count: u64) -> Result<(), Failure> {
        let mut last = None;
        for _ in 0..count {
            last = self.next()?;
        }
        check_newest(session, count, last.as_ref()).await
    }

    /// The reserves that expire at the source and not here. Called after the last row.
    async fn without_timeout(&self, session: &Session) -> Result<Timeless, Failure> {
        if self.timed.is_empty() {
            return Ok(Timeless::default());
        }
        let mut ids = open_without_timeout(session).await?;
        ids.retain(|id| self.timed.contains(id));
        Ok(Timeless::new(&ids))
    }

    /// The next rows, at most as many as one request carries; `None` after the last.
    fn batch(&mut self) -> Result<Option<Vec<NewTransfer>>, Failure> {
        let mut batch = Vec::new();
        while batch.len() < EVENTS_MAX {
            let Some(new) = self.next()? else { break };
            batch.push(new);
        }
        Ok(Some(batch).filter(|batch| !batch.is_empty()))
    }
}

/// An error unless the ledger's accounts have the sums to which the rows of the export add up.
async fn compare(session: &Session, verified: &Verified) -> Result<(), Failure> {
    compare_sums(session, verified.walk.accounts().map(|(id, _, expected)| (id, *expected))).await
}

/// An error unless the ledger has exactly these accounts, with these sums.
pub(super) async fn compare_sums(
    session: &Session,
    accounts: impl Iterator<Item = (AccountId, Balances)>,
) -> Result<(), Failure> {
    let mut rebuilt: BTreeMap<AccountId, AccountView> = BTreeMap::new();
    let mut pages = session.client.query_accounts_paged(QueryFilter::default());
    while let Some(view) = pages.next().await? {
        rebuilt.insert(view.account.id, view);
    }
    for (id, expected) in accounts {
        let Some(view) = rebuilt.remove(&id) else {
            return Err(Failure::Verification(format!("account {id} of the source is not here")));
        };
        let found = view.account.balances();
        if found != expected {
            let unit = session.unit(view.account.ledger).await?;
            return Err(Failure::Verification(format!(
                "account {id} ({}) has {}; the source has {}",
                unit.label(),
                sums(unit, &found),
                sums(unit, &expected)
            )));
        }
    }
    rebuilt.keys().next().map_or(Ok(()), |id| {
        Err(Failure::Verification(format!("account {id} was created during the import")))
    })
}

/// The four sums of an account as text, in units of its asset.
fn sums(unit: Unit, balances: &Balances) -> String {
    format!(
        "debits {} and {} pending, credits {} and {} pending",
        unit.format(balances.debits_posted),
        unit.format(balances.debits_pending),
        unit.format(balances.credits_posted),
        unit.format(balances.credits_pending)
    )
}

#[cfg(test)]
mod tests {
    use bezant_client::{Asset, LedgerNumber};

    use super::*;

    #[test]
    fn an_expiry_becomes_a_void_with_a_stable_id() {
        let transfer = Transfer {
            id: TransferId(7),
            amount: 5,
            flags: TransferFlags::PENDING,
            timeout_seconds: 1,
            timestamp: Nanos(10),
            ..Transfer::default()
        };
        let mut bytes = [0; bezant_codec::MOVEMENT_SIZE];
        bytes[328] = 4;
        let movement = bezant_codec::movement_from_bytes(&bytes).unwrap();
        let expiry = Movement { transfer, kind: MovementKind::Expired, timestamp: Nanos(99), ..movement };
        let void = imported_transfer(&expiry).transfer;
        assert_eq!(void, imported_transfer(&expiry).transfer);
        assert_eq!((void.pending_id, void.timestamp, void.timeout_seconds), (TransferId(7), Nanos(99), 0));
        assert!(void.flags.contains(TransferFlags::VOID_PENDING.union(TransferFlags::IMPORTED)));
        let reserve = imported_transfer(&Movement { kind: MovementKind::Pending, ..expiry }).transfer;
        assert_eq!((reserve.id, reserve.timestamp, reserve.timeout_seconds), (TransferId(7), Nanos(10), 1));
    }

    #[test]
    fn sums_are_printed_in_units_of_the_asset() {
        let asset = Asset { ledger: LedgerNumber(978), code: "EUR".parse().unwrap(), scale: 2 };
        let unit = Unit { ledger: asset.ledger, asset: Some(asset) };
        let balances = Balances { debits_posted: 1050, credits_pending: 7, ..Balances::default() };
        assert_eq!(sums(unit, &balances), "debits 10.50 and 0.00 pending, credits 0.00 and 0.07 pending");
    }

    #[test]
    fn a_file_that_was_replaced_has_another_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("all.jsonl"), folder.path().join("other"));
        std::fs::write(&path, "same").unwrap();
        std::fs::write(&other, "same").unwrap();
        let stamp = Stamp::of(&path).unwrap();
        assert_eq!(Stamp::of(&path).unwrap(), stamp);
        std::fs::rename(&other, &path).unwrap();
        assert_ne!(Stamp::of(&path).unwrap(), stamp);
        assert!(Stamp::of(&other).is_err());
    }

    #[test]
    fn an_account_that_a_transfer_closed_is_created_open() {
        let mut view = AccountView::default();
        view.account.flags = AccountFlags::CLOSED;
        assert!(
            imported_account(&view).account.flags.contains(AccountFlags::CLOSED),
            "it was created closed"
        );
        view.spends.sequence = 1;
        view.account.debits_pending = 3;
        let account = imported_account(&view).account;
        assert_eq!((account.flags, account.debits_pending), (AccountFlags::IMPORTED, 0));
    }
}
