//! Entries and messages, between the seam's words and the crate's.
//!
//! A command's payload is the crate's `data`, shared and not copied. The engine's own entry is a leader's first,
//! which is empty, or a change of the members (see `members`), which is not.

use bezant_consensus::{EntryKind, LogEntry};
use bezant_types::{LogIndex, Term};
use bytes::Bytes;
use protobuf::{CodedInputStream, Message as _};
use raft::eraftpb::{Entry, EntryType, Message};

use crate::members::change_of;

/// The seam's entry.
pub(crate) fn log_entry(entry: &Entry) -> LogEntry {
    let is_command = entry.get_entry_type() == EntryType::EntryNormal && !entry.data.is_empty();
    let kind = if is_command { EntryKind::Command } else { EntryKind::Engine };
    LogEntry { index: LogIndex(entry.index), term: Term(entry.term), kind, payload: entry.data.clone() }
}

/// The crate's entry; `None` when it is none that [`log_entry`] makes.
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

/// Bytes for the wire. There is room behind them for what the node adds, so that nothing is copied for it.
pub(crate) fn encode(message: &Message) -> Bytes {
    let size = usize::try_from(message.compute_size()).unwrap_or(0);
    let mut bytes = Vec::with_capacity(size + 16);
    message.write_to_vec(&mut bytes).expect("invariant: a message without required fields can be written");
    Bytes::from(bytes)
}

/// A message from the wire; payloads share its memory. `None` when the bytes are none.
pub(crate) fn decode(bytes: &Bytes) -> Option<Message> {
    let mut input = CodedInputStream::from_carllerche_bytes(bytes);
    let mut message = Message::default();
    message.merge_from(&mut input).ok()?;
    input.check_eof().ok()?;
    let is_known = message
        .get_entries()
        .iter()
        .all(|entry| entry.get_entry_type() == EntryType::EntryNormal || change_of(entry).is_some());
    is_known.then_some(message)
}
