//! What this replica knows to be decided, from its disk or in this incarnation, and a leader or acceptor that contradicts it.
//!
//! The leader of a round has everything that was decided before it, with the same marks, and nobody follows one of an earlier
//! round. So another value in place of a decided one proves that a disk has gone back: the replica stops, before anything of
//! its log is touched.

use bezant_consensus::{Conflict, LogEntry, Output};
use bezant_types::{LogIndex, NodeId};

use crate::ballot::{Ballot, Mark};
use crate::engine::Paxos;

impl Paxos {
    /// The last slot that is known to be decided, of those that are here.
    fn floor(&self) -> LogIndex {
        self.floor.max(self.replica.decided())
    }

    /// Whether values behind a mark, in a ballot that this replica goes along with, contradict what is decided here; then
    /// it stops.
    pub(crate) fn stops_at(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        after: Mark,
        values: &[LogEntry],
    ) -> bool {
        let Some((first, is_first_exact)) = self.parting(after, values) else { return false };
        self.stop(from, ballot, first, is_first_exact);
        true
    }

    /// What is decided here from that slot on is another value there.
    pub(crate) fn stop(&mut self, from: NodeId, ballot: Ballot, first: LogIndex, is_first_exact: bool) {
        let (committed, held) = (self.floor(), self.acceptor.values());
        let entries =
            (first.0..=committed.0).filter_map(|slot| held.entry(LogIndex(slot)).cloned()).collect();
        let (term, last) = (ballot.round, held.last().slot);
        let conflict = Conflict { from, term, first, is_first_exact, committed, last, events: 0 };
        self.is_stopped = true;
        self.outputs.push_back(Output::Conflict { conflict, entries });
    }

    /// The first slot whose decided value is another one there, and whether all before it is known to be equal.
    fn parting(&self, after: Mark, values: &[LogEntry]) -> Option<(LogIndex, bool)> {
        let (held, floor) = (self.acceptor.values(), self.floor());
        let own = held.mark(after.slot);
        if after.slot <= floor && after.slot.0 > 0 && own.is_some_and(|own| own != after) {
            // What this life does not know to be decided yet is answered, so that the place where the logs part is found.
            return (after.slot <= self.replica.decided()).then_some((after.slot, false));
        }
        let is_other = |value: &&LogEntry| {
            value.index <= floor && held.entry(value.index).is_some_and(|own| own != *value)
        };
        values.iter().find(is_other).map(|value| (value.index, own == Some(after)))
    }
}
