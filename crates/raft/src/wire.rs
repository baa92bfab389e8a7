//! Entries and messages, converted between [`bezant_consensus`] and raft-rs.
//!
//! The payload of a command is shared with the `data` of the raft-rs entry, not copied. An entry of the
//! engine itself is either a leader's first entry, which is empty, or a change of the members (see
//! `conf`), which is never empty.

use bezant_consensus::{Change, EntryKind, LogEntry};
use bezant_types::{LogIndex, Term};
use bytes::Bytes;
use protobuf::{CodedInputStream, Message as _};
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use crate::conf::change_of;

/// The entry of `bezant_consensus`.
pub(crate) fn log_entry(entry: &Entry) -> LogEntry {
    let is_command = entry.get_entry_type() == EntryType::EntryNormal && !entry.data.is_empty();
    let kind = if is_command { EntryKind::Command } else { EntryKind::Engine };
    LogEntry { index: LogIndex(entry.index), term: Term(entry.term), kind, payload: entry.data.clone() }
}

/// The entry of raft-rs; `None` when it is not one that [`log_entry`] makes.
pub(crate) fn raft_entry(entry: LogEntry) -> Option<Entry> {
    let (index, term) = (entry.index.0, entry.term.0);
    let mut found = Entry { index, term, data: entry.payload, ..Entry::default() };
    let is_empty = found.data.is_empty();
    match entry.kind {
        EntryKind::Command => (!is_empty).then_some(found),
        EntryKind::Engine if is_empty => Some(found),
        EntryKind::Engine => {
            found.set_entry_type(EntryType::EntryConfChangeV2);
            change_of(&found).is_some().then_some(found)
        }
    }
}

/// The change in an entry of the log.
pub(crate) fn change_in(entry: &LogEntry) -> Option<Change> {
    if entry.kind == EntryKind::Command || entry.payload.is_empty() {
        return None;
    }
    raft_entry(entry.clone()).and_then(|entry| change_of(&entry))
}

/// The bytes of a message. The buffer has spare capacity, so that bytes can be appended on the way to the
/// network without copying the message.
pub(crate) fn encode(message: &Message) -> Bytes {
    let size = usize::try_from(message.compute_size()).unwrap_or(0);
    let mut bytes = Vec::with_capacity(size + 16);
    message.write_to_vec(&mut bytes).expect("invariant: a message without required fields can be written");
    Bytes::from(bytes)
}

/// A message from its bytes; payloads share their memory. `None` when the bytes are not a valid message.
pub(crate) fn decode(bytes: &Bytes) -> Option<Message> {
    let mut input = CodedInputStream::from_carllerche_bytes(bytes);
    let mut message = Message::default();
    message.merge_from(&mut input).ok()?;
    input.check_eof().ok()?;
    let is_known = message
        .get_entries()
        .iter()
        .all(|entry| entry.get_entry_type() == EntryType::EntryNormal || change_of(entry).is_some());
    (is_known && is_in_order(&message)).then_some(message)
}

/// True unless an append has gaps, or terms that decrease or are later than its leader's: the log would assert
/// that.
fn is_in_order(message: &Message) -> bool {
    if message.get_msg_type() != MessageType::MsgAppend {
        return true;
    }
    let mut last = (message.index, message.log_term);
    message.get_entries().iter().all(|entry| {
        let follows = last.0.checked_add(1) == Some(entry.index) && last.1 <= entry.term;
        last = (entry.index, entry.term);
        follows && entry.term <= message.term
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_append_that_is_out_of_order_is_not_a_message() {
        let entry = |index, term| Entry { index, term, ..Entry::default() };
        for (entries, is_valid) in [
            (vec![entry(5, 2), entry(6, 3)], true),
            (vec![entry(5, 2), entry(7, 3)], false),
            (vec![entry(6, 2)], false),
            (vec![entry(5, 3), entry(6, 2)], false),
            (vec![entry(5, 1)], false),
            (vec![entry(5, 4)], false),
        ] {
            let mut message = Message { term: 3, index: 4, log_term: 2, ..Message::default() };
            message.set_msg_type(MessageType::MsgAppend);
            message.set_entries(entries.clone().into());
            assert_eq!(decode(&encode(&message)).is_some(), is_valid, "{entries:?}");
        }
    }
}
