//! `bezant export`: the history of one account, or of all, as a file that verifies without a server.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use bezant_client::{AccountFilter, AccountFilterFlags, AccountView, Movement, MovementNumber, QueryFilter};
use clap::Args;

use super::lines::{End, FileFormat, LineWriter};
use crate::exit::Failure;
use crate::output;
use crate::session::Session;

/// What to export.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant export > ledger.jsonl
  bezant export alice --to alice.jsonl
  bezant export --format csv --to ledger.csv
  bezant verify --file ledger.jsonl

Amounts are in minor units. Every line carries a checksum over itself and the line before, and
the last line counts the movements. JSON Lines also hold the accounts: of everything, they are
what `bezant import history` rebuilds a ledger from. CSV is for archives and spreadsheets.")]
pub(crate) struct ExportArgs {
    /// Id or name; everything when not given
    account: Option<String>,
    /// How to write it
    #[arg(long, value_enum, default_value = "jsonl")]
    format: FileFormat,
    /// File to write; stdout when not given
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// Writes it.
pub(crate) async fn run(session: &Session, args: &ExportArgs) -> Result<(), Failure> {
    let before = session.client.books().await?.history.movements;
    let whose = match &args.account {
        Some(text) => Some(session.account(text).await?),
        None => None,
    };
    let sink: Box<dyn Write> = match &args.to {
        Some(path) => Box::new(
            File::create(path)
                .map_err(|error| Failure::Usage(format!("{} cannot be written: {error}", path.display())))?,
        ),
        None => Box::new(std::io::stdout()),
    };
    let account = whose.as_ref().map(|view| view.account.id.to_string());
    let mut writer = LineWriter::new(BufWriter::new(sink), args.format, account)?;
    // An account's rows skip those of others: their number says nothing about the length of the export.
    let bar = output::progress(if whose.is_some() { 0 } else { before }, "movements");
    let (accounts, movements, last) = match &whose {
        Some(view) => one(session, view, &mut writer, &bar).await?,
        None => all(session, &mut writer, &bar).await?,
    };
    let is_exact = match &whose {
        Some(_) => session.client.books().await?.history.movements == before,
        None => last == before,
    };
    writer.end(End { accounts, movements, is_exact })?;
    bar.finish_and_clear();
    output::note(&format!("{movements} movements exported"));
    Ok(())
}

type Sink = BufWriter<Box<dyn Write>>;

/// One account and its rows; how many accounts and rows, and the position behind the last row.
async fn one(
    session: &Session,
    view: &AccountView,
    writer: &mut LineWriter<Sink>,
    bar: &indicatif::ProgressBar,
) -> Result<(u64, u64, u64), Failure> {
    writer.account(view)?;
    let mut pages = session.client.account_movements_paged(all_rows_of(view));
    let (mut movements, mut last) = (0, 0);
    while let Some(page) = pages.next_page().await? {
        write_page(writer, &page, &mut movements, &mut last)?;
        bar.set_position(movements);
    }
    Ok((1, movements, last))
}

/// All accounts and rows.
async fn all(
    session: &Session,
    writer: &mut LineWriter<Sink>,
    bar: &indicatif::ProgressBar,
) -> Result<(u64, u64, u64), Failure> {
    let mut accounts = 0;
    let mut pages = session.client.query_accounts_paged(QueryFilter::default());
    while let Some(view) = pages.next().await? {
        writer.account(&view)?;
        accounts += 1;
    }
    let mut pages = session.client.movements_paged(MovementNumber(0));
    let (mut movements, mut last) = (0, 0);
    while let Some(page) = pages.next_page().await? {
        write_page(writer, &page, &mut movements, &mut last)?;
        bar.set_position(movements);
    }
    Ok((accounts, movements, last))
}

fn write_page(
    writer: &mut LineWriter<Sink>,
    page: &[(MovementNumber, Movement)],
    movements: &mut u64,
    last: &mut u64,
) -> Result<(), Failure> {
    for (number, movement) in page {
        writer.movement(*number, movement)?;
        *movements += 1;
        *last = number.0 + 1;
    }
    Ok(())
}

/// Both sides of an account, from the beginning.
pub(crate) fn all_rows_of(view: &AccountView) -> AccountFilter {
    AccountFilter {
        account_id: view.account.id,
        flags: AccountFilterFlags { debits: true, credits: true, reversed: false },
        ..AccountFilter::default()
    }
}
