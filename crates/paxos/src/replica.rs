//! The replica: hands out what is decided, in order, and knows who leads.
//!
//! What it hands out is on this disk. It waits for its leader's word, and says when it has waited long enough.

use bezant_types::{LogIndex, NodeId};

/// What a replica knows of the group.
#[derive(Debug)]
pub(crate) struct Replica {
    /// The last slot that is known to be decided.
    decided: LogIndex,
    /// The last slot that was handed out.
    committed: LogIndex,
    leader: Option<NodeId>,
    /// Ticks since the leader was heard of.
    silent_ticks: u64,
    /// Ticks since it began to wait, and after how many it tries to lead.
    waited: u64,
    waits: u64,
}

impl Replica {
    /// Everything up to `decided` is in a checkpoint.
    pub(crate) const fn new(decided: LogIndex, waits: u64) -> Self {
        Self { decided, committed: decided, leader: None, silent_ticks: 0, waited: 0, waits }
    }

    pub(crate) const fn decided(&self) -> LogIndex {
        self.decided
    }

    pub(crate) const fn committed(&self) -> LogIndex {
        self.committed
    }

    pub(crate) const fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    pub(crate) const fn silent_ticks(&self) -> u64 {
        self.silent_ticks
    }

    /// True when somebody else is known to lead from now on.
    pub(crate) fn follow(&mut self, leader: Option<NodeId>) -> bool {
        let is_new = self.leader != leader;
        self.leader = leader;
        if leader.is_some() {
            self.silent_ticks = 0;
            self.waited = 0;
        }
        is_new && leader.is_some()
    }

    /// Begins to wait.
    pub(crate) const fn wait(&mut self, ticks: u64) {
        self.waited = 0;
        self.waits = ticks;
    }

    /// Time went on: true when it has waited long enough.
    pub(crate) const fn handle_tick(&mut self) -> bool {
        self.silent_ticks += 1;
        self.waited += 1;
        self.waited >= self.waits
    }

    /// Everything up to that slot is decided.
    pub(crate) fn handle_decided(&mut self, slot: LogIndex) {
        self.decided = self.decided.max(slot);
    }

    /// The next slot to be handed out, when it is decided and on the disk.
    pub(crate) fn next(&self, durable: LogIndex) -> Option<LogIndex> {
        let next = self.committed.next();
        (next <= self.decided.min(durable)).then_some(next)
    }

    /// That slot was handed out.
    pub(crate) fn handle_committed(&mut self, slot: LogIndex) {
        assert!(slot == self.committed.next(), "slots are handed out in their order");
        self.committed = slot;
    }

    /// The state begins anew behind that slot.
    pub(crate) const fn restart(&mut self, slot: LogIndex) {
        self.decided = slot;
        self.committed = slot;
    }
}
