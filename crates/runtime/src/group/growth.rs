//! A cluster that grows by itself: a node that proves the token and sends its address is added, and gets a
//! vote when the number of nodes calls for it.
//!
//! Always holds: a change is requested like an operator's, and can be refused like one. No node is ever
//! removed automatically.

use std::collections::BTreeMap;

use bezant_consensus::{Change, Member, Members, Part};
use bezant_types::limits::MEMBERS_MAX;
use bezant_types::{LogIndex, NodeId};

use crate::group::status::{ClusterStatus, NodeStatus};

/// Nodes that have asked for admission, and whose addition was not yet requested from the leader.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    asking: BTreeMap<NodeId, String>,
}

impl Growth {
    /// Notes a node's request for admission; the node repeats it until it is a member.
    pub(crate) fn note(&mut self, node: NodeId, address: String, members: &Members) {
        let is_known = members.get(node).is_some();
        if !is_known && (self.asking.len() < MEMBERS_MAX || self.asking.contains_key(&node)) {
            self.asking.insert(node, address);
        }
    }

    /// The change that adds one of the asking nodes.
    pub(crate) fn take_asking(&mut self) -> Option<Change> {
        let (node, address) = self.asking.pop_first()?;
        Some(Change::Add { node, address })
    }
}

/// The number of voters for a number of live nodes: tolerating one more lost node takes two more voters.
const fn voters_wanted(live: usize) -> usize {
    match live {
        0..=2 => 1,
        3 | 4 => 3,
        _ => 5,
    }
}

/// The number of entries that a node may lack and still be counted: it fetches them at once.
const LAG_MAX: u64 = 256;

/// The member that gets a vote next, in the leader's view: the learner with the lowest number that could vote
/// at once. A learner that still fetches the state does not count: it could vote but not acknowledge entries,
/// so the group would tolerate one lost node fewer.
pub(crate) fn next_voter<'members>(
    members: &'members Members,
    status: &ClusterStatus,
) -> Option<&'members Member> {
    let is_live = |member: &&Member| {
        let known = status.nodes.iter().find(|known| known.node == member.node);
        let has_caught_up = |matched: Option<LogIndex>| {
            matched.is_some_and(|matched| matched.0 + LAG_MAX >= status.committed.0)
        };
        let can_vote = |known: &NodeStatus| {
            member.part != Part::Learner || (member.disk != 0 && has_caught_up(known.matched))
        };
        known.is_some_and(|known| known.is_connected && can_vote(known))
    };
    let live = members.nodes.iter().filter(is_live);
    if members.voters().count() >= voters_wanted(live.clone().count()) {
        return None;
    }
    live.into_iter().find(|member| member.part == Part::Learner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(parts: &[Part]) -> Members {
        let nodes = parts.iter().zip(1..).map(|(part, node)| Member {
            node: NodeId(node),
            since: LogIndex(node),
            part: *part,
            disk: 7,
            address: format!("host{node}:1"),
        });
        Members { index: LogIndex(9), nodes: nodes.collect() }
    }

    fn status(live: &[u64]) -> ClusterStatus {
        let nodes = live.iter().map(|node| NodeStatus {
            refused: None,
            node: NodeId(*node),
            address: String::new(),
            since: LogIndex(0),
            part: Part::Learner,
            is_connected: true,
            matched: Some(LogIndex(1000)),
            clock_offset_nanos: None,
        });
        ClusterStatus { nodes: nodes.collect(), committed: LogIndex(1000), ..ClusterStatus::alone() }
    }

    #[test]
    fn votes_follow_the_number_of_live_nodes() {
        let (voter, learner) = (Part::Voter, Part::Learner);
        let cases: [(&[Part], &[u64], Option<u64>); 7] = [
            (&[voter], &[1], None),
            (&[voter, learner], &[1, 2], None),
            (&[voter, learner, learner], &[1, 2, 3], Some(2)),
            (&[voter, voter, learner], &[1, 2, 3], Some(3)),
            (&[voter, learner, learner], &[1, 3], None),
            (&[voter, voter, voter, learner], &[1, 2, 3, 4], None),
            (&[voter, voter, voter, learner, learner], &[1, 2, 3, 4, 5], Some(4)),
        ];
        for (parts, live, expected) in cases {
            let members = members(parts);
            let next = next_voter(&members, &status(live)).map(|member| member.node.0);
            assert_eq!(next, expected, "{parts:?} {live:?}");
        }
        let next =
            |members: &Members, status: &ClusterStatus| next_voter(members, status).map(|it| it.node.0);
        let four = members(&[voter, learner, learner, learner]);
        let mut without_disks = four.clone();
        without_disks.nodes[1].disk = 0;
        assert_eq!(next(&without_disks, &status(&[1, 2, 3, 4])), Some(3));
        assert_eq!(
            next(&without_disks, &status(&[1, 2, 3])),
            None,
            "two could vote, and two voters tolerate no loss"
        );
        let mut late = status(&[1, 2, 3, 4]);
        late.nodes[1].matched = Some(LogIndex(1000 - LAG_MAX - 1));
        assert_eq!(next(&four, &late), Some(3), "a node that still fetches the state delays no other");
        late.nodes[2].matched = None;
        assert_eq!(next(&four, &late), None);
    }

    #[test]
    fn a_node_that_asks_is_added_once() {
        let mut growth = Growth::default();
        growth.note(NodeId(1), "host1:1".to_owned(), &members(&[Part::Voter]));
        assert_eq!(growth.take_asking(), None, "it is a member already");
        for address in ["old:1", "new:1"] {
            growth.note(NodeId(2), address.to_owned(), &members(&[Part::Voter]));
        }
        assert_eq!(growth.take_asking(), Some(Change::Add { node: NodeId(2), address: "new:1".to_owned() }));
        assert_eq!(growth.take_asking(), None);
    }
}
