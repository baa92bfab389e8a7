//! The leader: gives out slots in its ballot, a commander for each, until another ballot pre-empts it.
//!
//! It begins when its scout is done: with a no-op in the slot behind what was adopted. That takes the place of whatever the
//! leader before gave out there and nobody of the scout's majority has (the gap that it left), and it is what the adopted
//! values are decided with. From then on phase 1 is never needed again in this ballot, and slots are given out
//! as fast as they are asked for, whatever many are undecided.
//!
//! What always holds:
//! - One value a slot: a slot is given out once in a ballot, and a ballot is never used in two lives of a node (its promise is on
//!   the disk before anybody hears of the ballot).
//! - A slot is decided by a quorum of the members that the slots before it have made: never before a change that lies
//!   before it is made.

use alloc::collections::{BTreeMap, VecDeque};

use bezant_consensus::Members;
use bezant_types::{LogIndex, NodeId};

use crate::ballot::{Ballot, Mark};
use crate::commander::Commander;
use crate::delivery::Delivery;
use crate::rounds::Rounds;
use crate::values::Values;

/// A ballot whose phase 1 is done.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) ballot: Ballot,
    /// The slot of the no-op: before it is decided, nothing that this leader says is certain.
    pub(crate) first: LogIndex,
    /// When it began.
    pub(crate) since_tick: u64,
    commanders: VecDeque<Commander>,
    /// Everything up to here is accepted by this replica itself.
    own: LogIndex,
    pub(crate) deliveries: BTreeMap<NodeId, Delivery>,
    pub(crate) rounds: Rounds,
    /// Who is asked to lead in its place, since which tick, and whether it was told.
    pub(crate) successor: Option<Succession>,
}

/// The lead is given away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Succession {
    pub(crate) node: NodeId,
    pub(crate) since_tick: u64,
    pub(crate) is_told: bool,
}

impl Leader {
    /// Begins behind `adopted`, the end of its log; everything up to `decided` is decided.
    pub(crate) fn new(ballot: Ballot, adopted: LogIndex, decided: LogIndex, since_tick: u64) -> Self {
        let first = adopted.next();
        Self {
            ballot,
            first,
            since_tick,
            commanders: VecDeque::from([Commander::new(decided.next(), first)]),
            own: LogIndex(0),
            deliveries: BTreeMap::new(),
            rounds: Rounds::default(),
            successor: None,
        }
    }

    /// The members are these now. `promises` says where the logs of others ended, as far as that is known.
    pub(crate) fn meet(
        &mut self,
        node: NodeId,
        members: &Members,
        values: &Values,
        promises: &BTreeMap<NodeId, Mark>,
    ) {
        let is_member = |node: &NodeId, since| members.get(*node).is_some_and(|it| it.since == since);
        let gone = self.deliveries.iter().filter(|(node, delivery)| !is_member(node, delivery.since));
        let gone: alloc::vec::Vec<NodeId> = gone.map(|(node, _)| *node).collect();
        for node in gone {
            self.deliveries.remove(&node);
            self.rounds.forget(node);
            self.commanders.iter_mut().for_each(|commander| commander.forget(node));
        }
        for member in members.nodes.iter().filter(|member| member.node != node) {
            let known = promises.get(&member.node).filter(|mark| values.holds(**mark));
            let next = known.copied().unwrap_or_else(|| values.last()).slot.next();
            self.deliveries
                .entry(member.node)
                .or_insert_with(|| Delivery::new(member.since, next, known.is_some()));
        }
    }

    /// A slot was given out.
    pub(crate) fn command(&mut self, slot: LogIndex) {
        self.commanders.push_back(Commander::new(slot, slot));
    }

    /// The own acceptor has accepted everything up to that slot; up to which it had before.
    pub(crate) fn own_accepted(&mut self, last: LogIndex) -> LogIndex {
        let before = self.own;
        self.own = before.max(last);
        before
    }

    /// That node has accepted everything up to that slot. Commanders are in order of their slots, and those up to
    /// what it had accepted before have heard of it.
    pub(crate) fn handle_accepted(&mut self, from: NodeId, before: LogIndex, last: LogIndex) {
        let asked = self.commanders.iter_mut().skip_while(|commander| commander.last() <= before);
        for commander in asked.take_while(|commander| commander.last() <= last) {
            commander.handle_accepted(from, last);
        }
    }

    /// The last slot that is decided when these decide, `changes` being the next slot in which they change; `None` when
    /// that is nothing new. Called again until `None`, with the change made in between.
    pub(crate) fn decide(&mut self, members: &Members, change: Option<LogIndex>) -> Option<LogIndex> {
        let front = self.commanders.front_mut()?;
        if !front.is_done(members) {
            return None;
        }
        match change.filter(|slot| (front.first()..front.last()).contains(slot)) {
            Some(slot) => {
                front.go_on_behind(slot);
                Some(slot)
            }
            None => self.commanders.pop_front().map(|commander| commander.last()),
        }
    }
}
