//! The bytes that a client receives. The bytes of a reply are made from the request and from what the log
//! keeps, and from nothing else, so a retry gets the same bytes.

use std::io;

use bezant_codec::Reader;
use bezant_ledger::{SESSION_ANSWER_SIZE, SessionAnswer, SessionOutcome};
use bezant_tigerbeetle::message::Reason;
use bezant_tigerbeetle::{Eviction, HEADER_SIZE, Operation, Reply, Request};
use bytes::{Buf, Bytes};
use tokio::io::AsyncWriteExt;

use super::VIEW;
use crate::transport::Transport;

/// The body of the reply that opens a session: the size of the largest body, and zeros.
static REGISTERED: [u8; 64] = registered();

const fn registered() -> [u8; 64] {
    let mut body = [0; 64];
    let [first, second, third, fourth] = 1_048_320_u32.to_le_bytes();
    (body[0], body[1], body[2], body[3]) = (first, second, third, fourth);
    body
}

const _: () = assert!(
    bezant_tigerbeetle::BODY_SIZE_MAX == 1_048_320,
    "the reply to a register has the size of the largest body"
);

/// The outcome of a request. Cheap to clone: bodies are shared.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// A frame is sent.
    Frame { header: Box<[u8; HEADER_SIZE]>, body: Bytes },
    /// An eviction is sent.
    Evicted { header: Box<[u8; HEADER_SIZE]>, reason: Reason },
    /// Nothing is sent: the request is not the next one of its session.
    Ignored,
    /// Nothing is sent: the request failed, and the client may send it again.
    Unanswered,
}

impl Outcome {
    /// The eviction of the request's client.
    pub(super) fn evicted(request: &Request, reason: Reason, cluster: u128) -> Self {
        let eviction = Eviction { client: request.client, reason, view: request.view.max(VIEW) };
        Self::Evicted { header: Box::new(eviction.to_bytes(cluster)), reason }
    }

    /// A reply; `body` has the results alone, without the log's head.
    pub(super) fn reply(reply: &Reply, body: Bytes, cluster: u128) -> Self {
        Self::Frame { header: Box::new(reply.to_bytes(cluster, &body)), body }
    }

    /// The outcome that the log has of a request.
    pub(super) fn of_answer(request: &Request, answer: &Bytes, cluster: u128) -> Self {
        let Ok(head) = SessionAnswer::from_reader(&mut Reader::new(answer)) else { return Self::Unanswered };
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

    /// Bytes of the body that is sent.
    pub(super) fn body_size(&self) -> usize {
        match self {
            Self::Frame { body, .. } => body.len(),
            Self::Evicted { .. } | Self::Ignored | Self::Unanswered => 0,
        }
    }

    /// Sends the outcome.
    pub(super) async fn write(&self, stream: &mut impl Transport) -> io::Result<()> {
        match self {
            Self::Frame { header, body } => stream.write_all_buf(&mut (&header[..]).chain(&body[..])).await,
            Self::Evicted { header, .. } => stream.write_all(&header[..]).await,
            Self::Ignored | Self::Unanswered => Ok(()),
        }
    }
}

/// The context that the next request must name: this reply's, or after a read the one of the reply before it,
/// because a read does not change the session.
fn context_of(request: &Request, answer: &SessionAnswer) -> u128 {
    match Operation::from_number(request.operation) {
        Some(Operation::Register | Operation::CreateAccounts | Operation::CreateTransfers) => {
            answer.context().0
        }
        _ => request.parent,
    }
}
