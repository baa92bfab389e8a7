//! Requests of clients with a session. The client and its request number precede the events, so that a retry
//! is not applied again.
//!
//! There are three operations for them. Their bodies begin with a head of 80 bytes ([`SessionHead`]),
//! little-endian:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 16 | client |
//! | 16 | 16 | checksum of the request |
//! | 32 | 16 | parent: the context of the previous reply |
//! | 48 | 8 | session; 0 to open one |
//! | 56 | 4 | number of the request; 0 to open a session |
//! | 60 | 4 | release of the client |
//! | 64 | 4 | view, for the reply |
//! | 68 | 2 | number of batches |
//! | 70 | 2 | operation that the batches are for |
//! | 72 | 8 | zero |
//!
//! In *open session*, nothing follows the head. In *session create*, the events follow, and then the trailer
//! of `codec::batches` unless there is exactly one batch. In *session reply*, the reply to a read follows.
//! The read was executed before; its reply is in the log so that a retry finds it.
//!
//! The answer to each operation begins with 32 bytes ([`SessionAnswer`]): outcome u8 (0 reply, 1 ignored, 2
//! no session, 3 session too low, 4 release mismatch), zero 3, view u32, index u64, time u64, zero 8. In a
//! reply, a body follows: 16 bytes for each event, in the batches of the request and with their trailer, or
//! the result of a read.

use alloc::vec::Vec;

use bezant_codec::{Batches, Creates, DecodeError, Operation, Reader, trailer_size};
use bezant_rsm::{Admission, Command, Context, SessionRequest};
use bezant_types::limits::{EVENTS_MAX, RECORD_SIZE, RESULT_SIZE};
use bezant_types::{Account, ClientId, LogIndex, Nanos, SessionNumber};
use bytes::{BufMut, Bytes};

use crate::Ledger;
use crate::batch::{BatchEvent, Results};
use crate::create_transfers::ClassicTransfer;
use crate::found::Found;

/// Size of the head before the events of a request with a session, in bytes.
pub const SESSION_HEAD_SIZE: usize = 80;
/// Size of the head before the body of an answer to such a request, in bytes.
pub const SESSION_ANSWER_SIZE: usize = 32;

/// The head of a request with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SessionHead {
    /// The client, its session, and the number and checksum that identify a retry.
    pub request: SessionRequest,
    /// The view in which the request was received; it is copied into the reply.
    pub view: u32,
    /// Number of batches; 0 when there are no events.
    pub batches: u16,
    /// [`Operation::CreateAccounts`] or [`Operation::CreateTransfers`] for a *session create*, otherwise any
    /// value.
    pub operation: u16,
}

impl SessionHead {
    /// The bytes of the head.
    pub fn to_bytes(&self) -> [u8; SESSION_HEAD_SIZE] {
        let mut bytes = [0; SESSION_HEAD_SIZE];
        let mut rest = &mut bytes[..];
        rest.put_u128_le(self.request.client.0);
        rest.put_u128_le(self.request.checksum);
        rest.put_u128_le(self.request.parent.0);
        rest.put_u64_le(self.request.session.0);
        rest.put_u32_le(self.request.number);
        rest.put_u32_le(self.request.release);
        rest.put_u32_le(self.view);
        rest.put_u16_le(self.batches);
        rest.put_u16_le(self.operation);
        bytes
    }

    /// Reads the head.
    pub fn from_reader(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let client = ClientId(reader.u128()?);
        let checksum = reader.u128()?;
        let parent = Context(reader.u128()?);
        let session = SessionNumber(reader.u64()?);
        let (number, release) = (reader.u32()?, reader.u32()?);
        let request = SessionRequest { client, session, number, release, checksum, parent };
        let head = Self { request, view: reader.u32()?, batches: reader.u16()?, operation: reader.u16()? };
        if reader.array::<8>()? == [0; 8] { Ok(head) } else { Err(DecodeError::Reserved) }
    }

    /// The command that opens a session.
    pub fn open(&self) -> Command {
        Command {
            operation: Operation::OpenSession as u16,
            events: 0,
            body: Bytes::copy_from_slice(&self.to_bytes()),
        }
    }

    /// The command that stores the reply to a read; `body` is the head followed by the reply.
    pub const fn reply(body: Bytes) -> Command {
        Command { operation: Operation::SessionReply as u16, events: 0, body }
    }

    /// The command that creates accounts or transfers; `body` is the head followed by the events. An error
    /// when the events do not match the head.
    pub fn create(body: Bytes) -> Result<Command, DecodeError> {
        let create = SessionCreate::decode(&body)?;
        let events = create.events_count();
        if events > EVENTS_MAX {
            return Err(DecodeError::Size);
        }
        let events = u32::try_from(events).map_err(|_| DecodeError::Size)?;
        Ok(Command { operation: Operation::SessionCreate as u16, events, body })
    }
}

/// The outcome of a request with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SessionOutcome {
    /// The reply follows; the request was executed now or before.
    Reply = 0,
    /// Nothing was done, and the client gets no answer.
    Ignored = 1,
    /// The client is evicted: it has no session.
    NoSession = 2,
    /// The client is evicted: it has opened a later session.
    SessionTooLow = 3,
    /// The client is evicted: it has changed its release.
    ReleaseMismatch = 4,
}

impl SessionOutcome {
    const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Reply,
            1 => Self::Ignored,
            2 => Self::NoSession,
            3 => Self::SessionTooLow,
            4 => Self::ReleaseMismatch,
            _ => return None,
        })
    }
}

/// The head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionAnswer {
    /// The outcome of the request.
    pub outcome: SessionOutcome,
    /// The view of the request that was executed.
    pub view: u32,
    /// Index of the entry that executed the request.
    pub index: LogIndex,
    /// Timestamp of the last event of the request.
    pub time: Nanos,
}

impl SessionAnswer {
    /// The context of the reply, which the next request must name as its parent. The reply to a read has the
    /// context of the reply before it.
    pub const fn context(&self) -> Context {
        Context::new(self.index, self.time)
    }

    /// The bytes of the answer's head.
    pub fn to_bytes(&self) -> [u8; SESSION_ANSWER_SIZE] {
        let mut bytes = [0; SESSION_ANSWER_SIZE];
        let mut rest = &mut bytes[..];
        rest.put_u32_le(u32::from(self.outcome as u8));
        rest.put_u32_le(self.view);
        rest.put_u64_le(self.index.0);
        rest.put_u64_le(self.time.0);
        bytes
    }

    /// Reads the head of an answer.
    pub fn from_reader(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let outcome = u8::try_from(reader.u32()?).ok().and_then(SessionOutcome::from_number);
        let answer = Self {
            outcome: outcome.ok_or(DecodeError::Value)?,
            view: reader.u32()?,
            index: LogIndex(reader.u64()?),
            time: Nanos(reader.u64()?),
        };
        if reader.u64()? == 0 { Ok(answer) } else { Err(DecodeError::Reserved) }
    }
}

/// The decoded body of a *session create*.
#[derive(Clone, Copy, Debug)]
struct SessionCreate<'body> {
    creates: Creates,
    events: Events<'body>,
}

#[derive(Clone, Copy, Debug)]
enum Events<'body> {
    One(&'body [u8]),
    Many(Batches<'body>),
}

impl<'body> SessionCreate<'body> {
    fn decode(body: &'body [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let head = SessionHead::from_reader(&mut reader)?;
        let operation = Operation::from_number(head.operation);
        let operation = operation.filter(|operation| operation.event_size() == RECORD_SIZE);
        let creates = operation.and_then(Operation::creates).ok_or(DecodeError::Value)?;
        let rest = reader.rest();
        let events = if head.batches == 1 {
            if !rest.len().is_multiple_of(RECORD_SIZE) {
                return Err(DecodeError::Size);
            }
            Events::One(rest)
        } else {
            let batches = Batches::decode(rest, RECORD_SIZE)?;
            if batches.count() != usize::from(head.batches) {
                return Err(DecodeError::Size);
            }
            Events::Many(batches)
        };
        Ok(Self { creates, events })
    }

    fn batches(&self) -> impl Iterator<Item = &'body [u8]> + use<'body> {
        let (one, many) = match self.events {
            Events::One(events) => (Some(events), None),
            Events::Many(batches) => (None, Some(batches.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Number of events in each batch.
    fn sizes(&self) -> Vec<usize> {
        self.batches().map(|batch| batch.len() / RECORD_SIZE).collect()
    }

    /// Size of the results with their trailer, in bytes.
    fn results_size(&self) -> usize {
        let batches = match self.events {
            Events::One(_) => 1,
            Events::Many(batches) => batches.count(),
        };
        self.events_count() * RESULT_SIZE + trailer_size(batches, RESULT_SIZE)
    }

    fn events_count(&self) -> usize {
        match self.events {
            Events::One(events) => events.len() / RECORD_SIZE,
            Events::Many(batches) => batches.records(),
        }
    }
}

/// The answer to a request that is not executed; `None` for a request that must be executed.
pub(crate) fn answer_of(admission: Admission) -> Option<Bytes> {
    let outcome = match admission {
        Admission::Execute => return None,
        Admission::Reply(reply) => return Some(reply),
        Admission::Ignore => SessionOutcome::Ignored,
        Admission::NoSession => SessionOutcome::NoSession,
        Admission::SessionTooLow => SessionOutcome::SessionTooLow,
        Admission::ReleaseMismatch => SessionOutcome::ReleaseMismatch,
    };
    let answer = SessionAnswer { outcome, view: 0, index: LogIndex(0), time: Nanos(0) };
    Some(Bytes::copy_from_slice(&answer.to_bytes()))
}

impl Ledger {
    /// Applies an operation with a session. `first` is the timestamp of its first event, if it has any.
    pub(crate) fn apply_session(
        &mut self,
        operation: Operation,
        index: LogIndex,
        command: &Command,
        first: Nanos,
        found: &Found,
    ) -> Bytes {
        let body = &command.body;
        let mut reader = Reader::new(body);
        // This program proposes these commands only after it has decoded them, so an invalid one is never
        // applied. It does nothing, like one whose number of events does not match: see `apply_command`.
        let Ok(head) = SessionHead::from_reader(&mut reader) else { return Bytes::new() };
        let create = (operation == Operation::SessionCreate).then(|| SessionCreate::decode(body));
        let Ok(create) = create.transpose() else { return Bytes::new() };
        let events = create.map_or(0, |create| create.events_count());
        if u32::try_from(events) != Ok(command.events) {
            return Bytes::new();
        }
        let time = Nanos((first.0 + u64::from(command.events)).saturating_sub(1).max(1));
        let answer = SessionAnswer { outcome: SessionOutcome::Reply, view: head.view, index, time };
        if let Some(refused) = answer_of(self.sessions.admit(&head.request)) {
            return refused;
        }
        let mut context = answer.context();
        let reply = if let Some(create) = create {
            let mut results = Results::with_head(&answer.to_bytes(), create.results_size());
            match create.creates {
                Creates::Accounts => self.apply_batches::<Account>(&create, first, found, &mut results),
                Creates::Transfers => {
                    let rules = self.rules;
                    self.rules = rules.classic();
                    self.apply_batches::<ClassicTransfer>(&create, first, found, &mut results);
                    self.rules = rules;
                }
            }
            results.into_batches(&create.sizes())
        } else {
            if operation == Operation::SessionReply {
                // A read changes nothing, and its reply may not reach the log. So the next request names the
                // same parent in both cases.
                context = head.request.parent;
            }
            Bytes::from([&answer.to_bytes()[..], reader.rest()].concat())
        };
        self.sessions.complete(&head.request, index, context, reply.clone());
        reply
    }

    fn apply_batches<E: BatchEvent>(
        &mut self,
        create: &SessionCreate<'_>,
        first: Nanos,
        found: &Found,
        results: &mut Results,
    ) {
        let mut first = first;
        for batch in create.batches() {
            self.apply_batch::<E>(batch, first, found, results);
            first = Nanos(first.0 + (batch.len() / RECORD_SIZE) as u64);
        }
    }
}

/// The records in all batches of a *session create*, for the fetch; empty when the body is invalid.
pub(crate) fn records_of(body: &[u8]) -> (Option<Creates>, impl Iterator<Item = &[u8; RECORD_SIZE]>) {
    let create = SessionCreate::decode(body).ok();
    let creates = create.map(|create| create.creates);
    let batches = create.into_iter().flat_map(|create| create.batches());
    (creates, batches.flat_map(|batch| batch.as_chunks::<RECORD_SIZE>().0))
}

const _: () =
    assert!(RESULT_SIZE * 2 == SESSION_ANSWER_SIZE, "the answer's head has the size of two results");

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> SessionHead {
        SessionHead {
            request: SessionRequest {
                client: ClientId(1),
                session: SessionNumber(2),
                number: 3,
                release: 4,
                checksum: 5,
                parent: Context(6),
            },
            view: 7,
            batches: 8,
            operation: 2,
        }
    }

    #[test]
    fn heads_and_answers_round_trip() {
        let mut bytes = head().to_bytes();
        assert_eq!(SessionHead::from_reader(&mut Reader::new(&bytes)), Ok(head()));
        bytes[79] = 1;
        assert_eq!(SessionHead::from_reader(&mut Reader::new(&bytes)), Err(DecodeError::Reserved));
        for number in 0..5 {
            let outcome = SessionOutcome::from_number(number).unwrap();
            let answer = SessionAnswer { outcome, view: 1, index: LogIndex(2), time: Nanos(3) };
            assert_eq!(SessionAnswer::from_reader(&mut Reader::new(&answer.to_bytes())), Ok(answer));
            assert_eq!(answer.context(), Context::new(LogIndex(2), Nanos(3)));
        }
        assert_eq!(SessionOutcome::from_number(5), None);
    }

    #[test]
    fn a_create_counts_its_events_and_rejects_partial_records() {
        let body = |batches, operation, events: &[u8]| {
            let head = SessionHead { batches, operation, ..head() };
            Bytes::from([&head.to_bytes()[..], events].concat())
        };
        assert_eq!(SessionHead::create(body(1, 2, &[0; 256])).unwrap().events, 2);
        assert_eq!(SessionHead::create(body(1, 1, &[])).unwrap().events, 0);
        let mut many = alloc::vec![0; 384];
        bezant_codec::put_trailer(&mut many, &[1, 2], RECORD_SIZE);
        assert_eq!(SessionHead::create(body(2, 2, &many)).unwrap().events, 3);
        assert!(SessionHead::create(body(3, 2, &many)).is_err(), "the head says three batches");
        assert!(SessionHead::create(body(1, 2, &[0; 255])).is_err(), "half a record");
        assert!(SessionHead::create(body(1, 9, &[0; 128])).is_err(), "not an operation that creates");
        let most = alloc::vec![0; EVENTS_MAX * RECORD_SIZE];
        assert_eq!(SessionHead::create(body(1, 2, &most)).map(|it| it.events as usize), Ok(EVENTS_MAX));
        assert!(SessionHead::create(body(1, 2, &alloc::vec![0; 8190 * 128])).is_err(), "too many");
        assert!(SessionHead::create(Bytes::from_static(&[0; 79])).is_err(), "half a head");
    }

    #[test]
    fn memory_for_results_is_reserved_once() {
        let body = |sizes: &[usize]| {
            let count = sizes.len();
            let head = SessionHead { batches: u16::try_from(count).unwrap(), operation: 2, ..head() };
            let mut events = alloc::vec![0; sizes.iter().sum::<usize>() * RECORD_SIZE];
            if count != 1 {
                bezant_codec::put_trailer(&mut events, sizes, RECORD_SIZE);
            }
            [&head.to_bytes()[..], &events].concat()
        };
        for sizes in [&[2][..], &[0], &[1, 2], &[3, 0, 4, 1]] {
            let body = body(sizes);
            let create = SessionCreate::decode(&body).unwrap();
            assert_eq!((create.sizes(), create.events_count()), (sizes.to_vec(), sizes.iter().sum()));
            let mut results = alloc::vec![0; create.events_count() * RESULT_SIZE];
            bezant_codec::put_trailer(&mut results, sizes, RESULT_SIZE);
            assert_eq!(create.results_size(), results.len(), "{sizes:?}");
        }
    }
}
