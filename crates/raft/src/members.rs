//! Changes of the membership: proposed by the leader, applied by every replica.
//!
//! A change of a learner is one step. A change of a voter enters a joint configuration, and the leader
//! proposes the second step as soon as the first is applied. So does a new leader that finds a joint
//! configuration.

use bezant_consensus::{Change, ChangeError, Output, Part};
use bezant_types::{LogIndex, NodeId};
use protobuf::Message as _;
use raft::StateRole;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use crate::conf::{change_of, conf_change};
use crate::engine::Raft;

/// The most entries that a node may lack when it is made a voter or the leader. It receives so few within a
/// short time.
const LAG_MAX: u64 = 256;

impl Raft {
    /// See [`Engine::change`](bezant_consensus::Engine::change).
    pub(crate) fn make_change(&mut self, change: &Change) -> Result<Option<LogIndex>, ChangeError> {
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader || raft.lead_transferee.is_some() {
            return Err(ChangeError::NotLeading);
        }
        if raft.has_pending_conf() && !matches!(change, Change::Lead(_)) {
            return Err(ChangeError::UnderWay);
        }
        let members = self.raw.store().members();
        members.check(change)?;
        match change {
            Change::Promote(node) => self.check_may_promote(*node)?,
            Change::Lead(node) if *node == self.node => return Ok(None),
            Change::Lead(node) => {
                self.check_caught_up(*node)?;
                self.raw.transfer_leader(node.0);
                self.work();
                return Ok(None);
            }
            Change::Remove(node) if *node == self.node => return Err(ChangeError::Leads),
            Change::Remove(node) => {
                members.check_enough_stay(*node, |voter| voter == self.node || self.is_active_peer(voter))?;
            }
            Change::Add { .. } | Change::Meet { .. } | Change::Complete => {}
        }
        let index = self.propose_change(change).ok_or(ChangeError::UnderWay)?;
        self.work();
        Ok(Some(index))
    }

    /// A learner becomes a voter only with an entry of this leader's term on its disk: then it has what it
    /// needs to be admitted. A voter that is not admitted counts for the size of a quorum, and never votes.
    fn check_may_promote(&self, node: NodeId) -> Result<(), ChangeError> {
        let raft = &self.raw.raft;
        if raft.raft_log.term(self.matched(node)).is_ok_and(|term| term == raft.term) {
            return self.check_caught_up(node);
        }
        Err(self.lagging(node))
    }

    fn check_caught_up(&self, node: NodeId) -> Result<(), ChangeError> {
        let last = self.raw.raft.raft_log.last_index();
        if self.matched(node) + LAG_MAX < last || !self.is_active_peer(node) {
            return Err(self.lagging(node));
        }
        Ok(())
    }

    /// The last entry that the node is known to have on disk; 0 for none.
    fn matched(&self, node: NodeId) -> u64 {
        self.raw.raft.prs().get(node.0).map_or(0, |progress| progress.matched)
    }

    fn lagging(&self, node: NodeId) -> ChangeError {
        ChangeError::Lagging(self.raw.raft.raft_log.last_index().saturating_sub(self.matched(node)))
    }

    /// Proposes the entry of a change, and returns its index; `None` when raft-rs rejects it now.
    fn propose_change(&mut self, change: &Change) -> Option<LogIndex> {
        let conf_change = conf_change(self.raw.store().members(), change);
        let data = conf_change.write_to_bytes().expect("invariant: it has no required fields");
        let mut entry = Entry { data: data.into(), ..Entry::default() };
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        let mut message = Message { from: self.node.0, ..Message::default() };
        message.set_msg_type(MessageType::MsgPropose);
        message.mut_entries().push(entry);
        self.raw.step(message).ok()?;
        Some(LogIndex(self.raw.raft.raft_log.last_index()))
    }

    /// Starts the second step of a change after the first was applied. A leader that is leaving transfers
    /// leadership, and the next leader proposes the step. Returns true when raft-rs has something to send.
    pub(crate) fn complete_change(&mut self) -> bool {
        let raft = &self.raw.raft;
        let members = self.raw.store().members();
        let may_propose =
            raft.state == StateRole::Leader && raft.lead_transferee.is_none() && !raft.has_pending_conf();
        if !may_propose || !members.is_changing() {
            return false;
        }
        if members.get(self.node).is_some_and(|member| member.part == Part::Leaving) {
            self.transfer_to_most_advanced();
            return self.raw.raft.lead_transferee.is_some();
        }
        self.propose_change(&Change::Complete).is_some()
    }

    /// Applies a committed entry that changes the members. Two kinds of change have no effect, on every
    /// replica alike: a change that is already in the members (they came with a checkpoint or from the disk),
    /// and a change that does not fit the members.
    pub(crate) fn commit_change(&mut self, entry: &Entry) {
        let Some(change) = change_of(entry) else { return };
        let members = self.raw.store().members();
        if entry.index <= members.index.0 || members.check(&change).is_err() {
            return;
        }
        let changed = members.after(&change, LogIndex(entry.index));
        let conf_change = conf_change(members, &change);
        // If raft-rs rejects a change, it does so on every replica, so none applies it.
        if self.raw.raft.apply_conf_change(&conf_change).is_err() {
            return;
        }
        // The previous leader may have proposed the step that removes this replica.
        let is_voter = changed.get(self.node).is_some_and(|member| member.part != Part::Learner);
        let raft = &mut self.raw.raft;
        if raft.state == StateRole::Leader && !is_voter {
            raft.become_follower(raft.term, raft::INVALID_ID);
        }
        self.raw.mut_store().set_members(changed.clone());
        self.outputs.push_back(Output::Members(changed));
    }
}
