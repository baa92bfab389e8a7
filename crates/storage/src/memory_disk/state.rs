//! The state of a memory disk: for every file the visible bytes and the bytes that survive a power
//! failure, and the [`Names`] of files and folders.

use std::ops::Range;

use super::image::Image;
use super::names::{FileNumber, NameChange, Names, folder_of, last_name};
use super::random::Random;
use super::{FaultPlan, OperationCounts};
use crate::disk::DiskError;

/// Bytes that are written completely or not at all.
pub(super) const SECTOR_SIZE: usize = 512;

/// One file.
#[derive(Clone, Default)]
pub(super) struct FileState {
    /// The visible bytes.
    pub(super) live: Image,
    /// The bytes that survive a power failure in any case.
    durable: Image,
    /// Ranges written since the last sync, which may survive sector by sector.
    dirty: Vec<Range<usize>>,
}

impl FileState {
    pub(super) fn whole(bytes: Image) -> Self {
        Self { durable: bytes.clone(), live: bytes, dirty: Vec::new() }
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if end > self.live.len() {
            self.live.resize(end);
        }
        self.live.write(offset, bytes);
        self.dirty.push(offset..end);
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.live.len());
        for range in self.dirty.drain(..) {
            let end = range.end.min(self.live.len());
            let start = range.start.min(end);
            self.durable.copy_from(&self.live, start, end);
        }
    }

    /// A failed sync: dirty bytes count as clean from now on, as in the page cache of a real system. Only the
    /// sectors that `random` chooses reach the disk; none for `None`.
    pub(super) fn lose(&mut self, random: Option<Random>) {
        if let Some(mut random) = random {
            self.durable = self.after_crash(&mut random);
        }
        self.dirty.clear();
    }

    /// The bytes after a power failure. Every sector that was not synced has its old or its new content.
    fn after_crash(&self, random: &mut Random) -> Image {
        let mut bytes = self.durable.clone();
        if self.live.len() != bytes.len() && random.coin() {
            bytes.resize(self.live.len());
        }
        // Four modes: all sectors, none, each at random, or the first ones in write order.
        let manner = random.below(4);
        let mut left = random.below(16);
        for range in &self.dirty {
            let first = range.start / SECTOR_SIZE;
            let end = range.end.div_ceil(SECTOR_SIZE);
            for sector in first..end {
                let lands = match manner {
                    0 => true,
                    1 => false,
                    2 => random.coin(),
                    _ => left > 0,
                };
                left = left.saturating_sub(1);
                let start = (sector * SECTOR_SIZE).max(range.start);
                let stop = ((sector + 1) * SECTOR_SIZE).min(range.end).min(bytes.len()).min(self.live.len());
                if lands && start < stop {
                    bytes.copy_from(&self.live, start, stop);
                }
            }
        }
        bytes
    }
}

/// The whole disk.
#[derive(Default)]
pub(super) struct State {
    pub(super) files: Vec<FileState>,
    pub(super) names: Names,
    pub(super) plan: FaultPlan,
    pub(super) counts: OperationCounts,
    /// The power is off: every operation fails.
    pub(super) is_off: bool,
}

/// The outcome of an operation under the plan.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    /// It fails, and the power stays on.
    Failed,
    /// The power fails during the operation.
    Cut,
}

impl State {
    pub(super) fn find(&self, path: &str) -> Result<FileNumber, DiskError> {
        let found = self.names.live.files.get(path).copied();
        found.ok_or_else(|| DiskError::NotFound { file: last_name(path).to_owned() })
    }

    pub(super) fn create(&mut self, path: &str, file: FileState) -> FileNumber {
        let number = self.files.len();
        self.files.push(file);
        self.names.change(NameChange::Put(path.to_owned(), number));
        number
    }

    /// Stores a durable file, and the folders that it is in; tests prepare folders with it.
    pub(super) fn put_durable(&mut self, path: &str, bytes: Image) {
        self.make_folders(folder_of(path));
        self.create(path, FileState::whole(bytes));
        self.names.sync(folder_of(path));
    }

    /// Makes a folder with its parents, durably.
    fn make_folders(&mut self, path: &str) {
        if !self.names.live.has_folder(path) {
            self.make_folders(folder_of(path));
            self.names.change(NameChange::MakeFolder(path.to_owned()));
            self.names.sync(folder_of(path));
        }
    }

    /// Bytes of all files that have a name.
    pub(super) fn used_bytes(&self) -> usize {
        self.names.live.files.values().map(|number| self.files[*number].live.len()).sum()
    }

    /// The same disk with the power on and without faults. Drops a file if it has no name and no change of
    /// names can bring one back.
    pub(super) fn restarted(&self) -> Self {
        let kept = self.names.files();
        let keep = |(number, file): (usize, &FileState)| {
            if kept.contains(&number) { file.clone() } else { FileState::default() }
        };
        Self {
            files: self.files.iter().enumerate().map(keep).collect(),
            names: self.names.clone(),
            ..Self::default()
        }
    }

    /// Counts an operation that changes something; returns its outcome.
    pub(super) fn begin(&mut self, file: &str, operation: &'static str) -> Result<Fate, DiskError> {
        if self.is_off {
            return Err(failure(operation, file, "the power is off"));
        }
        let number = self.counts.total() + 1;
        self.counts.add(operation);
        if self.plan.crash_at == Some(number) {
            self.is_off = true;
            return Ok(Fate::Cut);
        }
        Ok(if self.plan.fail_at == Some(number) { Fate::Failed } else { Fate::Done })
    }

    /// The disk after a power failure.
    pub(super) fn after_crash(&self, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut names = self.names.after_crash(&mut random);
        let mut files = Vec::new();
        for number in names.files.values_mut() {
            files.push(FileState::whole(self.files[*number].after_crash(&mut random)));
            *number = files.len() - 1;
        }
        Self { files, names: Names::whole(names), ..Self::default() }
    }
}

/// An error like those of an operating system.
pub(super) fn failure(operation: &'static str, file: &str, reason: &str) -> DiskError {
    DiskError::Io { operation, file: file.to_owned(), reason: reason.to_owned() }
}
