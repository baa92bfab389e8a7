//! Decides when a replica serves its state.
//!
//! Stale reads and those of a session are answered from this replica's state alone. After a start, the state
//! may lack entries that this replica acknowledged, or that the cluster had committed before; such an answer
//! would contradict earlier answers to clients. So a replica serves no state before it has applied:
//!
//! - the entries that its disk records as committed, if the disk has lost nothing. This needs no leader: a
//!   committed entry never changes.
//! - the entries that were committed when a leader's message first arrived, if its disk is new or was
//!   damaged. Such a disk may have much less than this replica had before. If all disks are new, there is
//!   nothing to wait for.
//!
//! Only then the driver records that the disk is complete again ([`Output::CaughtUp`]), so that the next
//! start may rely on the disk.

use bezant_consensus::{Engine, Input as EngineInput};
use bezant_rsm::StateMachine;
use bezant_types::{LogIndex, Term};

use crate::event::{NoState, Output};
use crate::replica::Replica;

impl<M: StateMachine, E: Engine> Replica<M, E> {
    /// Why this replica answers neither stale reads nor those of a session; `None` once it does.
    pub fn no_state(&self) -> Option<NoState> {
        if self.shows_from.is_some_and(|index| index <= self.applied) {
            return None;
        }
        // A repaired disk has a vote in a term that is not 0, so term 0 means a new disk.
        Some(match self.engine.standing().term {
            _ if self.engine.may_vote() => NoState::Replaying,
            Term(0) => NoState::Meeting,
            _ => NoState::Filling,
        })
    }

    /// Applies the entries that the disk records as committed, without waiting for a leader.
    pub(crate) fn begin_to_show(&mut self) {
        self.pipeline.commit_until(self.floor);
        if self.options.is_alone || self.engine.may_vote() {
            self.shows_from = Some(self.floor);
        }
    }

    /// Serves the state of a stopped replica at once: its disk is the only copy of some entries.
    pub(crate) fn show_as_it_is(&mut self) {
        self.shows_from = Some(LogIndex(0));
    }

    /// The disk records that this replica may vote. If it is admitted without having caught up with a leader,
    /// all disks of the group are new.
    pub(crate) fn handle_admit(&mut self) {
        self.pass_to_engine(EngineInput::Admit);
        self.shows_from.get_or_insert(self.floor);
    }

    /// The engine has output everything that was committed when a leader's message first arrived.
    pub(crate) fn note_caught_up(&mut self) {
        let last_output = self.pipeline.last_committed().unwrap_or(self.applied);
        self.shows_from = Some(last_output.max(self.applied).max(self.floor));
        self.has_caught_up = true;
    }

    /// Applies all entries that can be applied, and answers the reads that waited for them.
    pub(crate) fn apply_and_answer(&mut self) {
        self.apply_ready();
        self.report_caught_up();
        self.answer_reads();
    }

    /// Outputs [`Output::CaughtUp`] when everything that the engine has reported as missing is applied.
    fn report_caught_up(&mut self) {
        if self.has_caught_up && self.shows_from.is_some_and(|index| index <= self.applied) {
            self.has_caught_up = false;
            self.outputs.push_back(Output::CaughtUp);
        }
    }
}
