//! Builds first runs (runs of level 0) from rows.
//!
//! Each posting is packed into one integer: the key in the upper bits, the row's position in the lower bits.
//! The integers are radix-sorted per kind. Rows arrive in order and the sort is stable, so sorting by key
//! also leaves them sorted by row.

use std::sync::Arc;

use super::filter::Filter;
use super::key::{KEY_BITS, Kind, key};
use super::page::place;
use super::postings::Posting;
use super::row::Row;
use super::run::{Run, RunName, Summary};
use super::run_writer::RunWriter;
use super::tail::Chunk;
use crate::disk::{Disk, DiskError};

/// Bits of a row's position in a first run.
const ROW_BITS: u32 = u64::BITS - KEY_BITS;
/// Bits of one digit of the sort: its counters fit into the first-level cache.
const DIGIT_BITS: u32 = 11;
const DIGITS: usize = 1 << DIGIT_BITS;
/// Below this number of values, a comparison sort is used.
const RADIX_MIN: usize = 2048;

/// Builds the first run over `rows`, which the chunks contain.
pub(crate) fn build<R: Row>(
    disk: Arc<dyn Disk>,
    name: RunName,
    rows: std::ops::Range<u64>,
    chunks: &[Chunk<R>],
) -> Result<Run, DiskError> {
    let mut postings = Postings::default();
    let mut ids = (u128::MAX, 0_u128);
    let mut timestamps = Vec::new();
    let mut at = 0;
    for chunk in chunks {
        let (first, part) = chunk.part(&rows);
        assert_eq!(first, rows.start + at, "the chunks have no gap");
        for row in part {
            row.describe(|kind, value| {
                postings.add(kind, value, at);
                if kind == Kind::Id {
                    ids = (ids.0.min(value), ids.1.max(value));
                }
            });
            if R::TABLE.has_timestamps() && at.is_multiple_of(R::PER_PAGE) {
                timestamps.push(row.timestamp().0);
            }
            at += 1;
        }
    }
    assert_eq!(at, rows.end - rows.start, "the chunks hold all rows");
    let mut writer = RunWriter::create(disk, name)?;
    let filter = postings.write(&mut writer)?;
    writer.finish(Summary { rows, ids, timestamps, filter }, false)
}

/// The postings of the rows that were added so far.
#[derive(Default)]
struct Postings {
    /// For each kind without intervals: keys and positions.
    packed: [Vec<u64>; Kind::ALL.len()],
    /// For each kind with intervals: its postings.
    intervals: [Intervals; Kind::ALL.len()],
}

#[derive(Default)]
struct Intervals {
    value: u128,
    done: Vec<Posting>,
}

impl Postings {
    fn add(&mut self, kind: Kind, value: u128, at: u64) {
        if kind.has_intervals() {
            self.intervals[kind.index()].add(kind, value, at);
        } else {
            self.packed[kind.index()].push(key(kind, value) << ROW_BITS | at);
        }
    }

    fn write(&mut self, writer: &mut RunWriter) -> Result<Filter, DiskError> {
        let filtered = Kind::ALL.iter().filter(|kind| kind.is_filtered());
        let keys: usize = filtered.map(|kind| self.packed[kind.index()].len()).sum();
        let mut filter = Filter::new(keys as u64);
        let mut scratch = Vec::new();
        for kind in Kind::ALL {
            writer.begin(kind);
            let packed = &mut self.packed[kind.index()];
            sort(packed, &mut scratch);
            for packed in packed {
                let posting = unpack(*packed);
                if kind.is_filtered() {
                    filter.insert(posting.key);
                }
                writer.push(posting)?;
            }
            let intervals = &mut self.intervals[kind.index()].done;
            intervals.sort_unstable();
            for posting in intervals {
                writer.push(*posting)?;
            }
            writer.end()?;
        }
        Ok(filter)
    }
}

impl Intervals {
    fn add(&mut self, kind: Kind, value: u128, at: u64) {
        if let Some(last) = self.done.last_mut()
            && self.value == value
            && last.end == at
        {
            last.end += 1;
        } else {
            self.value = value;
            self.done.push(Posting { key: key(kind, value), row: at, end: at + 1 });
        }
    }
}

const fn unpack(packed: u64) -> Posting {
    let row = packed & ((1 << ROW_BITS) - 1);
    Posting { key: packed >> ROW_BITS, row, end: row + 1 }
}

/// Sorts values that are already sorted by their lower [`ROW_BITS`] bits.
pub(crate) fn sort(values: &mut Vec<u64>, scratch: &mut Vec<u64>) {
    if values.len() < RADIX_MIN {
        values.sort_unstable();
        return;
    }
    scratch.clear();
    scratch.resize(values.len(), 0);
    for shift in (ROW_BITS..u64::BITS).step_by(DIGIT_BITS as usize) {
        let digit = |value: u64| place(value >> shift) & (DIGITS - 1);
        let mut places = [0_usize; DIGITS];
        for value in &*values {
            places[digit(*value)] += 1;
        }
        let mut sum = 0;
        for place in &mut places {
            sum += std::mem::replace(place, sum);
        }
        for value in &*values {
            let place = &mut places[digit(*value)];
            scratch[*place] = *value;
            *place += 1;
        }
        std::mem::swap(values, scratch);
    }
}

const _: () = assert!(KEY_BITS.is_multiple_of(DIGIT_BITS), "the digits cover the key exactly");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn radix_sort_equals_comparison_sort() {
        let values: Vec<u64> =
            (0..10_000).map(|row| key(Kind::Id, u128::from(row % 700)) << ROW_BITS | row).collect();
        let mut expected = values.clone();
        expected.sort_unstable();
        let mut sorted = values;
        sort(&mut sorted, &mut Vec::new());
        assert_eq!(sorted, expected);
    }
}
