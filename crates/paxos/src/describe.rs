//! One line for a message, for people and golden scripts.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bezant_consensus::{Description, EntryKind, LogEntry, MessageKind};
use bytes::Bytes;

use crate::change::change_of;
use crate::message::Message;
use crate::wire::decode;

/// Bytes of a command that are shown.
const SHOWN_MAX: usize = 16;

/// A message of this engine in one line; `None` for bytes that are none.
pub fn describe(bytes: &Bytes) -> Option<Description> {
    decode(bytes).map(|message| Description::new(kind(&message), line(&message)))
}

const fn kind(message: &Message) -> MessageKind {
    match message {
        Message::Heartbeat { .. } | Message::Alive { .. } => MessageKind::Heartbeat,
        Message::Canvass { .. }
        | Message::Willing { .. }
        | Message::Prepare { .. }
        | Message::Promise { .. }
        | Message::Refuse { .. }
        | Message::Lead { .. } => MessageKind::Election,
        Message::Learn { .. }
        | Message::Learned { .. }
        | Message::Accept { .. }
        | Message::Accepted { .. }
        | Message::Missing { .. }
        | Message::Decision { .. } => MessageKind::Entries,
        Message::Checkpoint { .. } => MessageKind::CatchUp,
        Message::Ask { .. } | Message::Told { .. } => MessageKind::Read,
    }
}

fn line(message: &Message) -> String {
    match message {
        Message::Canvass { turn, last } => format!("canvass {turn}, my log ends with {last}"),
        Message::Willing { turn, round } => format!("willing {turn}, promised in round {round}"),
        Message::Prepare { ballot } => format!("prepare {ballot}"),
        Message::Promise { ballot, accepted } => format!("promise {ballot}, accepted until {accepted}"),
        Message::Refuse { ballot, promised } => format!("refuse {ballot}, promised {promised}"),
        Message::Learn { ballot, after } => format!("learn {ballot} after {after}"),
        Message::Learned { ballot, after, values } => {
            format!("learned {ballot} after {after}: {}", list(values))
        }
        Message::Accept { ballot, after, values, decided } if values.is_empty() => {
            format!("accept {ballot} after {after}, decided {decided}")
        }
        Message::Accept { ballot, after, values, decided } => {
            format!("accept {ballot} after {after}: {}, decided {decided}", list(values))
        }
        Message::Accepted { ballot, last } => format!("accepted {ballot} until {last}"),
        Message::Missing { ballot, after, hint } => format!("missing {ballot} {after}, perhaps {hint}"),
        Message::Decision { ballot, decided } => format!("decision {ballot} until {decided}"),
        Message::Heartbeat { ballot, decided, turn } => {
            format!("heartbeat {ballot}, decided {decided}, turn {turn}")
        }
        Message::Alive { ballot, turn } => format!("alive {ballot}, turn {turn}"),
        Message::Checkpoint { ballot, last } => format!("checkpoint {ballot} of {last}"),
        Message::Lead { ballot } => format!("lead after {ballot}"),
        Message::Ask { read, .. } => format!("ask for read {read}"),
        Message::Told { read, index, .. } => format!("told read {read} sees {index}"),
    }
}

fn list(values: &[LogEntry]) -> String {
    if values.is_empty() {
        return "nothing".to_string();
    }
    values.iter().map(value).collect::<Vec<_>>().join(" ")
}

/// A value: its slot and round, and what it is.
pub(crate) fn value(value: &LogEntry) -> String {
    let what = match (value.kind, change_of(value)) {
        (EntryKind::Engine, Some(change)) => format!("{change:?}"),
        (EntryKind::Engine, None) => "no-op".to_string(),
        (EntryKind::Command, _) => {
            let shown = value.payload.get(..SHOWN_MAX).unwrap_or(&value.payload);
            shown.escape_ascii().to_string()
        }
    };
    format!("{}@{}={what}", value.index, value.term)
}
