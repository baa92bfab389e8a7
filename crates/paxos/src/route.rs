//! Routes each message to its role, and updates the other state that depends on it.

use bezant_consensus::{LogEntry, Output, ReadNumber};
use bezant_types::{LogIndex, NodeId};

use crate::ballot::{Ballot, Mark};
use crate::disk::After;
use crate::engine::{Paxos, Position};
use crate::message::Message;
use crate::reads::ReadRequest;

impl Paxos {
    /// Handles a message of a peer, or of a role of this replica. A message that only the node of its ballot
    /// may send is dropped when another node sends it.
    pub(crate) fn handle_message(&mut self, from: NodeId, message: Message) {
        if self.is_stopped {
            return;
        }
        match message {
            Message::PreVote { attempt, last } => self.handle_pre_vote(from, attempt, last),
            Message::PreVoteGranted { attempt, round } => self.handle_pre_vote_granted(from, attempt, round),
            Message::Prepare { ballot } if from == ballot.node => self.handle_prepare(ballot),
            Message::Promise { ballot, accepted } => self.handle_promise(from, ballot, accepted),
            Message::Refuse { ballot, promised } => self.handle_refuse(from, ballot, promised),
            Message::Learn { ballot, after } if from == ballot.node => {
                let answer = self.acceptor.handle_learn(ballot, after);
                self.send_after(After::Promise, from, answer);
            }
            Message::Learned { ballot, after, values } => self.handle_learned(from, ballot, after, &values),
            Message::Accept { ballot, after, values, decided } if from == ballot.node => {
                self.handle_accept(ballot, after, &values, decided);
            }
            Message::Accepted { ballot, last } => self.handle_accepted(from, ballot, last),
            Message::Missing { ballot, after, hint } => self.handle_missing(from, ballot, after, hint),
            Message::Decision { ballot, decided } if from == ballot.node => {
                if self.accept_leader(ballot, decided) {
                    self.note_decision(decided);
                }
            }
            Message::Heartbeat { ballot, decided, sequence } if from == ballot.node => {
                if self.accept_leader(ballot, decided) {
                    self.note_decision(decided);
                    self.send_after(After::Promise, from, Message::HeartbeatReply { ballot, sequence });
                }
            }
            Message::HeartbeatReply { ballot, sequence } => {
                if let Position::Leading(leader) = &mut self.position
                    && leader.ballot == ballot
                {
                    leader.reads.handle_reply(from, sequence);
                }
            }
            Message::Checkpoint { ballot, last } => self.handle_checkpoint(from, ballot, last),
            Message::TransferLeadership { ballot } if from == ballot.node => {
                if self.accept_leader(ballot, LogIndex(0)) && self.may_campaign() {
                    self.prepare();
                }
            }
            Message::ReadIndex { incarnation, read } => {
                self.handle_read_index(ReadRequest { node: from, incarnation, read });
            }
            Message::ReadIndexReply { incarnation, read, index } => {
                self.handle_read_index_reply(incarnation, read, index);
            }
            Message::Prepare { .. }
            | Message::Learn { .. }
            | Message::Accept { .. }
            | Message::Decision { .. }
            | Message::Heartbeat { .. }
            | Message::TransferLeadership { .. } => {}
        }
    }

    /// A message of the leader of `ballot` has arrived. Returns true if this replica now follows that leader.
    fn accept_leader(&mut self, ballot: Ballot, decided: LogIndex) -> bool {
        let is_own = ballot.node == self.node;
        let is_false = if is_own { self.ballot() != Some(ballot) } else { self.leads_in(ballot) };
        if is_false {
            return false;
        }
        if !self.acceptor.follow(ballot) {
            let promised = self.acceptor.promised();
            self.send_after(After::Promise, ballot.node, Message::Refuse { ballot, promised });
            return false;
        }
        self.write();
        if !is_own {
            self.announced = self.announced.max(decided);
            self.position = Position::Waiting;
            self.pre_emptions = 0;
            if self.replica.leader() != Some(ballot.node) {
                let timeout = self.timeouts.draw();
                self.replica.reset_timeout(timeout);
            }
            self.follow(Some(ballot.node));
            self.bootstrap.handle_leader(ballot, decided);
        }
        true
    }

    /// True when this replica leads in that round, so no other node can.
    fn leads_in(&self, ballot: Ballot) -> bool {
        matches!(&self.position, Position::Leading(leader) if leader.ballot.round == ballot.round)
    }

    /// Marks the slots that the leader announced as decided, as far as this log is known to equal the
    /// leader's.
    fn note_decision(&mut self, decided: LogIndex) {
        self.replica.handle_decided(decided.min(self.acceptor.matched()));
    }

    fn handle_accept(&mut self, ballot: Ballot, after: Mark, values: &[LogEntry], decided: LogIndex) {
        // While a checkpoint is being fetched, values are not accepted: the log restarts after that
        // checkpoint.
        if !self.accept_leader(ballot, decided) || self.installing.is_some() {
            return;
        }
        let is_own = ballot.node == self.node;
        if !is_own && self.stop_on_conflict(ballot.node, ballot, after, values) {
            return;
        }
        let answer = self.acceptor.handle_accept(ballot, after, values, self.replica.decided());
        self.write();
        self.note_decision(decided);
        self.send_after(After::Everything, ballot.node, answer);
    }

    fn handle_missing(&mut self, from: NodeId, ballot: Ballot, after: LogIndex, hint: Mark) {
        if self.ballot() != Some(ballot) {
            return;
        }
        let values = self.acceptor.values();
        match &mut self.position {
            Position::Leading(leader) => {
                if let Some(delivery) = leader.deliveries.get_mut(&from) {
                    delivery.handle_missing(after, values.last_until(hint));
                }
            }
            Position::Scouting(_) => self.learn_earlier(from, after, hint),
            Position::Waiting | Position::PreVoting(_) => {}
        }
    }

    /// The sender has dropped the values that this replica lacks, and offers a checkpoint.
    fn handle_checkpoint(&mut self, from: NodeId, ballot: Ballot, last: Mark) {
        if let Position::Scouting(scout) = &self.position
            && scout.ballot() == ballot
            && scout.has_promised(from)
        {
            if self.stop_on_conflict(from, ballot, last, &[]) {
                return;
            }
            self.step_down();
            self.install(from, last);
        } else if from == ballot.node && from != self.node && self.accept_leader(ballot, last.slot) {
            if self.stop_on_conflict(from, ballot, last, &[]) {
                return;
            }
            if last.slot <= self.replica.decided() || self.acceptor.values().holds(last) {
                self.handle_accept(ballot, last, &[], last.slot);
            } else {
                self.install(from, last);
            }
        }
    }

    fn install(&mut self, from: NodeId, last: Mark) {
        if self.installing.is_none() && last.slot > self.replica.decided() {
            self.installing = Some(last.slot);
            self.outputs.push_back(Output::Install { from, index: last.slot });
        }
    }

    fn handle_read_index(&mut self, request: ReadRequest) {
        let decided = self.replica.decided();
        if let Position::Leading(leader) = &mut self.position {
            leader.reads.add(request, (decided >= leader.first).then_some(decided));
        }
    }

    fn handle_read_index_reply(&mut self, incarnation: u64, read: u64, index: LogIndex) {
        if let Some(ReadNumber(read)) = self.requester.handle_read_index_reply(incarnation, read) {
            self.outputs.push_back(Output::Readable { read: ReadNumber(read), index });
        }
    }
}
