//! Who takes part, before a node begins: as its folder says, as it is told when the cluster begins, or as the other
//! members say to one that joins.
//!
//! A folder with data whose list is lost is refused. The list of another node may be older than this node's state, which
//! does not say who takes part; to forget the state for it could destroy what only this node has.

use std::sync::Arc;

use bezant_consensus::{EngineKind, Members};
use bezant_storage::disk::Disk;
use bezant_storage::record::{Identity, VoteStore, store_members};

use crate::clock::Clock;
use crate::cluster::{ClusterOptions, first_members};
use crate::peer::{Own, join};
use crate::start_error::StartError;

/// Who takes part. A node on an empty folder that joins waits until the others know it.
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
    settle_engine(disk, cluster, identity)?;
    Ok(members)
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
        // One that asks to be taken in says where it is reached.
        members: Members::first(cluster.growth.iter().map(|address| (identity.node, address.clone()))),
        incarnation: None,
        clock: clock.clone(),
    };
    let joined = join(&own, &cluster.join, &cluster.give_up);
    let (members, engine) = joined.map_err(|reason| StartError::GaveUp { reason })?;
    check_address(cluster, &members)?;
    // Which member this folder is, before the list that makes it one.
    let since = members.get(identity.node).map_or(identity.since, |member| member.since);
    *identity = Identity { since, engine: Some(engine), ..identity.clone() };
    identity.store(&**disk)?;
    store_members(&**disk, &members)?;
    tracing::info!("this node is a member of the cluster: it fetches what the others have");
    Ok(members)
}

/// Where a cluster grows by itself, nobody but the list says where a node is reached.
fn check_address(cluster: &ClusterOptions, members: &Members) -> Result<(), StartError> {
    let known = members.get(cluster.node).map(|member| &member.address);
    match (known, &cluster.growth) {
        (Some(known), Some(own)) if known != own => {
            Err(StartError::OtherAddress { node: cluster.node, known: known.clone(), own: own.clone() })
        }
        _ => Ok(()),
    }
}

/// A folder that does not know yet what its cluster agrees with learns it before the node says a word.
fn settle_engine(
    disk: &Arc<dyn Disk>,
    cluster: &ClusterOptions,
    identity: &mut Identity,
) -> Result<(), StartError> {
    if identity.engine.is_some() {
        return Ok(());
    }
    // A folder with a log and without an engine is older than the choice.
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
    use bezant_storage::MemoryDisk;
    use bezant_types::NodeId;

    use super::*;
    use crate::cluster::identify;

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

    /// Of a node with a vote, and without a list of members.
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
    fn a_list_that_is_lost_is_not_made_up_and_costs_nothing() {
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
                assert_eq!(files(), before, "nothing is changed");
            }
        }
    }
}
