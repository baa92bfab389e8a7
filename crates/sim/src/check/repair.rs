//! Repair: a replica whose disk was damaged comes back whole, and takes part in elections again.

use crate::host::Host;

/// Looks at the hosts of all voters when everybody has had time to catch up.
pub(crate) fn every_replica_may_vote<'a>(mut voters: impl Iterator<Item = &'a Host>) -> Result<(), String> {
    match voters.find(|host| host.is_up() && !host.is_whole()) {
        Some(host) => Err(format!("node {} may not vote though the faults have ended", host.id)),
        None => Ok(()),
    }
}
