//! The engine of a group of one: what is on its own disk is agreed.
//!
//! It is the smallest thing that keeps the two promises of the seam, and the measure for the others: an
//! entry is committed when, and only when, `Persisted` has reached it, in the order of the log.

use alloc::collections::VecDeque;

use bezant_types::{LogIndex, Term};

use crate::{Engine, Input, LogEntry, Output};

/// A group with one replica, which always leads.
#[derive(Debug)]
pub struct Solo {
    last_index: LogIndex,
    appended: VecDeque<LogEntry>,
    outputs: VecDeque<Output>,
}

impl Solo {
    /// The term of a group that never elects.
    pub const TERM: Term = Term(1);

    /// Goes on after `last_index`, the last entry that is in the log already; 0 for an empty one.
    pub const fn new(last_index: LogIndex) -> Self {
        Self { last_index, appended: VecDeque::new(), outputs: VecDeque::new() }
    }
}

impl Engine for Solo {
    fn handle(&mut self, input: Input) {
        match input {
            Input::Propose(payload) => {
                self.last_index = self.last_index.next();
                let entry = LogEntry { index: self.last_index, term: Self::TERM, payload };
                self.appended.push_back(entry.clone());
                self.outputs.push_back(Output::Append(entry));
            }
            Input::Persisted(index) => {
                assert!(index <= self.last_index, "nothing is durable that was not handed out");
                while let Some(entry) = self.appended.pop_front_if(|entry| entry.index <= index) {
                    self.outputs.push_back(Output::Commit(entry));
                }
            }
            Input::Message { .. } | Input::Tick => {}
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn is_leader(&self) -> bool {
        true
    }

    fn last_index(&self) -> LogIndex {
        self.last_index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn drain(engine: &mut Solo) -> alloc::vec::Vec<Output> {
        core::iter::from_fn(|| engine.poll()).collect()
    }

    fn entry(index: u64) -> LogEntry {
        LogEntry { index: LogIndex(index), term: Solo::TERM, payload: Bytes::from_static(b"x") }
    }

    #[test]
    fn nothing_commits_before_it_is_on_disk() {
        let mut engine = Solo::new(LogIndex(4));
        engine.handle(Input::Propose(Bytes::from_static(b"x")));
        engine.handle(Input::Propose(Bytes::from_static(b"x")));
        assert_eq!(drain(&mut engine), [Output::Append(entry(5)), Output::Append(entry(6))]);
        engine.handle(Input::Persisted(LogIndex(5)));
        assert_eq!(drain(&mut engine), [Output::Commit(entry(5))]);
        engine.handle(Input::Persisted(LogIndex(6)));
        assert_eq!(drain(&mut engine), [Output::Commit(entry(6))]);
    }
}
