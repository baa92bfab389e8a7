//! When a replica rests, and what wakes it: see `rest`.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use bezant_consensus::{Engine, Input as EngineInput, Standing};
use bezant_rsm::StateMachine;
use bezant_types::{LogIndex, Nanos, NodeId, Term};

use crate::event::{Consistency, Input, Now, Output};
use crate::message::PeerMessage;
use crate::replica::Replica;
use crate::rest::{FOLLOWER_QUIET_TICKS, QUIET_TICKS};

impl<M: StateMachine, E: Engine> Replica<M, E> {
    /// A quiet leader rests, and tells the `connected` nodes to rest. Returns whether this replica rests. The
    /// driver calls this regularly while it has no business of its own with the group, and polls afterwards.
    pub fn try_rest(&mut self, connected: &BTreeSet<NodeId>) -> bool {
        if self.is_resting() {
            return true;
        }
        let may_lead_on = self.engine.is_leader() && self.pressure.is_none() && self.hold.is_none();
        if !may_lead_on || !self.is_quiet(QUIET_TICKS) {
            return false;
        }
        let standing = self.engine.standing();
        let (own, applied, members) = (self.options.node, self.applied, self.engine.members());
        let has_all = |node: NodeId| {
            let peer = standing.peers.iter().find(|peer| peer.node == node);
            peer.is_some_and(|peer| peer.is_active && peer.matched == applied)
        };
        let told: Vec<NodeId> = self.peers().into_iter().filter(|peer| connected.contains(peer)).collect();
        let is_alone = members.nodes.is_empty();
        let is_quorum = is_alone || members.is_quorum(|node| node == own || connected.contains(&node));
        if !is_quorum || !self.is_level(&standing) || !told.iter().all(|peer| has_all(*peer)) {
            return false;
        }
        for to in &told {
            let message = PeerMessage::Rest { term: standing.term, index: applied };
            self.outputs.push_back(Output::Send { to: *to, message });
        }
        self.rest.begin(&told);
        true
    }

    /// True while this replica rests: it needs no heartbeats, and sends none.
    pub fn is_resting(&self) -> bool {
        self.rest.is_resting()
    }

    /// False while the driver need not pass [`Input::Tick`]. It may, and must once [`Self::wake_at`] is
    /// reached.
    pub fn needs_ticks(&self) -> bool {
        self.rest.needs_ticks()
    }

    /// The deadline of a resting leader's machine, in cluster time; `None` when there is none, and while this
    /// replica does not rest or does not lead.
    pub fn wake_at(&self) -> Option<Nanos> {
        let is_resting_leader = self.is_resting() && self.engine.is_leader();
        if is_resting_leader { self.machine.due_at() } else { None }
    }

    /// The node under which this follower rests: while something arrives from that node, this state is as new
    /// as the leader's. `None` for a leader, and while this replica does not rest.
    pub fn rests_under(&self) -> Option<NodeId> {
        let leader = self.engine.leader().filter(|leader| *leader != self.options.node);
        leader.filter(|_| self.is_resting())
    }

    /// Wakes this replica if the input is a reason. Returns whether it rested.
    pub(crate) fn wake_for(&mut self, input: &Input<M>) -> bool {
        let was_resting = self.is_resting();
        match input {
            Input::Query { consistency, .. } | Input::Barrier { consistency, .. } => {
                if !self.is_satisfied(*consistency) {
                    self.wake_busy();
                }
            }
            Input::Message { from, message } => self.wake_for_message(*from, message),
            Input::Lost(peer) | Input::Met(peer) | Input::Unresponsive(peer) => {
                if self.engine.members().get(*peer).is_some() {
                    let is_leader_gone =
                        !matches!(input, Input::Met(_)) && self.engine.leader() == Some(*peer);
                    self.wake(!is_leader_gone);
                }
            }
            Input::Request { .. }
            | Input::Failed { .. }
            | Input::Stopped(_)
            | Input::RestLost
            | Input::TransferLeadership
            | Input::TransferLeadershipTo(_) => self.wake_busy(),
            Input::Persisted(_)
            | Input::VoteKept(_)
            | Input::SpaceAwaited
            | Input::Fetched { .. }
            | Input::CheckpointPieceTaken
            | Input::CheckpointWritten { .. }
            | Input::CheckpointAbandoned(_)
            | Input::RowsInstalled
            | Input::Installed
            | Input::InstallFailed
            | Input::Pressure(_)
            | Input::Hold(_)
            | Input::Admit
            | Input::Tick => {}
        }
        was_resting
    }

    fn wake_for_message(&mut self, from: NodeId, message: &PeerMessage) {
        let is_leaders = self.engine.leader() == Some(from);
        match message {
            PeerMessage::Clock(_) => {}
            // If the engine sends or writes anything because of it, the replica wakes.
            PeerMessage::Engine(_) if self.rest.expects_late_messages() => {}
            PeerMessage::Engine(_)
            | PeerMessage::Digest { .. }
            | PeerMessage::Stopped(_)
            | PeerMessage::Rest { .. }
            | PeerMessage::Wake => self.wake(!is_leaders),
            PeerMessage::Forward(..)
            | PeerMessage::Outcome(..)
            | PeerMessage::Pull(_)
            | PeerMessage::Chunk(_) => self.wake_busy(),
        }
    }

    fn wake_busy(&mut self) {
        self.rest.note_busy(self.ticks);
        self.wake(true);
    }

    /// Wakes this replica, if it rests. A leader begins to be quiet anew. A follower tells its leader, if
    /// asked to.
    pub(crate) fn wake(&mut self, tells_leader: bool) {
        if !self.rest.end() {
            return;
        }
        match self.engine.leader() {
            Some(leader) if leader == self.options.node => self.rest.note_busy(self.ticks),
            Some(leader) if tells_leader => {
                self.outputs.push_back(Output::Send { to: leader, message: PeerMessage::Wake });
            }
            Some(_) | None => {}
        }
    }

    /// This replica does not lead any more, or its engine sends nothing from now on: wakes the peers that it
    /// told to rest.
    pub(crate) fn wake_told(&mut self) {
        for to in self.rest.take_told() {
            self.outputs.push_back(Output::Send { to, message: PeerMessage::Wake });
        }
    }

    /// A leader rests, and asks this replica to rest.
    pub(crate) fn handle_rest(&mut self, from: NodeId, term: Term, index: LogIndex) {
        let standing = self.engine.standing();
        let is_leaders = standing.leader == Some(from) && standing.term == term && index == self.applied;
        if is_leaders && self.is_level(&standing) && self.is_quiet(FOLLOWER_QUIET_TICKS) {
            self.rest.follow();
        } else {
            self.outputs.push_back(Output::Send { to: from, message: PeerMessage::Wake });
        }
    }

    /// Nothing arrives from that node. `was_resting` is whether this replica rested: an awake one has its
    /// ticks.
    pub(crate) fn handle_unresponsive(&mut self, peer: NodeId, was_resting: bool) {
        if was_resting && self.engine.leader() == Some(peer) {
            self.pass_to_engine(EngineInput::Lost(peer));
        }
    }

    /// Handles a tick. Returns false while this replica rests: then nothing else of it receives the tick.
    pub(crate) fn tick_rest(&mut self, now: Now) -> bool {
        if !self.is_resting() {
            return true;
        }
        if self.wake_at().is_some_and(|moment| moment <= self.time.max(now.wall)) {
            self.wake(true);
            return true;
        }
        self.rest.tick();
        false
    }

    /// Handles the end of a tick of an awake replica.
    pub(crate) fn note_rest_tick(&mut self) {
        let is_still = self.is_still();
        self.rest.note_tick(self.ticks, is_still, self.applied);
    }

    fn is_quiet(&self, ticks: u64) -> bool {
        self.rest.is_quiet(self.ticks, ticks) && self.is_still()
    }

    /// True when nothing waits and nothing is under way.
    fn is_still(&self) -> bool {
        let is_idle = self.queue.has_none()
            && self.pipeline.len() == 0
            && self.proposed.is_none()
            && self.forwards.has_none()
            && self.reads.has_none()
            && !self.has_queries()
            && self.writes.is_empty()
            && !self.own_command_waits;
        let is_complete = self.install.is_none()
            && self.installing.is_none()
            && self.checkpoints.is_idle()
            && !self.has_caught_up
            && self.no_state().is_none()
            && self.engine.may_vote()
            && !self.engine.members().is_changing();
        let is_sound = self.failed.is_none() && self.conflict.is_none() && !self.has_diverged;
        is_idle && is_complete && is_sound
    }

    /// True when this replica has applied everything that it knows of.
    fn is_level(&self, standing: &Standing) -> bool {
        standing.committed == self.applied && standing.announced == self.applied
    }

    /// True when a read needs no other replica.
    fn is_satisfied(&self, consistency: Consistency) -> bool {
        match consistency {
            Consistency::Linearizable => false,
            Consistency::AtLeast(index) => index <= self.applied,
            Consistency::Stale => true,
        }
    }
}
