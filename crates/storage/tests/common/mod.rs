//! Helpers of the log's tests: small segments, and entries whose payload depends on their index.

#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::Arc;

use bezant_consensus::{EntryKind, LogEntry};
use bezant_storage::MemoryDisk;
use bezant_storage::log::{Log, LogError, LogOptions, Recovered};
use bezant_types::{LogIndex, Term};
use bytes::Bytes;

pub(crate) const BLOCK: usize = 4096;
pub(crate) const SECTOR: usize = 512;
/// 16 blocks: a header, 14 for frames, a seal.
pub(crate) const OPTIONS: LogOptions = LogOptions::fixed(64 << 10);
pub(crate) const FIRST: &str = "log-0000000000000001.bzl";

/// An entry of `size` bytes, none of them zero; its payload is unique to its index.
pub(crate) fn entry(index: u64, size: usize) -> LogEntry {
    let payload: Vec<u8> = (0..size as u64)
        .map(|at| u8::try_from((index.wrapping_mul(31) ^ at.wrapping_mul(7)) % 255 + 1).unwrap())
        .collect();
    LogEntry {
        index: LogIndex(index),
        term: Term(1),
        kind: EntryKind::Command,
        payload: Bytes::from(payload),
    }
}

pub(crate) fn open_at(disk: &MemoryDisk, checkpoint: u64) -> Result<(Log, Recovered), LogError> {
    Log::open(Arc::new(disk.clone()), OPTIONS, LogIndex(checkpoint))
}

pub(crate) fn open(disk: &MemoryDisk) -> Result<(Log, Recovered), LogError> {
    open_at(disk, 0)
}

/// All entries of a replay.
pub(crate) fn entries(recovered: &mut Recovered) -> Result<Vec<LogEntry>, LogError> {
    let mut entries = Vec::new();
    while let Some(entry) = recovered.entries.next()? {
        entries.push(entry);
    }
    Ok(entries)
}

/// Opens the log and returns all its entries.
pub(crate) fn recover(disk: &MemoryDisk) -> Result<Vec<LogEntry>, LogError> {
    let (_, mut recovered) = open(disk)?;
    entries(&mut recovered)
}

/// A log with one flush for each list of payload sizes in `flushes`.
pub(crate) fn written(flushes: &[&[usize]]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    for sizes in flushes {
        for size in *sizes {
            log.append(&entry(log.last_index().0 + 1, *size)).unwrap();
        }
        assert_eq!(log.flush().unwrap(), log.last_index());
    }
    disk
}

/// Sets a part of a file to zero, as if it had never been written.
pub(crate) fn blank(disk: &MemoryDisk, file: &str, from: usize, size: usize) {
    let mut content = disk.content(file).unwrap();
    content[from..from + size].fill(0);
    disk.put(file, &content);
}
