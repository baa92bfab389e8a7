//! A replica that knows entries to be committed, and is contradicted by those that go on without them: it stops, says so, and
//! keeps what it has. Without it they would vanish, though clients were told of them.

use bezant_consensus::{Conflict, Engine, EntryKind, LogEntry, Terms};
use bezant_rsm::{Entry, StateMachine};
use bezant_types::{LogIndex, Term};

use crate::event::Output;
use crate::message::{ChunkHead, PeerMessage};
use crate::replica::Replica;

/// Ticks after which a replica that has stopped says so again to the others.
const TELL_TICKS: u64 = 1_000;

impl<M: StateMachine, E: Engine> Replica<M, E> {
    /// Why this replica has stopped; `None` while it has not.
    pub const fn conflict(&self) -> Option<&Conflict> {
        self.conflict.as_ref()
    }

    /// The engine, or the state that came from a peer, contradicts what is committed here.
    pub(crate) fn handle_conflict(&mut self, conflict: Conflict, entries: &[LogEntry]) {
        let commands = entries.iter().filter(|entry| entry.kind == EntryKind::Command);
        let events =
            commands.filter_map(|entry| Entry::decode(&entry.payload).ok()).map(|entry| entry.events());
        let conflict = Conflict { events: events.sum(), ..conflict };
        self.outputs.push_back(Output::Stopped(conflict));
        self.stop_for(conflict);
    }

    /// It had stopped before it was started again: what it has can be read.
    pub(crate) fn handle_stopped(&mut self, conflict: Conflict) {
        self.show_as_it_is();
        self.stop_for(conflict);
    }

    /// It stops, or had stopped before it began.
    pub(crate) fn stop_for(&mut self, conflict: Conflict) {
        self.conflict = Some(conflict);
        self.install = None;
        self.installing = None;
        self.handle_failed(alloc::format!(
            "{conflict}. A disk of the cluster has gone back: an old copy of a folder was put in its place, say. This node takes \
             part in nothing from now on, and keeps what it has: \"A node that knows more than the others\" in \
             docs/operations.md says what to do"
        ));
        self.tell_conflict();
    }

    pub(crate) fn tick_conflict(&mut self) {
        if self.ticks.is_multiple_of(TELL_TICKS) {
            self.tell_conflict();
        }
    }

    fn tell_conflict(&mut self) {
        let Some(conflict) = self.conflict else { return };
        for to in self.peers() {
            self.outputs.push_back(Output::Send { to, message: PeerMessage::Stopped(conflict) });
        }
    }

    /// Whether a checkpoint of a peer was made of another log than what is committed here: of another term at the same
    /// index, as far as both remember. What is not remembered passes.
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

    /// Events of the entries that a conflict names, as far as they are not applied.
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

    /// An entry of the log was applied.
    pub(crate) fn note_term(&mut self, term: Term, index: LogIndex) {
        self.has_new_terms |= self.terms.push(term, index);
    }

    /// Before a checkpoint of them is durable, the terms are.
    pub(crate) fn hand_out_terms(&mut self) {
        if core::mem::take(&mut self.has_new_terms) && !self.options.is_alone {
            self.outputs.push_back(Output::Terms(self.terms.clone()));
        }
    }

    /// Everything up to a checkpoint of a peer counts as applied.
    pub(crate) fn adopt_terms(&mut self, head: &ChunkHead, theirs: &Terms) {
        self.terms = theirs.until(head.index);
        self.terms.push(head.term, head.index);
    }
}
