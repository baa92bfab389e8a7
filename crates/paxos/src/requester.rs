//! The requester: asks the leader which slot a read must cover, and asks again while no answer comes.
//!
//! A request carries the incarnation of this process and the read's number, so an answer to an earlier
//! incarnation is never used for this one. A late or duplicated answer is still right: the slot that it names
//! covers every slot that was decided when the read was requested.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bezant_consensus::ReadNumber;

use crate::message::Message;

/// Ticks after which a read is requested again.
const RETRY_TICKS: u32 = 5;

/// Reads without an answer.
#[derive(Debug)]
pub(crate) struct Requester {
    incarnation: u64,
    /// Ticks since each read was requested.
    waiting: BTreeMap<ReadNumber, u32>,
}

impl Requester {
    pub(crate) const fn new(incarnation: u64) -> Self {
        Self { incarnation, waiting: BTreeMap::new() }
    }

    /// Adds a read, and returns the request to send.
    pub(crate) fn add(&mut self, read: ReadNumber) -> Message {
        self.waiting.insert(read, 0);
        self.request(read)
    }

    const fn request(&self, read: ReadNumber) -> Message {
        Message::ReadIndex { incarnation: self.incarnation, read: read.0 }
    }

    /// Handles a tick, and returns the requests to send again.
    pub(crate) fn handle_tick(&mut self) -> Vec<Message> {
        self.waiting.values_mut().for_each(|ticks| *ticks += 1);
        let due = self.waiting.iter().filter(|(_, ticks)| ticks.is_multiple_of(RETRY_TICKS));
        due.map(|(read, _)| self.request(*read)).collect()
    }

    /// The requests to send again after the leader changed: the old leader may never answer.
    pub(crate) fn pending(&self) -> Vec<Message> {
        self.waiting.keys().map(|read| self.request(*read)).collect()
    }

    /// Handles an answer, and returns the read if it was waiting.
    pub(crate) fn handle_read_index_reply(&mut self, incarnation: u64, read: u64) -> Option<ReadNumber> {
        let read = ReadNumber(read);
        (incarnation == self.incarnation && self.waiting.remove(&read).is_some()).then_some(read)
    }
}
