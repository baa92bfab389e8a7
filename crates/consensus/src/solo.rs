//! The engine of a group with one replica: an entry that is durable on its disk is committed.
//!
//! It is the smallest engine with the guarantees of this crate, and the reference for the other engines.
//! Entries are committed in the order of the log, each if and only if `Persisted` has reached its write.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bezant_types::{LogIndex, NodeId, Term};
use bytes::Bytes;

use crate::{
    Change, ChangeError, Engine, EntryKind, Input, LogEntry, Members, Output, ReadNumber, Role, Standing,
    Write, WriteNumber,
};

/// A group with one replica, which always leads.
#[derive(Debug)]
pub struct Solo {
    node: NodeId,
    /// Always empty: a single replica needs no list.
    members: Members,
    last_index: LogIndex,
    committed: LogIndex,
    last_write: WriteNumber,
    appended: VecDeque<(WriteNumber, LogEntry)>,
    outputs: VecDeque<Output>,
}

impl Solo {
    /// The term of all entries, because there are no elections.
    pub const TERM: Term = Term(1);

    /// An engine that continues after `last_index`, the last entry in the log; 0 for an empty log.
    pub const fn new(node: NodeId, last_index: LogIndex) -> Self {
        Self {
            node,
            members: Members { index: LogIndex(0), nodes: Vec::new() },
            last_index,
            committed: last_index,
            last_write: WriteNumber(0),
            appended: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }
}

impl Engine for Solo {
    fn propose(&mut self, payload: Bytes) -> Option<LogIndex> {
        self.last_index = self.last_index.next();
        self.last_write = WriteNumber(self.last_write.0 + 1);
        let kind = EntryKind::Command;
        let entry = LogEntry { index: self.last_index, term: Self::TERM, kind, payload };
        self.appended.push_back((self.last_write, entry.clone()));
        let entries = alloc::vec![entry];
        self.outputs.push_back(Output::Persist(Write { number: self.last_write, vote: None, entries }));
        Some(self.last_index)
    }

    /// Answers at once, because no other replica can commit an entry.
    fn read(&mut self, read: ReadNumber) {
        self.outputs.push_back(Output::Readable { read, index: self.committed });
    }

    fn change(&mut self, _change: Change) -> Result<Option<LogIndex>, ChangeError> {
        Err(ChangeError::Alone)
    }

    fn members(&self) -> &Members {
        &self.members
    }

    fn transfer_leadership(&mut self) {}

    fn handle(&mut self, input: Input) {
        if let Input::Persisted(number) = input {
            assert!(number <= self.last_write, "a write is durable only after it was returned by poll");
            while let Some((_, entry)) = self.appended.pop_front_if(|(write, _)| *write <= number) {
                self.committed = entry.index;
                self.outputs.push_back(Output::Commit(entry));
            }
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn may_vote(&self) -> bool {
        true
    }

    fn is_leader(&self) -> bool {
        true
    }

    fn leader(&self) -> Option<NodeId> {
        Some(self.node)
    }

    fn standing(&self) -> Standing {
        Standing {
            role: Role::Leader,
            term: Self::TERM,
            leader: Some(self.node),
            committed: self.committed,
            announced: self.committed,
            ticks_since_leader: 0,
            peers: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(engine: &mut Solo) -> Vec<Output> {
        core::iter::from_fn(|| engine.poll()).collect()
    }

    fn entry(index: u64) -> LogEntry {
        let payload = Bytes::from_static(b"x");
        LogEntry { index: LogIndex(index), term: Solo::TERM, kind: EntryKind::Command, payload }
    }

    fn persist(number: u64, index: u64) -> Output {
        let entries = alloc::vec![entry(index)];
        Output::Persist(Write { number: WriteNumber(number), vote: None, entries })
    }

    #[test]
    fn an_entry_commits_only_when_it_is_durable() {
        let mut engine = Solo::new(NodeId(1), LogIndex(4));
        assert_eq!(engine.propose(Bytes::from_static(b"x")), Some(LogIndex(5)));
        assert_eq!(engine.propose(Bytes::from_static(b"x")), Some(LogIndex(6)));
        assert_eq!(drain(&mut engine), [persist(1, 5), persist(2, 6)]);
        engine.handle(Input::Persisted(WriteNumber(1)));
        assert_eq!(drain(&mut engine), [Output::Commit(entry(5))]);
        engine.handle(Input::Persisted(WriteNumber(2)));
        assert_eq!(drain(&mut engine), [Output::Commit(entry(6))]);
    }

    #[test]
    fn a_read_sees_all_committed_entries() {
        let mut engine = Solo::new(NodeId(1), LogIndex(4));
        engine.propose(Bytes::from_static(b"x"));
        engine.read(ReadNumber(9));
        let readable = Output::Readable { read: ReadNumber(9), index: LogIndex(4) };
        assert_eq!(drain(&mut engine), [persist(1, 5), readable]);
    }
}
