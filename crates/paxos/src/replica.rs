//! The replica: emits decided values in the order of their slots, and tracks the leader.
//!
//! It emits a value only after it is durable on this disk. It counts the ticks of the election timeout.

use bezant_types::{LogIndex, NodeId};

/// The state of the replica role.
#[derive(Debug)]
pub(crate) struct Replica {
    /// The last slot that is known to be decided.
    decided: LogIndex,
    /// The last slot that was emitted.
    committed: LogIndex,
    leader: Option<NodeId>,
    /// Ticks since the last message of a leader.
    ticks_since_leader: u64,
    /// Ticks since the election timeout was reset.
    elapsed_ticks: u64,
    /// The election timeout: after this many ticks the replica campaigns.
    timeout_ticks: u64,
}

impl Replica {
    /// Everything up to `decided` is in a checkpoint.
    pub(crate) const fn new(decided: LogIndex, timeout_ticks: u64) -> Self {
        Self {
            decided,
            committed: decided,
            leader: None,
            ticks_since_leader: 0,
            elapsed_ticks: 0,
            timeout_ticks,
        }
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

    pub(crate) const fn ticks_since_leader(&self) -> u64 {
        self.ticks_since_leader
    }

    /// Sets the leader, and returns true when it is a new one.
    pub(crate) fn follow(&mut self, leader: Option<NodeId>) -> bool {
        let is_new = self.leader != leader;
        self.leader = leader;
        if leader.is_some() {
            self.ticks_since_leader = 0;
            self.elapsed_ticks = 0;
        }
        is_new && leader.is_some()
    }

    /// Restarts the election timeout with that many ticks.
    pub(crate) const fn reset_timeout(&mut self, ticks: u64) {
        self.elapsed_ticks = 0;
        self.timeout_ticks = ticks;
    }

    /// Handles a tick: true when the election timeout has elapsed.
    pub(crate) const fn handle_tick(&mut self) -> bool {
        self.ticks_since_leader += 1;
        self.elapsed_ticks += 1;
        self.elapsed_ticks >= self.timeout_ticks
    }

    /// Everything up to that slot is decided.
    pub(crate) fn handle_decided(&mut self, slot: LogIndex) {
        self.decided = self.decided.max(slot);
    }

    /// The next slot to emit, when it is decided and durable.
    pub(crate) fn next(&self, durable: LogIndex) -> Option<LogIndex> {
        let next = self.committed.next();
        (next <= self.decided.min(durable)).then_some(next)
    }

    /// That slot was emitted.
    pub(crate) fn handle_committed(&mut self, slot: LogIndex) {
        assert!(slot == self.committed.next(), "slots are emitted in order");
        assert!(slot <= self.decided, "only decided slots are emitted");
        self.committed = slot;
    }

    /// The state restarts after a checkpoint at that slot.
    pub(crate) fn restart(&mut self, slot: LogIndex) {
        assert!(slot >= self.decided, "a checkpoint that was fetched covers what is decided here");
        self.decided = slot;
        self.committed = slot;
    }
}
