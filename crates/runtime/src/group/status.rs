//! A node's view of its cluster: what it shows to its callers.

use std::time::{Duration, Instant};

use bezant_consensus::{EngineKind, Part, Role, Standing};
use bezant_replica::NoState;
use bezant_types::{LogIndex, NodeId, Term};

use crate::refusal::Removal;

/// A node of the cluster, in the view of the node that reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The node's number.
    pub node: NodeId,
    /// The address at which its peers reach it.
    pub address: String,
    /// The log entry that added it; 0 for the first nodes of the cluster.
    pub since: LogIndex,
    /// Its part in the group: learner, voter, or a voter that a change in progress adds or removes.
    pub part: Part,
    /// True for the reporting node, and for peers with a connection.
    pub is_connected: bool,
    /// The last entry that it has on disk as far as is known; `None` unless the reporting node leads.
    pub matched: Option<LogIndex>,
    /// Its clock minus the reporting node's, at the last exchange: in the handshake, and about every ten
    /// seconds after it. `None` while it is unknown.
    pub clock_offset_nanos: Option<i64>,
    /// Why there is no connection, when one of the two refuses the other; or that two processes use this
    /// node's number, of which one is refused.
    pub refused: Option<String>,
}

/// The cluster, in the view of one of its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStatus {
    /// The reporting node.
    pub node: NodeId,
    /// The engine of the cluster; `None` for a node that is alone.
    pub engine: Option<EngineKind>,
    /// False for a node that does not vote: a learner, or a node whose disk is new or was damaged, until it
    /// has everything.
    pub may_vote: bool,
    /// Why this folder's node is not (or no longer) a member; `None` when it is.
    pub removed: Option<Removal>,
    /// Why it has stopped: it holds committed entries that the others lack; `None` when it has not.
    pub stopped: Option<String>,
    /// Why it stamps nothing and does not stay the leader: its clock is wrong. `None` when it is not.
    pub clock: Option<String>,
    /// Why it answers neither stale reads nor session reads yet; `None` when it does.
    pub no_state: Option<NoState>,
    /// Its role in the group.
    pub role: Role,
    /// Its current term.
    pub term: Term,
    /// The leader; `None` while no leader is known.
    pub leader: Option<NodeId>,
    /// The nodes that the first start of the cluster waits for, and their addresses, as text; `None` when it
    /// waits for none of them.
    pub first_start: Option<String>,
    /// The last entry that is committed.
    pub committed: LogIndex,
    /// The last entry that it has applied.
    pub applied: LogIndex,
    /// The last index at which its state was found equal to others', and the number of nodes with that state.
    pub agreed: (LogIndex, usize),
    /// Progress of a checkpoint that is fetched from another node: bytes received and bytes in total.
    pub install: Option<(u64, u64)>,
    /// The last time at which it had applied every entry that its leader then reported as committed. `None`
    /// before the first such time since the start.
    pub current_at: Option<Instant>,
    /// The entry that made the current membership; 0 for the first nodes of the cluster.
    pub members_index: LogIndex,
    /// All nodes, in order of their numbers.
    pub nodes: Vec<NodeStatus>,
}

impl ClusterStatus {
    /// The status of a node that is alone.
    pub(crate) fn alone() -> Self {
        let node = NodeId(1);
        Self {
            node,
            engine: None,
            may_vote: true,
            removed: None,
            stopped: None,
            clock: None,
            no_state: None,
            role: Role::Leader,
            term: Term(1),
            leader: Some(node),
            first_start: None,
            committed: LogIndex(0),
            applied: LogIndex(0),
            agreed: (LogIndex(0), 1),
            install: None,
            current_at: None,
            members_index: LogIndex(0),
            nodes: Vec::new(),
        }
    }

    /// How old the state may be, at most; `None` while that is not known.
    pub fn age(&self) -> Option<Duration> {
        // A node that is alone has no peer with newer entries.
        let is_alone = self.engine.is_none();
        if is_alone { Some(Duration::ZERO) } else { self.current_at.map(|moment| moment.elapsed()) }
    }

    /// Copies the standing of the replica.
    pub(crate) fn take(&mut self, standing: &Standing, applied: LogIndex) {
        self.role = standing.role;
        self.term = standing.term;
        self.leader = standing.leader;
        self.committed = standing.committed;
        self.applied = applied;
        for status in &mut self.nodes {
            let peer = standing.peers.iter().find(|peer| peer.node == status.node);
            status.matched = peer.map(|peer| peer.matched);
        }
    }
}
