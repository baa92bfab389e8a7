//! Who takes part in the cluster and with which disk, as far as this node knows: kept on its disk, newest first.
//!
//! The list comes from the log, with a checkpoint of another node, or from a peer that has a newer one: what was
//! agreed once may be counted on wherever it is heard (see `bezant_consensus::Members`). A node is known by its
//! disk: one whose disk was lost has forgotten what it promised, and is another node until it was removed and
//! added again. Which disk that is stands in the list as soon as it is agreed (`Change::Meet`); until then a node
//! remembers which one it met first.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bezant_consensus::{Conflict, EngineKind, Member, Members};
use bezant_storage::disk::Disk;
use bezant_storage::record::{Identity, KnownDisk, store_conflict, store_members};
use bezant_types::{LogIndex, NodeId};

/// See the module.
#[derive(Debug)]
pub(crate) struct Directory {
    disk: Arc<dyn Disk>,
    state: Mutex<State>,
    /// Addresses that an operator gave this node; they win over those of the list.
    addresses: BTreeMap<NodeId, String>,
    /// This disk has neither voted nor held an entry.
    is_fresh: AtomicBool,
}

#[derive(Debug)]
struct State {
    identity: Identity,
    members: Members,
}

/// What a peer says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) node: NodeId,
    pub(crate) disk: u128,
    /// The entry that added it, as its folder was told when it was made; `None` for one that wants to join, and was not
    /// told yet. Never what a list says that it has learned since: that would be another node's.
    pub(crate) since: Option<LogIndex>,
}

impl Directory {
    /// What lies on the disk already.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        identity: Identity,
        members: Members,
        addresses: impl IntoIterator<Item = (NodeId, String)>,
        is_fresh: bool,
    ) -> Self {
        let mut identity = identity;
        // A crash may have come between the list and this.
        identity.known.retain(|known| is_current(known, &members));
        Self {
            disk,
            state: Mutex::new(State { identity, members }),
            addresses: addresses.into_iter().collect(),
            is_fresh: AtomicBool::new(is_fresh),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This node.
    pub(crate) fn node(&self) -> NodeId {
        self.lock().identity.node
    }

    /// Digest of the cluster's token.
    pub(crate) fn token(&self) -> [u8; 32] {
        self.lock().identity.token
    }

    /// This node's disk.
    pub(crate) fn disk_id(&self) -> u128 {
        self.lock().identity.disk
    }

    /// The entry that added this node, as its folder was told when it was made.
    pub(crate) fn since(&self) -> LogIndex {
        self.lock().identity.since
    }

    /// Why this folder's node takes part no more: it was removed, or another disk has its number. `None` while it does.
    pub(crate) fn removal(&self) -> Option<String> {
        let state = self.lock();
        removal(&state.identity, &state.members)
    }

    /// Members whose disk is not agreed yet, and the disk that this node knows them by.
    pub(crate) fn not_agreed(&self) -> Option<(NodeId, u128)> {
        let state = self.lock();
        let disk_of = |node: NodeId| {
            let known = state.identity.known.iter().find(|known| known.node == node);
            if node == state.identity.node {
                Some(state.identity.disk)
            } else {
                known.map(|known| known.disk)
            }
        };
        let mut unknown = state.members.nodes.iter().filter(|member| member.disk == 0);
        unknown.find_map(|member| Some((member.node, disk_of(member.node)?)))
    }

    /// The newest list that is known.
    pub(crate) fn members(&self) -> Members {
        self.lock().members.clone()
    }

    /// The other nodes: the entries that added them, and where they are reached. Nobody once this one is removed.
    pub(crate) fn peers(&self) -> BTreeMap<NodeId, (LogIndex, String)> {
        let state = self.lock();
        if removal(&state.identity, &state.members).is_some() {
            return BTreeMap::new();
        }
        let others = state.members.nodes.iter().filter(|member| member.node != state.identity.node);
        others.map(|member| (member.node, (member.since, self.address(member)))).collect()
    }

    /// Where a node is reached. What an operator said counts for those with whom the cluster began.
    pub(crate) fn address(&self, member: &Member) -> String {
        let given = self.addresses.get(&member.node).filter(|_| member.since == LogIndex(0));
        given.unwrap_or(&member.address).clone()
    }

    /// True while this disk has neither voted nor held an entry.
    pub(crate) fn is_fresh(&self) -> bool {
        self.is_fresh.load(Ordering::Acquire)
    }

    /// From now on this disk holds something.
    pub(crate) fn set_used(&self) {
        self.is_fresh.store(false, Ordering::Release);
    }

    /// What the cluster agrees with.
    pub(crate) fn engine(&self) -> EngineKind {
        self.lock().identity.engine.unwrap_or_default()
    }

    /// True when it was noted that this disk may vote.
    pub(crate) fn is_admitted(&self) -> bool {
        self.lock().identity.is_admitted
    }

    /// From now on this disk may vote; on disk before it does.
    pub(crate) fn set_admitted(&self) -> Result<(), String> {
        let mut state = self.lock();
        if !state.identity.is_admitted {
            let identity = Identity { is_admitted: true, ..state.identity.clone() };
            identity.store(&*self.disk).map_err(|error| error.to_string())?;
            state.identity = identity;
        }
        Ok(())
    }

    /// This replica has stopped, and comes back so; on disk on return.
    pub(crate) fn note_conflict(&self, conflict: &Conflict) -> Result<(), String> {
        store_conflict(&*self.disk, conflict).map_err(|error| error.to_string())
    }

    /// Takes a list that was agreed; true when it is newer than the one before. It is on disk on return.
    pub(crate) fn learn(&self, members: &Members) -> Result<bool, String> {
        let mut state = self.lock();
        if members.index <= state.members.index {
            return Ok(false);
        }
        let text = |error: bezant_storage::record::RecordError| error.to_string();
        store_members(&*self.disk, members).map_err(text)?;
        state.members = members.clone();
        let count = state.identity.known.len();
        state.identity.known.retain(|known| is_current(known, members));
        if state.identity.known.len() != count {
            state.identity.store(&*self.disk).map_err(text)?;
        }
        Ok(true)
    }

    /// Admits a peer with its disk, or says why not. A disk that was never seen is remembered first.
    pub(crate) fn admit(&self, claim: Claim) -> Result<(), String> {
        let mut state = self.lock();
        let Claim { node, disk, since } = claim;
        if let Some(reason) = removal(&state.identity, &state.members) {
            return Err(reason);
        }
        let Some(member) = state.members.get(node) else {
            return Err(format!(
                "node {node} is not a member of the cluster (any more): it joins on an empty folder; where an operator says \
                 who takes part, `bezant cluster add {node}=HOST:PORT` comes first"
            ));
        };
        let (member_since, agreed) = (member.since, member.disk);
        if since.is_some_and(|since| since != member_since) {
            return Err(format!(
                "node {node} was removed from the cluster, and added again: start it on an empty folder, to join (--join)"
            ));
        }
        let known = state.identity.known.iter().find(|known| known.node == node).map(|known| known.disk);
        let expected = if agreed == 0 { known } else { Some(agreed) };
        if expected.is_some_and(|expected| expected != disk) {
            return Err(format!(
                "node {node} comes with another disk than the one that is known: start it on the folder that it \
                 had; when that is lost, remove it, and let it join on an empty one (`bezant cluster replace {node}`, and in \
                 a program of yours Member::remove)"
            ));
        }
        if known != Some(disk) {
            let mut identity = state.identity.clone();
            identity.known.retain(|known| known.node != node);
            identity.known.push(KnownDisk { node, since: member_since, disk });
            identity.store(&*self.disk).map_err(|error| error.to_string())?;
            state.identity = identity;
        }
        Ok(())
    }

    /// True for the disk that was admitted as that node's: what came from another one is not believed.
    pub(crate) fn is_known(&self, node: NodeId, disk: u128) -> bool {
        let state = self.lock();
        let agreed = state.members.get(node).map_or(0, |member| member.disk);
        let is_known = state.identity.known.iter().any(|known| known.node == node && known.disk == disk);
        is_known && (agreed == 0 || agreed == disk)
    }
}

/// True for a disk of a node that is still the same member.
fn is_current(known: &KnownDisk, members: &Members) -> bool {
    members.get(known.node).is_some_and(|member| member.since == known.since)
}

/// Why the node of this folder takes no part among these members; `None` when it does.
pub(crate) fn removal(identity: &Identity, members: &Members) -> Option<String> {
    let Identity { node, since, disk, .. } = *identity;
    match members.get(node) {
        Some(member) if member.since != since => Some(format!(
            "node {node} was removed from the cluster and added again, with another folder: this one takes part in \
             nothing"
        )),
        Some(member) if ![0, disk].contains(&member.disk) => Some(format!(
            "the cluster knows node {node} with another disk: this folder takes part in nothing. If the other is lost, \
             remove it, and let it join on an empty folder (`bezant cluster replace {node}`, and in a program of yours \
             Member::remove)"
        )),
        Some(_) => None,
        None => Some(format!(
            "node {node} was removed from the cluster, and learns nothing new: to bring it back, let it join on an \
             empty folder (--join); where an operator says who takes part, `bezant cluster add {node}=HOST:PORT` comes first"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bezant_consensus::Change;
    use bezant_storage::MemoryDisk;
    use bezant_storage::record::load_members;

    fn identity() -> Identity {
        let (since, known) = (LogIndex(0), Vec::new());
        Identity { token: [1; 32], node: NodeId(1), disk: 9, since, is_admitted: false, engine: None, known }
    }

    fn directory(disk: &Arc<dyn Disk>) -> Directory {
        let first = Members::first((1..=3).map(|node| (NodeId(node), format!("host{node}:1"))));
        let members = load_members(&**disk).unwrap().unwrap_or(first);
        let identity = Identity::load(&**disk).unwrap().unwrap_or_else(identity);
        Directory::new(Arc::clone(disk), identity, members, [(NodeId(2), "here:2".to_owned())], true)
    }

    fn claim(node: u64, disk: u128, since: u64) -> Claim {
        Claim { node: NodeId(node), disk, since: Some(LogIndex(since)) }
    }

    #[test]
    fn a_peer_with_another_disk_is_another_peer() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        directory(&disk).admit(claim(2, 77, 0)).unwrap();
        let again = directory(&disk);
        again.admit(claim(2, 77, 0)).unwrap();
        assert!(again.is_known(NodeId(2), 77) && !again.is_known(NodeId(2), 78));
        assert!(again.admit(claim(2, 78, 0)).unwrap_err().contains("cluster replace 2"));
        assert!(again.admit(claim(4, 1, 0)).unwrap_err().contains("cluster add 4"));
    }

    #[test]
    fn a_node_that_was_removed_and_added_again_has_another_disk() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let one = directory(&disk);
        one.admit(claim(2, 77, 0)).unwrap();
        let steps = [
            Change::Remove(NodeId(2)),
            Change::Complete,
            Change::Add { node: NodeId(2), address: "new:2".to_owned() },
        ];
        let mut members = one.members();
        for (change, index) in steps.iter().zip(5..) {
            members = members.after(change, LogIndex(index));
            assert_eq!(one.learn(&members), Ok(true));
            assert_eq!(one.learn(&members), Ok(false), "no news");
        }
        let again = directory(&disk);
        assert_eq!(again.members(), members);
        assert!(!again.is_known(NodeId(2), 77));
        assert!(again.admit(claim(2, 77, 0)).unwrap_err().contains("--join"), "the old one is back");
        again.admit(Claim { since: None, ..claim(2, 78, 0) }).unwrap();
        again.admit(claim(2, 78, 7)).unwrap();
        assert_eq!(again.peers()[&NodeId(2)], (LogIndex(7), "new:2".to_owned()), "where it was added");
        let other: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        assert_eq!(directory(&other).peers()[&NodeId(2)].1, "here:2", "as it was given");
    }

    #[test]
    fn whoever_was_not_there_knows_from_the_list_which_disk_a_node_has() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let one = directory(&disk);
        assert_eq!(one.not_agreed(), Some((NodeId(1), 9)), "its own first");
        let meet = |node, disk| Change::Meet { node: NodeId(node), disk };
        let members = one.members().after(&meet(1, 9), LogIndex(3)).after(&meet(2, 77), LogIndex(4));
        assert_eq!(one.learn(&members), Ok(true));
        assert!(one.admit(claim(2, 78, 0)).unwrap_err().contains("another disk"), "though it was never met");
        one.admit(claim(2, 77, 0)).unwrap();
        assert_eq!(one.not_agreed(), None, "nobody has met the third");
        one.admit(claim(3, 5, 0)).unwrap();
        assert_eq!(one.not_agreed(), Some((NodeId(3), 5)));
        let taken =
            members.after(&Change::Remove(NodeId(1)), LogIndex(5)).after(&Change::Complete, LogIndex(6));
        assert_eq!(one.learn(&taken), Ok(true));
        assert!(one.removal().is_some() && one.peers().is_empty());
    }
}
