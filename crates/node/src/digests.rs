//! What the replicas' states were at the same places: whether this one is like the others.

use alloc::collections::BTreeMap;

use bezant_types::{LogIndex, NodeId};

/// Places that are remembered: a replica may be late with its checkpoint.
const PLACES_MAX: usize = 16;

/// Digests by place and node.
#[derive(Debug)]
pub(crate) struct Digests {
    node: NodeId,
    places: BTreeMap<LogIndex, BTreeMap<NodeId, [u8; 32]>>,
    /// The last place at which all digests that are known were equal, and how many nodes said so.
    pub(crate) agreed: (LogIndex, usize),
}

impl Digests {
    /// For that node.
    pub(crate) const fn new(node: NodeId) -> Self {
        Self { node, places: BTreeMap::new(), agreed: (LogIndex(0), 0) }
    }

    /// Takes a digest. True when a majority of `count` nodes agrees on another state than this node's at that
    /// place: then this node is wrong.
    #[must_use]
    pub(crate) fn push(&mut self, node: NodeId, index: LogIndex, digest: [u8; 32], count: usize) -> bool {
        self.places.entry(index).or_default().insert(node, digest);
        while self.places.len() > PLACES_MAX {
            self.places.pop_first();
        }
        let Some(place) = self.places.get(&index) else { return false };
        let Some(own) = place.get(&self.node) else { return false };
        if place.values().all(|digest| digest == own) && place.len() > 1 {
            self.agreed = self.agreed.max((index, place.len()));
        }
        place
            .values()
            .filter(|digest| *digest != own)
            .any(|other| place.values().filter(|digest| *digest == other).count() > count / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_differs_from_a_majority_knows_it() {
        let mut digests = Digests::new(NodeId(3));
        assert!(!digests.push(NodeId(3), LogIndex(8), [1; 32], 3));
        assert!(!digests.push(NodeId(1), LogIndex(8), [2; 32], 3), "one of two may be wrong");
        assert!(digests.push(NodeId(2), LogIndex(8), [2; 32], 3));
        assert_eq!(digests.agreed, (LogIndex(0), 0));
    }

    #[test]
    fn equal_ones_are_counted_and_late_ones_too() {
        let mut digests = Digests::new(NodeId(1));
        assert!(!digests.push(NodeId(2), LogIndex(8), [1; 32], 3));
        assert!(!digests.push(NodeId(3), LogIndex(8), [2; 32], 3));
        assert!(!digests.push(NodeId(1), LogIndex(8), [1; 32], 3), "the third is wrong, and not this one");
        assert!(!digests.push(NodeId(1), LogIndex(9), [1; 32], 3));
        assert!(!digests.push(NodeId(2), LogIndex(9), [1; 32], 3));
        assert_eq!(digests.agreed, (LogIndex(9), 2));
        for index in 100..200 {
            assert!(!digests.push(NodeId(2), LogIndex(index), [1; 32], 3));
        }
        assert_eq!(digests.places.len(), PLACES_MAX);
    }
}
