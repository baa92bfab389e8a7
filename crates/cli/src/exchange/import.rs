//! `bezant import`: accounts and transfers from JSON Lines or CSV, in batches.
//!
//! Every row brings its id, so an import that broke off is simply started again: what is there already
//! answers `exists` and counts as done. Rows that the ledger refuses are written to a file beside the input;
//! a row that cannot be read ends the import and is named, nothing behind it is sent.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use bezant_client::{AccountFlags, AccountId, NewAccount, NewTransfer, TransferFlags};
use bezant_types::limits::EVENTS_MAX;
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use serde::Serialize;

use super::history::{self, HistoryArgs};
use super::input::{Fields, account, transfer};
use super::tigerbeetle::{self, TigerBeetleArgs};
use crate::exit::Failure;
use crate::json::Text;
use crate::money::Assets;
use crate::output;
use crate::output::Format;
use crate::session::Session;

/// Imports
#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Create accounts from a file
    #[command(after_help = "Examples:
  bezant import accounts accounts.jsonl
  bezant import accounts accounts.csv

Fields: id, name, asset or ledger, code, flags, minimum, maximum, user_data_128, user_data_64,
user_data_32, timestamp. An id and an asset or ledger must be there. A bound is minor units
(-50000), or has a point and takes its asset from the field asset (-500.00) or carries it
(-500.00 EUR). Minor units and points do not mix in one file.

  {\"id\":\"1001\",\"name\":\"alice\",\"asset\":\"EUR\",\"flags\":\"history\"}

  id,name,asset,flags
  1001,alice,EUR,history

An export is not read here: see `bezant import history`.")]
    Accounts(FileArgs),
    /// Create transfers from a file
    #[command(after_help = "Examples:
  bezant import transfers transfers.jsonl
  bezant import transfers transfers.csv

Fields: id, from, to (ids or names), amount, asset or ledger, code, flags, pending_id,
timeout_seconds, user_data_128, user_data_64, user_data_32, timestamp. An amount is minor units
(1050), or has a point and takes its asset from the field asset (10.50) or carries it
(10.50 EUR). Minor units and points do not mix in one file: 10 beside 10.50 is refused.

  {\"id\":\"1\",\"from\":\"alice\",\"to\":\"bob\",\"amount\":\"10.50 EUR\"}

  id,from,to,amount
  1,alice,bob,10.50 EUR

An export is not read here: see `bezant import history`.")]
    Transfers(FileArgs),
    /// Rebuild a ledger from an export of everything
    History(HistoryArgs),
    /// Read everything that a TigerBeetle holds
    #[command(name = "tigerbeetle")]
    TigerBeetle(TigerBeetleArgs),
}

/// What to import.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// File to read: JSON Lines, or CSV with a line of column names
    file: PathBuf,
    /// File for the rows that the ledger refuses; FILE.refused.jsonl when not given
    #[arg(long, value_name = "FILE")]
    refused: Option<PathBuf>,
}

/// A row that the ledger refused.
#[derive(Debug, Serialize)]
struct Refused {
    line: u64,
    id: Text<u128>,
    status: &'static str,
    meaning: &'static str,
}

/// What became of the rows.
#[derive(Debug, Default, Serialize)]
struct Summary {
    created: u64,
    /// There before, just the same.
    existed: u64,
    refused: u64,
}

impl ImportCommand {
    /// Does it.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut import = match &self {
            Self::Accounts(args) | Self::Transfers(args) => Import::open(session, args)?,
            Self::History(args) => return history::run(session, args).await,
            Self::TigerBeetle(args) => return tigerbeetle::run(session, args).await,
        };
        if matches!(self, Self::Accounts(_)) {
            import.accounts().await?;
        } else {
            import.transfers().await?;
        }
        import.finish()
    }
}

/// An import under way.
struct Import<'session> {
    session: &'session Session,
    source: Source,
    refused_path: PathBuf,
    /// Opened with the first refusal.
    refused: Option<BufWriter<File>>,
    summary: Summary,
    bar: ProgressBar,
    /// How the file writes amounts whose asset has a column: true = with a point. `None` = not known yet.
    has_points: Option<bool>,
}

impl<'session> Import<'session> {
    fn open(session: &'session Session, args: &FileArgs) -> Result<Self, Failure> {
        let refused_path = args.refused.clone().unwrap_or_else(|| {
            let mut name = args.file.clone().into_os_string();
            name.push(".refused.jsonl");
            name.into()
        });
        Ok(Self {
            session,
            source: Source::open(&args.file)?,
            refused_path,
            refused: None,
            summary: Summary::default(),
            bar: output::progress(0, "rows"),
            has_points: None,
        })
    }

    /// The next row, which writes its amounts as the rows before it.
    fn row(&mut self, assets: &Assets) -> Result<Option<(u64, Fields)>, Failure> {
        let row = self.source.next()?;
        if let Some((line, fields)) = &row {
            for has_point in fields.notations(assets) {
                if *self.has_points.get_or_insert(has_point) != has_point {
                    let what = "an amount in minor units and one with a point stand in the same file: write all of \
                                them in one way, such as 10.00";
                    return Err(at_line(*line, what));
                }
            }
        }
        Ok(row)
    }

    async fn accounts(&mut self) -> Result<(), Failure> {
        let assets = self.session.assets().await?;
        let mut batch: Vec<(u64, NewAccount)> = Vec::new();
        loop {
            let row = self.row(assets)?;
            let is_end = row.is_none();
            if let Some((line, fields)) = row {
                batch.push((line, account(&fields, assets).map_err(|what| at_line(line, &what))?));
            }
            let is_open =
                batch.last().is_some_and(|(_, new)| new.account.flags.contains(AccountFlags::LINKED));
            if is_end || (batch.len() >= EVENTS_MAX && !is_open) {
                let events: Vec<NewAccount> = batch.iter().map(|(_, new)| new.clone()).collect();
                let outcomes = self.session.client.create_accounts(&events).await?;
                for ((line, new), outcome) in batch.drain(..).zip(outcomes) {
                    let is_new = outcome.status == bezant_client::CreateAccountStatus::Created;
                    let (name, meaning) = (outcome.status.name(), outcome.status.meaning());
                    self.count(outcome.is_done(), is_new, line, new.account.id.0, name, meaning)?;
                }
            }
            if is_end {
                return Ok(());
            }
        }
    }

    async fn transfers(&mut self) -> Result<(), Failure> {
        let assets = self.session.assets().await?;
        let mut names = Names::default();
        let mut batch: Vec<(u64, Fields)> = Vec::new();
        loop {
            let row = self.row(assets)?;
            let is_end = row.is_none();
            let is_open = row.as_ref().is_some_and(|(_, fields)| fields.is_linked());
            batch.extend(row);
            if is_end || (batch.len() >= EVENTS_MAX && !is_open) {
                names.learn(self.session, batch.iter().flat_map(|(_, fields)| fields.names())).await?;
                let events = batch
                    .iter()
                    .map(|(line, fields)| {
                        transfer(fields, assets, &names.0).map_err(|what| at_line(*line, &what))
                    })
                    .collect::<Result<Vec<NewTransfer>, Failure>>()?;
                let outcomes = self.session.client.create_transfers(&events).await?;
                for (((line, _), new), outcome) in batch.drain(..).zip(&events).zip(outcomes) {
                    let is_new = outcome.status == bezant_client::CreateTransferStatus::Created;
                    let (name, meaning) = (outcome.status.name(), outcome.status.meaning());
                    self.count(outcome.is_done(), is_new, line, new.transfer.id.0, name, meaning)?;
                }
            }
            if is_end {
                return Ok(());
            }
        }
    }

    fn count(
        &mut self,
        is_done: bool,
        is_new: bool,
        line: u64,
        id: u128,
        status: &'static str,
        meaning: &'static str,
    ) -> Result<(), Failure> {
        self.bar.inc(1);
        match (is_done, is_new) {
            (true, true) => self.summary.created += 1,
            (true, false) => self.summary.existed += 1,
            (false, _) => {
                self.summary.refused += 1;
                let path = &self.refused_path;
                let file = match self.refused.take() {
                    Some(file) => file,
                    None => BufWriter::new(File::create(path).map_err(|error| {
                        Failure::Usage(format!("{} cannot be written: {error}", path.display()))
                    })?),
                };
                let file = self.refused.insert(file);
                let row = Refused { line, id: Text(id), status, meaning };
                serde_json::to_writer(&mut *file, &row).map_err(anyhow::Error::from)?;
                writeln!(file)?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        if let Some(file) = &mut self.refused {
            file.flush()?;
        }
        let Summary { created, existed, refused } = self.summary;
        if self.session.output == Format::Json {
            output::json(&self.summary)?;
        } else {
            output::line(&format!("{created} created, {existed} there before, {refused} refused"))?;
        }
        if refused == 0 {
            return Ok(());
        }
        let rows = created + existed + refused;
        Err(Failure::Refused(format!("{refused} of {rows} rows: see {}", self.refused_path.display())))
    }
}

/// Accounts by name, learned batch by batch.
#[derive(Debug, Default)]
struct Names(BTreeMap<String, AccountId>);

impl Names {
    async fn learn<'name>(
        &mut self,
        session: &Session,
        names: impl Iterator<Item = &'name str>,
    ) -> Result<(), Failure> {
        let mut unknown: Vec<&str> = names.filter(|name| !self.0.contains_key(*name)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        for view in session.client.lookup_accounts_by_name(&unknown).await? {
            self.0.insert(view.name, view.account.id);
        }
        Ok(())
    }
}

fn at_line(line: u64, what: &str) -> Failure {
    Failure::Usage(format!("line {line}: {what}"))
}

/// Rows of a file and the lines that they begin on.
enum Source {
    Json { lines: std::io::Lines<BufReader<Box<dyn Read>>>, line: u64 },
    Csv { rows: csv::StringRecordsIntoIter<BufReader<Box<dyn Read>>>, columns: csv::StringRecord },
}

impl Source {
    fn open(path: &Path) -> Result<Self, Failure> {
        let cannot = |error| Failure::NotFound(format!("{} cannot be read: {error}", path.display()));
        let file: Box<dyn Read> = if path == Path::new("-") {
            Box::new(std::io::stdin())
        } else {
            Box::new(File::open(path).map_err(cannot)?)
        };
        let mut reader = BufReader::new(file);
        if is_export(reader.fill_buf()?) {
            return Err(Failure::Usage(format!(
                "{} is an export: `bezant import history` rebuilds a ledger from one of everything, in JSON Lines",
                path.display()
            )));
        }
        let first = reader.fill_buf()?.iter().find(|byte| !byte.is_ascii_whitespace()).copied();
        if first == Some(b'{') {
            return Ok(Self::Json { lines: reader.lines(), line: 0 });
        }
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(reader);
        let columns = reader.headers().map_err(|error| at_line(1, &error.to_string()))?.clone();
        Ok(Self::Csv { rows: reader.into_records(), columns })
    }

    fn next(&mut self) -> Result<Option<(u64, Fields)>, Failure> {
        match self {
            Self::Json { lines, line } => loop {
                let Some(text) = lines.next().transpose()? else { return Ok(None) };
                *line += 1;
                if !text.trim().is_empty() {
                    let fields = Fields::from_json(&text).map_err(|what| at_line(*line, &what))?;
                    return Ok(Some((*line, fields)));
                }
            },
            Self::Csv { rows, columns } => {
                let Some(row) = rows.next() else { return Ok(None) };
                let row = row.map_err(|error| Failure::Usage(error.to_string()))?;
                let line = row.position().map_or(0, csv::Position::line);
                let fields = columns.iter().zip(row.iter());
                Ok(Some((line, Fields::new(fields.map(|(name, value)| (name.to_owned(), value.to_owned()))))))
            }
        }
    }
}

/// True of the beginning of what `bezant export` writes.
fn is_export(text: &[u8]) -> bool {
    text.starts_with(b"{\"type\":\"export\"") || text.starts_with(b"position,timestamp,kind,")
}

/// True of the flags that a row is chained to the next by.
impl Fields {
    fn is_linked(&self) -> bool {
        self.text("flags")
            .and_then(|text| crate::flags::parse_transfer_flags(text).ok())
            .is_some_and(|flags| flags.contains(TransferFlags::LINKED))
    }
}
