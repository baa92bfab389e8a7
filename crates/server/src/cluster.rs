//! Where a node stands among the others, as both protocols show it.

use bezant_api::v1;
use bezant_runtime::{Health, Role};

use crate::desk::Desk;

/// What the node says of itself.
pub(crate) fn cluster_reply(desk: &Desk) -> v1::GetClusterReply {
    let status = desk.handle.cluster();
    let role = match status.role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
    };
    let (install_bytes, install_size) = status.install.unwrap_or_default();
    let nodes = status.nodes.into_iter().map(|node| v1::ClusterNode {
        node: node.node.0,
        address: node.address,
        connected: node.is_connected,
        matched: node.matched.map_or(0, |matched| matched.0),
        clock_offset: node.clock_offset_nanos,
    });
    let read_only = match desk.handle.health() {
        Health::ReadOnly { reason } => reason,
        Health::Serving | Health::Stopping => String::new(),
    };
    v1::GetClusterReply {
        node: status.node.0,
        role: role.to_owned(),
        term: status.term.0,
        leader: status.leader.map_or(0, |leader| leader.0),
        committed: status.committed.0,
        applied: status.applied.0,
        agreed: status.agreed.0.0,
        agreed_nodes: u32::try_from(status.agreed.1).unwrap_or(u32::MAX),
        install_bytes,
        install_size,
        disk_available: desk.handle.disk_available(),
        read_only,
        nodes: nodes.collect(),
    }
}
