//! Why a node's folder takes no part in its cluster, and why a peer is not admitted.
//!
//! The messages name what an operator does, and no command: a peer's refusal comes from another process, and
//! a member of an embedding program has no command line. The program that shows one adds its own way. Most of
//! them are only in the log, so they name the section of the documentation that has the commands.

use bezant_types::NodeId;
use thiserror::Error;

/// Why the node of a folder is no longer a member of its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Removal {
    /// The node was removed, and its number was given to another folder.
    #[error(
        "node {node} was removed from the cluster and added again: this folder is an old one and takes part in \
         nothing. Stop this node; the cluster's node {node} runs on the other folder; \
         see \"Why a node is refused\" in docs/operations.md"
    )]
    AddedAgain {
        /// The node.
        node: NodeId,
    },
    /// The cluster knows another disk under the number of the node.
    #[error(
        "the cluster knows node {node} with another disk: the node on this folder takes part in nothing. \
         If the other disk is lost, replace the node in the cluster, and let it join with an empty folder; \
         see \"Why a node is refused\" in docs/operations.md"
    )]
    OtherDisk {
        /// The node.
        node: NodeId,
    },
    /// The node was removed.
    #[error(
        "node {node} was removed from the cluster, and receives nothing new: to bring it back, let it join with an \
         empty folder. If an operator adds the nodes, add it to the cluster first; see \"Why a node is refused\" \
         in docs/operations.md"
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
    #[error("the node that refuses is no member itself: {0}")]
    Own(#[from] Removal),
    /// The list of members lacks the peer.
    #[error(
        "node {node} is not a member of the cluster (any more): let it join with an empty folder. If an operator adds \
         the nodes, add it to the cluster first; see \"Why a node is refused\" in docs/operations.md"
    )]
    NotMember {
        /// The peer.
        node: NodeId,
    },
    /// The peer's folder is from before it was removed.
    #[error(
        "node {node} was removed from the cluster and added again: its folder is an old one and takes part in \
         nothing. Stop that node; the cluster's node {node} runs on the other folder; \
         see \"Why a node is refused\" in docs/operations.md"
    )]
    AddedAgain {
        /// The peer.
        node: NodeId,
    },
    /// The peer has another disk than the one that has its number.
    #[error(
        "node {node} comes with another disk than the one that is known: start it on the folder that it had. If \
         that folder is lost, replace the node in the cluster, and let it join with an empty folder; \
         see \"Why a node is refused\" in docs/operations.md"
    )]
    OtherDisk {
        /// The peer.
        node: NodeId,
    },
    /// The peer's disk cannot be recorded.
    #[error("{0}")]
    Record(String),
}
