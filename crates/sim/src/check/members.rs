//! Membership: at the end all members have the same list, and no change is half done.

use bezant_consensus::Members;
use bezant_types::NodeId;

/// `newest` is the newest membership of all nodes; `known` has the membership of each process.
pub(crate) fn members_are_equal<'a>(
    newest: &Members,
    known: impl Iterator<Item = (NodeId, &'a Members)>,
) -> Result<(), String> {
    if newest.is_changing() {
        return Err(format!("a change of members was never completed: {newest:?}"));
    }
    for (node, members) in known {
        if newest.get(node).is_some() && members != newest {
            return Err(format!("node {node} has the members {members:?}, but the newest are {newest:?}"));
        }
    }
    Ok(())
}
