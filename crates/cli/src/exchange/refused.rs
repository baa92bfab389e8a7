//! The file for the rows that the ledger refuses, one JSON document a row.
//!
//! It is opened before the first row is sent, so that a path that cannot be written is an error in time. The
//! refused rows of an earlier run are replaced, with a remark on stderr; any other file at the path is left
//! alone. A run without a refusal leaves no file.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::source::Input;
use crate::exit::Failure;
use crate::json::Text;
use crate::output::{self, Format};

/// The beginning of every row of such a file.
const BEGINNING: &[u8] = b"{\"line\":";
/// The default file for an input without a path.
const PIPE_DEFAULT: &str = "import.refused.jsonl";

/// A row that the ledger refused.
#[derive(Debug, Serialize)]
pub(crate) struct Refused {
    /// The line of the input on which the row begins.
    pub(crate) line: u64,
    /// The id of the account or transfer.
    pub(crate) id: Text<u128>,
    /// The name of the status.
    pub(crate) status: &'static str,
    /// The meaning of the status.
    pub(crate) meaning: &'static str,
    /// The exact case: account, bound, requested and actual value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

/// The open file.
#[derive(Debug)]
pub(crate) struct RefusedFile {
    path: PathBuf,
    sink: BufWriter<File>,
    /// True when it holds only rows of this run. Such a file is removed at the end if it is empty, also when
    /// a killed run had left it.
    is_own: bool,
    is_stale: bool,
    rows: u64,
}

impl RefusedFile {
    /// Opens the file, without changing its content.
    pub(crate) fn open(asked: Option<&Path>, input: &Input) -> Result<Self, Failure> {
        let path = asked.map_or_else(|| default_path(input), Path::to_owned);
        let cannot = |error: std::io::Error| {
            let path = path.display();
            Failure::Usage(format!(
                "{path}, for refused rows, cannot be written: {error}; name another with --refused"
            ))
        };
        let is_new = !path.exists();
        let mut file = OpenOptions::new()
            .read(is_new || path.is_file())
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(cannot)?;
        let metadata = file.metadata().map_err(cannot)?;
        if input.is_same(&metadata) {
            let (path, input) = (path.display(), input.name());
            return Err(Failure::Usage(format!(
                "{path}, for refused rows, is the file that is imported, {input}: name another with --refused"
            )));
        }
        let is_stale = metadata.is_file() && metadata.len() > 0;
        if is_stale && !is_of_refused_rows(&mut file).map_err(cannot)? {
            return Err(Failure::Usage(format!(
                "{} exists and holds something else than refused rows: name another file with --refused",
                path.display()
            )));
        }
        Ok(Self {
            path,
            sink: BufWriter::new(file),
            is_own: is_new || metadata.is_file() && metadata.len() == 0,
            is_stale,
            rows: 0,
        })
    }

    /// Begins the results of this run: removes the rows of an earlier run.
    pub(crate) fn begin(&mut self, format: Format) -> Result<(), Failure> {
        if self.is_stale {
            let path = self.path.display();
            output::remark(format, &format!("{path}: the refused rows of an earlier import are replaced"))?;
            let file = self.sink.get_mut();
            file.set_len(0)?;
            std::io::Seek::rewind(file)?;
            self.is_stale = false;
            self.is_own = true;
        }
        Ok(())
    }

    /// Writes one row.
    pub(crate) fn push(&mut self, row: &Refused) -> Result<(), Failure> {
        self.rows += 1;
        serde_json::to_writer(&mut self.sink, row).map_err(std::io::Error::from)?;
        writeln!(self.sink)?;
        Ok(())
    }

    /// Writes all buffered rows to the operating system.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.sink.flush()?)
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RefusedFile {
    fn drop(&mut self) {
        if self.is_own && self.rows == 0 {
            // An error is ignored: an empty file that stays does no harm.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// A path next to the input, or in the current folder where the input has no path.
fn default_path(input: &Input) -> PathBuf {
    let Some(path) = input.file_path() else { return PIPE_DEFAULT.into() };
    let mut name = path.to_owned().into_os_string();
    name.push(".refused.jsonl");
    name.into()
}

fn is_of_refused_rows(file: &mut File) -> std::io::Result<bool> {
    let mut beginning = Vec::new();
    Read::take(&*file, BEGINNING.len() as u64).read_to_end(&mut beginning)?;
    std::io::Seek::rewind(file)?;
    Ok(beginning == BEGINNING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn row() -> Refused {
        Refused { line: 3, id: Text(7), status: "exceeds_credits", meaning: "Too much.", detail: None }
    }

    #[test]
    fn it_holds_the_rows_of_one_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        fs::write(&path, "id\n").unwrap();
        let input = Input::open(&path).unwrap();
        let refused_path = folder.path().join("rows.csv.refused.jsonl");
        let mut refused = RefusedFile::open(None, &input).unwrap();
        assert_eq!(refused.path(), refused_path);
        refused.begin(Format::Table).unwrap();
        refused.push(&row()).unwrap();
        drop(refused);
        let first = fs::read(&refused_path).unwrap();
        assert!(first.starts_with(BEGINNING));

        drop(RefusedFile::open(None, &input).unwrap());
        assert_eq!(fs::read(&refused_path).unwrap(), first, "a run that never began changes nothing");
        let mut refused = RefusedFile::open(None, &input).unwrap();
        refused.begin(Format::Table).unwrap();
        assert_eq!(fs::read(&refused_path).unwrap(), b"", "the rows of the earlier run are gone");
        drop(refused);
        assert!(!refused_path.exists(), "no refusal, no file");
        fs::write(&refused_path, "").unwrap();
        drop(RefusedFile::open(None, &input).unwrap());
        assert!(!refused_path.exists(), "an empty file of a stopped run is removed");
    }

    #[test]
    fn it_is_never_the_input_or_a_foreign_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        fs::write(&path, "{\"line\":\n").unwrap();
        let input = Input::open(&path).unwrap();
        let (link, hard, other) =
            (folder.path().join("link"), folder.path().join("hard"), folder.path().join("other"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        fs::hard_link(&path, &hard).unwrap();
        fs::write(&other, "precious").unwrap();
        let around = folder.path().join(".").join("rows.csv");
        for same in [&path, &link, &hard, &around] {
            let error = RefusedFile::open(Some(same), &input).unwrap_err().to_string();
            assert!(error.contains("is the file that is imported"), "{error}");
        }
        let error = RefusedFile::open(Some(&other), &input).unwrap_err().to_string();
        assert!(error.contains("something else"), "{error}");
        assert!(RefusedFile::open(Some(Path::new("/nowhere/refused")), &input).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"{\"line\":\n");
        assert_eq!(fs::read(&other).unwrap(), b"precious");
    }
}
