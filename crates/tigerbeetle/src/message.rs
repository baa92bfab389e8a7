//! Messages: the second half of a header, by command.
//!
//! | command | fields from offset 128 on |
//! |---|---|
//! | 3 ping | client 16, monotonic time u64, session u64, zero 96 |
//! | 4 pong | the ping's time u64, zero 120 |
//! | 5 request | parent 16, zero 16, client 16, session u64, timestamp u64 = 0, number u32, operation u8, zero 3, latency of the last request u32, zero 52 |
//! | 8 reply | checksum of the request 16, zero 16, context 16, zero 16, client 16, op u64, commit u64 = op, timestamp u64, number u32, operation u8, zero 19 |
//! | 18 eviction | client 16, zero 111, reason u8 |
//!
//! A parser returns `None` for a value that no client or server sends. Such a message is dropped without an
//! answer, as in the reference implementation.

use bezant_codec::{DecodeError, Reader};
use bezant_types::{ClientId, LogIndex, Nanos, SessionNumber};
use bytes::BufMut;

use crate::frame::{HEADER_SIZE, Header, OWN_SIZE};
use crate::release::Release;

/// The command of [`Ping`].
pub const PING: u8 = 3;
/// The command of [`Pong`].
pub const PONG: u8 = 4;
/// The command of [`Request`].
pub const REQUEST: u8 = 5;
/// The command of [`Reply`].
pub const REPLY: u8 = 8;
/// The command of [`Eviction`].
pub const EVICTION: u8 = 18;

/// A client checks whether the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// The client that sends the ping.
    pub client: ClientId,
    /// The client's monotonic clock; the pong returns it.
    pub time: u64,
    /// The client's session; 0 before the client has one. The first clients of the 0.17 line always send 0.
    pub session: SessionNumber,
}

impl Ping {
    /// Parses a ping.
    pub fn read(header: &Header) -> Option<Self> {
        read(header, PING, |reader| {
            let ping = Self {
                client: ClientId(reader.u128()?),
                time: reader.u64()?,
                session: SessionNumber(reader.u64()?),
            };
            Ok((ping, reader.array()? == [0; 96] && ping.client.0 != 0))
        })
    }

    /// The frame, which has no body.
    pub fn to_bytes(&self, cluster: u128, release: Release) -> [u8; HEADER_SIZE] {
        let own = own(|rest| {
            rest.put_u128_le(self.client.0);
            rest.put_u64_le(self.time);
            rest.put_u64_le(self.session.0);
        });
        Header::new(PING, cluster, 0, release, own).seal(&[])
    }
}

/// The server's answer to a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// The time of the ping.
    pub time: u64,
    /// The current view.
    pub view: u32,
}

impl Pong {
    /// Parses a pong.
    pub fn read(header: &Header) -> Option<Self> {
        read(header, PONG, |reader| {
            let pong = Self { time: reader.u64()?, view: header.view };
            Ok((pong, reader.array()? == [0; 120]))
        })
    }

    /// The frame, which has no body.
    pub fn to_bytes(&self, cluster: u128) -> [u8; HEADER_SIZE] {
        let own = own(|rest| rest.put_u64_le(self.time));
        Header::new(PONG, cluster, self.view, Release::OWN, own).seal(&[])
    }
}

/// A client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The client that sends the request.
    pub client: ClientId,
    /// The client's session; 0 to open one.
    pub session: SessionNumber,
    /// 0 to open a session, then 1, 2, 3 and so on.
    pub number: u32,
    /// The number of the operation, see [`Operation`](crate::Operation).
    pub operation: u8,
    /// The context of the last reply; 0 to open a session.
    pub parent: u128,
    /// Identifies the request in its reply; the same when the request is sent again.
    pub checksum: u128,
    /// The client's release.
    pub release: Release,
    /// The highest view that the client has received.
    pub view: u32,
}

impl Request {
    /// Parses a request.
    pub fn read(header: &Header) -> Option<Self> {
        read(header, REQUEST, |reader| {
            let parent = reader.u128()?;
            let is_padded = reader.u128()? == 0;
            let client = ClientId(reader.u128()?);
            let session = SessionNumber(reader.u64()?);
            let has_no_time = reader.u64()? == 0;
            let number = reader.u32()?;
            let operation = reader.u8()?;
            let is_clean = reader.array()? == [0; 3];
            let _latency = reader.u32()?;
            let is_clean = is_clean && reader.array()? == [0; 52] && is_padded && has_no_time;
            let Header { checksum, release, view, .. } = *header;
            let request = Self { client, session, number, operation, parent, checksum, release, view };
            let opens = number == 0;
            let is_register = operation == crate::Operation::Register as u8;
            let is_consistent = if opens { session.0 == 0 && parent == 0 } else { session.0 != 0 };
            Ok((request, is_clean && client.0 != 0 && opens == is_register && is_consistent))
        })
    }

    /// The header for this body. Its first 16 bytes are its checksum, which identifies the request.
    pub fn to_bytes(&self, cluster: u128, body: &[u8]) -> [u8; HEADER_SIZE] {
        let own = own(|rest| {
            rest.put_u128_le(self.parent);
            rest.put_u128_le(0);
            rest.put_u128_le(self.client.0);
            rest.put_u64_le(self.session.0);
            rest.put_u64_le(0);
            rest.put_u32_le(self.number);
            rest.put_u8(self.operation);
        });
        Header::new(REQUEST, cluster, self.view, self.release, own).seal(body)
    }
}

/// The reply to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The checksum of the request.
    pub request_checksum: u128,
    /// The value of `parent` in the next request.
    pub context: u128,
    /// The client that sent the request.
    pub client: ClientId,
    /// The index of the request in the log; not 0. The reply that opens a session gives the session this
    /// number.
    pub index: LogIndex,
    /// Cluster time of the last event; not 0.
    pub time: Nanos,
    /// The number of the request.
    pub number: u32,
    /// The operation of the request.
    pub operation: u8,
    /// The release of the request.
    pub release: Release,
    /// The view in which the request was done.
    pub view: u32,
}

impl Reply {
    /// Parses a reply.
    pub fn read(header: &Header) -> Option<Self> {
        read(header, REPLY, |reader| {
            let request_checksum = reader.u128()?;
            let mut is_clean = reader.u128()? == 0;
            let context = reader.u128()?;
            is_clean &= reader.u128()? == 0;
            let client = ClientId(reader.u128()?);
            let (op, commit) = (reader.u64()?, reader.u64()?);
            is_clean &= op == commit && op != 0;
            let time = Nanos(reader.u64()?);
            let (number, operation) = (reader.u32()?, reader.u8()?);
            is_clean &= reader.array()? == [0; 19] && time.0 != 0 && client.0 != 0;
            let (index, release, view) = (LogIndex(op), header.release, header.view);
            let reply =
                Self { request_checksum, context, client, index, time, number, operation, release, view };
            Ok((reply, is_clean))
        })
    }

    /// The header for this body.
    pub fn to_bytes(&self, cluster: u128, body: &[u8]) -> [u8; HEADER_SIZE] {
        let own = own(|rest| {
            rest.put_u128_le(self.request_checksum);
            rest.put_u128_le(0);
            rest.put_u128_le(self.context);
            rest.put_u128_le(0);
            rest.put_u128_le(self.client.0);
            rest.put_u64_le(self.index.0);
            rest.put_u64_le(self.index.0);
            rest.put_u64_le(self.time.0);
            rest.put_u32_le(self.number);
            rest.put_u8(self.operation);
        });
        Header::new(REPLY, cluster, self.view, self.release, own).seal(body)
    }
}

/// Why a client is evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The client has no session, or has none any more.
    NoSession = 1,
    /// The client's release is too old.
    ReleaseTooLow = 2,
    /// The client's release is too new.
    ReleaseTooHigh = 3,
    /// The operation is unknown.
    InvalidOperation = 4,
    /// The body does not have the shape of the operation.
    InvalidBody = 5,
    /// The body is too large.
    InvalidBodySize = 6,
    /// The client has opened a later session since.
    SessionTooLow = 7,
    /// The client has changed its release within its session.
    ReleaseMismatch = 8,
}

impl Reason {
    /// The reason with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::NoSession,
            2 => Self::ReleaseTooLow,
            3 => Self::ReleaseTooHigh,
            4 => Self::InvalidOperation,
            5 => Self::InvalidBody,
            6 => Self::InvalidBodySize,
            7 => Self::SessionTooLow,
            8 => Self::ReleaseMismatch,
            _ => return None,
        })
    }

    /// The reason's name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSession => "no_session",
            Self::ReleaseTooLow => "client_release_too_low",
            Self::ReleaseTooHigh => "client_release_too_high",
            Self::InvalidOperation => "invalid_request_operation",
            Self::InvalidBody => "invalid_request_body",
            Self::InvalidBodySize => "invalid_request_body_size",
            Self::SessionTooLow => "session_too_low",
            Self::ReleaseMismatch => "session_release_mismatch",
        }
    }
}

/// The server ends a client's session, with the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// The client that is evicted.
    pub client: ClientId,
    /// The reason of the eviction.
    pub reason: Reason,
    /// The server's view; a client ignores an eviction whose view is lower than its own.
    pub view: u32,
}

impl Eviction {
    /// Parses an eviction.
    pub fn read(header: &Header) -> Option<Self> {
        read(header, EVICTION, |reader| {
            let client = ClientId(reader.u128()?);
            let is_clean = reader.array()? == [0; 111];
            let reason = Reason::from_number(reader.u8()?).ok_or(DecodeError::Value)?;
            Ok((Self { client, reason, view: header.view }, is_clean))
        })
    }

    /// The frame, which has no body.
    pub fn to_bytes(&self, cluster: u128) -> [u8; HEADER_SIZE] {
        let own = own(|rest| {
            rest.put_u128_le(self.client.0);
            rest.put_bytes(0, 111);
            rest.put_u8(self.reason as u8);
        });
        Header::new(EVICTION, cluster, self.view, Release::OWN, own).seal(&[])
    }
}

/// Parses the fields of a command; `None` unless the header has that command and `parse` reports valid
/// values.
fn read<T>(
    header: &Header,
    command: u8,
    parse: impl FnOnce(&mut Reader<'_>) -> Result<(T, bool), DecodeError>,
) -> Option<T> {
    if header.command != command || !header.is_clean {
        return None;
    }
    let (message, is_valid) = parse(&mut Reader::new(&header.own)).ok()?;
    is_valid.then_some(message)
}

/// The fields of a command, padded with zeros.
fn own(write: impl FnOnce(&mut dyn BufMut)) -> [u8; OWN_SIZE] {
    let mut bytes = [0; OWN_SIZE];
    write(&mut &mut bytes[..]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(bytes: &[u8; HEADER_SIZE]) -> Header {
        Header::read(bytes).unwrap()
    }

    fn request() -> Request {
        Request {
            client: ClientId(1),
            session: SessionNumber(2),
            number: 3,
            operation: 147,
            parent: 5,
            checksum: 0,
            release: Release::OWN,
            view: 7,
        }
    }

    #[test]
    fn messages_round_trip() {
        let ping = Ping { client: ClientId(1), time: 2, session: SessionNumber(3) };
        assert_eq!(Ping::read(&header(&ping.to_bytes(0, Release::OWN))), Some(ping));
        let pong = Pong { time: 2, view: 9 };
        assert_eq!(Pong::read(&header(&pong.to_bytes(0))), Some(pong));
        let eviction = Eviction { client: ClientId(1), reason: Reason::SessionTooLow, view: 4 };
        assert_eq!(Eviction::read(&header(&eviction.to_bytes(0))), Some(eviction));
        let bytes = request().to_bytes(0, b"body");
        let read = Request::read(&header(&bytes)).unwrap();
        assert_eq!(read, Request { checksum: header(&bytes).checksum, ..request() });
        let reply = Reply {
            request_checksum: 1,
            context: 2,
            client: ClientId(3),
            index: LogIndex(4),
            time: Nanos(5),
            number: 6,
            operation: 147,
            release: Release::OWN,
            view: 8,
        };
        let read = header(&reply.to_bytes(0, b"results"));
        assert_eq!((Reply::read(&read), read.body_size()), (Some(reply), 7));
        assert_eq!(Request::read(&read), None, "a reply is no request");
    }

    #[test]
    fn reason_numbers_equal_those_of_the_protocol() {
        let known: Vec<u8> = (0..=u8::MAX).filter(|number| Reason::from_number(*number).is_some()).collect();
        assert_eq!(known, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(known.iter().all(|number| Reason::from_number(*number).unwrap() as u8 == *number));
    }

    #[test]
    fn requests_that_no_client_sends_are_none() {
        let register = Request { session: SessionNumber(0), number: 0, operation: 2, parent: 0, ..request() };
        let read = |request: &Request| Request::read(&header(&request.to_bytes(0, &[])));
        assert!(read(&register).is_some() && read(&request()).is_some());
        for wrong in [
            Request { client: ClientId(0), ..request() },
            Request { session: SessionNumber(0), ..request() },
            Request { number: 0, ..request() },
            Request { operation: 2, ..request() },
            Request { parent: 1, ..register },
            Request { session: SessionNumber(1), ..register },
            Request { operation: 147, ..register },
            Request { release: Release(0), ..request() },
        ] {
            assert_eq!(read(&wrong), None, "{wrong:?}");
        }
        for at in (16..32).chain(56..64).chain(69..72).chain(76..128) {
            let mut dirty = header(&request().to_bytes(0, &[]));
            dirty.own[at] = 1;
            assert_eq!(Request::read(&dirty), None, "byte {at}");
        }
    }
}
