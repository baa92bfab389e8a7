//! The thread that reads the old rows which entries need, while the log is being written.

use std::sync::{Arc, mpsc};

use bezant_node::Input;
use bezant_rsm::Prefetch;
use bezant_storage::{HistoryError, HistoryReader};
use bezant_types::{FetchKey, Fetched, LogIndex};

use crate::handle::{Message, Shared};

/// What an entry needs.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) index: LogIndex,
    pub(crate) prefetch: Prefetch<FetchKey>,
}

/// What the history holds, no fresher than the machine was when it chose the keys.
pub(crate) fn fetch(reader: &HistoryReader, prefetch: &Prefetch<FetchKey>) -> Result<Fetched, HistoryError> {
    let mut found = reader.fetch(&prefetch.keys)?;
    found.seen = found.seen.earlier(prefetch.position);
    Ok(found)
}

/// Runs until nobody can send work any more, or until the history cannot be read.
pub(crate) fn run(shared: &Arc<Shared>, work: &mpsc::Receiver<Fetch>, node: &mpsc::Sender<Message>) {
    for Fetch { index, prefetch } in work {
        match fetch(&shared.reader, &prefetch) {
            Ok(found) => drop(node.send(Message::Event(Input::Fetched { index, found }))),
            Err(error) => {
                let reason = format!("{error}. An entry needs a row that cannot be read; nothing was lost");
                tracing::error!("the history cannot be read: {reason}");
                drop(node.send(Message::Event(Input::Failed { reason })));
                return;
            }
        }
    }
}
