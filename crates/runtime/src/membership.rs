//! Who takes part, before a node begins: as its folder says, as it is told when the cluster begins, or as the other
//! members say.

use std::sync::Arc;

use bezant_consensus::{EngineKind, Members};
use bezant_replica::{RecoverError, Repair, forget};
use bezant_storage::disk::Disk;
use bezant_storage::record::{Identity, VoteStore, load_conflict, store_members};

use crate::clock::Clock;
use crate::cluster::{ClusterOptions, FirstMembers, check_member, first_members};
use crate::peer::{Own, join};
use crate::start_error::StartError;

/// Who takes part, and what was forgotten to know it. A node on an empty folder that joins waits until the others know it.
pub(crate) fn find_members(
    disk: &Arc<dyn Disk>,
    cluster: &ClusterOptions,
    identity: &mut Identity,
    clock: &Clock,
) -> Result<(Members, Option<Repair>), StartError> {
    match first_members(disk, cluster, identity)? {
        FirstMembers::Known(members) => {
            check_address(cluster, &members)?;
            settle_engine(disk, cluster, identity)?;
            Ok((members, None))
        }
        FirstMembers::Ask => Ok((join_members(disk, cluster, identity, clock)?, None)),
        FirstMembers::Lost(damage) => {
            let (members, repair) = ask_again(disk, cluster, identity, damage, clock)?;
            Ok((members, Some(repair)))
        }
    }
}

/// A member whose list is lost asks the others for theirs, as long as it takes. It may be older than what this node had
/// applied, and a list that is older than the state could bring an old cluster back: so the state goes, and comes back
/// with the list.
fn ask_again(
    disk: &Arc<dyn Disk>,
    cluster: &ClusterOptions,
    identity: &mut Identity,
    damage: String,
    clock: &Clock,
) -> Result<(Members, Repair), StartError> {
    let others = cluster.others();
    if others.is_empty() {
        return Err(StartError::NoMembers { node: cluster.node, damage });
    }
    if load_conflict(&**disk)?.is_some() {
        return Err(RecoverError::Stopped { damage }.into());
    }
    tracing::warn!("{damage}: this node asks {} who takes part", others.join(", "));
    let own = Own {
        token: identity.token,
        node: identity.node,
        disk: identity.disk,
        is_fresh: false,
        since: Some(identity.since),
        engine: identity.engine.or(cluster.engine),
        members: Members::default(),
        incarnation: None,
        clock: clock.clone(),
    };
    let asked = join(&own, &others, &cluster.give_up);
    let asked = asked.map_err(|reason| StartError::NoAnswer { damage: damage.clone(), reason });
    let (members, engine) = asked?;
    let members = check_member(identity, members)?;
    check_address(cluster, &members)?;
    let repair = forget(disk, damage)?;
    *identity = Identity { engine: Some(engine), is_admitted: false, ..identity.clone() };
    identity.store(&**disk)?;
    store_members(&**disk, &members)?;
    Ok((members, repair))
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

    use bezant_consensus::{Conflict, Vote};
    use bezant_storage::MemoryDisk;
    use bezant_storage::record::store_conflict;
    use bezant_types::{LogIndex, NodeId, Term};

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
    fn a_list_that_nobody_knows_is_not_made_up() {
        for damage in ["is missing", "is damaged"] {
            let memory = MemoryDisk::new();
            let disk: Arc<dyn Disk> = Arc::new(memory.clone());
            let mut identity = folder(&disk);
            if damage == "is damaged" {
                memory.put("members.bzm", vec![7; 4096]);
            }
            let error =
                find_members(&disk, &options(1), &mut identity, &Clock::system()).unwrap_err().to_string();
            assert!(error.contains("members.bzm") && error.contains(damage), "{error}");
            assert!(error.contains("--join") && error.contains("docs/operations.md"), "{error}");
            let waiting = options(3);
            waiting.give_up.store(true, std::sync::atomic::Ordering::Release);
            let error =
                find_members(&disk, &waiting, &mut identity, &Clock::system()).unwrap_err().to_string();
            assert!(error.contains(damage) && error.contains("Start it again"), "{error}");
        }
    }

    #[test]
    fn one_that_has_stopped_keeps_what_it_has() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let mut identity = folder(&disk);
        let (from, term, index) = (NodeId(2), Term(3), LogIndex(9));
        let (first, committed, last) = (index, index, index);
        let conflict = Conflict { from, term, first, is_first_exact: true, committed, last, events: 1 };
        store_conflict(&*disk, &conflict).unwrap();
        let error =
            find_members(&disk, &options(3), &mut identity, &Clock::system()).unwrap_err().to_string();
        assert!(error.contains("nothing of it is forgotten"), "{error}");
    }
}
