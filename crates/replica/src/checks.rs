//! Assertions on the transitions of a replica.
//!
//! | rule | before | after |
//! |---|---|---|
//! | an entry is applied once it is durable here, in the order of the log | `check_applies` | `check_applied` |
//! | cluster time only grows | `propose_entries`, for its own entry | `check_applied`: the state is never later than the log |
//! | every command gets one result, after it was applied | `check_applies` | `check_answers` |
//! | the checkpoint's index only grows, and covers only what is applied | `check_own_checkpoint`, when it begins | when it is durable |
//! | a peer's checkpoint is later than the own state | before it is written | `handle_installed` |

use bezant_consensus::Engine;
use bezant_rsm::{Entry, StateMachine};
use bezant_types::LogIndex;

use crate::replica::Replica;

impl<M: StateMachine, E: Engine> Replica<M, E> {
    /// That entry is about to be applied, or passed over if it is the engine's own.
    pub(crate) fn check_applies(&self, index: LogIndex) {
        assert!(index == self.applied.next(), "entries are applied in the order of the log");
        let oldest = self.writes.front().and_then(|write| write.first);
        assert!(oldest.is_none_or(|first| index < first), "an entry is applied once it is on this disk");
    }

    /// An entry was applied.
    pub(crate) fn check_applied(&self) {
        assert!(self.machine.time() <= self.time, "the state is never later than the newest entry");
    }

    /// An entry is about to be answered.
    pub(crate) fn check_answers(&self, index: LogIndex, entry: &Entry, results: usize) {
        assert!(index <= self.applied, "only an applied entry is answered");
        assert!(results == entry.commands.len(), "every command has one result");
    }

    /// A checkpoint of that entry begins, or is durable.
    pub(crate) fn check_own_checkpoint(&self, index: LogIndex) {
        assert!(index >= self.checkpoints.index, "the index of the checkpoint only grows");
        assert!(index <= self.applied, "a checkpoint covers only what is applied");
    }

    /// A peer's checkpoint is about to become the state, or has become the newest one on this disk.
    pub(crate) fn check_install(&self, index: LogIndex) {
        assert!(index > self.applied, "a peer's checkpoint is later than what is applied here");
    }
}
