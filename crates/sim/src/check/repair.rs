//! Repair: a replica whose disk was damaged has caught up, and votes again.

use crate::host::Host;

/// Checks the hosts of all voters, after they had time to catch up.
pub(crate) fn every_replica_may_vote<'a>(mut voters: impl Iterator<Item = &'a Host>) -> Result<(), String> {
    match voters.find(|host| host.is_up() && !host.is_whole()) {
        Some(host) => Err(format!("node {} may not vote, although the faults have ended", host.id)),
        None => Ok(()),
    }
}
