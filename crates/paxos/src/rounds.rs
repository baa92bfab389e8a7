//! Reads that a leader confirms: no lease and no clock, but a round of signs of incarnation, answered by a quorum.
//!
//! A read that came before a round began sees everything that was decided when it came. Whoever answers the round has
//! promised nobody later; so no later leader had a quorum of promises when the read came, and none had decided anything.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use bezant_consensus::Members;
use bezant_types::{LogIndex, NodeId};

use crate::quorum::is_quorum;

/// Reads that wait; one more is not taken, and asked for again by whoever wants it.
const WAITING_MAX: usize = 1 << 16;

/// Who asked for a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
    pub(crate) read: u64,
}

/// The rounds of one leader.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// The round under way, or the last.
    turn: u64,
    /// The last round that a quorum has answered.
    done: u64,
    /// The last round that each has answered.
    answered: BTreeMap<NodeId, u64>,
    /// Reads, the round that they need, and what they see.
    waiting: VecDeque<(u64, LogIndex, Asker)>,
    /// Reads that came before this leader had decided anything.
    early: Vec<Asker>,
}

impl Rounds {
    pub(crate) const fn turn(&self) -> u64 {
        self.turn
    }

    /// Takes a read; `decided` is the last slot that is, `None` while this leader has decided nothing.
    pub(crate) fn ask(&mut self, asker: Asker, decided: Option<LogIndex>) {
        if self.waiting.len() + self.early.len() >= WAITING_MAX {
            return;
        }
        match decided {
            Some(decided) => self.waiting.push_back((self.turn + 1, decided, asker)),
            None => self.early.push(asker),
        }
    }

    /// The leader has decided a slot of its own.
    pub(crate) fn begin(&mut self, decided: LogIndex) {
        for asker in core::mem::take(&mut self.early) {
            self.waiting.push_back((self.turn + 1, decided, asker));
        }
    }

    /// True when the next round should begin: somebody waits for it, and none is under way.
    pub(crate) fn begin_round(&mut self) -> bool {
        let begins =
            self.done == self.turn && self.waiting.back().is_some_and(|(turn, ..)| *turn > self.turn);
        self.turn += u64::from(begins);
        begins
    }

    pub(crate) fn handle_alive(&mut self, from: NodeId, turn: u64) {
        if turn <= self.turn {
            let answered = self.answered.entry(from).or_default();
            *answered = turn.max(*answered);
        }
    }

    /// That node takes part no more, or is another one now.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.answered.remove(&node);
    }

    /// The reads that are confirmed now.
    pub(crate) fn take_done(&mut self, node: NodeId, members: &Members) -> Vec<(Asker, LogIndex)> {
        let turn = self.turn;
        let has = |other| other == node || self.answered.get(&other).is_some_and(|last| *last >= turn);
        if self.done < turn && is_quorum(members, has) {
            self.done = turn;
        }
        let done = self.done;
        let mut reads = Vec::new();
        while let Some((_, index, asker)) = self.waiting.pop_front_if(|(turn, ..)| *turn <= done) {
            reads.push((asker, index));
        }
        reads
    }
}
