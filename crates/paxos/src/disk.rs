//! What this replica has handed to its disk, and what it may say once that is durable.
//!
//! A promise or an acceptance is on the disk before anybody hears of it, this replica's own scout and commanders among
//! them: their messages are held here.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use bezant_consensus::{LogEntry, Vote, Write, WriteNumber};
use bezant_types::{LogIndex, NodeId};

use crate::message::Message;

/// The writes on their way.
#[derive(Debug)]
pub(crate) struct Disk {
    /// The last write that was handed out.
    last: WriteNumber,
    durable: WriteNumber,
    /// The last write with a promise in it.
    promise: WriteNumber,
    /// Writes with values that are not durable yet, and their last slots.
    written: VecDeque<(WriteNumber, LogIndex)>,
    /// The last slot that is durable.
    durable_slot: LogIndex,
    held: BTreeMap<WriteNumber, Vec<(NodeId, Message)>>,
}

/// What a message speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// All that was handed out.
    Everything,
    /// The promise alone.
    Promise,
}

impl Disk {
    /// A disk on which the log ends with that slot.
    pub(crate) const fn new(durable_slot: LogIndex) -> Self {
        Self {
            last: WriteNumber(0),
            durable: WriteNumber(0),
            promise: WriteNumber(0),
            written: VecDeque::new(),
            durable_slot,
            held: BTreeMap::new(),
        }
    }

    pub(crate) const fn durable_slot(&self) -> LogIndex {
        self.durable_slot
    }

    /// A write of these; `None` when they are nothing.
    pub(crate) fn write(&mut self, vote: Option<Vote>, entries: Vec<LogEntry>) -> Option<Write> {
        if vote.is_none() && entries.is_empty() {
            return None;
        }
        let number = WriteNumber(self.last.0 + 1);
        self.last = number;
        if vote.is_some() {
            self.promise = number;
        }
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            let before = LogIndex(first.index.0 - 1);
            self.durable_slot = self.durable_slot.min(before);
            self.written.iter_mut().for_each(|(_, slot)| *slot = (*slot).min(before));
            self.written.push_back((number, last.index));
        }
        Some(Write { number, vote, entries })
    }

    /// Keeps a message until what it speaks of is durable; gives it back when it is.
    pub(crate) fn hold(&mut self, after: After, to: NodeId, message: Message) -> Option<Message> {
        let number = match after {
            After::Everything => self.last,
            After::Promise => self.promise,
        };
        if number <= self.durable {
            return Some(message);
        }
        self.held.entry(number).or_default().push((to, message));
        None
    }

    /// Everything up to that write is durable: what may be said now. Of several acceptances for the same leader
    /// the last says it all.
    pub(crate) fn handle_persisted(&mut self, number: WriteNumber) -> Vec<(NodeId, Message)> {
        assert!(number <= self.last, "nothing is durable that was not handed out");
        self.durable = self.durable.max(number);
        while let Some((_, slot)) = self.written.pop_front_if(|(write, _)| *write <= number) {
            self.durable_slot = slot;
        }
        let later = self.held.split_off(&WriteNumber(number.0 + 1));
        let mut free: Vec<_> = core::mem::replace(&mut self.held, later).into_values().flatten().collect();
        let ballot = |message: &Message| match message {
            Message::Accepted { ballot, .. } => Some(*ballot),
            _ => None,
        };
        free.dedup_by(|next, previous| {
            let is_same =
                next.0 == previous.0 && ballot(&next.1).is_some_and(|next| Some(next) == ballot(&previous.1));
            if is_same {
                core::mem::swap(next, previous);
            }
            is_same
        });
        free
    }

    /// The log begins anew behind that slot, which is durable.
    pub(crate) fn restart(&mut self, slot: LogIndex) {
        self.written.clear();
        self.durable_slot = slot;
    }
}
