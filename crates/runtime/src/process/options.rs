//! The options of a node: its folder and its disk, and its part in a cluster.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bezant_consensus::EngineKind;
use bezant_replica::ReplicaOptions;
use bezant_storage::log::LogOptions;
use bezant_types::NodeId;
use sha2::{Digest, Sha256};

use crate::clock::Clock;

/// The data folder of a node and its settings.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder with everything that the node keeps; created if it does not exist.
    pub data_dir: PathBuf,
    /// The options of the replica.
    pub node: ReplicaOptions,
    /// The options of the log.
    pub log: LogOptions,
    /// Bytes of free space on the disk below which the node takes no writes, so that it stops before the disk
    /// is full.
    pub space_kept: u64,
    /// The source of the node's wall-clock time: the machine's clock, except in tests.
    pub clock: Clock,
    /// True when the operator has accepted the clock, though it does not fit the ledger.
    pub is_clock_accepted: bool,
}

/// Enough for the entries in flight, their rows, a checkpoint of a million accounts and a new segment.
const SPACE_KEPT: u64 = 512 << 20;

impl Options {
    /// The defaults, in that folder.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            node: ReplicaOptions::default(),
            log: LogOptions::default(),
            space_kept: SPACE_KEPT,
            clock: Clock::system(),
            is_clock_accepted: false,
        }
    }
}

/// The options of a node of a cluster.
#[derive(Debug)]
pub struct ClusterOptions {
    /// This node; not 0.
    pub node: NodeId,
    /// The secret of the cluster: all its nodes have it, and no other program.
    pub token: String,
    /// The engine, for a folder that does not have one yet. `None` takes the engine of the other nodes, or
    /// Raft in a cluster that begins. Refused when the folder or the other nodes have a different one.
    pub engine: Option<EngineKind>,
    /// All nodes with which the cluster begins, this one included, and the addresses at which their peers
    /// reach them. Once the folder has a list of members, that list decides; for the first nodes of the
    /// cluster, the addresses here override those of the list.
    pub nodes: Vec<(NodeId, String)>,
    /// Addresses at which peers reach the members of a running cluster. An empty folder asks them for the
    /// membership until this node was added. Empty for a node that begins with the others.
    pub join: Vec<String>,
    /// The caller sets it to stop the wait for membership.
    pub give_up: Arc<AtomicBool>,
    /// The bound socket at which peers reach this node.
    pub listener: TcpListener,
    /// Set in a cluster that grows by itself: the address at which the others reach this node. In such a
    /// cluster, any member adds a node that joins, without an operator. The node gets a vote when it has
    /// caught up, if the number of nodes calls for another voter. Either all nodes of a cluster have it, or
    /// none.
    pub growth: Option<String>,
}

impl ClusterOptions {
    pub(crate) fn token_digest(&self) -> [u8; 32] {
        Sha256::digest(self.token.as_bytes()).into()
    }
}
