//! Entries and messages, between the seam's words and the crate's.
//!
//! A command's payload is the crate's `data`, shared and not copied. The engine's own entry is a leader's first,
//! and empty. The crate knows entries that change the members as well: nobody proposes them, and a message with
//! one is not taken.

use bezant_consensus::{EntryKind, LogEntry};
use bezant_types::{LogIndex, Term};
use bytes::Bytes;
use protobuf::{CodedInputStream, Message as _};
use raft::eraftpb::{Entry, EntryType, Message};

/// The seam's entry.
pub(crate) fn log_entry(entry: &Entry) -> LogEntry {
    let kind = if entry.data.is_empty() { EntryKind::Engine } else { EntryKind::Command };
    LogEntry { index: LogIndex(entry.index), term: Term(entry.term), kind, payload: entry.data.clone() }
}

/// The crate's entry; `None` when it is none that [`log_entry`] makes.
pub(crate) fn raft_entry(entry: LogEntry) -> Option<Entry> {
    let is_empty = entry.payload.is_empty();
    let (index, term) = (entry.index.0, entry.term.0);
    (is_empty == (entry.kind == EntryKind::Engine)).then(|| Entry {
        index,
        term,
        data: entry.payload,
        ..Entry::default()
    })
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
    let is_known = message.get_entries().iter().all(|entry| entry.get_entry_type() == EntryType::EntryNormal);
    is_known.then_some(message)
}
