//! What this replica has handed to its disk, and what it may say once that is durable.
//!
//! A promise or an acceptance is on the disk before anybody hears of it, this replica's own scout and commanders among
//! them: their messages are held here. What a promise alone makes true does not wait for values: these may wait for room on
//! the disk, and elections go on.

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
    /// The last write of which the promise is durable, with all before it.
    kept: WriteNumber,
    /// Writes with values that are not durable yet, and their last slots.
    written: VecDeque<(WriteNumber, LogIndex)>,
    /// The last slot that is durable.
    durable_slot: LogIndex,
    /// What speaks of everything, by the write that must be durable.
    held: BTreeMap<WriteNumber, Vec<(NodeId, Message)>>,
    /// What speaks of the promise alone, and the write that it is in.
    held_for_promise: VecDeque<(WriteNumber, NodeId, Message)>,
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
            kept: WriteNumber(0),
            written: VecDeque::new(),
            durable_slot,
            held: BTreeMap::new(),
            held_for_promise: VecDeque::new(),
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
        match after {
            After::Everything if self.last <= self.durable => return Some(message),
            After::Promise if self.promise <= self.kept => return Some(message),
            After::Everything => hold(self.held.entry(self.last).or_default(), (to, message)),
            After::Promise => self.held_for_promise.push_back((self.promise, to, message)),
        }
        None
    }

    /// All promises up to that write are durable: what may be said now.
    pub(crate) fn handle_kept(&mut self, number: WriteNumber) -> Vec<(NodeId, Message)> {
        assert!(number <= self.last, "nothing is durable that was not handed out");
        self.kept = self.kept.max(number);
        let mut free = Vec::new();
        while let Some((_, to, message)) =
            self.held_for_promise.pop_front_if(|(promise, ..)| *promise <= self.kept)
        {
            free.push((to, message));
        }
        free
    }

    /// Everything up to that write is durable: what may be said now.
    pub(crate) fn handle_persisted(&mut self, number: WriteNumber) -> Vec<(NodeId, Message)> {
        let mut free = self.handle_kept(number);
        self.durable = self.durable.max(number);
        while let Some((_, slot)) = self.written.pop_front_if(|(write, _)| *write <= number) {
            self.durable_slot = slot;
        }
        let later = self.held.split_off(&WriteNumber(number.0 + 1));
        let now = core::mem::replace(&mut self.held, later).into_values().flatten();
        let mut spoken = Vec::new();
        now.for_each(|message| hold(&mut spoken, message));
        free.append(&mut spoken);
        free
    }

    /// The log begins anew behind that slot, which is durable.
    pub(crate) fn restart(&mut self, slot: LogIndex) {
        self.written.clear();
        self.durable_slot = slot;
    }
}

/// Keeps a message with those before it. Of several acceptances for the same leader one after the other the last says it all:
/// what waits does not grow with what is heard meanwhile.
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
