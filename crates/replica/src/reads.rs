//! Reads that wait: for a majority's word on what they must see, then until this replica has applied it.
//!
//! Those that come while a question is on its way wait for the next one together, so that a thousand readers
//! cost one question.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use bezant_consensus::ReadNumber;
use bezant_types::LogIndex;

use crate::{Consistency, Ticket};

/// Questions on their way at the same time.
const ASKED_MAX: usize = 4;

/// Ticks that a read waits for entries that this replica has not applied; longer than any client does.
const TICKS_MAX: u64 = 6_000;

/// What a client wants to read.
#[derive(Debug)]
pub(crate) enum Wanted<Query> {
    /// From memory.
    Query(Query),
    /// From the history.
    Barrier,
}

/// A read and who waits for it.
#[derive(Debug)]
pub(crate) struct Read<Query> {
    pub(crate) ticket: Ticket,
    pub(crate) wanted: Wanted<Query>,
    /// The tick at which it came.
    pub(crate) since: u64,
}

/// All reads that cannot be answered yet.
#[derive(Debug)]
pub(crate) struct Reads<Query> {
    /// Came since the last question.
    arrived: Vec<Read<Query>>,
    asked: VecDeque<(ReadNumber, Vec<Read<Query>>)>,
    last_number: ReadNumber,
    /// By what must have been applied.
    waiting: BTreeMap<LogIndex, Vec<Read<Query>>>,
}

impl<Query> Default for Reads<Query> {
    fn default() -> Self {
        Self {
            arrived: Vec::new(),
            asked: VecDeque::new(),
            last_number: ReadNumber(0),
            waiting: BTreeMap::new(),
        }
    }
}

impl<Query> Reads<Query> {
    pub(crate) fn push(&mut self, read: Read<Query>, consistency: Consistency) {
        match consistency {
            Consistency::Linearizable => self.arrived.push(read),
            Consistency::AtLeast(index) => self.waiting.entry(index).or_default().push(read),
            Consistency::Stale => self.waiting.entry(LogIndex(0)).or_default().push(read),
        }
    }

    /// The number of a question for all that came; `None` when nobody did, or enough questions are on their way.
    pub(crate) fn ask(&mut self) -> Option<ReadNumber> {
        if self.arrived.is_empty() || self.asked.len() >= ASKED_MAX {
            return None;
        }
        self.last_number = ReadNumber(self.last_number.0 + 1);
        self.asked.push_back((self.last_number, core::mem::take(&mut self.arrived)));
        Some(self.last_number)
    }

    /// A question was answered.
    pub(crate) fn confirm(&mut self, number: ReadNumber, index: LogIndex) {
        if let Some(at) = self.asked.iter().position(|(asked, _)| *asked == number)
            && let Some((_, reads)) = self.asked.remove(at)
        {
            self.waiting.entry(index).or_default().extend(reads);
        }
    }

    /// A batch of reads that may be answered by a replica that has applied so much.
    pub(crate) fn take_ready(&mut self, applied: LogIndex) -> Option<Vec<Read<Query>>> {
        let first = self.waiting.first_entry()?;
        (*first.key() <= applied).then(|| first.remove())
    }

    /// The reads that have waited too long at tick `now` for what they must see.
    pub(crate) fn take_late(&mut self, now: u64) -> Vec<Read<Query>> {
        let mut late = Vec::new();
        if now.is_multiple_of(TICKS_MAX / 60) {
            for reads in self.waiting.values_mut() {
                late.extend(reads.extract_if(.., |read| read.since + TICKS_MAX <= now));
            }
            self.waiting.retain(|_, reads| !reads.is_empty());
        }
        late
    }

    /// Lets go of all others.
    pub(crate) fn retain(&mut self, mut is_wanted: impl FnMut(&Read<Query>) -> bool) {
        self.arrived.retain(&mut is_wanted);
        self.asked.iter_mut().for_each(|(_, reads)| reads.retain(&mut is_wanted));
        self.waiting.values_mut().for_each(|reads| reads.retain(&mut is_wanted));
        self.waiting.retain(|_, reads| !reads.is_empty());
    }

    /// Everybody who waits.
    pub(crate) fn take_all(&mut self) -> Vec<Read<Query>> {
        let mut all = core::mem::take(&mut self.arrived);
        all.extend(core::mem::take(&mut self.asked).into_iter().flat_map(|(_, reads)| reads));
        all.extend(core::mem::take(&mut self.waiting).into_values().flatten());
        all
    }
}
