//! `bezant export`: the history of one account, or of all, as a file that verifies without a server.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use bezant_archive::{End, ExportWriter, FileFormat};
use bezant_client::{AccountFilter, AccountFilterFlags, AccountView, Movement, MovementNumber, QueryFilter};
use bezant_daemon::StopSignals;
use clap::Args;

use super::target::Target;
use crate::exit::Failure;
use crate::output;
use crate::session::Session;

/// The arguments of `bezant export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant export > ledger.jsonl
  bezant export alice --to alice.jsonl
  bezant export --to ledger.csv
  bezant verify --file ledger.jsonl

Amounts are in minor units. Every line carries a checksum over itself and the line before, and \
the last line counts the movements. JSON Lines also hold the accounts. `bezant import history` \
rebuilds a ledger from an export of everything in JSON Lines. CSV is for archives and spreadsheets.

FILE is replaced when the export is whole and on disk; an interrupted export leaves FILE as it was.")]
pub(crate) struct ExportArgs {
    /// Id or name; everything when not given
    account: Option<String>,
    /// Format [default: by the ending of FILE, otherwise jsonl]
    #[arg(long, value_enum)]
    format: Option<FormatArg>,
    /// File to write; stdout when not given
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// The format of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FormatArg {
    /// JSON Lines, with the accounts
    Jsonl,
    /// Comma-separated values, movements only
    Csv,
}

impl From<FormatArg> for FileFormat {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Jsonl => Self::Jsonl,
            FormatArg::Csv => Self::Csv,
        }
    }
}

/// Writes the export.
pub(crate) async fn run(session: &Session, args: &ExportArgs) -> Result<(), Failure> {
    let format = format_of(args.format.map(FileFormat::from), args.to.as_deref())?;
    let Some(path) = &args.to else { return export(session, args, format).await };
    let mut stop = StopSignals::new()?;
    // An export that is dropped before its end removes its partial file.
    tokio::select! {
        result = export(session, args, format) => result,
        () = stop.next() => {
            Err(Failure::Stopped.and(&format!("Nothing was written to {}", path.display())))
        }
    }
}

async fn export(session: &Session, args: &ExportArgs, format: FileFormat) -> Result<(), Failure> {
    let before = session.client.books().await?.history.movements;
    let view = match &args.account {
        Some(text) => Some(session.account(text).await?),
        None => None,
    };
    let account = view.as_ref().map(|view| view.account.id);
    let sink = BufWriter::new(Sink::open(args.to.as_deref())?);
    let mut writer = ExportWriter::new(sink, format, account)?;
    // The rows of one account skip those of others, so the ledger's count is not the length of the export.
    let bar = output::progress(if view.is_some() { 0 } else { before }, "movements");
    let (accounts, movements, last) = match &view {
        Some(view) => one(session, view, &mut writer, &bar).await?,
        None => all(session, &mut writer, &bar).await?,
    };
    let is_exact = match &view {
        Some(_) => session.client.books().await?.history.movements == before,
        None => last == before,
    };
    let sink = writer.end(End { accounts, movements, is_exact })?;
    let sink = sink.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    sink.keep()?;
    bar.finish_and_clear();
    output::remark(session.output, &format!("{movements} movements exported"))
}

/// The format named by `--format`, or else by the ending of the file.
fn format_of(asked: Option<FileFormat>, to: Option<&Path>) -> Result<FileFormat, Failure> {
    let ending = to.and_then(Path::extension).map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    let named = match ending.as_deref() {
        Some("csv") => Some(FileFormat::Csv),
        Some("jsonl" | "ndjson" | "json") => Some(FileFormat::Jsonl),
        _ => None,
    };
    if let Some("gz" | "zst" | "xz" | "bz2" | "zip") = ending.as_deref() {
        return Err(Failure::Usage(
            "an export is not packed: leave --to out and write `bezant export | gzip > ledger.jsonl.gz`"
                .to_owned(),
        ));
    }
    match (asked, named) {
        (Some(asked), Some(named)) if asked != named => Err(Failure::Usage(
            "--format names another format than the ending of the file in --to: leave one of them out"
                .to_owned(),
        )),
        (asked, named) => Ok(asked.or(named).unwrap_or(FileFormat::Jsonl)),
    }
}

/// The destination of an export: stdout or a file.
enum Sink {
    Stdout(std::io::Stdout),
    File(Target),
}

impl Sink {
    fn open(path: Option<&Path>) -> Result<Self, Failure> {
        path.map_or_else(|| Ok(Self::Stdout(std::io::stdout())), |path| Target::create(path).map(Self::File))
    }

    /// Finishes the output: a file is renamed to its final path.
    fn keep(self) -> Result<(), Failure> {
        match self {
            Self::Stdout(mut stdout) => Ok(stdout.flush()?),
            Self::File(target) => target.keep(),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::File(target) => target.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.flush(),
            Self::File(target) => target.flush(),
        }
    }
}

/// Writes one account and its rows; returns the counts of both, and the position after the last row.
async fn one(
    session: &Session,
    view: &AccountView,
    writer: &mut ExportWriter<BufWriter<Sink>>,
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

/// Writes all accounts and rows; returns the same as `one`.
async fn all(
    session: &Session,
    writer: &mut ExportWriter<BufWriter<Sink>>,
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
    writer: &mut ExportWriter<BufWriter<Sink>>,
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

/// The filter for both sides of an account, from the beginning.
pub(crate) fn all_rows_of(view: &AccountView) -> AccountFilter {
    AccountFilter {
        account_id: view.account.id,
        flags: AccountFilterFlags { debits: true, credits: true, reversed: false },
        ..AccountFilter::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_of_the_file_is_its_format() {
        let format = |asked, to: &str| format_of(asked, Some(Path::new(to))).ok();
        assert_eq!(format(None, "e.csv"), Some(FileFormat::Csv));
        assert_eq!(format(None, "E.CSV"), Some(FileFormat::Csv));
        assert_eq!(format(None, "e.jsonl"), Some(FileFormat::Jsonl));
        assert_eq!(format(None, "e.jsonl.gz"), None, "the content would not match the ending");
        assert_eq!(format(None, "e.csv.old"), Some(FileFormat::Jsonl));
        assert_eq!(format(Some(FileFormat::Csv), "e.txt"), Some(FileFormat::Csv));
        assert_eq!(format(Some(FileFormat::Csv), "e.csv"), Some(FileFormat::Csv));
        assert_eq!(format(Some(FileFormat::Jsonl), "e.csv"), None, "a contradiction");
        assert_eq!(format(Some(FileFormat::Csv), "e.jsonl"), None);
        assert_eq!(format_of(None, None).ok(), Some(FileFormat::Jsonl));
    }
}
