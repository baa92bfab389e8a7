//! A node of a cluster: its options, its identity on disk, and its status.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bezant_consensus::{EngineKind, Members, Part, Role, Standing};
use bezant_replica::NoState;
use bezant_storage::disk::Disk;
use bezant_storage::record::{Identity, RecordError, load_members, store_members};
use bezant_types::{LogIndex, NodeId, Term};
use sha2::{Digest, Sha256};

use crate::clock::Reading;
use crate::group::directory::removal;
use crate::refusal::Removal;
use crate::start_error::StartError;

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

/// A random number that differs, in all likelihood, from that of every other start of a node.
pub(crate) fn draw() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// The membership from the folder, or from the options when the folder has none; `None` for a folder that
/// must ask the members first, since it joins.
pub(crate) fn first_members(
    disk: &Arc<dyn Disk>,
    cluster: &ClusterOptions,
    identity: &Identity,
) -> Result<Option<Members>, StartError> {
    let lost = |damage| StartError::NoMembers { node: identity.node, damage };
    match load_members(&**disk) {
        Ok(None) => {}
        Ok(Some(members)) => return check_member(identity, members).map(Some),
        Err(RecordError::Damaged { file, reason, .. }) => {
            return Err(lost(format!("{file} is damaged: {reason}")));
        }
        Err(error) => return Err(error.into()),
    }
    // The list is written right after the identity, before any other file.
    if disk.list()?.iter().any(|file| !is_begun(file) && !file.starts_with("node.")) {
        return Err(lost("the list of the members (members.bzm) is missing".to_owned()));
    }
    if !cluster.join.is_empty() {
        return Ok(None);
    }
    let members = Members::first(cluster.nodes.iter().cloned());
    store_members(&**disk, &members)?;
    Ok(Some(members))
}

/// Returns these members when the folder belongs to one of them.
fn check_member(identity: &Identity, members: Members) -> Result<Members, StartError> {
    match removal(identity, &members) {
        Some(removal) => Err(StartError::Removed(removal)),
        None => Ok(members),
    }
}

/// Reads the identity of this folder's node, or gives a new folder this node's identity.
pub(crate) fn identify(
    disk: &Arc<dyn Disk>,
    cluster: Option<&ClusterOptions>,
) -> Result<Option<Identity>, StartError> {
    let found = Identity::load(&**disk)?;
    match (found, cluster) {
        (None, None) => match disk.list()?.into_iter().find(|file| is_of_cluster(file)) {
            Some(file) => Err(StartError::OfLostNode { file }),
            None => Ok(None),
        },
        (Some(found), None) => Err(StartError::OfCluster { node: found.node }),
        // The node was never admitted, for example because of a wrong token, so it has neither voted nor
        // acknowledged anything. The disk keeps its random number, because peers may have met it.
        (Some(found), Some(cluster)) if is_another(&found, cluster) && has_identity_only(disk)? => {
            Ok(Some(stamp(disk, cluster, found.disk)?))
        }
        (Some(found), Some(cluster)) if found.node != cluster.node => {
            Err(StartError::OtherNode { found: found.node, wanted: cluster.node })
        }
        (Some(found), Some(cluster)) if found.token != cluster.token_digest() => {
            Err(StartError::OtherCluster { node: found.node })
        }
        (Some(found), Some(cluster)) => match (found.engine, cluster.engine) {
            (Some(has), Some(wanted)) if has != wanted => {
                Err(StartError::OtherEngine { node: found.node, found: has, wanted })
            }
            _ => Ok(Some(found)),
        },
        (None, Some(cluster)) => {
            let files = disk.list()?;
            if let Some(file) = files.iter().find(|file| !is_own(file)) {
                return Err(StartError::Foreign { file: file.clone() });
            }
            if files.iter().any(|file| is_of_cluster(file)) {
                return Err(StartError::NoIdentity { node: cluster.node });
            }
            // A start that was killed before it had stored an identity has neither voted nor acknowledged
            // anything.
            if files.iter().any(|file| !is_begun(file)) {
                return Err(StartError::NotEmpty { node: cluster.node });
            }
            let disk_id = u128::from(draw()) << 64 | u128::from(draw());
            Ok(Some(stamp(disk, cluster, disk_id)?))
        }
    }
}

/// Stores the node's identity in a folder.
fn stamp(disk: &Arc<dyn Disk>, cluster: &ClusterOptions, disk_id: u128) -> Result<Identity, StartError> {
    let identity = Identity {
        token: cluster.token_digest(),
        node: cluster.node,
        disk: disk_id,
        since: LogIndex(0),
        is_admitted: false,
        engine: None,
        known: Vec::new(),
    };
    identity.store(&**disk)?;
    Ok(identity)
}

fn is_another(found: &Identity, cluster: &ClusterOptions) -> bool {
    found.node != cluster.node || found.token != cluster.token_digest()
}

/// True for a folder that holds an identity and nothing else.
fn has_identity_only(disk: &Arc<dyn Disk>) -> Result<bool, StartError> {
    Ok(disk.list()?.iter().all(|file| is_begun(file) || file.starts_with("node.")))
}

/// True for the name of a file that a node makes.
fn is_own(file: &str) -> bool {
    let begins = [
        "node.",
        "members.",
        "vote.",
        "damage.",
        "conflict.",
        "terms.",
        "log-",
        "checkpoint-",
        "history-",
        "probe.",
    ];
    begins.iter().any(|begin| file.starts_with(begin))
}

/// True for the name of a file that only a node of a cluster makes, and only after its folder has an
/// identity.
fn is_of_cluster(file: &str) -> bool {
    !is_begun(file) && ["node.", "members.", "vote."].iter().any(|begin| file.starts_with(begin))
}

/// True for a temporary file of a node, which never got its final name.
fn is_begun(file: &str) -> bool {
    is_own(file) && file.strip_suffix(".tmp").is_some()
}

/// What a peer reported of itself in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acquaintance {
    pub(crate) is_fresh: bool,
    /// The reading of its clock.
    pub(crate) clock: Reading,
}

/// A node of the cluster, in the view of the node that reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The node's number.
    pub node: NodeId,
    /// The address at which its peers reach it.
    pub address: String,
    /// The log entry that added it; 0 for the first nodes of the cluster.
    pub since: LogIndex,
    /// Its part in the group: learner, voter, or a voter that a change in progress adds or removes.
    pub part: Part,
    /// True for the reporting node, and for peers with a connection.
    pub is_connected: bool,
    /// The last entry that it has on disk as far as is known; `None` unless the reporting node leads.
    pub matched: Option<LogIndex>,
    /// Its clock minus the reporting node's, at the last exchange: in the handshake, and about every ten
    /// seconds after it. `None` while it is unknown.
    pub clock_offset_nanos: Option<i64>,
    /// Why there is no connection, when one of the two refuses the other; or that two processes use this
    /// node's number, of which one is refused.
    pub refused: Option<String>,
}

/// The cluster, in the view of one of its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStatus {
    /// The reporting node.
    pub node: NodeId,
    /// The engine of the cluster; `None` for a node that is alone.
    pub engine: Option<EngineKind>,
    /// False for a node that does not vote: a learner, or a node whose disk is new or was damaged, until it
    /// has everything.
    pub may_vote: bool,
    /// Why this folder's node is not (or no longer) a member; `None` when it is.
    pub removed: Option<Removal>,
    /// Why it has stopped: it holds committed entries that the others lack; `None` when it has not.
    pub stopped: Option<String>,
    /// Why it stamps nothing and does not stay the leader: its clock is wrong. `None` when it is not.
    pub clock: Option<String>,
    /// Why it answers neither stale reads nor session reads yet; `None` when it does.
    pub no_state: Option<NoState>,
    /// Its role in the group.
    pub role: Role,
    /// Its current term.
    pub term: Term,
    /// The leader; `None` while no leader is known.
    pub leader: Option<NodeId>,
    /// The nodes that the first start of the cluster waits for, and their addresses, as text; `None` when it
    /// waits for none of them.
    pub first_start: Option<String>,
    /// The last entry that is committed.
    pub committed: LogIndex,
    /// The last entry that it has applied.
    pub applied: LogIndex,
    /// The last index at which its state was found equal to others', and the number of nodes with that state.
    pub agreed: (LogIndex, usize),
    /// Progress of a checkpoint that is fetched from another node: bytes received and bytes in total.
    pub install: Option<(u64, u64)>,
    /// The last time at which it had applied every entry that its leader then reported as committed. `None`
    /// before the first such time since the start.
    pub current_at: Option<Instant>,
    /// The entry that made the current membership; 0 for the first nodes of the cluster.
    pub members_index: LogIndex,
    /// All nodes, in order of their numbers.
    pub nodes: Vec<NodeStatus>,
}

impl ClusterStatus {
    /// The status of a node that is alone.
    pub(crate) fn alone() -> Self {
        let node = NodeId(1);
        Self {
            node,
            engine: None,
            may_vote: true,
            removed: None,
            stopped: None,
            clock: None,
            no_state: None,
            role: Role::Leader,
            term: Term(1),
            leader: Some(node),
            first_start: None,
            committed: LogIndex(0),
            applied: LogIndex(0),
            agreed: (LogIndex(0), 1),
            install: None,
            current_at: None,
            members_index: LogIndex(0),
            nodes: Vec::new(),
        }
    }

    /// How old the state may be, at most; `None` while that is not known.
    pub fn age(&self) -> Option<Duration> {
        // A node that is alone has no peer with newer entries.
        let is_alone = self.engine.is_none();
        if is_alone { Some(Duration::ZERO) } else { self.current_at.map(|moment| moment.elapsed()) }
    }

    /// Copies the standing of the replica.
    pub(crate) fn take(&mut self, standing: &Standing, applied: LogIndex) {
        self.role = standing.role;
        self.term = standing.term;
        self.leader = standing.leader;
        self.committed = standing.committed;
        self.applied = applied;
        for status in &mut self.nodes {
            let peer = standing.peers.iter().find(|peer| peer.node == status.node);
            status.matched = peer.map(|peer| peer.matched);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bezant_storage::disk::OpenMode;
    use bezant_storage::record::restore_records;
    use bezant_storage::{FaultPlan, MemoryDisk};

    fn options(node: u64, token: &str) -> ClusterOptions {
        ClusterOptions {
            node: NodeId(node),
            token: token.to_owned(),
            engine: None,
            nodes: vec![(NodeId(1), "a:1".to_owned()), (NodeId(2), "b:1".to_owned())],
            join: Vec::new(),
            give_up: Arc::default(),
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            growth: None,
        }
    }

    #[test]
    fn a_folder_belongs_to_one_node_of_one_cluster() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        assert_eq!(identify(&disk, None).unwrap(), None);
        let first = identify(&disk, Some(&options(2, "a wrong one"))).unwrap().unwrap();
        let made = identify(&disk, Some(&options(1, "token"))).unwrap();
        assert_eq!(made.as_ref().map(|made| made.disk), Some(first.disk), "it was never a member");
        store_members(&*disk, &Members::first(options(1, "token").nodes)).unwrap();
        assert_eq!(identify(&disk, Some(&options(1, "token"))).unwrap(), made);
        let wrong = [
            (Some(options(2, "token")), "node 1"),
            (Some(options(1, "other")), "another token"),
            (None, "start it as that node"),
        ];
        for (options, word) in wrong {
            let error = identify(&disk, options.as_ref()).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    /// Writes what a start writes before the log is opened.
    fn begin(disk: &MemoryDisk, join: &[String]) -> Result<(), StartError> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let options = ClusterOptions { join: join.to_vec(), ..options(1, "token") };
        restore_records(&*disk)?;
        let identity = identify(&disk, Some(&options))?.expect("invariant: the folder belongs to a cluster");
        if first_members(&disk, &options, &identity)?.is_none() {
            // The member that a joining node asks has answered.
            identity.store(&*disk)?;
            store_members(&*disk, &Members::first(options.nodes))?;
        }
        Ok(())
    }

    #[test]
    fn a_killed_first_start_can_begin_again() {
        for join in [Vec::new(), vec!["a:1".to_owned()]] {
            let whole = MemoryDisk::new();
            begin(&whole, &join).unwrap();
            for crash_at in 1..=whole.counts().total() {
                let disk = MemoryDisk::new();
                disk.set_faults(FaultPlan { crash_at: Some(crash_at), ..FaultPlan::default() });
                assert!(begin(&disk, &join).is_err(), "operation {crash_at}");
                begin(&disk.restart(), &join).unwrap();
                for seed in 0..16 {
                    begin(&disk.crash(seed), &join).unwrap();
                }
            }
        }
    }

    #[test]
    fn files_of_a_killed_start_do_not_hide_foreign_files() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        for file in ["node.tmp", "probe.tmp", "log-prepared.tmp", "notes.tmp"] {
            disk.open(file, OpenMode::Create).unwrap();
        }
        let error = identify(&disk, Some(&options(1, "token"))).unwrap_err().to_string();
        assert!(error.contains("notes.tmp"), "{error}");
        disk.remove("notes.tmp").unwrap();
        identify(&disk, Some(&options(1, "token"))).unwrap();
    }

    #[test]
    fn a_folder_with_other_files_is_not_changed() {
        for (file, word) in [
            ("README", "README"),
            ("log-0000000000000001.bzl", "alone"),
            ("vote.bzv", "treat the node as lost"),
            ("members.bzm", "node.bzi is missing"),
            ("node.copy", "node.bzi is missing"),
        ] {
            let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
            disk.open(file, OpenMode::Create).unwrap();
            let error = identify(&disk, Some(&options(1, "token"))).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_node_alone_never_uses_a_clusters_folder() {
        for file in ["node.copy", "members.bzm", "members.copy", "vote.bzv"] {
            let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
            for file in ["log-0000000000000001.bzl", file] {
                disk.open(file, OpenMode::Create).unwrap();
            }
            let error = identify(&disk, None).unwrap_err().to_string();
            for word in [file, "node.bzi", "start it as that node", "docs/operations.md"] {
                assert!(error.contains(word), "{error}");
            }
        }
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        for file in ["log-0000000000000001.bzl", "vote.tmp", "node.tmp", "members.tmp", "terms.bzr"] {
            disk.open(file, OpenMode::Create).unwrap();
        }
        assert_eq!(identify(&disk, None).unwrap(), None, "it belongs to a node that is alone");
    }
}
