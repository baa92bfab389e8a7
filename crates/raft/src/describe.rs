//! The engine's messages, one line each.
//!
//! A position in the log is shown as `index/term` where the term matters. A line shows exactly the fields
//! that the message type uses.

use bezant_consensus::{Change, Description, MessageKind};
use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use crate::conf::change_of;
use crate::read::context_parts;
use crate::wire::decode;

/// A message of this engine on one line; `None` when the bytes are not a message.
pub fn describe(bytes: &Bytes) -> Option<Description> {
    decode(bytes).map(|message| Description::new(kind(&message), text(&message)))
}

fn kind(message: &Message) -> MessageKind {
    use MessageType as Type;
    match message.get_msg_type() {
        Type::MsgHeartbeat | Type::MsgHeartbeatResponse if message.context.is_empty() => {
            MessageKind::Heartbeat
        }
        Type::MsgHeartbeat | Type::MsgHeartbeatResponse | Type::MsgReadIndex | Type::MsgReadIndexResp => {
            MessageKind::Read
        }
        Type::MsgAppend | Type::MsgAppendResponse | Type::MsgPropose => MessageKind::Entries,
        Type::MsgRequestVote
        | Type::MsgRequestVoteResponse
        | Type::MsgRequestPreVote
        | Type::MsgRequestPreVoteResponse
        | Type::MsgTransferLeader
        | Type::MsgTimeoutNow => MessageKind::Election,
        Type::MsgSnapshot => MessageKind::CatchUp,
        // raft-rs sends these only to itself.
        Type::MsgHup | Type::MsgBeat | Type::MsgUnreachable | Type::MsgSnapStatus | Type::MsgCheckQuorum => {
            MessageKind::Unknown
        }
    }
}

fn text(message: &Message) -> String {
    use MessageType as Type;
    let Message { term, index, log_term, commit, reject, .. } = *message;
    match message.get_msg_type() {
        Type::MsgAppend => {
            format!(
                "append {} after {index}/{log_term}, commit {commit}, term {term}",
                range(message.get_entries())
            )
        }
        Type::MsgAppendResponse if reject => {
            let hint = message.reject_hint;
            format!("append rejected: no entry {index}, try {hint}/{log_term}, term {term}")
        }
        Type::MsgAppendResponse => format!("has entries up to {index}, term {term}"),
        Type::MsgHeartbeat => {
            format!("heartbeat{}, commit {commit}, term {term}", for_read(&message.context))
        }
        Type::MsgHeartbeatResponse => {
            format!("heartbeat response{}, term {term}", for_read(&message.context))
        }
        Type::MsgRequestPreVote => {
            format!("pre-vote request for term {term}, log ends {index}/{log_term}")
        }
        Type::MsgRequestPreVoteResponse => format!("{}, term {term}", granted("pre-vote", reject)),
        Type::MsgRequestVote => {
            // raft-rs sets this context in an election that a leadership transfer started.
            let how = if message.context.is_empty() { "" } else { " (leadership transfer)" };
            format!("vote request for term {term}{how}, log ends {index}/{log_term}")
        }
        Type::MsgRequestVoteResponse => format!("{}, term {term}", granted("vote", reject)),
        Type::MsgReadIndex => format!("read index request for{}", read_of(first_data(message))),
        Type::MsgReadIndexResp => format!("read index {index} for{}", read_of(first_data(message))),
        Type::MsgTimeoutNow => format!("timeout now: start an election, term {term}"),
        Type::MsgTransferLeader => "transfer leadership to me".to_owned(),
        Type::MsgSnapshot => {
            let metadata = message.get_snapshot().get_metadata();
            format!("a checkpoint of {}/{} or later is needed, term {term}", metadata.index, metadata.term)
        }
        Type::MsgPropose => format!("propose {} entries", message.get_entries().len()),
        other => format!("{other:?}, term {term}"),
    }
}

fn granted(what: &str, is_rejected: bool) -> String {
    format!("{what} {}", if is_rejected { "rejected" } else { "granted" })
}

/// The entries of a message: `nothing`, `41`, `41..43`, and the kind of the first entry that is not a command.
fn range(entries: &[Entry]) -> String {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return "nothing".to_owned() };
    let mut text = first.index.to_string();
    if last.index != first.index {
        text = format!("{text}..{}", last.index);
    }
    let mut specials = entries.iter().filter_map(special);
    if let Some(special) = specials.next() {
        let more = if specials.next().is_some() { ", .." } else { "" };
        text = format!("{text} ({special}{more})");
    }
    text
}

/// The kind of an entry that is not a command; `None` for a command.
pub(crate) fn special(entry: &Entry) -> Option<String> {
    if entry.get_entry_type() == EntryType::EntryNormal {
        return entry.data.is_empty().then(|| format!("first of term {}", entry.term));
    }
    Some(match change_of(entry)? {
        Change::Add { node, .. } => format!("add node {node}"),
        Change::Meet { node, .. } => format!("disk of node {node}"),
        Change::Promote(node) => format!("promote node {node}"),
        Change::Remove(node) => format!("remove node {node}"),
        Change::Complete => "change complete".to_owned(),
        Change::Lead(node) => format!("node {node} leads"),
    })
}

fn first_data(message: &Message) -> &[u8] {
    message.get_entries().first().map_or(&[], |entry| &entry.data)
}

/// The read that a heartbeat confirms, with text before it; empty for none.
fn for_read(context: &[u8]) -> String {
    if context.is_empty() { String::new() } else { format!(" for{}", read_of(context)) }
}

/// The read in a context, with a space before it.
fn read_of(context: &[u8]) -> String {
    match context_parts(context) {
        Some((node, _, read)) => format!(" read {} of node {node}", read.0),
        None => " an unknown read".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::snapshot;
    use crate::wire::{encode, raft_entry};
    use bezant_consensus::{EntryKind, LogEntry};
    use bezant_types::{LogIndex, NodeId, Term};
    use raft::eraftpb::{ConfChangeV2, ConfState};

    fn message(kind: MessageType) -> Message {
        let mut message = Message { term: 3, ..Message::default() };
        message.set_msg_type(kind);
        message
    }

    fn entry(index: u64, payload: &'static [u8]) -> Entry {
        let kind = if payload.is_empty() { EntryKind::Engine } else { EntryKind::Command };
        let payload = Bytes::from_static(payload);
        raft_entry(LogEntry { index: LogIndex(index), term: Term(3), kind, payload }).unwrap()
    }

    fn completion(index: u64) -> Entry {
        let mut conf_change = ConfChangeV2::default();
        conf_change.set_context(Change::Complete.encode());
        let data = protobuf::Message::write_to_bytes(&conf_change).unwrap().into();
        let mut entry = Entry { index, term: 3, data, ..Entry::default() };
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        entry
    }

    /// The context of read 7 of node 2.
    fn read() -> Bytes {
        let parts: Vec<u8> = [2_u64, 99, 7].iter().flat_map(|part| part.to_le_bytes()).collect();
        Bytes::from(parts)
    }

    #[track_caller]
    fn check(message: &Message, kind: MessageKind, text: &str) {
        assert_eq!(describe(&encode(message)), Some(Description::new(kind, text.to_owned())));
    }

    fn append(entries: Vec<Entry>) -> Message {
        let mut message = Message { index: 40, log_term: 3, commit: 39, ..message(MessageType::MsgAppend) };
        message.set_entries(entries.into());
        message
    }

    #[test]
    fn entries_and_their_confirmation() {
        let kind = MessageKind::Entries;
        let cases = [
            (vec![], "nothing"),
            (vec![entry(41, b"one")], "41"),
            (vec![entry(41, b"one"), entry(42, b"two"), entry(43, b"three")], "41..43"),
            (vec![entry(41, b"")], "41 (first of term 3)"),
            (vec![entry(41, b"one"), completion(42)], "41..42 (change complete)"),
            (vec![entry(41, b""), completion(42)], "41..42 (first of term 3, ..)"),
        ];
        for (entries, range) in cases {
            check(&append(entries), kind, &format!("append {range} after 40/3, commit 39, term 3"));
        }
        let answer = Message { index: 43, ..message(MessageType::MsgAppendResponse) };
        check(&answer, kind, "has entries up to 43, term 3");
        let rejection = Message { reject: true, reject_hint: 12, log_term: 2, ..answer };
        check(&rejection, kind, "append rejected: no entry 43, try 12/2, term 3");
        check(&message(MessageType::MsgPropose), kind, "propose 0 entries");
    }

    #[test]
    fn votes_and_transfers() {
        let kind = MessageKind::Election;
        let ask = |kind| Message { index: 43, log_term: 2, ..message(kind) };
        let asked = "pre-vote request for term 3, log ends 43/2";
        check(&ask(MessageType::MsgRequestPreVote), kind, asked);
        check(&ask(MessageType::MsgRequestVote), kind, "vote request for term 3, log ends 43/2");
        let context = Bytes::from_static(b"CampaignTransfer");
        let asked = Message { context, ..ask(MessageType::MsgRequestVote) };
        check(&asked, kind, "vote request for term 3 (leadership transfer), log ends 43/2");
        for (of, name) in [
            (MessageType::MsgRequestPreVoteResponse, "pre-vote"),
            (MessageType::MsgRequestVoteResponse, "vote"),
        ] {
            check(&message(of), kind, &format!("{name} granted, term 3"));
            let rejected = Message { reject: true, ..message(of) };
            check(&rejected, kind, &format!("{name} rejected, term 3"));
        }
        check(&message(MessageType::MsgTimeoutNow), kind, "timeout now: start an election, term 3");
        check(&message(MessageType::MsgTransferLeader), kind, "transfer leadership to me");
    }

    #[test]
    fn heartbeats_and_reads() {
        let heartbeat = Message { commit: 39, ..message(MessageType::MsgHeartbeat) };
        check(&heartbeat, MessageKind::Heartbeat, "heartbeat, commit 39, term 3");
        let response = message(MessageType::MsgHeartbeatResponse);
        check(&response, MessageKind::Heartbeat, "heartbeat response, term 3");
        let kind = MessageKind::Read;
        let heartbeat = Message { context: read(), ..heartbeat };
        check(&heartbeat, kind, "heartbeat for read 7 of node 2, commit 39, term 3");
        check(
            &Message { context: read(), ..response },
            kind,
            "heartbeat response for read 7 of node 2, term 3",
        );
        let strange = Message { context: Bytes::from_static(b"?"), ..heartbeat };
        check(&strange, kind, "heartbeat for an unknown read, commit 39, term 3");
        let with_read = |kind, index| {
            let mut message = Message { index, ..message(kind) };
            message.set_entries(vec![Entry { data: read(), ..Entry::default() }].into());
            message
        };
        check(&with_read(MessageType::MsgReadIndex, 0), kind, "read index request for read 7 of node 2");
        let answer = with_read(MessageType::MsgReadIndexResp, 39);
        check(&answer, kind, "read index 39 for read 7 of node 2");
    }

    #[test]
    fn a_checkpoint_offer_and_invalid_bytes() {
        let mut needed = message(MessageType::MsgSnapshot);
        needed.set_snapshot(snapshot((LogIndex(60), Term(2)), ConfState::default()));
        check(&needed, MessageKind::CatchUp, "a checkpoint of 60/2 or later is needed, term 3");
        check(&message(MessageType::MsgHup), MessageKind::Unknown, "MsgHup, term 3");
        assert_eq!(describe(&Bytes::from_static(&[0xff; 9])), None);
    }

    #[test]
    fn changes_of_members_are_named() {
        let change = |change: Change| {
            let mut conf_change = ConfChangeV2::default();
            conf_change.set_context(change.encode());
            let mut single = raft::eraftpb::ConfChangeSingle { node_id: 4, ..Default::default() };
            single.set_change_type(raft::eraftpb::ConfChangeType::RemoveNode);
            conf_change.mut_changes().push(single);
            let data = protobuf::Message::write_to_bytes(&conf_change).unwrap().into();
            let mut entry = Entry { index: 41, term: 3, data, ..Entry::default() };
            entry.set_entry_type(EntryType::EntryConfChangeV2);
            entry
        };
        let removal = append(vec![change(Change::Remove(NodeId(4)))]);
        check(&removal, MessageKind::Entries, "append 41 (remove node 4) after 40/3, commit 39, term 3");
    }
}
