//! Which role a message is for, and what this replica learns from it besides.

use bezant_consensus::{LogEntry, Output, ReadNumber};
use bezant_types::{LogIndex, NodeId};

use crate::ballot::{Ballot, Mark};
use crate::disk::After;
use crate::engine::{Paxos, Position};
use crate::message::Message;
use crate::rounds::Asker;

impl Paxos {
    /// Takes a message of a peer, or of a role of this replica. One that speaks for somebody else is not listened to.
    pub(crate) fn handle_message(&mut self, from: NodeId, message: Message) {
        if self.is_stopped {
            return;
        }
        match message {
            Message::Canvass { turn, last } => self.handle_canvass(from, turn, last),
            Message::Willing { turn, round } => self.handle_willing(from, turn, round),
            Message::Prepare { ballot } if from == ballot.node => self.handle_prepare(ballot),
            Message::Promise { ballot, accepted } => self.handle_promise(from, ballot, accepted),
            Message::Refuse { ballot, promised } => self.handle_refuse(from, ballot, promised),
            Message::Learn { ballot, after } if from == ballot.node => {
                let answer = self.acceptor.handle_learn(ballot, after);
                self.say(After::Promise, from, answer);
            }
            Message::Learned { ballot, after, values } => self.handle_learned(from, ballot, after, &values),
            Message::Accept { ballot, after, values, decided } if from == ballot.node => {
                self.handle_accept(ballot, after, &values, decided);
            }
            Message::Accepted { ballot, last } => self.handle_accepted(from, ballot, last),
            Message::Missing { ballot, after, hint } => self.handle_missing(from, ballot, after, hint),
            Message::Decision { ballot, decided } if from == ballot.node => {
                if self.hear(ballot, decided) {
                    self.note_decision(decided);
                }
            }
            Message::Heartbeat { ballot, decided, turn } if from == ballot.node => {
                if self.hear(ballot, decided) {
                    self.note_decision(decided);
                    self.say(After::Promise, from, Message::Alive { ballot, turn });
                }
            }
            Message::Alive { ballot, turn } => {
                if let Position::Leading(leader) = &mut self.position
                    && leader.ballot == ballot
                {
                    leader.rounds.handle_alive(from, turn);
                }
            }
            Message::Checkpoint { ballot, last } => self.handle_checkpoint(from, ballot, last),
            Message::Lead { ballot } if from == ballot.node => {
                if self.hear(ballot, LogIndex(0)) && self.may_stand() {
                    self.prepare();
                }
            }
            Message::Ask { incarnation, read } => self.handle_ask(Asker { node: from, incarnation, read }),
            Message::Told { incarnation, read, index } => self.handle_told(incarnation, read, index),
            Message::Prepare { .. }
            | Message::Learn { .. }
            | Message::Accept { .. }
            | Message::Decision { .. }
            | Message::Heartbeat { .. }
            | Message::Lead { .. } => {}
        }
    }

    /// A word of a ballot's leader: whether this replica follows it.
    fn hear(&mut self, ballot: Ballot, decided: LogIndex) -> bool {
        let is_own = ballot.node == self.node;
        let is_false = if is_own { self.ballot() != Some(ballot) } else { self.leads_in(ballot) };
        if is_false {
            return false;
        }
        if !self.acceptor.follow(ballot) {
            let promised = self.acceptor.promised();
            self.say(After::Promise, ballot.node, Message::Refuse { ballot, promised });
            return false;
        }
        self.write();
        if !is_own {
            self.announced = self.announced.max(decided);
            self.position = Position::Waiting;
            self.pre_emptions = 0;
            if self.replica.leader() != Some(ballot.node) {
                let waits = self.timeouts.draw();
                self.replica.wait(waits);
            }
            self.follow(Some(ballot.node));
            self.bootstrap.handle_leader(ballot, decided);
        }
        true
    }

    /// True when somebody else cannot lead in that round, for this replica does.
    fn leads_in(&self, ballot: Ballot) -> bool {
        matches!(&self.position, Position::Leading(leader) if leader.ballot.round == ballot.round)
    }

    /// What is known to be equal to the leader's log, and decided there, is decided.
    fn note_decision(&mut self, decided: LogIndex) {
        self.replica.handle_decided(decided.min(self.acceptor.matched()));
    }

    fn handle_accept(&mut self, ballot: Ballot, after: Mark, values: &[LogEntry], decided: LogIndex) {
        // Before a checkpoint is there, values would not fit.
        if !self.hear(ballot, decided) || self.installing.is_some() {
            return;
        }
        let is_own = ballot.node == self.node;
        if !is_own && self.stops_at(ballot.node, ballot, after, values) {
            return;
        }
        let answer = self.acceptor.handle_accept(ballot, after, values, self.replica.decided());
        self.write();
        self.note_decision(decided);
        self.say(After::Everything, ballot.node, answer);
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
            Position::Waiting | Position::Canvassing(_) => {}
        }
    }

    /// The values that this replica lacks are gone.
    fn handle_checkpoint(&mut self, from: NodeId, ballot: Ballot, last: Mark) {
        if let Position::Scouting(scout) = &self.position
            && scout.ballot() == ballot
            && scout.has_promised(from)
        {
            if self.stops_at(from, ballot, last, &[]) {
                return;
            }
            self.step_down();
            self.install(from, last);
        } else if from == ballot.node && from != self.node && self.hear(ballot, last.slot) {
            if self.stops_at(from, ballot, last, &[]) {
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

    fn handle_ask(&mut self, asker: Asker) {
        let decided = self.replica.decided();
        if let Position::Leading(leader) = &mut self.position {
            leader.rounds.ask(asker, (decided >= leader.first).then_some(decided));
        }
    }

    fn handle_told(&mut self, incarnation: u64, read: u64, index: LogIndex) {
        if let Some(ReadNumber(read)) = self.requester.handle_told(incarnation, read) {
            self.outputs.push_back(Output::Readable { read: ReadNumber(read), index });
        }
    }
}
