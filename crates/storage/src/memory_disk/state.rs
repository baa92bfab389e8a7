//! The state of a memory disk: for every file the visible bytes and the bytes that survive a power
//! failure, and the same for the names in the folder.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::image::Image;
use super::random::Random;
use super::{FaultPlan, OperationCounts};
use crate::disk::DiskError;

/// Bytes that are written completely or not at all.
pub(super) const SECTOR_SIZE: usize = 512;

/// Number of a file; it stays the same when the file is renamed.
pub(super) type FileNumber = usize;

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

/// A change of the folder that is not yet durable.
#[derive(Clone)]
enum NameChange {
    Put(String, FileNumber),
    Remove(String),
    Rename(String, String, FileNumber),
    Exchange(String, String),
}

impl NameChange {
    /// The file that may get a name by this change.
    const fn number(&self) -> Option<FileNumber> {
        match self {
            Self::Put(_, number) | Self::Rename(_, _, number) => Some(*number),
            Self::Remove(_) | Self::Exchange(..) => None,
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, FileNumber>) {
        match self {
            Self::Put(name, number) => {
                names.insert(name.clone(), *number);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to, number) => {
                names.remove(from);
                names.insert(to.clone(), *number);
            }
            // Exchanges only if both names exist: a crash may have lost one of them before.
            Self::Exchange(one, other) => {
                if let (Some(first), Some(second)) = (names.get(one).copied(), names.get(other).copied()) {
                    names.insert(one.clone(), second);
                    names.insert(other.clone(), first);
                }
            }
        }
    }
}

/// The whole disk.
#[derive(Default)]
pub(super) struct State {
    pub(super) files: Vec<FileState>,
    pub(super) names: BTreeMap<String, FileNumber>,
    durable_names: BTreeMap<String, FileNumber>,
    name_changes: Vec<NameChange>,
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
    pub(super) fn find(&self, name: &str) -> Result<FileNumber, DiskError> {
        self.names.get(name).copied().ok_or_else(|| DiskError::NotFound { file: name.to_owned() })
    }

    pub(super) fn create(&mut self, name: &str, file: FileState) -> FileNumber {
        let number = self.files.len();
        self.files.push(file);
        self.change(NameChange::Put(name.to_owned(), number));
        number
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.change(NameChange::Remove(name.to_owned()));
    }

    pub(super) fn rename(&mut self, from: &str, to: &str, number: FileNumber) {
        self.change(NameChange::Rename(from.to_owned(), to.to_owned(), number));
    }

    pub(super) fn exchange(&mut self, one: &str, other: &str) {
        self.change(NameChange::Exchange(one.to_owned(), other.to_owned()));
    }

    pub(super) fn sync_folder(&mut self) {
        self.durable_names = self.names.clone();
        self.name_changes.clear();
    }

    /// Stores a durable file; tests prepare folders with it.
    pub(super) fn put_durable(&mut self, name: &str, bytes: Image) {
        self.create(name, FileState::whole(bytes));
        self.sync_folder();
    }

    /// Bytes of all files that have a name.
    pub(super) fn used_bytes(&self) -> usize {
        self.names.values().map(|number| self.files[*number].live.len()).sum()
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    /// The same disk with the power on and without faults. Drops a file if it has no name and no change of
    /// names can bring one back.
    pub(super) fn restarted(&self) -> Self {
        let pending = self.name_changes.iter().filter_map(NameChange::number);
        let kept: BTreeSet<_> =
            self.names.values().chain(self.durable_names.values()).copied().chain(pending).collect();
        let keep = |(number, file): (usize, &FileState)| {
            if kept.contains(&number) { file.clone() } else { FileState::default() }
        };
        Self {
            files: self.files.iter().enumerate().map(keep).collect(),
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            name_changes: self.name_changes.clone(),
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
        let mut names = self.durable_names.clone();
        // Changes of names survive in order up to one of them, or each at random.
        let prefix = random.below(self.name_changes.len() as u64 + 1);
        let in_order = random.coin();
        for (number, change) in (0_u64..).zip(&self.name_changes) {
            let survives = if in_order { number < prefix } else { random.coin() };
            if survives {
                change.apply(&mut names);
            }
        }
        let mut state = Self::default();
        for (name, number) in names {
            let bytes = self.files[number].after_crash(&mut random);
            state.put_durable(&name, bytes);
        }
        state
    }
}

/// An error like those of an operating system.
pub(super) fn failure(operation: &'static str, file: &str, reason: &str) -> DiskError {
    DiskError::Io { operation, file: file.to_owned(), reason: reason.to_owned() }
}
