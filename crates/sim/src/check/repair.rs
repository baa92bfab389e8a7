//! Repair: a replica whose disk was damaged has caught up, and votes again.

use crate::machine::Slot;

/// Checks the replicas of all voters, after they had time to catch up.
pub(crate) fn every_replica_may_vote<'a>(mut voters: impl Iterator<Item = &'a Slot>) -> Result<(), String> {
    match voters.find(|slot| slot.runs() && !slot.is_whole()) {
        Some(slot) => Err(format!("node {} may not vote, although the faults have ended", slot.node)),
        None => Ok(()),
    }
}
