//! The entries that are known to be committed, from the disk or since this engine started, and the check for
//! a leader that contradicts them.
//!
//! A leader has every entry that was committed before its term, and no replica follows a leader of an earlier
//! term. So an entry of another term, or with other content, in place of a committed one proves that a disk
//! has lost data. The replica stops before it changes its log. raft-rs itself would end the process, or,
//! after a restart, drop the committed entries.

use bezant_consensus::{Conflict, LogEntry, Output};
use bezant_types::{LogIndex, NodeId, Term};
use raft::eraftpb::{Message, MessageType};

use crate::engine::Raft;
use crate::wire::log_entry;

/// The place where the leader's log differs from this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Divergence {
    /// The first index whose entry is known to differ.
    first: u64,
    /// True when all entries before it are known to be equal.
    is_exact: bool,
}

impl Raft {
    /// The last index that is known to be committed, from the disk or from raft-rs.
    fn committed(&self) -> u64 {
        self.floor.max(self.raw.raft.raft_log.committed)
    }

    /// Stops this replica, and returns true, when a message contradicts a committed entry.
    pub(crate) fn stop_on_conflict(&mut self, from: NodeId, message: &Message) -> bool {
        if message.term < self.raw.raft.term {
            return false;
        }
        let Some(Divergence { first, is_exact }) = self.divergence(message) else { return false };
        let committed = self.committed();
        let held = self.raw.store().range(first, committed);
        let entries: Vec<LogEntry> = held.map(log_entry).collect();
        let conflict = Conflict {
            from,
            term: Term(message.term),
            first: LogIndex(first),
            is_first_exact: is_exact,
            committed: LogIndex(committed),
            last: LogIndex(self.raw.store().last()),
            events: 0,
        };
        self.is_stopped = true;
        self.outputs.push_back(Output::Conflict { conflict, entries });
        true
    }

    fn divergence(&self, message: &Message) -> Option<Divergence> {
        let (store, committed) = (self.raw.store(), self.committed());
        let is_other = |index: u64, term: u64| {
            (1..=committed).contains(&index) && store.term_of(index).is_some_and(|own| own != term)
        };
        match message.get_msg_type() {
            MessageType::MsgAppend => {
                if is_other(message.index, message.log_term) {
                    // If raft-rs does not count this entry as committed yet, it responds with a rejection,
                    // and the leader searches for the place where the logs begin to differ. An entry that
                    // only a checkpoint covers cannot be compared, so for it there is nothing to search.
                    let is_settled = message.index < self.raw.raft.raft_log.committed
                        || store.entry(message.index).is_none();
                    return is_settled.then_some(Divergence { first: message.index, is_exact: false });
                }
                let is_match = store.term_of(message.index) == Some(message.log_term);
                let other = message.get_entries().iter().find(|entry| {
                    match store.entry(entry.index).filter(|_| entry.index <= committed) {
                        Some(known) => (known.term, &known.data) != (entry.term, &entry.data),
                        // Only the term of the checkpoint's last entry is known.
                        None => is_other(entry.index, entry.term),
                    }
                })?;
                Some(Divergence { first: other.index, is_exact: is_match })
            }
            MessageType::MsgSnapshot => {
                let metadata = message.get_snapshot().get_metadata();
                let is_other = is_other(metadata.index, metadata.term);
                is_other.then_some(Divergence { first: metadata.index, is_exact: false })
            }
            _ => None,
        }
    }
}
