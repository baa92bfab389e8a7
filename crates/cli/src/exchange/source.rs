//! The file of an import: its format, and its rows one by one.
//!
//! JSON Lines and CSV with headings are read, in UTF-8, with or without a byte order mark, lines ended by LF
//! or CRLF, compressed with gzip or not. For any other format the error names it, and the way to make it
//! readable. A row never takes more than `ROW_SIZE_MAX` bytes of memory, for any file.

use std::cell::Cell;
use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bezant_archive::packed::{self, BYTE_ORDER_MARK, Content, HEAD_SIZE};

use super::fields::{Fields, check_name};
use crate::exit::Failure;

/// The largest size of a row, in bytes; a row of a real file is below 2 KiB.
const ROW_SIZE_MAX: u64 = 1 << 20;

/// An open input.
#[derive(Debug)]
pub(crate) struct Input {
    path: PathBuf,
    file: File,
    /// The offset of the first row, in bytes: a shell may pass a file of which a part was read.
    start: u64,
    metadata: Metadata,
}

impl Input {
    /// Opens the file; `-` is stdin.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let cannot = |error| Failure::NotFound(format!("{} cannot be read: {error}", path.display()));
        let file = if path == Path::new("-") {
            io::stdin().as_fd().try_clone_to_owned().map(File::from)
        } else {
            File::open(path)
        };
        let mut file = file.map_err(cannot)?;
        let metadata = file.metadata().map_err(cannot)?;
        if metadata.is_dir() {
            return Err(Failure::Usage(format!("{} is a folder: name a file in it", path.display())));
        }
        let start = if metadata.is_file() { file.stream_position().map_err(cannot)? } else { 0 };
        Ok(Self { path: path.to_owned(), file, start, metadata })
    }

    /// True when it can be read only once: a pipe, a terminal.
    pub(crate) fn is_pipe(&self) -> bool {
        !self.metadata.is_file()
    }

    /// True of the same file (device and inode), by any path.
    pub(crate) fn is_same(&self, other: &Metadata) -> bool {
        (self.metadata.dev(), self.metadata.ino()) == (other.dev(), other.ino())
    }

    /// Its path, where it is a file that has one.
    pub(crate) fn file_path(&self) -> Option<&Path> {
        Some(self.path.as_path()).filter(|path| !self.is_pipe() && *path != Path::new("-"))
    }

    /// The name of the input in messages.
    pub(crate) fn name(&self) -> String {
        if self.path == Path::new("-") { "stdin".to_owned() } else { self.path.display().to_string() }
    }

    /// Its rows, from the first on. `known` are the fields that a row may have.
    pub(crate) fn rows(&self, known: &'static [&'static str]) -> Result<Rows, Failure> {
        let mut file = self.file.try_clone()?;
        if !self.is_pipe() {
            file.seek(SeekFrom::Start(self.start))?;
        }
        let wrong = |what: &str| Failure::Usage(format!("{} {what}", self.name()));
        let unpacked = packed::unpack(file);
        let (head, rest) = unpacked.map_err(|error| wrong(&format!("cannot be read: {error}")))?;
        let shape = shape(&head).map_err(|what| wrong(&what))?;
        let head = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&head).to_vec();
        let reader =
            BufReader::new(Limited { source: Cursor::new(head).chain(rest), left: Budget::default() });
        match shape {
            Shape::JsonLines => Ok(Rows::Json(JsonRows { reader, line: 0 })),
            Shape::Csv => CsvRows::new(reader, known).map(Rows::Csv),
        }
    }
}

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    JsonLines,
    Csv,
}

/// The format of a file with these first bytes. The error names any other format, and what to do.
fn shape(head: &[u8]) -> Result<Shape, String> {
    let is_utf16 = head.starts_with(b"\xff\xfe")
        || head.starts_with(b"\xfe\xff")
        || head.first_chunk().is_some_and(|[first, second]| (*first == 0) != (*second == 0));
    let text = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head).trim_ascii_start();
    if is_utf16 {
        Err("is UTF-16: make it UTF-8 with `iconv -f UTF-16 -t UTF-8`".to_owned())
    } else if let Some(advice) = packed::advice(head) {
        Err(advice.to_owned())
    } else if text.is_empty() && (head.len() as u64) < HEAD_SIZE {
        Err("is empty: there is nothing to import".to_owned())
    } else if text.starts_with(b"[") {
        Err("is one JSON array: write one object a line, such as with `jq -c '.[]'`".to_owned())
    } else if text.starts_with(b"{\"type\":\"export\"") || text.starts_with(b"position,timestamp,kind,") {
        Err("is an export: `bezant import history` rebuilds a ledger from one of everything, in JSON Lines"
            .to_owned())
    } else if text.starts_with(b"{") {
        Ok(Shape::JsonLines)
    } else {
        Ok(Shape::Csv)
    }
}

/// The bytes that a reader may still read from its source for the current row.
#[derive(Clone, Debug)]
struct Budget(Rc<Cell<u64>>);

impl Default for Budget {
    fn default() -> Self {
        Self(Rc::new(Cell::new(ROW_SIZE_MAX)))
    }
}

impl Budget {
    /// Resets the budget for the next row.
    fn renew(&self) {
        self.0.set(ROW_SIZE_MAX);
    }
}

/// A source that returns an error when one row has used up its budget.
pub(crate) struct Limited {
    source: Content,
    left: Budget,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.0.get() == 0 {
            let what = "a row takes more than 1 MiB: is a quote not closed, or a line not ended?";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let size = self.source.read(buffer)?;
        self.left.0.set(self.left.0.get().saturating_sub(size as u64));
        Ok(size)
    }
}

/// The rows of an input, with the lines on which they begin.
pub(crate) enum Rows {
    Json(JsonRows),
    Csv(CsvRows),
}

impl Rows {
    /// The next row; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Fields)>, Failure> {
        match self {
            Self::Json(rows) => rows.next(),
            Self::Csv(rows) => rows.next(),
        }
    }
}

/// The failure for an error in the row at `line`.
pub(crate) fn at_line(line: u64, what: &str) -> Failure {
    Failure::Usage(format!("line {line}: {what}"))
}

/// One object a line; empty lines are skipped.
pub(crate) struct JsonRows {
    reader: BufReader<Limited>,
    line: u64,
}

impl JsonRows {
    fn next(&mut self) -> Result<Option<(u64, Fields)>, Failure> {
        loop {
            self.reader.get_ref().left.renew();
            self.line += 1;
            let mut text = Vec::new();
            let size = self.reader.read_until(b'\n', &mut text);
            if size.map_err(|error| at_line(self.line, &error.to_string()))? == 0 {
                return Ok(None);
            }
            let text = str::from_utf8(&text).map_err(|error| at_line(self.line, &not_utf8(error)))?.trim();
            if !text.is_empty() {
                let fields = Fields::from_json(text).map_err(|what| at_line(self.line, &what))?;
                return Ok(Some((self.line, fields)));
            }
        }
    }
}

fn not_utf8(error: std::str::Utf8Error) -> String {
    format!("byte {} is no UTF-8: convert the file with iconv", error.valid_up_to() + 1)
}

/// Comma-separated values after a line of headings.
pub(crate) struct CsvRows {
    rows: csv::StringRecordsIntoIter<BufReader<Limited>>,
    columns: csv::StringRecord,
    left: Budget,
}

impl CsvRows {
    fn new(reader: BufReader<Limited>, known: &[&str]) -> Result<Self, Failure> {
        let left = reader.get_ref().left.clone();
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(reader);
        let columns = reader.headers().map_err(|error| csv_error(&error))?.clone();
        check_headings(&columns, known).map_err(|what| at_line(1, &what))?;
        Ok(Self { rows: reader.into_records(), columns, left })
    }

    fn next(&mut self) -> Result<Option<(u64, Fields)>, Failure> {
        self.left.renew();
        let Some(row) = self.rows.next() else { return Ok(None) };
        let row = row.map_err(|error| csv_error(&error))?;
        let line = row.position().map_or(0, csv::Position::line);
        let fields = self.columns.iter().zip(row.iter());
        let fields = Fields::new(fields.map(|(name, value)| (name.to_owned(), value.to_owned())));
        fields.map(|fields| Some((line, fields))).map_err(|what| at_line(line, &what))
    }
}

/// An error unless the first line of a CSV file names fields, each once.
fn check_headings(columns: &csv::StringRecord, known: &[&str]) -> Result<(), String> {
    for (index, name) in columns.iter().enumerate() {
        if name.is_empty() {
            return Err(format!(
                "column {} has no heading: name its field, or take the column out",
                index + 1
            ));
        }
        if columns.iter().take(index).any(|other| other == name) {
            return Err(format!("two columns are headed {name}: a row has each field once"));
        }
        check_name(name, known).map_err(|what| match name {
            name if name.contains([';', '\t', '|']) => {
                format!("{what}. The columns of CSV are separated by commas")
            }
            _ if !columns.iter().any(|name| known.contains(&name)) => {
                format!("{what}. The first line of CSV holds the headings, such as {}", known.join(","))
            }
            _ => what,
        })?;
    }
    Ok(())
}

/// The failure for a row of CSV that cannot be read, with its line.
fn csv_error(error: &csv::Error) -> Failure {
    let line = error.position().map_or(1, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => at_line(
            line,
            &format!(
                "it has {len} cells, the headings are {expected_len}: a comma or a quote may be missing, or one too many"
            ),
        ),
        csv::ErrorKind::Utf8 { err, .. } => {
            at_line(line, &format!("column {} is no UTF-8: convert the file with iconv", err.field() + 1))
        }
        csv::ErrorKind::Io(error) => at_line(line, &error.to_string()),
        _ => at_line(line, &error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const KNOWN: &[&str] = &["id", "name", "amount"];

    /// The bytes as gzip packs them.
    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// The rows of a file that holds `bytes`, or its error.
    fn read(bytes: &[u8]) -> Result<Vec<(u64, Fields)>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let input = Input::open(file.path()).unwrap();
        // The second pass begins where the first one did.
        let [first, second] = [(), ()].map(|()| {
            let mut rows = input.rows(KNOWN).map_err(|failure| failure.to_string())?;
            let mut found = Vec::new();
            while let Some(row) = rows.next().map_err(|failure| failure.to_string())? {
                found.push(row);
            }
            Ok(found)
        });
        assert_eq!(first, second);
        first
    }

    #[test]
    fn marks_and_line_ends_of_other_systems_are_read() {
        let json = read(b"{\"id\":\"1\",\"name\":\"a\"}\n{\"id\":\"2\",\"name\":\"b\"}\n").unwrap();
        assert_eq!(json.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2]);
        let same: [&[u8]; 5] = [
            b"\xef\xbb\xbf{\"id\":\"1\",\"name\":\"a\"}\r\n{\"id\":\"2\",\"name\":\"b\"}\r\n",
            b"{\"id\":\"1\",\"name\":\"a\"}\n{\"id\":\"2\",\"name\":\"b\"}",
            b"id,name\n1,a\n2,b\n",
            b"\xef\xbb\xbfid,name\r\n1,a\r\n2,b\r\n",
            b"\xef\xbb\xbf\"id\" , name\r\n1,\"a\"\r\n 2 ,b",
        ];
        for bytes in same {
            let rows = read(bytes).unwrap();
            assert!(rows.iter().map(|(_, row)| row).eq(json.iter().map(|(_, row)| row)), "{bytes:?}");
        }
        let packed = [packed(b"id,name\n1,a\n2,b\n"), packed(same[0])].map(|bytes| read(&bytes).unwrap());
        assert_eq!((packed[0][1].0, &packed[1]), (3, &json));
        assert_eq!(read(b"id,name\n"), Ok(Vec::new()));
    }

    #[test]
    fn errors_name_other_formats() {
        let utf16: Vec<u8> = "id,name\n1,a\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let with_mark = [b"\xff\xfe".as_slice(), &utf16].concat();
        let huge = [b"id,name\n1,\"".as_slice(), &vec![b'x'; 3 << 20]].concat();
        let long = [b"{\"id\":\"".as_slice(), &vec![b'1'; 3 << 20]].concat();
        for (bytes, words) in [
            (b"".as_slice(), "is empty"),
            (b" \r\n\n", "is empty"),
            (b"\xef\xbb\xbf", "is empty"),
            (&utf16, "UTF-16"),
            (&with_mark, "UTF-16"),
            (b"\x1f\x8b\x08", "does not unpack"),
            (&packed(&packed(b"id,name\n1,a\n")), "compressed twice"),
            (b"\xfd7zXZ\0", "unpack it with unxz"),
            (b"PK\x03\x04", "workbook"),
            (b"[{\"id\":1}]", "one JSON array"),
            (b"\xef\xbb\xbf[\n{\"id\":1}]", "one JSON array"),
            (b"\xef\xbb\xbf{\"type\":\"export\",\"format\":\"bezant-export/1\"}", "is an export"),
            (b"1,alice,5\n2,bob,6\n", "line 1: there is no field \"1\""),
            (b"1,alice,5\n", "holds the headings"),
            (b"id;name\n1;a\n", "separated by commas"),
            (b"id,name,colour\n1,a,\n", "line 1: there is no field \"colour\""),
            (b"id,Name\n1,a\n", "line 1: there is no field \"Name\""),
            (b"id,amount,amount\n1,2,3\n", "line 1: two columns are headed amount"),
            (b"id,amount, amount \n1,2,3\n", "two columns are headed amount"),
            (b"id,\n1,a\n", "line 1: column 2 has no heading"),
            (b"id,name\n1,a\n2\n", "line 3: it has 1 cells, the headings are 2"),
            (b"id,name\n1,a\n2,b,c\n", "line 3: it has 3 cells"),
            (b"id,name\n1,\"a\n2,b\n", "line 2: name holds"),
            (b"id,name\n1,a\xff\n", "line 2: column 2 is no UTF-8"),
            (b"{\"id\":1}\n{\"id\":2,\"name\":\"\xe9\"}\n", "line 2: byte 17 is no UTF-8"),
            (b"{\"id\":1}\n{\"id\":2", "line 2: this is no JSON object"),
            (b"{\n\"id\":1}\n", "one object a line"),
            (&huge, "more than 1 MiB"),
            (&long, "more than 1 MiB"),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(
                error.contains(words),
                "{:?}: {error}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(40)])
            );
        }
    }
}
