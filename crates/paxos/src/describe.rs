//! Messages on one line each, for traces and golden scripts.

use alloc::format;
use alloc::string::{String, ToString};
#[cfg(test)]
use alloc::vec::Vec;

use bezant_consensus::{Change, Description, EntryKind, LogEntry, MessageKind};
use bytes::Bytes;

use crate::change::change_of;
use crate::message::Message;
use crate::wire::decode;

/// Bytes of a command that are shown in full.
#[cfg(test)]
const SHOWN_MAX: usize = 16;

/// A message of this engine on one line; `None` when the bytes are not a message. To keep the line short,
/// values are shown as a range of slots, with the kind of the first value that is not a command.
pub fn describe(bytes: &Bytes) -> Option<Description> {
    decode(bytes).map(|message| Description::new(kind(&message), line(&message, range)))
}

/// The same with the slot, the round and the first bytes of every value. Golden scripts use it: their values
/// are few and readable.
#[cfg(test)]
pub(crate) fn describe_in_full(bytes: &Bytes) -> Option<Description> {
    decode(bytes).map(|message| Description::new(kind(&message), line(&message, list)))
}

const fn kind(message: &Message) -> MessageKind {
    match message {
        Message::Heartbeat { .. } | Message::HeartbeatReply { .. } => MessageKind::Heartbeat,
        Message::PreVote { .. }
        | Message::PreVoteGranted { .. }
        | Message::Prepare { .. }
        | Message::Promise { .. }
        | Message::Refuse { .. }
        | Message::TransferLeadership { .. } => MessageKind::Election,
        Message::Learn { .. }
        | Message::Learned { .. }
        | Message::Accept { .. }
        | Message::Accepted { .. }
        | Message::Missing { .. }
        | Message::Decision { .. } => MessageKind::Entries,
        Message::Checkpoint { .. } => MessageKind::CatchUp,
        Message::ReadIndex { .. } | Message::ReadIndexReply { .. } => MessageKind::Read,
    }
}

/// `list` formats the values of a message.
fn line(message: &Message, list: impl Fn(&[LogEntry]) -> String) -> String {
    match message {
        Message::PreVote { attempt, last } => format!("pre-vote {attempt}, log ends with {last}"),
        Message::PreVoteGranted { attempt, round } => {
            format!("pre-vote granted {attempt}, promised in round {round}")
        }
        Message::Prepare { ballot } => format!("prepare {ballot}"),
        Message::Promise { ballot, accepted } => format!("promise {ballot}, accepted up to {accepted}"),
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
        Message::Accepted { ballot, last } => format!("accepted {ballot} up to {last}"),
        Message::Missing { ballot, after, hint } => format!("missing {ballot} {after}, try {hint}"),
        Message::Decision { ballot, decided } => format!("decision {ballot} up to {decided}"),
        Message::Heartbeat { ballot, decided, sequence } => {
            format!("heartbeat {ballot}, decided {decided}, sequence {sequence}")
        }
        Message::HeartbeatReply { ballot, sequence } => {
            format!("heartbeat reply {ballot}, sequence {sequence}")
        }
        Message::Checkpoint { ballot, last } => format!("checkpoint {ballot} of {last}"),
        Message::TransferLeadership { ballot } => format!("transfer leadership of {ballot}"),
        Message::ReadIndex { read, .. } => format!("read index request for read {read}"),
        Message::ReadIndexReply { read, index, .. } => format!("read index {index} for read {read}"),
    }
}

/// The slots of values: `nothing`, `41`, `41..43`, and the kind of the first value that is not a command.
fn range(values: &[LogEntry]) -> String {
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return "nothing".to_string() };
    let mut text = first.index.to_string();
    if last.index != first.index {
        text = format!("{text}..{}", last.index);
    }
    let mut specials = values.iter().filter_map(special);
    if let Some(special) = specials.next() {
        let more = if specials.next().is_some() { ", .." } else { "" };
        text = format!("{text} ({special}{more})");
    }
    text
}

/// The kind of a value that is not a command; `None` for a command.
fn special(value: &LogEntry) -> Option<String> {
    if value.kind == EntryKind::Command {
        return None;
    }
    Some(match change_of(value) {
        None => "no-op".to_string(),
        Some(Change::Add { node, .. }) => format!("add node {node}"),
        Some(Change::Meet { node, .. }) => format!("disk of node {node}"),
        Some(Change::Promote(node)) => format!("promote node {node}"),
        Some(Change::Remove(node)) => format!("remove node {node}"),
        Some(Change::Complete) => "change complete".to_string(),
        Some(Change::Lead(node)) => format!("node {node} leads"),
    })
}

#[cfg(test)]
fn list(values: &[LogEntry]) -> String {
    if values.is_empty() {
        return "nothing".to_string();
    }
    values.iter().map(value).collect::<Vec<_>>().join(" ")
}

/// A value: its slot, its round and its content.
#[cfg(test)]
pub(crate) fn value(value: &LogEntry) -> String {
    let what = special(value).unwrap_or_else(|| {
        let shown = value.payload.get(..SHOWN_MAX).unwrap_or(&value.payload);
        shown.escape_ascii().to_string()
    });
    format!("{}@{}={what}", value.index, value.term)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bezant_types::{LogIndex, NodeId, Term};

    fn entry(index: u64, kind: EntryKind, payload: Bytes) -> LogEntry {
        LogEntry { index: LogIndex(index), term: Term(3), kind, payload }
    }

    #[test]
    fn values_are_a_range_of_slots() {
        let command = |index| entry(index, EntryKind::Command, Bytes::from(alloc::vec![7; 500]));
        let engine = |index, payload| entry(index, EntryKind::Engine, payload);
        let removal = crate::change::payload(&Change::Remove(NodeId(4)));
        let cases = [
            (alloc::vec![], "nothing"),
            (alloc::vec![command(41)], "41"),
            ((41..=240).map(command).collect(), "41..240"),
            (alloc::vec![command(41), engine(42, Bytes::new())], "41..42 (no-op)"),
            (alloc::vec![engine(41, removal), engine(42, Bytes::new())], "41..42 (remove node 4, ..)"),
        ];
        for (values, text) in cases {
            assert_eq!(range(&values), text);
        }
    }
}
