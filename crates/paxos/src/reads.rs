//! Reads that a leader confirms with a quorum. It uses no lease and no clock: it sends a heartbeat with a
//! sequence number, and waits until a quorum has replied.
//!
//! A read must cover everything that was decided when it arrived. A confirmation that starts later proves
//! that this leader knew all of it: an acceptor that replies has promised no later ballot, so when the read
//! arrived, no later leader had a quorum of promises, and none had decided a value.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use bezant_consensus::Members;
use bezant_types::{LogIndex, NodeId};

/// The maximum number of waiting reads. Further reads are dropped, and their requesters send them again.
const WAITING_MAX: usize = 1 << 16;

/// A read request: the node, the incarnation of its process, and the number of the read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadRequest {
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
    pub(crate) read: u64,
}

/// The reads of one leader, and the confirmations for them.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// The number of the confirmation in progress, or of the last one; 0 before the first.
    sequence: u64,
    /// The last confirmation that a quorum has replied to.
    confirmed: u64,
    /// The last confirmation that each acceptor has replied to.
    replied: BTreeMap<NodeId, u64>,
    /// The waiting reads, each with the confirmation that it needs and the slot that it must cover.
    waiting: VecDeque<(u64, LogIndex, ReadRequest)>,
    /// Reads that arrived before this leader had decided its no-op.
    early: Vec<ReadRequest>,
}

impl Reads {
    pub(crate) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Adds a read. `decided` is the last decided slot; `None` while this leader has not decided its no-op.
    pub(crate) fn add(&mut self, request: ReadRequest, decided: Option<LogIndex>) {
        if self.waiting.len() + self.early.len() >= WAITING_MAX {
            return;
        }
        match decided {
            Some(decided) => self.waiting.push_back((self.sequence + 1, decided, request)),
            None => self.early.push(request),
        }
    }

    /// The leader has decided its no-op: the early reads can be confirmed.
    pub(crate) fn handle_first_decision(&mut self, decided: LogIndex) {
        for request in core::mem::take(&mut self.early) {
            self.waiting.push_back((self.sequence + 1, decided, request));
        }
    }

    /// Starts the next confirmation, and returns true, when a read waits for it and none is in progress.
    pub(crate) fn start_confirmation(&mut self) -> bool {
        let begins = self.confirmed == self.sequence
            && self.waiting.back().is_some_and(|(sequence, ..)| *sequence > self.sequence);
        self.sequence += u64::from(begins);
        begins
    }

    pub(crate) fn handle_reply(&mut self, from: NodeId, sequence: u64) {
        if sequence <= self.sequence {
            let replied = self.replied.entry(from).or_default();
            *replied = sequence.max(*replied);
        }
    }

    /// That node is not a member any more, or has another disk: its replies do not count any more.
    pub(crate) fn remove(&mut self, node: NodeId) {
        self.replied.remove(&node);
    }

    /// Removes and returns the reads that are confirmed, each with the slot that it must cover.
    pub(crate) fn take_confirmed(&mut self, node: NodeId, members: &Members) -> Vec<(ReadRequest, LogIndex)> {
        let sequence = self.sequence;
        let has = |other| other == node || self.replied.get(&other).is_some_and(|last| *last >= sequence);
        if self.confirmed < sequence && members.is_quorum(has) {
            self.confirmed = sequence;
        }
        let confirmed = self.confirmed;
        let mut reads = Vec::new();
        while let Some((_, index, request)) =
            self.waiting.pop_front_if(|(sequence, ..)| *sequence <= confirmed)
        {
            reads.push((request, index));
        }
        reads
    }
}
