//! Linearizability: a request that is sent after an answer includes the entry of that answer.
//!
//! Every answer names the last entry that it includes, and the entries are totally ordered. So a run is
//! linearizable if two things hold. The order of the entries agrees with the order of time (checked here),
//! and each answer shows exactly the state after its entry (checked in `replay`).

use bezant_replica::Consistency;
use bezant_types::LogIndex;

use crate::record::Record;

/// A moment at which a client sent a request, or received an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    /// A request. It sorts before an answer at the same moment, because that answer need not have come first.
    Asked {
        number: usize,
    },
    Answered {
        index: LogIndex,
    },
}

/// Checks all answers in the order of time.
pub(crate) fn no_read_shows_the_past(record: &Record) -> Result<(), String> {
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
                    "a request at {time} ns got entry {}, and entry {newest} was answered before",
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
            return Err(format!("a session that had seen entry {index} got entry {shown}"));
        }
    }
    Ok(())
}
