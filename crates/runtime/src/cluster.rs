//! A node among others: what it must be told, who it is on its disk, and what it knows of the cluster.

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
use crate::directory::removal;
use crate::start_error::StartError;

/// What a node must be told to be one of several.
#[derive(Debug)]
pub struct ClusterOptions {
    /// This node; not 0.
    pub node: NodeId,
    /// What all nodes of the cluster know, and nobody else.
    pub token: String,
    /// What the cluster agrees with, for a folder that does not know yet: `None` for what the others say, or Raft in a
    /// cluster that begins. Refused when the folder or the others know better.
    pub engine: Option<EngineKind>,
    /// All nodes with whom the cluster begins, this one included, and the addresses at which their peers reach them.
    /// Once the folder knows its members it is they who count; of those with whom the cluster began, the addresses here
    /// win over theirs.
    pub nodes: Vec<(NodeId, String)>,
    /// Where members of a cluster that works already are reached by their peers: an empty folder asks them who takes
    /// part, until this node was added. Empty for a node that begins with the others.
    pub join: Vec<String>,
    /// Set to give up waiting for that.
    pub give_up: Arc<AtomicBool>,
    /// Where this node's peers reach it; bound.
    pub listener: TcpListener,
    /// Set in a cluster that grows by itself: the address at which the others reach this node. With it a node that joins
    /// is taken in by any member without an operator, and given a vote when it has caught up and the number of
    /// nodes asks for it. All nodes of a cluster have it, or none.
    pub growth: Option<String>,
}

impl ClusterOptions {
    pub(crate) fn token_digest(&self) -> [u8; 32] {
        Sha256::digest(self.token.as_bytes()).into()
    }
}

/// A number that no other start of a node draws, in all likelihood.
pub(crate) fn draw() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// Who takes part, as far as the folder knows, or the list says where it knows nothing; `None` for a folder that must
/// ask the members first, since it joins.
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
    // The list is written right after the identity, and before anything else.
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

/// These members, when the folder is that of one of them.
fn check_member(identity: &Identity, members: Members) -> Result<Members, StartError> {
    match removal(identity, &members) {
        Some(reason) => Err(StartError::Removed { reason }),
        None => Ok(members),
    }
}

/// Reads who this folder's node is, or makes a new folder this node's.
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
        // It was never taken in, with a wrong token say: it promised nothing to anybody. Its disk stays the one that it was, for
        // those who may have met it.
        (Some(found), Some(cluster)) if is_another(&found, cluster) && is_stamp_alone(disk)? => {
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
            // A start that was killed before it had said whose the folder is has promised nothing to anybody.
            if files.iter().any(|file| !is_begun(file)) {
                return Err(StartError::NotEmpty { node: cluster.node });
            }
            let disk_id = u128::from(draw()) << 64 | u128::from(draw());
            Ok(Some(stamp(disk, cluster, disk_id)?))
        }
    }
}

/// Makes a folder that node's.
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

/// True for a folder that says whose it is, and nothing else.
fn is_stamp_alone(disk: &Arc<dyn Disk>) -> Result<bool, StartError> {
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

/// True for the name of a file that only a node of a cluster makes, and not before its folder says whose it is.
fn is_of_cluster(file: &str) -> bool {
    !is_begun(file) && ["node.", "members.", "vote."].iter().any(|begin| file.starts_with(begin))
}

/// True for a file of a node that was begun and never got the name under which it counts.
fn is_begun(file: &str) -> bool {
    is_own(file) && file.strip_suffix(".tmp").is_some()
}

/// What a peer said of itself when it was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acquaintance {
    pub(crate) is_fresh: bool,
    /// What its clock showed.
    pub(crate) clock: Reading,
}

/// A node of the cluster, as another one sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Which.
    pub node: NodeId,
    /// Where its peers reach it.
    pub address: String,
    /// The log entry that added it; 0 for those with whom the cluster began.
    pub since: LogIndex,
    /// What it may decide.
    pub part: Part,
    /// True for the node that says all this, and for peers with a connection.
    pub is_connected: bool,
    /// The last entry that it is known to have on disk; only the leader knows.
    pub matched: Option<LogIndex>,
    /// Its clock less this node's, when it was heard of last: when they met, or within some ten seconds.
    pub clock_offset_nanos: Option<i64>,
    /// Why there is no connection, where one of the two refuses the other; or that two processes speak as this node, of
    /// which one is refused.
    pub refused: Option<String>,
}

/// The cluster, as one of its nodes sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStatus {
    /// The node that says all this.
    pub node: NodeId,
    /// What the cluster agrees with; `None` for a node that is alone.
    pub engine: Option<EngineKind>,
    /// False for a node that elects nobody: a learner, one whose disk is new or was damaged, until it has everything.
    pub may_vote: bool,
    /// Why this folder takes part in nothing (any more); `None` when it does.
    pub removed: Option<String>,
    /// Why it has stopped: it knows entries to be committed that the others lack; `None` when it has not.
    pub stopped: Option<String>,
    /// Why it gives out no timestamps, and does not stay the leader: its clock is wrong. `None` when it is not.
    pub clock: Option<String>,
    /// Why it answers neither stale reads nor those of a session yet; `None` when it does.
    pub no_state: Option<NoState>,
    /// What it is.
    pub role: Role,
    /// In which term.
    pub term: Term,
    /// Who leads; `None` while nobody is known to.
    pub leader: Option<NodeId>,
    /// Which nodes the first start of the cluster waits for, and where they are expected, in words; `None` when it waits
    /// for none.
    pub first_start: Option<String>,
    /// The last entry that is agreed.
    pub committed: LogIndex,
    /// The last entry that it has applied.
    pub applied: LogIndex,
    /// The last place at which its state was found equal to others', and how many nodes that were with it.
    pub agreed: (LogIndex, usize),
    /// How much of a checkpoint from another node has come, of how many bytes.
    pub install: Option<(u64, u64)>,
    /// When its state was that of the whole cluster: it had applied all that its leader said then to be agreed. `None`
    /// before it was for the first time since it started.
    pub current_at: Option<Instant>,
    /// The entry that made the members what they are; 0 for those with whom the cluster began.
    pub members_index: LogIndex,
    /// All nodes, in order of their numbers.
    pub nodes: Vec<NodeStatus>,
}

impl ClusterStatus {
    /// Of a node that is alone.
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

    /// How old what it shows may be, at most; `None` while that is not known.
    pub fn age(&self) -> Option<Duration> {
        // One that is alone has nobody who knows more.
        let is_alone = self.engine.is_none();
        if is_alone { Some(Duration::ZERO) } else { self.current_at.map(|moment| moment.elapsed()) }
    }

    /// Takes over where the replica stands.
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
    use bezant_storage::record::mend;
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
        assert_eq!(made.as_ref().map(|made| made.disk), Some(first.disk), "it took part in nothing yet");
        store_members(&*disk, &Members::first(options(1, "token").nodes)).unwrap();
        assert_eq!(identify(&disk, Some(&options(1, "token"))).unwrap(), made);
        let wrong = [
            (Some(options(2, "token")), "node 1"),
            (Some(options(1, "other")), "another token"),
            (None, "--node"),
        ];
        for (options, word) in wrong {
            let error = identify(&disk, options.as_ref()).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    /// What a start writes before the log is opened.
    fn begin(disk: &MemoryDisk, join: &[String]) -> Result<(), StartError> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let options = ClusterOptions { join: join.to_vec(), ..options(1, "token") };
        mend(&*disk)?;
        let identity = identify(&disk, Some(&options))?.expect("invariant: of a cluster");
        if first_members(&disk, &options, &identity)?.is_none() {
            // Whom a node that joins asks has answered.
            identity.store(&*disk)?;
            store_members(&*disk, &Members::first(options.nodes))?;
        }
        Ok(())
    }

    #[test]
    fn a_first_start_that_was_killed_anywhere_can_begin_again() {
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
    fn what_a_killed_start_leaves_does_not_hide_what_is_foreign() {
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
    fn a_folder_with_something_else_in_it_is_left_alone() {
        for (file, word) in [
            ("README", "README"),
            ("log-0000000000000001.bzl", "alone"),
            ("vote.bzv", "cluster replace 1"),
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
    fn a_folder_of_a_cluster_is_never_that_of_a_node_alone() {
        for file in ["node.copy", "members.bzm", "members.copy", "vote.bzv"] {
            let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
            for file in ["log-0000000000000001.bzl", file] {
                disk.open(file, OpenMode::Create).unwrap();
            }
            let error = identify(&disk, None).unwrap_err().to_string();
            for word in [file, "node.bzi", "--node", "docs/operations.md"] {
                assert!(error.contains(word), "{error}");
            }
        }
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        for file in ["log-0000000000000001.bzl", "vote.tmp", "node.tmp", "members.tmp", "terms.bzr"] {
            disk.open(file, OpenMode::Create).unwrap();
        }
        assert_eq!(identify(&disk, None).unwrap(), None, "that of a node that is alone");
    }
}
