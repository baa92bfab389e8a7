//! What this replica knows to be committed, from its disk or in this incarnation, and a leader that contradicts it.
//!
//! A leader has everything that was committed before its term, and nobody follows one of an earlier term. So an entry of
//! another term, or of other content, in place of a committed one proves that a disk has gone back: the replica stops,
//! before anything of its log is touched. The crate itself would end the process, or after a restart forget the entries.

use bezant_consensus::{Conflict, LogEntry, Output};
use bezant_types::{LogIndex, NodeId, Term};
use raft::eraftpb::{Message, MessageType};

use crate::engine::Raft;
use crate::wire::log_entry;

/// Where the logs part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parting {
    /// The first entry that is known to be another one.
    first: u64,
    /// True when all before it is known to be equal.
    is_exact: bool,
}

impl Raft {
    /// The last entry that is known to be committed, of those that are here.
    fn committed(&self) -> u64 {
        self.floor.max(self.raw.raft.raft_log.committed)
    }

    /// Whether a message contradicts what is committed here; then this replica stops.
    pub(crate) fn stops_at(&mut self, from: NodeId, message: &Message) -> bool {
        if message.term < self.raw.raft.term {
            return false;
        }
        let Some(Parting { first, is_exact }) = self.parting(message) else { return false };
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

    fn parting(&self, message: &Message) -> Option<Parting> {
        let (store, committed) = (self.raw.store(), self.committed());
        let is_other = |index: u64, term: u64| {
            (1..=committed).contains(&index) && store.term_of(index).is_some_and(|own| own != term)
        };
        match message.get_msg_type() {
            MessageType::MsgAppend => {
                if is_other(message.index, message.log_term) {
                    // While the crate takes it for not committed, it lets the leader look for the place where the logs part.
                    // Of what lies behind the checkpoint nothing is known: there is no other place to look for.
                    let is_settled = message.index < self.raw.raft.raft_log.committed
                        || store.entry(message.index).is_none();
                    return is_settled.then_some(Parting { first: message.index, is_exact: false });
                }
                let is_behind = store.term_of(message.index) == Some(message.log_term);
                let other = message.get_entries().iter().find(|entry| {
                    match store.entry(entry.index).filter(|_| entry.index <= committed) {
                        Some(known) => (known.term, &known.data) != (entry.term, &entry.data),
                        // Of the checkpoint's last entry the term alone is known.
                        None => is_other(entry.index, entry.term),
                    }
                })?;
                Some(Parting { first: other.index, is_exact: is_behind })
            }
            MessageType::MsgSnapshot => {
                let metadata = message.get_snapshot().get_metadata();
                let is_other = is_other(metadata.index, metadata.term);
                is_other.then_some(Parting { first: metadata.index, is_exact: false })
            }
            _ => None,
        }
    }
}
