//! Why a node does not start: what is wrong, in words that say what to do.

use bezant_consensus::EngineKind;
use bezant_recovery::RecoverError;
use bezant_storage::disk::DiskError;
use bezant_storage::record::RecordError;
use bezant_types::NodeId;
use thiserror::Error;

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
    /// Who the folder belongs to cannot be read.
    #[error("the node's identity cannot be read: {0}")]
    Identity(#[from] RecordError),
    /// The folder is a cluster's, and no cluster was named.
    #[error(
        "the folder belongs to node {node} of a cluster: start it with --node {node}, --nodes and --token-file"
    )]
    OfCluster {
        /// Whose it is.
        node: NodeId,
    },
    /// The folder is a cluster's, no cluster was named, and it does not say which node's it is.
    #[error(
        "the folder holds {file}, so it belongs to a node of a cluster, and node.bzi is missing: start it as that node (--node, --nodes \
         and --token-file), which brings it back from its copy or says what to do; see \"A damaged disk\" in docs/operations.md"
    )]
    OfLostNode {
        /// A file that only a node of a cluster has.
        file: String,
    },
    /// The folder is another node's.
    #[error(
        "the folder belongs to node {found}, not to node {wanted}: choose another folder, or --node {found}"
    )]
    OtherNode {
        /// Whose it is.
        found: NodeId,
        /// Who wanted it.
        wanted: NodeId,
    },
    /// The folder is another cluster's.
    #[error("the folder belongs to node {node} of a cluster with another token: check --token-file")]
    OtherCluster {
        /// Whose it is.
        node: NodeId,
    },
    /// The folder's cluster agrees with another engine.
    #[error(
        "the folder belongs to node {node} of a cluster that agrees by {found}, and --engine says {wanted}: leave it out, \
         or begin a new cluster on empty folders"
    )]
    OtherEngine {
        /// Whose it is.
        node: NodeId,
        /// What it agrees with.
        found: EngineKind,
        /// What was asked for.
        wanted: EngineKind,
    },
    /// The others went on without it.
    #[error("{reason}")]
    Removed {
        /// Which node, why, and what helps.
        reason: String,
    },
    /// Without it an old list could bring an old cluster back.
    #[error(
        "the folder of node {node} holds its data, and {damage}. Nothing was changed. Copy members.bzm into it from the folder of \
         another node, which has the same one, and start again; see \"A damaged disk\" in docs/operations.md"
    )]
    NoMembers {
        /// Whose it is.
        node: NodeId,
        /// What was found in place of the list.
        damage: String,
    },
    /// It was told to stop before the cluster knew it.
    #[error("stopped before the cluster knew this node: {reason}. `bezant cluster add` makes it a member")]
    GaveUp {
        /// What it waited for.
        reason: String,
    },
    /// A cluster begins with empty folders.
    #[error(
        "the folder holds the data of a node that was alone: a cluster begins with empty folders; start node \
         {node} on an empty one, and bring the data over with `bezant export` and `bezant import`"
    )]
    NotEmpty {
        /// Who wanted it.
        node: NodeId,
    },
    /// Whose the folder is, is lost: it may not take part any more.
    #[error(
        "the folder holds the data of a node of a cluster, and does not say which (node.bzi is missing): put the whole folder back, or \
         take the node for lost: `bezant cluster replace {node}` at another node, and start it on an empty folder with --join"
    )]
    NoIdentity {
        /// Who wanted it.
        node: NodeId,
    },
    /// The folder is for something else.
    #[error(
        "the folder holds {file}, which is no file of a node: choose an empty folder, or one that does not exist yet"
    )]
    Foreign {
        /// What was found.
        file: String,
    },
    /// The others look for this node where it is not any more.
    #[error(
        "the others reach node {node} at {known}, and it is started at {own}: start it where they look for it, or remove it and \
         let it join on an empty folder"
    )]
    OtherAddress {
        /// Which.
        node: NodeId,
        /// Where the list of the members says that it is.
        known: String,
        /// Where it would be.
        own: String,
    },
    /// Nobody is there to compare the clock with, and it does not fit the ledger.
    #[error(
        "this machine's clock shows {clock}, and the last entry of the ledger is of {ledger}: {problem}. Set the clock; when \
         it is right, start the node with --accept-clock (in a program of yours MemberOptions::accept_clock)"
    )]
    Clock {
        /// What it shows.
        clock: String,
        /// When the last entry was made; none where there is none.
        ledger: String,
        /// Why that is refused.
        problem: &'static str,
    },
    /// A log entry that no version of this program wrote.
    #[error("the log behind the checkpoint cannot be read by this version")]
    Entries,
    /// The system gives no thread.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}
