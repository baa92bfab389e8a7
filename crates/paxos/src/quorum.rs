//! The acceptors of a group: all members but the learners.

use bezant_consensus::{Members, Part};
use bezant_types::NodeId;

/// All members that count for a majority.
pub(crate) fn acceptors(members: &Members) -> impl Iterator<Item = NodeId> {
    members.nodes.iter().filter(|member| member.part != Part::Learner).map(|member| member.node)
}

/// Whether that node counts for a majority.
pub(crate) fn is_acceptor(members: &Members, node: NodeId) -> bool {
    members.get(node).is_some_and(|member| member.part != Part::Learner)
}
