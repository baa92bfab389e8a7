//! The text of an export: one record a line, each with a checksum over all lines before it.
//!
//! In JSON Lines (`bezant-export/1`) the first line names the exported account. The accounts follow, then the
//! movements in commit order; the last line counts both. In CSV the first line names the columns. The
//! movements follow; the last line, `end,COUNT`, counts them.
//!
//! Every line ends in a checksum, 16 hexadecimal digits: CRC-64/NVME over the checksum of the line before
//! (8 bytes little-endian, 0 for the first) and the bytes of this line before the checksum's field. So
//! an accident (a flipped bit, a lost, doubled or moved line) is found and its line named. Against a forger,
//! who can compute checksums, the hash chains protect: they are compared with heads that the reader holds.
//!
//! A byte order mark and line ends of CR LF, which programs of other systems add, are no part of the text. A
//! file that was compressed with gzip is read as its content.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::path::Path;

use bezant_codec::checksum_seeded;
use bezant_types::{AccountId, AccountView, Movement, MovementNumber};
use serde::{Deserialize, Serialize};

use crate::error::{ArchiveError, Damage, DamagedRecord, NotAnExport};
use crate::packed::{self, BYTE_ORDER_MARK, Content};
use crate::rows::{AccountRow, Digits, MovementRow};

/// The format that this program writes and reads.
const FORMAT: &str = "bezant-export/1";
/// The beginning of the first line of a JSON Lines export.
const JSON_BEGINNING: &str = "{\"type\":\"export\",\"format\":\"bezant-export/";
/// The beginning of the last line of a CSV export. Every other line begins with a number or a column's name.
const CSV_END: &str = "end,";
/// The largest size of a line, in bytes: a row of CSV or JSON is about 2 KiB.
const LINE_SIZE_MAX: usize = 64 << 10;

/// The format of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// JSON Lines, with the accounts
    Jsonl,
    /// Comma-separated values, movements only
    Csv,
}

/// A record of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The first record.
    Export(Header),
    /// An account, as it was before the last movement or later.
    Account(AccountView),
    /// A row of the history.
    Movement(MovementNumber, Movement),
    /// The last record.
    End(End),
}

/// A line of JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line {
    Export(Header),
    Account(AccountRow),
    Movement(MovementRow),
    End(End),
}

impl Line {
    /// The record of the line; `None` when its kind of movement is unknown.
    fn record(self) -> Option<Record> {
        Some(match self {
            Self::Export(header) => Record::Export(header),
            Self::Account(row) => Record::Account(row.into()),
            Self::Movement(row) => {
                let (number, movement) = row.movement()?;
                Record::Movement(number, movement)
            }
            Self::End(end) => Record::End(end),
        })
    }
}

/// The first line of an export: its format and its account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    format: String,
    /// The id of the account whose history it is; `null` = all accounts.
    account: Option<Digits<u128>>,
}

impl Header {
    /// A header with this program's format.
    fn new(account: Option<AccountId>) -> Self {
        Self { format: FORMAT.to_owned(), account: account.map(|id| Digits(id.0)) }
    }

    /// The account whose history it is; `None` = all accounts.
    pub fn account(&self) -> Option<AccountId> {
        self.account.map(|Digits(id)| AccountId(id))
    }
}

/// The last line of an export: counts of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The count of accounts.
    pub accounts: u64,
    /// The count of movements.
    pub movements: u64,
    /// True when the ledger did not change during the export: then the reserves of accounts match the
    /// movements, too.
    pub is_exact: bool,
}

/// Writes an export: the accounts first, then the movements in commit order, then the end. Every line gets its
/// checksum.
#[derive(Debug)]
pub struct ExportWriter<Sink: Write> {
    sink: Sink,
    format: FileFormat,
    seal: u64,
}

impl<Sink: Write> ExportWriter<Sink> {
    /// Begins a file: writes its first line. `account` is the one whose history follows; `None` = all
    /// accounts.
    pub fn new(sink: Sink, format: FileFormat, account: Option<AccountId>) -> Result<Self, ArchiveError> {
        let mut writer = Self { sink, format, seal: 0 };
        match format {
            FileFormat::Jsonl => writer.line(&Line::Export(Header::new(account)))?,
            FileFormat::Csv => writer.csv_line(&columns()?)?,
        }
        Ok(writer)
    }

    /// Writes one account; in CSV, nothing.
    pub fn account(&mut self, view: &AccountView) -> Result<(), ArchiveError> {
        match self.format {
            FileFormat::Jsonl => self.line(&Line::Account(view.into())),
            FileFormat::Csv => Ok(()),
        }
    }

    /// Writes one movement.
    pub fn movement(&mut self, number: MovementNumber, movement: &Movement) -> Result<(), ArchiveError> {
        let row = MovementRow::new(number, movement);
        match self.format {
            FileFormat::Jsonl => self.line(&Line::Movement(row)),
            FileFormat::Csv => self.csv_line(&csv_text(&row, false)?),
        }
    }

    /// Writes the last line, and returns the sink.
    pub fn end(mut self, end: End) -> Result<Sink, ArchiveError> {
        match self.format {
            FileFormat::Jsonl => self.line(&Line::End(end))?,
            FileFormat::Csv => self.csv_line(&format!("{CSV_END}{}", end.movements))?,
        }
        self.sink.flush().map_err(ArchiveError::Write)?;
        Ok(self.sink)
    }

    fn line(&mut self, line: &Line) -> Result<(), ArchiveError> {
        let mut text = serde_json::to_string(line)?;
        // The closing brace is written again after the checksum.
        text.pop();
        self.seal = checksum_seeded(self.seal, text.as_bytes());
        writeln!(self.sink, "{text},\"checksum\":\"{:016x}\"}}", self.seal).map_err(ArchiveError::Write)
    }

    fn csv_line(&mut self, text: &str) -> Result<(), ArchiveError> {
        self.seal = checksum_seeded(self.seal, text.as_bytes());
        writeln!(self.sink, "{text},{:016x}", self.seal).map_err(ArchiveError::Write)
    }
}

/// One row as a line of CSV, or the names of its columns.
fn csv_text(row: &MovementRow, has_headers: bool) -> Result<String, ArchiveError> {
    let mut writer = csv::WriterBuilder::new().has_headers(has_headers).from_writer(Vec::new());
    writer.serialize(row)?;
    let bytes = writer.into_inner().map_err(|error| ArchiveError::Write(error.into_error()))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The names of the columns of CSV.
fn columns() -> Result<String, ArchiveError> {
    csv_text(&MovementRow::empty(), true)
}

/// The last line of a CSV file.
fn csv_end(text: &[u8]) -> Result<Line, String> {
    let count = text.get(CSV_END.len()..).unwrap_or_default();
    let movements = std::str::from_utf8(count).ok().and_then(|count| count.parse().ok());
    let movements = movements.ok_or_else(|| "its count is no number".to_owned())?;
    Ok(Line::End(End { accounts: 0, movements, is_exact: false }))
}

const fn not_an_export(found: NotAnExport) -> ArchiveError {
    ArchiveError::NotAnExport { path: None, found }
}

/// The error for a line whose checksum does not match, or that cannot be parsed.
fn damaged(line: u64, text: &[u8], damage: Damage) -> ArchiveError {
    let text = String::from_utf8_lossy(text);
    let place = |name: &str| {
        let (_, rest) = text.split_once(&format!("\"{name}\":\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    let record = match (place("position"), place("id")) {
        (Some(position), Some(transfer_id)) => Some(DamagedRecord::Movement { position, transfer_id }),
        (None, Some(id)) => Some(DamagedRecord::Account { id }),
        _ => None,
    };
    ArchiveError::Damaged { line, record, damage }
}

/// Reads an export from a file.
pub type ExportFile = ExportReader<BufReader<Content>>;

/// Opens the file of an export, compressed with gzip or not.
pub fn open(path: &Path) -> Result<ExportFile, ArchiveError> {
    let file = File::open(path).map_err(|source| ArchiveError::Open { path: path.to_owned(), source })?;
    let (head, rest) = packed::unpack(file).map_err(|error| unreadable(1, error))?;
    ExportReader::new(BufReader::new(Cursor::new(head).chain(rest))).map_err(|error| match error {
        ArchiveError::NotAnExport { found, .. } => {
            ArchiveError::NotAnExport { path: Some(path.to_owned()), found }
        }
        error => error,
    })
}

/// True when at least half of the bytes of a first line equal those of an export: then the line is damaged.
/// Otherwise the file is no export.
fn is_like_export(line: &[u8]) -> Result<bool, ArchiveError> {
    let columns = columns()?;
    let is_like = |first: &[u8]| {
        let count = first.len().min(line.len());
        let equal = first.iter().zip(line).filter(|(one, other)| one == other).count();
        equal * 2 >= count
    };
    Ok(is_like(JSON_BEGINNING.as_bytes()) || is_like(columns.as_bytes()))
}

/// The error for a line that cannot be read: a gzip error means damage, any other is an error of the disk.
fn unreadable(line: u64, error: io::Error) -> ArchiveError {
    if error.kind() == io::ErrorKind::InvalidData {
        return ArchiveError::damaged(line, Damage::Packed(error.to_string()));
    }
    ArchiveError::Read(error)
}

/// Reads an export record by record, and checks the checksum of every line.
#[derive(Debug)]
pub struct ExportReader<Source: BufRead> {
    source: Source,
    format: FileFormat,
    seal: u64,
    line: u64,
    header: Option<Header>,
}

impl<Source: BufRead> ExportReader<Source> {
    /// Reads the first line, which determines the format.
    pub fn new(mut source: Source) -> Result<Self, ArchiveError> {
        let head = source.fill_buf().map_err(|error| unreadable(1, error))?;
        if let Some(advice) = packed::advice(head) {
            return Err(not_an_export(NotAnExport::Packed(advice)));
        }
        if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
            return Err(not_an_export(NotAnExport::Utf16));
        }
        if head.starts_with(BYTE_ORDER_MARK) {
            source.consume(BYTE_ORDER_MARK.len());
        }
        let first = source.fill_buf().map_err(|error| unreadable(1, error))?.first().copied();
        let format = if first == Some(b'{') { FileFormat::Jsonl } else { FileFormat::Csv };
        let mut reader = Self { source, format, seal: 0, line: 0, header: None };
        match format {
            FileFormat::Jsonl => match reader.record()? {
                Some(Record::Export(header)) if header.format == FORMAT => reader.header = Some(header),
                _ => return Err(not_an_export(NotAnExport::Other)),
            },
            FileFormat::Csv => match reader.sealed()? {
                None => return Err(ArchiveError::damaged(1, Damage::Empty)),
                Some(line) if line == columns()?.as_bytes() => {}
                Some(_) => return Err(not_an_export(NotAnExport::Other)),
            },
        }
        Ok(reader)
    }

    /// The header of the first line; `None` in CSV, which has none.
    pub const fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// The number of the line that was read last, counted from 1.
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// The next record; `None` after the last line.
    pub fn record(&mut self) -> Result<Option<Record>, ArchiveError> {
        let Some(text) = self.sealed()? else { return Ok(None) };
        let line = match self.format {
            FileFormat::Jsonl => {
                let mut whole = text.clone();
                whole.push(b'}');
                serde_json::from_slice(&whole).map_err(|error| error.to_string())
            }
            FileFormat::Csv if text.starts_with(CSV_END.as_bytes()) => csv_end(&text),
            FileFormat::Csv => csv::ReaderBuilder::new()
                .has_headers(false)
                .from_reader(text.as_slice())
                .deserialize()
                .next()
                .map_or_else(|| Err("an empty line".to_owned()), |row| row.map_err(|error| error.to_string()))
                .map(Line::Movement),
        };
        let line = line.map_err(|error| damaged(self.line, &text, Damage::Unreadable(error)))?;
        let record = line.record().ok_or_else(|| ArchiveError::damaged(self.line, Damage::Kind))?;
        Ok(Some(record))
    }

    /// The next line without its checksum, which matches; `None` after the last.
    fn sealed(&mut self) -> Result<Option<Vec<u8>>, ArchiveError> {
        let mut text = Vec::new();
        let mut limited = Read::take(&mut self.source, LINE_SIZE_MAX as u64);
        let read = limited.read_until(b'\n', &mut text);
        read.map_err(|error| unreadable(self.line + 1, error))?;
        if text.is_empty() {
            return Ok(None);
        }
        self.line += 1;
        if text.ends_with(b"\r\n") {
            text.truncate(text.len() - 2);
            text.push(b'\n');
        }
        let suffix = |seal: u64| match self.format {
            FileFormat::Jsonl => format!(",\"checksum\":\"{seal:016x}\"}}\n"),
            FileFormat::Csv => format!(",{seal:016x}\n"),
        };
        let is_foreign = self.line == 1 && !is_like_export(&text)?;
        let Some(size) = text.len().checked_sub(suffix(0).len()).filter(|_| !is_foreign) else {
            return Err(if is_foreign {
                not_an_export(NotAnExport::Other)
            } else {
                damaged(self.line, &text, Damage::CutOff)
            });
        };
        let (body, end) = text.split_at(size);
        let seal = checksum_seeded(self.seal, body);
        if end != suffix(seal).as_bytes() {
            return Err(damaged(self.line, &text, Damage::Checksum));
        }
        self.seal = seal;
        text.truncate(size);
        Ok(Some(text))
    }
}
