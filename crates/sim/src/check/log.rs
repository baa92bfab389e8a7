//! Agreement: all replicas that apply an entry at an index apply the same entry.

use bezant_consensus::LogEntry;
use bezant_types::NodeId;

use crate::record::Record;

/// Compares an entry that `node` applied with the entry that another replica applied at its index.
pub(crate) fn one_entry_an_index(record: &mut Record, node: NodeId, entry: LogEntry) -> Result<(), String> {
    match record.log.get(&entry.index) {
        Some(known) if *known == entry => Ok(()),
        Some(known) => Err(format!(
            "node {node} applied another entry at index {}: one of term {}, while other nodes have one of term {}",
            entry.index, entry.term, known.term
        )),
        None => {
            record.log.insert(entry.index, entry);
            Ok(())
        }
    }
}
