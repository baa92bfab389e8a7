//! When a replica has a state to show, and what it says before.
//!
//! Stale reads and those of a session are answered from what this replica has: nobody else is asked. A replica that
//! lacks what it has acknowledged itself, or what the cluster had agreed on before, would deny what clients were told.
//! So it shows nothing before it has applied
//!
//! - what its disk says to be committed, when the disk has lost nothing. That needs no leader: what is committed
//!   once never changes;
//! - what was agreed when it heard of a leader first, when its disk is new or was damaged. What is left on such a
//!   disk may be much less than what this replica knew before. Where all disks are new there is nothing to wait for.
//!
//! Only then it is noted that such a disk has everything again ([`Output::CaughtUp`]): the next start may rely on it.

use bezant_consensus::{Engine, Input as EngineInput};
use bezant_rsm::StateMachine;
use bezant_types::{LogIndex, Term};

use crate::event::{NoState, Output};
use crate::replica::Replica;

impl<M: StateMachine, E: Engine> Replica<M, E> {
    /// Why it answers neither stale reads nor those of a session; `None` when it does, from then on for good.
    pub fn no_state(&self) -> Option<NoState> {
        if self.shows_from.is_some_and(|index| index <= self.applied) {
            return None;
        }
        // A disk that was repaired has a vote, in a term that is not 0.
        Some(match self.engine.standing().term {
            _ if self.engine.may_vote() => NoState::Replaying,
            Term(0) => NoState::Meeting,
            _ => NoState::Filling,
        })
    }

    /// What the disk says to be committed is applied without anybody's word.
    pub(crate) fn begin_to_show(&mut self) {
        self.pipeline.commit_until(self.floor);
        if self.options.is_alone || self.engine.may_vote() {
            self.shows_from = Some(self.floor);
        }
    }

    /// The disk of a replica that has stopped is all that there is of what it knows: it is shown as it is.
    pub(crate) fn show_as_it_is(&mut self) {
        self.shows_from = Some(LogIndex(0));
    }

    /// It may vote. When it had to catch up with nobody, all disks are new.
    pub(crate) fn handle_admit(&mut self) {
        self.tell_engine(EngineInput::Admit);
        self.shows_from.get_or_insert(self.floor);
    }

    /// The engine has handed out all that was agreed when it heard of a leader first.
    pub(crate) fn note_caught_up(&mut self) {
        let handed_out = self.pipeline.last_committed().unwrap_or(self.applied);
        self.shows_from = Some(handed_out.max(self.applied).max(self.floor));
        self.has_caught_up = true;
    }

    /// Applies what can be applied, and says what follows from it.
    pub(crate) fn apply_and_answer(&mut self) {
        self.apply_ready();
        self.tell_caught_up();
        self.answer_reads();
    }

    /// Passed on when all of it is applied.
    fn tell_caught_up(&mut self) {
        if self.has_caught_up && self.shows_from.is_some_and(|index| index <= self.applied) {
            self.has_caught_up = false;
            self.outputs.push_back(Output::CaughtUp);
        }
    }
}
