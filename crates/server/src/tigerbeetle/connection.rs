//! One connection: reads frame after frame, and processes one request at a time.
//!
//! A client has one request in flight, so reading ahead gains nothing. A client that sends more than it reads
//! blocks only its own connection.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use bezant_api::{ErrorCode, Failure};
use bezant_tigerbeetle::message::{PING, REQUEST};
use bezant_tigerbeetle::{Operation, Ping, Pong, Request};
use bezant_types::ClientId;
use bezant_types::limits::{EVENTS_MAX, RESULT_SIZE};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::clients::Turn;
use super::create::Shape;
use super::inbound::{Closed, Frame, Inbound};
use super::outbound::Outcome;
use super::request::{Work, check};
use super::{Listener, VIEW};
use crate::answer::AnswerMemory;
use crate::context::{Principal, RequestBudget, RequestContext};
use crate::freshness::Freshness;
use crate::metrics::{Api, Call};
use crate::place::Place;
use crate::transport::Transport;

/// The most bytes of a reply that stays in memory for a retry: the replies of all writes fit. Larger replies,
/// of reads, would fill the memory while their clients are idle.
const KEPT_SIZE_MAX: usize = 192 << 10;

const _: () = assert!(KEPT_SIZE_MAX > EVENTS_MAX * RESULT_SIZE, "the reply to a full write is kept");

/// Serves a connection until it ends.
pub(super) async fn serve(mut stream: impl Transport, listener: &Listener, place: &Place) {
    let number = listener.connections.fetch_add(1, Relaxed);
    let mut connection = Connection::new(listener, place, number);
    let closed = connection.run(&mut stream).await;
    if let Some(client) = connection.client {
        listener.clients.leave(client, number);
    }
    match closed {
        Closed::ByClient | Closed::Stopping => tracing::debug!(%closed, "a connection ended"),
        Closed::Broken(_) | Closed::Late(_) => tracing::debug!(%closed, "a connection was lost"),
        // A client of another cluster would wait for ever, so the log tells the operator why.
        Closed::Frame(_) | Closed::Cluster(..) => {
            listener.service.metrics.frames_refused.fetch_add(1, Relaxed);
            if listener.log_rates.closed.allows_line() {
                tracing::warn!("a connection of a TigerBeetle client was closed: {closed}");
            }
        }
    }
}

struct Connection<'listener> {
    listener: &'listener Listener,
    place: &'listener Place,
    number: u64,
    /// The client whose request came last.
    client: Option<ClientId>,
    /// The context of the request that is being answered. Only its deadline differs between the requests of a
    /// connection, so each request just sets that.
    context: RequestContext,
    /// The memory of the answer that is being sent.
    memory: Option<Arc<AnswerMemory>>,
}

impl<'listener> Connection<'listener> {
    fn new(listener: &'listener Listener, place: &'listener Place, number: u64) -> Self {
        let context = RequestContext {
            budget: RequestBudget::Peer(Arc::clone(&place.share)),
            freshness: Freshness::linearizable(),
            principal: Principal::Anonymous,
            deadline: None,
        };
        Self { listener, place, number, client: None, context, memory: None }
    }
}

impl Connection<'_> {
    async fn run(&mut self, stream: &mut impl Transport) -> Closed {
        let mut inbound = Inbound::default();
        loop {
            let frame = match inbound.next(stream, self.listener, self.place).await {
                Ok(frame) => frame,
                Err(closed) => return closed,
            };
            let answered = self.answer(stream, frame).await;
            self.memory = None;
            self.place.usage.touch();
            self.place.usage.open.store(0, Relaxed);
            if let Err(closed) = answered {
                return closed;
            }
        }
    }

    /// Answers a frame; drops an invalid one, as the protocol requires.
    async fn answer(&mut self, stream: &mut impl Transport, frame: Frame) -> Result<(), Closed> {
        match frame.header.command {
            PING => {
                if let Some(ping) = Ping::read(&frame.header) {
                    let pong = Pong { time: ping.time, view: VIEW }.to_bytes(self.listener.cluster);
                    return self.send(stream.write_all(&pong)).await;
                }
            }
            REQUEST => {
                // This server is always in the same view, so a client with a higher one has it from another
                // server.
                let request = Request::read(&frame.header).filter(|request| request.view <= VIEW);
                if let Some(request) = request {
                    let outcome = self.answer_request(&request, frame).await;
                    return self.send(outcome.write(stream)).await;
                }
            }
            _ => {}
        }
        self.listener.service.metrics.frames_dropped.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Sends bytes; closes the connection of a peer that takes none for too long.
    async fn send(&self, write: impl Future<Output = std::io::Result<()>>) -> Result<(), Closed> {
        let limit = self.listener.service.limits.stall_timeout;
        timeout(limit, write).await.map_err(|_| Closed::Late(limit))?.map_err(Closed::Broken)
    }

    async fn answer_request(&mut self, request: &Request, frame: Frame) -> Outcome {
        if let Some(before) = self.client.replace(request.client).filter(|before| *before != request.client) {
            self.listener.clients.leave(before, self.number);
        }
        match self.listener.clients.enter(request.client, request.checksum, self.number) {
            Turn::New(sender) => {
                let outcome = self.work(request, frame).await;
                if matches!(outcome, Outcome::Frame { .. }) {
                    sender.send_replace(Some(outcome.clone()));
                    if outcome.body_size() > KEPT_SIZE_MAX {
                        self.listener.clients.leave(request.client, self.number);
                    }
                }
                outcome
            }
            Turn::Retry(mut outcome) => {
                drop(frame);
                let known = outcome.wait_for(Option::is_some).await;
                known.ok().and_then(|known| known.clone()).unwrap_or(Outcome::Unanswered)
            }
        }
    }

    /// Does the work of a request and counts it.
    async fn work(&mut self, request: &Request, frame: Frame) -> Outcome {
        let begun = Instant::now();
        self.context.deadline = self.listener.service.limits.default_deadline();
        let (metrics, context) = (&self.listener.service.metrics, &self.context);
        let done = match check(request, frame.body()) {
            Ok(Work::Register) => self.listener.register(request, context).await,
            Ok(Work::Create(operation, batches)) => {
                let shape = Shape::new(operation, &batches, frame.body().len());
                self.listener.create(request, frame, shape, context).await
            }
            Ok(Work::Read(question)) => {
                self.listener.read(request, question, context).await.map(|(outcome, memory)| {
                    self.memory = Some(memory);
                    outcome
                })
            }
            Err(reason) => Ok(Outcome::evicted(request, reason, self.listener.cluster)),
        };
        let (outcome, error) = match done {
            Ok(outcome) => (outcome, None),
            Err(failure) => (Outcome::Unanswered, Some(self.log_failure(failure))),
        };
        self.log_outcome(request, &outcome);
        metrics.call(Api::TigerBeetle, call_of(request.operation), begun.elapsed(), error.as_ref());
        outcome
    }

    /// Logs evicted and ignored requests. An eviction carries only the number of its reason and an ignored
    /// request gets no answer, so the owner of the client needs the log.
    fn log_outcome(&self, request: &Request, outcome: &Outcome) {
        let (metrics, log_rates) = (&self.listener.service.metrics, &self.listener.log_rates);
        let (client, release, number) = (request.client, request.release, request.number);
        match outcome {
            Outcome::Evicted { reason, .. } => {
                metrics.evicted(reason.name());
                if log_rates.eviction.allows_line() {
                    tracing::warn!(%client, %release, "a TigerBeetle client is evicted: {}", reason.name());
                }
            }
            Outcome::Ignored => {
                metrics.frames_dropped.fetch_add(1, Relaxed);
                if log_rates.ignored.allows_line() {
                    tracing::debug!(%client, number, "a request of a TigerBeetle client is not its session's next one");
                }
            }
            Outcome::Frame { .. } | Outcome::Unanswered => {}
        }
    }

    /// Logs a failure. This protocol has no errors: the client will send its request again.
    fn log_failure(&self, failure: Failure) -> Failure {
        if failure.code != ErrorCode::Stopping && self.listener.log_rates.failure.allows_line() {
            tracing::warn!("a request of a TigerBeetle client is not answered: {}", failure.detail);
        }
        failure
    }
}

fn call_of(operation: u8) -> Call {
    match Operation::from_number(operation) {
        Some(Operation::Register) => Call::Register,
        Some(Operation::GetChangeEvents) => Call::GetMovements,
        Some(Operation::LookupAccounts) => Call::LookupAccounts,
        Some(Operation::LookupTransfers) => Call::LookupTransfers,
        Some(Operation::GetAccountTransfers) => Call::GetAccountTransfers,
        Some(Operation::GetAccountBalances) => Call::GetAccountBalances,
        Some(Operation::QueryAccounts) => Call::QueryAccounts,
        Some(Operation::QueryTransfers) => Call::QueryTransfers,
        Some(Operation::CreateAccounts) => Call::CreateAccounts,
        Some(Operation::CreateTransfers) => Call::CreateTransfers,
        None => Call::Other,
    }
}
