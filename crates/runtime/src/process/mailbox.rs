//! The work that waits for a task: any thread may send, the task takes.
//!
//! Sending never blocks for longer than another sender or the task holds the lock, which is the time to move
//! one item or to exchange two queues. The two queues keep their memory while the task is busy, so sending
//! allocates nothing; an idle task's queues take none.
//!
//! Always holds: what was sent is taken in the order in which it was sent, once; when the last sender is
//! dropped, or work is sent, the task runs after that. When the mailbox is dropped, work that waits is dropped.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::process::pool::Slot;

/// A new mailbox of the task in that slot, and its first sender.
pub(crate) fn mailbox<W>(slot: &Arc<Slot>) -> (Sender<W>, Mailbox<W>) {
    let shared = Arc::new(Shared {
        queue: Mutex::new(Queue { work: VecDeque::new(), has_senders: true, is_open: true }),
        senders: AtomicUsize::new(1),
        slot: Arc::clone(slot),
    });
    let mailbox =
        Mailbox { shared: Arc::clone(&shared), taken: VecDeque::new(), has_senders: true, was_empty: false };
    (Sender(shared), mailbox)
}

struct Shared<W> {
    queue: Mutex<Queue<W>>,
    senders: AtomicUsize,
    slot: Arc<Slot>,
}

struct Queue<W> {
    work: VecDeque<W>,
    has_senders: bool,
    /// False after the mailbox was dropped.
    is_open: bool,
}

impl<W> Shared<W> {
    fn lock(&self) -> MutexGuard<'_, Queue<W>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends work to a task; clones send to the same task.
pub(crate) struct Sender<W>(Arc<Shared<W>>);

impl<W> Sender<W> {
    /// Sends work, and schedules the task. The work comes back when the task has ended.
    pub(crate) fn send(&self, work: W) -> Result<(), W> {
        let mut queue = self.0.lock();
        if !queue.is_open {
            return Err(work);
        }
        queue.work.push_back(work);
        drop(queue);
        self.0.slot.wake();
        Ok(())
    }
}

impl<W> std::fmt::Debug for Sender<W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sender").field("slot", &self.0.slot).finish_non_exhaustive()
    }
}

impl<W> Clone for Sender<W> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl<W> Drop for Sender<W> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut queue = self.0.lock();
            // The task may have made another sender.
            queue.has_senders = self.0.senders.load(Ordering::Acquire) > 0;
            drop(queue);
            self.0.slot.wake();
        }
    }
}

/// The task's end: it takes the work.
pub(crate) struct Mailbox<W> {
    shared: Arc<Shared<W>>,
    /// Work that was taken out of the queue and not handed to the task yet.
    taken: VecDeque<W>,
    /// False when no more work can come after what was taken.
    has_senders: bool,
    /// True when nothing was found the last time.
    was_empty: bool,
}

impl<W> Mailbox<W> {
    /// The next piece of work, if there is any.
    pub(crate) fn next(&mut self) -> Option<W> {
        if self.taken.is_empty() {
            self.refill();
        }
        self.taken.pop_front()
    }

    /// False when every sender was dropped before [`next`](Self::next) found nothing: then none will come.
    pub(crate) const fn has_senders(&self) -> bool {
        self.has_senders
    }

    /// Another sender, for an answer to this task.
    pub(crate) fn sender(&self) -> Sender<W> {
        let mut queue = self.shared.lock();
        self.shared.senders.fetch_add(1, Ordering::AcqRel);
        queue.has_senders = true;
        drop(queue);
        Sender(Arc::clone(&self.shared))
    }

    /// True when every sender was dropped, though work that they had sent may be left.
    pub(crate) fn is_abandoned(&self) -> bool {
        !self.shared.lock().has_senders
    }

    fn refill(&mut self) {
        let mut queue = self.shared.lock();
        self.has_senders = queue.has_senders;
        let is_empty = queue.work.is_empty();
        if !is_empty {
            std::mem::swap(&mut queue.work, &mut self.taken);
        } else if self.was_empty && queue.work.capacity() > 0 {
            queue.work = VecDeque::new();
        }
        drop(queue);
        if is_empty && self.was_empty && self.taken.capacity() > 0 {
            self.taken = VecDeque::new();
        }
        self.was_empty = is_empty;
    }
}

impl<W> Drop for Mailbox<W> {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.is_open = false;
        let waiting = std::mem::take(&mut queue.work);
        drop(queue);
        // Dropped without the lock: what is dropped may send.
        drop(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::pool::tests::detached;

    #[test]
    fn an_idle_mailbox_keeps_no_memory() {
        let (sender, mut mailbox) = mailbox(&detached());
        for number in 0..100 {
            sender.send(number).unwrap();
        }
        let mut expected = 0..100;
        while let Some(number) = mailbox.next() {
            assert_eq!(Some(number), expected.next());
        }
        assert_eq!(expected.next(), None);
        assert!(mailbox.taken.capacity() >= 100, "a busy task needs it again");
        assert_eq!(mailbox.next(), None);
        assert_eq!((mailbox.taken.capacity(), mailbox.shared.lock().work.capacity()), (0, 0));
    }

    #[test]
    fn a_sender_that_the_task_made_counts() {
        let (sender, mut mailbox) = mailbox(&detached());
        drop(sender);
        assert_eq!((mailbox.next(), mailbox.has_senders()), (None, false));
        let reply = mailbox.sender();
        assert_eq!((mailbox.next(), mailbox.has_senders()), (None, true));
        reply.send(1).unwrap();
        drop(reply);
        assert!(mailbox.is_abandoned());
        assert_eq!((mailbox.next(), mailbox.next(), mailbox.has_senders()), (Some(1), None, false));
    }
}
