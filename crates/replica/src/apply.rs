//! Every replica applies the committed entries in order, as soon as it has their rows. Then it answers the
//! clients whose commands it proposed.

use alloc::vec::Vec;

use bezant_consensus::Engine;
use bezant_rsm::StateMachine;
use bezant_types::{LogIndex, Nanos, Term};

use crate::event::Output;
use crate::message::Outcome;
use crate::origin::Origin;
use crate::pipeline::InFlight;
use crate::replica::Replica;

impl<M: StateMachine, E: Engine> Replica<M, E> {
    /// Outputs the fetch of the rows that an entry needs, if it needs any.
    pub(crate) fn fetch(&mut self, index: LogIndex) {
        let Some(waiting) = self.pipeline.get_mut(index) else { return };
        let Some(entry) = &waiting.entry else { return };
        let prefetch = self.machine.prefetch(entry);
        if prefetch.keys.is_empty() {
            waiting.found = Some(M::Found::from(prefetch.position));
        } else {
            let term = waiting.term;
            self.outputs.push_back(Output::Fetch { index, term, prefetch });
        }
    }

    pub(crate) fn handle_fetched(&mut self, index: LogIndex, term: Term, found: M::Found) {
        if let Some(waiting) = self.pipeline.get_mut(index)
            && waiting.term == term
        {
            waiting.found = Some(found);
        }
        self.apply_and_answer();
    }

    /// Applies, in order, every entry that is committed and has its rows.
    pub(crate) fn apply_ready(&mut self) {
        while self.failed.is_none()
            && self.install.is_none()
            && let Some(first) = self.pipeline.front_mut()
            && first.is_committed
        {
            let index = first.index;
            self.check_applies(index);
            let Some(first) = self.pipeline.front_mut() else { return };
            let Some(entry) = &first.entry else {
                let Some(done) = self.pipeline.pop() else { return };
                self.applied = done.index;
                self.note_term(done.term, done.index);
                for origin in done.origins {
                    self.answer_change(origin, Ok(()));
                }
                continue;
            };
            let Some(found) = first.found.take() else { return };
            let Some(applied) = self.machine.apply(first.index, entry, found) else {
                // The rows were read too early. They are fetched again, now that all earlier entries are
                // applied.
                self.fetch(index);
                continue;
            };
            let Some(done) = self.pipeline.pop() else { return };
            self.applied = done.index;
            self.note_term(done.term, done.index);
            self.check_applied();
            self.checkpoints.log_bytes += done.size;
            self.outputs.push_back(Output::Rows(applied.rows));
            self.answer(&done, applied.results);
            self.begin_checkpoint_if_due(&done);
        }
    }

    fn answer(&mut self, done: &InFlight<M::Found>, results: Vec<bytes::Bytes>) {
        let Some(entry) = &done.entry else { return };
        self.check_answers(done.index, entry, results.len());
        let mut time = entry.time.0 - entry.events();
        for ((origin, command), results) in done.origins.iter().zip(&entry.commands).zip(results) {
            time += u64::from(command.events);
            let (index, time, events) = (done.index, Nanos(time), command.events);
            match *origin {
                Origin::Client(ticket) => {
                    self.outputs.push_back(Output::Answer { ticket, index, time, events, results });
                }
                Origin::Peer(node, number) => {
                    self.send_outcome(node, number, Outcome::Done { index, time, results });
                }
                Origin::Own => self.own_command_waits = false,
            }
        }
    }
}
