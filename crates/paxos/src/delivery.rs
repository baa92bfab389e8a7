//! How a leader's values get to one replica: what it has, what is on its way, what must be sent again.

use alloc::collections::VecDeque;

use bezant_types::LogIndex;

/// Messages with values on their way to one replica.
const IN_FLIGHT_MAX: usize = 64;

/// One replica, as its leader knows it.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The entry that made it a member: another one of the same number is another node.
    pub(crate) since: LogIndex,
    /// The next slot to be sent.
    next: LogIndex,
    /// Everything up to here is accepted by it, and on its disk.
    matched: LogIndex,
    /// The last slots of the messages on their way.
    in_flight: VecDeque<LogIndex>,
    /// Where its log and this one part is not known: one message without values goes at a time.
    is_probing: bool,
    /// Nothing was heard of what is on its way since the last sign of incarnation.
    is_quiet: bool,
    /// What it was told to be decided.
    pub(crate) told: LogIndex,
}

impl Delivery {
    /// A replica that probably has everything before `next`.
    pub(crate) const fn new(since: LogIndex, next: LogIndex, is_certain: bool) -> Self {
        Self {
            since,
            next,
            matched: LogIndex(0),
            in_flight: VecDeque::new(),
            is_probing: !is_certain,
            is_quiet: false,
            told: LogIndex(0),
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

    /// Values up to `last` were sent, or the question whether it has what is before `next`.
    pub(crate) fn handle_sent(&mut self, last: LogIndex) {
        self.in_flight.push_back(last);
        if !self.is_probing {
            self.next = last.next();
        }
    }

    pub(crate) fn handle_accepted(&mut self, last: LogIndex) {
        self.is_quiet = false;
        self.matched = self.matched.max(last);
        self.next = self.next.max(last.next());
        self.is_probing = self.is_probing && last.next() < self.next;
        while self.in_flight.pop_front_if(|sent| *sent <= last).is_some() {}
    }

    /// It has not what was sent behind `after`; perhaps what is up to `guess`. As the answer to the question under way that
    /// counts though it had more before: its disk may have gone back.
    pub(crate) fn handle_missing(&mut self, after: LogIndex, guess: LogIndex) {
        let is_answer = self.is_probing && after.next() == self.next;
        let is_late = (after <= self.matched && !is_answer) || after >= self.next || guess >= after;
        if !is_late {
            self.is_quiet = false;
            self.next = if is_answer { guess } else { guess.max(self.matched) }.next();
            self.is_probing = true;
            self.in_flight.clear();
        }
    }

    /// A sign of life is due. Nothing was heard of what is on its way since the last one: it seems to be lost.
    pub(crate) fn handle_heartbeat(&mut self) {
        if self.is_quiet && !self.in_flight.is_empty() {
            self.handle_lost();
        }
        self.is_quiet = true;
    }

    /// What is on its way may be lost: what has arrived is asked for.
    pub(crate) fn handle_lost(&mut self) {
        self.is_probing = true;
        self.in_flight.clear();
    }

    /// There is a checkpoint for it: whether it has that is asked with the next sign of incarnation.
    pub(crate) fn handle_checkpoint(&mut self, last: LogIndex) {
        self.next = last.next();
        self.is_probing = true;
        self.in_flight.push_back(last);
    }
}
