//! The acceptor: what this replica has promised and accepted.
//!
//! What always holds:
//! - It promises one node in a round, takes part in no round before the one that it has promised, and accepts a value
//!   from the leader of that round or a later one only.
//! - It accepts a value only behind the value behind which it was proposed. So its log is, up to any value of a round, the
//!   log of that round's leader, and two logs with a mark in common are equal up to it.
//! - It replaces a value only by another one in the same slot, and what lay behind it goes with it: a value in a slot where a
//!   later leader proposes another was never decided, and so nothing behind it was.
//! - What is decided is never replaced.
//!
//! Its answers are held back until what they speak of is on the disk (`disk`).

use alloc::vec::Vec;

use bezant_consensus::{LogEntry, Vote};
use bezant_types::LogIndex;

use crate::ballot::{Ballot, Mark};
use crate::message::Message;
use crate::values::Values;

/// Bytes of values in one message; one that is larger goes alone.
pub(crate) const MESSAGE_SIZE_MAX: usize = 1 << 20;

/// One replica's memory of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acceptor {
    promised: Ballot,
    /// What the disk has, or was handed.
    written: Ballot,
    values: Values,
    /// Everything up to here is equal to the log of the leader of the round that is promised.
    matched: LogIndex,
    /// Accepted, and to be handed to the disk.
    unwritten: Vec<LogEntry>,
}

impl Acceptor {
    /// `written` is what the disk has of the promise.
    pub(crate) const fn new(promised: Ballot, written: Ballot, values: Values) -> Self {
        Self { promised, written, values, matched: LogIndex(0), unwritten: Vec::new() }
    }

    pub(crate) const fn promised(&self) -> Ballot {
        self.promised
    }

    pub(crate) const fn values(&self) -> &Values {
        &self.values
    }

    pub(crate) const fn matched(&self) -> LogIndex {
        self.matched
    }

    /// What must be written before the answers may go.
    pub(crate) fn take_write(&mut self) -> (Option<Vote>, Vec<LogEntry>) {
        let vote = (self.promised != self.written).then(|| self.promised.vote());
        self.written = self.promised;
        (vote, core::mem::take(&mut self.unwritten))
    }

    fn promise(&mut self, ballot: Ballot) {
        if ballot.round > self.promised.round {
            self.matched = LogIndex(0);
        }
        self.promised = ballot;
    }

    const fn refuse(&self, ballot: Ballot) -> Message {
        Message::Refuse { ballot, promised: self.promised }
    }

    /// Phase 1.
    pub(crate) fn handle_prepare(&mut self, ballot: Ballot) -> Message {
        let is_free = self.promised.node.0 == 0 || self.promised.node == ballot.node;
        let may_promise =
            ballot.round > self.promised.round || (ballot.round == self.promised.round && is_free);
        if !may_promise {
            return self.refuse(ballot);
        }
        self.promise(ballot);
        Message::Promise { ballot, accepted: self.values.last() }
    }

    /// A word of a round's leader: whether this acceptor goes along. A round has one leader at most, so it does not matter
    /// whom it has promised in it.
    pub(crate) fn follow(&mut self, ballot: Ballot) -> bool {
        if ballot.round > self.promised.round {
            self.promise(ballot);
        }
        ballot.round == self.promised.round
    }

    /// Phase 2. `decided` is the last slot that this replica knows to be decided.
    pub(crate) fn handle_accept(
        &mut self,
        ballot: Ballot,
        after: Mark,
        values: &[LogEntry],
        decided: LogIndex,
    ) -> Message {
        if !self.follow(ballot) {
            return self.refuse(ballot);
        }
        if after.slot > decided && !self.values.holds(after) {
            return self.missing(ballot, after, decided);
        }
        self.put(values, decided);
        let end = values.last().map_or(after.slot, |value| value.index);
        self.matched = self.matched.max(end).max(decided);
        Message::Accepted { ballot, last: self.matched }
    }

    /// What is in a log that is later than this one takes the place of what is here: see `scout`. What does not fit changes nothing.
    pub(crate) fn adopt(&mut self, after: Mark, values: &[LogEntry], decided: LogIndex) {
        if after.slot <= decided || self.values.holds(after) {
            self.put(values, decided);
        }
    }

    /// Values that are here already stay; from the first other one on all are new.
    fn put(&mut self, values: &[LogEntry], decided: LogIndex) {
        let is_here = |value: &&LogEntry| value.index <= decided || self.values.holds(Mark::of(value));
        let known = values.iter().take_while(is_here).count();
        let new = values.get(known..).unwrap_or_default();
        self.values.append(new);
        self.unwritten.extend_from_slice(new);
    }

    fn missing(&self, ballot: Ballot, after: Mark, decided: LogIndex) -> Message {
        let slot = self.values.last_until(after).max(decided);
        let hint = self.values.mark(slot).unwrap_or_default();
        Message::Missing { ballot, after: after.slot, hint }
    }

    /// A scout that was promised asks for values.
    pub(crate) fn handle_learn(&self, ballot: Ballot, after: Mark) -> Message {
        if ballot != self.promised {
            return self.refuse(ballot);
        }
        if after.slot < self.values.before().slot {
            return Message::Checkpoint { ballot, last: self.values.checkpoint() };
        }
        if !self.values.holds(after) {
            return self.missing(ballot, after, LogIndex(0));
        }
        let values = self.values.batch(after.slot.next(), MESSAGE_SIZE_MAX);
        Message::Learned { ballot, after, values }
    }

    /// A checkpoint of this replica is durable.
    pub(crate) fn release(&mut self, mark: Mark) {
        self.values.release(mark.slot, mark.round);
    }

    /// State and log begin anew behind a checkpoint of another replica.
    pub(crate) fn restart(&mut self, mark: Mark) {
        self.values.restart(mark);
        self.matched = LogIndex(0);
    }

    #[cfg(test)]
    pub(crate) fn forget_promise(&mut self) {
        self.promised = Ballot::default();
        self.matched = LogIndex(0);
    }
}
