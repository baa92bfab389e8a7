//! The leader: assigns slots in its ballot, with a commander for each, until another ballot pre-empts it.
//!
//! It starts when its scout has adopted a log, and proposes a no-op in the slot after that log. The previous
//! leader may have assigned that slot to a value that no acceptor of the scout's quorum has. The no-op fills
//! such a gap, and the adopted values are decided together with it. From then on this ballot needs no phase
//! 1, and slots are assigned as fast as values are proposed, however many are undecided.
//!
//! What always holds:
//! - One value per mark: a slot is assigned once in a ballot, and a ballot is never used in two incarnations
//!   of a node (the node's own promise is durable before the ballot is sent).
//! - A slot is decided by a quorum of the members that result from the slots before it, so never before all
//!   changes in those slots are applied.

use alloc::collections::{BTreeMap, VecDeque};

use bezant_consensus::Members;
use bezant_types::{LogIndex, NodeId};

use crate::ballot::{Ballot, Mark};
use crate::commander::Commander;
use crate::delivery::Delivery;
use crate::reads::Reads;
use crate::values::Values;

/// A ballot whose phase 1 is complete.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) ballot: Ballot,
    /// The slot of the no-op. Until it is decided, this leader confirms no read and proposes no change.
    pub(crate) first: LogIndex,
    /// The tick at which it started.
    pub(crate) since_tick: u64,
    /// The commanders that are not done, in the order of their slots.
    commanders: VecDeque<Commander>,
    /// The last slot that the acceptor of this replica has accepted.
    own: LogIndex,
    pub(crate) deliveries: BTreeMap<NodeId, Delivery>,
    pub(crate) reads: Reads,
    /// The leadership transfer in progress.
    pub(crate) successor: Option<Succession>,
}

/// A leadership transfer in progress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Succession {
    pub(crate) node: NodeId,
    /// The tick at which the transfer started.
    pub(crate) since_tick: u64,
    /// True once the successor was asked to campaign.
    pub(crate) is_notified: bool,
}

impl Leader {
    /// Starts after `adopted`, the end of its log; everything up to `decided` is decided.
    pub(crate) fn new(ballot: Ballot, adopted: LogIndex, decided: LogIndex, since_tick: u64) -> Self {
        let first = adopted.next();
        Self {
            ballot,
            first,
            since_tick,
            commanders: VecDeque::from([Commander::new(decided.next(), first)]),
            own: LogIndex(0),
            deliveries: BTreeMap::new(),
            reads: Reads::default(),
            successor: None,
        }
    }

    /// Updates the members. `promises` has the ends of the logs of other replicas, as far as they are known.
    pub(crate) fn update_members(
        &mut self,
        node: NodeId,
        members: &Members,
        values: &Values,
        promises: &BTreeMap<NodeId, Mark>,
    ) {
        let is_member = |node: &NodeId, since| members.get(*node).is_some_and(|it| it.since == since);
        let removed = self.deliveries.iter().filter(|(node, delivery)| !is_member(node, delivery.since));
        let removed: alloc::vec::Vec<NodeId> = removed.map(|(node, _)| *node).collect();
        for node in removed {
            self.deliveries.remove(&node);
            self.reads.remove(node);
            self.commanders.iter_mut().for_each(|commander| commander.remove(node));
        }
        for member in members.nodes.iter().filter(|member| member.node != node) {
            let known = promises.get(&member.node).filter(|mark| values.holds(**mark));
            let next = known.copied().unwrap_or_else(|| values.last()).slot.next();
            self.deliveries
                .entry(member.node)
                .or_insert_with(|| Delivery::new(member.since, next, known.is_some()));
        }
    }

    /// Adds the commander of a slot that was assigned.
    pub(crate) fn command(&mut self, slot: LogIndex) {
        self.commanders.push_back(Commander::new(slot, slot));
    }

    /// The acceptor of this replica has accepted everything up to that slot. Returns the previous such slot.
    pub(crate) fn own_accepted(&mut self, last: LogIndex) -> LogIndex {
        let before = self.own;
        self.own = before.max(last);
        before
    }

    /// The last slot up to which a node has accepted everything; `own` is the node of this replica.
    pub(crate) fn accepted_by(&self, own: NodeId, node: NodeId) -> LogIndex {
        if node == own {
            return self.own;
        }
        self.deliveries.get(&node).map_or(LogIndex(0), Delivery::matched)
    }

    /// That node has accepted everything up to `last`. Commanders are in the order of their slots, and those
    /// up to `before` were informed already.
    pub(crate) fn handle_accepted(&mut self, from: NodeId, before: LogIndex, last: LogIndex) {
        let asked = self.commanders.iter_mut().skip_while(|commander| commander.last() <= before);
        for commander in asked.take_while(|commander| commander.last() <= last) {
            commander.handle_accepted(from, last);
        }
    }

    /// The last slot that becomes decided with a quorum of these members; `None` when no slot does. `change`
    /// is the next slot that changes the members. Called until it returns `None`, with the change applied in
    /// between.
    pub(crate) fn decide(&mut self, members: &Members, change: Option<LogIndex>) -> Option<LogIndex> {
        let front = self.commanders.front_mut()?;
        if !front.is_done(members) {
            return None;
        }
        match change.filter(|slot| (front.first()..front.last()).contains(slot)) {
            Some(slot) => {
                front.continue_after(slot);
                Some(slot)
            }
            None => self.commanders.pop_front().map(|commander| commander.last()),
        }
    }
}
