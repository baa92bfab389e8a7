//! The ledger's group as one node reports it: what a change of the cluster looks at.

use bezant_client::ClusterReply;

/// A member of the group, with the address of its node.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Member {
    pub(super) node: u64,
    /// The address at which its peers reach it.
    pub(super) address: String,
    /// voter, learner, joining or leaving.
    pub(super) part: String,
    pub(super) connected: bool,
    /// The last log entry that is known to be on its disk; 0 = not known.
    pub(super) matched: u64,
}

/// The group as one node reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// The node that reports.
    pub(super) node: u64,
    pub(super) is_leader: bool,
    /// 0 = not known.
    pub(super) leader: u64,
    pub(super) applied: u64,
    pub(super) members_index: u64,
    /// Empty for a node that is alone.
    pub(super) members: Vec<Member>,
}

impl View {
    /// The view of a node; `None` when the node has no replica of the group.
    pub(super) fn of(reply: &ClusterReply) -> Option<Self> {
        let group = reply.ledger()?;
        let address = |node| reply.nodes.iter().find(|it| it.node == node).map(|it| it.address.clone());
        let members = group.members.iter().map(|member| Member {
            node: member.node,
            address: address(member.node).unwrap_or_default(),
            part: member.part.clone(),
            connected: member.connected,
            matched: member.matched,
        });
        Some(Self {
            node: reply.node,
            is_leader: group.role == "leader",
            leader: group.leader,
            applied: group.applied,
            members_index: group.members_index,
            members: members.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use bezant_client::{ClusterGroup, ClusterMember, ClusterNode};

    use super::*;

    #[test]
    fn a_member_has_the_address_of_its_node() {
        let node =
            |node, address: &str| ClusterNode { node, address: address.to_owned(), ..ClusterNode::default() };
        let member =
            ClusterMember { node: 2, part: "voter".to_owned(), matched: 9, ..ClusterMember::default() };
        let role = "leader".to_owned();
        let mut reply = ClusterReply {
            node: 1,
            nodes: vec![node(1, "a:1"), node(2, "b:1")],
            groups: vec![ClusterGroup { group: 1, role, members: vec![member], ..ClusterGroup::default() }],
            ..ClusterReply::default()
        };
        let view = View::of(&reply).unwrap();
        assert!(view.is_leader && view.node == 1);
        let part = "voter".to_owned();
        let expected = Member { node: 2, address: "b:1".to_owned(), part, connected: false, matched: 9 };
        assert_eq!(view.members, [expected]);
        reply.groups[0].group = 2;
        assert_eq!(View::of(&reply), None, "the node has no replica of the ledger");
    }
}
