//! Reads that wait. A linearizable read first waits until a majority confirms which entry it must include.
//! Every read waits until this replica has applied its entry.
//!
//! Linearizable reads that arrive together share one request to the engine, so that a thousand readers cost
//! one request.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use bezant_consensus::ReadNumber;
use bezant_types::LogIndex;

use crate::event::{Consistency, Ticket};

/// The maximum number of requests to the engine in flight.
const ASKED_MAX: usize = 4;

/// Ticks that a read waits for entries that this replica has not applied; longer than any client waits.
const TICKS_MAX: u64 = 6_000;

/// What a client wants to read.
#[derive(Debug)]
pub(crate) enum Wanted<Query> {
    /// The state in memory.
    Query(Query),
    /// The history.
    Barrier,
}

/// A read and the ticket of its client.
#[derive(Debug)]
pub(crate) struct Read<Query> {
    pub(crate) ticket: Ticket,
    pub(crate) wanted: Wanted<Query>,
    /// The tick at which it arrived.
    pub(crate) since: u64,
}

/// All reads that cannot be answered yet.
#[derive(Debug)]
pub(crate) struct Reads<Query> {
    /// Reads that arrived since the last request.
    arrived: Vec<Read<Query>>,
    asked: VecDeque<(ReadNumber, Vec<Read<Query>>)>,
    last_number: ReadNumber,
    /// Reads by the entry that must be applied before they are answered.
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

    /// Starts a request for all reads that arrived, and returns its number. `None` when no read arrived, or
    /// when [`ASKED_MAX`] requests are in flight.
    pub(crate) fn ask(&mut self) -> Option<ReadNumber> {
        if self.arrived.is_empty() || self.asked.len() >= ASKED_MAX {
            return None;
        }
        self.last_number = ReadNumber(self.last_number.0 + 1);
        self.asked.push_back((self.last_number, core::mem::take(&mut self.arrived)));
        Some(self.last_number)
    }

    /// The engine answered a request: its reads wait for `index`.
    pub(crate) fn confirm(&mut self, number: ReadNumber, index: LogIndex) {
        if let Some(at) = self.asked.iter().position(|(asked, _)| *asked == number)
            && let Some((_, reads)) = self.asked.remove(at)
        {
            self.waiting.entry(index).or_default().extend(reads);
        }
    }

    /// A batch of reads that can be answered when everything up to `applied` is applied.
    pub(crate) fn take_ready(&mut self, applied: LogIndex) -> Option<Vec<Read<Query>>> {
        let first = self.waiting.first_entry()?;
        (*first.key() <= applied).then(|| first.remove())
    }

    /// Removes the reads that, at tick `now`, have waited too long for their entry.
    pub(crate) fn take_expired(&mut self, now: u64) -> Vec<Read<Query>> {
        let mut expired = Vec::new();
        if now.is_multiple_of(TICKS_MAX / 60) {
            for reads in self.waiting.values_mut() {
                expired.extend(reads.extract_if(.., |read| read.since + TICKS_MAX <= now));
            }
            self.waiting.retain(|_, reads| !reads.is_empty());
        }
        expired
    }

    /// Drops the reads that are not wanted.
    pub(crate) fn retain(&mut self, mut is_wanted: impl FnMut(&Read<Query>) -> bool) {
        self.arrived.retain(&mut is_wanted);
        self.asked.iter_mut().for_each(|(_, reads)| reads.retain(&mut is_wanted));
        self.waiting.values_mut().for_each(|reads| reads.retain(&mut is_wanted));
        self.waiting.retain(|_, reads| !reads.is_empty());
    }

    /// True when no read waits.
    pub(crate) fn has_none(&self) -> bool {
        self.arrived.is_empty()
            && self.asked.iter().all(|(_, reads)| reads.is_empty())
            && self.waiting.is_empty()
    }

    /// Removes all reads.
    pub(crate) fn take_all(&mut self) -> Vec<Read<Query>> {
        let mut all = core::mem::take(&mut self.arrived);
        all.extend(core::mem::take(&mut self.asked).into_iter().flat_map(|(_, reads)| reads));
        all.extend(core::mem::take(&mut self.waiting).into_values().flatten());
        all
    }
}
