//! Compares the digests of the replicas' states at equal indexes.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bezant_types::{LogIndex, NodeId};

/// The number of indexes for which digests are kept: a replica may finish its checkpoint late.
const PLACES_MAX: usize = 16;

/// Digests by index and node.
#[derive(Debug)]
pub(crate) struct Digests {
    node: NodeId,
    places: BTreeMap<LogIndex, BTreeMap<NodeId, [u8; 32]>>,
    /// The last index at which all known digests were equal, and how many nodes' digests these were.
    pub(crate) agreed: (LogIndex, usize),
    /// The last index at which a difference was reported.
    reported: LogIndex,
}

/// The result of a comparison for this replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No new difference.
    Fine,
    /// These nodes have another state than this replica, and it is not known yet which state is right.
    /// Reported once for each index.
    Differs(Vec<NodeId>),
    /// A majority of the voters has the same state, and this replica has another.
    Outvoted,
    /// The digests of all voters are known, and no majority of them has the same state.
    Split,
}

impl Digests {
    /// No digests yet. `node` is the node of this replica.
    pub(crate) const fn new(node: NodeId) -> Self {
        Self { node, places: BTreeMap::new(), agreed: (LogIndex(0), 0), reported: LogIndex(0) }
    }

    /// Records a digest, and compares all digests of its index.
    pub(crate) fn push(
        &mut self,
        node: NodeId,
        index: LogIndex,
        digest: [u8; 32],
        voters: &[NodeId],
    ) -> Verdict {
        self.places.entry(index).or_default().insert(node, digest);
        while self.places.len() > PLACES_MAX {
            self.places.pop_first();
        }
        let Some(place) = self.places.get(&index) else { return Verdict::Fine };
        let Some(own) = place.get(&self.node) else { return Verdict::Fine };
        let others = place.iter().filter(|(_, digest)| *digest != own);
        let others: Vec<NodeId> = others.map(|(node, _)| *node).collect();
        if others.is_empty() {
            if place.len() > 1 {
                self.agreed = self.agreed.max((index, place.len()));
            }
            return Verdict::Fine;
        }
        let is_majority = |wanted: &[u8; 32]| {
            let with_it = voters.iter().filter(|voter| place.get(voter) == Some(wanted));
            with_it.count() > voters.len() / 2
        };
        if is_majority(own) {
            return self.differs(index, others);
        }
        if place.values().any(is_majority) {
            Verdict::Outvoted
        } else if voters.iter().all(|voter| place.contains_key(voter)) {
            Verdict::Split
        } else {
            self.differs(index, others)
        }
    }

    fn differs(&mut self, index: LogIndex, others: Vec<NodeId>) -> Verdict {
        if self.reported >= index {
            return Verdict::Fine;
        }
        self.reported = index;
        Verdict::Differs(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
    const AT: LogIndex = LogIndex(8);

    #[test]
    fn a_replica_that_differs_from_a_majority_is_outvoted() {
        let mut digests = Digests::new(NodeId(3));
        assert_eq!(digests.push(NodeId(3), AT, [1; 32], &THREE), Verdict::Fine);
        let verdict = digests.push(NodeId(1), AT, [2; 32], &THREE);
        assert_eq!(verdict, Verdict::Differs([NodeId(1)].into()), "one of two may be wrong");
        assert_eq!(digests.push(NodeId(2), AT, [2; 32], &THREE), Verdict::Outvoted);
        assert_eq!(digests.agreed, (LogIndex(0), 0));
    }

    #[test]
    fn only_voters_count_for_a_majority() {
        // Nodes 4 and 5 are learners: two of the three voters outvote node 5.
        let mut digests = Digests::new(NodeId(5));
        assert_eq!(digests.push(NodeId(5), AT, [1; 32], &THREE), Verdict::Fine);
        assert_eq!(digests.push(NodeId(4), AT, [2; 32], &THREE), Verdict::Differs([NodeId(4)].into()));
        assert_eq!(digests.push(NodeId(1), AT, [2; 32], &THREE), Verdict::Fine, "a learner does not count");
        assert_eq!(digests.push(NodeId(2), AT, [2; 32], &THREE), Verdict::Outvoted);
    }

    #[test]
    fn without_a_majority_no_state_is_right() {
        let mut digests = Digests::new(NodeId(1));
        assert_eq!(digests.push(NodeId(1), AT, [1; 32], &THREE[..2]), Verdict::Fine);
        assert_eq!(digests.push(NodeId(2), AT, [2; 32], &THREE[..2]), Verdict::Split);
        let mut digests = Digests::new(NodeId(1));
        assert_eq!(digests.push(NodeId(1), AT, [1; 32], &THREE), Verdict::Fine);
        assert_eq!(digests.push(NodeId(2), AT, [2; 32], &THREE), Verdict::Differs([NodeId(2)].into()));
        assert_eq!(digests.push(NodeId(3), AT, [3; 32], &THREE), Verdict::Split);
    }

    #[test]
    fn agreeing_digests_are_counted_in_any_order() {
        let mut digests = Digests::new(NodeId(1));
        assert_eq!(digests.push(NodeId(2), AT, [1; 32], &THREE), Verdict::Fine);
        assert_eq!(digests.push(NodeId(3), AT, [2; 32], &THREE), Verdict::Fine);
        let verdict = digests.push(NodeId(1), AT, [1; 32], &THREE);
        assert_eq!(verdict, Verdict::Differs([NodeId(3)].into()), "the third is wrong, and not this one");
        assert_eq!(digests.push(NodeId(1), LogIndex(9), [1; 32], &THREE), Verdict::Fine);
        assert_eq!(digests.push(NodeId(2), LogIndex(9), [1; 32], &THREE), Verdict::Fine);
        assert_eq!(digests.agreed, (LogIndex(9), 2));
        for index in 100..200 {
            assert_eq!(digests.push(NodeId(2), LogIndex(index), [1; 32], &THREE), Verdict::Fine);
        }
        assert_eq!(digests.places.len(), PLACES_MAX);
    }
}
