//! The committed floor of a replica: the entries that it knows to be committed, and never replaces.
//! [`Conflict`] describes a leader or peer that has other entries in their place. [`Terms`] serves to compare
//! two logs.

use alloc::vec::Vec;
use core::fmt;

use bezant_types::{LogIndex, NodeId, Term};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A leader, or the checkpoint of a peer, has other entries in place of entries that are known here to be
/// committed. So a disk of the cluster has lost committed entries, for example because an old copy of a
/// folder was restored. The replica stops and keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The leader of the others, or the node that sent the checkpoint.
    pub from: NodeId,
    /// The term of that leader or checkpoint.
    pub term: Term,
    /// The first entry that is known to differ there.
    pub first: LogIndex,
    /// True when all entries before `first` are known to be equal.
    pub is_first_exact: bool,
    /// The last entry that is known here to be committed.
    pub committed: LogIndex,
    /// The last entry of this replica's log; entries after `committed` may be committed, too.
    pub last: LogIndex,
    /// Number of client events in the entries from `first` to `committed`, as far as these entries are in
    /// memory.
    pub events: u64,
}

impl Conflict {
    /// Size in bytes of an encoded conflict.
    const SIZE: usize = 56;

    /// Number of entries from `first` to `committed`: committed entries that this replica has and the others
    /// do not.
    pub const fn entries(&self) -> u64 {
        (self.committed.0 + 1).saturating_sub(self.first.0)
    }

    /// Bytes: `from`, `term`, `first`, `committed`, `last` and `events` as u64, then 1 if `first` is exact,
    /// else 0, as u64.
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

    /// Decodes the bytes of [`encode`](Self::encode); `None` when they are not valid.
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
        let (count, about) =
            (self.entries(), if self.is_first_exact { "" } else { " or from an earlier one" });
        write!(
            formatter,
            "its log is committed up to entry {committed}, but node {from} (term {term}) has other entries from entry \
             {first} on{about}: it has {count} committed entries, with {events} events of clients, that node {from} lacks"
        )?;
        if last > committed {
            write!(formatter, "; its entries up to {last} may have been committed as well")?;
        }
        Ok(())
    }
}

/// The term of each entry of the committed log, stored as the first entry of each term. Two logs that have an
/// entry with the same index and term are equal up to that entry. The list is stored on disk with the
/// checkpoint, because the entries before the checkpoint are deleted.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Terms {
    /// Each term with its first entry; both strictly increase.
    firsts: Vec<(Term, LogIndex)>,
}

/// Maximum number of terms that are kept: they fit in a record, and so many elections cover a long time.
const TERMS_MAX: usize = 200;

impl Terms {
    /// A list without terms.
    pub const fn new() -> Self {
        Self { firsts: Vec::new() }
    }

    /// Adds the next entry of the committed log; returns true when it has a later term than the entry before
    /// it.
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

    /// The term of a committed entry; `None` for an entry before the first term that is kept. For an entry
    /// after the last one that was pushed, it returns the last term.
    pub fn at(&self, index: LogIndex) -> Option<Term> {
        let count = self.firsts.partition_point(|(_, first)| *first <= index);
        self.firsts.get(count.checked_sub(1)?).map(|(term, _)| *term)
    }

    /// The terms of the log up to and including `index`.
    #[must_use]
    pub fn until(&self, index: LogIndex) -> Self {
        Self { firsts: self.firsts.iter().copied().filter(|(_, first)| *first <= index).collect() }
    }

    /// The first entry whose term differs in the other log, among the entries that both lists cover; `None`
    /// when no term differs.
    pub fn first_difference(&self, other: &Self) -> Option<LogIndex> {
        let firsts = self.firsts.iter().chain(&other.firsts).map(|(_, first)| *first);
        firsts
            .filter(|index| self.at(*index).is_some_and(|own| other.at(*index).is_some_and(|its| its != own)))
            .min()
    }

    /// Bytes: count u16, then the term u64 and the first entry u64 of each term.
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(2 + 16 * self.firsts.len());
        bytes.put_u16_le(u16::try_from(self.firsts.len()).unwrap_or(u16::MAX));
        for (term, first) in &self.firsts {
            bytes.put_u64_le(term.0);
            bytes.put_u64_le(first.0);
        }
        bytes.freeze()
    }

    /// Decodes the bytes of [`encode`](Self::encode) from the front; `None` when they violate the order or
    /// the limit.
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
    fn a_conflict_survives_encoding_and_decoding() {
        let (first, committed, last) = (LogIndex(51), LogIndex(100), LogIndex(103));
        let (from, term, events) = (NodeId(3), Term(7), 4000);
        let conflict = Conflict { from, term, first, is_first_exact: true, committed, last, events };
        assert_eq!(Conflict::decode(&conflict.encode()), Some(conflict));
        assert_eq!(Conflict::decode(&conflict.encode()[1..]), None);
        let text = format!("{conflict}");
        for word in [
            "up to entry 100",
            "node 3",
            "from entry 51 on",
            "50 committed entries",
            "4000 events",
            "up to 103",
        ] {
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn an_entry_has_the_term_that_began_last_before_it() {
        let mut terms = terms(&[(1, 1), (4, 50)]);
        assert!(!terms.push(Term(4), LogIndex(51)) && terms.push(Term(6), LogIndex(80)));
        let found: Vec<_> = [0, 1, 49, 50, 79, 80, 999].map(|index| terms.at(LogIndex(index))).into();
        let expected = [None, Some(1), Some(1), Some(4), Some(4), Some(6), Some(6)];
        assert_eq!(found, expected.map(|term| term.map(Term)));
        assert_eq!(terms.until(LogIndex(79)).at(LogIndex(90)), Some(Term(4)));
        for term in 7..7 + TERMS_MAX as u64 {
            assert!(terms.push(Term(term), LogIndex(term * 100)));
        }
        assert_eq!(terms.at(LogIndex(80)), None, "terms before the last 200 are dropped");
        assert_eq!(Terms::decode(&mut &*terms.encode()), Some(terms));
        assert_eq!(Terms::decode(&mut &self::terms(&[(4, 50), (1, 60)]).encode()[..]), None);
    }

    #[test]
    fn the_first_difference_is_the_start_of_a_term() {
        let own = terms(&[(1, 1), (4, 50)]);
        assert_eq!(own.first_difference(&terms(&[(1, 1), (5, 40)])), Some(LogIndex(40)));
        assert_eq!(own.first_difference(&terms(&[(1, 1), (4, 50), (5, 90)])), Some(LogIndex(90)));
        assert_eq!(own.first_difference(&terms(&[(4, 60)])), None, "the terms that both cover are equal");
        assert_eq!(own.first_difference(&own), None);
    }
}
