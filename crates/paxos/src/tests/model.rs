//! Every execution of a small group: the rules of the roles, explored by a model checker.
//!
//! Bounds: three acceptors. Two of them have a leader on the same node, which campaigns at most twice. There
//! are two slots, and the no-op that a leader needs after adopted slots.
//!
//! The network keeps every message, and may deliver it any number of times, or never, in any order: this
//! covers loss, duplication and reordering. A message that can have no effect any more is dropped, so that
//! states which differ only in such messages are equal. Refusals are never delivered, so a pre-empted leader
//! may continue at any time. A leader offers its log from every slot on. A message of a node to itself is
//! delivered at once, and a write is durable when the reply is sent. (`disk` makes replies wait for their
//! writes; `random` tests that with power failures.)
//!
//! What must hold in every state:
//! - Agreement: no two replicas hold different values for decided in a slot. This includes a replica that
//!   would hold a value for decided if it received the leader's decision now.
//! - Validity: every value was proposed in its slot and its round.

use std::vec::Vec;

use std::collections::{BTreeMap, BTreeSet};
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

/// The bounds, and whether an acceptor may lose its promise once.
#[derive(Clone)]
struct Group {
    members: Members,
    attempts: u8,
    loses_promise: bool,
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
    /// The last slot that this node decided as a leader. `decided_in` is the ballot in which it did.
    decided: LogIndex,
    decided_in: Ballot,
    attempt: Attempt,
    attempts: u8,
}

impl Node {
    const fn leads_in(&self) -> Option<Term> {
        match &self.attempt {
            Attempt::Leading { ballot, .. } => Some(ballot.round),
            _ => None,
        }
    }
}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.acceptor.promised(), self.acceptor.matched(), self.attempts).hash(state);
        (self.decided, self.decided_in).hash(state);
        for entry in self.acceptor.values().batch(LogIndex(1), usize::MAX) {
            (entry.index, entry.term, entry.payload).hash(state);
        }
        self.attempt.hash(state);
    }
}

/// A message. It adds nothing to the hash, because its bytes are its key in the map.
#[derive(Clone, Debug, PartialEq)]
struct Sent(Message);

impl Hash for Sent {
    fn hash<H: Hasher>(&self, _state: &mut H) {}
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct State {
    nodes: Vec<Node>,
    /// Sender, receiver and bytes of every message that was sent.
    sent: BTreeMap<(usize, usize, Bytes), Sent>,
    /// The marks at which leaders have proposed values.
    proposals: BTreeSet<Mark>,
    has_lost_promise: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Campaign(usize),
    Propose(usize),
    Take(usize, usize, Bytes),
    LosePromise(usize),
}

/// The value that a leader proposes: its payload contains its mark.
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
        if !matches!(message, Message::Refuse { .. }) {
            self.sent.insert((from, to, encode(message)), Sent(message.clone()));
        }
    }

    /// Drops messages that can have no effect any more. `loses_promise` is true when an acceptor may lose its
    /// promise.
    fn prune(&mut self, loses_promise: bool) {
        let mut sent = std::mem::take(&mut self.sent);
        sent.retain(|(from, to, _), Sent(message)| {
            self.is_wanted(*from, *to, message) || (loses_promise && is_for_acceptor(message))
        });
        self.sent = sent;
    }

    fn is_wanted(&self, from: usize, to: usize, message: &Message) -> bool {
        let node = &self.nodes[to];
        let promised = node.acceptor.promised();
        let scouts = |ballot: &Ballot, node: &Node| match &node.attempt {
            Attempt::Scouting(scout) => scout.ballot() == *ballot,
            _ => false,
        };
        match message {
            Message::Prepare { ballot } => promised.round <= ballot.round && promised != *ballot,
            Message::Promise { ballot, .. } => match &node.attempt {
                Attempt::Scouting(scout) => scout.ballot() == *ballot && !scout.has_promised(name(from)),
                _ => false,
            },
            Message::Learn { ballot, .. } => promised == *ballot && scouts(ballot, &self.nodes[from]),
            // The leader has offered its log from every slot on already.
            Message::Learned { ballot, .. } | Message::Missing { ballot, .. } => scouts(ballot, node),
            Message::Accept { ballot, after, values, .. } => {
                let end = values.last().map_or(after.slot, |value| value.index);
                promised.round < ballot.round
                    || (promised.round == ballot.round && node.acceptor.matched() < end)
            }
            Message::Accepted { ballot, last } => match &node.attempt {
                Attempt::Leading { ballot: own, commanders } => {
                    let is_news = |commander: &Commander| {
                        let mut after = commander.clone();
                        after.handle_accepted(name(from), *last);
                        after != *commander
                    };
                    own == ballot && commanders.iter().any(is_news)
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Delivers the messages of a node to itself, one after another.
    fn settle(&mut self, node: usize, members: &Members) {
        let first = (node, node, Bytes::new());
        while let Some((own, message)) = self.sent.range(first.clone()..).next()
            && (own.0, own.1) == (node, node)
        {
            let (own, message) = (own.clone(), message.0.clone());
            self.sent.remove(&own);
            self.take(node, node, message, members);
        }
    }

    fn last(&self, node: usize) -> Mark {
        self.nodes[node].acceptor.values().last()
    }

    /// A leader proposes a value after its log, and offers its log to all acceptors from every slot on.
    fn propose_value(&mut self, node: usize, ballot: Ballot) {
        let slot = self.last(node).slot.next();
        let Node { acceptor, decided, .. } = &mut self.nodes[node];
        let value = proposed(slot, ballot.round);
        self.proposals.insert(Mark::of(&value));
        let answer = acceptor.handle_accept(ballot, acceptor.values().last(), &[value], *decided);
        drop(acceptor.take_write());
        self.send(node, node, &answer);
        self.offer(node, ballot);
    }

    fn offer(&mut self, node: usize, ballot: Ballot) {
        let (last, decided) = (self.last(node), LogIndex(0));
        for to in (0..ACCEPTORS).filter(|to| *to != node) {
            for from in 0..last.slot.0 {
                let values = self.nodes[node].acceptor.values();
                let after = values.mark(LogIndex(from)).unwrap();
                let values = values.batch(LogIndex(from + 1), usize::MAX);
                self.send(node, to, &Message::Accept { ballot, after, values, decided });
            }
        }
    }

    /// Takes the next step of a scout.
    fn advance_scout(&mut self, node: usize, members: &Members) {
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
                self.propose_value(node, ballot);
            }
        }
    }

    fn learn_earlier(&mut self, way: (usize, usize), ballot: Ballot, after: LogIndex, hint: Mark) {
        let (from, to) = way;
        let Node { acceptor, decided, attempt, .. } = &mut self.nodes[to];
        let guess = acceptor.values().last_until(hint).max(*decided);
        if let Attempt::Scouting(scout) = attempt
            && scout.ballot() == ballot
            && guess < after
            && scout.take_answer(name(from), after)
        {
            scout.ask(name(from), guess);
            let after = acceptor.values().mark(guess).unwrap();
            self.send(to, from, &Message::Learn { ballot, after });
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
                    self.advance_scout(to, members);
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
                    self.advance_scout(to, members);
                }
            }
            Message::Missing { ballot, after, hint } => self.learn_earlier((from, to), ballot, after, hint),
            Message::Accept { ballot, after, values, .. } => {
                if node.leads_in() == Some(ballot.round) {
                    return;
                }
                let answer = node.acceptor.handle_accept(ballot, after, &values, decided);
                drop(node.acceptor.take_write());
                if node.acceptor.promised().round == ballot.round {
                    node.attempt = Attempt::None;
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
                    node.decided_in = ballot;
                }
            }
            other => panic!("no role of the model sends {other:?}"),
        }
    }
}

const fn is_for_acceptor(message: &Message) -> bool {
    matches!(message, Message::Prepare { .. } | Message::Learn { .. } | Message::Accept { .. })
}

impl Model for Group {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let values = Values::new(Mark::default(), Vec::new()).unwrap();
        let node = Node {
            acceptor: Acceptor::new(Ballot::default(), Ballot::default(), values),
            decided: LogIndex(0),
            decided_in: Ballot::default(),
            attempt: Attempt::None,
            attempts: 0,
        };
        let (sent, proposals) = (BTreeMap::new(), BTreeSet::new());
        vec![State { nodes: vec![node; ACCEPTORS], sent, proposals, has_lost_promise: false }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for node in 0..LEADERS {
            if state.nodes[node].attempts < self.attempts {
                actions.push(Action::Campaign(node));
            }
            if matches!(state.nodes[node].attempt, Attempt::Leading { .. }) && state.last(node).slot.0 < SLOTS
            {
                actions.push(Action::Propose(node));
            }
        }
        if self.loses_promise && !state.has_lost_promise {
            actions.extend((0..ACCEPTORS).map(Action::LosePromise));
        }
        actions.extend(state.sent.keys().map(|(from, to, bytes)| Action::Take(*from, *to, bytes.clone())));
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        let (Action::Campaign(node)
        | Action::Propose(node)
        | Action::Take(_, node, _)
        | Action::LosePromise(node)) = action;
        match action {
            Action::Campaign(node) => {
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
                next.propose_value(node, ballot);
            }
            Action::Take(from, to, bytes) => {
                // After an acceptor lost its promise, other nodes may send invalid messages.
                next.take(from, to, decode(&bytes)?, &self.members);
            }
            Action::LosePromise(node) => {
                next.has_lost_promise = true;
                next.nodes[node].acceptor.lose_promise();
            }
        }
        next.settle(node, &self.members);
        next.prune(self.loses_promise);
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("agreement", |_, state: &State| {
                let mut leaders = state.nodes.iter().filter(|node| node.decided > LogIndex(0));
                leaders.all(|leader| {
                    state.nodes.iter().all(|node| {
                        // A replica that follows this leader applies its decisions as far as their logs are
                        // equal.
                        let follows = node.acceptor.promised().round == leader.decided_in.round;
                        let announced = if follows { node.acceptor.matched() } else { LogIndex(0) };
                        let last = leader.decided.min(announced.max(node.decided));
                        (1..=last.0).map(LogIndex).all(|slot| {
                            leader.acceptor.values().mark(slot) == node.acceptor.values().mark(slot)
                        })
                    })
                })
            }),
            Property::always("one leader per round", |_, state: &State| {
                let mut rounds: Vec<Term> = state.nodes.iter().filter_map(Node::leads_in).collect();
                rounds.sort_unstable();
                rounds.windows(2).all(|pair| pair[0] != pair[1])
            }),
            Property::always("validity", |_, state: &State| {
                state.nodes.iter().all(|node| {
                    let values = node.acceptor.values().batch(LogIndex(1), usize::MAX);
                    values.iter().all(|value| {
                        state.proposals.contains(&Mark::of(value))
                            && *value == proposed(value.index, value.term)
                    })
                })
            }),
            Property::sometimes("both slots are decided", |_, state: &State| {
                state.nodes.iter().any(|node| node.decided >= LogIndex(SLOTS))
            }),
            Property::sometimes("a leader decides a value of the other leader", |_, state: &State| {
                state.nodes.iter().any(|node| {
                    let first = node.acceptor.values().entry(LogIndex(1));
                    node.decided >= LogIndex(2)
                        && first.is_some_and(|first| first.term < node.acceptor.values().last().round)
                })
            }),
        ]
    }
}

fn group(attempts: u8, loses_promise: bool) -> Group {
    Group { members: first_members(ACCEPTORS as u64), attempts, loses_promise }
}

#[test]
fn every_execution_keeps_agreement_and_validity() {
    let checker = group(2, false).checker().threads(2).spawn_bfs().join();
    assert!(checker.is_done());
    assert!(checker.unique_state_count() > 100_000, "{} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn an_acceptor_that_loses_its_promise_breaks_agreement() {
    let checker = group(1, true).checker().threads(2).spawn_bfs().join();
    let found = checker.discovery("agreement");
    assert!(found.is_some(), "no violation was found in {} states", checker.unique_state_count());
}
