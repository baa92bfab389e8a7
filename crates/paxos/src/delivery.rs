//! The delivery of a leader's values to one replica: the values that it has, the messages in flight, and the
//! values that must be sent again.

use alloc::collections::VecDeque;

use bezant_types::LogIndex;

/// Messages with values in flight to one replica.
const IN_FLIGHT_MAX: usize = 64;

/// The state of one replica, as its leader tracks it.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The index of the entry that added the member. A member with the same number and another index has
    /// another disk.
    pub(crate) since: LogIndex,
    /// The next slot to be sent.
    next: LogIndex,
    /// The last slot up to which the replica has accepted everything durably.
    matched: LogIndex,
    /// The last slots of the messages in flight.
    in_flight: VecDeque<LogIndex>,
    /// True while the leader does not know where the two logs differ. Then at most one message is in flight,
    /// and it contains no values.
    is_probing: bool,
    /// True when the replica has answered none of the messages in flight since the last heartbeat.
    is_unanswered: bool,
    /// The last slot that was announced to it as decided.
    pub(crate) announced: LogIndex,
}

impl Delivery {
    /// A replica that probably has everything before `next`. `is_certain` is true when its promise confirms
    /// that.
    pub(crate) const fn new(since: LogIndex, next: LogIndex, is_certain: bool) -> Self {
        Self {
            since,
            next,
            matched: LogIndex(0),
            in_flight: VecDeque::new(),
            is_probing: !is_certain,
            is_unanswered: false,
            announced: LogIndex(0),
        }
    }

    pub(crate) const fn next(&self) -> LogIndex {
        self.next
    }

    pub(crate) const fn matched(&self) -> LogIndex {
        self.matched
    }

    pub(crate) const fn is_probing(&self) -> bool {
        self.is_probing
    }

    /// Whether a message may be sent to it, when the log ends with `last`.
    pub(crate) fn is_ready(&self, last: LogIndex) -> bool {
        if self.is_probing {
            self.in_flight.is_empty()
        } else {
            self.next <= last && self.in_flight.len() < IN_FLIGHT_MAX
        }
    }

    /// Values up to `last` were sent; or, while probing, a message that asks whether the replica has
    /// everything before `next`.
    pub(crate) fn handle_sent(&mut self, last: LogIndex) {
        self.in_flight.push_back(last);
        if !self.is_probing {
            self.next = last.next();
        }
    }

    pub(crate) fn handle_accepted(&mut self, last: LogIndex) {
        self.is_unanswered = false;
        self.matched = self.matched.max(last);
        self.next = self.next.max(last.next());
        self.is_probing = self.is_probing && last.next() < self.next;
        while self.in_flight.pop_front_if(|sent| *sent <= last).is_some() {}
    }

    /// The replica lacks the leader's value in slot `after`; it may have everything up to `guess`. The answer
    /// to the open probe counts even when it contradicts `matched`, because the replica's disk may have lost
    /// data.
    pub(crate) fn handle_missing(&mut self, after: LogIndex, guess: LogIndex) {
        let is_answer = self.is_probing && after.next() == self.next;
        let is_stale = (after <= self.matched && !is_answer) || after >= self.next || guess >= after;
        if !is_stale {
            self.is_unanswered = false;
            self.next = if is_answer { guess } else { guess.max(self.matched) }.next();
            self.is_probing = true;
            self.in_flight.clear();
        }
    }

    /// A heartbeat is due. Messages in flight that were not answered since the last heartbeat count as lost.
    pub(crate) fn handle_heartbeat(&mut self) {
        if self.is_unanswered && !self.in_flight.is_empty() {
            self.handle_lost();
        }
        self.is_unanswered = true;
    }

    /// The messages in flight may be lost: a probe finds out which have arrived.
    pub(crate) fn handle_lost(&mut self) {
        self.is_probing = true;
        self.in_flight.clear();
    }

    /// A checkpoint was offered to the replica. A probe after a later heartbeat finds out whether the replica
    /// has it.
    pub(crate) fn handle_checkpoint(&mut self, last: LogIndex) {
        self.next = last.next();
        self.is_probing = true;
        self.in_flight.push_back(last);
    }
}
