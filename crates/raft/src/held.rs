//! Messages that wait until the state that they report is durable.
//!
//! Every step of raft-rs (`Ready`) has a number, and the write of a step has the number of the step. A
//! message may leave when all writes of its own and of earlier steps are durable. A message that depends on
//! no entry waits only for the votes in these writes: elections continue while entries wait for disk space.
//!
//! Held messages do not accumulate during a long write: of several confirmations of entries to the same
//! leader, only the one with the highest index is kept.

use std::collections::VecDeque;

use bezant_consensus::WriteNumber;
use raft::eraftpb::{Message, MessageType};

/// The messages of a step, and of the next steps as long as they wrote nothing.
#[derive(Debug)]
struct Step {
    /// The raft-rs number of the last of these steps.
    number: u64,
    /// The write that must be durable before the messages leave; 0 for none.
    write: u64,
    messages: Vec<Message>,
}

/// All steps whose writes are not durable yet, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Held {
    steps: VecDeque<Step>,
    /// Messages that depend on no entry, each with the write whose vote must be durable first.
    without_entries: VecDeque<(u64, Message)>,
    /// The last write that contains a vote.
    vote: u64,
    /// The last write whose vote, with every vote before it, is durable.
    durable_vote: u64,
}

/// The content of a step's write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Nothing,
    /// Entries alone.
    Entries,
    /// A vote, and perhaps entries.
    Vote,
}

/// The messages that may leave after a write became durable.
#[derive(Debug, Default)]
pub(crate) struct Freed {
    /// The last step whose writes are all durable; `None` when no step became durable.
    pub(crate) step: Option<u64>,
    /// The messages to send now.
    pub(crate) messages: Vec<Message>,
}

impl Held {
    /// Adds the messages of a step.
    pub(crate) fn push(&mut self, number: u64, written: Written, messages: Vec<Message>) {
        if written == Written::Vote {
            self.vote = number;
        }
        if written != Written::Nothing || self.steps.is_empty() {
            let write = if written == Written::Nothing { 0 } else { number };
            self.steps.push_back(Step { number, write, messages: Vec::new() });
        }
        let step = self.steps.back_mut().expect("invariant: a step was pushed above");
        step.number = number;
        for message in messages {
            if depends_on_entries(&message) {
                push(&mut step.messages, message);
            } else {
                self.without_entries.push_back((self.vote, message));
            }
        }
    }

    /// Releases messages of steps that wrote nothing, unless an earlier step is still held.
    pub(crate) fn free_unwritten(&mut self) -> Freed {
        self.free(WriteNumber(0))
    }

    /// Releases the messages of all steps up to that write, and of the next steps as long as they wrote
    /// nothing.
    pub(crate) fn free(&mut self, durable: WriteNumber) -> Freed {
        let mut freed = Freed { messages: self.handle_vote_durable(durable), ..Freed::default() };
        while let Some(step) = self.steps.pop_front_if(|step| step.write <= durable.0) {
            freed.step = Some(step.number);
            freed.messages.extend(step.messages);
        }
        freed
    }

    /// All votes up to that write are durable: returns the messages that may leave now.
    pub(crate) fn handle_vote_durable(&mut self, vote: WriteNumber) -> Vec<Message> {
        self.durable_vote = self.durable_vote.max(vote.0);
        let mut free = Vec::new();
        while let Some((_, message)) =
            self.without_entries.pop_front_if(|(vote, _)| *vote <= self.durable_vote)
        {
            free.push(message);
        }
        free
    }
}

/// False for messages that are valid whatever entries are durable on this disk. True for a vote request: it
/// reports the end of the log.
fn depends_on_entries(message: &Message) -> bool {
    match message.get_msg_type() {
        MessageType::MsgRequestVoteResponse
        | MessageType::MsgRequestPreVoteResponse
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgReadIndex => false,
        // A response with index 0 only reports a later term to an outdated leader.
        MessageType::MsgAppendResponse => !message.reject && message.index != 0,
        _ => true,
    }
}

/// Adds a message to the held messages of a step. A confirmation replaces an earlier confirmation to the same
/// leader with a lower index.
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
    fn held_messages_do_not_grow_with_received_messages() {
        let mut held = Held::default();
        let confirms = MessageType::MsgAppendResponse;
        held.push(1, Written::Entries, vec![message(confirms, 7)]);
        for number in 2..1_000 {
            let again = vec![message(confirms, 6), message(MessageType::MsgHeartbeatResponse, 0)];
            held.push(number, Written::Nothing, again);
            let freed = held.free_unwritten();
            assert_eq!(
                (freed.step, freed.messages.len()),
                (None, 1),
                "a heartbeat response depends on no entry"
            );
        }
        let freed = held.free(WriteNumber(1));
        assert_eq!((freed.step, described(&freed.messages)), (Some(999), vec![(confirms, 7)]));
    }

    #[test]
    fn a_vote_does_not_wait_for_entries() {
        let mut held = Held::default();
        let (confirms, votes) = (MessageType::MsgAppendResponse, MessageType::MsgRequestVoteResponse);
        held.push(1, Written::Entries, vec![message(confirms, 7)]);
        held.push(2, Written::Vote, vec![message(votes, 0)]);
        held.push(3, Written::Vote, vec![message(votes, 0)]);
        assert_eq!(described(&held.free_unwritten().messages), []);
        assert_eq!(described(&held.handle_vote_durable(WriteNumber(2))), [(votes, 0)]);
        assert_eq!(described(&held.free(WriteNumber(3)).messages), [(votes, 0), (confirms, 7)]);
    }
}
