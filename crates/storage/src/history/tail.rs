//! The newest rows, kept in memory until they are written and in a run.
//!
//! The tail is divided into blocks at the boundaries of first runs; a whole block is dropped when its run
//! replaces it. Each block has a hash table of its ids; all other values are found by a scan of the rows.
//! Rows arrive in shared slices, as the state machine made them. Small slices are joined to keep their number
//! low.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bezant_types::RowBatch;
use hashbrown::HashTable;

use super::key::{Kind, key};
use super::page::place;
use super::row::Row;

/// Maximal rows of a joined slice.
const CHUNK_ROWS: usize = 4096;

/// Consecutive rows.
#[derive(Clone, Debug)]
pub(crate) struct Chunk<R> {
    /// Number of the first row.
    pub(crate) first: u64,
    /// Never empty.
    pub(crate) rows: RowBatch<R>,
}

impl<R> Chunk<R> {
    /// The number after the last row.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.rows.len() as u64
    }

    /// Its rows with numbers in `range`, and the number of the first of them.
    pub(crate) fn part(&self, range: &Range<u64>) -> (u64, &[R]) {
        let from = range.start.clamp(self.first, self.end());
        let to = range.end.clamp(from, self.end());
        (from, &self.rows[place(from - self.first)..place(to - self.first)])
    }
}

/// The rows that no run contains yet.
#[derive(Debug)]
pub(crate) struct Tail<R> {
    /// Rows per block.
    block_rows: u64,
    /// In order; the first chunk may begin with rows that are already in runs.
    chunks: VecDeque<Chunk<R>>,
    /// In order; the last block is being filled.
    blocks: VecDeque<Block>,
}

/// The ids of one block of rows.
#[derive(Debug)]
pub(crate) struct Block {
    /// Number of its first row: a multiple of the rows per block.
    first: u64,
    /// The lower 32 bits of keys, and row positions counted from `first`.
    places: HashTable<(u32, u32)>,
}

/// One entry that a row adds to its block's table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    key: u64,
    row: u64,
}

/// The table entries of the rows from `first` on; computed before the lock is taken.
pub(crate) fn identities<R: Row>(first: u64, rows: &[R]) -> Vec<Identity> {
    let mut identities = Vec::with_capacity(rows.len());
    for (number, row) in (first..).zip(rows) {
        row.identify(|kind, value| identities.push(Identity { key: key(kind, value), row: number }));
    }
    identities
}

impl<R: Row> Tail<R> {
    /// An empty tail whose next row is `first`, the first of a block.
    pub(crate) fn new(first: u64, block_rows: u64) -> Self {
        assert!(first.is_multiple_of(block_rows), "a tail begins with a block");
        let blocks = VecDeque::from([Block::new(first, block_rows)]);
        Self { block_rows, chunks: VecDeque::new(), blocks }
    }

    /// The number of its first row.
    pub(crate) fn first(&self) -> u64 {
        self.blocks.front().expect("invariant: one block is always being filled").first
    }

    /// The number of the next row.
    pub(crate) fn end(&self) -> u64 {
        self.chunks.back().map_or_else(|| self.first(), Chunk::end)
    }

    /// Adds rows and their identities.
    pub(crate) fn push(&mut self, rows: RowBatch<R>, identities: &[Identity]) {
        if rows.is_empty() {
            return;
        }
        let mut chunk = Chunk { first: self.end(), rows };
        while let Some(last) = self.chunks.back()
            && last.rows.len() <= chunk.rows.len() * 2
            && last.rows.len() + chunk.rows.len() <= CHUNK_ROWS
        {
            let rows: Vec<R> = last.rows.iter().chain(&*chunk.rows).copied().collect();
            chunk = Chunk { first: last.first, rows: RowBatch::new(rows) };
            self.chunks.pop_back();
        }
        self.chunks.push_back(chunk);
        for identity in identities {
            self.block_for(identity.row).insert(*identity);
        }
        // The last rows may have no identities, but the block that is being filled must exist.
        self.block_for(self.end());
    }

    /// The row that carries that unique value; `None` when it is not in the tail.
    pub(crate) fn find(&self, kind: Kind, value: u128, key: u64) -> Option<(u64, R)> {
        self.blocks.iter().rev().find_map(|block| {
            let is_it = |(part, at): &(u32, u32)| {
                *part == key_part(key)
                    && self.row(block.first + u64::from(*at)).is_some_and(|row| row.has(kind, value))
            };
            let (_, at) = block.places.find(spread(key_part(key)), is_it)?;
            let number = block.first + u64::from(*at);
            Some((number, *self.row(number)?))
        })
    }

    /// The rows; shared, not copied.
    pub(crate) fn chunks(&self) -> Arc<[Chunk<R>]> {
        self.chunks.iter().cloned().collect()
    }

    /// The oldest block, if it is full: its number, its row numbers, and the chunks that contain them.
    pub(crate) fn full_block(&self) -> Option<(u64, Range<u64>, Vec<Chunk<R>>)> {
        let first = self.first();
        let end = first + self.block_rows;
        if self.end() < end {
            return None;
        }
        let chunks = self.chunks.iter().take_while(|chunk| chunk.first < end).cloned().collect();
        Some((first / self.block_rows, first..end, chunks))
    }

    /// Removes the oldest block. The result should be dropped after the lock is released.
    pub(crate) fn drop_block(&mut self) -> (Block, Vec<Chunk<R>>) {
        let block = self.blocks.pop_front().expect("invariant: only full blocks are dropped");
        let first = self.first();
        let mut dropped = Vec::new();
        while let Some(chunk) = self.chunks.pop_front_if(|chunk| chunk.end() <= first) {
            dropped.push(chunk);
        }
        (block, dropped)
    }

    fn row(&self, number: u64) -> Option<&R> {
        let after = self.chunks.partition_point(|chunk| chunk.first <= number);
        let chunk = self.chunks.get(after.checked_sub(1)?)?;
        chunk.rows.get(place(number - chunk.first))
    }

    fn block_for(&mut self, row: u64) -> &mut Block {
        while let Some(newest) = self.blocks.back()
            && row >= newest.first + self.block_rows
        {
            self.blocks.push_back(Block::new(newest.first + self.block_rows, self.block_rows));
        }
        let from_front = (row - self.first()) / self.block_rows;
        self.blocks.get_mut(place(from_front)).expect("invariant: rows are added in order")
    }
}

impl Block {
    fn new(first: u64, rows: u64) -> Self {
        // Allocated at once: growing in the middle of an entry would delay readers.
        Self { first, places: HashTable::with_capacity(place(rows)) }
    }

    fn insert(&mut self, identity: Identity) {
        let part = key_part(identity.key);
        let at = u32::try_from(identity.row - self.first).expect("invariant: a block has few rows");
        self.places.insert_unique(spread(part), (part, at), |(part, _)| spread(*part));
    }
}

/// The part of a key that a table keeps.
fn key_part(key: u64) -> u32 {
    let [a, b, c, d, ..] = key.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn spread(part: u32) -> u64 {
    u64::from(part).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
