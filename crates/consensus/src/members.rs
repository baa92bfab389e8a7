//! The membership of a group, and its changes while the group runs.
//!
//! A change is an entry of the log: every replica makes it when the entry is committed, at the same index. A
//! change of the voters has two steps (joint consensus, Ongaro's thesis, section 4.3). From the first entry
//! on, every election and every commit needs a majority of the old voters and a majority of the new voters.
//! The second entry ends that. Between the two entries no other change is made. So a majority
//! before a step and a majority after it always share a voter, and after a crash the group has the membership
//! before the step or the one after it.
//!
//! A peer may send a committed membership to a replica whose log does not have the change yet. The replica
//! may use it at once: the change is committed, so every later leader has it, too.

use alloc::string::String;
use alloc::vec::Vec;

use bezant_types::limits::{ADDRESS_SIZE_MAX, MEMBERS_MAX};
use bezant_types::{LogIndex, NodeId};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Role of a member in elections and commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// Receives all entries and has no vote.
    Learner = 1,
    /// Votes.
    Voter = 2,
    /// Votes as one of the new voters of a change in progress.
    Joining = 3,
    /// Votes as one of the old voters of a change in progress, and is removed when the change is complete.
    Leaving = 4,
}

impl Part {
    const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Learner),
            2 => Some(Self::Voter),
            3 => Some(Self::Joining),
            4 => Some(Self::Leaving),
            _ => None,
        }
    }
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Number of the node; not 0.
    pub node: NodeId,
    /// The entry that added the member; 0 for the first members of the group. A node that is removed and
    /// added again counts as another node, with another disk.
    pub since: LogIndex,
    /// Role of the member.
    pub part: Part,
    /// The random number of the member's disk; 0 until a committed change has set it. The member votes only
    /// with this disk.
    pub disk: u128,
    /// Address at which its peers reach it, `HOST:PORT`; at most 200 bytes.
    pub address: String,
}

/// The membership of a group.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Members {
    /// The entry of the last change; 0 for the first membership.
    pub index: LogIndex,
    /// Members in order of their node numbers; at most 16.
    pub nodes: Vec<Member>,
}

/// A change of the membership or of the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds a node as a learner.
    Add {
        /// Number of the node; not 0.
        node: NodeId,
        /// Address at which its peers reach it.
        address: String,
    },
    /// Sets the disk of a member whose disk is not set yet. From then on, only a node with this disk is that
    /// member.
    Meet {
        /// Number of the node.
        node: NodeId,
        /// Random number of its disk; not 0.
        disk: u128,
    },
    /// Makes a learner, whose disk is set, a voter.
    Promote(NodeId),
    /// Removes a node from the membership.
    Remove(NodeId),
    /// The second step of a change of voters. The engine makes it; it is never requested.
    Complete,
    /// Transfers the leadership to a node. It is not an entry of the log.
    Lead(NodeId),
}

/// Why a change is not made. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// This replica does not lead.
    NotLeading,
    /// Another change is in progress: try again when it is complete. Also the answer to `Complete` when no
    /// change is in progress.
    UnderWay,
    /// The node is not a member.
    Unknown,
    /// The node is a member already, or its disk is set already.
    Known,
    /// The node has a vote already.
    Votes,
    /// The node lacks this number of entries, or the leader has received no message from it: wait until it
    /// has caught up.
    Lagging(u64),
    /// Too few of the remaining voters are active to commit anything.
    TooFew,
    /// The node leads: transfer the leadership first.
    Leads,
    /// The node has no vote and cannot lead.
    NoVote,
    /// The group has 16 members.
    Full,
    /// The node number is 0, or the address is empty, too long, or the address of another member.
    Address,
    /// A node that runs alone has no membership.
    Alone,
    /// The disk of the node is not set yet: the node has not connected, or connected just now.
    NotMet,
    /// The node was removed and added again after the change was requested, so the request meant another
    /// node.
    Outdated,
}

impl ChangeError {
    const fn code(self) -> (u8, u64) {
        match self {
            Self::NotLeading => (1, 0),
            Self::UnderWay => (2, 0),
            Self::Unknown => (3, 0),
            Self::Known => (4, 0),
            Self::Votes => (5, 0),
            Self::Lagging(entries) => (6, entries),
            Self::TooFew => (7, 0),
            Self::Leads => (8, 0),
            Self::NoVote => (9, 0),
            Self::Full => (10, 0),
            Self::Address => (11, 0),
            Self::Alone => (12, 0),
            Self::NotMet => (13, 0),
            Self::Outdated => (14, 0),
        }
    }

    const fn from_code(code: u8, value: u64) -> Option<Self> {
        Some(match code {
            1 => Self::NotLeading,
            2 => Self::UnderWay,
            3 => Self::Unknown,
            4 => Self::Known,
            5 => Self::Votes,
            6 => Self::Lagging(value),
            7 => Self::TooFew,
            8 => Self::Leads,
            9 => Self::NoVote,
            10 => Self::Full,
            11 => Self::Address,
            12 => Self::Alone,
            13 => Self::NotMet,
            14 => Self::Outdated,
            _ => return None,
        })
    }
}

/// Bytes of the outcome of a change, for another node: code u8 (0 = made), value u64.
pub fn encode_outcome(outcome: Result<(), ChangeError>) -> Bytes {
    let (code, value) = outcome.err().map_or((0, 0), ChangeError::code);
    let mut bytes = BytesMut::with_capacity(9);
    bytes.put_u8(code);
    bytes.put_u64_le(value);
    bytes.freeze()
}

/// Decodes the bytes of [`encode_outcome`]; `None` when they are not valid.
pub fn decode_outcome(mut bytes: &[u8]) -> Option<Result<(), ChangeError>> {
    let (code, value) = (bytes.try_get_u8().ok()?, bytes.try_get_u64_le().ok()?);
    if bytes.has_remaining() {
        return None;
    }
    if code == 0 { Some(Ok(())) } else { ChangeError::from_code(code, value).map(Err) }
}

const ADD: u8 = 1;
const PROMOTE: u8 = 2;
const REMOVE: u8 = 3;
const COMPLETE: u8 = 4;
const LEAD: u8 = 5;
const MEET: u8 = 6;

impl Change {
    /// The node of a change that is void once that node was removed and added again; `None` for `Add`,
    /// `Complete` and `Lead`.
    pub const fn member(&self) -> Option<NodeId> {
        match self {
            Self::Meet { node, .. } | Self::Promote(node) | Self::Remove(node) => Some(*node),
            Self::Add { .. } | Self::Complete | Self::Lead(_) => None,
        }
    }

    /// Bytes: kind u8, node u64, disk u128, size of the address u16, address.
    ///
    /// # Panics
    /// When the address is longer than 65,535 bytes.
    pub fn encode(&self) -> Bytes {
        let (kind, node, disk, address) = match self {
            Self::Add { node, address } => (ADD, *node, 0, address.as_str()),
            Self::Meet { node, disk } => (MEET, *node, *disk, ""),
            Self::Promote(node) => (PROMOTE, *node, 0, ""),
            Self::Remove(node) => (REMOVE, *node, 0, ""),
            Self::Complete => (COMPLETE, NodeId(0), 0, ""),
            Self::Lead(node) => (LEAD, *node, 0, ""),
        };
        let mut bytes = BytesMut::with_capacity(32 + address.len());
        bytes.put_u8(kind);
        bytes.put_u64_le(node.0);
        bytes.put_u128_le(disk);
        put_text(&mut bytes, address);
        bytes.freeze()
    }

    /// Decodes bytes of this version; `None` when they are not valid.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let kind = bytes.try_get_u8().ok()?;
        let node = NodeId(bytes.try_get_u64_le().ok()?);
        let disk = bytes.try_get_u128_le().ok()?;
        let address = text(&mut bytes)?;
        if bytes.has_remaining() || (kind != ADD && !address.is_empty()) || (kind == MEET) != (disk != 0) {
            return None;
        }
        match kind {
            ADD => Some(Self::Add { node, address }),
            MEET => Some(Self::Meet { node, disk }),
            PROMOTE => Some(Self::Promote(node)),
            REMOVE => Some(Self::Remove(node)),
            COMPLETE if node.0 == 0 => Some(Self::Complete),
            LEAD => Some(Self::Lead(node)),
            _ => None,
        }
    }
}

impl Members {
    /// The first membership of a group, in which all nodes are voters.
    pub fn first(nodes: impl IntoIterator<Item = (NodeId, String)>) -> Self {
        let (since, part) = (LogIndex(0), Part::Voter);
        let member = |(node, address)| Member { node, since, part, disk: 0, address };
        let mut nodes: Vec<Member> = nodes.into_iter().map(member).collect();
        nodes.sort_by_key(|member| member.node);
        Self { index: LogIndex(0), nodes }
    }

    /// The member with that number, if there is one.
    pub fn get(&self, node: NodeId) -> Option<&Member> {
        self.nodes.iter().find(|member| member.node == node)
    }

    /// True between the two steps of a change of voters.
    pub fn is_changing(&self) -> bool {
        self.nodes.iter().any(|member| matches!(member.part, Part::Joining | Part::Leaving))
    }

    /// The voters. While a change is in progress: the voters after that change.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> {
        let voters = self.nodes.iter().filter(|member| matches!(member.part, Part::Voter | Part::Joining));
        voters.map(|member| member.node)
    }

    /// Whether a quorum of the members satisfies `has`: a majority of the voters, and while a change is in
    /// progress a majority of the old voters and one of the new voters.
    pub fn is_quorum(&self, has: impl Fn(NodeId) -> bool) -> bool {
        let is_majority = |parts: [Part; 2]| {
            let (mut all, mut having) = (0_usize, 0_usize);
            for member in self.nodes.iter().filter(|member| parts.contains(&member.part)) {
                all += 1;
                having += usize::from(has(member.node));
            }
            having * 2 > all
        };
        is_majority([Part::Voter, Part::Joining])
            && (!self.is_changing() || is_majority([Part::Voter, Part::Leaving]))
    }

    /// Checks whether the membership allows a change. Other conditions, such as lag or activity, are not
    /// checked.
    pub fn check(&self, change: &Change) -> Result<(), ChangeError> {
        if self.is_changing() != (*change == Change::Complete) && !matches!(change, Change::Lead(_)) {
            return Err(ChangeError::UnderWay);
        }
        let part = |node: &NodeId| self.get(*node).map(|member| member.part).ok_or(ChangeError::Unknown);
        match change {
            Change::Add { node, .. } if self.get(*node).is_some() => Err(ChangeError::Known),
            Change::Add { .. } if self.nodes.len() >= MEMBERS_MAX => Err(ChangeError::Full),
            Change::Add { node, address } => {
                let is_taken = self.nodes.iter().any(|member| member.address == *address);
                let is_wrong =
                    node.0 == 0 || address.is_empty() || address.len() > ADDRESS_SIZE_MAX || is_taken;
                if is_wrong { Err(ChangeError::Address) } else { Ok(()) }
            }
            Change::Meet { node, .. } => {
                let member = self.get(*node).ok_or(ChangeError::Unknown)?;
                if member.disk == 0 { Ok(()) } else { Err(ChangeError::Known) }
            }
            Change::Promote(node) if part(node)? == Part::Learner => {
                let is_met = self.get(*node).is_some_and(|member| member.disk != 0);
                if is_met { Ok(()) } else { Err(ChangeError::NotMet) }
            }
            Change::Promote(_) => Err(ChangeError::Votes),
            Change::Remove(node) if part(node)? == Part::Voter && self.voters().count() == 1 => {
                Err(ChangeError::TooFew)
            }
            Change::Remove(_) | Change::Complete => Ok(()),
            Change::Lead(node) if matches!(part(node)?, Part::Voter | Part::Joining) => Ok(()),
            Change::Lead(_) => Err(ChangeError::NoVote),
        }
    }

    /// The membership after a change by the entry at `index`; the members do not change when
    /// [`check`](Self::check) refuses the change.
    #[must_use]
    pub fn after(&self, change: &Change, index: LogIndex) -> Self {
        let mut nodes = self.nodes.clone();
        if self.check(change).is_ok() {
            match change {
                Change::Add { node, address } => {
                    let (node, address) = (*node, address.clone());
                    nodes.push(Member { node, since: index, part: Part::Learner, disk: 0, address });
                    nodes.sort_by_key(|member| member.node);
                }
                Change::Meet { node, disk } => {
                    let met = nodes.iter_mut().filter(|member| member.node == *node);
                    met.for_each(|member| member.disk = *disk);
                }
                Change::Promote(node) => {
                    nodes
                        .iter_mut()
                        .filter(|member| member.node == *node)
                        .for_each(|member| member.part = Part::Joining);
                }
                Change::Remove(node) => {
                    nodes.retain(|member| member.node != *node || member.part != Part::Learner);
                    nodes
                        .iter_mut()
                        .filter(|member| member.node == *node)
                        .for_each(|member| member.part = Part::Leaving);
                }
                Change::Complete => {
                    nodes.retain(|member| member.part != Part::Leaving);
                    nodes
                        .iter_mut()
                        .filter(|member| member.part == Part::Joining)
                        .for_each(|member| member.part = Part::Voter);
                }
                Change::Lead(_) => {}
            }
        }
        Self { index, nodes }
    }

    /// The membership after those changes of a log that are certainly committed: all but the last, since a
    /// change is proposed only after the one before it was committed. They count even if the disk does not
    /// record their commit: a replica whose membership is two changes old could elect a leader without the
    /// newest voters.
    #[must_use]
    pub fn catch_up(&self, changes: impl Iterator<Item = (LogIndex, Change)>) -> Self {
        let changes: Vec<_> = changes.filter(|(index, _)| *index > self.index).collect();
        let committed = changes.iter().take(changes.len().saturating_sub(1));
        committed.fold(self.clone(), |members, (index, change)| {
            if members.check(change).is_ok() { members.after(change, *index) } else { members }
        })
    }

    /// Returns an error unless a majority of the voters other than `leaving` is active. Without an active
    /// majority the group could commit nothing after the removal, not even a change that undoes it.
    pub fn check_enough_stay(
        &self,
        leaving: NodeId,
        is_active: impl Fn(NodeId) -> bool,
    ) -> Result<(), ChangeError> {
        let staying = self.voters().filter(|voter| *voter != leaving);
        let (active, inactive): (Vec<_>, Vec<_>) = staying.partition(|voter| is_active(*voter));
        if active.len() > inactive.len() { Ok(()) } else { Err(ChangeError::TooFew) }
    }

    /// Bytes: index u64, count u16, then for each member node u64, since u64, part u8, disk u128, size of the
    /// address u16, address.
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(16 + 64 * self.nodes.len());
        bytes.put_u64_le(self.index.0);
        bytes.put_u16_le(u16::try_from(self.nodes.len()).unwrap_or(u16::MAX));
        for member in &self.nodes {
            bytes.put_u64_le(member.node.0);
            bytes.put_u64_le(member.since.0);
            bytes.put_u8(member.part as u8);
            bytes.put_u128_le(member.disk);
            put_text(&mut bytes, &member.address);
        }
        bytes.freeze()
    }

    /// Decodes the bytes of [`encode`](Self::encode) from the front; `None` when they are not valid, or
    /// violate the order or a limit.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let index = LogIndex(bytes.try_get_u64_le().ok()?);
        let count = usize::from(bytes.try_get_u16_le().ok()?);
        if count > MEMBERS_MAX {
            return None;
        }
        let mut nodes: Vec<Member> = Vec::with_capacity(count);
        for _ in 0..count {
            let node = NodeId(bytes.try_get_u64_le().ok()?);
            let since = LogIndex(bytes.try_get_u64_le().ok()?);
            let part = Part::from_u8(bytes.try_get_u8().ok()?)?;
            let disk = bytes.try_get_u128_le().ok()?;
            let address = text(bytes)?;
            let is_in_order = nodes.last().map_or(NodeId(0), |last| last.node) < node;
            if !is_in_order || since > index || address.len() > ADDRESS_SIZE_MAX {
                return None;
            }
            nodes.push(Member { node, since, part, disk, address });
        }
        Some(Self { index, nodes })
    }
}

fn put_text(bytes: &mut BytesMut, text: &str) {
    let size = u16::try_from(text.len()).expect("invariant: an address is short");
    bytes.put_u16_le(size);
    bytes.put_slice(text.as_bytes());
}

fn text(bytes: &mut &[u8]) -> Option<String> {
    let size = usize::from(bytes.try_get_u16_le().ok()?);
    let (text, rest) = bytes.split_at_checked(size)?;
    *bytes = rest;
    core::str::from_utf8(text).ok().map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn three() -> Members {
        Members::first((1..=3).map(|node| (NodeId(node), format!("host{node}:7"))))
    }

    fn add(node: u64) -> Change {
        Change::Add { node: NodeId(node), address: format!("host{node}:7") }
    }

    fn meet(node: u64) -> Change {
        Change::Meet { node: NodeId(node), disk: 77 }
    }

    fn parts(members: &Members) -> Vec<(u64, Part)> {
        members.nodes.iter().map(|member| (member.node.0, member.part)).collect()
    }

    #[test]
    fn a_change_needs_a_majority_of_old_and_of_new_voters() {
        let count = |members: &Members, nodes: &[u64]| members.is_quorum(|node| nodes.contains(&node.0));
        assert!(count(&three(), &[1, 3]) && !count(&three(), &[2]));
        let four = three().after(&add(4), LogIndex(1));
        assert!(count(&four, &[1, 2]) && !count(&four, &[1, 4]), "a learner does not count");
        let joint = four.after(&meet(4), LogIndex(2)).after(&Change::Promote(NodeId(4)), LogIndex(3));
        assert!(!count(&joint, &[1, 2]), "a majority of the old voters, but not of the new voters");
        assert!(count(&joint, &[1, 2, 4]));
        let voters = joint.after(&Change::Complete, LogIndex(4));
        let joint = voters.after(&Change::Remove(NodeId(4)), LogIndex(5));
        assert!(!count(&joint, &[1, 2]), "a majority of the new voters, but not of the old voters");
        assert!(count(&joint, &[1, 2, 4]));
        let five = Members::first((1..=5).map(|node| (NodeId(node), format!("host{node}:7"))));
        assert!(count(&five, &[1, 3, 5]) && !count(&five, &[1, 3]));
    }

    #[test]
    fn a_node_becomes_learner_then_voter_and_is_removed() {
        let members = three().after(&add(4), LogIndex(10));
        assert_eq!(members.get(NodeId(4)).map(|it| (it.part, it.since)), Some((Part::Learner, LogIndex(10))));
        assert_eq!(members.check(&Change::Promote(NodeId(4))), Err(ChangeError::NotMet));
        let members = members.after(&meet(4), LogIndex(10));
        assert_eq!(members.check(&meet(4)), Err(ChangeError::Known), "the disk of a member never changes");
        let members = members.after(&Change::Promote(NodeId(4)), LogIndex(11));
        assert!(members.is_changing());
        assert_eq!(members.check(&add(5)), Err(ChangeError::UnderWay));
        let members = members.after(&Change::Complete, LogIndex(12));
        assert_eq!(members.voters().count(), 4);
        let members = members.after(&Change::Remove(NodeId(1)), LogIndex(13));
        assert_eq!(parts(&members)[0], (1, Part::Leaving));
        let members = members.after(&Change::Complete, LogIndex(14));
        assert_eq!(parts(&members), [(2, Part::Voter), (3, Part::Voter), (4, Part::Voter)]);
        assert_eq!(members.index, LogIndex(14));
    }

    #[test]
    fn invalid_changes_are_refused() {
        let one = Members::first([(NodeId(1), String::from("a:1"))]);
        let long = "a".repeat(ADDRESS_SIZE_MAX + 1);
        let cases = [
            (three(), add(3), ChangeError::Known),
            (three(), Change::Add { node: NodeId(0), address: String::from("x:1") }, ChangeError::Address),
            (
                three(),
                Change::Add { node: NodeId(9), address: String::from("host1:7") },
                ChangeError::Address,
            ),
            (three(), Change::Add { node: NodeId(9), address: long }, ChangeError::Address),
            (three(), Change::Promote(NodeId(1)), ChangeError::Votes),
            (three(), Change::Promote(NodeId(9)), ChangeError::Unknown),
            (three(), Change::Remove(NodeId(9)), ChangeError::Unknown),
            (three(), Change::Complete, ChangeError::UnderWay),
            (three(), Change::Lead(NodeId(9)), ChangeError::Unknown),
            (three().after(&add(4), LogIndex(1)), Change::Lead(NodeId(4)), ChangeError::NoVote),
            (one, Change::Remove(NodeId(1)), ChangeError::TooFew),
        ];
        for (members, change, error) in cases {
            assert_eq!(members.check(&change), Err(error), "{change:?}");
            assert_eq!(members.after(&change, members.index), members, "{change:?}");
        }
    }

    #[test]
    fn members_changes_and_outcomes_survive_encoding() {
        let members = three().after(&add(4), LogIndex(10)).after(&meet(4), LogIndex(11));
        let bytes = members.encode();
        assert_eq!(Members::decode(&mut &bytes[..]), Some(members));
        for size in 0..bytes.len() {
            assert_eq!(Members::decode(&mut &bytes[..size]), None, "cut at {size}");
        }
        let changes = [
            add(7),
            meet(7),
            Change::Promote(NodeId(7)),
            Change::Remove(NodeId(7)),
            Change::Complete,
            Change::Lead(NodeId(7)),
        ];
        for change in changes {
            let bytes = change.encode();
            assert_eq!(Change::decode(&bytes), Some(change));
            assert_eq!(Change::decode(&bytes[..bytes.len() - 1]), None);
        }
        for code in 1..=14 {
            let outcome = Err(ChangeError::from_code(code, 0).unwrap());
            assert_eq!(decode_outcome(&encode_outcome(outcome)), Some(outcome));
        }
        assert_eq!(decode_outcome(&encode_outcome(Ok(()))), Some(Ok(())));
        assert_eq!(decode_outcome(&[99; 9]), None);
    }
}
