//! The messages between replicas. One kind wraps the messages of their engines.
//!
//! The kind is the last byte of a message. So a message of the engine, which may contain entries, becomes a
//! peer message without a copy. Integers are little-endian. Bytes from a peer are parsed, never trusted.
//!
//! | kind | content |
//! |---|---|
//! | 1 engine | the engine's own format |
//! | 2 forward | incarnation u64, number u64, operation u16, events u32, body |
//! | 3 outcome | incarnation u64, number u64, kind u8 (1 done, 2 overloaded, 3 read-only, 4 not done, 5 unknown, 6 not taken); done: index u64, time u64, results; read-only and not taken: the reason in UTF-8 |
//! | 4 pull | checkpoint u64 (0 = the newest), offset u64, movements u64, refusals u64 |
//! | 5 chunk | head of 120 bytes (see [`ChunkHead`]), part u8 (1 rows, 3 state); rows: from and until as two u64 each, rows; state: offset u64, members (see [`Members::encode`]), terms (see [`Terms::encode`]), bytes |
//! | 6 digest | index u64, SHA-256 |
//! | 7 clock | ns since 1970 u64 |
//! | 8 stopped | see [`Conflict::encode`] |
//! | 9 rest | term u64, index u64 |
//! | 10 wake | – |

use alloc::string::String;
use alloc::vec::Vec;

use bezant_consensus::{Conflict, Members, Terms};
use bezant_rsm::Command;
use bezant_types::{HistoryPosition, LogIndex, Nanos, Term};
use bytes::{BufMut, Bytes, BytesMut};

/// Identifies a command that one node forwarded to another. It contains the sender's incarnation, so that an
/// answer to an earlier incarnation is never taken for an answer to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForwardNumber {
    /// Random number of the sender's incarnation.
    pub incarnation: u64,
    /// Counts up from 1 in an incarnation.
    pub number: u64,
}

/// The outcome of a forwarded command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable and applied.
    Done {
        /// The entry that contains the command.
        index: LogIndex,
        /// Timestamp of the command's last event.
        time: Nanos,
        /// The machine's answer.
        results: Bytes,
    },
    /// A queue of the leader is full; nothing was done.
    Overloaded,
    /// The leader takes no writes, for this reason.
    ReadOnly(String),
    /// The leader does not take the command, for this reason: it takes none for now, or this one is malformed
    /// or too large. Nothing was done.
    NotTaken(String),
    /// It was not done, and will not be. The sender may forward it again, to the present leader.
    NotDone,
    /// It is not known whether the command was done.
    Unknown,
}

/// A lagging replica's request for the next rows, or, when it has all rows, for the next bytes of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pull {
    /// The checkpoint whose state the replica has begun to fetch; 0 for the newest.
    pub index: LogIndex,
    /// Bytes of that state that the replica has.
    pub offset: u64,
    /// The end of the replica's history.
    pub position: HistoryPosition,
}

/// The checkpoint that a chunk belongs to. On the wire: index, term, time, movements, refusals, size as u64,
/// digest of 32 bytes, and 40 reserved bytes of zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHead {
    /// The last entry that the checkpoint includes.
    pub index: LogIndex,
    /// That entry's term.
    pub term: Term,
    /// Cluster time of that entry.
    pub time: Nanos,
    /// The end of the history at that entry.
    pub position: HistoryPosition,
    /// Bytes of the encoded state.
    pub size: u64,
    /// SHA-256 of the encoded state.
    pub digest: [u8; 32],
}

/// A part of a checkpoint, or of the history that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The checkpoint.
    pub head: ChunkHead,
    /// The part.
    pub part: ChunkPart,
}

/// The content of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkPart {
    /// Rows of the history.
    Rows {
        /// The position of the first row.
        from: HistoryPosition,
        /// The position after the last row.
        until: HistoryPosition,
        /// In the history's own format.
        bytes: Bytes,
    },
    /// Bytes of the state.
    State {
        /// The offset of `bytes` in the encoded state.
        offset: u64,
        /// The membership at the checkpoint's entry or at a later one.
        members: Members,
        /// The terms of the sender's committed log, at least up to the checkpoint's entry; empty if the
        /// sender has none.
        terms: Terms,
        /// The bytes of the state.
        bytes: Bytes,
    },
}

/// A message from one replica to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// A message of the engine.
    Engine(Bytes),
    /// A client's command, for the leader.
    Forward(ForwardNumber, Command),
    /// The outcome of a forwarded command.
    Outcome(ForwardNumber, Outcome),
    /// A request for a part of a checkpoint.
    Pull(Pull),
    /// A part of a checkpoint.
    Chunk(Chunk),
    /// The digest of the sender's state.
    Digest {
        /// The last entry that the state includes.
        index: LogIndex,
        /// SHA-256 of the state.
        digest: [u8; 32],
    },
    /// The sender's wall clock. It is for the driver; a replica has no clock and ignores it.
    Clock(Nanos),
    /// The sender has stopped for this conflict: it knows entries to be committed that other replicas lack.
    Stopped(Conflict),
    /// The sender leads, has nothing to do, and rests: it sends no heartbeats until it wakes.
    Rest {
        /// The term in which it leads.
        term: Term,
        /// The last entry of its log, which is applied.
        index: LogIndex,
    },
    /// The receiver must not rest: the sender cannot, or has something to do, or does not lead any more.
    Wake,
}

const ENGINE: u8 = 1;
const FORWARD: u8 = 2;
const OUTCOME: u8 = 3;
const PULL: u8 = 4;
const CHUNK: u8 = 5;
const DIGEST: u8 = 6;
const CLOCK: u8 = 7;
const STOPPED: u8 = 8;
const REST: u8 = 9;
const WAKE: u8 = 10;

const DONE: u8 = 1;
const OVERLOADED: u8 = 2;
const READ_ONLY: u8 = 3;
const NOT_DONE: u8 = 4;
const UNKNOWN: u8 = 5;
const NOT_TAKEN: u8 = 6;

const ROWS: u8 = 1;
const STATE: u8 = 3;

const CHUNK_HEAD_SPARE: usize = 40;

impl PeerMessage {
    /// Encodes the message for the wire.
    pub fn encode(self) -> Bytes {
        let (mut bytes, kind) = match self {
            Self::Engine(bytes) => {
                (bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared)), ENGINE)
            }
            Self::Forward(number, command) => (encode_forward(number, &command), FORWARD),
            Self::Outcome(number, outcome) => (encode_outcome(number, &outcome), OUTCOME),
            Self::Pull(pull) => {
                let mut bytes = BytesMut::with_capacity(33);
                bytes.put_u64_le(pull.index.0);
                bytes.put_u64_le(pull.offset);
                put_position(&mut bytes, pull.position);
                (bytes, PULL)
            }
            Self::Chunk(chunk) => (encode_chunk(&chunk), CHUNK),
            Self::Digest { index, digest } => {
                let mut bytes = BytesMut::with_capacity(41);
                bytes.put_u64_le(index.0);
                bytes.put_slice(&digest);
                (bytes, DIGEST)
            }
            Self::Clock(wall) => {
                let mut bytes = BytesMut::with_capacity(9);
                bytes.put_u64_le(wall.0);
                (bytes, CLOCK)
            }
            Self::Stopped(conflict) => (BytesMut::from(&*conflict.encode()), STOPPED),
            Self::Rest { term, index } => {
                let mut bytes = BytesMut::with_capacity(17);
                bytes.put_u64_le(term.0);
                bytes.put_u64_le(index.0);
                (bytes, REST)
            }
            Self::Wake => (BytesMut::with_capacity(1), WAKE),
        };
        bytes.put_u8(kind);
        bytes.freeze()
    }

    /// Decodes bytes from the wire; `None` when they are not a message of this version.
    pub fn decode(mut bytes: Bytes) -> Option<Self> {
        let kind = *bytes.last()?;
        bytes.truncate(bytes.len() - 1);
        let mut reader = Reader(bytes);
        let message = match kind {
            ENGINE => return Some(Self::Engine(reader.0)),
            FORWARD => {
                let number = reader.number()?;
                let (operation, events) = (reader.u16()?, reader.u32()?);
                Self::Forward(number, Command { operation, events, body: reader.rest() })
            }
            OUTCOME => Self::Outcome(reader.number()?, decode_outcome(&mut reader)?),
            PULL => Self::Pull(Pull {
                index: LogIndex(reader.u64()?),
                offset: reader.u64()?,
                position: reader.position()?,
            }),
            CHUNK => Self::Chunk(decode_chunk(&mut reader)?),
            DIGEST => Self::Digest { index: LogIndex(reader.u64()?), digest: reader.array()? },
            CLOCK => Self::Clock(Nanos(reader.u64()?)),
            STOPPED => Self::Stopped(Conflict::decode(&reader.rest())?),
            REST => Self::Rest { term: Term(reader.u64()?), index: LogIndex(reader.u64()?) },
            WAKE => Self::Wake,
            _ => return None,
        };
        reader.0.is_empty().then_some(message)
    }
}

fn put_position(bytes: &mut BytesMut, position: HistoryPosition) {
    bytes.put_u64_le(position.movements);
    bytes.put_u64_le(position.refusals);
}

fn encode_forward(number: ForwardNumber, command: &Command) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(32 + command.body.len());
    bytes.put_u64_le(number.incarnation);
    bytes.put_u64_le(number.number);
    bytes.put_u16_le(command.operation);
    bytes.put_u32_le(command.events);
    bytes.put_slice(&command.body);
    bytes
}

fn encode_outcome(number: ForwardNumber, outcome: &Outcome) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(64);
    bytes.put_u64_le(number.incarnation);
    bytes.put_u64_le(number.number);
    match outcome {
        Outcome::Done { index, time, results } => {
            bytes.reserve(32 + results.len());
            bytes.put_u8(DONE);
            bytes.put_u64_le(index.0);
            bytes.put_u64_le(time.0);
            bytes.put_slice(results);
        }
        Outcome::Overloaded => bytes.put_u8(OVERLOADED),
        Outcome::ReadOnly(reason) => {
            bytes.put_u8(READ_ONLY);
            bytes.put_slice(reason.as_bytes());
        }
        Outcome::NotTaken(reason) => {
            bytes.put_u8(NOT_TAKEN);
            bytes.put_slice(reason.as_bytes());
        }
        Outcome::NotDone => bytes.put_u8(NOT_DONE),
        Outcome::Unknown => bytes.put_u8(UNKNOWN),
    }
    bytes
}

fn decode_outcome(reader: &mut Reader) -> Option<Outcome> {
    Some(match reader.u8()? {
        DONE => Outcome::Done {
            index: LogIndex(reader.u64()?),
            time: Nanos(reader.u64()?),
            results: reader.rest(),
        },
        OVERLOADED => Outcome::Overloaded,
        READ_ONLY => Outcome::ReadOnly(reader.text()?),
        NOT_TAKEN => Outcome::NotTaken(reader.text()?),
        NOT_DONE => Outcome::NotDone,
        UNKNOWN => Outcome::Unknown,
        _ => return None,
    })
}

fn encode_chunk(chunk: &Chunk) -> BytesMut {
    let (ChunkPart::Rows { bytes: content, .. } | ChunkPart::State { bytes: content, .. }) = &chunk.part;
    let mut bytes = BytesMut::with_capacity(192 + content.len());
    let head = &chunk.head;
    bytes.put_u64_le(head.index.0);
    bytes.put_u64_le(head.term.0);
    bytes.put_u64_le(head.time.0);
    put_position(&mut bytes, head.position);
    bytes.put_u64_le(head.size);
    bytes.put_slice(&head.digest);
    bytes.put_bytes(0, CHUNK_HEAD_SPARE);
    match &chunk.part {
        ChunkPart::Rows { from, until, .. } => {
            bytes.put_u8(ROWS);
            put_position(&mut bytes, *from);
            put_position(&mut bytes, *until);
        }
        ChunkPart::State { offset, members, terms, .. } => {
            bytes.put_u8(STATE);
            bytes.put_u64_le(*offset);
            bytes.put_slice(&members.encode());
            bytes.put_slice(&terms.encode());
        }
    }
    bytes.put_slice(content);
    bytes
}

fn decode_chunk(reader: &mut Reader) -> Option<Chunk> {
    let head = ChunkHead {
        index: LogIndex(reader.u64()?),
        term: Term(reader.u64()?),
        time: Nanos(reader.u64()?),
        position: reader.position()?,
        size: reader.u64()?,
        digest: reader.array()?,
    };
    if reader.array::<CHUNK_HEAD_SPARE>()? != [0; CHUNK_HEAD_SPARE] {
        return None;
    }
    let part = match reader.u8()? {
        ROWS => ChunkPart::Rows { from: reader.position()?, until: reader.position()?, bytes: reader.rest() },
        STATE => ChunkPart::State {
            offset: reader.u64()?,
            members: reader.members()?,
            terms: reader.terms()?,
            bytes: reader.rest(),
        },
        _ => return None,
    };
    Some(Chunk { head, part })
}

/// The rest of a message.
struct Reader(Bytes);

impl Reader {
    fn array<const SIZE: usize>(&mut self) -> Option<[u8; SIZE]> {
        let array = *self.0.first_chunk::<SIZE>()?;
        self.0 = self.0.split_off(SIZE);
        Some(array)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn number(&mut self) -> Option<ForwardNumber> {
        Some(ForwardNumber { incarnation: self.u64()?, number: self.u64()? })
    }

    fn position(&mut self) -> Option<HistoryPosition> {
        Some(HistoryPosition { movements: self.u64()?, refusals: self.u64()? })
    }

    fn members(&mut self) -> Option<Members> {
        let mut rest = &*self.0;
        let members = Members::decode(&mut rest)?;
        self.0 = self.0.slice(self.0.len() - rest.len()..);
        Some(members)
    }

    fn terms(&mut self) -> Option<Terms> {
        let mut rest = &*self.0;
        let terms = Terms::decode(&mut rest)?;
        self.0 = self.0.slice(self.0.len() - rest.len()..);
        Some(terms)
    }

    fn rest(&mut self) -> Bytes {
        core::mem::take(&mut self.0)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(Vec::from(self.rest())).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bezant_types::NodeId;

    fn messages() -> Vec<PeerMessage> {
        let number = ForwardNumber { incarnation: 7, number: 8 };
        let position = HistoryPosition { movements: 3, refusals: 4 };
        let head = ChunkHead {
            index: LogIndex(1),
            term: Term(2),
            time: Nanos(3),
            position,
            size: 99,
            digest: [5; 32],
        };
        let bytes = Bytes::from_static(b"some bytes");
        let members = Members::first([(NodeId(1), String::from("a:1")), (NodeId(7), String::from("b:2"))]);
        let mut terms = Terms::new();
        assert!(terms.push(Term(3), LogIndex(1)) && terms.push(Term(5), LogIndex(9)));
        let conflict = Conflict {
            from: NodeId(3),
            term: Term(7),
            first: LogIndex(5),
            is_first_exact: true,
            committed: LogIndex(9),
            last: LogIndex(11),
            events: 40,
        };
        let done = Outcome::Done { index: LogIndex(9), time: Nanos(10), results: bytes.clone() };
        let rows =
            ChunkPart::Rows { from: HistoryPosition::default(), until: position, bytes: bytes.clone() };
        alloc::vec![
            PeerMessage::Engine(bytes.clone()),
            PeerMessage::Forward(number, Command { operation: 2, events: 3, body: bytes.clone() }),
            PeerMessage::Outcome(number, done),
            PeerMessage::Outcome(number, Outcome::Overloaded),
            PeerMessage::Outcome(number, Outcome::ReadOnly(String::from("full"))),
            PeerMessage::Outcome(number, Outcome::NotTaken(String::from("clock"))),
            PeerMessage::Outcome(number, Outcome::NotDone),
            PeerMessage::Outcome(number, Outcome::Unknown),
            PeerMessage::Pull(Pull { index: LogIndex(1), offset: 2, position }),
            PeerMessage::Chunk(Chunk { head, part: rows }),
            PeerMessage::Chunk(Chunk { head, part: ChunkPart::State { offset: 6, members, terms, bytes } }),
            PeerMessage::Stopped(conflict),
            PeerMessage::Digest { index: LogIndex(1), digest: [9; 32] },
            PeerMessage::Clock(Nanos(7)),
            PeerMessage::Rest { term: Term(3), index: LogIndex(8) },
            PeerMessage::Wake,
        ]
    }

    #[test]
    fn decoding_returns_what_was_encoded() {
        for message in messages() {
            assert_eq!(PeerMessage::decode(message.clone().encode()), Some(message));
        }
    }

    #[test]
    fn a_chunk_with_an_unknown_part_is_no_message() {
        for message in messages().into_iter().filter(|message| matches!(message, PeerMessage::Chunk(_))) {
            let mut bytes = BytesMut::from(&*message.encode());
            let part_at = 120;
            assert!([ROWS, STATE].contains(&bytes[part_at]));
            // 2 was a state without terms, in an earlier protocol.
            for part in [0, 2, 4] {
                bytes[part_at] = part;
                assert_eq!(PeerMessage::decode(bytes.clone().freeze()), None);
            }
        }
    }

    #[test]
    fn no_truncated_message_panics() {
        for message in messages() {
            let kind = message.clone().encode();
            for size in 0..kind.len() - 1 {
                let mut cut = BytesMut::from(&kind[..size]);
                cut.put_u8(kind[kind.len() - 1]);
                // Some truncated messages are valid messages with less content.
                drop(PeerMessage::decode(cut.freeze()));
            }
        }
        assert_eq!(PeerMessage::decode(Bytes::new()), None);
        assert_eq!(PeerMessage::decode(Bytes::from_static(&[0])), None);
    }
}
