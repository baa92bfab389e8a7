//! Elections: the pre-vote, which commits no acceptor to anything, and then the scout.
//!
//! A replica first asks whether a quorum would promise. An acceptor that still receives messages of a leader
//! does not grant the pre-vote, so a replica that was partitioned does not disturb the group. Then the
//! replica prepares a ballot in a round that is later than every round in the replies.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bezant_consensus::{LogEntry, Members, Output};
use bezant_types::{LogIndex, NodeId, Term};

use crate::ballot::{Ballot, Mark};
use crate::change::change_of;
use crate::disk::After;
use crate::engine::{Paxos, Position, PreVote};
use crate::message::Message;
use crate::quorum::{acceptors, is_acceptor};
use crate::scout::{Scout, Step};

impl Paxos {
    /// Handles a tick.
    pub(crate) fn handle_tick(&mut self) {
        self.ticks += 1;
        if matches!(self.position, Position::Leading(_)) {
            self.lead_tick();
            return;
        }
        if self.replica.handle_tick() {
            self.campaign();
        } else if self.ticks.is_multiple_of(self.timeouts.heartbeat_ticks()) {
            self.ask_acceptors();
        }
    }

    pub(crate) fn may_campaign(&self) -> bool {
        self.bootstrap.is_admitted() && self.installing.is_none() && is_acceptor(&self.members, self.node)
    }

    /// The election timeout has elapsed: starts a pre-vote.
    fn campaign(&mut self) {
        let timeout = self.timeouts.draw();
        self.replica.reset_timeout(timeout);
        self.follow(None);
        self.learn_members();
        if !self.may_campaign() {
            return;
        }
        let granted = BTreeMap::from([(self.node, self.acceptor.promised().round)]);
        self.position = Position::PreVoting(PreVote { attempt: self.ticks, granted });
        self.ask_acceptors();
        self.prepare_if_granted();
    }

    /// Sends the current request to every acceptor that has not answered.
    fn ask_acceptors(&mut self) {
        let last = self.acceptor.values().last().slot;
        let (message, answered): (Message, Vec<NodeId>) = match &self.position {
            Position::PreVoting(pre_vote) => (
                Message::PreVote { attempt: pre_vote.attempt, last },
                pre_vote.granted.keys().copied().collect(),
            ),
            Position::Scouting(scout) => (
                Message::Prepare { ballot: scout.ballot() },
                scout.promises().keys().copied().chain([self.node]).collect(),
            ),
            Position::Waiting | Position::Leading(_) => return,
        };
        let asked: Vec<NodeId> =
            acceptors(&self.members).filter(|acceptor| !answered.contains(acceptor)).collect();
        for acceptor in asked {
            self.send_after(After::Promise, acceptor, message.clone());
        }
        self.ask_for_values();
    }

    /// Grants a pre-vote if this acceptor would promise. It does not while it follows an active leader. It
    /// also does not when the candidate's log ends before the values in memory here: that candidate would
    /// need a checkpoint before it can lead.
    pub(crate) fn handle_pre_vote(&mut self, from: NodeId, attempt: u64, last: LogIndex) {
        let has_leader = self.replica.leader().is_some()
            && self.replica.ticks_since_leader() < self.timeouts.election_ticks();
        let is_leading = matches!(self.position, Position::Leading(_));
        let can_lead = last >= self.acceptor.values().before().slot;
        if self.bootstrap.is_admitted() && !has_leader && !is_leading && can_lead {
            let round = self.acceptor.promised().round;
            self.send_after(After::Promise, from, Message::PreVoteGranted { attempt, round });
        }
    }

    pub(crate) fn handle_pre_vote_granted(&mut self, from: NodeId, attempt: u64, round: Term) {
        if let Position::PreVoting(pre_vote) = &mut self.position
            && pre_vote.attempt == attempt
        {
            pre_vote.granted.insert(from, round);
            self.prepare_if_granted();
        }
    }

    fn prepare_if_granted(&mut self) {
        if let Position::PreVoting(pre_vote) = &self.position
            && self.members.is_quorum(|node| pre_vote.granted.contains_key(&node))
        {
            let latest = pre_vote.granted.values().max().copied().unwrap_or_default();
            self.round_seen = self.round_seen.max(latest);
            self.prepare();
        }
    }

    /// Starts phase 1. The promise of this replica is durable before the ballot is sent, so no later
    /// incarnation uses the ballot again.
    pub(crate) fn prepare(&mut self) {
        let round = self.round_seen.max(self.acceptor.promised().round);
        let ballot = Ballot { round: Term(round.0 + 1), node: self.node };
        self.follow(None);
        let timeout = self.timeouts.draw();
        self.replica.reset_timeout(timeout);
        self.learn_members();
        self.position = Position::Scouting(Scout::new(ballot));
        let answer = self.acceptor.handle_prepare(ballot);
        self.write();
        self.send_after(After::Everything, self.node, answer);
        self.ask_acceptors();
    }

    pub(crate) fn handle_prepare(&mut self, ballot: Ballot) {
        if !self.bootstrap.is_admitted() {
            return;
        }
        let before = self.acceptor.promised();
        let answer = self.acceptor.handle_prepare(ballot);
        self.write();
        if self.acceptor.promised() != before {
            self.step_down();
        }
        // The accepted values may not be durable yet. A scout that adopts them treats more values as accepted
        // than it must, which is always safe. A scout that cannot learn them, because a crash lost them, asks
        // for the promise again.
        self.send_after(After::Promise, ballot.node, answer);
    }

    /// Another replica campaigns, or this one must not lead: this replica waits.
    pub(crate) fn step_down(&mut self) {
        self.position = Position::Waiting;
        self.follow(None);
        let timeout = self.timeouts.draw();
        self.replica.reset_timeout(timeout);
    }

    /// An acceptor has promised another ballot. The attempt is over when that ballot is of a later round, or
    /// when too few acceptors are left for this one. The replica then waits for a random timeout, which grows
    /// with each pre-emption.
    pub(crate) fn handle_refuse(&mut self, from: NodeId, ballot: Ballot, promised: Ballot) {
        if self.ballot() != Some(ballot) || promised.round < ballot.round {
            return;
        }
        let is_over = match &mut self.position {
            _ if promised.round > ballot.round => true,
            Position::Scouting(scout) => scout.handle_refused(from, &self.members),
            _ => false,
        };
        if is_over {
            self.round_seen = self.round_seen.max(promised.round);
            self.position = Position::Waiting;
            self.follow(None);
            let timeout = self.timeouts.back_off(self.pre_emptions);
            self.pre_emptions = self.pre_emptions.saturating_add(1);
            self.replica.reset_timeout(timeout);
        }
    }

    pub(crate) fn handle_promise(&mut self, from: NodeId, ballot: Ballot, accepted: Mark) {
        if let Position::Scouting(scout) = &mut self.position
            && scout.ballot() == ballot
        {
            scout.handle_promise(from, accepted);
            self.advance_scout();
        }
    }

    /// Takes the next step of the scout.
    fn advance_scout(&mut self) {
        self.learn_members();
        let Position::Scouting(scout) = &mut self.position else { return };
        match scout.step(self.acceptor.values().last(), &self.members) {
            Step::Wait => {}
            Step::Learn(from) => {
                if scout.asked().is_none() {
                    scout.ask(from, self.acceptor.values().last().slot);
                    self.ask_for_values();
                }
            }
            Step::Adopt => self.start_leading(),
        }
    }

    fn ask_for_values(&mut self) {
        if let Position::Scouting(scout) = &self.position
            && let Some((from, after)) = scout.asked()
            && let Some(after) = self.acceptor.values().mark(after)
        {
            let ballot = scout.ballot();
            self.send(from, Message::Learn { ballot, after });
        }
    }

    pub(crate) fn handle_learned(&mut self, from: NodeId, ballot: Ballot, after: Mark, values: &[LogEntry]) {
        if let Position::Scouting(scout) = &mut self.position
            && scout.ballot() == ballot
            && scout.take_answer(from, after.slot)
        {
            // The acceptor's log ends at `after`, before the end that its promise reported.
            if values.is_empty() && scout.drop_promise(from) {
                return self.ask_acceptors();
            }
            if self.stop_on_conflict(from, ballot, after, values) {
                return;
            }
            self.acceptor.adopt(after, values, self.replica.decided());
            self.write();
            self.advance_scout();
        }
    }

    /// The acceptor has another value in that slot: the logs differ from an earlier slot on.
    pub(crate) fn learn_earlier(&mut self, from: NodeId, after: LogIndex, hint: Mark) {
        let decided = self.replica.decided();
        if let Position::Scouting(scout) = &mut self.position
            && after <= decided
            && scout.asked() == Some((from, after))
        {
            // The acceptor lacks a value that is decided here, though its promise reported a later log. If a
            // crash lost the reported values, a new promise shows that. If new promises still report them,
            // the logs contradict each other.
            if scout.drop_promise(from) {
                return self.ask_acceptors();
            }
            let ballot = scout.ballot();
            self.stop(from, ballot, after, false);
            return;
        }
        let guess = self.acceptor.values().last_until(hint).max(decided);
        if let Position::Scouting(scout) = &mut self.position
            && guess < after
            && scout.take_answer(from, after)
        {
            scout.ask(from, guess);
            self.ask_for_values();
        }
    }

    /// Applies the changes in the log that are certainly decided: all but the last, because a change is
    /// proposed only after the previous one was applied.
    fn learn_members(&mut self) {
        let values = self.acceptor.values();
        let changes = values.changes_after(self.members.index);
        let changes = changes.filter_map(|slot| Some((slot, change_of(values.entry(slot)?)?)));
        let members = self.members.catch_up(changes);
        if members.index <= self.members.index {
            return;
        }
        let since = |members: &Members, node| members.get(node).map(|member| member.since);
        let is_another =
            |node| since(&self.members, node).is_some_and(|old| since(&members, node) != Some(old));
        let has_other_disks = acceptors(&members).any(is_another);
        self.members = members.clone();
        self.outputs.push_back(Output::Members(members));
        if matches!(self.position, Position::Scouting(_)) && has_other_disks {
            // A promise of that node, received or in flight, may have come from its previous disk. The next
            // ballot asks the current disks of the members.
            self.step_down();
        }
        self.ask_acceptors();
    }
}
