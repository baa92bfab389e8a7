//! Why a node does not start: what is wrong, and what to do about it. The messages name settings; the program
//! that has a command line adds its flags.

use bezant_consensus::EngineKind;
use bezant_recovery::RecoverError;
use bezant_storage::disk::DiskError;
use bezant_storage::record::RecordError;
use bezant_types::NodeId;
use thiserror::Error;

use crate::refusal::Removal;

/// Why a node does not start. Nothing that was acknowledged was changed; the start can be tried again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The folder cannot be used: another process holds it, or the system refused.
    #[error("the data folder cannot be used: {0}")]
    Disk(#[from] DiskError),
    /// What the folder holds cannot be used.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The identity in the folder cannot be read.
    #[error("the node's identity cannot be read: {0}")]
    Identity(#[from] RecordError),
    /// The folder belongs to a cluster, and no cluster was named.
    #[error(
        "the folder belongs to node {node} of a cluster: start it as that node, with the cluster's nodes and token"
    )]
    OfCluster {
        /// The node to which the folder belongs.
        node: NodeId,
    },
    /// The folder belongs to a cluster, no cluster was named, and the folder does not contain the node's
    /// number.
    #[error(
        "the folder holds {file}, so it belongs to a node of a cluster, but node.bzi is missing: start it as that node, \
         which restores node.bzi from its copy or reports what to do; see \"A damaged disk\" in docs/operations.md"
    )]
    OfLostNode {
        /// A file that only a node of a cluster has.
        file: String,
    },
    /// The folder is another node's.
    #[error(
        "the folder belongs to node {found}, not to node {wanted}: choose another folder, or start node {found}"
    )]
    OtherNode {
        /// The node to which the folder belongs.
        found: NodeId,
        /// The node that was started on it.
        wanted: NodeId,
    },
    /// The folder is another cluster's.
    #[error("the folder belongs to node {node} of a cluster with another token: check the token")]
    OtherCluster {
        /// The node to which the folder belongs.
        node: NodeId,
    },
    /// The folder's cluster has another engine.
    #[error(
        "the folder belongs to node {node} of a cluster that uses the engine {found}, but the setting engine is {wanted}: leave it out, \
         or begin a new cluster with empty folders"
    )]
    OtherEngine {
        /// The node to which the folder belongs.
        node: NodeId,
        /// The engine of the folder's cluster.
        found: EngineKind,
        /// The engine that was asked for.
        wanted: EngineKind,
    },
    /// The node is not a member of the cluster any more.
    #[error("{0}")]
    Removed(Removal),
    /// The list of members is lost. It is not taken from another node: with an old list, the voters of that
    /// list could elect a second leader.
    #[error(
        "the folder holds the data of node {node}, but {damage}. Nothing was changed. Copy members.bzm into it from the folder of \
         another node, which has the same list, and start again; see \"A damaged disk\" in docs/operations.md"
    )]
    NoMembers {
        /// The node to which the folder belongs.
        node: NodeId,
        /// What was found in place of the list.
        damage: String,
    },
    /// The caller stopped the start before the node was a member.
    #[error(
        "stopped before this node was a member of the cluster: {reason}. Where an operator adds nodes, add it to the cluster"
    )]
    GaveUp {
        /// The reason why it was still waiting.
        reason: String,
    },
    /// A cluster begins with empty folders.
    #[error(
        "the folder holds the data of a node that was alone: a cluster begins with empty folders; start node \
         {node} on an empty one, and bring the data over with an export and an import"
    )]
    NotEmpty {
        /// The node that was started on it.
        node: NodeId,
    },
    /// The identity of the folder is lost: its node may not vote or serve any more.
    #[error(
        "the folder holds the data of a node of a cluster, but not its identity (node.bzi is missing): restore the whole folder, or \
         treat the node as lost: replace it in the cluster, and let it join with an empty folder"
    )]
    NoIdentity {
        /// The node that was started on it.
        node: NodeId,
    },
    /// The folder holds files of another program.
    #[error(
        "the folder holds {file}, which is not a file of a node: choose an empty folder, or one that does not exist yet"
    )]
    Foreign {
        /// The name of a file that is not a node's.
        file: String,
    },
    /// The list of members has another address for this node.
    #[error(
        "the other nodes have {known} as the address of node {node}, but it was started at {own}: start it at {known}, or remove it and \
         let it join with an empty folder"
    )]
    OtherAddress {
        /// The node.
        node: NodeId,
        /// The address in the list of members.
        known: String,
        /// The address at which it was started.
        own: String,
    },
    /// The clock does not fit the ledger, and there is no other node to compare it with.
    #[error(
        "this machine's clock shows {clock}, and the last entry of the ledger is of {ledger}: {problem}. Set the clock; if \
         it is right, start the node once with its clock accepted; see \"The clock\" in docs/operations.md"
    )]
    Clock {
        /// The time that the clock shows.
        clock: String,
        /// The time of the last entry; "none" where there is none.
        ledger: String,
        /// Why the clock is refused.
        problem: &'static str,
    },
    /// The log holds an entry that this version of the program cannot read.
    #[error("the log after the checkpoint cannot be read by this version")]
    Entries,
    /// The operating system refused to start a thread.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}
