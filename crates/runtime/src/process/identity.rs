//! The identity of a data folder: the node and the cluster to which it belongs.
//!
//! A folder is never used by another node than the one that it belongs to, and a folder with other files is
//! never changed.

use std::sync::Arc;

use bezant_storage::disk::Disk;
use bezant_storage::record::Identity;
use bezant_types::LogIndex;

use crate::draw::draw;
use crate::process::options::ClusterOptions;
use crate::start_error::StartError;

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
pub(crate) fn is_begun(file: &str) -> bool {
    is_own(file) && file.strip_suffix(".tmp").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bezant_consensus::Members;
    use bezant_storage::MemoryDisk;
    use bezant_storage::disk::OpenMode;
    use bezant_storage::record::store_members;
    use bezant_types::NodeId;
    use std::net::TcpListener;

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
