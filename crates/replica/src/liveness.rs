//! Which nodes answer: one answer for a pair of nodes, whatever the number of groups that both have.
//!
//! A node sends something on every connection at least every [`HEARTBEAT_MILLIS`]. A node whose connection is
//! open, and from which nothing arrived for [`UNRESPONSIVE_MILLIS`], is paused, or cut off, or its machine
//! has no power. Its connection may stay open for seconds. A resting group has no other way to notice that
//! its leader is gone (see `rest`).
//!
//! The driver owns this value and its clock. A replica receives only [`Input::Met`] and
//! [`Input::Unresponsive`].
//!
//! [`Input::Met`]: crate::Input::Met
//! [`Input::Unresponsive`]: crate::Input::Unresponsive

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use bezant_types::NodeId;

/// A node with nothing else to send on a connection sends a heartbeat after so many milliseconds.
pub const HEARTBEAT_MILLIS: u64 = 100;
/// A node from which nothing arrived for so many milliseconds is unresponsive: two heartbeats in a row were
/// lost or late.
pub const UNRESPONSIVE_MILLIS: u64 = 300;

/// A moment on the driver's monotonic clock, in milliseconds; its zero has no meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

/// A node with an open connection.
#[derive(Clone, Copy, Debug)]
struct Heard {
    at: Millis,
    /// True once it was reported, until something arrives again.
    is_unresponsive: bool,
}

/// The nodes with open connections.
#[derive(Clone, Debug, Default)]
pub struct Liveness {
    nodes: BTreeMap<NodeId, Heard>,
}

impl Liveness {
    /// Something arrived from that node. True when the node was not connected, or was unresponsive: then each
    /// group receives [`Input::Met`](crate::Input::Met).
    pub fn heard(&mut self, node: NodeId, now: Millis) -> bool {
        let before = self.nodes.insert(node, Heard { at: now, is_unresponsive: false });
        before.is_none_or(|before| before.is_unresponsive)
    }

    /// The connection to that node ended.
    pub fn lost(&mut self, node: NodeId) {
        self.nodes.remove(&node);
    }

    /// The nodes that became unresponsive since the last call.
    pub fn tick(&mut self, now: Millis) -> Vec<NodeId> {
        let is_late = |heard: &Heard| heard.at.0.saturating_add(UNRESPONSIVE_MILLIS) <= now.0;
        let late = self.nodes.iter_mut().filter(|(_, heard)| !heard.is_unresponsive && is_late(heard));
        late.map(|(node, heard)| {
            heard.is_unresponsive = true;
            *node
        })
        .collect()
    }

    /// When something last arrived from that node; `None` while it is not connected.
    pub fn heard_at(&self, node: NodeId) -> Option<Millis> {
        self.nodes.get(&node).map(|heard| heard.at)
    }

    /// The nodes that are connected and answer.
    pub fn connected(&self) -> BTreeSet<NodeId> {
        self.nodes.iter().filter(|(_, heard)| !heard.is_unresponsive).map(|(node, _)| *node).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: NodeId = NodeId(2);
    const THREE: NodeId = NodeId(3);

    #[test]
    fn an_unresponsive_node_is_reported_once() {
        let mut liveness = Liveness::default();
        assert!(liveness.heard(TWO, Millis(1_000)), "met");
        assert!(!liveness.heard(TWO, Millis(1_100)), "known");
        assert!(liveness.heard(THREE, Millis(1_300)));
        assert_eq!(liveness.tick(Millis(1_399)), []);
        assert_eq!(liveness.tick(Millis(1_400)), [TWO]);
        assert_eq!(liveness.tick(Millis(1_450)), [], "once");
        assert_eq!(liveness.connected(), BTreeSet::from([THREE]));
        assert!(liveness.heard(TWO, Millis(1_460)), "met again");
        assert_eq!(liveness.connected(), BTreeSet::from([TWO, THREE]));
        assert_eq!(liveness.tick(Millis(1_700)), [THREE]);
    }

    #[test]
    fn a_lost_node_is_not_reported_and_is_met_again() {
        let mut liveness = Liveness::default();
        liveness.heard(TWO, Millis(5));
        liveness.lost(TWO);
        assert_eq!((liveness.heard_at(TWO), liveness.tick(Millis(9_000))), (None, Vec::new()));
        assert!(liveness.heard(TWO, Millis(9_001)));
        assert_eq!(liveness.heard_at(TWO), Some(Millis(9_001)));
    }
}
