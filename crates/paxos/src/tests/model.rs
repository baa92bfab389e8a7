//! Every way in which a small group can go: the roles' own rules, explored by a model checker.
//!
//! Bounds: three acceptors, two of them with a leader beside it, that tries to lead once each; two slots, and the no-op that a
//! leader of adopted slots needs behind them. The network keeps every message for ever: each may be taken never, once or
//! often, in any order, which is loss, doubling and reordering. A leader offers what it has from every place of its log on.
//! A write is durable when the answer leaves: that answers wait for it is `disk`'s, and tested with power failures in
//! `random`.
//!
//! What must hold in every state: no two replicas take different values for decided (agreement), and what is decided was
//! proposed in that slot and that round (validity).

use std::vec::Vec;

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use bezant_consensus::{EntryKind, LogEntry, Members};
use bezant_types::{LogIndex, NodeId, Term};
use bytes::Bytes;
use stateright::{Checker, Model, Property};

use super::net::first_members;
use crate::acceptor::Acceptor;
use crate::ballot::{Ballot, Mark};
use crate::commander::Commander;
use crate::message::Message;
use crate::scout::{Scout, Step};
use crate::values::Values;
use crate::wire::{decode, encode};

const ACCEPTORS: usize = 3;
const LEADERS: usize = 2;
const SLOTS: u64 = 2;

/// The bounds, and whether an acceptor may forget its promise once.
#[derive(Clone)]
struct Group {
    members: Members,
    attempts: u8,
    forgets: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Attempt {
    None,
    Scouting(Scout),
    Leading { ballot: Ballot, commanders: Vec<Commander> },
}

#[derive(Clone, Debug, PartialEq)]
struct Node {
    acceptor: Acceptor,
    decided: LogIndex,
    attempt: Attempt,
    attempts: u8,
}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.acceptor.promised(), self.acceptor.matched(), self.decided, self.attempts).hash(state);
        for entry in self.acceptor.values().batch(LogIndex(1), usize::MAX) {
            (entry.index, entry.term, entry.payload).hash(state);
        }
        self.attempt.hash(state);
    }
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct State {
    nodes: Vec<Node>,
    /// From, to, message: for ever.
    sent: BTreeSet<(usize, usize, Bytes)>,
    has_forgotten: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Stand(usize),
    Propose(usize),
    Take(usize, usize, Bytes),
    Forget(usize),
}

/// What a leader puts into a slot: it says itself where it was proposed.
fn proposed(slot: LogIndex, round: Term) -> LogEntry {
    let payload = format!("{slot}@{round}").into_bytes().into();
    LogEntry { index: slot, term: round, kind: EntryKind::Command, payload }
}

const fn name(node: usize) -> NodeId {
    NodeId(node as u64 + 1)
}

fn index(node: NodeId) -> usize {
    usize::try_from(node.0).unwrap() - 1
}

impl State {
    fn send(&mut self, from: usize, to: usize, message: &Message) {
        self.sent.insert((from, to, encode(message)));
    }

    fn last(&self, node: usize) -> Mark {
        self.nodes[node].acceptor.values().last()
    }

    /// A leader puts a value behind its log, and offers its log to everybody from every place on.
    fn give_out(&mut self, node: usize, ballot: Ballot) {
        let slot = self.last(node).slot.next();
        let Node { acceptor, decided, .. } = &mut self.nodes[node];
        let value = proposed(slot, ballot.round);
        let answer = acceptor.handle_accept(ballot, acceptor.values().last(), &[value], *decided);
        drop(acceptor.take_write());
        self.send(node, node, &answer);
        self.offer(node, ballot);
    }

    fn offer(&mut self, node: usize, ballot: Ballot) {
        let (last, decided) = (self.last(node), self.nodes[node].decided);
        for to in (0..ACCEPTORS).filter(|to| *to != node) {
            for from in 0..last.slot.0 {
                let values = self.nodes[node].acceptor.values();
                let after = values.mark(LogIndex(from)).unwrap();
                let values = values.batch(LogIndex(from + 1), usize::MAX);
                self.send(node, to, &Message::Accept { ballot, after, values, decided });
            }
            let question = Message::Accept { ballot, after: last, values: Vec::new(), decided };
            self.send(node, to, &question);
        }
    }

    /// What a scout does with what it knows.
    fn scout_on(&mut self, node: usize, members: &Members) {
        let own = self.last(node);
        let decided = self.nodes[node].decided;
        let Attempt::Scouting(scout) = &mut self.nodes[node].attempt else { return };
        let ballot = scout.ballot();
        match scout.step(own, members) {
            Step::Wait => {}
            Step::Learn(from) => {
                if scout.asked().is_none() {
                    scout.ask(from, own.slot);
                    self.send(node, index(from), &Message::Learn { ballot, after: own });
                }
            }
            Step::Adopt => {
                let commanders = vec![Commander::new(decided.next(), own.slot.next())];
                self.nodes[node].attempt = Attempt::Leading { ballot, commanders };
                self.give_out(node, ballot);
            }
        }
    }

    fn take(&mut self, from: usize, to: usize, message: Message, members: &Members) {
        let node = &mut self.nodes[to];
        let decided = node.decided;
        match message {
            Message::Prepare { ballot } => {
                let answer = node.acceptor.handle_prepare(ballot);
                if node.acceptor.promised() == ballot && from != to {
                    node.attempt = Attempt::None;
                }
                self.send(to, from, &answer);
            }
            Message::Promise { ballot, accepted } => {
                if let Attempt::Scouting(scout) = &mut node.attempt
                    && scout.ballot() == ballot
                {
                    scout.handle_promise(name(from), accepted);
                    self.scout_on(to, members);
                }
            }
            Message::Learn { ballot, after } => {
                let answer = node.acceptor.handle_learn(ballot, after);
                self.send(to, from, &answer);
            }
            Message::Learned { ballot, after, values } => {
                if let Attempt::Scouting(scout) = &mut node.attempt
                    && scout.ballot() == ballot
                    && scout.take_answer(name(from), after.slot)
                {
                    node.acceptor.adopt(after, &values, decided);
                    drop(node.acceptor.take_write());
                    self.scout_on(to, members);
                }
            }
            Message::Missing { ballot, after, hint } => {
                let guess = node.acceptor.values().last_until(hint).max(decided);
                if let Attempt::Scouting(scout) = &mut node.attempt
                    && scout.ballot() == ballot
                    && guess < after
                    && scout.take_answer(name(from), after)
                {
                    scout.ask(name(from), guess);
                    let after = node.acceptor.values().mark(guess).unwrap();
                    self.send(to, from, &Message::Learn { ballot, after });
                }
            }
            Message::Accept { ballot, after, values, decided: known } => {
                let leads = matches!(&node.attempt, Attempt::Leading { ballot: own, .. } if own.round == ballot.round);
                assert!(!leads, "two lead in round {}", ballot.round);
                let answer = node.acceptor.handle_accept(ballot, after, &values, decided);
                drop(node.acceptor.take_write());
                if node.acceptor.promised().round == ballot.round {
                    node.attempt = Attempt::None;
                    node.decided = decided.max(known.min(node.acceptor.matched()));
                }
                self.send(to, from, &answer);
            }
            Message::Accepted { ballot, last } => {
                let Attempt::Leading { ballot: own, commanders } = &mut node.attempt else { return };
                if *own != ballot {
                    return;
                }
                for commander in commanders.iter_mut() {
                    commander.handle_accepted(name(from), last);
                }
                let before = node.decided;
                while commanders.first().is_some_and(|commander| commander.is_done(members)) {
                    node.decided = commanders.remove(0).last();
                }
                if node.decided > before {
                    self.offer(to, ballot);
                }
            }
            Message::Refuse { ballot, .. } => {
                let tries = match &node.attempt {
                    Attempt::None => false,
                    Attempt::Scouting(scout) => scout.ballot() == ballot,
                    Attempt::Leading { ballot: own, .. } => *own == ballot,
                };
                if tries {
                    node.attempt = Attempt::None;
                }
            }
            other => panic!("nobody says {other:?}"),
        }
    }
}

impl Model for Group {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let values = Values::new(Mark::default(), Vec::new()).unwrap();
        let node = Node {
            acceptor: Acceptor::new(Ballot::default(), values),
            decided: LogIndex(0),
            attempt: Attempt::None,
            attempts: 0,
        };
        vec![State { nodes: vec![node; ACCEPTORS], sent: BTreeSet::new(), has_forgotten: false }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for node in 0..LEADERS {
            if state.nodes[node].attempts < self.attempts {
                actions.push(Action::Stand(node));
            }
            if matches!(state.nodes[node].attempt, Attempt::Leading { .. }) && state.last(node).slot.0 < SLOTS
            {
                actions.push(Action::Propose(node));
            }
        }
        if self.forgets && !state.has_forgotten {
            actions.extend((0..ACCEPTORS).map(Action::Forget));
        }
        actions.extend(state.sent.iter().map(|(from, to, bytes)| Action::Take(*from, *to, bytes.clone())));
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Stand(node) => {
                next.nodes[node].attempts += 1;
                let round = Term(next.nodes[node].acceptor.promised().round.0 + 1);
                let ballot = Ballot { round, node: name(node) };
                next.nodes[node].attempt = Attempt::Scouting(Scout::new(ballot));
                let answer = next.nodes[node].acceptor.handle_prepare(ballot);
                next.send(node, node, &answer);
                for to in (0..ACCEPTORS).filter(|to| *to != node) {
                    next.send(node, to, &Message::Prepare { ballot });
                }
            }
            Action::Propose(node) => {
                let slot = next.last(node).slot.next();
                let Attempt::Leading { ballot, commanders } = &mut next.nodes[node].attempt else {
                    return None;
                };
                commanders.push(Commander::new(slot, slot));
                let ballot = *ballot;
                next.give_out(node, ballot);
            }
            Action::Take(from, to, bytes) => {
                next.take(from, to, decode(&bytes).expect("a message"), &self.members);
            }
            Action::Forget(node) => {
                next.has_forgotten = true;
                next.nodes[node].acceptor.forget_promise();
            }
        }
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("agreement", |_, state: &State| {
                let decided = |node: &Node, slot| {
                    (slot <= node.decided).then(|| node.acceptor.values().entry(slot).cloned()).flatten()
                };
                (1..=SLOTS + 1).map(LogIndex).all(|slot| {
                    let mut values = state.nodes.iter().filter_map(|node| decided(node, slot));
                    let first = values.next();
                    values.all(|value| Some(value) == first)
                })
            }),
            Property::always("validity", |_, state: &State| {
                state.nodes.iter().all(|node| {
                    let values = node.acceptor.values().batch(LogIndex(1), usize::MAX);
                    values.iter().all(|value| *value == proposed(value.index, value.term))
                })
            }),
            Property::sometimes("both slots are decided", |_, state: &State| {
                state.nodes.iter().any(|node| node.decided >= LogIndex(SLOTS))
            }),
            Property::sometimes("what one leader proposed the other decides", |_, state: &State| {
                state.nodes.iter().any(|node| {
                    let first = node.acceptor.values().entry(LogIndex(1));
                    node.decided >= LogIndex(2)
                        && first.is_some_and(|first| first.term < node.acceptor.values().last().round)
                })
            }),
        ]
    }
}

fn group(attempts: u8, forgets: bool) -> Group {
    Group { members: first_members(ACCEPTORS as u64), attempts, forgets }
}

#[test]
fn every_way_ends_in_agreement() {
    let checker = group(1, false).checker().threads(2).spawn_bfs().join();
    std::println!("{} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn an_acceptor_that_forgets_its_promise_is_found() {
    let checker = group(1, true).checker().threads(2).spawn_bfs().join();
    let found = checker.discovery("agreement");
    assert!(found.is_some(), "nothing was found in {} states", checker.unique_state_count());
}
