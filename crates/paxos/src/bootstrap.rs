//! Bootstrap: the state of a replica that may not vote yet, because its disk is new or has lost data.
//!
//! Such a replica accepts values, but it neither promises nor campaigns. It has caught up when its disk has
//! two things: every slot that the first leader it followed had announced as decided, and a decided value of
//! that leader's round or of a later round. The second is needed because a new leader may not know yet that
//! some slots are decided. All of these slots precede the first value that it proposes.

use bezant_types::{LogIndex, Term};

use crate::ballot::Ballot;

/// The state of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bootstrap {
    /// The replica may vote.
    Admitted,
    /// It has followed no leader yet.
    Waiting,
    /// It needs everything up to this slot, and a value of this round or of a later one.
    Until { slot: LogIndex, round: Term },
    /// It has both, and the engine has emitted `CaughtUp`.
    CaughtUp,
}

impl Bootstrap {
    pub(crate) const fn new(may_vote: bool) -> Self {
        if may_vote { Self::Admitted } else { Self::Waiting }
    }

    pub(crate) const fn is_admitted(self) -> bool {
        matches!(self, Self::Admitted)
    }

    /// Handles a message of a leader that this replica follows. `decided` is the last slot that it announced.
    pub(crate) fn handle_leader(&mut self, ballot: Ballot, decided: LogIndex) {
        if *self == Self::Waiting {
            *self = Self::Until { slot: decided.max(LogIndex(1)), round: ballot.round };
        }
    }

    /// A value is decided and durable. Returns true once, when nothing is missing any more.
    pub(crate) fn handle_decided(&mut self, decided: LogIndex, decided_round: Term) -> bool {
        let is_done =
            matches!(*self, Self::Until { slot, round } if decided >= slot && decided_round >= round);
        if is_done {
            *self = Self::CaughtUp;
        }
        is_done
    }
}
