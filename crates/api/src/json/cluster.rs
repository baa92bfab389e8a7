//! Where a node stands among the others, as JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::v1;

/// The node that was asked, and the others as it sees them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ClusterReply {
    /// The node that answers.
    pub node: u64,
    /// leader, follower or candidate.
    pub role: String,
    /// False for a node that elects nobody, whatever its part: its disk is new or was damaged, and it lacks something
    /// yet, or it is a learner. Null = not known.
    #[schema(required = true)]
    pub may_vote: Option<bool>,
    /// Why its folder takes part in nothing (any more); null = it does.
    #[schema(required = true)]
    pub removed: Option<String>,
    /// Why it has stopped: it knows log entries to be committed that the others lack; null = it has not.
    #[schema(required = true)]
    pub stopped: Option<String>,
    /// Why it gives out no timestamps, and does not stay the leader: its clock is far off. Null = it is not.
    #[schema(required = true)]
    pub clock: Option<String>,
    /// Why it answers neither stale reads nor those of a session yet: its disk is new or was damaged, or it has just
    /// started; null = it does.
    #[schema(required = true)]
    pub no_state: Option<String>,
    /// Which nodes the first start of the cluster waits for, in words: no node leads before all have met. Null = none.
    #[schema(required = true)]
    pub first_start: Option<String>,
    /// The reign.
    pub term: u64,
    /// Who leads; null = nobody is known to.
    #[schema(required = true)]
    pub leader: Option<u64>,
    /// The last log entry that is agreed, as far as this node knows.
    pub committed: u64,
    /// The last log entry that it has applied.
    pub applied: u64,
    /// The last entry behind which its state was found equal to that of others; null = none yet.
    #[schema(required = true)]
    pub agreed: Option<u64>,
    /// Nodes that had that state, this one included.
    pub agreed_nodes: u32,
    /// Bytes of a checkpoint that it is fetching; null = it is fetching none.
    #[schema(required = true)]
    pub install_bytes: Option<u64>,
    /// Of how many.
    #[schema(required = true)]
    pub install_size: Option<u64>,
    /// Bytes that are left on its disk; null = not known.
    #[schema(required = true)]
    pub disk_available: Option<u64>,
    /// Why it takes no writes; null = it does.
    #[schema(required = true)]
    pub read_only: Option<String>,
    /// The log entry that made the nodes what they are; 0 = those with whom the cluster began.
    pub members_index: u64,
    /// What the cluster agrees with: raft or paxos; null for a node that is alone.
    #[schema(required = true)]
    pub engine: Option<String>,
    /// All nodes; empty for one that is alone.
    pub nodes: Vec<ClusterNodeReply>,
}

/// A node, as another one sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ClusterNodeReply {
    /// Which.
    pub node: u64,
    /// Where its peers reach it.
    pub address: String,
    /// voter, learner (it is given everything and has no vote), joining (about to vote) or leaving.
    pub part: String,
    /// True when the node that answers has a connection to it, or is it.
    pub connected: bool,
    /// The last log entry that it is known to have on disk; null = not known, for only the leader knows.
    #[schema(required = true)]
    pub matched: Option<u64>,
    /// Its clock less that of the node that answers, in nanoseconds, and at most some 292 years either way; null = not met yet.
    #[schema(required = true)]
    pub clock_offset: Option<i64>,
    /// Why there is no connection to it, where one of the two refuses the other; or that two processes speak as it, of
    /// which one is refused. Null = nobody is refused.
    #[schema(required = true)]
    pub refused: Option<String>,
}

/// Nothing in place of 0.
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

/// What is to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClusterChangeBody {
    /// A node is given everything from now on, and has no vote yet.
    Add,
    /// A learner gets a vote.
    Promote,
    /// A node takes part no more.
    Remove,
    /// A node leads.
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

/// A change of who takes part in the cluster, or who leads it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeClusterBody {
    /// What.
    pub change: ClusterChangeBody,
    /// Which node; not 0.
    pub node: u64,
    /// Of a node that is added: where its peers reach it, HOST:PORT. Otherwise absent.
    #[serde(default)]
    pub address: String,
}

impl From<ChangeClusterBody> for v1::ChangeClusterRequest {
    fn from(body: ChangeClusterBody) -> Self {
        let change = v1::ClusterChange::from(body.change).into();
        Self { change, node: body.node, address: body.address }
    }
}

/// The change is agreed.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct ChangeClusterReply {
    /// The last log entry that the leader had applied, the change included.
    pub log_index: u64,
}
