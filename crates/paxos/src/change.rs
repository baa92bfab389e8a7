//! The engine's own values: the no-op of a leader, and changes of the members.
//!
//! Payload: version u8, kind u8 (0 = no-op, 1 = change), and for a change the bytes of [`Change::encode`].
//! The version byte also tells a log of this engine from one that another engine wrote.

use alloc::vec::Vec;

use bezant_consensus::{Change, EntryKind, LogEntry};
use bytes::Bytes;

const VERSION: u8 = 1;
const NO_OP: u8 = 0;
const CHANGE: u8 = 1;

/// The payload of a no-op, the first value of a leader.
pub(crate) const fn no_op() -> Bytes {
    Bytes::from_static(&[VERSION, NO_OP])
}

/// The payload of a change.
pub(crate) fn payload(change: &Change) -> Bytes {
    let mut bytes = Vec::from([VERSION, CHANGE]);
    bytes.extend_from_slice(&change.encode());
    bytes.into()
}

/// The change in a value; `None` for any other value.
pub(crate) fn change_of(entry: &LogEntry) -> Option<Change> {
    match (entry.kind, &*entry.payload) {
        (EntryKind::Engine, [VERSION, CHANGE, change @ ..]) => {
            Change::decode(change).filter(|change| !matches!(change, Change::Lead(_)))
        }
        _ => None,
    }
}

/// True when this engine could have written that entry.
pub(crate) fn is_ours(entry: &LogEntry) -> bool {
    match entry.kind {
        EntryKind::Command => !entry.payload.is_empty(),
        EntryKind::Engine => entry.payload == no_op() || change_of(entry).is_some(),
    }
}
