//! A disk in memory that loses power, fails, fills up and corrupts data on demand. Equal seeds give equal
//! results.
//!
//! The disk keeps two states: the bytes and names that reads return, and those that survive every power
//! failure. The latter are the bytes of a file as of its last sync, and the names as of the last sync of
//! their folder. [`MemoryDisk::crash`] builds a disk as a power failure may leave it. Of the changes that
//! were not synced, it keeps some: any of the sectors of 512 bytes, and any of the changes of names. After a
//! failed sync, a power failure loses the data of that sync even if a later sync succeeds, as on real
//! systems.
//!
//! A disk of a folder ([`Disk::folder`]) shares all of this with the disk that it is in.
//!
//! Never used: a clock, the operating system, or the randomness of the operating system.

mod image;
mod names;
mod random;
mod state;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use image::Image;
use names::{FileNumber, NameChange, path_of};
use random::Random;
use state::{Fate, FileState, SECTOR_SIZE, State, failure};

use crate::disk::{BLOCK_SIZE, Disk, DiskError, DiskFile, OpenMode, is_folder_name};

/// The faults to inject. An operation is identified by its number: operations that change something are
/// counted from 1 since the disk was made, see [`OperationCounts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FaultPlan {
    /// The power fails during this operation; later operations fail.
    pub crash_at: Option<u64>,
    /// This operation fails, and later operations work. Of a failed write, about the first half of the
    /// sectors becomes visible. What a failed sync should have made durable does not survive a power failure.
    pub fail_at: Option<u64>,
    /// Seed that chooses which sectors a failed sync makes durable although it reports an error; `None` for
    /// no sectors.
    pub durable_sectors_seed: Option<u64>,
    /// Maximal bytes of all files together; `None` for no limit.
    pub capacity_bytes: Option<u64>,
}

/// How many operations changed something, or tried to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OperationCounts {
    /// Writes.
    pub writes: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Syncs of folders.
    pub folder_syncs: u64,
    /// Files created, removed, renamed, exchanged, moved, allocated and truncated; folders created and
    /// removed.
    pub others: u64,
}

impl OperationCounts {
    /// The number of all operations.
    pub const fn total(&self) -> u64 {
        self.writes + self.syncs + self.folder_syncs + self.others
    }

    fn add(&mut self, operation: &str) {
        match operation {
            "write" => self.writes += 1,
            "sync" => self.syncs += 1,
            "sync folder" => self.folder_syncs += 1,
            _ => self.others += 1,
        }
    }
}

/// A disk in memory, or a folder of one. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
    /// Path of the folder, with `/` between names; empty for the root.
    folder: String,
}

impl MemoryDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the faults. The count of operations goes on.
    pub fn set_faults(&self, plan: FaultPlan) {
        self.lock().plan = plan;
    }

    /// The current faults.
    pub fn faults(&self) -> FaultPlan {
        self.lock().plan
    }

    /// Visible bytes of all files that have a name.
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes() as u64
    }

    /// The operations since the disk was made.
    pub fn counts(&self) -> OperationCounts {
        self.lock().counts
    }

    /// A new disk without faults, with the content that a power failure at this moment may leave.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let state = self.lock().after_crash(seed);
        self.with(state)
    }

    /// A new disk without faults, with the content after the process has ended while the power stayed on.
    /// Everything that was written is visible. A later power failure can still lose what was not synced.
    #[must_use]
    pub fn restart(&self) -> Self {
        let state = self.lock().restarted();
        self.with(state)
    }

    /// The visible content of a file. `name` may be a path, with `/` between names.
    pub fn content(&self, name: &str) -> Result<Vec<u8>, DiskError> {
        let state = self.lock();
        Ok(state.files[state.find(&self.path(name))?].live.to_vec())
    }

    /// Stores a durable file, replacing any file of that name. `name` may be a path, with `/` between names:
    /// missing folders are made.
    pub fn put(&self, name: &str, content: &[u8]) {
        self.lock().put_durable(&self.path(name), Image::from_bytes(content));
    }

    /// Flips one bit, durably, like a disk that corrupts old data.
    pub fn flip_bit(&self, name: &str, offset: u64, bit: u8) -> Result<(), DiskError> {
        let mut content = self.content(name)?;
        let end = DiskError::EndOfFile { file: name.to_owned(), offset: content.len() as u64 };
        let byte = usize::try_from(offset).ok().and_then(|offset| content.get_mut(offset)).ok_or(end)?;
        *byte ^= 1 << (bit % 8);
        self.put(name, &content);
        Ok(())
    }

    /// The same folder of a disk in that state.
    fn with(&self, state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)), folder: self.folder.clone() }
    }

    /// The path of a file or folder in this folder.
    fn path(&self, name: &str) -> String {
        path_of(&self.folder, name)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation, and calls `change` to perform it. When the plan makes the operation fail,
    /// `change` is not called. When the power fails during the operation, `change` is called and the result
    /// is an error.
    fn change(
        &self,
        name: &str,
        operation: &'static str,
        change: impl FnOnce(&mut State) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let mut state = self.lock();
        match state.begin(name, operation)? {
            Fate::Done => change(&mut state),
            Fate::Failed => Err(failure(operation, name, "input/output error")),
            Fate::Cut => {
                change(&mut state)?;
                Err(failure(operation, name, "the power failed"))
            }
        }
    }
}

impl std::fmt::Debug for MemoryDisk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.lock();
        formatter
            .debug_struct("MemoryDisk")
            .field("folder", &self.folder)
            .field("files", &state.names.live.files.len())
            .field("used_bytes", &state.used_bytes())
            .field("counts", &state.counts)
            .finish_non_exhaustive()
    }
}

impl Disk for MemoryDisk {
    fn open(&self, name: &str, mode: OpenMode) -> Result<Arc<dyn DiskFile>, DiskError> {
        let (creates, is_direct, writes) = match mode {
            OpenMode::Read => (false, false, false),
            OpenMode::Write => (false, false, true),
            OpenMode::Create => (true, false, true),
            OpenMode::WriteDirect => (false, true, true),
            OpenMode::CreateDirect => (true, true, true),
        };
        let path = self.path(name);
        if creates {
            self.change(name, "create", |state| {
                if state.names.live.files.contains_key(&path) || state.names.live.has_folder(&path) {
                    return Err(failure("create", name, "the file exists"));
                }
                if !state.names.live.has_folder(&self.folder) {
                    return Err(DiskError::NotFound { file: name.to_owned() });
                }
                state.create(&path, FileState::default());
                Ok(())
            })?;
        }
        let state = self.lock();
        if state.is_off {
            return Err(failure("open", name, "the power is off"));
        }
        let number = state.find(&path)?;
        Ok(Arc::new(MemoryFile { disk: self.clone(), name: name.to_owned(), number, is_direct, writes }))
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        let state = self.lock();
        if state.is_off {
            return Err(failure("list", ".", "the power is off"));
        }
        Ok(state.names.live.files_in(&self.folder))
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        let path = self.path(name);
        self.change(name, "remove", |state| {
            state.find(&path)?;
            state.names.change(NameChange::Remove(path));
            Ok(())
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let (old, new) = (self.path(from), self.path(to));
        self.change(from, "rename", |state| {
            let number = state.find(&old)?;
            state.names.change(NameChange::Rename(old, new, number));
            Ok(())
        })
    }

    fn exchange(&self, one: &str, other: &str) -> Result<bool, DiskError> {
        let (first, second) = (self.path(one), self.path(other));
        self.change(one, "exchange", |state| {
            state.find(&first)?;
            state.find(&second)?;
            state.names.change(NameChange::Exchange(first, second));
            Ok(())
        })?;
        Ok(true)
    }

    fn sync_folder(&self) -> Result<(), DiskError> {
        let mut state = self.lock();
        match state.begin(".", "sync folder")? {
            Fate::Done => {
                state.names.sync(&self.folder);
                Ok(())
            }
            Fate::Failed => Err(failure("sync", ".", "input/output error")),
            Fate::Cut => Err(failure("sync", ".", "the power failed")),
        }
    }

    fn folder(&self, name: &str) -> Result<Arc<dyn Disk>, DiskError> {
        assert!(is_folder_name(name), "a folder's name is one plain name");
        let path = self.path(name);
        let is_new = !self.lock().names.live.has_folder(&path);
        if is_new {
            self.change(name, "create folder", |state| {
                if state.names.live.files.contains_key(&path) {
                    return Err(failure("create", name, "it is a file"));
                }
                if !state.names.live.has_folder(&self.folder) {
                    return Err(DiskError::NotFound { file: name.to_owned() });
                }
                state.names.change(NameChange::MakeFolder(path.clone()));
                Ok(())
            })?;
        }
        // A process that was killed may have made the folder and not its name durable.
        self.sync_folder()?;
        Ok(Arc::new(Self { state: Arc::clone(&self.state), folder: path }))
    }

    fn folders(&self) -> Result<Vec<String>, DiskError> {
        let state = self.lock();
        if state.is_off {
            return Err(failure("list", ".", "the power is off"));
        }
        Ok(state.names.live.folders_in(&self.folder))
    }

    fn move_into(&self, file: &str, folder: &str) -> Result<(), DiskError> {
        let (from, folder) = (self.path(file), self.path(folder));
        let to = path_of(&folder, file);
        self.change(file, "move", |state| {
            let number = state.find(&from)?;
            if !state.names.live.has_folder(&folder) {
                return Err(DiskError::NotFound { file: file.to_owned() });
            }
            if state.names.live.files.contains_key(&to) {
                return Err(failure("move", file, "the file exists in both folders"));
            }
            state.names.change(NameChange::Rename(from, to, number));
            Ok(())
        })
    }

    fn remove_folder(&self, name: &str) -> Result<(), DiskError> {
        let path = self.path(name);
        self.change(name, "remove folder", |state| {
            let names = &state.names.live;
            if !names.has_folder(&path) {
                return Err(DiskError::NotFound { file: name.to_owned() });
            }
            if !names.files_in(&path).is_empty() || !names.folders_in(&path).is_empty() {
                return Err(failure("remove", name, "the folder is not empty"));
            }
            state.names.change(NameChange::RemoveFolder(path));
            Ok(())
        })
    }

    fn available_bytes(&self) -> Result<u64, DiskError> {
        let state = self.lock();
        let used = state.used_bytes() as u64;
        Ok(state.plan.capacity_bytes.map_or(u64::MAX, |capacity| capacity.saturating_sub(used)))
    }
}

/// An open file of a [`MemoryDisk`].
struct MemoryFile {
    disk: MemoryDisk,
    name: String,
    number: FileNumber,
    is_direct: bool,
    writes: bool,
}

impl std::fmt::Debug for MemoryFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("MemoryFile").field("name", &self.name).finish_non_exhaustive()
    }
}

impl MemoryFile {
    /// Returns an error, as the kernel does, when this file was opened for direct access and the access is
    /// not aligned.
    fn check_aligned(&self, operation: &'static str, offset: u64, memory: &[u8]) -> Result<(), DiskError> {
        let is_aligned = offset.is_multiple_of(BLOCK_SIZE as u64)
            && memory.len().is_multiple_of(BLOCK_SIZE)
            && memory.as_ptr().align_offset(BLOCK_SIZE) == 0;
        if self.is_direct && !is_aligned {
            return Err(failure(operation, &self.name, "direct access must be aligned"));
        }
        Ok(())
    }

    fn end_of_file(&self, offset: u64) -> DiskError {
        DiskError::EndOfFile { file: self.name.clone(), offset }
    }

    /// Returns an error when the file cannot grow to `size` bytes.
    fn check_space(&self, state: &State, size: usize) -> Result<(), DiskError> {
        let growth = size.saturating_sub(state.files[self.number].live.len());
        let full = state
            .plan
            .capacity_bytes
            .is_some_and(|capacity| growth > 0 && (state.used_bytes() + growth) as u64 > capacity);
        if full { Err(DiskError::Full { file: self.name.clone() }) } else { Ok(()) }
    }

    fn change(
        &self,
        operation: &'static str,
        change: impl FnOnce(&mut State) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        if !self.writes {
            return Err(failure(operation, &self.name, "opened only for reading"));
        }
        self.disk.change(&self.name, operation, change)
    }
}

impl DiskFile for MemoryFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> Result<u64, DiskError> {
        Ok(self.disk.lock().files[self.number].live.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.check_aligned("read", offset, buffer)?;
        let state = self.disk.lock();
        if state.is_off {
            return Err(failure("read", &self.name, "the power is off"));
        }
        let live = &state.files[self.number].live;
        let from = usize::try_from(offset).map_err(|_| self.end_of_file(offset))?;
        if from.saturating_add(buffer.len()) > live.len() {
            return Err(self.end_of_file(live.len() as u64));
        }
        live.read(from, buffer);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.check_aligned("write", offset, bytes)?;
        let from = usize::try_from(offset).map_err(|_| self.end_of_file(offset))?;
        if !self.writes {
            return Err(failure("write", &self.name, "opened only for reading"));
        }
        let mut state = self.disk.lock();
        let fate = state.begin(&self.name, "write")?;
        self.check_space(&state, from + bytes.len())?;
        let file = &mut state.files[self.number];
        match fate {
            Fate::Done => {
                file.write(from, bytes);
                Ok(())
            }
            Fate::Failed => {
                file.write(from, &bytes[..(bytes.len() / 2 / SECTOR_SIZE) * SECTOR_SIZE]);
                Err(failure("write", &self.name, "input/output error"))
            }
            Fate::Cut => {
                file.write(from, bytes);
                Err(failure("write", &self.name, "the power failed"))
            }
        }
    }

    fn allocate(&self, size: u64) -> Result<(), DiskError> {
        let size = usize::try_from(size).map_err(|_| DiskError::Full { file: self.name.clone() })?;
        self.change("allocate", |state| {
            self.check_space(state, size)?;
            let live = &mut state.files[self.number].live;
            if size > live.len() {
                live.resize(size);
            }
            Ok(())
        })
    }

    fn truncate(&self, size: u64) -> Result<(), DiskError> {
        let size = usize::try_from(size).map_err(|_| self.end_of_file(size))?;
        self.change("truncate", |state| {
            let live = &mut state.files[self.number].live;
            live.resize(size.min(live.len()));
            Ok(())
        })
    }

    fn sync(&self) -> Result<(), DiskError> {
        let mut state = self.disk.lock();
        let fate = state.begin(&self.name, "sync")?;
        let durable_sectors_seed = state.plan.durable_sectors_seed.map(Random::new);
        let file = &mut state.files[self.number];
        match fate {
            Fate::Done => {
                file.sync();
                Ok(())
            }
            Fate::Failed => {
                file.lose(durable_sectors_seed);
                Err(failure("sync", &self.name, "input/output error"))
            }
            Fate::Cut => Err(failure("sync", &self.name, "the power failed")),
        }
    }
}
