//! What must never go back, for the assertions of `checks`.

use bezant_consensus::Vote;

/// What must never go back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    /// The commit index of raft-rs.
    pub(crate) committed: u64,
    /// The last write that was emitted; 0 for none.
    pub(crate) write: u64,
}

impl Reached {
    /// Everything up to `committed` is in the checkpoint.
    pub(crate) const fn new(committed: u64) -> Self {
        Self { committed, write: 0 }
    }
}

/// A vote that is about to be written replaces the one before.
pub(crate) fn check_vote(before: Vote, next: Vote) {
    assert!(next.term >= before.term, "the term never falls");
    let is_kept = before.voted_for.0 == 0 || before.voted_for == next.voted_for;
    assert!(next.term > before.term || is_kept, "a vote is given once a term");
}
