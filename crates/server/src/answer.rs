//! The memory of answers, from the request to the last byte that the peer takes.
//!
//! The answers to a peer that does not read them stay in the server's memory. So each answer has an
//! [`AnswerMemory`], which counts in two budgets that all peer addresses share. The first is small: it covers
//! what any answer costs, from the admission of the request on. The second covers the rows of the answer and
//! is taken before the node is asked. Both are returned when the body is dropped and the connection has sent
//! its bytes, which keep the `AnswerMemory` alive. A read that does not fit in the budgets is refused before
//! anything is done. A write is never refused after it was admitted; what its reply holds is counted
//! nevertheless. Bytes that all answers share (the documentation) count for none of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bezant_api::Failure;
use bytes::Bytes;

use crate::share::{Budget, Share};

/// Bytes that the smallest answer holds: its heads, its stream and its task. As many bytes of its body are
/// not counted.
pub(crate) const ANSWER_COST: usize = 4 << 10;
/// Bytes that an endless answer holds: a page of change events in each of the buffers on its way.
pub(crate) const STREAM_COST: usize = 256 << 10;
/// The most bytes that a row of an answer holds: the node's record, the message or JSON shape that it
/// becomes, and its encoding.
const ROW_COST: usize = 1 << 10;

/// What one answer takes of the budgets for memory; returned when dropped.
#[derive(Debug)]
pub(crate) struct AnswerMemory {
    share: Arc<Share>,
    /// Bytes taken from [`Budget::AnswerBytes`].
    cost: AtomicUsize,
    /// Bytes taken from [`Budget::RowBytes`].
    rows: AtomicUsize,
}

impl AnswerMemory {
    /// Takes `cost` bytes. Refused when they do not fit, or when rows that wait for this address to read them
    /// leave no space for the reads of other addresses.
    pub(crate) fn new(share: &Arc<Share>, cost: usize) -> Result<Arc<Self>, Failure> {
        if share.is_past_twice(Budget::RowBytes) {
            return Err(share.refusal(Budget::RowBytes));
        }
        share.take(Budget::AnswerBytes, cost)?;
        let (cost, rows) = (AtomicUsize::new(cost), AtomicUsize::new(0));
        Ok(Arc::new(Self { share: Arc::clone(share), cost, rows }))
    }

    /// The share of the peer's address, in which this memory counts.
    pub(crate) const fn share(&self) -> &Arc<Share> {
        &self.share
    }

    /// Takes a place among the reads, and the space for `rows_max` rows.
    pub(crate) fn reserve(&self, rows_max: usize) -> Result<Reserved<'_>, Failure> {
        let size = rows_max.saturating_mul(ROW_COST);
        self.share.take(Budget::Reads, 1)?;
        self.take(size).inspect_err(|_| self.share.give(Budget::Reads, 1))?;
        Ok(Reserved { memory: Some(self), size })
    }

    /// Marks the answer as endless: it then costs [`STREAM_COST`].
    pub(crate) fn mark_stream(&self) {
        let before = self.cost.swap(STREAM_COST, Relaxed);
        self.share.add(Budget::AnswerBytes, STREAM_COST);
        self.share.give(Budget::AnswerBytes, before);
    }

    /// Sets the bytes that are held besides the cost, whether they fit in the budget or not.
    pub(crate) fn set(&self, size: usize) {
        let before = self.rows.swap(size, Relaxed);
        if size > before {
            self.share.add(Budget::RowBytes, size - before);
        } else if size < before {
            self.share.give(Budget::RowBytes, before - size);
        }
    }

    /// Raises the bytes that are held besides the cost to at least `size`, whether they fit in the budget or
    /// not.
    pub(crate) fn raise(&self, size: usize) {
        if size > self.rows.load(Relaxed) {
            self.set(size);
        }
    }

    /// Bytes that keep this memory counted until they are dropped.
    pub(crate) fn attach(self: &Arc<Self>, data: Bytes) -> Bytes {
        Bytes::from_owner(Counted { data, _memory: Arc::clone(self) })
    }

    fn take(&self, size: usize) -> Result<(), Failure> {
        self.share.take(Budget::RowBytes, size)?;
        self.rows.fetch_add(size, Relaxed);
        Ok(())
    }

    fn give_back(&self, size: usize) {
        self.rows.fetch_sub(size, Relaxed);
        self.share.give(Budget::RowBytes, size);
    }
}

impl Drop for AnswerMemory {
    fn drop(&mut self) {
        self.share.give(Budget::AnswerBytes, *self.cost.get_mut());
        let rows = *self.rows.get_mut();
        if rows > 0 {
            self.share.give(Budget::RowBytes, rows);
        }
    }
}

/// Bytes of an answer, and the memory account of that answer.
#[derive(Debug)]
struct Counted {
    data: Bytes,
    _memory: Arc<AnswerMemory>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// The space for the rows of a read, and its place among the reads; taken before the node is asked.
#[derive(Debug, Default)]
#[must_use = "the space that the rows do not need is returned"]
pub(crate) struct Reserved<'memory> {
    /// `None` where no answer counts its rows: then nothing was taken.
    memory: Option<&'memory AnswerMemory>,
    /// Bytes that are returned when this is dropped.
    size: usize,
}

impl Reserved<'_> {
    /// Keeps the space of the `rows` that the node returned and returns the rest.
    pub(crate) fn settle(mut self, rows: usize) {
        self.size = self.size.saturating_sub(rows.saturating_mul(ROW_COST));
    }
}

impl Drop for Reserved<'_> {
    /// Returns the place among the reads, and all of the space when the read failed.
    fn drop(&mut self) {
        if let Some(memory) = self.memory {
            memory.share.give(Budget::Reads, 1);
            memory.give_back(self.size);
        }
    }
}

#[cfg(test)]
mod tests {
    use bezant_api::{ErrorCode, v1};
    use bezant_types::{AccountView, Movement};

    use super::*;
    use crate::limits::Limits;
    use crate::share::tests::share;

    fn share_of(answer_bytes_max: usize) -> Arc<Share> {
        share(&Limits { answer_bytes_max, ..Limits::default() })
    }

    #[test]
    fn a_read_beyond_the_budget_is_refused_and_space_returns() {
        let share = share_of(20 * ROW_COST);
        let rows = || share.held(Budget::RowBytes) / ROW_COST;
        let memory = AnswerMemory::new(&share, ROW_COST).unwrap();
        assert_eq!(memory.reserve(21).unwrap_err().code, ErrorCode::Overloaded);
        assert_eq!((rows(), share.held(Budget::Reads)), (0, 0), "a refused read holds nothing");
        drop(memory.reserve(20).unwrap());
        assert_eq!(rows(), 0, "a failed read holds nothing");
        let reserved = memory.reserve(9).unwrap();
        assert_eq!(share.held(Budget::Reads), 1);
        reserved.settle(2);
        assert_eq!((rows(), share.held(Budget::Reads)), (2, 0));
        memory.raise(5 * ROW_COST);
        memory.raise(1);
        let data = memory.attach(Bytes::from_static(b"rows"));
        drop(memory);
        assert_eq!((rows(), &data[..]), (5, &b"rows"[..]), "the bytes are not sent yet");
        drop(data);
        assert_eq!((rows(), share.held(Budget::AnswerBytes)), (0, 0));
    }

    #[test]
    fn small_answers_are_admitted_past_the_bound_of_reads() {
        let share = share_of(90 * ROW_COST);
        let reads = AnswerMemory::new(&share, 1).unwrap();
        reads.reserve(45).unwrap().settle(45);
        let small = AnswerMemory::new(&share, 1).unwrap();
        assert_eq!(small.reserve(1).unwrap_err().code, ErrorCode::Overloaded);
        // Replies to writes have no separate limit: past this the address can write again only once it has
        // read.
        reads.set(61 * ROW_COST);
        assert_eq!(AnswerMemory::new(&share, 1).unwrap_err().code, ErrorCode::Overloaded);
        reads.set(60 * ROW_COST);
        drop((AnswerMemory::new(&share, 1).unwrap(), reads, small));
        assert_eq!(share.held(Budget::RowBytes), 0);
    }

    #[test]
    fn a_row_costs_no_more_than_is_counted() {
        assert!(size_of::<v1::Account>() + 2 * size_of::<[u8; 64]>() <= ROW_COST, "a named account");
        assert!(size_of::<AccountView>() <= ROW_COST, "an account as the node returns it");
        assert!(size_of::<Movement>() + size_of::<v1::Transfer>() <= ROW_COST, "a transfer");
    }
}
