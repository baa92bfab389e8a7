//! At the end all who take part agree on who does, and no change is left half made.

use bezant_consensus::Members;
use bezant_types::NodeId;

/// `newest` is the newest list that anybody knows; `known` is what each process knows.
pub(crate) fn members_are_equal<'a>(
    newest: &Members,
    known: impl Iterator<Item = (NodeId, &'a Members)>,
) -> Result<(), String> {
    if newest.is_changing() {
        return Err(format!("a change of members was never completed: {newest:?}"));
    }
    for (node, members) in known {
        if newest.get(node).is_some() && members != newest {
            return Err(format!("node {node} takes {members:?} for the members, and they are {newest:?}"));
        }
    }
    Ok(())
}
