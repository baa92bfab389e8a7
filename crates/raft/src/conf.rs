//! Members and their changes, converted between [`bezant_consensus`] and raft-rs.
//!
//! The payload of the entry of a change is a configuration change of raft-rs, whose context field contains
//! the [`Change`] of `bezant_consensus`. raft-rs reads its own fields; all other code reads the context.

use bezant_consensus::{Change, Members, Part};
use bezant_types::NodeId;
use protobuf::Message as _;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType,
};

/// These members as a raft-rs configuration.
pub(crate) fn conf_state(members: &Members) -> ConfState {
    let of = |parts: &[Part]| {
        let those = members.nodes.iter().filter(|member| parts.contains(&member.part));
        those.map(|member| member.node.0).collect::<Vec<_>>()
    };
    let mut state = ConfState::from((of(&[Part::Voter, Part::Joining]), of(&[Part::Learner])));
    if members.is_changing() {
        state.set_voters_outgoing(of(&[Part::Voter, Part::Leaving]));
    }
    state
}

/// A change of these members as a raft-rs configuration change.
pub(crate) fn conf_change(members: &Members, change: &Change) -> ConfChangeV2 {
    let mut conf_change = ConfChangeV2::default();
    conf_change.set_context(change.encode());
    let (kind, node) = match change {
        Change::Add { node, .. } => (ConfChangeType::AddLearnerNode, *node),
        Change::Promote(node) => (ConfChangeType::AddNode, *node),
        // The part of the member does not change: raft-rs has no notion of disks.
        Change::Meet { node, .. } => {
            let is_learner = members.get(*node).is_some_and(|member| member.part == Part::Learner);
            let kind = if is_learner { ConfChangeType::AddLearnerNode } else { ConfChangeType::AddNode };
            (kind, *node)
        }
        Change::Remove(node) => (ConfChangeType::RemoveNode, *node),
        Change::Complete | Change::Lead(_) => return conf_change,
    };
    let is_voter = members.get(node).is_some_and(|member| member.part == Part::Voter);
    let removes_voter = is_voter && matches!(change, Change::Remove(_));
    if removes_voter || matches!(change, Change::Promote(_)) {
        conf_change.set_transition(ConfChangeTransition::Explicit);
    }
    let mut single = ConfChangeSingle { node_id: node.0, ..ConfChangeSingle::default() };
    single.set_change_type(kind);
    conf_change.mut_changes().push(single);
    conf_change
}

/// The change in an entry; `None` when this engine never proposes such an entry. The fields of raft-rs and
/// the context must describe the same change, because raft-rs reads the former and all other code the latter.
pub(crate) fn change_of(entry: &Entry) -> Option<Change> {
    if entry.get_entry_type() != EntryType::EntryConfChangeV2 {
        return None;
    }
    let mut conf_change = ConfChangeV2::default();
    conf_change.merge_from_bytes(&entry.data).ok()?;
    let change = Change::decode(conf_change.get_context())?;
    let single = match conf_change.get_changes() {
        [] => None,
        [single] => Some((single.get_change_type(), NodeId(single.node_id))),
        _ => return None,
    };
    let fits = match (&change, single) {
        (Change::Complete, None) => true,
        (Change::Add { node, .. }, Some((ConfChangeType::AddLearnerNode, other)))
        | (Change::Promote(node), Some((ConfChangeType::AddNode, other)))
        | (Change::Remove(node), Some((ConfChangeType::RemoveNode, other))) => *node == other,
        (Change::Meet { node, .. }, Some((kind, other))) => {
            kind != ConfChangeType::RemoveNode && *node == other
        }
        _ => false,
    };
    fits.then_some(change)
}
