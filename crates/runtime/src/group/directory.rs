//! The membership and the disks of the members, as far as this node has learned them. They are kept on this
//! node's disk. Of two lists the newer one counts.
//!
//! The list comes from the log, with a checkpoint of another node, or from a peer that has a newer one. A
//! list that was committed is valid from whatever source it comes (see `bezant_consensus::Members`). A node
//! is identified by its disk. A node whose disk was lost has also lost its votes and acknowledgements, so it
//! is refused until it was removed and added again. A committed `Change::Meet` puts a member's disk in the
//! list. Until then, each node remembers the first disk with which the peer connected.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bezant_consensus::{Conflict, EngineKind, Member, Members};
use bezant_storage::disk::Disk;
use bezant_storage::record::{Identity, KnownDisk, store_conflict, store_members};
use bezant_types::{LogIndex, NodeId};

use crate::refusal::{AdmitError, Removal};

/// The list of members and their disks; see the module.
#[derive(Debug)]
pub(crate) struct Directory {
    disk: Arc<dyn Disk>,
    state: Mutex<State>,
    /// Addresses that an operator gave this node; they override those of the list.
    addresses: BTreeMap<NodeId, String>,
    /// True while this disk has neither voted nor held an entry.
    is_fresh: AtomicBool,
}

#[derive(Debug)]
struct State {
    identity: Identity,
    members: Members,
}

/// The identity that a peer claims in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) node: NodeId,
    pub(crate) disk: u128,
    /// The entry that added it, as stored in its folder when it joined; `None` for a node that wants to join
    /// and has no such entry yet. Never an index from a list that it received later: that could belong to
    /// another node with its number.
    pub(crate) since: Option<LogIndex>,
}

impl Directory {
    /// A directory from what the disk holds.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        identity: Identity,
        members: Members,
        addresses: impl IntoIterator<Item = (NodeId, String)>,
        is_fresh: bool,
    ) -> Self {
        let mut identity = identity;
        // A crash may have come between writing the list and writing the identity.
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

    /// The digest of the cluster's token.
    pub(crate) fn token(&self) -> [u8; 32] {
        self.lock().identity.token
    }

    /// This node's disk.
    pub(crate) fn disk_id(&self) -> u128 {
        self.lock().identity.disk
    }

    /// The entry that added this node, as stored in its folder when it joined.
    pub(crate) fn since(&self) -> LogIndex {
        self.lock().identity.since
    }

    /// Why this folder's node is no longer a member: it was removed, or another disk has its number. `None`
    /// while it is one.
    pub(crate) fn removal(&self) -> Option<Removal> {
        let state = self.lock();
        removal(&state.identity, &state.members)
    }

    /// A member whose disk is not committed yet, and the disk with which this node knows it.
    pub(crate) fn uncommitted_disk(&self) -> Option<(NodeId, u128)> {
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

    /// The newest list of members that this node has.
    pub(crate) fn members(&self) -> Members {
        self.lock().members.clone()
    }

    /// The other nodes: the entries that added them, and their addresses. Empty once this node is removed.
    pub(crate) fn peers(&self) -> BTreeMap<NodeId, (LogIndex, String)> {
        let state = self.lock();
        if removal(&state.identity, &state.members).is_some() {
            return BTreeMap::new();
        }
        let others = state.members.nodes.iter().filter(|member| member.node != state.identity.node);
        others.map(|member| (member.node, (member.since, self.address(member)))).collect()
    }

    /// The address of a node. The operator's address counts for the first nodes of the cluster.
    pub(crate) fn address(&self, member: &Member) -> String {
        let given = self.addresses.get(&member.node).filter(|_| member.since == LogIndex(0));
        given.unwrap_or(&member.address).clone()
    }

    /// True while this disk has neither voted nor held an entry.
    pub(crate) fn is_fresh(&self) -> bool {
        self.is_fresh.load(Ordering::Acquire)
    }

    /// Notes that this disk has voted or holds an entry.
    pub(crate) fn set_used(&self) {
        self.is_fresh.store(false, Ordering::Release);
    }

    /// The engine of the cluster.
    pub(crate) fn engine(&self) -> EngineKind {
        self.lock().identity.engine.unwrap_or_default()
    }

    /// True when it is recorded that this disk may vote.
    pub(crate) fn is_admitted(&self) -> bool {
        self.lock().identity.is_admitted
    }

    /// Records that this disk may vote; on disk before it votes.
    pub(crate) fn set_admitted(&self) -> Result<(), String> {
        let mut state = self.lock();
        if !state.identity.is_admitted {
            let identity = Identity { is_admitted: true, ..state.identity.clone() };
            identity.store(&*self.disk).map_err(|error| error.to_string())?;
            state.identity = identity;
        }
        Ok(())
    }

    /// Records that this replica has stopped and stays stopped after a restart; on disk on return.
    pub(crate) fn note_conflict(&self, conflict: &Conflict) -> Result<(), String> {
        store_conflict(&*self.disk, conflict).map_err(|error| error.to_string())
    }

    /// Adopts a committed list; true when it is newer than the present one. It is on disk on return.
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

    /// Admits a peer with its disk, or returns why not. A disk that is new to this node is recorded first.
    pub(crate) fn admit(&self, claim: Claim) -> Result<(), AdmitError> {
        let mut state = self.lock();
        let Claim { node, disk, since } = claim;
        if let Some(removal) = removal(&state.identity, &state.members) {
            return Err(removal.into());
        }
        let member = state.members.get(node).ok_or(AdmitError::NotMember { node })?;
        let (member_since, committed_disk) = (member.since, member.disk);
        if since.is_some_and(|since| since != member_since) {
            return Err(AdmitError::AddedAgain { node });
        }
        let known = state.identity.known.iter().find(|known| known.node == node).map(|known| known.disk);
        let expected = if committed_disk == 0 { known } else { Some(committed_disk) };
        if expected.is_some_and(|expected| expected != disk) {
            return Err(AdmitError::OtherDisk { node });
        }
        if known != Some(disk) {
            let mut identity = state.identity.clone();
            identity.known.retain(|known| known.node != node);
            identity.known.push(KnownDisk { node, since: member_since, disk });
            identity.store(&*self.disk).map_err(|error| AdmitError::Record(error.to_string()))?;
            state.identity = identity;
        }
        Ok(())
    }

    /// True for the disk that was admitted as that node's; messages from another disk are dropped.
    pub(crate) fn is_known(&self, node: NodeId, disk: u128) -> bool {
        let state = self.lock();
        let committed_disk = state.members.get(node).map_or(0, |member| member.disk);
        let is_known = state.identity.known.iter().any(|known| known.node == node && known.disk == disk);
        is_known && (committed_disk == 0 || committed_disk == disk)
    }
}

/// True for a disk of a node that is still the same member.
fn is_current(known: &KnownDisk, members: &Members) -> bool {
    members.get(known.node).is_some_and(|member| member.since == known.since)
}

/// Why the node of this folder is not one of these members; `None` when it is.
pub(crate) fn removal(identity: &Identity, members: &Members) -> Option<Removal> {
    let Identity { node, since, disk, .. } = *identity;
    match members.get(node) {
        Some(member) if member.since != since => Some(Removal::AddedAgain { node }),
        Some(member) if ![0, disk].contains(&member.disk) => Some(Removal::OtherDisk { node }),
        Some(_) => None,
        None => Some(Removal::Removed { node }),
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
        assert_eq!(again.admit(claim(2, 78, 0)), Err(AdmitError::OtherDisk { node: NodeId(2) }));
        assert_eq!(again.admit(claim(4, 1, 0)), Err(AdmitError::NotMember { node: NodeId(4) }));
    }

    #[test]
    fn a_node_added_again_has_another_disk() {
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
            assert_eq!(one.learn(&members), Ok(false), "it is not newer");
        }
        let again = directory(&disk);
        assert_eq!(again.members(), members);
        assert!(!again.is_known(NodeId(2), 77));
        let refused = Err(AdmitError::AddedAgain { node: NodeId(2) });
        assert_eq!(again.admit(claim(2, 77, 0)), refused, "the old one is back");
        again.admit(Claim { since: None, ..claim(2, 78, 0) }).unwrap();
        again.admit(claim(2, 78, 7)).unwrap();
        assert_eq!(
            again.peers()[&NodeId(2)],
            (LogIndex(7), "new:2".to_owned()),
            "the address with which it was added"
        );
        let other: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        assert_eq!(directory(&other).peers()[&NodeId(2)].1, "here:2", "the address that the operator gave");
    }

    #[test]
    fn a_node_learns_disks_of_others_from_the_list() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let one = directory(&disk);
        assert_eq!(one.uncommitted_disk(), Some((NodeId(1), 9)), "its own first");
        let meet = |node, disk| Change::Meet { node: NodeId(node), disk };
        let members = one.members().after(&meet(1, 9), LogIndex(3)).after(&meet(2, 77), LogIndex(4));
        assert_eq!(one.learn(&members), Ok(true));
        let refused = Err(AdmitError::OtherDisk { node: NodeId(2) });
        assert_eq!(one.admit(claim(2, 78, 0)), refused, "though it was never met");
        one.admit(claim(2, 77, 0)).unwrap();
        assert_eq!(one.uncommitted_disk(), None, "the third was not met yet");
        one.admit(claim(3, 5, 0)).unwrap();
        assert_eq!(one.uncommitted_disk(), Some((NodeId(3), 5)));
        let taken =
            members.after(&Change::Remove(NodeId(1)), LogIndex(5)).after(&Change::Complete, LogIndex(6));
        assert_eq!(one.learn(&taken), Ok(true));
        assert!(one.removal().is_some() && one.peers().is_empty());
    }
}
