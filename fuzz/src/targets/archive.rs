//! Exported histories: JSON Lines and CSV, packed with gzip or not. What is read, written and read again is equal.

use std::io::{BufRead, BufReader, Cursor, Read, Write};

use bezant_archive::{End, ExportReader, ExportWriter, FileFormat, Record, packed};
use bezant_codec::checksum_seeded;
use bezant_types::{
    AccountId, AccountView, Balances, Head, Movement, MovementKind, MovementNumber, Nanos, Transfer,
    TransferId,
};

use super::Target;

pub(super) const FILES: Target =
    Target { name: "archive-file", about: "exports: JSON Lines, CSV, gzip", seeds: files, run: run_file };
pub(super) const LINES: Target = Target {
    name: "archive-line",
    about: "lines of exports, each with a correct checksum",
    seeds: lines,
    run: run_lines,
};

/// The largest content that is read: a small gzip file may unpack to much more.
const SIZE_MAX: u64 = 256 << 10;
/// The number of lines to which checksums are added.
const LINES_MAX: usize = 64;

fn movement(number: u64) -> Movement {
    let transfer = Transfer {
        id: TransferId(u128::from(number) + 100),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(u128::MAX),
        amount: 250,
        timestamp: Nanos(number + 1),
        ..Transfer::default()
    };
    Movement {
        transfer,
        kind: MovementKind::SinglePhase,
        timestamp: transfer.timestamp,
        debit: Balances::default(),
        credit: Balances::default(),
        debit_head: Head::NONE,
        credit_head: Head::NONE,
    }
}

/// The records as an export; CSV holds no accounts.
fn written(format: FileFormat, account: Option<AccountId>, records: &[Record]) -> Vec<u8> {
    let mut writer = ExportWriter::new(Vec::new(), format, account).expect("a vector takes every byte");
    for record in records {
        match record {
            Record::Account(view) => writer.account(view).expect("an account has a line"),
            Record::Movement(number, movement) => {
                writer.movement(*number, movement).expect("a movement has a line");
            }
            Record::Export(_) | Record::End(_) => {}
        }
    }
    let end = End { accounts: 1, movements: 2, is_exact: true };
    writer.end(end).expect("a vector takes every byte")
}

/// A valid export in each format.
fn plain() -> [Vec<u8>; 2] {
    let view = AccountView { name: "alice \"A\"".to_owned(), ..AccountView::default() };
    let mut records = vec![Record::Account(view)];
    records.extend((0..2).map(|number| Record::Movement(MovementNumber(number), movement(number))));
    [FileFormat::Jsonl, FileFormat::Csv].map(|format| written(format, Some(AccountId(1)), &records))
}

fn files() -> Vec<Vec<u8>> {
    let gzip = |content: &Vec<u8>| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).expect("a vector takes every byte");
        encoder.finish().expect("a vector takes every byte")
    };
    let plain = plain();
    let packed = plain.iter().map(gzip);
    plain.iter().cloned().chain(packed).collect()
}

/// The lines of the exports without their checksums.
fn lines() -> Vec<Vec<u8>> {
    let strip = |content: Vec<u8>| {
        let text = String::from_utf8(content).expect("an export is UTF-8");
        let separator = if text.starts_with('{') { ",\"checksum\"" } else { "," };
        let bodies = text.lines().filter_map(|line| line.rsplit_once(separator)).map(|(body, _)| body);
        bodies.collect::<Vec<_>>().join("\n").into_bytes()
    };
    plain().map(strip).to_vec()
}

fn run_file(input: &[u8]) {
    if let Ok((head, rest)) = packed::unpack(Cursor::new(input.to_vec())) {
        read(BufReader::new(Cursor::new(head).chain(rest).take(SIZE_MAX)));
    }
}

/// Adds the checksum of every line, so that mutated lines reach the parsers.
fn run_lines(input: &[u8]) {
    let is_json = input.starts_with(b"{");
    let (mut content, mut seal) = (Vec::new(), 0);
    for line in input.split(|byte| *byte == b'\n').take(LINES_MAX) {
        seal = checksum_seeded(seal, line);
        content.extend_from_slice(line);
        let end =
            if is_json { format!(",\"checksum\":\"{seal:016x}\"}}\n") } else { format!(",{seal:016x}\n") };
        content.extend_from_slice(end.as_bytes());
    }
    read(content.as_slice());
}

fn read(source: impl BufRead) {
    let Ok(mut reader) = ExportReader::new(source) else { return };
    let format = if reader.header().is_some() { FileFormat::Jsonl } else { FileFormat::Csv };
    let account = reader.header().and_then(bezant_archive::Header::account);
    let mut records = Vec::new();
    while let Ok(Some(record)) = reader.record() {
        records.extend(matches!(record, Record::Account(_) | Record::Movement(..)).then_some(record));
    }
    let again = written(format, account, &records);
    let mut reader = ExportReader::new(again.as_slice()).expect("what was written is an export");
    assert_eq!(reader.header().and_then(bezant_archive::Header::account), account, "the account");
    for record in records {
        assert_eq!(reader.record().expect("what was written is read"), Some(record), "a record");
    }
    let end = reader.record().expect("the last line is read");
    assert!(matches!(end, Some(Record::End(_))), "the last line is the end");
    assert!(matches!(reader.record(), Ok(None)), "nothing follows the end");
}
