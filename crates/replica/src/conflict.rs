//! A conflict: this replica knows entries to be committed, and the other replicas continue without them. It
//! stops, reports the conflict, and keeps its data. Otherwise entries would be lost that were acknowledged to
//! clients.

use bezant_consensus::{Conflict, Engine, EntryKind, LogEntry, Terms};
use bezant_rsm::{Entry, StateMachine};
use bezant_types::{LogIndex, Term};

use crate::event::Output;
use crate::message::{ChunkHead, PeerMessage};
use crate::replica::Replica;

/// Ticks after which a stopped replica reports its conflict to the others again.
const REPORT_TICKS: u64 = 1_000;

impl<M: StateMachine, E: Engine> Replica<M, E> {
    /// The conflict for which this replica has stopped; `None` while it has not.
    pub const fn conflict(&self) -> Option<&Conflict> {
        self.conflict.as_ref()
    }

    /// The engine found that other replicas contradict entries that are committed here.
    pub(crate) fn handle_conflict(&mut self, conflict: Conflict, entries: &[LogEntry]) {
        let commands = entries.iter().filter(|entry| entry.kind == EntryKind::Command);
        let events =
            commands.filter_map(|entry| Entry::decode(&entry.payload).ok()).map(|entry| entry.events());
        let conflict = Conflict { events: events.sum(), ..conflict };
        self.outputs.push_back(Output::Stopped(conflict));
        self.stop_for(conflict);
    }

    /// The replica had stopped for a conflict before this start. Its state can still be read.
    pub(crate) fn handle_stopped(&mut self, conflict: Conflict) {
        self.show_as_it_is();
        self.stop_for(conflict);
    }

    /// Stops for a conflict that was found now or before this start.
    pub(crate) fn stop_for(&mut self, conflict: Conflict) {
        self.conflict = Some(conflict);
        self.install = None;
        self.installing = None;
        self.handle_failed(alloc::format!(
            "{conflict}. A disk of the cluster was set back, for example by an old copy of a folder. This node \
             no longer takes part in the cluster, and keeps its data: see \"A node that knows more than the \
             others\" in docs/operations.md"
        ));
        self.send_conflict();
    }

    pub(crate) fn tick_conflict(&mut self) {
        if self.ticks.is_multiple_of(REPORT_TICKS) {
            self.send_conflict();
        }
    }

    fn send_conflict(&mut self) {
        let Some(conflict) = self.conflict else { return };
        for to in self.peers() {
            self.outputs.push_back(Output::Send { to, message: PeerMessage::Stopped(conflict) });
        }
    }

    /// Compares the log of a peer's checkpoint with the committed log of this replica. Returns a conflict
    /// when the two have different terms at the last committed index. If one of the two does not know the
    /// term there, nothing is compared.
    pub(crate) fn check_checkpoint(&self, head: &ChunkHead, theirs: &Terms) -> Option<Conflict> {
        let committed = self.floor.max(self.applied);
        let mut own = self.terms.until(committed);
        for entry in self.pipeline.iter().filter(|entry| entry.index <= committed) {
            own.push(entry.term, entry.index);
        }
        let is_other = own.at(committed).zip(theirs.at(committed)).is_some_and(|(own, theirs)| own != theirs);
        if head.index < committed || !is_other {
            return None;
        }
        let first = own.first_difference(theirs).unwrap_or(committed).min(committed);
        let from = self.install.as_ref().map_or(self.options.node, |install| install.from);
        let last = self.pipeline.iter().last().map_or(committed, |entry| entry.index);
        let term = head.term;
        Some(Conflict { from, term, first, is_first_exact: false, committed, last, events: 0 })
    }

    /// Events of the entries between two indexes that are not applied yet.
    pub(crate) fn count_events(&self, first: LogIndex, last: LogIndex) -> u64 {
        let named = self.pipeline.iter().filter(|entry| (first..=last).contains(&entry.index));
        named.filter_map(|entry| entry.entry.as_ref()).map(Entry::events).sum()
    }

    pub(crate) fn stop_before_install(&mut self, conflict: Conflict) {
        let events = self.count_events(conflict.first, conflict.committed);
        let conflict = Conflict { events, ..conflict };
        self.outputs.push_back(Output::Stopped(conflict));
        self.stop_for(conflict);
    }

    /// Records the term of an entry that was applied.
    pub(crate) fn note_term(&mut self, term: Term, index: LogIndex) {
        self.has_new_terms |= self.terms.push(term, index);
    }

    /// Outputs the terms if they changed: they must be durable before the checkpoint that includes them.
    pub(crate) fn output_terms(&mut self) {
        if core::mem::take(&mut self.has_new_terms) && !self.options.is_alone {
            self.outputs.push_back(Output::Terms(self.terms.clone()));
        }
    }

    /// Adopts the terms of a peer's checkpoint, whose entries count as applied.
    pub(crate) fn adopt_terms(&mut self, head: &ChunkHead, theirs: &Terms) {
        self.terms = theirs.until(head.index);
        self.terms.push(head.term, head.index);
    }
}
