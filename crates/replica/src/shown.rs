//! When a replica serves its state, and what it answers before.
//!
//! Stale reads and those of a session are answered from this replica's state alone. A replica may lack what
//! it acknowledged itself, or what the cluster had committed before; its answer would contradict what clients
//! were told. So it serves nothing before it has applied
//!
//! - what its disk records as committed, when the disk has lost nothing. That needs no leader: a committed
//!   entry never changes;
//! - what was committed when a leader's message first arrived, when its disk is new or was damaged. Such a
//!   disk may hold much less than this replica had before. Where all disks are new there is nothing to wait
//!   for.
//!
//! Only then the disk is recorded as complete again ([`Output::CaughtUp`]): the next start may rely on it.

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
        // A repaired disk has a vote, in a term that is not 0.
        Some(match self.engine.standing().term {
            _ if self.engine.may_vote() => NoState::Replaying,
            Term(0) => NoState::Meeting,
            _ => NoState::Filling,
        })
    }

    /// Applies what the disk records as committed without waiting for a leader.
    pub(crate) fn begin_to_show(&mut self) {
        self.pipeline.commit_until(self.floor);
        if self.options.is_alone || self.engine.may_vote() {
            self.shows_from = Some(self.floor);
        }
    }

    /// Serves the state of a stopped replica as it is: its disk is the only copy.
    pub(crate) fn show_as_it_is(&mut self) {
        self.shows_from = Some(LogIndex(0));
    }

    /// The disk records that this replica may vote. If it never caught up with a leader, all disks are new.
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

    /// Applies what can be applied, and answers what waited for it.
    pub(crate) fn apply_and_answer(&mut self) {
        self.apply_ready();
        self.report_caught_up();
        self.answer_reads();
    }

    /// Outputs [`Output::CaughtUp`] when all of it is applied.
    fn report_caught_up(&mut self) {
        if self.has_caught_up && self.shows_from.is_some_and(|index| index <= self.applied) {
            self.has_caught_up = false;
            self.outputs.push_back(Output::CaughtUp);
        }
    }
}
