//! The cluster as this node reports it over gRPC and REST, and changes of its membership.

use bezant_api::token::LEDGER_GROUP;
use bezant_api::{ErrorCode, Failure, Violation, v1};
use bezant_runtime::{Change, ChangeError, ClusterStatus, Health, NodeStatus, Part, Role};
use bezant_types::{NodeId, limits};

use crate::context::RequestContext;
use crate::failure;
use crate::guard::ChangePermit;
use crate::service::Service;

/// The node's own report of the cluster.
pub(crate) fn cluster_reply(service: &Service) -> v1::GetClusterReply {
    let status = service.handle.cluster();
    let read_only = match service.handle.health() {
        Health::ReadOnly { reason } => reason,
        Health::Serving | Health::NoState { .. } | Health::Stopping => String::new(),
    };
    v1::GetClusterReply {
        node: status.node.0,
        disk_available: service.handle.disk_available(),
        nodes: status.nodes.iter().map(node_of).collect(),
        clock: status.clock.clone().unwrap_or_default(),
        groups: vec![ledger_group(status, read_only)],
    }
}

/// A node of the cluster, without what concerns the group.
fn node_of(node: &NodeStatus) -> v1::ClusterNode {
    v1::ClusterNode {
        node: node.node.0,
        address: node.address.clone(),
        connected: node.is_connected,
        clock_offset: node.clock_offset_nanos,
        refused: node.refused.clone().unwrap_or_default(),
    }
}

/// The node's replica of the ledger.
fn ledger_group(status: ClusterStatus, read_only: String) -> v1::ClusterGroup {
    let role = match status.role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
    };
    let (install_bytes, install_size) = status.install.unwrap_or_default();
    v1::ClusterGroup {
        group: LEDGER_GROUP.0,
        kind: "ledger".to_owned(),
        engine: status.engine.map_or_else(String::new, |engine| engine.name().to_owned()),
        role: role.to_owned(),
        term: status.term.0,
        leader: status.leader.map_or(0, |leader| leader.0),
        committed: status.committed.0,
        applied: status.applied.0,
        agreed: status.agreed.0.0,
        agreed_nodes: u32::try_from(status.agreed.1).unwrap_or(u32::MAX),
        install_bytes,
        install_size,
        read_only,
        may_vote: status.may_vote,
        removed: status.removed.map(|removal| removal.to_string()).unwrap_or_default(),
        stopped: status.stopped.unwrap_or_default(),
        no_state: status.no_state.map(|reason| reason.to_string()).unwrap_or_default(),
        first_start: status.first_start.unwrap_or_default(),
        members_index: status.members_index.0,
        members: status.nodes.iter().map(member_of).collect(),
    }
}

/// A member of the ledger's group. Nodes refuse each other as a whole, so no refusal is the group's own.
fn member_of(node: &NodeStatus) -> v1::ClusterMember {
    let part = match node.part {
        Part::Voter => "voter",
        Part::Learner => "learner",
        Part::Joining => "joining",
        Part::Leaving => "leaving",
    };
    v1::ClusterMember {
        node: node.node.0,
        part: part.to_owned(),
        since: node.since.0,
        connected: node.is_connected,
        matched: node.matched.map_or(0, |matched| matched.0),
        refused: String::new(),
    }
}

/// Checks whether the sender of a request may change the cluster.
pub(crate) fn permit_change(service: &Service, context: &RequestContext) -> Result<ChangePermit, Failure> {
    service.guard.permit_change(context.principal, service.handle.cluster().nodes.is_empty())
}

/// Makes a change; it is committed on return.
pub(crate) async fn change_cluster(
    service: &Service,
    _permit: ChangePermit,
    request: v1::ChangeClusterRequest,
    context: &RequestContext,
) -> Result<v1::ChangeClusterReply, Failure> {
    let change = change(&request)?;
    let made =
        service.handle.change(&change, context.deadline).await.map_err(|error| failure::of_write(&error))?;
    match made {
        Ok(index) => Ok(v1::ChangeClusterReply { log_index: index.0 }),
        Err(error) => Err(refusal(error, request.node)),
    }
}

fn change(request: &v1::ChangeClusterRequest) -> Result<Change, Failure> {
    let node = NodeId(request.node);
    if node.0 == 0 {
        return Err(Violation::new("node", "must be a number from 1 on").into());
    }
    if request.group != 0 && request.group != LEDGER_GROUP.0 {
        let text = format!("this node has no group {}: leave it out, or name {LEDGER_GROUP}", request.group);
        return Err(Violation::new("group", text).into());
    }
    let change = request.change();
    if change != v1::ClusterChange::Add && !request.address.is_empty() {
        return Err(Violation::new("address", "belongs to a node that is added: leave it out").into());
    }
    match change {
        v1::ClusterChange::Add => {
            let address = request.address.clone();
            let port = address.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
            let is_address = matches!(port, Some((host, Ok(1..))) if !host.is_empty());
            if !is_address || address.len() > limits::ADDRESS_SIZE_MAX {
                let text = "must be HOST:PORT, at most 200 bytes: where the other nodes reach this one";
                return Err(Violation::new("address", text).into());
            }
            Ok(Change::Add { node, address })
        }
        v1::ClusterChange::Promote => Ok(Change::Promote(node)),
        v1::ClusterChange::Remove => Ok(Change::Remove(node)),
        v1::ClusterChange::Lead => Ok(Change::Lead(node)),
        v1::ClusterChange::Unspecified => {
            Err(Violation::new("change", "must be add, promote, remove or lead").into())
        }
    }
}

fn refusal(error: ChangeError, node: u64) -> Failure {
    let (code, detail) = match error {
        ChangeError::UnderWay => (
            ErrorCode::ChangeUnderWay,
            "another change of the cluster is under way: try again when it is complete".into(),
        ),
        ChangeError::Outdated => (
            ErrorCode::ChangeUnderWay,
            format!(
                "node {node} was removed and added again meanwhile: read the cluster's state and try again"
            ),
        ),
        ChangeError::Unknown => (ErrorCode::MemberNotFound, format!("the cluster has no node {node}")),
        ChangeError::Known => (ErrorCode::MemberExists, format!("node {node} is a member already")),
        ChangeError::Votes => (ErrorCode::MemberExists, format!("node {node} is a voter already")),
        ChangeError::NotMet | ChangeError::Lagging(0) => (
            ErrorCode::NodeBehind,
            format!("node {node} does not answer: is it started, and are its address and token right?"),
        ),
        ChangeError::Lagging(entries) => (
            ErrorCode::NodeBehind,
            format!("node {node} lacks {entries} log entries: wait until it has caught up"),
        ),
        ChangeError::Leads => (
            ErrorCode::NodeLeads,
            format!("node {node} leads: transfer the leadership first (the change `lead` to another node)"),
        ),
        ChangeError::TooFew => (
            ErrorCode::ChangeRefused,
            format!("without node {node}, no quorum of the voters would be reachable"),
        ),
        ChangeError::NoVote => {
            (ErrorCode::ChangeRefused, format!("node {node} is no voter and cannot lead: promote it first"))
        }
        ChangeError::Full => (
            ErrorCode::ChangeRefused,
            format!("the cluster has {} nodes, and can have no more", limits::MEMBERS_MAX),
        ),
        ChangeError::Address => {
            return Violation::new("address", "is another node's already").into();
        }
        ChangeError::Alone => (
            ErrorCode::ChangeRefused,
            "this node is alone and cannot become a cluster: a cluster is started on empty folders, with a number for \
             each node and the list of all nodes"
                .into(),
        ),
        ChangeError::NotLeading => (ErrorCode::NoLeader, "no node leads: try again".into()),
    };
    Failure::new(code, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: v1::ClusterChange, node: u64, address: &str) -> v1::ChangeClusterRequest {
        v1::ChangeClusterRequest { change: change.into(), node, address: address.to_owned(), group: 0 }
    }

    #[test]
    fn a_request_that_is_no_change_names_its_field() {
        let cases = [
            (request(v1::ClusterChange::Add, 0, "a:1"), "node"),
            (request(v1::ClusterChange::Add, 4, "a"), "address"),
            (request(v1::ClusterChange::Add, 4, ":1"), "address"),
            (request(v1::ClusterChange::Add, 4, "a:0"), "address"),
            (request(v1::ClusterChange::Add, 4, &format!("{}:1", "a".repeat(200))), "address"),
            (request(v1::ClusterChange::Promote, 4, "a:1"), "address"),
            (request(v1::ClusterChange::Unspecified, 4, ""), "change"),
            (v1::ChangeClusterRequest { group: 2, ..request(v1::ClusterChange::Promote, 4, "") }, "group"),
        ];
        for (request, field) in cases {
            assert_eq!(change(&request).unwrap_err().violations[0].field, field, "{request:?}");
        }
        let add = Change::Add { node: NodeId(4), address: "a:1".to_owned() };
        for group in [0, 1] {
            let request = v1::ChangeClusterRequest { group, ..request(v1::ClusterChange::Add, 4, "a:1") };
            assert_eq!(change(&request).unwrap(), add);
        }
    }
}
