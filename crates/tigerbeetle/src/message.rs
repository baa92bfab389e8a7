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
//! A reader answers `None` when a value is one that no client or server sends: such a message is dropped and
//! nobody is told, as the reference does.

use bezant_codec::{DecodeError, Reader};
use bezant_types::{ClientId, LogIndex, Nanos, SessionNumber};
use bytes::BufMut;

use crate::frame::{HEADER_SIZE, Header, OWN_SIZE};
use crate::release::Release;

/// The number of [`Ping`].
pub const PING: u8 = 3;
/// The number of [`Pong`].
pub const PONG: u8 = 4;
/// The number of [`Request`].
pub const REQUEST: u8 = 5;
/// The number of [`Reply`].
pub const REPLY: u8 = 8;
/// The number of [`Eviction`].
pub const EVICTION: u8 = 18;

/// A client wants to know whether somebody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Who.
    pub client: ClientId,
    /// The client's own clock; comes back in the pong.
    pub time: u64,
    /// Its session; 0 before it has one, and always from the first clients of this line.
    pub session: SessionNumber,
}

impl Ping {
    /// Reads a ping.
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

/// Somebody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// The time of the ping.
    pub time: u64,
    /// The current view.
    pub view: u32,
}

impl Pong {
    /// Reads a pong.
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

/// A client wants something done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who.
    pub client: ClientId,
    /// Its session; 0 to open one.
    pub session: SessionNumber,
    /// 0 to open a session, then 1, 2, 3 and so on.
    pub number: u32,
    /// What, see [`Operation`](crate::Operation).
    pub operation: u8,
    /// The context of the last reply; 0 to open a session.
    pub parent: u128,
    /// Names the request in its reply; the same when it is sent again.
    pub checksum: u128,
    /// The client's version.
    pub release: Release,
    /// The highest view that the client has seen.
    pub view: u32,
}

impl Request {
    /// Reads a request.
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

    /// The header before that body. Its checksum, which is the request's, stands in the first 16 bytes.
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

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The checksum of the request.
    pub request_checksum: u128,
    /// What the next request must name as its parent.
    pub context: u128,
    /// Whose.
    pub client: ClientId,
    /// Where it stands in the log; not 0. The reply that opens a session gives the session this number.
    pub index: LogIndex,
    /// Cluster time of the last event; not 0.
    pub time: Nanos,
    /// As in the request.
    pub number: u32,
    /// As in the request.
    pub operation: u8,
    /// As in the request.
    pub release: Release,
    /// The view in which it was done.
    pub view: u32,
}

impl Reply {
    /// Reads a reply.
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

    /// The header before that body.
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
    /// It has no session, or not any more.
    NoSession = 1,
    /// Its version is too old.
    ReleaseTooLow = 2,
    /// Its version is too new.
    ReleaseTooHigh = 3,
    /// The operation is unknown.
    InvalidOperation = 4,
    /// The body is not what the operation takes.
    InvalidBody = 5,
    /// The body is too large.
    InvalidBodySize = 6,
    /// It has opened a later session since.
    SessionTooLow = 7,
    /// It has changed its version within its session.
    ReleaseMismatch = 8,
}

impl Reason {
    /// The reason of that number.
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

    /// Its name in metrics and logs.
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

/// A client has to end its session: its process is told why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// Who.
    pub client: ClientId,
    /// Why.
    pub reason: Reason,
    /// At least the client's, or it is not believed.
    pub view: u32,
}

impl Eviction {
    /// Reads an eviction.
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

/// Reads a command's own part; `None` unless it is that command and `parse` says that its values make sense.
fn read<T>(
    header: &Header,
    command: u8,
    parse: impl FnOnce(&mut Reader<'_>) -> Result<(T, bool), DecodeError>,
) -> Option<T> {
    if header.command != command || !header.is_clean {
        return None;
    }
    let (message, makes_sense) = parse(&mut Reader::new(&header.own)).ok()?;
    makes_sense.then_some(message)
}

/// The own part of a header, filled up with zeros.
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
    fn messages_come_back_as_they_went() {
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
    fn reasons_are_those_of_the_protocol() {
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
