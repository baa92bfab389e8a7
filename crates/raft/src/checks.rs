//! Assertions on the transitions of this replica. raft-rs makes them; these checks do not rely on it.
//!
//! | rule | before it is written or sent | after it was read or confirmed |
//! |---|---|---|
//! | the term never falls, one vote a term | `check_vote`, at every write | `check_restored`, at the start |
//! | only what was written is confirmed | the numbers of writes grow | `check_persisted` |
//! | the commit index never falls, and is durable at a quorum | `check_committed`, when it grows | `check_emitted`: durable here, in order |

use bezant_consensus::{Vote, WriteNumber};
use bezant_types::NodeId;
use raft::StateRole;
use raft::eraftpb::Entry;

use crate::engine::Raft;
use crate::reached::check_vote;

impl Raft {
    /// What was read from the disk is what counts. `vote` is at least the written one.
    pub(crate) fn check_restored(&self, written: Vote, vote: Vote) {
        check_vote(written, vote);
        let raft = &self.raw.raft;
        assert!(
            (raft.term, raft.vote) == (vote.term.0, vote.voted_for.0),
            "the stored vote is the one that counts"
        );
        assert!(
            self.floor <= raft.raft_log.last_index(),
            "what is committed is in the log or the checkpoint"
        );
    }

    /// A write is emitted under that number.
    pub(crate) fn check_write(&mut self, number: u64) {
        assert!(number > self.reached.write, "every write has a new number");
        self.reached.write = number;
    }

    pub(crate) fn check_persisted(&self, number: WriteNumber) {
        assert!(number.0 <= self.reached.write, "a write that was never emitted cannot be durable");
    }

    /// The commit index may have grown.
    pub(crate) fn check_committed(&mut self) {
        let raft = &self.raw.raft;
        let committed = raft.raft_log.committed;
        if committed == self.reached.committed {
            return;
        }
        assert!(committed > self.reached.committed, "the commit index never falls");
        assert!(committed <= raft.raft_log.last_index(), "only entries that are here are committed");
        if raft.state == StateRole::Leader {
            let matched = |node: NodeId| raft.prs().get(node.0).map_or(0, |progress| progress.matched);
            let is_durable = self.raw.store().members().is_quorum(|node| matched(node) >= committed);
            assert!(is_durable, "a committed entry is durable at a quorum");
            let own = matched(self.node);
            assert!(
                own <= raft.raft_log.persisted,
                "a leader counts its own disk only when it has the entry"
            );
        }
        self.reached.committed = committed;
    }

    /// These entries are about to be emitted as committed.
    pub(crate) fn check_emitted(&self, entries: &[Entry]) {
        let log = &self.raw.raft.raft_log;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        assert!(first.index == log.applied + 1, "entries are committed in order, without gaps");
        assert!(last.index <= log.committed, "only committed entries are emitted");
        assert!(last.index <= log.persisted, "an entry is emitted once it is on this disk");
    }
}
