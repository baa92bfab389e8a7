//! The acceptor: the promises and the accepted pvalues of this replica.
//!
//! What always holds:
//! - It promises at most one node in a round, and takes part in no round before that one. It accepts values
//!   only from the leader of that round or of a later one.
//! - An Accept names the mark that precedes its values in the leader's log, and the acceptor takes the values
//!   only if its own log has that mark. So its log, up to any value of a round, equals the log of that
//!   round's leader. Two logs that have a mark in common are equal up to it.
//! - It replaces a value only when a later leader has a different value in the same slot, and then drops all
//!   values after that slot. The replaced value was never decided, or the later leader would have it; so no
//!   value after it was decided either.
//! - A decided value is never replaced.
//!
//! Its replies are held back until the state that they report is durable (`disk`).

use alloc::vec::Vec;

use bezant_consensus::{LogEntry, Vote};
use bezant_types::LogIndex;

use crate::ballot::{Ballot, Mark};
use crate::message::Message;
use crate::values::Values;

/// Bytes of values in one message. A value that is larger is sent alone.
pub(crate) const MESSAGE_SIZE_MAX: usize = 1 << 20;

/// The state of one acceptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acceptor {
    promised: Ballot,
    /// The promise that is on the disk, or in a write that was emitted.
    written: Ballot,
    values: Values,
    /// The last slot up to which this log is known to equal the log of the leader of the promised round.
    matched: LogIndex,
    /// Accepted pvalues that no write contains yet.
    unwritten: Vec<LogEntry>,
}

impl Acceptor {
    /// `written` is the promise on the disk.
    pub(crate) fn new(promised: Ballot, written: Ballot, values: Values) -> Self {
        assert!(promised.follows(written), "the promise on the disk is kept");
        assert!(values.last().round <= promised.round, "a value's round was entered before it was accepted");
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

    /// The promise and the pvalues that must be written before the replies leave.
    pub(crate) fn take_write(&mut self) -> (Option<Vote>, Vec<LogEntry>) {
        assert!(self.promised.follows(self.written), "a promise that was written is kept");
        let vote = (self.promised != self.written).then(|| self.promised.vote());
        self.written = self.promised;
        (vote, core::mem::take(&mut self.unwritten))
    }

    fn promise(&mut self, ballot: Ballot) {
        assert!(ballot.follows(self.promised), "rounds never fall, and a round has one promise");
        if ballot.round > self.promised.round {
            self.matched = LogIndex(0);
        }
        self.promised = ballot;
    }

    const fn refuse(&self, ballot: Ballot) -> Message {
        Message::Refuse { ballot, promised: self.promised }
    }

    /// Phase 1: the reply to a Prepare of that ballot.
    pub(crate) fn handle_prepare(&mut self, ballot: Ballot) -> Message {
        if !ballot.follows(self.promised) {
            return self.refuse(ballot);
        }
        self.promise(ballot);
        Message::Promise { ballot, accepted: self.values.last() }
    }

    /// Handles a message of a round's leader, and returns whether this acceptor takes part in that round. It
    /// need not have promised that node: a round has at most one leader.
    pub(crate) fn follow(&mut self, ballot: Ballot) -> bool {
        if ballot.round > self.promised.round {
            self.promise(ballot);
        }
        ballot.round == self.promised.round
    }

    /// Phase 2: the reply to an Accept of that ballot. `decided` is the last slot that is known to be decided
    /// here.
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

    /// Adopts values of a log that is later than this one (see `scout`): they replace the values here. If
    /// this log lacks the mark `after`, nothing changes.
    pub(crate) fn adopt(&mut self, after: Mark, values: &[LogEntry], decided: LogIndex) {
        if after.slot <= decided || self.values.holds(after) {
            self.put(values, decided);
        }
    }

    /// Keeps the values that this log has already, and replaces everything from the first different value on.
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

    /// The reply to a scout that asks for values. A scout whose ballot this acceptor has not promised is
    /// refused.
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

    /// Restarts the log after a checkpoint that came from another replica.
    pub(crate) fn restart(&mut self, mark: Mark) {
        self.values.restart(mark);
        self.matched = LogIndex(0);
    }

    #[cfg(test)]
    pub(crate) fn lose_promise(&mut self) {
        (self.promised, self.written) = (Ballot::default(), Ballot::default());
        self.matched = LogIndex(0);
    }
}
