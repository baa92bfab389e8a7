//! Golden scripts: a small language for accounts and transfers, run against ledger and model at once.
//!
//! | command | what it does |
//! |---|---|
//! | `account id=1 ledger=1 code=1 flags=linked/history ...` | creates an account; `name=`, `minimum=`, `maximum=` make it an extended one, `tagged=1` one with tagged fields |
//! | `transfer id=10 debit=1 credit=2 amount=100 flags=pending pending=9 timeout=5 prev=head\|stale ...` | creates a transfer; `tagged=1` makes it one with tagged fields |
//! | `bounds id=1 minimum=-5 maximum=max` · `name id=1 name=alice` · `asset ledger=5000 code=POINTS scale=2` | changes |
//! | `bound id=1 minimum=-5` | changes only the given bounds |
//! | `expiry paused=1 movements=3` | pauses expiry if the ledger has that number of movements; `paused=0` resumes it |
//! | `rules 0` | sets the rules of the entries that follow; by default the newest |
//! | `then` | ends the request; the next event begins another request of the same log entry |
//! | `entry` | ends the log entry |
//! | `expire count=1` | an expiry step of that many events; shows what it released |
//! | `time 5` · `advance seconds=2` | moves cluster time, in nanoseconds or seconds |
//! | `lookup 1 2` · `due` · `books` | shows accounts, what is due, the sums |
//!
//! Consecutive commands of one kind are one request, and all requests of a block are one log entry. So the
//! events of a linked chain are consecutive lines. Ledger and code default to 1, but to 0 for post and void.
//! Numbers may be `max`. Each event gets the next nanosecond.

mod event;

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;

use bezant_ledger::{Operation, ToCommand};
use bezant_rsm::{Command, StateMachine};
use bezant_types::{
    AccountChangeStatus, AccountId, AccountView, AssetStatus, CreateAccountStatus, CreateTransferStatus,
    EventResult, ExpiryStatus, Nanos,
};
use bytes::BytesMut;
use goldenscript::{Argument, Block, Context};

use crate::twin::Twin;
use event::{Arguments, Line};

/// Runs one script.
#[derive(Default)]
struct Runner {
    twin: Twin,
    clock: u64,
    /// Requests of the log entry that is being collected.
    requests: Vec<Request>,
}

/// Consecutive lines of one kind.
struct Request {
    operation: Operation,
    /// The name of each line in the output.
    labels: Vec<String>,
    body: BytesMut,
}

impl Runner {
    fn queue(&mut self, line: &Line) {
        let fits = self.requests.last().is_some_and(|last| last.operation == line.operation);
        if !fits {
            self.requests.push(Request {
                operation: line.operation,
                labels: Vec::new(),
                body: BytesMut::new(),
            });
        }
        if let Some(request) = self.requests.last_mut().filter(|_| !line.label.is_empty()) {
            request.labels.push(line.label.clone());
            request.body.extend_from_slice(&line.bytes);
        }
    }

    /// Applies the queued requests as one log entry.
    fn flush(&mut self) -> String {
        let requests = std::mem::take(&mut self.requests);
        let requests: Vec<Request> = requests.into_iter().filter(|it| !it.labels.is_empty()).collect();
        let commands: Vec<Command> =
            requests.iter().map(|it| it.operation.command(it.body.clone().freeze()).unwrap()).collect();
        if commands.is_empty() {
            return String::new();
        }
        self.clock += commands.iter().map(|command| u64::from(command.events)).sum::<u64>();
        let results = self.twin.submit(Nanos(self.clock), commands);
        let mut output = String::new();
        for (request, results) in requests.iter().zip(results) {
            for (label, result) in request.labels.iter().zip(results) {
                let status = status_name(request.operation, result);
                writeln!(output, "{label}: {status} at {}", result.timestamp).unwrap();
            }
        }
        output
    }

    fn expire(&mut self, count: u32) -> String {
        let before = self.twin.model.history.movements.len();
        let command =
            Command { operation: Operation::Expire as u16, events: count, body: bytes::Bytes::new() };
        self.clock += u64::from(count);
        self.twin.submit(Nanos(self.clock), vec![command]);
        let mut output = String::new();
        for movement in &self.twin.model.history.movements[before..] {
            let (id, amount) = (movement.transfer.id, movement.transfer.amount);
            writeln!(output, "expired {id}: {amount} released at {}", movement.timestamp).unwrap();
        }
        if output.is_empty() { "expired nothing".to_owned() } else { output }
    }

    fn lookup(&self, ids: &[String]) -> Result<String, Box<dyn Error>> {
        let mut output = String::new();
        for id in ids {
            match self.twin.model.accounts.get(&AccountId(id.parse()?)) {
                Some(view) => writeln!(output, "{}", describe(view))?,
                None => writeln!(output, "{id}: none")?,
            }
        }
        Ok(output)
    }

    fn due(&self) -> String {
        match (self.twin.ledger.due(Nanos(self.clock)), self.twin.ledger.due_at()) {
            (Some(command), _) => format!("due: {} now", command.events),
            (None, Some(at)) => format!("due: at {at}"),
            (None, None) => "due: nothing".to_owned(),
        }
    }

    fn books(&self) -> String {
        let books = self.twin.model.books();
        let mut output = String::new();
        let (accounts, pending, history) = (books.accounts, books.pending, books.history);
        let rows = format!("movements={} refusals={}", history.movements, history.refusals);
        writeln!(output, "books: time={} accounts={accounts} pending={pending} {rows}", books.time).unwrap();
        for totals in books.ledgers {
            let (reserved, posted) = (totals.debits_pending, totals.debits_posted);
            writeln!(output, "ledger {}: pending={reserved} posted={posted}", totals.ledger).unwrap();
        }
        output
    }

    /// Parses a line that queues an event; `None` for any other line.
    fn event(&self, command: &goldenscript::Command) -> Result<Option<Line>, Box<dyn Error>> {
        let mut arguments = Arguments::new(command)?;
        let line = match command.name.as_str() {
            "account" => event::account(&mut arguments)?,
            "transfer" => {
                let debit = AccountId(arguments.peek("debit")?);
                let head = self.twin.model.accounts.get(&debit).map(|view| view.spends.head);
                event::transfer(&mut arguments, head)?
            }
            "bounds" => event::bounds(&mut arguments)?,
            "bound" => event::bound(&mut arguments)?,
            "name" => event::name(&mut arguments)?,
            "asset" => event::asset(&mut arguments)?,
            "expiry" => event::expiry(&mut arguments)?,
            _ => return Ok(None),
        };
        arguments.finish()?;
        Ok(Some(line))
    }
}

impl goldenscript::Runner for Runner {
    type Command = goldenscript::Command;

    fn run(&mut self, command: &goldenscript::Command, _: &Context) -> Result<String, Box<dyn Error>> {
        if let Some(line) = self.event(command)? {
            self.queue(&line);
            return Ok(String::new());
        }
        let words: Vec<String> = command.args.iter().filter_map(positional).collect();
        let mut output = String::new();
        if command.name == "then" {
            if let Some(last) = self.requests.last() {
                self.requests.push(Request {
                    operation: last.operation,
                    labels: Vec::new(),
                    body: BytesMut::new(),
                });
            }
            return Ok(output);
        }
        output.push_str(&self.flush());
        let mut arguments = Arguments::new(command)?;
        output.push_str(&match command.name.as_str() {
            "entry" => String::new(),
            "expire" => self.expire(arguments.number("count", 1)?),
            "time" => {
                self.clock = words.first().ok_or("time needs a number")?.parse()?;
                String::new()
            }
            "rules" => {
                self.twin.rules = words.first().ok_or("rules needs a number")?.parse()?;
                String::new()
            }
            "advance" => {
                self.clock += 1_000_000_000 * arguments.number("seconds", 0_u64)?;
                String::new()
            }
            "lookup" => self.lookup(&words)?,
            "due" => self.due(),
            "books" => self.books(),
            name => return Err(format!("no command {name}").into()),
        });
        arguments.finish()?;
        Ok(output)
    }

    fn end_block(&mut self, _: &Block) -> Result<String, Box<dyn Error>> {
        Ok(self.flush())
    }
}

fn positional(argument: &Argument) -> Option<String> {
    match argument {
        Argument::Positional(word) => Some(word.clone()),
        _ => None,
    }
}

fn status_name(operation: Operation, result: EventResult) -> &'static str {
    operation.status(result.status).expect("scripts have neither sessions nor keys").0
}

fn describe(view: &AccountView) -> String {
    let account = &view.account;
    let mut text = format!(
        "{}: debits {}+{} credits {}+{}",
        account.id,
        account.debits_posted,
        account.debits_pending,
        account.credits_posted,
        account.credits_pending
    );
    let flags: Vec<&str> = account.flags.names().collect();
    write!(text, " spends {} receipts {}", view.spends.sequence, view.receipts.sequence).unwrap();
    if !flags.is_empty() {
        write!(text, " flags {}", flags.join("|")).unwrap();
    }
    if !view.name.is_empty() {
        write!(text, " name {:?}", view.name).unwrap();
    }
    if !view.bounds.is_none() {
        write!(text, " bounds {}..={}", view.bounds.minimum, view.bounds.maximum).unwrap();
    }
    text
}

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");

fn scripts() -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(SCRIPTS).unwrap().map(|entry| entry.unwrap().path());
    let mut scripts: Vec<std::path::PathBuf> = entries.collect();
    scripts.sort();
    scripts
}

#[test]
fn the_ledger_produces_the_output_of_every_script() {
    let mut failed = Vec::new();
    for script in scripts() {
        let name = script.file_name().map(|name| name.to_string_lossy().into_owned());
        // A difference from the model panics; the other scripts must still run.
        let run = std::panic::catch_unwind(|| goldenscript::run(&mut Runner::default(), &script));
        match run {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failed.push(format!("{name:?}: {error}")),
            Err(_) => failed.push(format!("{name:?}: see above")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Statuses that cannot occur yet, or that would take too many events for a script.
const NOT_IN_SCRIPTS: [(&str, &str); 5] = [
    ("transfer", "fencing_token_stale"),
    ("transfer", "shard_unavailable"),
    ("transfer", "too_many_pending"),
    ("transfer", "idempotency_key_used"),
    ("asset", "too_many_assets"),
];

/// Every status in the output of a script, with the kind of its line.
fn statuses_in_scripts() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for script in scripts() {
        let text = std::fs::read_to_string(script).unwrap();
        for line in text.lines() {
            let Some((label, status)) = line.split_once(": ") else { continue };
            let Some((status, _)) = status.split_once(" at ") else { continue };
            let kind = label.split(' ').next().unwrap();
            found.insert((kind.to_owned(), status.to_owned()));
        }
    }
    found
}

#[test]
fn every_status_has_a_case() {
    let found = statuses_in_scripts();
    let accounts = CreateAccountStatus::REFUSALS.iter().map(|it| (["account"].as_slice(), it.name()));
    let transfers = CreateTransferStatus::REFUSALS.iter().map(|it| (["transfer"].as_slice(), it.name()));
    let changes =
        AccountChangeStatus::REFUSALS.iter().map(|it| (["bounds", "bound", "name"].as_slice(), it.name()));
    let assets = AssetStatus::REFUSALS.iter().map(|it| (["asset"].as_slice(), it.name()));
    let expiry = ExpiryStatus::REFUSALS.iter().map(|it| (["expiry"].as_slice(), it.name()));
    for (kinds, status) in accounts.chain(transfers).chain(changes).chain(assets).chain(expiry) {
        let is_shown = kinds.iter().any(|kind| found.contains(&((*kind).to_owned(), status.to_owned())));
        let is_excused = kinds.iter().any(|kind| NOT_IN_SCRIPTS.contains(&(kind, status)));
        assert!(is_shown != is_excused, "{kinds:?} {status}: shown {is_shown}, excused {is_excused}");
    }
}
