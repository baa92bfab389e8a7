//! Messages that wait until what they speak of is on the disk.
//!
//! Every step of the engine that says something gets a number, and so does every write; a message may go
//! when all writes that were handed out before it, or with it, are durable. One that speaks of no entry waits for the votes in
//! them alone: entries may wait for room on the disk, and elections go on.
//!
//! However long a write takes, what waits for it does not grow with what is heard meanwhile: of several confirmations of entries
//! for the same leader the last says it all.

use std::collections::VecDeque;

use bezant_consensus::WriteNumber;
use raft::eraftpb::{Message, MessageType};

/// Messages of a step and of those after it that wrote nothing, and what must be durable before they go.
#[derive(Debug)]
struct Step {
    /// The crate's number of the last of these steps.
    number: u64,
    /// The write that must be durable; 0 for none.
    write: u64,
    messages: Vec<Message>,
}

/// All steps whose writes are not durable yet, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Held {
    steps: VecDeque<Step>,
    /// What speaks of no entry, and the write whose vote must be durable.
    promises: VecDeque<(u64, Message)>,
    /// The last write with a vote.
    vote: u64,
    /// The last write of which the vote is durable, with all before it.
    kept: u64,
}

/// What a step writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Nothing,
    /// Entries alone.
    Entries,
    /// A vote, and perhaps entries.
    Vote,
}

/// What became free.
#[derive(Debug, Default)]
pub(crate) struct Freed {
    /// The last step of which all is durable; `None` when nothing changed.
    pub(crate) step: Option<u64>,
    /// To be sent now.
    pub(crate) messages: Vec<Message>,
}

impl Held {
    /// Takes a step.
    pub(crate) fn push(&mut self, number: u64, written: Written, messages: Vec<Message>) {
        if written == Written::Vote {
            self.vote = number;
        }
        if written != Written::Nothing || self.steps.is_empty() {
            let write = if written == Written::Nothing { 0 } else { number };
            self.steps.push_back(Step { number, write, messages: Vec::new() });
        }
        let step = self.steps.back_mut().expect("invariant: there is one now");
        step.number = number;
        for message in messages {
            if speaks_of_entries(&message) {
                push(&mut step.messages, message);
            } else {
                self.promises.push_back((self.vote, message));
            }
        }
    }

    /// Frees what waits for no write, when nothing before it does.
    pub(crate) fn free_unwritten(&mut self) -> Freed {
        self.free(WriteNumber(0))
    }

    /// Frees everything up to that write, and what waited after it without a write of its own.
    pub(crate) fn free(&mut self, durable: WriteNumber) -> Freed {
        let mut freed = Freed { messages: self.keep(durable), ..Freed::default() };
        while let Some(step) = self.steps.pop_front_if(|step| step.write <= durable.0) {
            freed.step = Some(step.number);
            freed.messages.extend(step.messages);
        }
        freed
    }

    /// All votes up to that write are durable: what may be sent now.
    pub(crate) fn keep(&mut self, vote: WriteNumber) -> Vec<Message> {
        self.kept = self.kept.max(vote.0);
        let mut free = Vec::new();
        while let Some((_, message)) = self.promises.pop_front_if(|(vote, _)| *vote <= self.kept) {
            free.push(message);
        }
        free
    }
}

/// False for what is true whatever entries are on this disk. Who asks for votes says what its log has, and has it.
fn speaks_of_entries(message: &Message) -> bool {
    match message.get_msg_type() {
        MessageType::MsgRequestVoteResponse
        | MessageType::MsgRequestPreVoteResponse
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgReadIndex => false,
        // One of index 0 only tells a leader of the past that there is a later term.
        MessageType::MsgAppendResponse => !message.reject && message.index != 0,
        _ => true,
    }
}

/// Adds a message to those of a step. What a later one says besides, an earlier one need not say.
fn push(messages: &mut Vec<Message>, message: Message) {
    let confirms = |it: &Message| it.get_msg_type() == MessageType::MsgAppendResponse;
    let is_same =
        |it: &Message| confirms(it) && confirms(&message) && (it.to, it.term) == (message.to, message.term);
    match messages.iter_mut().find(|it| is_same(it)) {
        Some(earlier) if earlier.index <= message.index => *earlier = message,
        Some(_) => {}
        None => messages.push(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: MessageType, index: u64) -> Message {
        let mut message = Message { to: 2, term: 3, index, ..Message::default() };
        message.set_msg_type(kind);
        message
    }

    fn described(messages: &[Message]) -> Vec<(MessageType, u64)> {
        messages.iter().map(|it| (it.get_msg_type(), it.index)).collect()
    }

    #[test]
    fn what_waits_for_a_write_does_not_grow_with_what_is_heard() {
        let mut held = Held::default();
        let confirms = MessageType::MsgAppendResponse;
        held.push(1, Written::Entries, vec![message(confirms, 7)]);
        for number in 2..1_000 {
            let again = vec![message(confirms, 6), message(MessageType::MsgHeartbeatResponse, 0)];
            held.push(number, Written::Nothing, again);
            let freed = held.free_unwritten();
            assert_eq!((freed.step, freed.messages.len()), (None, 1), "a sign of life speaks of no entry");
        }
        let freed = held.free(WriteNumber(1));
        assert_eq!((freed.step, described(&freed.messages)), (Some(999), vec![(confirms, 7)]));
    }

    #[test]
    fn a_vote_waits_for_itself_and_for_no_entry() {
        let mut held = Held::default();
        let (confirms, votes) = (MessageType::MsgAppendResponse, MessageType::MsgRequestVoteResponse);
        held.push(1, Written::Entries, vec![message(confirms, 7)]);
        held.push(2, Written::Vote, vec![message(votes, 0)]);
        held.push(3, Written::Vote, vec![message(votes, 0)]);
        assert_eq!(described(&held.free_unwritten().messages), []);
        assert_eq!(described(&held.keep(WriteNumber(2))), [(votes, 0)]);
        assert_eq!(described(&held.free(WriteNumber(3)).messages), [(votes, 0), (confirms, 7)]);
    }
}
