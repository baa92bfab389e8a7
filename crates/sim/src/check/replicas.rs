//! Determinism: at the same index all replicas have the same state, byte for byte, hash chains included.

use bezant_types::{LogIndex, NodeId};

/// Compares the states after the last entry with the reference.
pub(crate) fn states_are_equal(
    states: &[(NodeId, LogIndex, Vec<u8>)],
    reference: &(LogIndex, Vec<u8>),
) -> Result<(), String> {
    for (node, index, bytes) in states {
        if *index != reference.0 {
            return Err(format!("node {node} is at entry {index}, and the log ends with {}", reference.0));
        }
        if *bytes != reference.1 {
            let at = bytes.iter().zip(&reference.1).position(|(one, other)| one != other);
            return Err(format!("the state of node {node} after entry {index} differs at byte {at:?}"));
        }
    }
    Ok(())
}
