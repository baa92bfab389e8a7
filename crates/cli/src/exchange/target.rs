//! The file that an export is written to: first next to its path, and renamed to its path only when it is
//! complete and durable.
//!
//! So an export that is interrupted leaves the old file in place. It removes its own partial file, unless it
//! was killed with SIGKILL: then `PATH.PID.partial` stays. A path that is no regular file (a pipe,
//! `/dev/null`) is written directly.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// The destination of an export.
#[derive(Debug)]
pub(crate) struct Target {
    file: File,
    /// The final path, and the partial file that is renamed to it; `None` = written directly.
    rename: Option<(PathBuf, Partial)>,
}

/// A partial file; removed when it is dropped, unless it was kept.
#[derive(Debug)]
struct Partial {
    path: PathBuf,
    is_kept: bool,
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_kept {
            // The error is ignored: the file then stays, and nothing else can be done.
            drop(fs::remove_file(&self.path));
        }
    }
}

impl Target {
    /// Opens the file that becomes the file at `path`.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        Self::open(path)
            .map_err(|error| Failure::Usage(format!("{} cannot be written: {error}", path.display())))
    }

    fn open(path: &Path) -> io::Result<Self> {
        let existing = match fs::metadata(path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if existing.as_ref().is_some_and(|metadata| !metadata.is_file()) {
            return Ok(Self { file: OpenOptions::new().write(true).open(path)?, rename: None });
        }
        // A link stays a link: the file that it points to is replaced.
        let path = if existing.is_some() { fs::canonicalize(path)? } else { path.to_owned() };
        if existing.is_some() {
            // A user without permission to write the file must not replace it either.
            drop(OpenOptions::new().append(true).open(&path)?);
        }
        let mut partial: OsString = path.clone().into_os_string();
        partial.push(format!(".{}.partial", std::process::id()));
        let partial = PathBuf::from(partial);
        let file = OpenOptions::new().write(true).create_new(true).open(&partial)?;
        let partial = Partial { path: partial, is_kept: false };
        if let Some(metadata) = existing {
            file.set_permissions(metadata.permissions())?;
        }
        Ok(Self { file, rename: Some((path, partial)) })
    }

    /// Renames the complete file to its path, and makes both durable.
    pub(crate) fn keep(self) -> Result<(), Failure> {
        let Some((path, mut partial)) = self.rename else { return Ok(()) };
        self.file.sync_all()?;
        fs::rename(&partial.path, &path)?;
        partial.is_kept = true;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
        Ok(())
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_old_file_stays_until_the_new_one_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keep.jsonl");
        fs::write(&path, "old").unwrap();
        let mut target = Target::create(&path).unwrap();
        target.write_all(b"ne").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        drop(target);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["keep.jsonl"], "no partial file stays");

        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut target = Target::create(&link).unwrap();
        target.write_all(b"new").unwrap();
        target.keep().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(names(folder.path()), ["keep.jsonl", "link"]);
    }

    #[test]
    fn a_device_is_written_directly() {
        let mut target = Target::create(Path::new("/dev/null")).unwrap();
        target.write_all(b"new").unwrap();
        target.keep().unwrap();
        assert!(fs::metadata("/dev/null").is_ok_and(|metadata| !metadata.is_file()));
        assert!(Target::create(Path::new("/nowhere/export")).is_err());
    }
}
