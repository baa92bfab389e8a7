//! The memory of answers, from the question to the last byte that the peer takes.
//!
//! A peer that asks and does not read leaves its answers with the server. So each answer has a [`Hold`] on
//! one budget for all connections: a small one from its admission on, and one for its rows, taken before the
//! node is asked. It is given back when the body is dropped and the connection has sent its bytes: they
//! carry the hold with them. A read that finds no room is refused before anything is done; a write is never
//! refused after it was admitted, and what its reply holds is counted all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bezant_api::Failure;
use bytes::Bytes;

use crate::limits::Limits;

/// Bytes that the smallest answer holds: its heads, its stream and its task.
pub(crate) const ANSWER_COST: usize = 4 << 10;
/// Bytes that an answer without an end holds in the buffers on its way.
pub(crate) const STREAM_COST: usize = 64 << 10;
/// Bytes that a row of an answer holds at the most: the node's record, the message or the shape that it
/// becomes, and its encoding.
const ROW_COST: usize = 1 << 10;

tokio::task_local! {
    /// The hold of the answer that this task is working on.
    static CURRENT: Arc<Hold>;
}

/// Bytes that all answers of the server hold.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    bytes: AtomicUsize,
}

/// What one answer holds of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    budget: Arc<Budget>,
    bytes: AtomicUsize,
    /// Reads find no room past so many bytes of all answers, and nothing is admitted past twice as many: slow
    /// readers of large answers do not keep small ones and writes out.
    bytes_max: usize,
    retry_after: Duration,
}

impl Hold {
    /// A hold of `cost` bytes, where there is room.
    pub(crate) fn new(budget: &Arc<Budget>, cost: usize, limits: &Limits) -> Result<Arc<Self>, Failure> {
        let hold = Self {
            budget: Arc::clone(budget),
            bytes: AtomicUsize::new(0),
            bytes_max: limits.answer_bytes_max,
            retry_after: limits.retry_after,
        };
        hold.take(cost, limits.answer_bytes_max.saturating_mul(2))?;
        Ok(Arc::new(hold))
    }

    /// Does some work of which the rows are counted here.
    pub(crate) async fn scope<Work: Future>(self: &Arc<Self>, work: Work) -> Work::Output {
        CURRENT.scope(Arc::clone(self), work).await
    }

    /// Holds exactly so many bytes, room or not.
    pub(crate) fn set(&self, size: usize) {
        let before = self.bytes.swap(size, Relaxed);
        if size >= before {
            self.budget.bytes.fetch_add(size - before, Relaxed);
        } else {
            self.budget.bytes.fetch_sub(before - size, Relaxed);
        }
    }

    /// Holds at least so many bytes, room or not.
    pub(crate) fn raise(&self, size: usize) {
        if size > self.bytes.load(Relaxed) {
            self.set(size);
        }
    }

    /// Bytes that keep this hold for as long as somebody keeps them.
    pub(crate) fn attach(self: &Arc<Self>, data: Bytes) -> Bytes {
        Bytes::from_owner(Held { data, _hold: Arc::clone(self) })
    }

    fn take(&self, size: usize, bytes_max: usize) -> Result<(), Failure> {
        let all = self.budget.bytes.fetch_add(size, Relaxed).saturating_add(size);
        self.bytes.fetch_add(size, Relaxed);
        if all <= bytes_max {
            return Ok(());
        }
        self.give_back(size);
        Err(Failure::overloaded("too many bytes of answers wait to be read", self.retry_after))
    }

    fn give_back(&self, size: usize) {
        self.bytes.fetch_sub(size, Relaxed);
        self.budget.bytes.fetch_sub(size, Relaxed);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.budget.bytes.fetch_sub(self.bytes.load(Relaxed), Relaxed);
    }
}

/// Bytes with the hold of their answer.
#[derive(Debug)]
struct Held {
    data: Bytes,
    _hold: Arc<Hold>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// Room for the rows of a question, taken before it is asked.
#[derive(Debug)]
#[must_use = "what the rows do not need is given back"]
pub(crate) struct Reserved {
    size: usize,
}

/// Takes room for so many rows of the answer that this task is working on; nothing where it works on none.
pub(crate) fn reserve(rows_max: usize) -> Result<Reserved, Failure> {
    let size = rows_max.saturating_mul(ROW_COST);
    let taken = CURRENT.try_with(|hold| hold.take(size, hold.bytes_max));
    taken.unwrap_or(Ok(())).map(|()| Reserved { size })
}

impl Reserved {
    /// So many rows came: the rest of the room is given back.
    pub(crate) fn settle(mut self, rows: usize) {
        self.size = self.size.saturating_sub(rows.saturating_mul(ROW_COST));
    }
}

impl Drop for Reserved {
    /// Of a question that failed, all is given back.
    fn drop(&mut self) {
        // Outside of an answer there is nothing to give back.
        CURRENT.try_with(|hold| hold.give_back(self.size)).unwrap_or_default();
    }
}

/// The answer of this task holds at least so many bytes.
pub(crate) fn raise(size: usize) {
    CURRENT.try_with(|hold| hold.raise(size)).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use bezant_api::{ErrorCode, v1};
    use bezant_types::{AccountView, Movement};

    use super::*;

    #[tokio::test]
    async fn a_read_without_room_is_refused_and_room_comes_back() {
        let limits = Limits { answer_bytes_max: 10 * ROW_COST, ..Limits::default() };
        let budget = Arc::<Budget>::default();
        let used = || budget.bytes.load(Relaxed);
        let hold = Hold::new(&budget, ROW_COST, &limits).unwrap();
        hold.scope(async {
            assert_eq!(reserve(10).unwrap_err().code, ErrorCode::Overloaded);
            assert_eq!(used(), ROW_COST, "what was refused is given back");
            drop(reserve(9).unwrap());
            assert_eq!(used(), ROW_COST, "a question that failed leaves nothing behind");
            reserve(9).unwrap().settle(2);
            assert_eq!(used(), 3 * ROW_COST);
            raise(5 * ROW_COST);
            raise(1);
        })
        .await;
        let data = hold.attach(Bytes::from_static(b"rows"));
        drop(hold);
        assert_eq!((used(), &data[..]), (5 * ROW_COST, &b"rows"[..]), "the bytes are not sent yet");
        drop(data);
        assert_eq!(used(), 0);
        reserve(usize::MAX).unwrap().settle(1);
    }

    #[test]
    fn small_answers_are_admitted_past_the_bound_of_reads() {
        let limits = Limits { answer_bytes_max: 100, ..Limits::default() };
        let budget = Arc::default();
        let reads = Hold::new(&budget, 150, &limits).unwrap();
        let small = Hold::new(&budget, 50, &limits).unwrap();
        assert_eq!(Hold::new(&budget, 1, &limits).unwrap_err().code, ErrorCode::Overloaded);
        drop((reads, small));
        assert_eq!(budget.bytes.load(Relaxed), 0);
    }

    #[test]
    fn a_row_costs_no_more_than_is_counted() {
        assert!(size_of::<v1::Account>() + 2 * size_of::<[u8; 64]>() <= ROW_COST, "a named account");
        assert!(size_of::<AccountView>() <= ROW_COST, "an account as the node shows it");
        assert!(size_of::<Movement>() + size_of::<v1::Transfer>() <= ROW_COST, "a transfer");
    }
}
