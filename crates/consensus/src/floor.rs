//! What a replica knows to be committed, for good: how it says that others contradict it, and what it compares them by.

use alloc::vec::Vec;
use core::fmt;

use bezant_types::{LogIndex, NodeId, Term};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A leader of others has something else in place of entries that this replica knows to be committed. So a disk of the
/// cluster has lost what was committed: an old copy of a folder was put back, say. The replica stops, and keeps what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Who leads the others, or has sent their checkpoint.
    pub from: NodeId,
    /// In which term.
    pub term: Term,
    /// The first entry that is known to be another one there.
    pub first: LogIndex,
    /// True when everything before `first` is known to be equal.
    pub is_first_exact: bool,
    /// The last entry that this replica knows to be committed.
    pub committed: LogIndex,
    /// The last entry that it has; those behind `committed` may have been committed, too.
    pub last: LogIndex,
    /// Events of clients in the entries from `first` to `committed`, as far as they lie in memory.
    pub events: u64,
}

impl Conflict {
    /// Bytes of [`encode`](Self::encode).
    const SIZE: usize = 56;

    /// Entries that are here and not there, as far as this replica knows them to be committed.
    pub const fn entries(&self) -> u64 {
        (self.committed.0 + 1).saturating_sub(self.first.0)
    }

    /// Bytes: from, term, first, committed, last, events as u64, then 1 for an exact first, and 7 zeros.
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(Self::SIZE);
        bytes.put_u64_le(self.from.0);
        bytes.put_u64_le(self.term.0);
        bytes.put_u64_le(self.first.0);
        bytes.put_u64_le(self.committed.0);
        bytes.put_u64_le(self.last.0);
        bytes.put_u64_le(self.events);
        bytes.put_u64_le(u64::from(self.is_first_exact));
        bytes.freeze()
    }

    /// Reads [`encode`](Self::encode)'s bytes; `None` when they are none.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::SIZE {
            return None;
        }
        let from = NodeId(bytes.get_u64_le());
        let term = Term(bytes.get_u64_le());
        let (first, committed) = (LogIndex(bytes.get_u64_le()), LogIndex(bytes.get_u64_le()));
        let (last, events) = (LogIndex(bytes.get_u64_le()), bytes.get_u64_le());
        let is_first_exact = match bytes.get_u64_le() {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(Self { from, term, first, is_first_exact, committed, last, events })
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, term, first, committed, last, events, .. } = self;
        let (count, about) = (self.entries(), if self.is_first_exact { "" } else { " or earlier" });
        write!(
            formatter,
            "it knows the log up to entry {committed} to be committed, and node {from} (term {term}) has others from entry \
             {first}{about} on: {count} entries that were committed, with {events} events of clients, are here and not there"
        )?;
        if last > committed {
            write!(formatter, "; entries up to {last} are here as well and may have been committed")?;
        }
        Ok(())
    }
}

/// In which term each entry of the committed log was proposed, as the first entry of each term: two logs that have an
/// entry of the same index and term are equal up to it. Kept on disk beside the checkpoint, whose entries are gone.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Terms {
    /// Both grow.
    firsts: Vec<(Term, LogIndex)>,
}

/// Terms that are remembered: so many fit in a record, and so many elections lie far back.
const TERMS_MAX: usize = 200;

impl Terms {
    /// None.
    pub const fn new() -> Self {
        Self { firsts: Vec::new() }
    }

    /// The next entry of the committed log; true when it is of another term than the one before.
    pub fn push(&mut self, term: Term, index: LogIndex) -> bool {
        let is_new = self.firsts.last().is_none_or(|(last, before)| term > *last && index > *before);
        if is_new {
            self.firsts.push((term, index));
            if self.firsts.len() > TERMS_MAX {
                self.firsts.remove(0);
            }
        }
        is_new
    }

    /// The term of a committed entry; `None` for one that lies before all that is remembered. Of an entry behind those that
    /// were pushed it says the last term.
    pub fn at(&self, index: LogIndex) -> Option<Term> {
        let count = self.firsts.partition_point(|(_, first)| *first <= index);
        self.firsts.get(count.checked_sub(1)?).map(|(term, _)| *term)
    }

    /// Without what lies behind that entry.
    #[must_use]
    pub fn until(&self, index: LogIndex) -> Self {
        Self { firsts: self.firsts.iter().copied().filter(|(_, first)| *first <= index).collect() }
    }

    /// The first entry that may be of another term in the other log, of those that both remember.
    pub fn first_difference(&self, other: &Self) -> Option<LogIndex> {
        let firsts = self.firsts.iter().chain(&other.firsts).map(|(_, first)| *first);
        firsts
            .filter(|index| self.at(*index).is_some_and(|own| other.at(*index).is_some_and(|its| its != own)))
            .min()
    }

    /// Bytes: count u16, and for each its term u64 and its first entry u64.
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(2 + 16 * self.firsts.len());
        bytes.put_u16_le(u16::try_from(self.firsts.len()).unwrap_or(u16::MAX));
        for (term, first) in &self.firsts {
            bytes.put_u64_le(term.0);
            bytes.put_u64_le(first.0);
        }
        bytes.freeze()
    }

    /// Reads [`encode`](Self::encode)'s bytes from the front; `None` when they break the order or the limit.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let count = usize::from(bytes.try_get_u16_le().ok()?);
        if count > TERMS_MAX {
            return None;
        }
        let mut terms = Self::default();
        for _ in 0..count {
            let (term, first) = (Term(bytes.try_get_u64_le().ok()?), LogIndex(bytes.try_get_u64_le().ok()?));
            if !terms.push(term, first) {
                return None;
            }
        }
        Some(terms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn terms(firsts: &[(u64, u64)]) -> Terms {
        Terms { firsts: firsts.iter().map(|(term, first)| (Term(*term), LogIndex(*first))).collect() }
    }

    #[test]
    fn a_conflict_comes_back_as_it_went() {
        let (first, committed, last) = (LogIndex(51), LogIndex(100), LogIndex(103));
        let (from, term, events) = (NodeId(3), Term(7), 4000);
        let conflict = Conflict { from, term, first, is_first_exact: true, committed, last, events };
        assert_eq!(Conflict::decode(&conflict.encode()), Some(conflict));
        assert_eq!(Conflict::decode(&conflict.encode()[1..]), None);
        let text = format!("{conflict}");
        for word in
            ["up to entry 100", "node 3", "from entry 51 on", "50 entries", "4000 events", "up to 103"]
        {
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn the_term_of_an_entry_is_that_of_the_last_first_before_it() {
        let mut terms = terms(&[(1, 1), (4, 50)]);
        assert!(!terms.push(Term(4), LogIndex(51)) && terms.push(Term(6), LogIndex(80)));
        let found: Vec<_> = [0, 1, 49, 50, 79, 80, 999].map(|index| terms.at(LogIndex(index))).into();
        let expected = [None, Some(1), Some(1), Some(4), Some(4), Some(6), Some(6)];
        assert_eq!(found, expected.map(|term| term.map(Term)));
        assert_eq!(terms.until(LogIndex(79)).at(LogIndex(90)), Some(Term(4)));
        for term in 7..7 + TERMS_MAX as u64 {
            assert!(terms.push(Term(term), LogIndex(term * 100)));
        }
        assert_eq!(terms.at(LogIndex(80)), None, "long ago");
        assert_eq!(Terms::decode(&mut &*terms.encode()), Some(terms));
        assert_eq!(Terms::decode(&mut &self::terms(&[(4, 50), (1, 60)]).encode()[..]), None);
    }

    #[test]
    fn logs_part_where_a_term_begins() {
        let own = terms(&[(1, 1), (4, 50)]);
        assert_eq!(own.first_difference(&terms(&[(1, 1), (5, 40)])), Some(LogIndex(40)));
        assert_eq!(own.first_difference(&terms(&[(1, 1), (4, 50), (5, 90)])), Some(LogIndex(90)));
        assert_eq!(own.first_difference(&terms(&[(4, 60)])), None, "what both remember is equal");
        assert_eq!(own.first_difference(&own), None);
    }
}
