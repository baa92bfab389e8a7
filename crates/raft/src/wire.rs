//! Entries and messages, between the seam's words and the crate's.
//!
//! A command's payload is the crate's `data`, shared and not copied. The engine's own entries carry their type
//! in the payload's first byte; a leader's first entry is empty.

use bezant_consensus::{EntryKind, LogEntry};
use bezant_types::{LogIndex, Term};
use bytes::{BufMut, Bytes, BytesMut};
use protobuf::{CodedInputStream, Message as _};
use raft::eraftpb::{Entry, EntryType, Message};

const CONF_CHANGE: u8 = 1;
const CONF_CHANGE_V2: u8 = 2;

/// The seam's entry.
pub(crate) fn log_entry(entry: &Entry) -> LogEntry {
    let tag = match entry.get_entry_type() {
        EntryType::EntryNormal => None,
        EntryType::EntryConfChange => Some(CONF_CHANGE),
        EntryType::EntryConfChangeV2 => Some(CONF_CHANGE_V2),
    };
    let (kind, payload) = match tag {
        None if entry.data.is_empty() => (EntryKind::Engine, Bytes::new()),
        None => (EntryKind::Command, entry.data.clone()),
        Some(tag) => {
            let mut payload = BytesMut::with_capacity(1 + entry.data.len());
            payload.put_u8(tag);
            payload.put_slice(&entry.data);
            (EntryKind::Engine, payload.freeze())
        }
    };
    LogEntry { index: LogIndex(entry.index), term: Term(entry.term), kind, payload }
}

/// The crate's entry; `None` when the payload is none that [`log_entry`] makes.
pub(crate) fn raft_entry(entry: LogEntry) -> Option<Entry> {
    let (entry_type, data) = match (entry.kind, entry.payload.first()) {
        (EntryKind::Command, Some(_)) => (EntryType::EntryNormal, entry.payload),
        (EntryKind::Engine, None) => (EntryType::EntryNormal, Bytes::new()),
        (EntryKind::Engine, Some(&CONF_CHANGE)) => (EntryType::EntryConfChange, entry.payload.slice(1..)),
        (EntryKind::Engine, Some(&CONF_CHANGE_V2)) => {
            (EntryType::EntryConfChangeV2, entry.payload.slice(1..))
        }
        (EntryKind::Command, None) | (EntryKind::Engine, Some(_)) => return None,
    };
    let mut raft = Entry::default();
    raft.set_entry_type(entry_type);
    raft.index = entry.index.0;
    raft.term = entry.term.0;
    raft.data = data;
    Some(raft)
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
    Some(message)
}
