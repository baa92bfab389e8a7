//! Recovery of a damaged log. The result is an error or a prefix of the written entries, byte for byte. A
//! second recovery has the same result. A single flipped bit never removes an acknowledged entry without an
//! error.

use std::sync::{Arc, LazyLock};

use bezant_consensus::{EntryKind, LogEntry};
use bezant_storage::MemoryDisk;
use bezant_storage::log::{Log, LogOptions, inspect};
use bezant_types::{LogIndex, Term};
use bytes::Bytes;

use super::Target;
use super::damage::{self, Image};

pub(super) const TARGET: Target =
    Target { name: "log", about: "recovery of a damaged write-ahead log", seeds: damage::seeds, run };

const OPTIONS: LogOptions = LogOptions::fixed(8 * 4096);
/// Sizes of the payloads: empty, small, across several sectors, across several blocks.
const SIZES: [usize; 16] = [0, 1, 700, 64, 9000, 3, 4032, 4096, 100, 12_000, 5, 600, 600, 600, 8000, 7];

static IMAGE: LazyLock<Image> = LazyLock::new(|| {
    let disk = MemoryDisk::new();
    let (mut log, _) =
        Log::open(Arc::new(disk.clone()), OPTIONS, LogIndex(0)).expect("an empty folder opens");
    for entry in entries() {
        log.append(&entry).expect("nothing fails on this disk");
        if entry.index.0 % 3 != 0 {
            log.flush().expect("nothing fails on this disk");
        }
    }
    log.mark().expect("nothing fails on this disk");
    damage::image_of(&disk)
});

/// The entries of the log.
fn entries() -> impl Iterator<Item = LogEntry> {
    (1..).zip(SIZES).map(|(index, size)| {
        let byte = u8::try_from(index * 7 % 251).unwrap_or(1);
        let payload = Bytes::from(vec![byte; size]);
        LogEntry { index: LogIndex(index), term: Term(1 + index / 9), kind: EntryKind::Command, payload }
    })
}

fn run(input: &[u8]) {
    let disk = damage::damaged(&IMAGE, input);
    // Every result is valid here; the inspection must not panic or change the disk.
    drop(inspect(&disk, LogIndex(0)));
    let Some(last) = recover(&disk, LogIndex(0)) else { return };
    let written = u64::try_from(SIZES.len()).unwrap_or(0);
    assert!(
        !damage::is_one_bit(input) || last.0 == written,
        "one flipped bit removed the entries after {last}"
    );
    assert_eq!(recover(&disk, LogIndex(0)), Some(last), "a second recovery has the same result");
    append_after_recovery(&disk, last);
}

/// Recovers the log and compares its entries with the written ones. Returns the last index; `None` when
/// recovery failed.
fn recover(disk: &MemoryDisk, checkpoint: LogIndex) -> Option<LogIndex> {
    let (log, mut recovered) = Log::open(Arc::new(disk.clone()), OPTIONS, checkpoint).ok()?;
    let mut expected = entries();
    let mut count = 0;
    while let Ok(Some(entry)) = recovered.entries.next() {
        assert_eq!(Some(entry), expected.next(), "recovery returned an entry that was never written");
        count += 1;
    }
    // Damage in the middle of the log is found only by reading, so the reader may end before the last index.
    if count < log.last_index().0 {
        assert!(recovered.entries.next().is_err(), "the reader ended early without an error");
        return None;
    }
    Some(log.last_index())
}

/// A recovered log accepts another entry and keeps it.
fn append_after_recovery(disk: &MemoryDisk, last: LogIndex) {
    let Ok((mut log, recovered)) = Log::open(Arc::new(disk.clone()), OPTIONS, LogIndex(0)) else {
        panic!("the log was opened before");
    };
    let term = Term(recovered.last_term.0.max(1));
    let entry = LogEntry {
        index: last.next(),
        term,
        kind: EntryKind::Engine,
        payload: Bytes::from_static(b"after recovery"),
    };
    log.append(&entry).expect("nothing fails on this disk");
    log.flush().expect("nothing fails on this disk");
    let (_, mut recovered) =
        Log::open(Arc::new(disk.clone()), OPTIONS, last).expect("the log was opened before");
    assert_eq!(
        recovered.entries.next(),
        Ok(Some(entry)),
        "an entry that was flushed after recovery is found"
    );
}
