//! The values that are known to be decided, from the disk or since this engine started, and the check for a
//! leader or an acceptor that contradicts them.
//!
//! A leader has every value that was decided in earlier rounds, with the same marks, and no replica follows a
//! leader of an earlier round. So another value in place of a decided one proves that a disk has lost data.
//! The replica stops before it changes its log.

use bezant_consensus::{Conflict, LogEntry, Output};
use bezant_types::{LogIndex, NodeId};

use crate::ballot::{Ballot, Mark};
use crate::engine::Paxos;

impl Paxos {
    /// The last slot that is known to be decided, from the disk or from this incarnation.
    fn floor(&self) -> LogIndex {
        self.floor.max(self.replica.decided())
    }

    /// Checks values that follow the mark `after`, from a ballot that this replica takes part in. If they
    /// contradict a decided value, stops this replica and returns true.
    pub(crate) fn stop_on_conflict(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        after: Mark,
        values: &[LogEntry],
    ) -> bool {
        let Some((first, is_first_exact)) = self.divergence(after, values) else { return false };
        self.stop(from, ballot, first, is_first_exact);
        true
    }

    /// Stops: the sender has other values from slot `first` on, where values are decided here.
    pub(crate) fn stop(&mut self, from: NodeId, ballot: Ballot, first: LogIndex, is_first_exact: bool) {
        let (committed, held) = (self.floor(), self.acceptor.values());
        let entries =
            (first.0..=committed.0).filter_map(|slot| held.entry(LogIndex(slot)).cloned()).collect();
        let (term, last) = (ballot.round, held.last().slot);
        let conflict = Conflict { from, term, first, is_first_exact, committed, last, events: 0 };
        self.is_stopped = true;
        self.outputs.push_back(Output::Conflict { conflict, entries });
    }

    /// The first slot whose decided value differs, and whether all slots before it are known to be equal.
    fn divergence(&self, after: Mark, values: &[LogEntry]) -> Option<(LogIndex, bool)> {
        let (held, floor) = (self.acceptor.values(), self.floor());
        let own = held.mark(after.slot);
        if after.slot <= floor && after.slot.0 > 0 && own.is_some_and(|own| own != after) {
            // If only the disk recorded this slot as decided, the acceptor replies as usual (`Missing`), so
            // that the leader searches for the slot where the logs begin to differ.
            return (after.slot <= self.replica.decided()).then_some((after.slot, false));
        }
        let is_other = |value: &&LogEntry| {
            value.index <= floor && held.entry(value.index).is_some_and(|own| own != *value)
        };
        values.iter().find(is_other).map(|value| (value.index, own == Some(after)))
    }
}
