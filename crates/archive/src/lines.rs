//! The text of an export: one record a line, each with a checksum over all lines before it.
//!
//! JSON Lines (`bezant-export/1`): a first line that names the exported account, the accounts, the movements
//! in commit order, and a last line that counts them. CSV: a line with the names of the columns, the
//! movements, and a last line `end,COUNT` that counts them.
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

use bezant_client::{AccountView, Movement, MovementNumber};
use bezant_codec::checksum_seeded;
use serde::{Deserialize, Serialize};

use super::packed::{self, Content};
use super::rows::{AccountRow, MovementRow};
use super::source::BYTE_ORDER_MARK;
use crate::exit::Failure;

/// The format that this program writes and reads.
const FORMAT: &str = "bezant-export/1";
/// The beginning of the first line of a JSON Lines export.
const JSON_BEGINNING: &str = "{\"type\":\"export\",\"format\":\"bezant-export/";
/// The beginning of the last line of a CSV export. No position of a movement begins so.
const CSV_END: &str = "end,";
/// The largest size of a line, in bytes: a row of CSV or JSON is about 2 KiB.
const LINE_SIZE_MAX: usize = 64 << 10;

/// The format of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FileFormat {
    /// JSON Lines, with the accounts
    Jsonl,
    /// Comma-separated values, movements only
    Csv,
}

/// A line of JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Record {
    /// The first record.
    Export(Header),
    /// An account, as it was before the last movement or later.
    Account(AccountRow),
    /// A row of the history.
    Movement(MovementRow),
    /// The last record.
    End(End),
}

/// The first line of an export: its format and its account.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    format: String,
    /// The id of the account whose history it is; `null` = all accounts.
    pub(crate) account: Option<String>,
}

impl Header {
    /// A header with this program's format.
    pub(crate) fn new(account: Option<String>) -> Self {
        Self { format: FORMAT.to_owned(), account }
    }
}

/// The last line of an export: counts of its records.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct End {
    /// The count of accounts.
    pub(crate) accounts: u64,
    /// The count of movements.
    pub(crate) movements: u64,
    /// True when the ledger did not change during the export: then the reserves of accounts match the
    /// movements, too.
    pub(crate) is_exact: bool,
}

/// Writes lines with their checksums.
#[derive(Debug)]
pub(crate) struct LineWriter<Sink: Write> {
    sink: Sink,
    format: FileFormat,
    seal: u64,
}

impl<Sink: Write> LineWriter<Sink> {
    /// Begins a file: writes its first line.
    pub(crate) fn new(sink: Sink, format: FileFormat, account: Option<String>) -> Result<Self, Failure> {
        let mut writer = Self { sink, format, seal: 0 };
        match format {
            FileFormat::Jsonl => writer.record(&Record::Export(Header::new(account)))?,
            FileFormat::Csv => writer.csv_line(&columns()?)?,
        }
        Ok(writer)
    }

    /// Writes one account; in CSV, nothing.
    pub(crate) fn account(&mut self, view: &AccountView) -> Result<(), Failure> {
        match self.format {
            FileFormat::Jsonl => self.record(&Record::Account(view.into())),
            FileFormat::Csv => Ok(()),
        }
    }

    /// Writes one movement.
    pub(crate) fn movement(&mut self, number: MovementNumber, movement: &Movement) -> Result<(), Failure> {
        let row = MovementRow::new(number, movement);
        match self.format {
            FileFormat::Jsonl => self.record(&Record::Movement(row)),
            FileFormat::Csv => self.csv_line(&csv_text(&row, false)?),
        }
    }

    /// Writes the last line, and returns the sink.
    pub(crate) fn end(mut self, end: End) -> Result<Sink, Failure> {
        match self.format {
            FileFormat::Jsonl => self.record(&Record::End(end))?,
            FileFormat::Csv => self.csv_line(&format!("{CSV_END}{}", end.movements))?,
        }
        self.sink.flush()?;
        Ok(self.sink)
    }

    fn record(&mut self, record: &Record) -> Result<(), Failure> {
        let mut text = serde_json::to_string(record).map_err(anyhow::Error::from)?;
        // The closing brace is written again after the checksum.
        text.pop();
        self.seal = checksum_seeded(self.seal, text.as_bytes());
        writeln!(self.sink, "{text},\"checksum\":\"{:016x}\"}}", self.seal)?;
        Ok(())
    }

    fn csv_line(&mut self, text: &str) -> Result<(), Failure> {
        self.seal = checksum_seeded(self.seal, text.as_bytes());
        writeln!(self.sink, "{text},{:016x}", self.seal)?;
        Ok(())
    }
}

/// One row as a line of CSV, or the names of its columns.
fn csv_text(row: &MovementRow, has_headers: bool) -> Result<String, Failure> {
    let mut writer = csv::WriterBuilder::new().has_headers(has_headers).from_writer(Vec::new());
    writer.serialize(row).map_err(anyhow::Error::from)?;
    let bytes = writer.into_inner().map_err(|error| anyhow::anyhow!("{error}"))?;
    let text = String::from_utf8(bytes).map_err(anyhow::Error::from)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn columns() -> Result<String, Failure> {
    let movement =
        bezant_codec::movement_from_bytes(&[0; bezant_codec::MOVEMENT_SIZE]).map_err(anyhow::Error::from)?;
    csv_text(&MovementRow::new(MovementNumber(0), &movement), true)
}

/// The last line of a CSV file.
fn csv_end(text: &[u8]) -> Result<Record, String> {
    let count = text.get(CSV_END.len()..).unwrap_or_default();
    let movements = std::str::from_utf8(count).ok().and_then(|count| count.parse().ok());
    let movements = movements.ok_or_else(|| "its count is no number".to_owned())?;
    Ok(Record::End(End { accounts: 0, movements, is_exact: false }))
}

/// The failure for a file that is no export.
fn not_an_export() -> Failure {
    Failure::Usage("line 1: this is no export of Bezant that this version reads".to_owned())
}

/// The failure for a line whose checksum does not match, or that cannot be parsed.
fn damaged(line: u64, text: &[u8], what: &str) -> Failure {
    let text = String::from_utf8_lossy(text);
    let place = |name: &str| {
        let (_, rest) = text.split_once(&format!("\"{name}\":\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    let row = match (place("position"), place("id")) {
        (Some(position), Some(id)) => format!(" (movement {position}, transfer {id})"),
        (None, Some(id)) => format!(" (account {id})"),
        _ => String::new(),
    };
    Failure::Verification(format!("line {line}{row}: {what}"))
}

/// Reads the lines of an export file, and checks them.
pub(crate) type FileReader = LineReader<BufReader<Content>>;

/// Opens the file of an export, compressed with gzip or not.
pub(crate) fn open(path: &Path) -> Result<FileReader, Failure> {
    let cannot = |error| Failure::NotFound(format!("{} cannot be read: {error}", path.display()));
    let file = File::open(path).map_err(cannot)?;
    let (head, rest) = packed::unpack(file).map_err(|error| unreadable(1, error))?;
    LineReader::new(BufReader::new(Cursor::new(head).chain(rest))).map_err(|failure| match failure {
        Failure::Usage(text) => Failure::Usage(format!("{}, {text}", path.display())),
        failure => failure,
    })
}

/// True when at least half of the first line equals that of an export: such a line is damaged. Any other file
/// is no export.
fn is_like_export(line: &[u8]) -> Result<bool, Failure> {
    let columns = columns()?;
    let is_like = |first: &[u8]| {
        let count = first.len().min(line.len());
        let equal = first.iter().zip(line).filter(|(one, other)| one == other).count();
        equal * 2 >= count
    };
    Ok(is_like(JSON_BEGINNING.as_bytes()) || is_like(columns.as_bytes()))
}

/// The failure for a line that cannot be read: a gzip error means damage, any other is an error of the disk.
fn unreadable(line: u64, error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::InvalidData {
        return Failure::Verification(format!("line {line}: {error}"));
    }
    error.into()
}

/// Reads lines and checks their checksums.
#[derive(Debug)]
pub(crate) struct LineReader<Source: BufRead> {
    source: Source,
    format: FileFormat,
    seal: u64,
    line: u64,
    header: Option<Header>,
}

impl<Source: BufRead> LineReader<Source> {
    /// Reads the first line, which determines the format.
    pub(crate) fn new(mut source: Source) -> Result<Self, Failure> {
        let head = source.fill_buf()?;
        if let Some(advice) = packed::advice(head) {
            return Err(Failure::Usage(format!("line 1: the file {advice}")));
        }
        if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
            let what =
                "line 1: this is UTF-16, an export is UTF-8: convert it with `iconv -f UTF-16 -t UTF-8`";
            return Err(Failure::Usage(what.to_owned()));
        }
        if head.starts_with(BYTE_ORDER_MARK) {
            source.consume(BYTE_ORDER_MARK.len());
        }
        let first = source.fill_buf()?.first().copied();
        let format = if first == Some(b'{') { FileFormat::Jsonl } else { FileFormat::Csv };
        let mut reader = Self { source, format, seal: 0, line: 0, header: None };
        match format {
            FileFormat::Jsonl => match reader.record()? {
                Some(Record::Export(header)) if header.format == FORMAT => reader.header = Some(header),
                _ => return Err(not_an_export()),
            },
            FileFormat::Csv => match reader.sealed()? {
                None => return Err(Failure::Verification("line 1: the file is empty".to_owned())),
                Some(line) if line == columns()?.as_bytes() => {}
                Some(_) => return Err(not_an_export()),
            },
        }
        Ok(reader)
    }

    /// The header of the first line; `None` in CSV, which has none.
    pub(crate) const fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// The number of the line that was read last, counted from 1.
    pub(crate) const fn line(&self) -> u64 {
        self.line
    }

    /// The next record; `None` after the last line.
    pub(crate) fn record(&mut self) -> Result<Option<Record>, Failure> {
        let Some(text) = self.sealed()? else { return Ok(None) };
        let record = match self.format {
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
                .map(Record::Movement),
        };
        record.map(Some).map_err(|error| damaged(self.line, &text, &format!("it cannot be read: {error}")))
    }

    /// The next line without its checksum, which matches; `None` after the last.
    fn sealed(&mut self) -> Result<Option<Vec<u8>>, Failure> {
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
                not_an_export()
            } else {
                damaged(self.line, &text, "it is cut off")
            });
        };
        let (body, end) = text.split_at(size);
        let seal = checksum_seeded(self.seal, body);
        if end != suffix(seal).as_bytes() {
            return Err(damaged(
                self.line,
                &text,
                "its checksum does not match: it was changed or moved, or the line before it was",
            ));
        }
        self.seal = seal;
        text.truncate(size);
        Ok(Some(text))
    }
}
