//! Messages as bytes: version u8, kind u8, then the fields in their order, little-endian. A mark is slot u64,
//! round u64. A list of values is count u32, and then for each value its round u64, kind u8, size u32 and
//! payload. The slots of values follow from the mark before them. Bytes that break an order or a limit are
//! rejected.

use alloc::vec::Vec;

use bezant_consensus::{EntryKind, LogEntry};
use bezant_types::limits::ENTRY_SIZE_MAX;
use bezant_types::{LogIndex, NodeId, Term};
use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::ballot::{Ballot, Mark};
use crate::change::is_ours;
use crate::message::Message;

const VERSION: u8 = 1;
/// The maximum number of values in one message.
const VALUES_MAX: usize = 1 << 16;
/// The maximum of a slot or a round, so that adding to one never overflows.
const NUMBER_MAX: u64 = 1 << 62;
/// Spare capacity, so that bytes can be appended to a message on its way to the network without copying it.
const SPARE_CAPACITY: usize = 16;

const PRE_VOTE: u8 = 1;
const PRE_VOTE_GRANTED: u8 = 2;
const PREPARE: u8 = 3;
const PROMISE: u8 = 4;
const REFUSE: u8 = 5;
const LEARN: u8 = 6;
const LEARNED: u8 = 7;
const ACCEPT: u8 = 8;
const ACCEPTED: u8 = 9;
const MISSING: u8 = 10;
const DECISION: u8 = 11;
const HEARTBEAT: u8 = 12;
const HEARTBEAT_REPLY: u8 = 13;
const CHECKPOINT: u8 = 14;
const TRANSFER_LEADERSHIP: u8 = 15;
const READ_INDEX: u8 = 16;
const READ_INDEX_REPLY: u8 = 17;

/// The bytes of a message.
pub(crate) fn encode(message: &Message) -> Bytes {
    let payloads = match message {
        Message::Learned { values, .. } | Message::Accept { values, .. } => {
            values.iter().map(|value| value.payload.len() + 13).sum()
        }
        _ => 0,
    };
    let mut writer = Writer(BytesMut::with_capacity(64 + payloads + SPARE_CAPACITY));
    writer.0.put_u8(VERSION);
    match message {
        Message::PreVote { attempt, last } => writer.kind(PRE_VOTE).number(*attempt).number(last.0),
        Message::PreVoteGranted { attempt, round } => {
            writer.kind(PRE_VOTE_GRANTED).number(*attempt).number(round.0)
        }
        Message::Prepare { ballot } => writer.kind(PREPARE).ballot(*ballot),
        Message::Promise { ballot, accepted } => writer.kind(PROMISE).ballot(*ballot).mark(*accepted),
        Message::Refuse { ballot, promised } => writer.kind(REFUSE).ballot(*ballot).ballot(*promised),
        Message::Learn { ballot, after } => writer.kind(LEARN).ballot(*ballot).mark(*after),
        Message::Learned { ballot, after, values } => {
            writer.kind(LEARNED).ballot(*ballot).mark(*after).values(values)
        }
        Message::Accept { ballot, after, values, decided } => {
            writer.kind(ACCEPT).ballot(*ballot).mark(*after).number(decided.0).values(values)
        }
        Message::Accepted { ballot, last } => writer.kind(ACCEPTED).ballot(*ballot).number(last.0),
        Message::Missing { ballot, after, hint } => {
            writer.kind(MISSING).ballot(*ballot).number(after.0).mark(*hint)
        }
        Message::Decision { ballot, decided } => writer.kind(DECISION).ballot(*ballot).number(decided.0),
        Message::Heartbeat { ballot, decided, sequence } => {
            writer.kind(HEARTBEAT).ballot(*ballot).number(decided.0).number(*sequence)
        }
        Message::HeartbeatReply { ballot, sequence } => {
            writer.kind(HEARTBEAT_REPLY).ballot(*ballot).number(*sequence)
        }
        Message::Checkpoint { ballot, last } => writer.kind(CHECKPOINT).ballot(*ballot).mark(*last),
        Message::TransferLeadership { ballot } => writer.kind(TRANSFER_LEADERSHIP).ballot(*ballot),
        Message::ReadIndex { incarnation, read } => {
            writer.kind(READ_INDEX).number(*incarnation).number(*read)
        }
        Message::ReadIndexReply { incarnation, read, index } => {
            writer.kind(READ_INDEX_REPLY).number(*incarnation).number(*read).number(index.0)
        }
    };
    writer.0.freeze()
}

struct Writer(BytesMut);

impl Writer {
    fn kind(&mut self, kind: u8) -> &mut Self {
        self.0.put_u8(kind);
        self
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.0.put_u64_le(number);
        self
    }

    fn ballot(&mut self, ballot: Ballot) -> &mut Self {
        self.number(ballot.round.0).number(ballot.node.0)
    }

    fn mark(&mut self, mark: Mark) -> &mut Self {
        self.number(mark.slot.0).number(mark.round.0)
    }

    fn values(&mut self, values: &[LogEntry]) -> &mut Self {
        self.0.put_u32_le(u32::try_from(values.len()).expect("invariant: a batch is bounded"));
        for value in values {
            self.number(value.term.0).kind(match value.kind {
                EntryKind::Command => 0,
                EntryKind::Engine => 1,
            });
            let size = u32::try_from(value.payload.len()).expect("invariant: a value is bounded");
            self.0.put_u32_le(size);
            self.0.put_slice(&value.payload);
        }
        self
    }
}

/// A message from its bytes; payloads share their memory. `None` when the bytes are not a valid message.
pub(crate) fn decode(bytes: &Bytes) -> Option<Message> {
    let mut reader = Reader(bytes.clone());
    if reader.0.try_get_u8().ok()? != VERSION {
        return None;
    }
    let message = match reader.0.try_get_u8().ok()? {
        PRE_VOTE => Message::PreVote { attempt: reader.any()?, last: reader.slot()? },
        PRE_VOTE_GRANTED => Message::PreVoteGranted { attempt: reader.any()?, round: reader.round()? },
        PREPARE => Message::Prepare { ballot: reader.ballot()? },
        PROMISE => Message::Promise { ballot: reader.ballot()?, accepted: reader.mark()? },
        REFUSE => Message::Refuse { ballot: reader.ballot()?, promised: reader.promised()? },
        LEARN => Message::Learn { ballot: reader.ballot()?, after: reader.mark()? },
        LEARNED => {
            let (ballot, after) = (reader.ballot()?, reader.mark()?);
            Message::Learned { ballot, after, values: reader.values(ballot, after)? }
        }
        ACCEPT => {
            let (ballot, after, decided) = (reader.ballot()?, reader.mark()?, reader.slot()?);
            Message::Accept { ballot, after, values: reader.values(ballot, after)?, decided }
        }
        ACCEPTED => Message::Accepted { ballot: reader.ballot()?, last: reader.slot()? },
        MISSING => Message::Missing { ballot: reader.ballot()?, after: reader.slot()?, hint: reader.mark()? },
        DECISION => Message::Decision { ballot: reader.ballot()?, decided: reader.slot()? },
        HEARTBEAT => {
            Message::Heartbeat { ballot: reader.ballot()?, decided: reader.slot()?, sequence: reader.any()? }
        }
        HEARTBEAT_REPLY => Message::HeartbeatReply { ballot: reader.ballot()?, sequence: reader.any()? },
        CHECKPOINT => Message::Checkpoint { ballot: reader.ballot()?, last: reader.mark()? },
        TRANSFER_LEADERSHIP => Message::TransferLeadership { ballot: reader.ballot()? },
        READ_INDEX => Message::ReadIndex { incarnation: reader.any()?, read: reader.any()? },
        READ_INDEX_REPLY => {
            Message::ReadIndexReply { incarnation: reader.any()?, read: reader.any()?, index: reader.slot()? }
        }
        _ => return None,
    };
    (!reader.0.has_remaining()).then_some(message)
}

struct Reader(Bytes);

impl Reader {
    fn any(&mut self) -> Option<u64> {
        self.0.try_get_u64_le().ok()
    }

    fn number(&mut self) -> Option<u64> {
        self.any().filter(|number| *number <= NUMBER_MAX)
    }

    fn slot(&mut self) -> Option<LogIndex> {
        self.number().map(LogIndex)
    }

    fn round(&mut self) -> Option<Term> {
        self.number().map(Term)
    }

    /// A ballot of a leader or a scout: round and node are not 0.
    fn ballot(&mut self) -> Option<Ballot> {
        self.promised().filter(|ballot| ballot.round.0 > 0 && ballot.node.0 > 0)
    }

    fn promised(&mut self) -> Option<Ballot> {
        Some(Ballot { round: self.round()?, node: NodeId(self.any()?) })
    }

    fn mark(&mut self) -> Option<Mark> {
        Some(Mark::new(self.slot()?, self.round()?))
    }

    fn values(&mut self, ballot: Ballot, after: Mark) -> Option<Vec<LogEntry>> {
        let count = usize::try_from(self.0.try_get_u32_le().ok()?).ok()?;
        if count > VALUES_MAX {
            return None;
        }
        let mut values = Vec::with_capacity(count.min(self.0.remaining() / 13));
        let mut last = after;
        for _ in 0..count {
            let term = self.round()?;
            let kind = match self.0.try_get_u8().ok()? {
                0 => EntryKind::Command,
                1 => EntryKind::Engine,
                _ => return None,
            };
            let size = usize::try_from(self.0.try_get_u32_le().ok()?).ok()?;
            if size > ENTRY_SIZE_MAX || size > self.0.remaining() {
                return None;
            }
            let value = LogEntry { index: last.slot.next(), term, kind, payload: self.0.split_to(size) };
            if term < last.round || term > ballot.round || term.0 == 0 || !is_ours(&value) {
                return None;
            }
            last = Mark::of(&value);
            values.push(value);
        }
        Some(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::no_op;
    use alloc::vec;

    fn all() -> Vec<Message> {
        let ballot = Ballot { round: Term(7), node: NodeId(2) };
        let mark = Mark::new(LogIndex(9), Term(5));
        let engine =
            LogEntry { index: LogIndex(10), term: Term(6), kind: EntryKind::Engine, payload: no_op() };
        let command = LogEntry {
            index: LogIndex(11),
            term: Term(7),
            kind: EntryKind::Command,
            payload: Bytes::from_static(b"x"),
        };
        let values = vec![engine, command];
        let slot = LogIndex(8);
        vec![
            Message::PreVote { attempt: 3, last: slot },
            Message::PreVoteGranted { attempt: 3, round: Term(2) },
            Message::Prepare { ballot },
            Message::Promise { ballot, accepted: mark },
            Message::Refuse { ballot, promised: Ballot { round: Term(9), node: NodeId(0) } },
            Message::Learn { ballot, after: mark },
            Message::Learned { ballot, after: mark, values: values.clone() },
            Message::Accept { ballot, after: mark, values, decided: slot },
            Message::Accepted { ballot, last: slot },
            Message::Missing { ballot, after: slot, hint: mark },
            Message::Decision { ballot, decided: slot },
            Message::Heartbeat { ballot, decided: slot, sequence: 4 },
            Message::HeartbeatReply { ballot, sequence: 4 },
            Message::Checkpoint { ballot, last: mark },
            Message::TransferLeadership { ballot },
            Message::ReadIndex { incarnation: u64::MAX, read: 1 },
            Message::ReadIndexReply { incarnation: u64::MAX, read: 1, index: slot },
        ]
    }

    #[test]
    fn messages_survive_a_round_trip_and_other_bytes_are_rejected() {
        for message in all() {
            let bytes = encode(&message);
            assert_eq!(decode(&bytes).as_ref(), Some(&message));
            for size in 0..bytes.len() {
                assert_eq!(decode(&bytes.slice(..size)), None, "{message:?} cut at {size}");
            }
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(decode(&longer.into()), None, "{message:?} and a byte");
            for at in 0..bytes.len() {
                let mut changed = bytes.to_vec();
                changed[at] ^= 0xff;
                // The bytes may be another message, but decoding them must not panic.
                drop(decode(&changed.into()));
            }
        }
    }

    #[test]
    fn values_out_of_round_order_are_rejected() {
        let ballot = Ballot { round: Term(7), node: NodeId(2) };
        let value = |term| LogEntry {
            index: LogIndex(10),
            term: Term(term),
            kind: EntryKind::Command,
            payload: Bytes::from_static(b"x"),
        };
        for (term, is_message) in [(4, false), (5, true), (7, true), (8, false)] {
            let after = Mark::new(LogIndex(9), Term(5));
            let learned = Message::Learned { ballot, after, values: vec![value(term)] };
            assert_eq!(decode(&encode(&learned)).is_some(), is_message, "round {term}");
        }
    }
}
