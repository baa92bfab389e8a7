//! `bezant import`: accounts and transfers from JSON Lines or CSV, in batches.
//!
//! A file is read twice. The first reading parses every row and sends nothing, so a row that cannot be parsed
//! is reported before the ledger changes. The second reading sends the rows. A checksum after every batch
//! (its seal) proves that both readings had the same rows. A pipe can be read only once: each of its batches
//! is parsed whole before it is sent.
//!
//! Every row contains the id of its event. So the user can start an interrupted import again: for a row that
//! exists already the ledger answers `exists`, and the row counts as done. Rows that the ledger refuses are
//! written to a file next to the input.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bezant_client::{AccountId, CreateTransferStatus};
use bezant_codec::checksum_seeded;
use bezant_types::limits::EVENTS_MAX;
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use serde::Serialize;

use super::event::{Answer, Event};
use super::explain::USED_UP_MAX;
use super::fields::Fields;
use super::history::{self, HistoryArgs};
use super::input;
use super::pause::{self, ResumeArgs};
use super::refused::{Refused, RefusedFile};
use super::source::{Input, Rows, at_line};
use super::tigerbeetle::{self, TigerBeetleArgs};
use super::units::{Context, Notation, UnitRule};
use crate::exit::Failure;
use crate::json::Text;
use crate::money::Assets;
use crate::output;
use crate::output::Format;
use crate::session::Session;

/// The maximal number of account names in the cache. With so many names it takes about 100 MiB.
const NAMES_MAX: usize = 1 << 20;

/// The subcommands of `bezant import`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Create accounts from a file
    #[command(after_help = "Examples:
  bezant import accounts accounts.jsonl
  bezant import accounts accounts.csv

Fields: id, name, asset or ledger, code, flags, minimum, maximum, user_data_128, user_data_64, \
user_data_32, timestamp. An id and an asset or ledger are required. A bound that is empty or \
none is no limit; any other is written like an amount of a transfer: -500.00 EUR, or -500.00 with \
the field asset, or -50000 minor units (see `bezant import transfers --help`).

  {\"id\":\"1001\",\"name\":\"alice\",\"asset\":\"EUR\",\"flags\":\"history\"}

  id,name,asset,flags
  1001,alice,EUR,history

The file is read through before the first row is sent; see docs/imports.md. An export is not read \
here: see `bezant import history`.")]
    Accounts(FileArgs),
    /// Create transfers from a file
    #[command(after_help = "Examples:
  bezant import transfers transfers.jsonl
  bezant import transfers transfers.csv
  bezant import transfers payouts.csv --assume major
  payouts | bezant import transfers - --assume minor

Fields: id, from, to (ids or names), amount, asset or ledger, code, flags, pending_id, \
timeout_seconds, user_data_128, user_data_64, user_data_32, timestamp. A transfer that posts needs \
an amount, or all.

Amounts:
  10.50 EUR, 10 EUR             units of the asset
  10.50  and the field asset    units of the asset
  1050   and the field asset    minor units (10.50 EUR); with --assume major units
  1050   and the field ledger   minor units
A file that mixes the third line with one of the first two is refused without --assume; from a \
pipe the third line always needs --assume.

  {\"id\":\"1\",\"from\":\"alice\",\"to\":\"bob\",\"amount\":\"10.50 EUR\"}

  id,from,to,amount
  1,alice,bob,10.50 EUR

The file is read through before the first row is sent; see docs/imports.md. An export is not read \
here: see `bezant import history`.")]
    Transfers(FileArgs),
    /// Rebuild a ledger from an export of everything
    History(HistoryArgs),
    /// Read everything that a TigerBeetle cluster holds
    #[command(name = "tigerbeetle")]
    TigerBeetle(TigerBeetleArgs),
    /// Let pending transfers expire again after an import that was interrupted
    ResumeExpiry(ResumeArgs),
}

/// The arguments of `bezant import accounts` and `bezant import transfers`.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// File to read: JSON Lines, or CSV with a line of headings; - is stdin
    file: PathBuf,
    /// How to read an amount without a point, given with the field asset
    #[arg(long, value_enum, value_name = "UNIT")]
    assume: Option<Notation>,
    /// File for the rows that the ledger refuses. When it is not given: FILE.refused.jsonl, or
    /// import.refused.jsonl if the input is a pipe
    #[arg(
        long,
        value_name = "FILE",
        help = "File for refused rows [default: FILE.refused.jsonl, of a pipe import.refused.jsonl]"
    )]
    refused: Option<PathBuf>,
}

/// The number of rows with each outcome. `--output json` prints this.
#[derive(Debug, Default, Serialize)]
struct Summary {
    created: u64,
    /// Rows whose event existed before, with the same fields.
    existed: u64,
    refused: u64,
}

impl ImportCommand {
    /// Runs the command.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Accounts(args) => import::<bezant_client::NewAccount>(session, &args).await,
            Self::Transfers(args) => import::<bezant_client::NewTransfer>(session, &args).await,
            Self::History(args) => history::run(session, &args).await,
            Self::TigerBeetle(args) => tigerbeetle::run(session, &args).await,
            Self::ResumeExpiry(ResumeArgs {}) => pause::resume(session).await,
        }
    }
}

async fn import<E: Event>(session: &Session, args: &FileArgs) -> Result<(), Failure> {
    let input = Input::open(&args.file)?;
    let refused = RefusedFile::open(args.refused.as_deref(), &input)?;
    let rule = UnitRule::new(args.assume, input.is_pipe());
    let seals = if input.is_pipe() { None } else { Some(read_through::<E>(session, &input, rule).await?) };
    let (summary, bar) = (Summary::default(), output::progress(0, "rows"));
    let mut import = Import { refused, summary, bar, sent: None, unexplained: 0 };
    let sent = import.send::<E>(session, &input, rule, seals.as_deref()).await;
    import.bar.finish_and_clear();
    sent.map_err(|failure| failure.and(&import.state()))?;
    import.finish(session.output)
}

/// The first reading: parses all rows of a file, and returns the seals of its batches. Sends nothing.
async fn read_through<E: Event>(
    session: &Session,
    input: &Input,
    rule: UnitRule,
) -> Result<Vec<u64>, Failure> {
    let bar = output::progress(0, "rows read");
    let mut batches = Batches::<E>::open(session, input, rule).await?;
    let mut seals = Vec::new();
    loop {
        let batch = batches.next().await;
        let Some(batch) = batch.map_err(|failure| failure.and("Nothing was sent"))? else { break };
        seals.push(batch.seal);
        bar.inc(batch.rows.len() as u64);
    }
    bar.finish_and_clear();
    if seals.is_empty() {
        output::remark(session.output, &format!("{} holds headings and no rows", input.name()))?;
    }
    if let Some(line) = batches.rule.first_default() {
        let text = format!(
            "amounts without a point are read as minor units, from line {line} on, such as 10 for 0.10 EUR; \
             --assume minor confirms this, --assume major reads 10 as 10.00"
        );
        output::remark(session.output, &text)?;
    }
    Ok(seals)
}

/// The parsed rows of one request.
struct Batch<E> {
    /// Each event with the number of its line.
    rows: Vec<(u64, E)>,
    /// The checksum of all rows of the input up to the last of this batch.
    seal: u64,
}

/// The rows of an input, in batches of at most one request. All rows of a linked chain are in one batch.
struct Batches<'run, E> {
    session: &'run Session,
    assets: &'run Assets,
    rows: Rows,
    rule: UnitRule,
    names: Names,
    seal: u64,
    kind: std::marker::PhantomData<E>,
}

impl<'run, E: Event> Batches<'run, E> {
    async fn open(session: &'run Session, input: &Input, rule: UnitRule) -> Result<Self, Failure> {
        let assets = session.assets().await?;
        let rows = input.rows(E::FIELDS)?;
        Ok(Self {
            session,
            assets,
            rows,
            rule,
            names: Names::default(),
            seal: 0,
            kind: std::marker::PhantomData,
        })
    }

    /// The next batch; `None` after the last.
    async fn next(&mut self) -> Result<Option<Batch<E>>, Failure> {
        let rows = self.read()?;
        self.names.learn(self.session, rows.iter().flat_map(|(_, fields)| input::names(fields))).await?;
        let context = Context { assets: self.assets, bare: self.rule.bare() };
        let rows = rows.iter().map(|(line, fields)| {
            let event = E::read(fields, context, &self.names.0);
            event.map(|event| (*line, event)).map_err(|what| at_line(*line, &what))
        });
        let rows: Vec<(u64, E)> = rows.collect::<Result<_, Failure>>()?;
        check_chains(&rows)?;
        Ok(Some(Batch { rows, seal: self.seal }).filter(|batch| !batch.rows.is_empty()))
    }

    /// The fields of the next batch's rows, unparsed.
    fn read(&mut self) -> Result<Vec<(u64, Fields)>, Failure> {
        let mut rows: Vec<(u64, Fields)> = Vec::new();
        let mut chain_size = 0;
        while rows.len() < EVENTS_MAX || chain_size > 0 {
            let Some((line, fields)) = self.rows.next()? else { break };
            self.rule.check(line, &fields, self.assets).map_err(|what| at_line(line, &what))?;
            self.seal = seal(self.seal, line, &fields);
            let is_linked = E::is_linked_row(&fields).map_err(|what| at_line(line, &what))?;
            chain_size = if is_linked { chain_size + 1 } else { 0 };
            if chain_size >= EVENTS_MAX {
                return Err(at_line(
                    line,
                    &format!("the chain that it belongs to has more than {EVENTS_MAX} rows"),
                ));
            }
            rows.push((line, fields));
        }
        Ok(rows)
    }
}

/// The checksum of a row and of all rows before it; `seed` is the checksum of those.
fn seal(seed: u64, line: u64, fields: &Fields) -> u64 {
    let seed = checksum_seeded(seed, &line.to_le_bytes());
    fields.iter().fold(seed, |seed, (name, value)| {
        // NUL is a safe separator: names and values of fields never contain it.
        checksum_seeded(seed, format!("{name}\0{value}\0").as_bytes())
    })
}

/// Returns an error unless every linked chain ends in these rows and fits into one request.
fn check_chains<E: Event>(rows: &[(u64, E)]) -> Result<(), Failure> {
    let size_max = E::chain_size_max(rows.iter().map(|(_, event)| event));
    let mut chain_size = 0;
    for (line, event) in rows {
        chain_size += 1;
        if chain_size > size_max {
            return Err(at_line(
                *line,
                &format!("the chain that it belongs to has more than {size_max} rows"),
            ));
        }
        if !event.is_linked() {
            chain_size = 0;
        }
    }
    match rows.last() {
        Some((line, last)) if last.is_linked() => {
            Err(at_line(*line, "it is linked to the next row, and there is none: it may be cut off"))
        }
        _ => Ok(()),
    }
}

/// A cache of account ids by name; the names of a batch are looked up in one call.
#[derive(Debug, Default)]
struct Names(BTreeMap<String, AccountId>);

impl Names {
    async fn learn<'name>(
        &mut self,
        session: &Session,
        names: impl Iterator<Item = &'name str>,
    ) -> Result<(), Failure> {
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        names.dedup();
        if self.0.len() + names.len() > NAMES_MAX {
            self.0.clear();
        }
        names.retain(|name| !self.0.contains_key(*name));
        for view in session.client.lookup_accounts_by_name(&names).await? {
            self.0.insert(view.name, view.account.id);
        }
        Ok(())
    }
}

/// The state of a running import.
struct Import {
    refused: RefusedFile,
    summary: Summary,
    bar: ProgressBar,
    /// The rows that were sent; `None` before the first.
    sent: Option<Sent>,
    /// The number of refused rows without a detail whose id was used up by an earlier refusal.
    unexplained: u64,
}

/// The rows that were sent, by their lines.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// The line of the first row that was sent, which is the first of the input.
    first: u64,
    /// The line of the first row whose outcome is not known; `None` when all outcomes are known.
    unknown_from: Option<u64>,
    /// The line of the last row that was sent.
    last: u64,
}

impl Import {
    /// Sends all rows. `seals` are those of the first reading, and the batches must have the same ones;
    /// `None` for a pipe.
    async fn send<E: Event>(
        &mut self,
        session: &Session,
        input: &Input,
        rule: UnitRule,
        seals: Option<&[u64]>,
    ) -> Result<(), Failure> {
        let mut batches = Batches::<E>::open(session, input, rule).await?;
        let mut seals = seals.map(|seals| seals.iter());
        self.refused.begin(session.output)?;
        loop {
            let batch = batches.next().await?;
            let seal = batch.as_ref().map(|batch| batch.seal);
            if seals.as_mut().is_some_and(|seals| seals.next().copied() != seal) {
                return Err(Failure::Usage(format!("{} was changed while it was read", input.name())));
            }
            let Some(Batch { rows, .. }) = batch else { return Ok(()) };
            self.send_batch(session, rows).await?;
        }
    }

    async fn send_batch<E: Event>(&mut self, session: &Session, rows: Vec<(u64, E)>) -> Result<(), Failure> {
        let (lines, events): (Vec<u64>, Vec<E>) = rows.into_iter().unzip();
        let (Some(first), Some(last)) = (lines.first().copied(), lines.last().copied()) else {
            return Ok(());
        };
        let before = self.sent;
        let sent = Sent { first: before.map_or(first, |sent| sent.first), unknown_from: Some(first), last };
        self.sent = Some(sent);
        session.changes.send_rows(self.state());
        let answers = match E::create(session, &events).await {
            // The error proves that the server did not execute the batch.
            Err(error) if error.unknown_ids().is_empty() => {
                self.sent = before;
                session.changes.rows_are_known(false, self.state());
                return Err(error.into());
            }
            answers => answers?,
        };
        for ((line, event), answer) in lines.into_iter().zip(&events).zip(answers) {
            self.count(line, event.id(), answer)?;
        }
        self.sent = Some(Sent { unknown_from: None, ..sent });
        session.changes.rows_are_known(true, self.state());
        self.refused.flush()
    }

    fn count(&mut self, line: u64, id: u128, answer: Answer) -> Result<(), Failure> {
        self.bar.inc(1);
        match answer {
            Answer::Created => self.summary.created += 1,
            Answer::Existed => self.summary.existed += 1,
            Answer::Refused { status, meaning, detail } => {
                self.summary.refused += 1;
                let is_used_up = status == CreateTransferStatus::IdAlreadyFailed.name();
                self.unexplained += u64::from(is_used_up && detail.is_none());
                self.refused.push(&Refused { line, id: Text(id), status, meaning, detail })?;
            }
        }
        Ok(())
    }

    /// The text for an interrupted import: what was sent, and what the user can do.
    fn state(&self) -> String {
        let Some(Sent { first, unknown_from, last }) = self.sent else {
            return "Nothing was sent".to_owned();
        };
        let Summary { created, existed, refused } = self.summary;
        let known = match unknown_from {
            Some(from) if from == first => String::new(),
            Some(from) => format!(
                "The rows before line {from} are done ({created} created, {existed} there before, {refused} refused). "
            ),
            None => format!(
                "The rows up to line {last} are done ({created} created, {existed} there before, {refused} refused). "
            ),
        };
        let unknown = unknown_from.map_or(String::new(), |from| {
            format!("The rows from line {from} to {last} were sent, and what became of them is not known. ")
        });
        format!(
            "{known}{unknown}Nothing after line {last} was sent. Start the same import again: the ids are the same, so \
             nothing is done twice"
        )
    }

    fn finish(mut self, format: Format) -> Result<(), Failure> {
        self.refused.flush()?;
        let Summary { created, existed, refused } = self.summary;
        if format == Format::Json {
            output::json(&self.summary)?;
        } else {
            output::line(&format!("{created} created, {existed} there before, {refused} refused"))?;
        }
        if refused == 0 {
            return Ok(());
        }
        if self.unexplained > 0 {
            let text = format!(
                "{} of the refused rows have no detail: an earlier refusal has used up their ids, and of such rows the first \
                 {USED_UP_MAX} of a batch are looked up",
                self.unexplained
            );
            output::remark(format, &text)?;
        }
        let rows = created + existed + refused;
        Err(Failure::Refused(format!("{refused} of {rows} rows: see {}", self.refused.path().display())))
    }
}
