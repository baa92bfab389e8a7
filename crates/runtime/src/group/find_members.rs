//! The membership with which a node starts: from its folder, from the options when the cluster begins, or
//! from the other members when the node joins.
//!
//! A folder that has data but has lost its list of members is refused. The list of another node may be older
//! than this node's state, and the state does not contain the membership. If the state were dropped instead,
//! data that only this node has could be lost.

use std::sync::Arc;

use bezant_consensus::{EngineKind, Members};
use bezant_storage::disk::Disk;
use bezant_storage::record::{Identity, RecordError, VoteStore, load_members, store_members};

use crate::clock::Clock;
use crate::group::directory::removal;
use crate::peer::{Own, join};
use crate::process::identity::is_begun;
use crate::process::options::ClusterOptions;
use crate::start_error::StartError;

/// The membership. A node that joins with an empty folder waits until the others list it as a member.
pub(crate) fn find_members(
    disk: &Arc<dyn Disk>,
    cluster: &ClusterOptions,
    identity: &mut Identity,
    clock: &Clock,
) -> Result<Members, StartError> {
    let Some(members) = first_members(disk, cluster, identity)? else {
        return join_members(disk, cluster, identity, clock);
    };
    check_address(cluster, &members)?;
    store_engine(disk, cluster, identity)?;
    Ok(members)
}

/// The membership from the folder, or from the options when the folder has none; `None` for a folder that
/// must ask the members first, since it joins.
fn first_members(
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

fn join_members(
    disk: &Arc<dyn Disk>,
    cluster: &ClusterOptions,
    identity: &mut Identity,
    clock: &Clock,
) -> Result<Members, StartError> {
    let own = Own {
        token: identity.token,
        node: identity.node,
        disk: identity.disk,
        is_fresh: true,
        since: None,
        engine: cluster.engine,
        // A node that asks for admission sends the address at which it is reached.
        members: Members::first(cluster.growth.iter().map(|address| (identity.node, address.clone()))),
        incarnation: None,
        clock: clock.clone(),
    };
    let joined = join(&own, &cluster.join, &cluster.give_up);
    let (members, engine) = joined.map_err(|reason| StartError::GaveUp { reason })?;
    check_address(cluster, &members)?;
    // Stored before the list: a folder with a list counts as a member's.
    let since = members.get(identity.node).map_or(identity.since, |member| member.since);
    *identity = Identity { since, engine: Some(engine), ..identity.clone() };
    identity.store(&**disk)?;
    store_members(&**disk, &members)?;
    tracing::info!("this node is a member of the cluster: it fetches what the others have");
    Ok(members)
}

/// In a cluster that grows by itself, only the list of members has the address of a node.
fn check_address(cluster: &ClusterOptions, members: &Members) -> Result<(), StartError> {
    let known = members.get(cluster.node).map(|member| &member.address);
    match (known, &cluster.growth) {
        (Some(known), Some(own)) if known != own => {
            Err(StartError::OtherAddress { node: cluster.node, known: known.clone(), own: own.clone() })
        }
        _ => Ok(()),
    }
}

/// Stores the engine in a folder without one, before the node sends anything.
fn store_engine(
    disk: &Arc<dyn Disk>,
    cluster: &ClusterOptions,
    identity: &mut Identity,
) -> Result<(), StartError> {
    if identity.engine.is_some() {
        return Ok(());
    }
    // A folder with a log and without an engine was made before engines could be chosen.
    let is_older = VoteStore::open(Arc::clone(disk))?.1.is_some();
    let engine = match cluster.engine {
        Some(wanted) if is_older && wanted != EngineKind::Raft => {
            let found = EngineKind::Raft;
            return Err(StartError::OtherEngine { node: identity.node, found, wanted });
        }
        wanted => wanted.unwrap_or_default(),
    };
    *identity = Identity { engine: Some(engine), ..identity.clone() };
    Ok(identity.store(&**disk)?)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use bezant_consensus::Vote;
    use bezant_storage::record::restore_records;
    use bezant_storage::{FaultPlan, MemoryDisk};
    use bezant_types::NodeId;

    use super::*;
    use crate::process::identity::identify;

    fn options(nodes: u64) -> ClusterOptions {
        ClusterOptions {
            node: NodeId(1),
            token: "token".to_owned(),
            engine: None,
            nodes: (1..=nodes).map(|node| (NodeId(node), format!("127.0.0.1:{node}"))).collect(),
            join: Vec::new(),
            give_up: Arc::default(),
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            growth: None,
        }
    }

    /// The folder of a node that has a vote and no list of members.
    fn folder(disk: &Arc<dyn Disk>) -> Identity {
        let mut identity = identify(disk, Some(&options(3))).unwrap().unwrap();
        find_members(disk, &options(3), &mut identity, &Clock::system()).unwrap();
        VoteStore::open(Arc::clone(disk)).unwrap().0.save(Vote::default()).unwrap();
        for file in ["members.bzm", "members.copy"] {
            disk.remove(file).unwrap();
        }
        identity
    }

    #[test]
    fn a_lost_list_of_members_changes_no_file() {
        for damage in ["is missing", "is damaged"] {
            for join in [Vec::new(), vec!["127.0.0.1:2".to_owned()]] {
                let memory = MemoryDisk::new();
                let disk: Arc<dyn Disk> = Arc::new(memory.clone());
                let mut identity = folder(&disk);
                if damage == "is damaged" {
                    memory.put("members.bzm", &[7; 4096]);
                }
                let files = || {
                    let names = disk.list().unwrap();
                    names.into_iter().map(|file| (memory.content(&file), file)).collect::<Vec<_>>()
                };
                let before = files();
                let cluster = ClusterOptions { join, ..options(3) };
                let found = find_members(&disk, &cluster, &mut identity, &Clock::system());
                let error = found.unwrap_err().to_string();
                for word in ["members.bzm", damage, "Copy members.bzm", "docs/operations.md"] {
                    assert!(error.contains(word), "{word}: {error}");
                }
                assert_eq!(files(), before, "no file is changed");
            }
        }
    }

    /// Writes what a start writes before the log is opened.
    fn begin(disk: &MemoryDisk, join: &[String]) -> Result<(), StartError> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let options = ClusterOptions { join: join.to_vec(), ..options(2) };
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
}
