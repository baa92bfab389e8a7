//! Prepares the file of the next segment before it is needed: allocated, filled with zeros and durable, under
//! a temporary name. It also renames the file to its segment's name once the first bytes of the segment are
//! durable.
//!
//! Recovery recognizes a torn write by its zeros. Writing over zeros is also faster than writing to space
//! that was only reserved, because the file system then writes data alone. The thread that prepares need not
//! be the thread that writes the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use bezant_types::{LogIndex, Term};

use super::LogError;
use super::segment::{PREPARED_NAME, SegmentHeader};
use super::walk::in_memory;
use crate::aligned::AlignedBuffer;
use crate::disk::{BLOCK_SIZE, Disk, DiskError, DiskFile, OpenMode};

/// Bytes of zeros in one write.
const ZEROS_SIZE: u64 = 1 << 20;

/// Prepares segments for one log; cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Preparer {
    disk: Arc<dyn Disk>,
    reserve_size: u64,
    /// Bytes of the next segment, as the log expects it now.
    next_size: Arc<AtomicU64>,
    prepared: Arc<Mutex<Option<Prepared>>>,
}

/// A file of zeros for a segment of this size.
#[derive(Debug)]
struct Prepared {
    size: u64,
    file: Arc<dyn DiskFile>,
}

/// A file for the next segment, until it is renamed. Meanwhile no other file can be prepared, because it
/// would replace this one.
#[derive(Debug)]
pub(super) struct Taken<'preparer> {
    pub(super) file: Arc<dyn DiskFile>,
    _prepared: MutexGuard<'preparer, Option<Prepared>>,
}

impl Preparer {
    /// The size of the first file to prepare is set by [`set_next_size`](Self::set_next_size).
    pub(super) fn new(disk: Arc<dyn Disk>, reserve_size: u64) -> Self {
        Self { disk, reserve_size, next_size: Arc::default(), prepared: Arc::default() }
    }

    /// From now on, files of `size` bytes are prepared.
    pub(super) fn set_next_size(&self, size: u64) {
        self.next_size.store(size, Ordering::Relaxed);
    }

    /// Prepares a file for the next segment unless there is one; returns when it is durable. After an error
    /// the log stays open, and tries again itself when it needs the file.
    pub fn prepare(&self) -> Result<(), DiskError> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let size = self.next_size.load(Ordering::Relaxed);
        let file = self.create_unless(prepared.take(), size)?;
        *prepared = Some(Prepared { size, file });
        Ok(())
    }

    /// A file of `size` bytes; the caller holds it until it is renamed. Waits for a file that is being
    /// prepared, and prepares one if that one does not exist or has another size.
    pub(super) fn take(&self, size: u64) -> Result<Taken<'_>, DiskError> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.create_unless(prepared.take(), size)?;
        Ok(Taken { file, _prepared: prepared })
    }

    /// The prepared file if it has `size` bytes; otherwise removes it and creates another.
    fn create_unless(&self, prepared: Option<Prepared>, size: u64) -> Result<Arc<dyn DiskFile>, DiskError> {
        match prepared {
            Some(prepared) if prepared.size == size => Ok(prepared.file),
            Some(other) => {
                // Its space may be needed. An open file would keep it.
                drop(other);
                self.remove_old()?;
                self.create(size)
            }
            None => self.create(size),
        }
    }

    /// True when a file for the next segment is ready, or any is being prepared. Never waits for the lock,
    /// which is held while a whole segment is filled with zeros.
    pub(super) fn is_prepared(&self) -> bool {
        let next_size = self.next_size.load(Ordering::Relaxed);
        let is_next =
            |prepared: &Option<Prepared>| prepared.as_ref().is_some_and(|file| file.size == next_size);
        match self.prepared.try_lock() {
            Ok(prepared) => is_next(&prepared),
            Err(TryLockError::Poisoned(prepared)) => is_next(&prepared.into_inner()),
            Err(TryLockError::WouldBlock) => true,
        }
    }

    /// Removes the file that an earlier process prepared, which may be incomplete.
    pub(super) fn remove_old(&self) -> Result<(), DiskError> {
        match self.disk.remove(PREPARED_NAME) {
            Err(DiskError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    fn create(&self, size: u64) -> Result<Arc<dyn DiskFile>, DiskError> {
        if self.disk.available_bytes()? < size.saturating_add(self.reserve_size) {
            return Err(DiskError::Full { file: PREPARED_NAME.to_owned() });
        }
        self.remove_old()?;
        let file = self.disk.open(PREPARED_NAME, OpenMode::CreateDirect)?;
        let filled = fill(&*file, size);
        if filled.is_err() {
            // A partly filled file would only take space on a full disk. The first error is the one to
            // report.
            self.remove_old().ok();
        }
        filled.map(|()| file)
    }
}

/// Allocates `size` bytes of zeros, durably.
fn fill(file: &dyn DiskFile, size: u64) -> Result<(), DiskError> {
    file.allocate(size)?;
    let zeros = AlignedBuffer::zeroed(in_memory(ZEROS_SIZE.min(size)));
    let mut offset = 0;
    while offset < size {
        let piece_size = ZEROS_SIZE.min(size - offset);
        file.write_at(offset, &zeros[..in_memory(piece_size)])?;
        offset += piece_size;
    }
    file.sync()
}

/// Creates the first segment of a log whose entries follow entry `before`, which has `term`.
pub(super) fn create_first(
    disk: &dyn Disk,
    preparer: &Preparer,
    size: u64,
    before: LogIndex,
    term: Term,
) -> Result<(SegmentHeader, Arc<dyn DiskFile>), LogError> {
    let header = SegmentHeader {
        sequence: 1,
        first_index: before.next(),
        previous_term: term,
        size,
        flush_number: 0,
        previous_sequence: 0,
    };
    let mut block = AlignedBuffer::with_capacity(BLOCK_SIZE);
    block.extend(&header.encode());
    let file = begin_segment(disk, preparer, &header, &block)?;
    Ok((header, file))
}

/// Creates a segment that begins with `bytes`: makes it durable, then renames it, over a segment of the same
/// name if there is one. On a full disk no segment is created.
pub(super) fn begin_segment(
    disk: &dyn Disk,
    preparer: &Preparer,
    header: &SegmentHeader,
    bytes: &[u8],
) -> Result<Arc<dyn DiskFile>, LogError> {
    let no_space = |error| match error {
        DiskError::Full { .. } => LogError::NoSpace(error),
        other => LogError::Disk(other),
    };
    let prepared = preparer.take(header.size).map_err(no_space)?;
    prepared.file.write_at(0, bytes).map_err(no_space)?;
    prepared.file.sync()?;
    disk.rename(PREPARED_NAME, &header.name())?;
    drop(prepared);
    disk.sync_folder()?;
    Ok(disk.open(&header.name(), OpenMode::WriteDirect)?)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::{FaultPlan, MemoryDisk};

    #[test]
    fn is_prepared_does_not_wait_for_a_segment_under_way() {
        let preparer = Preparer::new(Arc::new(MemoryDisk::new()), 0);
        preparer.set_next_size(64 << 10);
        assert!(!preparer.is_prepared());
        // `prepare` holds the lock while it writes.
        let being_made = preparer.prepared.lock().unwrap();
        let (reply, answer) = mpsc::channel();
        let asking = preparer.clone();
        std::thread::spawn(move || reply.send(asking.is_prepared()));
        assert_eq!(answer.recv_timeout(Duration::from_secs(10)), Ok(true));
        drop(being_made);
        preparer.prepare().unwrap();
        assert!(preparer.is_prepared());
    }

    #[test]
    fn a_taken_file_is_not_replaced_before_it_is_renamed() {
        let disk = MemoryDisk::new();
        let preparer = Preparer::new(Arc::new(disk.clone()), 0);
        preparer.set_next_size(64 << 10);
        let taken = preparer.take(64 << 10).unwrap();
        let (reply, answer) = mpsc::channel();
        let other = preparer.clone();
        std::thread::spawn(move || reply.send(other.prepare()));
        assert!(answer.recv_timeout(Duration::from_millis(100)).is_err(), "preparing the next file waits");
        taken.file.write_at(0, &AlignedBuffer::zeroed(4096)).unwrap();
        disk.rename(PREPARED_NAME, "the segment").unwrap();
        drop(taken);
        answer.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
        assert_eq!(disk.list().unwrap(), [PREPARED_NAME, "the segment"]);
    }

    #[test]
    fn a_prepared_file_of_another_size_is_replaced() {
        for (prepared, needed) in [(16 << 10, 64 << 10), (64 << 10, 16 << 10)] {
            let disk = MemoryDisk::new();
            let preparer = Preparer::new(Arc::new(disk.clone()), 0);
            preparer.set_next_size(prepared);
            preparer.prepare().unwrap();
            assert!(preparer.is_prepared());
            // The space of the prepared file is enough for neither file beside the other.
            let capacity_bytes = Some(64 << 10);
            disk.set_faults(FaultPlan { capacity_bytes, ..FaultPlan::default() });
            let taken = preparer.take(needed).unwrap();
            assert_eq!(taken.file.size(), Ok(needed));
            disk.rename(PREPARED_NAME, "the segment").unwrap();
            drop(taken);
            disk.set_faults(FaultPlan::default());
            preparer.prepare().unwrap();
            preparer.set_next_size(needed);
            assert!(!preparer.is_prepared(), "the log expects another size now");
            preparer.prepare().unwrap();
            assert!(preparer.is_prepared());
            assert_eq!(disk.content(PREPARED_NAME).unwrap().len() as u64, needed);
        }
    }
}
