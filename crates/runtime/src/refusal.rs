//! Why a node's folder takes no part in its cluster, and why a peer is not admitted.
//!
//! The messages name what an operator does, and no command: a peer's refusal comes from another process, and
//! a member of an embedding program has no command line. The program that shows one adds its own way.

use bezant_types::NodeId;
use thiserror::Error;

/// Why the node of a folder is no longer a member of its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Removal {
    /// The node was removed, and its number was given to another folder.
    #[error(
        "node {node} was removed from the cluster and added again, with another folder: the node on this folder \
         takes part in nothing"
    )]
    AddedAgain {
        /// The node.
        node: NodeId,
    },
    /// The cluster knows another disk under the number of the node.
    #[error(
        "the cluster knows node {node} with another disk: the node on this folder takes part in nothing. \
         If the other disk is lost, remove the node from the cluster, and let it join with an empty folder"
    )]
    OtherDisk {
        /// The node.
        node: NodeId,
    },
    /// The node was removed.
    #[error(
        "node {node} was removed from the cluster, and receives nothing new: to bring it back, let it join with an \
         empty folder. If an operator adds the nodes, add it to the cluster first"
    )]
    Removed {
        /// The node.
        node: NodeId,
    },
}

impl Removal {
    /// The node that is no longer a member.
    pub const fn node(self) -> NodeId {
        match self {
            Self::AddedAgain { node } | Self::OtherDisk { node } | Self::Removed { node } => node,
        }
    }
}

/// Why a node does not admit a peer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum AdmitError {
    /// This node itself takes no part any more.
    #[error(transparent)]
    Own(#[from] Removal),
    /// The list of members lacks the peer.
    #[error(
        "node {node} is not a member of the cluster (any more): let it join with an empty folder. If an operator adds \
         the nodes, add it to the cluster first"
    )]
    NotMember {
        /// The peer.
        node: NodeId,
    },
    /// The peer's folder is from before it was removed.
    #[error(
        "node {node} was removed from the cluster, and added again: start it on an empty folder, so that it joins"
    )]
    AddedAgain {
        /// The peer.
        node: NodeId,
    },
    /// The peer has another disk than the one that has its number.
    #[error(
        "node {node} comes with another disk than the one that is known: start it on the folder that it had. If \
         that folder is lost, remove the node from the cluster, and let it join with an empty one"
    )]
    OtherDisk {
        /// The peer.
        node: NodeId,
    },
    /// The peer's disk cannot be recorded.
    #[error("{0}")]
    Record(String),
}
