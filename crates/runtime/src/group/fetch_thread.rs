//! The thread that reads the old rows that entries need, while the log is being written. It is the only
//! thread that waits for the history to catch up.

use std::sync::{Arc, mpsc};

use bezant_recovery::{Machine, fetch};
use bezant_replica::Input;
use tokio::runtime::Runtime;

use crate::group::message::Message;
use crate::group::shared::Shared;
use crate::group::work::Fetch;

/// Runs until every sender of work is dropped, or until the history cannot be read.
pub(crate) fn run<M: Machine>(
    shared: &Arc<Shared>,
    waiting: &Runtime,
    work: &mpsc::Receiver<Fetch>,
    replica: &mpsc::Sender<Message<M>>,
) {
    for Fetch { index, term, prefetch } in work {
        // Without this wait, an entry would request its rows again and again when the history lags by more
        // rows than the machine keeps in memory. All rows up to the position were sent to the history before,
        // and it applies them even when its disk has failed.
        let mut visible = shared.visible.subscribe();
        let caught_up = visible.wait_for(|_| shared.reader.position().reaches(prefetch.position));
        drop(waiting.block_on(caught_up));
        match fetch(&shared.reader, &prefetch) {
            Ok(found) => drop(replica.send(Message::Event(Input::Fetched { index, term, found }))),
            Err(error) => {
                shared.note_damage(&error);
                let reason = format!("{error}. An entry needs a row that cannot be read; nothing was lost");
                tracing::error!("the history cannot be read: {reason}");
                drop(replica.send(Message::Event(Input::Failed { reason })));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::history_thread::tests::movements;
    use crate::group::metrics::Metrics;
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
        let (to_thread, work) = mpsc::channel();
        let (replica, events) = mpsc::channel();
        let for_thread = Arc::clone(&shared);
        let waiting = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let thread = std::thread::spawn(move || run::<Ledger>(&for_thread, &waiting, &work, &replica));
        let position = HistoryPosition { movements: 10, refusals: 0 };
        let prefetch = Prefetch { keys: vec![FetchKey::Transfer(TransferId(3))], position };
        to_thread.send(Fetch { index: LogIndex(1), term: Term(1), prefetch }).unwrap();
        for part in [0..5, 5..10] {
            let early = events.recv_timeout(Duration::from_millis(20));
            assert!(early.is_err(), "rows are missing: {early:?}");
            history.append(movements(part), RowBatch::default()).unwrap();
            shared.visible.send_replace(MovementNumber(history.position().movements));
        }
        let Message::Event(Input::Fetched { index, found, .. }) = events.recv().unwrap() else {
            panic!("the rows were fetched")
        };
        assert_eq!((index, found.seen, found.transfers.len()), (LogIndex(1), position, 1));
        drop(to_thread);
        thread.join().unwrap();
    }
}
