//! Floor: an entry that a disk records as committed is in the log of the replicas that continue, or the
//! replica of that disk has stopped and reported the loss.
//!
//! This is for runs in which old copies replace disks. Acknowledged entries may be lost then, but the loss
//! must be reported.

use std::collections::BTreeMap;

use bezant_consensus::LogEntry;
use bezant_types::LogIndex;

use crate::machine::Slot;

/// Checks the replicas that did not stop, after they had time to catch up. Returns the entries that they have
/// applied.
pub(crate) fn no_loss_is_unreported(slots: &[&Slot]) -> Result<BTreeMap<LogIndex, LogEntry>, String> {
    let mut log: BTreeMap<LogIndex, LogEntry> = BTreeMap::new();
    for slot in slots {
        // Entries after `applied` may have been replaced since an earlier process applied them.
        let applied = slot.replica().map_or(LogIndex(0), bezant_replica::Replica::applied);
        for (index, entry) in slot.known.applied.range(..=applied) {
            let known = log.entry(*index).or_insert_with(|| entry.clone());
            if known != entry {
                return Err(format!(
                    "entry {index} is another one at node {}, and no node stopped",
                    slot.node
                ));
            }
        }
    }
    for slot in slots {
        let is_other =
            |index: &LogIndex, entry: &LogEntry| log.get(index).is_some_and(|known| known != entry);
        if let Some((index, _)) = slot.known.committed.iter().find(|(index, entry)| is_other(index, entry)) {
            return Err(format!(
                "entry {index}, which node {} knew to be committed, was given up without a report",
                slot.node
            ));
        }
    }
    Ok(log)
}
