//! Why settings are refused, and why a node does not run.

use std::io;
use std::path::PathBuf;

use bezant_runtime::{EngineKind, StartError};
use bezant_server::{HostNameError, ServeError};
use bezant_types::NodeId;
use thiserror::Error;

/// Why settings are refused. The messages name the fields of [`GivenSettings`](crate::GivenSettings). The file
/// has no `node`, `join`, `token_file` or `accept_clock`, and has `peer_listen` only within `nodes`.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file has a wrong or an unknown setting.
    #[error("{}: {}", path.display(), what.trim_end())]
    Toml {
        /// The file.
        path: PathBuf,
        /// The line, the setting, and what is wrong.
        what: String,
    },
    /// A host of the file that is no name.
    #[error("allowed_hosts: {0}")]
    AllowedHosts(#[source] HostNameError),
    /// An engine, and no cluster.
    #[error("a node that is alone has no consensus engine: the setting engine requires nodes or join")]
    EngineAlone,
    /// An address for other nodes, and no cluster.
    #[error("a node that is alone has no other nodes: the setting peer_listen requires nodes or join")]
    PeerListenAlone,
    /// A cluster, and no number of this node.
    #[error("the number of this node is missing: the setting node")]
    NodeMissing,
    /// A node that joins, and no address for the others.
    #[error("the address for the other nodes is missing: the setting peer_listen, HOST:PORT")]
    PeerListenMissing,
    /// The engine of the file.
    #[error("engine {name:?} of the file: {source}")]
    Engine {
        /// The name in the file.
        name: String,
        /// The names that exist.
        source: <EngineKind as std::str::FromStr>::Err,
    },
    /// A node has the number 0.
    #[error("nodes are numbered from 1 on")]
    NodeZero,
    /// An address of a node to join.
    #[error("{address:?} is no address: the setting join is a list of HOST:PORT")]
    Join {
        /// The text.
        address: String,
    },
    /// A number of this node, and no cluster.
    #[error("the list of nodes is missing: the setting nodes")]
    NodesMissing,
    /// More nodes than a cluster can have.
    #[error("a cluster has at most {most} nodes")]
    TooManyNodes {
        /// The most there can be.
        most: usize,
    },
    /// This node is not in the list.
    #[error("node {node} is not among the nodes: add it to the setting nodes")]
    NotAmongNodes {
        /// The number of this node.
        node: u64,
    },
    /// The address of a node.
    #[error("{address:?} of node {node} is no address: write HOST:PORT, at most 200 bytes")]
    Address {
        /// The text.
        address: String,
        /// The node.
        node: NodeId,
    },
    /// Two nodes with one number or one address.
    #[error("node {node} or its address {address} is twice in the list")]
    Twice {
        /// The second of the two.
        node: NodeId,
        /// Its address.
        address: String,
    },
    /// A cluster without a token.
    #[error("a cluster needs a token, the same at all nodes: the setting token")]
    TokenMissing,
    /// The file of the token.
    #[error("the token's file {}: {source}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A token that can be guessed.
    #[error("the cluster's token is shorter than {least} characters")]
    TokenShort {
        /// The least length.
        least: usize,
    },
}

/// A socket of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// For gRPC and REST: the setting `listen`.
    Http,
    /// For TigerBeetle's clients: the setting `tigerbeetle_listen`.
    TigerBeetle,
    /// For the other nodes: the setting `peer_listen`.
    Peers,
}

/// Why a node does not run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// The setting `data_dir` names something else than a folder.
    #[error("{} is no folder", path.display())]
    NoFolder {
        /// The path.
        path: PathBuf,
    },
    /// An address that is not valid, or not available now.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The socket.
        listening: Listening,
        /// Its address.
        address: String,
        /// The error of the operating system; `InvalidInput` = the text is no address.
        source: io::Error,
    },
    /// The node does not start.
    #[error("{}: {source}", data_dir.display())]
    Start {
        /// The folder of the node.
        data_dir: PathBuf,
        /// Why it does not start.
        source: StartError,
    },
    /// The server does not start.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A thread of the node has panicked.
    #[error(transparent)]
    Thread(#[from] tokio::task::JoinError),
}
