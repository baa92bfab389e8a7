//! Tests of the transfer of rows to another replica: all rows arrive, in order, and give the same history
//! there. Damaged bytes are rejected.

use bezant_types::{HistoryPosition, Movement, Refusal};

use super::lifecycle::{filled, open};
use super::model::Model;
use crate::history::row::Row;
use crate::history::{History, RowChunk};
use crate::{MemoryDisk, disk::Disk};

/// Sends the rows from the follower's end to `until` in chunks.
fn send(history: &History, follower: &mut History, until: HistoryPosition, size_max: usize) {
    let reader = history.reader();
    while follower.position() != until {
        let from = follower.position();
        let chunk = reader.chunk(from, until, size_max).unwrap();
        assert_eq!(chunk.from, from);
        let (movements, refusals) = (chunk.movements.len(), chunk.refusals.len());
        assert!(movements + refusals > 0, "a chunk has at least one row");
        let size = movements * <Movement as Row>::SIZE + refusals * <Refusal as Row>::SIZE;
        assert!(size <= size_max || movements + refusals == 1, "a chunk is within its limit, or has one row");
        let received = RowChunk::decode(&chunk.encode()).unwrap();
        assert_eq!((received.from, &received.movements), (chunk.from, &chunk.movements));
        assert_eq!(received.refusals, chunk.refusals);
        follower.append(received.movements, received.refusals).unwrap();
        while follower.maintain().unwrap() {}
    }
}

fn files(disk: &MemoryDisk) -> Vec<(String, Vec<u8>)> {
    let content = |name: String| (name.clone(), disk.content(&name).unwrap());
    disk.list().unwrap().into_iter().map(content).collect()
}

#[test]
fn transferred_rows_give_equal_files_and_answers() {
    let disk = MemoryDisk::new();
    let (history, model) = filled(&disk, 12);
    for size_max in [0, 1000, 20_000, 1 << 20, usize::MAX] {
        let copy = MemoryDisk::new();
        let mut follower = open(&copy, HistoryPosition::default()).unwrap();
        send(&history, &mut follower, model.position(), size_max);
        follower.flush().unwrap();
        model.check(&follower, 3, 60);
        assert!(files(&copy) == files(&disk), "chunks of {size_max} bytes");
        let reopened = open(&copy.restart(), model.position()).unwrap();
        model.check(&reopened, 4, 20);
    }
}

#[test]
fn a_follower_continues_after_its_last_row() {
    let disk = MemoryDisk::new();
    let (history, model) = filled(&disk, 9);
    let copy = MemoryDisk::new();
    let (follower, start) = filled_as_far(&copy, &model, 700, 90);
    drop(follower);
    let mut follower = open(&copy.restart(), start).unwrap();
    send(&history, &mut follower, model.position(), 9999);
    model.check(&follower, 5, 60);
}

/// A history with the first rows of a model.
fn filled_as_far(
    disk: &MemoryDisk,
    model: &Model,
    movements: usize,
    refusals: usize,
) -> (History, HistoryPosition) {
    let mut history = open(disk, HistoryPosition::default()).unwrap();
    let movements = model.movements[..movements].to_vec().into();
    history.append(movements, model.refusals[..refusals].to_vec().into()).unwrap();
    let position = history.flush().unwrap();
    (history, position)
}

#[test]
fn a_chunk_contains_only_existing_rows() {
    let disk = MemoryDisk::new();
    let (history, model) = filled(&disk, 3);
    let (reader, end) = (history.reader(), model.position());
    let far = HistoryPosition { movements: end.movements + 1000, refusals: u64::MAX };
    let counts = |from, until| {
        let chunk = reader.chunk(from, until, 1 << 30).unwrap();
        (chunk.movements.len() as u64, chunk.refusals.len() as u64)
    };
    assert_eq!(counts(end, far), (0, 0));
    assert_eq!(counts(far, end), (0, 0));
    assert_eq!(counts(end, end), (0, 0));
    assert_eq!(counts(HistoryPosition::default(), far), (end.movements, end.refusals));
}

#[test]
fn truncated_and_changed_bytes_are_rejected() {
    let disk = MemoryDisk::new();
    let (history, model) = filled(&disk, 2);
    let chunk = history.reader().chunk(HistoryPosition::default(), model.position(), 3000).unwrap();
    let bytes = chunk.encode();
    assert!(bytes.len() > 2000, "{} bytes", bytes.len());
    for size in 0..bytes.len() {
        assert!(RowChunk::decode(&bytes[..size]).is_err(), "cut to {size}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(RowChunk::decode(&flipped).is_err(), "bit {bit}");
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert!(RowChunk::decode(&longer).is_err());
}

#[test]
fn wrong_counts_are_rejected_even_with_a_valid_checksum() {
    for counts in [[u32::MAX, u32::MAX], [1, 0], [0, 1]] {
        let mut bytes = vec![0; 16];
        bytes.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
        bytes.extend([0; 31]);
        let checksum = bezant_codec::checksum(&bytes);
        bytes.extend(checksum.to_le_bytes());
        assert!(RowChunk::decode(&bytes).is_err(), "{counts:?}");
    }
}
