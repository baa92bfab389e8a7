//! The cluster as a node reports it, in JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::v1;

/// The node that answers, and the other nodes as it knows them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ClusterReply {
    /// The number of the node that answers.
    pub node: u64,
    /// leader, follower or candidate.
    pub role: String,
    /// False for a node that does not vote, whatever its part: its disk is new or was damaged and it still
    /// lacks entries, or it is a learner. Null = not known.
    #[schema(required = true)]
    pub may_vote: Option<bool>,
    /// Why its folder does not take part in the cluster, or no longer does; null = it does.
    #[schema(required = true)]
    pub removed: Option<String>,
    /// Why it has stopped: it has log entries that were committed and that the other nodes lack. Null = it
    /// has not stopped.
    #[schema(required = true)]
    pub stopped: Option<String>,
    /// Why it assigns no timestamps and does not stay the leader: its clock is far off. Null = its clock is
    /// good.
    #[schema(required = true)]
    pub clock: Option<String>,
    /// Why it does not answer stale or session reads yet: its disk is new or was damaged, or it has just
    /// started. Null = it answers them.
    #[schema(required = true)]
    pub no_state: Option<String>,
    /// The nodes that the first start of the cluster waits for, as text: no node leads before all have met. Null =
    /// none.
    #[schema(required = true)]
    pub first_start: Option<String>,
    /// The current term.
    pub term: u64,
    /// The leader; null = not known.
    #[schema(required = true)]
    pub leader: Option<u64>,
    /// The last log entry that is known to this node as committed.
    pub committed: u64,
    /// The last log entry that this node has applied.
    pub applied: u64,
    /// The last log entry after which the digest of its state matched those of other nodes; null = none yet.
    #[schema(required = true)]
    pub agreed: Option<u64>,
    /// The number of nodes whose digests matched, this one included.
    pub agreed_nodes: u32,
    /// The bytes of a checkpoint that it has fetched so far; null = it is fetching none.
    #[schema(required = true)]
    pub install_bytes: Option<u64>,
    /// The size of that checkpoint in bytes; null = it is fetching none.
    #[schema(required = true)]
    pub install_size: Option<u64>,
    /// The bytes that are available on its disk; null = not known.
    #[schema(required = true)]
    pub disk_available: Option<u64>,
    /// Why it accepts no writes; null = it does.
    #[schema(required = true)]
    pub read_only: Option<String>,
    /// The index of the log entry that set the current members; 0 = the members that the cluster started
    /// with.
    pub members_index: u64,
    /// The consensus engine: raft or paxos; null for a standalone node.
    #[schema(required = true)]
    pub engine: Option<String>,
    /// All nodes of the cluster; empty for a standalone node.
    pub nodes: Vec<ClusterNodeReply>,
}

/// A node as the answering node knows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ClusterNodeReply {
    /// The node's number.
    pub node: u64,
    /// The address that its peers use, HOST:PORT.
    pub address: String,
    /// voter, learner (receives all entries, without a vote), joining (about to vote) or leaving.
    pub part: String,
    /// True when the answering node has a connection to it, or is this node.
    pub connected: bool,
    /// The last log entry that is known to be on its disk; null = not known, because only the leader knows
    /// it.
    #[schema(required = true)]
    pub matched: Option<u64>,
    /// Its clock minus that of the answering node, in nanoseconds, at most about 292 years in either
    /// direction; null = not measured yet.
    #[schema(required = true)]
    pub clock_offset: Option<i64>,
    /// Why there is no connection to it, where one of the two nodes refuses the other; or that two processes
    /// use its identity and one is refused. Null = no refusal.
    #[schema(required = true)]
    pub refused: Option<String>,
}

/// `None` in place of 0.
fn unless_zero(number: u64) -> Option<u64> {
    (number != 0).then_some(number)
}

impl From<v1::GetClusterReply> for ClusterReply {
    fn from(reply: v1::GetClusterReply) -> Self {
        let nodes = reply.nodes.into_iter().map(|node| ClusterNodeReply {
            node: node.node,
            address: node.address,
            part: node.part,
            connected: node.connected,
            matched: unless_zero(node.matched),
            clock_offset: node.clock_offset,
            refused: (!node.refused.is_empty()).then_some(node.refused),
        });
        let is_installing = reply.install_size != 0;
        Self {
            node: reply.node,
            role: reply.role,
            may_vote: reply.may_vote,
            removed: (!reply.removed.is_empty()).then_some(reply.removed),
            stopped: (!reply.stopped.is_empty()).then_some(reply.stopped),
            clock: (!reply.clock.is_empty()).then_some(reply.clock),
            no_state: (!reply.no_state.is_empty()).then_some(reply.no_state),
            first_start: (!reply.first_start.is_empty()).then_some(reply.first_start),
            term: reply.term,
            leader: unless_zero(reply.leader),
            committed: reply.committed,
            applied: reply.applied,
            agreed: unless_zero(reply.agreed),
            agreed_nodes: reply.agreed_nodes,
            install_bytes: is_installing.then_some(reply.install_bytes),
            install_size: is_installing.then_some(reply.install_size),
            disk_available: unless_zero(reply.disk_available),
            read_only: (!reply.read_only.is_empty()).then_some(reply.read_only),
            members_index: reply.members_index,
            engine: (!reply.engine.is_empty()).then_some(reply.engine),
            nodes: nodes.collect(),
        }
    }
}

/// The kind of a change of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClusterChangeBody {
    /// A node joins as a learner: it receives all entries and has no vote yet.
    Add,
    /// A learner becomes a voter.
    Promote,
    /// A node leaves the cluster.
    Remove,
    /// A node becomes the leader.
    Lead,
}

impl From<ClusterChangeBody> for v1::ClusterChange {
    fn from(body: ClusterChangeBody) -> Self {
        match body {
            ClusterChangeBody::Add => Self::Add,
            ClusterChangeBody::Promote => Self::Promote,
            ClusterChangeBody::Remove => Self::Remove,
            ClusterChangeBody::Lead => Self::Lead,
        }
    }
}

/// A change of the cluster's members, or of its leader.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeClusterBody {
    /// The kind of the change.
    pub change: ClusterChangeBody,
    /// The node that the change concerns; not 0.
    pub node: u64,
    /// For `add`: the address that the node's peers use, HOST:PORT. Otherwise absent.
    #[serde(default)]
    pub address: String,
}

impl From<ChangeClusterBody> for v1::ChangeClusterRequest {
    fn from(body: ChangeClusterBody) -> Self {
        let change = v1::ClusterChange::from(body.change).into();
        Self { change, node: body.node, address: body.address }
    }
}

/// The reply to a change that is committed.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct ChangeClusterReply {
    /// The last log entry that the leader had applied, the change included.
    pub log_index: u64,
}
