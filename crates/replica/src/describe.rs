//! Messages on one line each, for traces.

use alloc::format;
use alloc::string::String;

use bezant_consensus::{Describe, Description, MessageKind};

use crate::message::{ChunkPart, ForwardNumber, Outcome, PeerMessage, Pull};
use crate::origin::CHANGE_OPERATION;

impl PeerMessage {
    /// The message on one line; `engine` describes the engine's messages.
    pub fn describe(&self, engine: Describe) -> Description {
        match self {
            Self::Engine(bytes) => engine(bytes).unwrap_or_else(|| {
                Description::new(MessageKind::Unknown, format!("{} bytes of no known message", bytes.len()))
            }),
            Self::Forward(number, command) if command.operation == CHANGE_OPERATION => {
                command_text(*number, "a change of the members")
            }
            Self::Forward(number, command) => {
                let plural = if command.events == 1 { "" } else { "s" };
                let what = format!("{} event{plural} of operation {}", command.events, command.operation);
                command_text(*number, &what)
            }
            Self::Outcome(number, outcome) => command_text(*number, &outcome_text(outcome)),
            Self::Pull(pull) => Description::new(MessageKind::CatchUp, pull_text(pull)),
            Self::Chunk(chunk) => {
                let text = format!("checkpoint {}: {}", chunk.head.index, part_text(&chunk.part));
                Description::new(MessageKind::CatchUp, text)
            }
            Self::Digest { index, digest } => {
                let [first, second, third, ..] = digest;
                let text = format!("state after {index} is {first:02x}{second:02x}{third:02x}..");
                Description::new(MessageKind::Digest, text)
            }
            Self::Stopped(conflict) => Description::new(MessageKind::Digest, format!("stopped: {conflict}")),
            Self::Rest { term, index } => {
                Description::new(MessageKind::Election, format!("rest in term {term} after {index}"))
            }
            Self::Wake => Description::new(MessageKind::Election, String::from("wake")),
            Self::Clock(wall) => {
                Description::new(MessageKind::Heartbeat, format!("clock shows {} ns", wall.0))
            }
        }
    }
}

fn command_text(number: ForwardNumber, what: &str) -> Description {
    Description::new(MessageKind::Command, format!("command {}: {what}", number.number))
}

fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { index, .. } => format!("done in entry {index}"),
        Outcome::Overloaded => String::from("refused, overloaded"),
        Outcome::ReadOnly(reason) => {
            format!("refused, read-only: {}", reason.lines().next().unwrap_or_default())
        }
        Outcome::NotTaken(reason) => {
            format!("refused, nothing was done: {}", reason.lines().next().unwrap_or_default())
        }
        Outcome::NotDone => String::from("not done: no leader"),
        Outcome::Unknown => String::from("not known whether it is done"),
    }
}

fn pull_text(pull: &Pull) -> String {
    let (rows, refusals) = (pull.position.movements, pull.position.refusals);
    let which = if pull.index.0 == 0 {
        String::from("the newest checkpoint")
    } else {
        format!("checkpoint {} from byte {}", pull.index, pull.offset)
    };
    format!("request for {which}; has {rows} + {refusals} rows")
}

fn part_text(part: &ChunkPart) -> String {
    match part {
        ChunkPart::Rows { from, until, .. } => {
            let rows = |position: &bezant_types::HistoryPosition| {
                format!("{} + {}", position.movements, position.refusals)
            };
            format!("rows from {} to {}", rows(from), rows(until))
        }
        ChunkPart::State { offset, bytes, .. } => format!("{} bytes from {offset} on", bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::change_command;
    use crate::message::{Chunk, ChunkHead};
    use bezant_consensus::{Change, Members, Terms};
    use bezant_rsm::Command;
    use bezant_types::{HistoryPosition, LogIndex, Nanos, NodeId, Term};
    use bytes::Bytes;

    fn engine(bytes: &Bytes) -> Option<Description> {
        (bytes.len() == 1).then(|| Description::new(MessageKind::Entries, String::from("an append")))
    }

    #[track_caller]
    fn check(message: &PeerMessage, kind: MessageKind, text: &str) {
        assert_eq!(message.describe(engine), Description::new(kind, String::from(text)));
    }

    #[test]
    fn the_engine_describes_its_messages() {
        check(&PeerMessage::Engine(Bytes::from_static(b"1")), MessageKind::Entries, "an append");
        let unknown = PeerMessage::Engine(Bytes::from_static(b"12"));
        check(&unknown, MessageKind::Unknown, "2 bytes of no known message");
    }

    #[test]
    fn commands_and_their_outcomes_carry_one_number() {
        let number = ForwardNumber { incarnation: 9, number: 17 };
        let kind = MessageKind::Command;
        let command = Command { operation: 2, events: 3, body: Bytes::new() };
        check(&PeerMessage::Forward(number, command), kind, "command 17: 3 events of operation 2");
        let change = change_command(&Change::Promote(NodeId(4)), LogIndex(0));
        check(&PeerMessage::Forward(number, change), kind, "command 17: a change of the members");
        let done = Outcome::Done { index: LogIndex(41), time: Nanos(0), results: Bytes::new() };
        for (outcome, text) in [
            (done, "done in entry 41"),
            (Outcome::Overloaded, "refused, overloaded"),
            (Outcome::ReadOnly(String::from("disk\nfull")), "refused, read-only: disk"),
            (Outcome::NotTaken(String::from("clock")), "refused, nothing was done: clock"),
            (Outcome::NotDone, "not done: no leader"),
            (Outcome::Unknown, "not known whether it is done"),
        ] {
            check(&PeerMessage::Outcome(number, outcome), kind, &format!("command 17: {text}"));
        }
    }

    #[test]
    fn catching_up_digests_and_rest() {
        let kind = MessageKind::CatchUp;
        let position = HistoryPosition { movements: 5, refusals: 1 };
        let pull = Pull { index: LogIndex(0), offset: 0, position };
        let asked = "request for the newest checkpoint; has 5 + 1 rows";
        check(&PeerMessage::Pull(pull), kind, asked);
        let pull = Pull { index: LogIndex(60), offset: 4096, position };
        let asked = "request for checkpoint 60 from byte 4096; has 5 + 1 rows";
        check(&PeerMessage::Pull(pull), kind, asked);
        let head = ChunkHead {
            index: LogIndex(60),
            term: Term(2),
            time: Nanos(0),
            position,
            size: 9000,
            digest: [0; 32],
        };
        let from = HistoryPosition { movements: 2, refusals: 0 };
        let rows = ChunkPart::Rows { from, until: position, bytes: Bytes::new() };
        let rows = PeerMessage::Chunk(Chunk { head, part: rows });
        check(&rows, kind, "checkpoint 60: rows from 2 + 0 to 5 + 1");
        let part = ChunkPart::State {
            offset: 4096,
            members: Members::default(),
            terms: Terms::new(),
            bytes: Bytes::from_static(&[1, 2]),
        };
        check(&PeerMessage::Chunk(Chunk { head, part }), kind, "checkpoint 60: 2 bytes from 4096 on");
        let digest = PeerMessage::Digest { index: LogIndex(60), digest: [0xab; 32] };
        check(&digest, MessageKind::Digest, "state after 60 is ababab..");
        let rest = PeerMessage::Rest { term: Term(2), index: LogIndex(60) };
        check(&rest, MessageKind::Election, "rest in term 2 after 60");
        check(&PeerMessage::Wake, MessageKind::Election, "wake");
    }
}
