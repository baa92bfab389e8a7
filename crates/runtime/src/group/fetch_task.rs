//! The task that reads the old rows that entries need, while the log is being written. It is the only task that
//! waits for the history to catch up.

use std::sync::Arc;
use std::time::Instant;

use bezant_recovery::{Machine, fetch};
use bezant_replica::Input;

use crate::group::message::Message;
use crate::group::shared::Shared;
use crate::group::work::Fetch;
use crate::process::mailbox::{Mailbox, Sender};
use crate::process::pool::{Next, Task};

/// Ends when every sender of work is dropped, or when the history cannot be read.
pub(crate) struct FetchTask<M: Machine> {
    shared: Arc<Shared>,
    work: Mailbox<Fetch>,
    /// The oldest fetch, while rows that it must see are missing.
    waiting: Option<Fetch>,
    replica: Sender<Message<M>>,
}

impl<M: Machine> FetchTask<M> {
    pub(crate) fn new(shared: Arc<Shared>, work: Mailbox<Fetch>, replica: Sender<Message<M>>) -> Self {
        Self { shared, work, waiting: None, replica }
    }

    /// Reads the rows of one entry. False when they cannot be read.
    fn read(&self, fetched: Fetch) -> bool {
        let Fetch { index, term, prefetch } = fetched;
        match fetch(&self.shared.reader, &prefetch) {
            Ok(found) => {
                drop(self.replica.send(Message::Event(Input::Fetched { index, term, found })));
                true
            }
            Err(error) => {
                self.shared.note_damage(&error);
                let reason = format!("{error}. An entry needs a row that cannot be read; nothing was lost");
                tracing::error!("the history cannot be read: {reason}");
                drop(self.replica.send(Message::Event(Input::Failed { reason })));
                false
            }
        }
    }
}

impl<M: Machine> Task for FetchTask<M> {
    fn run(&mut self, _now: Instant) -> Next {
        loop {
            let Some(fetch) = self.waiting.take().or_else(|| self.work.next()) else {
                return if self.work.has_senders() { Next::Wait } else { Next::End };
            };
            // Without this wait, an entry would request its rows again and again when the history lags by more
            // rows than the machine keeps in memory. All rows up to the position were sent to the history
            // before, and it applies them even when its disk has failed.
            if !self.shared.has_rows(fetch.prefetch.position) {
                self.waiting = Some(fetch);
                // A replica that has ended needs no rows.
                return if self.work.is_abandoned() { Next::End } else { Next::Wait };
            }
            if !self.read(fetch) {
                return Next::End;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::history_task::tests::movements;
    use crate::group::metrics::Metrics;
    use crate::process::mailbox::mailbox;
    use crate::process::pool::tests::{detached, received};
    use crate::process::pool::{Place, Pools};
    use bezant_ledger::Ledger;
    use bezant_rsm::Prefetch;
    use bezant_storage::{History, MemoryDisk};
    use bezant_types::{FetchKey, HistoryPosition, LogIndex, MovementNumber, RowBatch, Term, TransferId};
    use std::time::Duration;

    #[test]
    fn a_fetch_waits_for_the_rows_that_it_must_see() {
        let start = HistoryPosition::default();
        let mut history = History::open(Arc::new(MemoryDisk::new()), start).unwrap();
        let shared = Arc::new(Shared::new(Metrics::new(), history.reader()));
        let pools = Pools::new();
        let slot = pools.slot(Place::Read);
        let (to_task, work) = mailbox(&slot);
        let (replica, events) = received(&pools);
        shared.wake_on_rows(&slot);
        slot.begin(Box::new(FetchTask::<Ledger>::new(Arc::clone(&shared), work, replica))).unwrap();
        let position = HistoryPosition { movements: 10, refusals: 0 };
        let prefetch = Prefetch { keys: vec![FetchKey::Transfer(TransferId(3))], position };
        to_task.send(Fetch { index: LogIndex(1), term: Term(1), prefetch }).unwrap();
        for part in [0..5, 5..10] {
            let early = events.recv_timeout(Duration::from_millis(20));
            assert!(early.is_err(), "rows are missing: {early:?}");
            history.append(movements(part), RowBatch::default()).unwrap();
            shared.show_rows(MovementNumber(history.position().movements));
        }
        let Message::Event(Input::Fetched { index, found, .. }) = events.recv().unwrap() else {
            panic!("the rows were fetched")
        };
        assert_eq!((index, found.seen, found.transfers.len()), (LogIndex(1), position, 1));
        drop(to_task);
        slot.join();
    }

    #[test]
    fn a_fetch_that_no_replica_waits_for_ends() {
        let history = History::open(Arc::new(MemoryDisk::new()), HistoryPosition::default()).unwrap();
        let shared = Arc::new(Shared::new(Metrics::new(), history.reader()));
        let pools = Pools::new();
        let slot = pools.slot(Place::Read);
        let (to_task, work) = mailbox(&slot);
        shared.wake_on_rows(&slot);
        slot.begin(Box::new(FetchTask::<Ledger>::new(shared, work, mailbox(&detached()).0))).unwrap();
        let position = HistoryPosition { movements: 10, refusals: 0 };
        let prefetch = Prefetch { keys: Vec::new(), position };
        to_task.send(Fetch { index: LogIndex(1), term: Term(1), prefetch }).unwrap();
        drop(to_task);
        slot.join();
    }
}
