//! Bootstrap: a replica that may not vote yet, because its disk is new or has forgotten something.
//!
//! It accepts, but neither promises nor tries to lead. It ends when it has on disk what the first leader that it heard of knew to be
//! decided, and a value of that leader's own round or a later one: a new leader may know of less than was decided, but all of that
//! lies before its own first value.

use bezant_types::{LogIndex, Term};

use crate::ballot::Ballot;

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bootstrap {
    /// The replica may vote.
    Admitted,
    /// It has heard of no leader.
    Waiting,
    /// It needs this slot, and a value of this round.
    Until { slot: LogIndex, round: Term },
    /// It has them, and has said so.
    CaughtUp,
}

impl Bootstrap {
    pub(crate) const fn new(may_vote: bool) -> Self {
        if may_vote { Self::Admitted } else { Self::Waiting }
    }

    pub(crate) const fn is_admitted(self) -> bool {
        matches!(self, Self::Admitted)
    }

    /// A leader that this replica follows speaks.
    pub(crate) fn handle_leader(&mut self, ballot: Ballot, decided: LogIndex) {
        if *self == Self::Waiting {
            *self = Self::Until { slot: decided.max(LogIndex(1)), round: ballot.round };
        }
    }

    /// That value is decided, and on the disk. True when it is what was missing, once.
    pub(crate) fn handle_decided(&mut self, decided: LogIndex, decided_round: Term) -> bool {
        let is_done =
            matches!(*self, Self::Until { slot, round } if decided >= slot && decided_round >= round);
        if is_done {
            *self = Self::CaughtUp;
        }
        is_done
    }
}
