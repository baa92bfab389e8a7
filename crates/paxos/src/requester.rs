//! The requester: asks whoever leads what a read must see, and asks again while there is no answer.
//!
//! A question carries the life of this node and the read's number, so that an answer to an earlier life is never taken for
//! one to this. An answer that comes late, or twice, still names a slot at or behind everything that was decided when the
//! read was asked for.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bezant_consensus::ReadNumber;

use crate::message::Message;

/// Ticks after which a read is asked for again.
const RETRY_TICKS: u32 = 5;

/// Reads without an answer.
#[derive(Debug)]
pub(crate) struct Requester {
    incarnation: u64,
    /// Ticks since each was asked for.
    waiting: BTreeMap<ReadNumber, u32>,
}

impl Requester {
    pub(crate) const fn new(incarnation: u64) -> Self {
        Self { incarnation, waiting: BTreeMap::new() }
    }

    /// Takes a read; what to ask for it.
    pub(crate) fn ask(&mut self, read: ReadNumber) -> Message {
        self.waiting.insert(read, 0);
        self.question(read)
    }

    const fn question(&self, read: ReadNumber) -> Message {
        Message::Ask { incarnation: self.incarnation, read: read.0 }
    }

    /// Time went on: what to ask again.
    pub(crate) fn handle_tick(&mut self) -> Vec<Message> {
        self.waiting.values_mut().for_each(|ticks| *ticks += 1);
        let late = self.waiting.iter().filter(|(_, ticks)| ticks.is_multiple_of(RETRY_TICKS));
        late.map(|(read, _)| self.question(*read)).collect()
    }

    /// Somebody else leads: what was asked of the one before may never be answered.
    pub(crate) fn ask_again(&self) -> Vec<Message> {
        self.waiting.keys().map(|read| self.question(*read)).collect()
    }

    /// An answer: the read, when one waits for it.
    pub(crate) fn handle_told(&mut self, incarnation: u64, read: u64) -> Option<ReadNumber> {
        let read = ReadNumber(read);
        (incarnation == self.incarnation && self.waiting.remove(&read).is_some()).then_some(read)
    }
}
