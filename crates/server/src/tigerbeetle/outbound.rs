//! What a client hears: the bytes of a reply are made from what the log keeps and from the request alone, so a
//! retry gets the same ones.

use std::io;

use bezant_codec::Reader;
use bezant_ledger::{SESSION_ANSWER_SIZE, SessionAnswer, SessionOutcome};
use bezant_tigerbeetle::message::Reason;
use bezant_tigerbeetle::{Eviction, HEADER_SIZE, Operation, Reply, Request};
use bytes::{Buf, Bytes};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::VIEW;

/// The reply that opens a session: how large a body may be, and zeros.
static REGISTERED: [u8; 64] = registered();

const fn registered() -> [u8; 64] {
    let mut body = [0; 64];
    let [first, second, third, fourth] = 1_048_320_u32.to_le_bytes();
    (body[0], body[1], body[2], body[3]) = (first, second, third, fourth);
    body
}

const _: () = assert!(bezant_tigerbeetle::BODY_SIZE_MAX == 1_048_320, "clients are told the largest body");

/// What became of a request. Cheap to clone: bodies are shared.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// A frame.
    Frame { header: Box<[u8; HEADER_SIZE]>, body: Bytes },
    /// The client is told that it is evicted.
    Evicted { header: Box<[u8; HEADER_SIZE]>, reason: Reason },
    /// Nothing: the request makes no sense now.
    Ignored,
    /// Nothing: it cannot be answered, and may be sent again.
    Silence,
}

impl Outcome {
    /// The client is told that it is evicted.
    pub(super) fn evicted(request: &Request, reason: Reason, cluster: u128) -> Self {
        let eviction = Eviction { client: request.client, reason, view: request.view.max(VIEW) };
        Self::Evicted { header: Box::new(eviction.to_bytes(cluster)), reason }
    }

    /// A reply; `body` has no answer's head.
    pub(super) fn reply(reply: &Reply, body: Bytes, cluster: u128) -> Self {
        Self::Frame { header: Box::new(reply.to_bytes(cluster, &body)), body }
    }

    /// What the log says became of a request.
    pub(super) fn of_answer(request: &Request, answer: &Bytes, cluster: u128) -> Self {
        let Ok(head) = SessionAnswer::from_reader(&mut Reader::new(answer)) else { return Self::Silence };
        let reason = match head.outcome {
            SessionOutcome::Reply => {
                let body = match Operation::from_number(request.operation) {
                    Some(Operation::Register) => Bytes::from_static(&REGISTERED),
                    _ => answer.slice(SESSION_ANSWER_SIZE..),
                };
                let reply = Reply {
                    request_checksum: request.checksum,
                    context: context_of(request, &head),
                    client: request.client,
                    index: head.index,
                    time: head.time,
                    number: request.number,
                    operation: request.operation,
                    release: request.release,
                    view: head.view,
                };
                return Self::reply(&reply, body, cluster);
            }
            SessionOutcome::Ignored => return Self::Ignored,
            SessionOutcome::NoSession => Reason::NoSession,
            SessionOutcome::SessionTooLow => Reason::SessionTooLow,
            SessionOutcome::ReleaseMismatch => Reason::ReleaseMismatch,
        };
        Self::evicted(request, reason, cluster)
    }

    /// Bytes of its body.
    pub(super) fn body_size(&self) -> usize {
        match self {
            Self::Frame { body, .. } => body.len(),
            Self::Evicted { .. } | Self::Ignored | Self::Silence => 0,
        }
    }

    /// Sends it.
    pub(super) async fn write(&self, stream: &mut TcpStream) -> io::Result<()> {
        match self {
            Self::Frame { header, body } => stream.write_all_buf(&mut (&header[..]).chain(&body[..])).await,
            Self::Evicted { header, .. } => stream.write_all(&header[..]).await,
            Self::Ignored | Self::Silence => Ok(()),
        }
    }
}

/// What the next request must name: this reply, or the one before a read, which leaves the session as it is.
fn context_of(request: &Request, answer: &SessionAnswer) -> u128 {
    match Operation::from_number(request.operation) {
        Some(Operation::Register | Operation::CreateAccounts | Operation::CreateTransfers) => {
            answer.context().0
        }
        _ => request.parent,
    }
}
