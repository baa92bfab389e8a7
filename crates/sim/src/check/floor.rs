//! Floor: what a disk says to be committed is in the log of those who go on, or its node has stopped and said so.
//!
//! For runs in which disks go back in time. What was acknowledged may be gone then, but not in silence.

use std::collections::BTreeMap;

use bezant_consensus::LogEntry;
use bezant_types::LogIndex;

use crate::host::Host;

/// Looks at the hosts that go on, when everybody has had time to catch up. The log of those who go on: what they have applied.
pub(crate) fn nothing_is_given_up_in_silence(
    hosts: &[&Host],
) -> Result<BTreeMap<LogIndex, LogEntry>, String> {
    let mut log: BTreeMap<LogIndex, LogEntry> = BTreeMap::new();
    for host in hosts {
        // What its process has not applied again may have given way to others.
        let applied = host.node().map_or(LogIndex(0), bezant_replica::Replica::applied);
        for (index, entry) in host.known.applied.range(..=applied) {
            let known = log.entry(*index).or_insert_with(|| entry.clone());
            if known != entry {
                return Err(format!("entry {index} is another one at node {}, and nobody stopped", host.id));
            }
        }
    }
    for host in hosts {
        let is_other =
            |index: &LogIndex, entry: &LogEntry| log.get(index).is_some_and(|known| known != entry);
        if let Some((index, _)) = host.known.committed.iter().find(|(index, entry)| is_other(index, entry)) {
            return Err(format!(
                "entry {index}, which node {} knew to be committed, was given up in silence",
                host.id
            ));
        }
    }
    Ok(log)
}
