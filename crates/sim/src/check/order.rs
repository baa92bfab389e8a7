//! Linearizability: whatever is asked for after an answer sees what was answered.
//!
//! Every answer names the entry that it shows, and entries are in one order. So the history is linearizable
//! when the order of entries agrees with the order of time (here) and the answers with the entries (`replay`).

use bezant_replica::Consistency;
use bezant_types::LogIndex;

use crate::record::Record;

/// A moment at which somebody asked, or was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    /// Asked; an answer at the same moment came before it, for all that anybody can know, or after.
    Asked {
        number: usize,
    },
    Answered {
        index: LogIndex,
    },
}

/// Looks at all answers in the order of time.
pub(crate) fn nobody_reads_the_past(record: &Record) -> Result<(), String> {
    let writes = record.acknowledged.iter().map(|write| (write.since, write.at, write.index));
    let reads = record.seen.iter().filter(|read| read.consistency == Consistency::Linearizable);
    let shown = record.shown.iter().filter(|read| read.consistency == Consistency::Linearizable);
    let reads = reads.map(|read| (read.since, read.at, read.index));
    let shown = shown.map(|read| (read.since, read.at, read.index));
    let calls: Vec<_> = writes.chain(reads).chain(shown).collect();
    let mut moments: Vec<(u64, Moment)> = Vec::with_capacity(2 * calls.len());
    for (number, (since, at, index)) in calls.iter().enumerate() {
        moments.push((*since, Moment::Asked { number }));
        moments.push((*at, Moment::Answered { index: *index }));
    }
    moments.sort_unstable();
    let mut newest = LogIndex(0);
    for (time, moment) in moments {
        match moment {
            Moment::Answered { index } => newest = newest.max(index),
            Moment::Asked { number } if calls[number].2 < newest => {
                return Err(format!(
                    "what was asked for at {time} ns shows entry {}, and entry {newest} was answered before",
                    calls[number].2
                ));
            }
            Moment::Asked { .. } => {}
        }
    }
    let seen = record.seen.iter().map(|read| (read.consistency, read.index));
    for (consistency, shown) in seen.chain(record.shown.iter().map(|read| (read.consistency, read.index))) {
        if let Consistency::AtLeast(index) = consistency
            && shown < index
        {
            return Err(format!("a session that had seen entry {index} was shown entry {shown}"));
        }
    }
    Ok(())
}
