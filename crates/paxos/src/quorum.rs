//! Majorities of one list of voters, or of both lists of a joint configuration.

use bezant_consensus::{Members, Part};
use bezant_types::NodeId;

/// Whether a quorum of the members satisfies `has`: a majority of the voters, and while a change is in
/// progress a majority of the old voters and one of the new voters.
pub(crate) fn is_quorum(members: &Members, has: impl Fn(NodeId) -> bool) -> bool {
    let is_majority = |parts: [Part; 2]| {
        let (mut all, mut having) = (0_usize, 0_usize);
        for member in members.nodes.iter().filter(|member| parts.contains(&member.part)) {
            all += 1;
            having += usize::from(has(member.node));
        }
        having * 2 > all
    };
    is_majority([Part::Voter, Part::Joining])
        && (!members.is_changing() || is_majority([Part::Voter, Part::Leaving]))
}

/// All members that count for a majority.
pub(crate) fn acceptors(members: &Members) -> impl Iterator<Item = NodeId> {
    members.nodes.iter().filter(|member| member.part != Part::Learner).map(|member| member.node)
}

/// Whether that node counts for a majority.
pub(crate) fn is_acceptor(members: &Members, node: NodeId) -> bool {
    members.get(node).is_some_and(|member| member.part != Part::Learner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use bezant_consensus::Change;
    use bezant_types::LogIndex;

    fn count(members: &Members, nodes: &[u64]) -> bool {
        is_quorum(members, |node| nodes.contains(&node.0))
    }

    #[test]
    fn a_change_needs_a_majority_of_old_and_of_new_voters() {
        let three = Members::first((1..=3).map(|node| (NodeId(node), format!("host{node}:1"))));
        assert!(count(&three, &[1, 3]) && !count(&three, &[2]));
        let add = Change::Add { node: NodeId(4), address: "host4:1".into() };
        let four = three.after(&add, LogIndex(1));
        assert!(count(&four, &[1, 2]) && !count(&four, &[1, 4]), "a learner does not count");
        let met = four.after(&Change::Meet { node: NodeId(4), disk: 1 }, LogIndex(2));
        let joint = met.after(&Change::Promote(NodeId(4)), LogIndex(3));
        assert!(!count(&joint, &[1, 2]), "a majority of the old voters, but not of the new voters");
        assert!(count(&joint, &[1, 2, 4]));
        assert_eq!(acceptors(&joint).count(), 4);
    }
}
