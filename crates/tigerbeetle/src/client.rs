//! The client's end of a session: numbers requests, and checks replies as strictly as the official clients.
//!
//! Where an official client would abort its process, hang or reconnect, this one returns an error. It does no
//! I/O: [`Client::register`] and [`Client::request`] return bytes to send, and [`Client::receive`] takes a
//! frame that arrived. One request is in flight at a time; to send it again, send the same bytes.

use bezant_types::{ClientId, SessionNumber};
use thiserror::Error;

use crate::frame::{FrameError, HEADER_SIZE, Header};
use crate::message::{Eviction, Pong, Reason, Reply, Request};
use crate::operation::{Operation, REGISTER_BODY_SIZE};
use crate::release::Release;

/// A frame that an official client would not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The bytes are not a frame. An official client would reconnect again and again.
    #[error("the server's bytes are not a frame: {0}")]
    Frame(#[from] FrameError),
    /// The frame comes from another cluster. An official client would reconnect again and again.
    #[error("the frame comes from cluster {0}")]
    Cluster(u128),
    /// The message is invalid. An official client would drop it and wait for ever.
    #[error("the message of command {0} is invalid, and clients drop it")]
    Dropped(u8),
    /// The reply does not match the request. An official client would end its process.
    #[error("the reply does not fit the request: {0} differs")]
    Mismatch(&'static str),
    /// The client is evicted. An official client would report that to its user.
    #[error("the client is evicted: {}", .0.name())]
    Evicted(Reason),
}

/// The meaning of a valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The reply to the request in flight.
    Reply(Reply),
    /// A reply to an earlier request, received again.
    OldReply,
    /// The answer to a ping.
    Pong(Pong),
}

/// A client with at most one session.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    cluster: u128,
    next: Request,
    in_flight: Option<Request>,
}

impl Client {
    /// A client that has sent nothing yet. `id` must not be 0 and must be unique among clients.
    pub const fn new(id: ClientId, cluster: u128, release: Release) -> Self {
        let next = Request {
            client: id,
            session: SessionNumber(0),
            number: 0,
            operation: Operation::Register as u8,
            parent: 0,
            checksum: 0,
            release,
            view: 0,
        };
        Self { cluster, next, in_flight: None }
    }

    /// The session's number; 0 before the session is open.
    pub const fn session(&self) -> SessionNumber {
        self.next.session
    }

    /// The frame that opens a session: header and body.
    pub fn register(&mut self) -> Vec<u8> {
        let body = [0; REGISTER_BODY_SIZE];
        [&self.send(Operation::Register as u8, &body)[..], &body].concat()
    }

    /// The header of the next request, with this body.
    ///
    /// # Panics
    /// When there is no session, or a request is in flight.
    pub fn request(&mut self, operation: Operation, body: &[u8]) -> [u8; HEADER_SIZE] {
        self.request_numbered(operation as u8, body)
    }

    /// The same for the number of an operation, which may be unknown.
    pub fn request_numbered(&mut self, operation: u8, body: &[u8]) -> [u8; HEADER_SIZE] {
        assert!(self.next.session.0 != 0, "a session must be open");
        self.send(operation, body)
    }

    fn send(&mut self, operation: u8, body: &[u8]) -> [u8; HEADER_SIZE] {
        assert!(self.in_flight.is_none(), "only one request may be in flight");
        let request = Request { operation, ..self.next };
        let header = request.to_bytes(self.cluster, body);
        let checksum = header.first_chunk().copied().map_or(0, u128::from_le_bytes);
        self.in_flight = Some(Request { checksum, ..request });
        header
    }

    /// Processes a frame from the server.
    pub fn receive(&mut self, header: &[u8; HEADER_SIZE], body: &[u8]) -> Result<Received, ClientError> {
        let header = Header::read(header)?;
        header.check_body(body)?;
        if header.cluster != self.cluster {
            return Err(ClientError::Cluster(header.cluster));
        }
        if let Some(pong) = Pong::read(&header) {
            self.next.view = self.next.view.max(pong.view);
            return Ok(Received::Pong(pong));
        }
        if let Some(eviction) = Eviction::read(&header) {
            let is_meant = eviction.client == self.next.client && eviction.view >= self.next.view;
            return Err(if is_meant {
                ClientError::Evicted(eviction.reason)
            } else {
                ClientError::Dropped(header.command)
            });
        }
        let reply = Reply::read(&header).ok_or(ClientError::Dropped(header.command))?;
        self.receive_reply(&reply)
    }

    fn receive_reply(&mut self, reply: &Reply) -> Result<Received, ClientError> {
        if reply.client != self.next.client {
            return Err(ClientError::Dropped(crate::message::REPLY));
        }
        let request = match self.in_flight {
            Some(request) if request.number <= reply.number => request,
            _ if reply.number < self.next.number => return Ok(Received::OldReply),
            _ => return Err(ClientError::Mismatch("the request's number")),
        };
        if reply.number != request.number {
            return Err(ClientError::Mismatch("the request's number"));
        }
        if reply.request_checksum != request.checksum {
            return Err(ClientError::Mismatch("the request's checksum"));
        }
        if reply.operation != request.operation {
            return Err(ClientError::Mismatch("the operation"));
        }
        if reply.release != request.release {
            return Err(ClientError::Mismatch("the release"));
        }
        self.in_flight = None;
        self.next.number += 1;
        self.next.parent = reply.context;
        self.next.view = self.next.view.max(reply.view);
        if reply.number == 0 {
            self.next.session = SessionNumber(reply.index.0);
        }
        Ok(Received::Reply(*reply))
    }
}

#[cfg(test)]
mod tests {
    use bezant_types::{LogIndex, Nanos};

    use super::*;

    fn reply(number: u32, request_checksum: u128) -> Reply {
        Reply {
            request_checksum,
            context: 50 + u128::from(number),
            client: ClientId(1),
            index: LogIndex(9),
            time: Nanos(1),
            number,
            operation: if number == 0 { 2 } else { 147 },
            release: Release::OWN,
            view: 3,
        }
    }

    fn checksum_of(header: &[u8]) -> u128 {
        u128::from_le_bytes(*header.first_chunk().unwrap())
    }

    #[test]
    fn a_session_opens_and_its_requests_are_numbered() {
        let mut client = Client::new(ClientId(1), 0, Release::OWN);
        let opened = reply(0, checksum_of(&client.register()));
        assert_eq!(client.receive(&opened.to_bytes(0, &[]), &[]), Ok(Received::Reply(opened)));
        let header = client.request(Operation::CreateTransfers, b"x");
        let request = Request::read(&Header::read(&header).unwrap()).unwrap();
        assert_eq!((request.session.0, request.number, request.parent, request.view), (9, 1, 50, 3));
        let again = client.receive(&opened.to_bytes(0, &[]), &[]);
        assert_eq!(again, Ok(Received::OldReply), "a duplicate changes nothing");
        let done = reply(1, checksum_of(&header));
        assert_eq!(client.receive(&done.to_bytes(0, b"y"), b"y"), Ok(Received::Reply(done)));
    }

    #[test]
    fn frames_that_official_clients_do_not_accept_are_errors() {
        let mut client = Client::new(ClientId(1), 0, Release::OWN);
        let good = reply(0, checksum_of(&client.register()));
        let mut receive = |reply: Reply, cluster| client.receive(&reply.to_bytes(cluster, &[]), &[]);
        assert_eq!(receive(good, 1), Err(ClientError::Cluster(1)));
        assert_eq!(
            receive(Reply { number: 1, ..good }, 0),
            Err(ClientError::Mismatch("the request's number"))
        );
        let mismatch = Err(ClientError::Mismatch("the request's checksum"));
        assert_eq!(receive(Reply { request_checksum: 1, ..good }, 0), mismatch);
        assert_eq!(receive(Reply { operation: 3, ..good }, 0), Err(ClientError::Mismatch("the operation")));
        let release = Release::new(0, 17, 1);
        assert_eq!(receive(Reply { release, ..good }, 0), Err(ClientError::Mismatch("the release")));
        assert_eq!(receive(Reply { time: Nanos(0), ..good }, 0), Err(ClientError::Dropped(8)));
        assert_eq!(receive(Reply { index: LogIndex(0), ..good }, 0), Err(ClientError::Dropped(8)));
        assert_eq!(receive(Reply { client: ClientId(2), ..good }, 0), Err(ClientError::Dropped(8)));
        let eviction = Eviction { client: ClientId(1), reason: Reason::ReleaseTooLow, view: 0 };
        let evicted = client.receive(&eviction.to_bytes(0), &[]);
        assert_eq!(evicted, Err(ClientError::Evicted(Reason::ReleaseTooLow)));
    }
}
