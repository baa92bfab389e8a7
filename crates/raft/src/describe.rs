//! The engine's messages, one line each.
//!
//! An entry is written `index/term` where its term matters. Everything that a message says of itself shows;
//! fields that its type leaves empty do not.

use bezant_consensus::{Change, Description, MessageKind};
use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use crate::members::change_of;
use crate::read::context_parts;
use crate::wire::decode;

/// What a message of this engine says, on one line; `None` when the bytes are none.
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
        // The crate sends these to nobody but itself.
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
            format!("append refused: no entry {index}, try {hint}/{log_term}, term {term}")
        }
        Type::MsgAppendResponse => format!("has entries up to {index}, term {term}"),
        Type::MsgHeartbeat => {
            format!("heartbeat{}, commit {commit}, term {term}", for_read(&message.context))
        }
        Type::MsgHeartbeatResponse => format!("heartbeat heard{}, term {term}", for_read(&message.context)),
        Type::MsgRequestPreVote => {
            format!("would you vote for me in term {term}? log ends {index}/{log_term}")
        }
        Type::MsgRequestPreVoteResponse => format!("{}, term {term}", granted("pre-vote", reject)),
        Type::MsgRequestVote => {
            // The crate's word for an election that the old leader asked for.
            let how = if message.context.is_empty() { "" } else { " (the leader asked me to)" };
            format!("vote for me in term {term}{how}, log ends {index}/{log_term}")
        }
        Type::MsgRequestVoteResponse => format!("{}, term {term}", granted("vote", reject)),
        Type::MsgReadIndex => format!("what must{} see?", read_of(first_data(message))),
        Type::MsgReadIndexResp => format!("entry {index} is what{} must see", read_of(first_data(message))),
        Type::MsgTimeoutNow => format!("you lead: stand for election now, term {term}"),
        Type::MsgTransferLeader => "let me lead".to_owned(),
        Type::MsgSnapshot => {
            let metadata = message.get_snapshot().get_metadata();
            format!("you need a checkpoint of {}/{} or later, term {term}", metadata.index, metadata.term)
        }
        Type::MsgPropose => format!("propose {} entries", message.get_entries().len()),
        other => format!("{other:?}, term {term}"),
    }
}

fn granted(what: &str, is_rejected: bool) -> String {
    format!("{what} {}", if is_rejected { "refused" } else { "granted" })
}

/// The entries of a message: `none`, `41`, `41..43`, and what the first is that is no command.
fn range(entries: &[Entry]) -> String {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return "none".to_owned() };
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

/// What an entry is that is no command.
fn special(entry: &Entry) -> Option<String> {
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

/// Which read a sign of life is to confirm; nothing for none.
fn for_read(context: &[u8]) -> String {
    if context.is_empty() { String::new() } else { format!(" for{}", read_of(context)) }
}

/// Which read a context names, with a space before.
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
    fn entries_and_who_has_them() {
        let kind = MessageKind::Entries;
        let cases = [
            (vec![], "none"),
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
        let refusal = Message { reject: true, reject_hint: 12, log_term: 2, ..answer };
        check(&refusal, kind, "append refused: no entry 43, try 12/2, term 3");
        check(&message(MessageType::MsgPropose), kind, "propose 0 entries");
    }

    #[test]
    fn votes_and_transfers() {
        let kind = MessageKind::Election;
        let ask = |kind| Message { index: 43, log_term: 2, ..message(kind) };
        let asked = "would you vote for me in term 3? log ends 43/2";
        check(&ask(MessageType::MsgRequestPreVote), kind, asked);
        check(&ask(MessageType::MsgRequestVote), kind, "vote for me in term 3, log ends 43/2");
        let context = Bytes::from_static(b"CampaignTransfer");
        let asked = Message { context, ..ask(MessageType::MsgRequestVote) };
        check(&asked, kind, "vote for me in term 3 (the leader asked me to), log ends 43/2");
        for (of, name) in [
            (MessageType::MsgRequestPreVoteResponse, "pre-vote"),
            (MessageType::MsgRequestVoteResponse, "vote"),
        ] {
            check(&message(of), kind, &format!("{name} granted, term 3"));
            let refused = Message { reject: true, ..message(of) };
            check(&refused, kind, &format!("{name} refused, term 3"));
        }
        check(&message(MessageType::MsgTimeoutNow), kind, "you lead: stand for election now, term 3");
        check(&message(MessageType::MsgTransferLeader), kind, "let me lead");
    }

    #[test]
    fn signs_of_life_and_reads() {
        let sign = Message { commit: 39, ..message(MessageType::MsgHeartbeat) };
        check(&sign, MessageKind::Heartbeat, "heartbeat, commit 39, term 3");
        let heard = message(MessageType::MsgHeartbeatResponse);
        check(&heard, MessageKind::Heartbeat, "heartbeat heard, term 3");
        let kind = MessageKind::Read;
        let sign = Message { context: read(), ..sign };
        check(&sign, kind, "heartbeat for read 7 of node 2, commit 39, term 3");
        check(&Message { context: read(), ..heard }, kind, "heartbeat heard for read 7 of node 2, term 3");
        let strange = Message { context: Bytes::from_static(b"?"), ..sign };
        check(&strange, kind, "heartbeat for an unknown read, commit 39, term 3");
        let with_read = |kind, index| {
            let mut message = Message { index, ..message(kind) };
            message.set_entries(vec![Entry { data: read(), ..Entry::default() }].into());
            message
        };
        check(&with_read(MessageType::MsgReadIndex, 0), kind, "what must read 7 of node 2 see?");
        let answer = with_read(MessageType::MsgReadIndexResp, 39);
        check(&answer, kind, "entry 39 is what read 7 of node 2 must see");
    }

    #[test]
    fn the_word_for_a_checkpoint_and_nonsense() {
        let mut needed = message(MessageType::MsgSnapshot);
        needed.set_snapshot(snapshot((LogIndex(60), Term(2)), ConfState::default()));
        check(&needed, MessageKind::CatchUp, "you need a checkpoint of 60/2 or later, term 3");
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
