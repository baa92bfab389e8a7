//! On the way to lead: the canvass, which binds nobody, and the scout.
//!
//! A replica asks first whether it would be promised, and an acceptor that hears a leader would not: so one that was cut
//! off disturbs nobody. Then the promise is asked for in a round that nobody has heard of.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bezant_consensus::{LogEntry, Members, Output};
use bezant_types::{LogIndex, NodeId, Term};

use crate::ballot::{Ballot, Mark};
use crate::change::change_of;
use crate::disk::After;
use crate::engine::{Canvass, Paxos, Position};
use crate::message::Message;
use crate::quorum::{acceptors, is_acceptor, is_quorum};
use crate::scout::{Scout, Step};

impl Paxos {
    /// Time went on.
    pub(crate) fn handle_tick(&mut self) {
        self.ticks += 1;
        if matches!(self.position, Position::Leading(_)) {
            self.lead_tick();
            return;
        }
        if self.replica.handle_tick() {
            self.stand();
        } else if self.ticks.is_multiple_of(self.timeouts.heartbeat_ticks()) {
            self.ask_acceptors();
        }
    }

    pub(crate) fn may_stand(&self) -> bool {
        self.bootstrap.is_admitted() && self.installing.is_none() && is_acceptor(&self.members, self.node)
    }

    /// It has waited long enough.
    fn stand(&mut self) {
        let waits = self.timeouts.draw();
        self.replica.wait(waits);
        self.follow(None);
        self.learn_members();
        if !self.may_stand() {
            return;
        }
        let willing = BTreeMap::from([(self.node, self.acceptor.promised().round)]);
        self.position = Position::Canvassing(Canvass { turn: self.ticks, willing });
        self.ask_acceptors();
        self.prepare_if_willing();
    }

    /// Asks everybody who has not answered.
    fn ask_acceptors(&mut self) {
        let last = self.acceptor.values().last().slot;
        let (message, answered): (Message, Vec<NodeId>) = match &self.position {
            Position::Canvassing(canvass) => {
                (Message::Canvass { turn: canvass.turn, last }, canvass.willing.keys().copied().collect())
            }
            Position::Scouting(scout) => (
                Message::Prepare { ballot: scout.ballot() },
                scout.promises().keys().copied().chain([self.node]).collect(),
            ),
            Position::Waiting | Position::Leading(_) => return,
        };
        let asked: Vec<NodeId> =
            acceptors(&self.members).filter(|acceptor| !answered.contains(acceptor)).collect();
        for acceptor in asked {
            self.say(After::Promise, acceptor, message.clone());
        }
        self.ask_for_values();
    }

    /// Would this acceptor promise? Not while it hears a leader, and not to one that lacks what is gone here.
    pub(crate) fn handle_canvass(&mut self, from: NodeId, turn: u64, last: LogIndex) {
        let is_led =
            self.replica.leader().is_some() && self.replica.silent_ticks() < self.timeouts.election_ticks();
        let is_leading = matches!(self.position, Position::Leading(_));
        let can_lead = last >= self.acceptor.values().before().slot;
        if self.bootstrap.is_admitted() && !is_led && !is_leading && can_lead {
            let round = self.acceptor.promised().round;
            self.say(After::Promise, from, Message::Willing { turn, round });
        }
    }

    pub(crate) fn handle_willing(&mut self, from: NodeId, turn: u64, round: Term) {
        if let Position::Canvassing(canvass) = &mut self.position
            && canvass.turn == turn
        {
            canvass.willing.insert(from, round);
            self.prepare_if_willing();
        }
    }

    fn prepare_if_willing(&mut self) {
        if let Position::Canvassing(canvass) = &self.position
            && is_quorum(&self.members, |node| canvass.willing.contains_key(&node))
        {
            let latest = canvass.willing.values().max().copied().unwrap_or_default();
            self.round_seen = self.round_seen.max(latest);
            self.prepare();
        }
    }

    /// Phase 1 begins. The own promise is on the disk before anybody hears of the ballot, so no later life uses it again.
    pub(crate) fn prepare(&mut self) {
        let round = self.round_seen.max(self.acceptor.promised().round);
        let ballot = Ballot { round: Term(round.0 + 1), node: self.node };
        self.follow(None);
        let waits = self.timeouts.draw();
        self.replica.wait(waits);
        self.learn_members();
        self.position = Position::Scouting(Scout::new(ballot));
        let answer = self.acceptor.handle_prepare(ballot);
        self.write();
        self.say(After::Everything, self.node, answer);
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
        // What was accepted may not be on the disk yet. A scout that adopts it takes more for accepted than it must, which never
        // is wrong; one that finds it gone after a crash asks again in a later round.
        self.say(After::Promise, ballot.node, answer);
    }

    /// Somebody else tries to lead, or has to: this replica waits.
    pub(crate) fn step_down(&mut self) {
        self.position = Position::Waiting;
        self.follow(None);
        let waits = self.timeouts.draw();
        self.replica.wait(waits);
    }

    /// An acceptor has promised another ballot. When it is of a later round, or when too few are left for this one, the attempt
    /// is over. Whoever tries the same waits for another time; longer each time.
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
            let waits = self.timeouts.back_off(self.pre_emptions);
            self.pre_emptions = self.pre_emptions.saturating_add(1);
            self.replica.wait(waits);
        }
    }

    pub(crate) fn handle_promise(&mut self, from: NodeId, ballot: Ballot, accepted: Mark) {
        if let Position::Scouting(scout) = &mut self.position
            && scout.ballot() == ballot
        {
            scout.handle_promise(from, accepted);
            self.scout_on();
        }
    }

    /// What the scout knows may be enough, or say what to learn.
    fn scout_on(&mut self) {
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
            Step::Adopt => self.begin_to_lead(),
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
            if self.stops_at(from, ballot, after, values) {
                return;
            }
            self.acceptor.adopt(after, values, self.replica.decided());
            self.write();
            self.scout_on();
        }
    }

    /// The acceptor has another value there: its log and this one part earlier.
    pub(crate) fn learn_earlier(&mut self, from: NodeId, after: LogIndex, hint: Mark) {
        let decided = self.replica.decided();
        if let Position::Scouting(scout) = &self.position
            && after <= decided
            && scout.asked() == Some((from, after))
        {
            // Its log is later, and lacks what is decided.
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

    /// What the log has of changes that are certainly agreed.
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
            // What its number has promised, or will have in messages on their way, the disk before has promised. The next
            // ballot is asked of the members' own disks.
            self.step_down();
        }
        self.ask_acceptors();
    }
}
