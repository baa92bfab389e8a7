//! Durability and conservation: a ledger without faults applies the committed log again. It must give every
//! client the same answers, and debits must equal credits in each of its ledgers after every entry.

use std::collections::BTreeMap;
use std::sync::Arc;

use bezant_consensus::EntryKind;
use bezant_ledger::{Ledger, LedgerAnswer, LedgerQuery, LedgerTotals};
use bezant_recovery::fetch;
use bezant_rsm::{Entry, StateMachine};
use bezant_storage::{History, HistoryQuery, HistoryReader, MemoryDisk};
use bezant_types::{HistoryPosition, LogIndex, Movement, MovementNumber, Nanos};
use bytes::Bytes;

use super::bounds::Limits;
use super::keyed::{Keys, one_request_a_key};
use super::once::{Outcomes, one_outcome_an_id};
use crate::record::{Acknowledged, Record, Seen, Shown};
use crate::workload::query;

/// Applies the log, and compares; returns the state after the last entry.
pub(crate) fn answers_follow_the_log(record: &Record) -> Result<Ledger, String> {
    let mut ledger = Ledger::new();
    let disk = Arc::new(MemoryDisk::new());
    let mut history = History::open(disk, HistoryPosition::default()).map_err(|error| error.to_string())?;
    let mut acknowledged: BTreeMap<LogIndex, Vec<&Acknowledged>> = BTreeMap::new();
    for write in &record.acknowledged {
        acknowledged.entry(write.index).or_default().push(write);
    }
    let mut shown: BTreeMap<LogIndex, Vec<&Shown>> = BTreeMap::new();
    for read in &record.shown {
        shown.entry(read.index).or_default().push(read);
    }
    let mut seen: BTreeMap<LogIndex, Vec<&Seen>> = BTreeMap::new();
    for read in &record.seen {
        seen.entry(read.index).or_default().push(read);
    }
    let (mut outcomes, mut keys, mut limits) = (Outcomes::default(), Keys::default(), Limits::default());

    let mut expected = LogIndex(1);
    compare_reads(&ledger, seen.remove(&LogIndex(0)))?;
    compare_history(&history.reader(), shown.remove(&LogIndex(0)))?;
    for (index, entry) in &record.log {
        if *index != expected {
            return Err(format!("no node applied entry {expected}, but a node applied entry {index}"));
        }
        expected = index.next();
        if entry.kind == EntryKind::Command {
            let entry = Entry::decode(&entry.payload).map_err(|error| error.to_string())?;
            let (results, movements) = apply(&mut ledger, &mut history, *index, &entry)?;
            let mut time = entry.time.0 - entry.events();
            let mut answered = acknowledged.remove(index).unwrap_or_default();
            for (command, results) in entry.commands.iter().zip(results) {
                time += u64::from(command.events);
                let place = (*index, Nanos(time));
                one_outcome_an_id(&mut outcomes, place, command, &results)?;
                one_request_a_key(&mut keys, place, command, &results)?;
                limits.handle(place, command, &results, &movements)?;
                answered.retain(|write| {
                    (write.time, &write.command, &write.results) != (Nanos(time), command, &results)
                });
            }
            if !answered.is_empty() {
                return Err(format!("a client got another answer than entry {index} gives"));
            }
            let LedgerAnswer::Books(books) = ledger.query(LedgerQuery::Books) else {
                return Err("a query of the books had another answer".to_owned());
            };
            if !books.ledgers.iter().all(LedgerTotals::is_balanced) {
                return Err(format!("the books do not balance after entry {index}"));
            }
            limits.check_accounts(&ledger)?;
        }
        compare_reads(&ledger, seen.remove(index))?;
        compare_history(&history.reader(), shown.remove(index))?;
    }
    if let Some(index) = acknowledged.keys().next() {
        return Err(format!("a write was acknowledged with entry {index}, which is not in the log"));
    }
    if let Some(index) = seen.keys().chain(shown.keys()).next() {
        return Err(format!("a read shows entry {index}, which no node applied"));
    }
    Ok(ledger)
}

fn apply(
    ledger: &mut Ledger,
    history: &mut History,
    index: LogIndex,
    entry: &Entry,
) -> Result<(Vec<Bytes>, Vec<Movement>), String> {
    let prefetch = ledger.prefetch(entry);
    let found = fetch(&history.reader(), &prefetch).map_err(|error| error.to_string())?;
    let applied = ledger.apply(index, entry, found).ok_or("the rows were read too early")?;
    let movements = applied.rows.movements.to_vec();
    history.append(applied.rows.movements, applied.rows.refusals).map_err(|error| error.to_string())?;
    while let Some(job) = history.next_job() {
        let finished = job.run().map_err(|error| error.to_string())?;
        history.complete(finished).map_err(|error| error.to_string())?;
    }
    Ok((applied.results, movements))
}

/// Compares reads at an entry with the history after that entry: they must have all requested rows, and no
/// others.
fn compare_history(history: &HistoryReader, reads: Option<Vec<&Shown>>) -> Result<(), String> {
    for read in reads.unwrap_or_default() {
        let rows = history.read(&HistoryQuery::Transfers(read.ids.clone()), MovementNumber(u64::MAX));
        let rows = rows.map_err(|error| error.to_string())?;
        let difference = rows.iter().find(|row| !read.rows.contains(row)).map(|row| ("does not show", row));
        let difference =
            difference.or_else(|| read.rows.iter().find(|row| !rows.contains(row)).map(|row| ("shows", row)));
        if let Some((what, (number, _))) = difference {
            return Err(format!("a read of the history at entry {} {what} movement {number}", read.index));
        }
    }
    Ok(())
}

fn compare_reads(ledger: &Ledger, reads: Option<Vec<&Seen>>) -> Result<(), String> {
    let Some(reads) = reads else { return Ok(()) };
    let LedgerAnswer::Accounts(accounts) = ledger.query(query()) else {
        return Err("a query of accounts had another answer".to_owned());
    };
    match reads.iter().find(|read| read.accounts != accounts) {
        Some(read) => Err(format!("a read at entry {} shows other balances than the log gives", read.index)),
        None => Ok(()),
    }
}
