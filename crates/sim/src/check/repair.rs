//! Repair: a replica whose disk was damaged comes back whole, and takes part in elections again.

use std::collections::BTreeMap;

use bezant_types::NodeId;

use crate::host::Host;

/// Looks at all hosts when everybody has had time to catch up.
pub(crate) fn every_replica_may_vote(hosts: &BTreeMap<NodeId, Host>) -> Result<(), String> {
    match hosts.values().find(|host| host.is_up() && host.is_damaged()) {
        Some(host) => Err(format!("node {} may not vote though the faults have ended", host.id)),
        None => Ok(()),
    }
}
