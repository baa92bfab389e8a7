//! The text of an export: one record a line, each sealed to all lines before it.
//!
//! JSON Lines (`bezant-export/1`): a first line that says whose history it is, the accounts, the movements in
//! commit order, and a last line that counts them. CSV: a line with the names of the columns, the
//! movements, and a last line `end,COUNT` that counts them.
//!
//! Every line ends in a checksum, 16 hexadecimal digits: CRC-64/NVME over the checksum of the line before
//! (8 bytes little-endian, 0 for the first) and the bytes of this line in front of the checksum's field. So
//! an accident (a flipped bit, a lost, doubled or moved line) is found and its line named. Against a forger,
//! who can compute checksums, stand the hash chains, compared with heads that the reader holds.
//!
//! A byte order mark and line ends of CR LF, which other systems' programs add, are no part of the text. A file that was
//! packed with gzip is read as what is in it.

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
/// How the first line of JSON begins.
const JSON_BEGINNING: &str = "{\"type\":\"export\",\"format\":\"bezant-export/";
/// How the last line of a CSV file begins: no position of a movement does.
const CSV_END: &str = "end,";
/// A line of this size at the most: a row of CSV or JSON is about 2 KiB.
const LINE_SIZE_MAX: usize = 64 << 10;

/// How an export is written.
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
    /// The first one.
    Export(Header),
    /// An account, as it was before the last movement or later.
    Account(AccountRow),
    /// A row of the history.
    Movement(MovementRow),
    /// The last one.
    End(End),
}

/// What an export is about.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    format: String,
    /// Whose history; `null` = everybody's.
    pub(crate) account: Option<String>,
}

impl Header {
    /// Of this program's format.
    pub(crate) fn new(account: Option<String>) -> Self {
        Self { format: FORMAT.to_owned(), account }
    }
}

/// What an export holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct End {
    /// Accounts in it.
    pub(crate) accounts: u64,
    /// Movements in it.
    pub(crate) movements: u64,
    /// True when nothing was written while it was made: reserves of accounts and movements agree too.
    pub(crate) is_exact: bool,
}

/// Writes sealed lines.
#[derive(Debug)]
pub(crate) struct LineWriter<Sink: Write> {
    sink: Sink,
    format: FileFormat,
    seal: u64,
}

impl<Sink: Write> LineWriter<Sink> {
    /// Begins a file.
    pub(crate) fn new(sink: Sink, format: FileFormat, account: Option<String>) -> Result<Self, Failure> {
        let mut writer = Self { sink, format, seal: 0 };
        match format {
            FileFormat::Jsonl => writer.record(&Record::Export(Header::new(account)))?,
            FileFormat::Csv => writer.csv_line(&columns()?)?,
        }
        Ok(writer)
    }

    /// One account; CSV has none.
    pub(crate) fn account(&mut self, view: &AccountView) -> Result<(), Failure> {
        match self.format {
            FileFormat::Jsonl => self.record(&Record::Account(view.into())),
            FileFormat::Csv => Ok(()),
        }
    }

    /// One movement.
    pub(crate) fn movement(&mut self, number: MovementNumber, movement: &Movement) -> Result<(), Failure> {
        let row = MovementRow::new(number, movement);
        match self.format {
            FileFormat::Jsonl => self.record(&Record::Movement(row)),
            FileFormat::Csv => self.csv_line(&csv_text(&row, false)?),
        }
    }

    /// Ends the file, and gives back what it was written to.
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
        // The closing brace comes back behind the checksum.
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

/// A file of something else.
fn not_an_export() -> Failure {
    Failure::Usage("line 1: this is no export of Bezant that this version reads".to_owned())
}

/// A line that is not what its checksum says, or cannot be read.
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

/// Reads the sealed lines of a file.
pub(crate) type FileReader = LineReader<BufReader<Content>>;

/// Opens the file of an export, packed with gzip or not.
pub(crate) fn open(path: &Path) -> Result<FileReader, Failure> {
    let cannot = |error| Failure::NotFound(format!("{} cannot be read: {error}", path.display()));
    let file = File::open(path).map_err(cannot)?;
    let (head, rest) = packed::unpack(file).map_err(|error| unreadable(1, error))?;
    LineReader::new(BufReader::new(Cursor::new(head).chain(rest))).map_err(|failure| match failure {
        Failure::Usage(text) => Failure::Usage(format!("{}, {text}", path.display())),
        failure => failure,
    })
}

/// True when most letters of a first line are those of an export's: such a line is damaged, and any other file is none.
fn is_like_export(line: &[u8]) -> Result<bool, Failure> {
    let columns = columns()?;
    let is_like = |first: &[u8]| {
        let count = first.len().min(line.len());
        let equal = first.iter().zip(line).filter(|(one, other)| one == other).count();
        equal * 2 >= count
    };
    Ok(is_like(JSON_BEGINNING.as_bytes()) || is_like(columns.as_bytes()))
}

/// Of a line that cannot be read: what does not unpack is damaged.
fn unreadable(line: u64, error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::InvalidData {
        return Failure::Verification(format!("line {line}: {error}"));
    }
    error.into()
}

/// Reads sealed lines.
#[derive(Debug)]
pub(crate) struct LineReader<Source: BufRead> {
    source: Source,
    format: FileFormat,
    seal: u64,
    line: u64,
    header: Option<Header>,
}

impl<Source: BufRead> LineReader<Source> {
    /// Reads the first line, which tells the format.
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

    /// What the first line says; `None` in CSV, which does not say.
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

    /// The next line without its checksum, which agrees.
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
