//! The cluster as a node reports it, in JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::v1;

/// The node that answers, and its cluster as it knows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ClusterReply {
    /// The number of the node that answers.
    pub node: u64,
    /// The bytes that are available on its disk; null = not known.
    #[schema(required = true)]
    pub disk_available: Option<u64>,
    /// Why it assigns no timestamps and leads no group: its clock is far off. Null = its clock is good.
    #[schema(required = true)]
    pub clock: Option<String>,
    /// All nodes of the cluster; empty for a standalone node.
    pub nodes: Vec<ClusterNodeReply>,
    /// Its replicas, one of each group that it takes part in, in the order of the groups.
    pub groups: Vec<ClusterGroupReply>,
}

/// A node as the answering node knows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ClusterNodeReply {
    /// The node's number.
    pub node: u64,
    /// The address that its peers use, HOST:PORT.
    pub address: String,
    /// True when the answering node has a connection to it, or is this node.
    pub connected: bool,
    /// Its clock minus that of the answering node, in nanoseconds, at most about 292 years in either
    /// direction; null = not measured yet.
    #[schema(required = true)]
    pub clock_offset: Option<i64>,
    /// Why there is no connection to it, where one of the two nodes refuses the other; or that two processes
    /// use its identity and one is refused. Null = no refusal.
    #[schema(required = true)]
    pub refused: Option<String>,
}

/// A group: the replicas that agree on one log. This is the state of the answering node's replica.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ClusterGroupReply {
    /// The group's number; the ledger is group 1.
    pub group: u32,
    /// What the group replicates: ledger.
    pub kind: String,
    /// The consensus engine: raft or paxos; null for a standalone node.
    #[schema(required = true)]
    pub engine: Option<String>,
    /// leader, follower or candidate.
    pub role: String,
    /// The current term.
    pub term: u64,
    /// The node that leads; null = not known.
    #[schema(required = true)]
    pub leader: Option<u64>,
    /// The last log entry that is known to this replica as committed.
    pub committed: u64,
    /// The last log entry that this replica has applied.
    pub applied: u64,
    /// The last log entry after which the digest of its state matched those of other replicas; null = none
    /// yet.
    #[schema(required = true)]
    pub agreed: Option<u64>,
    /// The number of replicas whose digests matched, this one included.
    pub agreed_nodes: u32,
    /// The bytes of a checkpoint that it has fetched so far; null = it is fetching none.
    #[schema(required = true)]
    pub install_bytes: Option<u64>,
    /// The size of that checkpoint in bytes; null = it is fetching none.
    #[schema(required = true)]
    pub install_size: Option<u64>,
    /// Why it accepts no writes; null = it does.
    #[schema(required = true)]
    pub read_only: Option<String>,
    /// False for a replica that does not vote, whatever its part: its disk is new or was damaged and it still
    /// lacks entries, or it is a learner.
    pub may_vote: bool,
    /// Why its folder does not take part in the group, or no longer does; null = it does.
    #[schema(required = true)]
    pub removed: Option<String>,
    /// Why it has stopped: it has log entries that were committed and that the other replicas lack. Null = it
    /// has not stopped.
    #[schema(required = true)]
    pub stopped: Option<String>,
    /// Why it does not answer stale or session reads yet: its disk is new or was damaged, or it has just
    /// started. Null = it answers them.
    #[schema(required = true)]
    pub no_state: Option<String>,
    /// The nodes that the first start of the group waits for, as text: no node leads before all have met.
    /// Null = none.
    #[schema(required = true)]
    pub first_start: Option<String>,
    /// The index of the log entry that set the current members; 0 = the members that the group started with.
    pub members_index: u64,
    /// The members of the group; empty for a standalone node.
    pub members: Vec<ClusterMemberReply>,
}

/// A member of a group as the answering node knows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ClusterMemberReply {
    /// The node's number.
    pub node: u64,
    /// voter, learner (receives all entries, without a vote), joining (about to vote) or leaving.
    pub part: String,
    /// The index of the log entry that added it; 0 = the group started with it.
    pub since: u64,
    /// True when the answering node exchanges the group's messages with it, or is this node.
    pub connected: bool,
    /// The last log entry that is known to be on its disk; null = not known, because only the leader knows
    /// it.
    #[schema(required = true)]
    pub matched: Option<u64>,
    /// Why one of the two nodes refuses the other in this group alone. Null = no refusal.
    #[schema(required = true)]
    pub refused: Option<String>,
}

/// `None` in place of 0.
fn unless_zero(number: u64) -> Option<u64> {
    (number != 0).then_some(number)
}

/// `None` in place of an empty text.
fn unless_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl From<v1::GetClusterReply> for ClusterReply {
    fn from(reply: v1::GetClusterReply) -> Self {
        Self {
            node: reply.node,
            disk_available: unless_zero(reply.disk_available),
            clock: unless_empty(reply.clock),
            nodes: reply.nodes.into_iter().map(ClusterNodeReply::from).collect(),
            groups: reply.groups.into_iter().map(ClusterGroupReply::from).collect(),
        }
    }
}

impl From<v1::ClusterNode> for ClusterNodeReply {
    fn from(node: v1::ClusterNode) -> Self {
        Self {
            node: node.node,
            address: node.address,
            connected: node.connected,
            clock_offset: node.clock_offset,
            refused: unless_empty(node.refused),
        }
    }
}

impl From<v1::ClusterGroup> for ClusterGroupReply {
    fn from(group: v1::ClusterGroup) -> Self {
        let is_installing = group.install_size != 0;
        Self {
            group: group.group,
            kind: group.kind,
            engine: unless_empty(group.engine),
            role: group.role,
            term: group.term,
            leader: unless_zero(group.leader),
            committed: group.committed,
            applied: group.applied,
            agreed: unless_zero(group.agreed),
            agreed_nodes: group.agreed_nodes,
            install_bytes: is_installing.then_some(group.install_bytes),
            install_size: is_installing.then_some(group.install_size),
            read_only: unless_empty(group.read_only),
            may_vote: group.may_vote,
            removed: unless_empty(group.removed),
            stopped: unless_empty(group.stopped),
            no_state: unless_empty(group.no_state),
            first_start: unless_empty(group.first_start),
            members_index: group.members_index,
            members: group.members.into_iter().map(ClusterMemberReply::from).collect(),
        }
    }
}

impl From<v1::ClusterMember> for ClusterMemberReply {
    fn from(member: v1::ClusterMember) -> Self {
        Self {
            node: member.node,
            part: member.part,
            since: member.since,
            connected: member.connected,
            matched: unless_zero(member.matched),
            refused: unless_empty(member.refused),
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
    /// The group; 0 or absent = the only one.
    #[serde(default)]
    pub group: u32,
}

impl From<ChangeClusterBody> for v1::ChangeClusterRequest {
    fn from(body: ChangeClusterBody) -> Self {
        let change = v1::ClusterChange::from(body.change).into();
        Self { change, node: body.node, address: body.address, group: body.group }
    }
}

/// The reply to a change that is committed.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct ChangeClusterReply {
    /// The last log entry that the leader had applied, the change included.
    pub log_index: u64,
}
