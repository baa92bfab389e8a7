//! The memory of answers, from the question to the last byte that the peer takes.
//!
//! A peer that asks and does not read leaves its answers with the server. So each answer has a [`Hold`] on
//! two budgets, each shared by peer addresses: from its admission on a small one, of what any answer costs, and one for
//! its rows, taken before the node is asked. They are given back when the body is dropped and the connection has sent
//! its bytes, which carry the hold with them. A read that finds no room is refused before anything is done; a
//! write is never refused after it was admitted, and what its reply holds is counted all the same. Bytes that all answers
//! share (the documentation) are held by none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bezant_api::Failure;
use bytes::Bytes;
use tokio::task::futures::TaskLocalFuture;

use crate::share::{Budget, Share, Taken};

/// Bytes that the smallest answer holds: its heads, its stream and its task. As many bytes of its body do not count.
pub(crate) const ANSWER_COST: usize = 4 << 10;
/// Bytes that an answer without an end holds: a page of change events in each of the buffers on its way.
pub(crate) const STREAM_COST: usize = 256 << 10;
/// Bytes that a row of an answer holds at the most: the node's record, the message or the shape that it
/// becomes, and its encoding.
const ROW_COST: usize = 1 << 10;

tokio::task_local! {
    /// The hold of the answer that this task is working on.
    static CURRENT: Arc<Hold>;
}

/// What one answer holds of the budgets; given back when dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    share: Arc<Share>,
    /// Of [`Budget::AnswerBytes`].
    cost: AtomicUsize,
    /// Of [`Budget::RowBytes`].
    rows: AtomicUsize,
}

impl Hold {
    /// A hold of `cost` bytes, where there is room, and while those of rows that wait for this address to read them
    /// leave room for the reads of others.
    pub(crate) fn new(share: &Arc<Share>, cost: usize) -> Result<Arc<Self>, Failure> {
        if share.is_past_twice(Budget::RowBytes) {
            return Err(share.refusal(Budget::RowBytes));
        }
        share.take(Budget::AnswerBytes, cost)?;
        let (cost, rows) = (AtomicUsize::new(cost), AtomicUsize::new(0));
        Ok(Arc::new(Self { share: Arc::clone(share), cost, rows }))
    }

    /// Does some work of which the rows are counted here.
    pub(crate) fn scope<Work: Future>(self: &Arc<Self>, work: Work) -> TaskLocalFuture<Arc<Self>, Work> {
        CURRENT.scope(Arc::clone(self), work)
    }

    /// It is an answer without an end.
    pub(crate) fn mark_stream(&self) {
        let before = self.cost.swap(STREAM_COST, Relaxed);
        self.share.add(Budget::AnswerBytes, STREAM_COST);
        self.share.give(Budget::AnswerBytes, before);
    }

    /// Holds exactly so many bytes besides its cost, room or not.
    pub(crate) fn set(&self, size: usize) {
        let before = self.rows.swap(size, Relaxed);
        if size > before {
            self.share.add(Budget::RowBytes, size - before);
        } else if size < before {
            self.share.give(Budget::RowBytes, before - size);
        }
    }

    /// Holds at least so many bytes besides its cost, room or not.
    pub(crate) fn raise(&self, size: usize) {
        if size > self.rows.load(Relaxed) {
            self.set(size);
        }
    }

    /// Bytes that keep this hold for as long as somebody keeps them.
    pub(crate) fn attach(self: &Arc<Self>, data: Bytes) -> Bytes {
        Bytes::from_owner(Held { data, _hold: Arc::clone(self) })
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

impl Drop for Hold {
    fn drop(&mut self) {
        self.share.give(Budget::AnswerBytes, *self.cost.get_mut());
        let rows = *self.rows.get_mut();
        if rows > 0 {
            self.share.give(Budget::RowBytes, rows);
        }
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

/// A place among the streams, for the address whose request this task is working on; `None` where it works on none.
pub(crate) fn stream_place() -> Result<Option<Taken>, Failure> {
    let share = CURRENT.try_with(|hold| Arc::clone(&hold.share)).ok();
    share.map(|share| share.hold(Budget::Streams, 1)).transpose()
}

/// Room for the rows of a question, and its place among the reads, taken before it is asked.
#[derive(Debug)]
#[must_use = "what the rows do not need is given back"]
pub(crate) struct Reserved {
    size: usize,
}

/// Takes a place and room for so many rows of the answer that this task is working on; nothing where it works on none.
pub(crate) fn reserve(rows_max: usize) -> Result<Reserved, Failure> {
    let size = rows_max.saturating_mul(ROW_COST);
    let taken = CURRENT.try_with(|hold| {
        hold.share.take(Budget::Reads, 1)?;
        hold.take(size).inspect_err(|_| hold.share.give(Budget::Reads, 1))
    });
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
        let give_back = |hold: &Arc<Hold>| {
            hold.share.give(Budget::Reads, 1);
            hold.give_back(self.size);
        };
        // Outside of an answer there is nothing to give back.
        CURRENT.try_with(give_back).unwrap_or_default();
    }
}

/// The answer of this task holds at least so many bytes besides its cost.
pub(crate) fn raise(size: usize) {
    CURRENT.try_with(|hold| hold.raise(size)).unwrap_or_default();
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

    #[tokio::test]
    async fn a_read_without_room_is_refused_and_room_comes_back() {
        let share = share_of(20 * ROW_COST);
        let rows = || share.held(Budget::RowBytes) / ROW_COST;
        let hold = Hold::new(&share, ROW_COST).unwrap();
        hold.scope(async {
            assert_eq!(reserve(21).unwrap_err().code, ErrorCode::Overloaded);
            assert_eq!((rows(), share.held(Budget::Reads)), (0, 0), "what was refused is given back");
            drop(reserve(20).unwrap());
            assert_eq!(rows(), 0, "a question that failed leaves nothing");
            let reserved = reserve(9).unwrap();
            assert_eq!(share.held(Budget::Reads), 1);
            reserved.settle(2);
            assert_eq!((rows(), share.held(Budget::Reads)), (2, 0));
            raise(5 * ROW_COST);
            raise(1);
        })
        .await;
        let data = hold.attach(Bytes::from_static(b"rows"));
        drop(hold);
        assert_eq!((rows(), &data[..]), (5, &b"rows"[..]), "the bytes are not sent yet");
        drop(data);
        assert_eq!((rows(), share.held(Budget::AnswerBytes)), (0, 0));
        reserve(usize::MAX).unwrap().settle(1);
    }

    #[tokio::test]
    async fn small_answers_are_admitted_past_the_bound_of_reads() {
        let share = share_of(90 * ROW_COST);
        let reads = Hold::new(&share, 1).unwrap();
        reads.scope(async { reserve(45).unwrap().settle(45) }).await;
        let small = Hold::new(&share, 1).unwrap();
        assert_eq!(small.scope(async { reserve(1).unwrap_err().code }).await, ErrorCode::Overloaded);
        // Replies to writes have no bound of their own: past this the address writes when it has read.
        reads.set(61 * ROW_COST);
        assert_eq!(Hold::new(&share, 1).unwrap_err().code, ErrorCode::Overloaded);
        reads.set(60 * ROW_COST);
        drop((Hold::new(&share, 1).unwrap(), reads, small));
        assert_eq!(share.held(Budget::RowBytes), 0);
    }

    #[test]
    fn a_row_costs_no_more_than_is_counted() {
        assert!(size_of::<v1::Account>() + 2 * size_of::<[u8; 64]>() <= ROW_COST, "a named account");
        assert!(size_of::<AccountView>() <= ROW_COST, "an account as the node shows it");
        assert!(size_of::<Movement>() + size_of::<v1::Transfer>() <= ROW_COST, "a transfer");
    }
}
