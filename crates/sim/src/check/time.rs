//! Time: cluster time never goes back, not even at elections and clock jumps, and no two events have the same
//! timestamp.

use bezant_consensus::EntryKind;
use bezant_rsm::Entry;
use bezant_types::Nanos;

use crate::record::Record;

/// Checks the whole log.
pub(crate) fn time_only_grows(record: &Record) -> Result<(), String> {
    let mut last = Nanos(0);
    for entry in record.log.values().filter(|entry| entry.kind == EntryKind::Command) {
        let Ok(decoded) = Entry::decode(&entry.payload) else {
            return Err(format!("entry {} cannot be read", entry.index));
        };
        let first = decoded.time.0.checked_sub(decoded.events());
        if first.is_none_or(|first| first < last.0) {
            return Err(format!("time went back at entry {}: {} after {}", entry.index, decoded.time, last));
        }
        last = decoded.time;
    }
    Ok(())
}
