//! The writes of this replica, and the messages that wait until a write is durable.
//!
//! A message that reports a promise or an acceptance is held here until that state is durable. This includes
//! messages to the scout and the commanders of this replica. A message that depends on a promise alone does
//! not wait for values: elections continue while values wait for disk space.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use bezant_consensus::{LogEntry, Vote, Write, WriteNumber};
use bezant_types::{LogIndex, NodeId};

use crate::message::Message;

/// The writes in flight, and the messages that wait for them.
#[derive(Debug)]
pub(crate) struct Disk {
    /// The last write that was emitted.
    last: WriteNumber,
    /// The last write that is durable, with all writes before it.
    durable: WriteNumber,
    /// The last write that contains a promise.
    promise: WriteNumber,
    /// The last write whose promise, with every promise before it, is durable.
    durable_promise: WriteNumber,
    /// The writes with values that are not durable yet, each with its last slot.
    written: VecDeque<(WriteNumber, LogIndex)>,
    /// The last slot that is durable.
    durable_slot: LogIndex,
    /// Messages that depend on promises and values, by the write that must be durable first.
    held: BTreeMap<WriteNumber, Vec<(NodeId, Message)>>,
    /// Messages that depend on a promise alone, each with the write that contains it.
    held_for_promise: VecDeque<(WriteNumber, NodeId, Message)>,
}

/// The state that a message depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// All writes that were emitted before the message.
    Everything,
    /// Only the promises in these writes.
    Promise,
}

impl Disk {
    /// A disk whose log ends with that slot.
    pub(crate) const fn new(durable_slot: LogIndex) -> Self {
        Self {
            last: WriteNumber(0),
            durable: WriteNumber(0),
            promise: WriteNumber(0),
            durable_promise: WriteNumber(0),
            written: VecDeque::new(),
            durable_slot,
            held: BTreeMap::new(),
            held_for_promise: VecDeque::new(),
        }
    }

    pub(crate) const fn durable_slot(&self) -> LogIndex {
        self.durable_slot
    }

    /// The last slot that was written.
    fn end(&self) -> LogIndex {
        self.written.back().map_or(self.durable_slot, |(_, slot)| *slot)
    }

    /// A write of a promise and values; `None` when there are neither.
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
            assert!(first.index <= self.end().next(), "the log on the disk has no gaps");
            let before = LogIndex(first.index.0 - 1);
            self.durable_slot = self.durable_slot.min(before);
            self.written.iter_mut().for_each(|(_, slot)| *slot = (*slot).min(before));
            self.written.push_back((number, last.index));
        }
        Some(Write { number, vote, entries })
    }

    /// Holds a message until the state that it depends on is durable; returns it when that state is durable
    /// already.
    pub(crate) fn hold(&mut self, after: After, to: NodeId, message: Message) -> Option<Message> {
        match after {
            After::Everything if self.last <= self.durable => return Some(message),
            After::Promise if self.promise <= self.durable_promise => return Some(message),
            After::Everything => hold(self.held.entry(self.last).or_default(), (to, message)),
            After::Promise => self.held_for_promise.push_back((self.promise, to, message)),
        }
        None
    }

    /// All promises up to that write are durable: returns the messages that may leave now.
    pub(crate) fn handle_vote_durable(&mut self, number: WriteNumber) -> Vec<(NodeId, Message)> {
        assert!(number <= self.last, "a write that was never emitted cannot be durable");
        self.durable_promise = self.durable_promise.max(number);
        let mut free = Vec::new();
        while let Some((_, to, message)) =
            self.held_for_promise.pop_front_if(|(promise, ..)| *promise <= self.durable_promise)
        {
            free.push((to, message));
        }
        free
    }

    /// Everything up to that write is durable: returns the messages that may leave now.
    pub(crate) fn handle_persisted(&mut self, number: WriteNumber) -> Vec<(NodeId, Message)> {
        let mut free = self.handle_vote_durable(number);
        self.durable = self.durable.max(number);
        while let Some((_, slot)) = self.written.pop_front_if(|(write, _)| *write <= number) {
            self.durable_slot = slot;
        }
        let later = self.held.split_off(&WriteNumber(number.0 + 1));
        let now = core::mem::replace(&mut self.held, later).into_values().flatten();
        let mut merged = Vec::new();
        now.for_each(|message| hold(&mut merged, message));
        free.append(&mut merged);
        free
    }

    /// Restarts the log after that slot, which is durable in a checkpoint.
    pub(crate) fn restart(&mut self, slot: LogIndex) {
        self.written.clear();
        self.durable_slot = slot;
    }
}

/// Adds a message to those that are held. An acceptance replaces the acceptance directly before it if both go
/// to the same leader in the same ballot. So held messages do not accumulate during a long write.
fn hold(held: &mut Vec<(NodeId, Message)>, (to, message): (NodeId, Message)) {
    let ballot = |message: &Message| match message {
        Message::Accepted { ballot, .. } => Some(*ballot),
        _ => None,
    };
    match held.last_mut() {
        Some((same, last)) if *same == to && ballot(last).is_some() && ballot(last) == ballot(&message) => {
            *last = message;
        }
        _ => held.push((to, message)),
    }
}
