//! Tests that checkpoints are read back completely or not at all.

use super::*;
use crate::disk::BLOCK_SIZE;
use crate::{FaultPlan, MemoryDisk};

const HISTORY: HistoryPosition = HistoryPosition { movements: 5, refusals: 2 };

fn store(disk: &MemoryDisk) -> CheckpointStore {
    CheckpointStore::new(Arc::new(disk.clone()))
}

fn content(size: usize, salt: u8) -> Vec<u8> {
    (0..size).map(|at| u8::try_from(at % 250).unwrap() ^ salt).collect()
}

fn write(disk: &MemoryDisk, index: u64, size: usize) -> Result<WrittenCheckpoint, CheckpointError> {
    let mut writer = store(disk).begin(LogIndex(index), Term(3))?;
    for piece in content(size, 1).chunks(1000) {
        writer.write(piece)?;
    }
    writer.finish(HISTORY, Nanos(9))
}

fn name(index: u64) -> String {
    file_name(LogIndex(index), FINISHED)
}

#[test]
fn checkpoints_of_every_size_round_trip() {
    for size in [0, 1, 4063, 4064, 4065, 3 << 20] {
        let disk = MemoryDisk::new();
        let written = write(&disk, 7, size).unwrap();
        let read = store(&disk).load_newest().unwrap().unwrap();
        assert_eq!(read.bytes, content(size, 1), "{size} bytes");
        assert_eq!((read.index, read.term, read.time), (LogIndex(7), Term(3), Nanos(9)));
        assert_eq!((read.history, read.digest), (HISTORY, written.digest));
        assert_eq!(written.file_bytes, disk.content(&name(7)).unwrap().len() as u64);
    }
    assert_eq!(store(&MemoryDisk::new()).load_newest(), Ok(None));
}

#[test]
fn older_and_unfinished_checkpoints_are_removed() {
    let disk = MemoryDisk::new();
    write(&disk, 7, 100).unwrap();
    write(&disk, 9, 100).unwrap();
    assert_eq!(disk.list().unwrap(), [name(9)]);
    let mut writer = store(&disk).begin(LogIndex(12), Term(3)).unwrap();
    writer.write(b"never finished").unwrap();
    drop(writer);
    assert!(inspect(&disk).unwrap()[1].is_unfinished);
    assert_eq!(store(&disk).load_newest().unwrap().unwrap().index, LogIndex(9));
    assert_eq!(disk.list().unwrap(), [name(9)]);
}

#[test]
fn a_damaged_newest_checkpoint_is_an_error() {
    let disk = MemoryDisk::new();
    write(&disk, 7, 100).unwrap();
    let older = disk.content(&name(7)).unwrap();
    write(&disk, 9, 10_000).unwrap();
    disk.put(&name(7), &older);
    for offset in [0, 40, BLOCK_SIZE + 8, 2 * BLOCK_SIZE + 100, 4 * BLOCK_SIZE + 90, 5 * BLOCK_SIZE - 1] {
        let damaged = disk.restart();
        damaged.flip_bit(&name(9), offset as u64, 6).unwrap();
        let error = store(&damaged).load_newest().unwrap_err();
        let expected = (offset - offset % BLOCK_SIZE) as u64;
        let CheckpointError::Damaged { file, offset, .. } = &error else { panic!("{error:?}") };
        assert_eq!((file, *offset), (&name(9), expected));
        assert_eq!(inspect(&damaged).unwrap()[1].damage, Some(error));
    }
}

#[test]
fn a_checkpoint_that_lost_pages_is_an_error() {
    let disk = MemoryDisk::new();
    write(&disk, 9, 10_000).unwrap();
    let whole = disk.content(&name(9)).unwrap();
    for size in [0, 1, BLOCK_SIZE, 2 * BLOCK_SIZE, whole.len() - BLOCK_SIZE, whole.len() - 1] {
        disk.put(&name(9), &whole[..size]);
        let error = store(&disk).load_newest().unwrap_err();
        assert!(matches!(error, CheckpointError::Damaged { .. }), "{size} bytes: {error}");
    }
    let mut without_one = whole[..BLOCK_SIZE].to_vec();
    without_one.extend_from_slice(&whole[2 * BLOCK_SIZE..]);
    disk.put(&name(9), &without_one);
    assert!(store(&disk).load_newest().unwrap_err().to_string().contains("belongs to another place"));
}

#[test]
fn a_checkpoint_under_another_name_is_an_error() {
    let disk = MemoryDisk::new();
    write(&disk, 7, 100).unwrap();
    disk.rename(&name(7), &name(9)).unwrap();
    assert!(matches!(store(&disk).load_newest(), Err(CheckpointError::Damaged { offset: 0, .. })));
}

#[test]
fn an_unknown_version_is_reported_with_both_versions() {
    let disk = MemoryDisk::new();
    write(&disk, 7, 100).unwrap();
    let head = page::Head { version: 4, index: LogIndex(7), term: Term(3) };
    let mut bytes = disk.content(&name(7)).unwrap();
    bytes[..BLOCK_SIZE].copy_from_slice(&page::encode(LogIndex(7), 0, page::PageKind::Head, &head.encode()));
    disk.put(&name(7), &bytes);
    let expected = CheckpointError::UnknownVersion { file: name(7), found: 4, known: 1 };
    assert_eq!(store(&disk).load_newest(), Err(expected));
}

#[test]
fn a_crash_leaves_the_old_checkpoint_or_the_new_one() {
    let base = MemoryDisk::new();
    write(&base, 7, 5000).unwrap();
    let counted = base.restart();
    write(&counted, 9, 2 << 20).unwrap();
    for operation in 1..=counted.counts().total() {
        for seed in 0..8 {
            let disk = base.restart();
            disk.set_faults(FaultPlan { crash_at: Some(operation), ..FaultPlan::default() });
            let written = write(&disk, 9, 2 << 20);
            let found = store(&disk.crash(seed)).load_newest().unwrap().unwrap();
            let whole = if found.index == LogIndex(7) { 5000 } else { 2 << 20 };
            assert_eq!(found.bytes, content(whole, 1), "operation {operation}, seed {seed}");
            assert!(written.is_err() || found.index == LogIndex(9), "operation {operation}, seed {seed}");
        }
    }
}

#[test]
fn a_checkpoint_whose_write_failed_is_abandoned() {
    let disk = MemoryDisk::new();
    disk.set_faults(FaultPlan { capacity_bytes: Some(1 << 20), ..FaultPlan::default() });
    let mut writer = store(&disk).begin(LogIndex(7), Term(3)).unwrap();
    let error = writer.write(&content(3 << 20, 1)).unwrap_err();
    assert!(matches!(error, CheckpointError::Disk(DiskError::Full { .. })), "{error:?}");
    assert_eq!(writer.write(b"more"), Err(CheckpointError::Abandoned));
    assert_eq!(writer.finish(HISTORY, Nanos(9)), Err(CheckpointError::Abandoned));
    assert_eq!(store(&disk).load_newest(), Ok(None));
}

#[test]
fn a_replaced_checkpoint_is_read_in_pieces_of_any_size() {
    for size in [0, 1, 4063, 4064, 4065, 3 << 20] {
        let disk = MemoryDisk::new();
        assert!(store(&disk).open_newest().unwrap().is_none());
        let written = write(&disk, 7, size).unwrap();
        let mut reader = store(&disk).open_newest().unwrap().unwrap();
        write(&disk, 9, 100).unwrap();
        assert_eq!(disk.list().unwrap(), [name(9)]);
        assert_eq!((reader.index(), reader.term(), reader.time()), (LogIndex(7), Term(3), Nanos(9)));
        assert_eq!(
            (reader.history(), reader.digest(), reader.size()),
            (HISTORY, written.digest, size as u64)
        );
        for piece in [1 << 20, 100_000, 4064, 4063] {
            let mut read = Vec::new();
            loop {
                let bytes = reader.read(read.len() as u64, piece).unwrap();
                assert!(bytes.len() <= piece, "a piece has at most the requested size");
                if bytes.is_empty() {
                    break;
                }
                read.extend_from_slice(&bytes);
            }
            assert!(read == content(size, 1), "{size} bytes in pieces of {piece}");
        }
        assert_eq!(reader.read(u64::MAX, usize::MAX).unwrap(), []);
    }
}

#[test]
fn a_damaged_piece_of_a_checkpoint_is_an_error() {
    let disk = MemoryDisk::new();
    write(&disk, 7, 20_000).unwrap();
    disk.flip_bit(&name(7), 3 * BLOCK_SIZE as u64 + 100, 1).unwrap();
    let mut reader = store(&disk).open_newest().unwrap().unwrap();
    assert_eq!(reader.read(0, 2 * 4064).unwrap(), content(2 * 4064, 1));
    let error = reader.read(2 * 4064, 10).unwrap_err();
    assert!(matches!(error, CheckpointError::Damaged { offset: 12_288, .. }), "{error:?}");
    // The trailer's size reveals that a page is missing from the middle.
    let whole = MemoryDisk::new();
    write(&whole, 7, 20_000).unwrap();
    let mut bytes = whole.content(&name(7)).unwrap();
    let trailer = bytes.split_off(bytes.len() - BLOCK_SIZE);
    let last = u64::try_from(bytes.len() / BLOCK_SIZE - 1).unwrap();
    bytes.truncate(bytes.len() - BLOCK_SIZE);
    let content = &trailer[32..32 + 88];
    bytes.extend_from_slice(&page::encode(LogIndex(7), last, page::PageKind::Trailer, content));
    whole.put(&name(7), &bytes);
    let error = store(&whole).open_newest().unwrap_err();
    assert!(error.to_string().contains("other content"), "{error}");
}
