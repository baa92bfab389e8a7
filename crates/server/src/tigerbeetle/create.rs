//! Writes: the records of a request go into the log without a copy.

use std::time::Instant;

use bezant_api::{ErrorCode, Failure};
use bezant_codec::{Batches, Reader};
use bezant_ledger::{SESSION_ANSWER_SIZE, SESSION_HEAD_SIZE, SessionAnswer, SessionHead, SessionOutcome};
use bezant_rsm::Command;
use bezant_runtime::Committed;
use bezant_tigerbeetle::Request;
use bezant_types::limits::RESULT_SIZE;

use super::Listener;
use super::inbound::Frame;
use super::outbound::Outcome;
use super::request::head;
use crate::body::Admission;
use crate::context::{Deadline, RequestContext};
use crate::failure;

/// The kind, number and size of the records of a request, taken from its batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    operation: bezant_ledger::Operation,
    batches: u16,
    events: usize,
    /// Bytes of the body that go into the log: a single batch is stored without its trailer.
    size: usize,
}

impl Shape {
    pub(super) fn new(operation: bezant_ledger::Operation, batches: &Batches<'_>, body_size: usize) -> Self {
        let count = batches.count();
        Self {
            operation,
            batches: u16::try_from(count).expect("invariant: the number of batches is 16 bits wide"),
            events: batches.records(),
            size: if count == 1 { batches.payload().len() } else { body_size },
        }
    }
}

impl Listener {
    /// Opens a session.
    pub(super) async fn register(
        &self,
        request: &Request,
        context: &RequestContext,
    ) -> Result<Outcome, Failure> {
        match self.execute(head(request).open(), context).await {
            Ok(committed) => Ok(Outcome::of_answer(request, &committed.results, self.cluster)),
            Err(failure) => self.without_the_log(request, failure, context).await,
        }
    }

    /// Creates accounts or transfers.
    pub(super) async fn create(
        &self,
        request: &Request,
        frame: Frame,
        shape: Shape,
        context: &RequestContext,
    ) -> Result<Outcome, Failure> {
        let head = SessionHead { batches: shape.batches, operation: shape.operation as u16, ..head(request) };
        let body = frame.into_body_with_head(&head.to_bytes(), shape.size);
        let command =
            SessionHead::create(body).map_err(|_| failure::internal("an accepted request is no command"))?;
        match self.execute(command, context).await {
            Ok(committed) => {
                self.count_results(&committed, shape);
                Ok(Outcome::of_answer(request, &committed.results, self.cluster))
            }
            Err(failure) => self.without_the_log(request, failure, context).await,
        }
    }

    /// Answers a request that was done before, on a node that accepts no writes: its state has the outcome.
    async fn without_the_log(
        &self,
        request: &Request,
        failure: Failure,
        context: &RequestContext,
    ) -> Result<Outcome, Failure> {
        if failure.code != ErrorCode::ReadOnly {
            return Err(failure);
        }
        self.answered_before(request, &self.renewed(context)).await?.ok_or(failure)
    }

    /// The answer to a request that needs no work: it was done before, or its session does not allow it.
    pub(super) async fn answered_before(
        &self,
        request: &Request,
        context: &RequestContext,
    ) -> Result<Option<Outcome>, Failure> {
        loop {
            match self.service.session(head(request).request, context).await {
                Ok(answer) => {
                    return Ok(answer.map(|answer| Outcome::of_answer(request, &answer, self.cluster)));
                }
                Err(failure) => wait_for_capacity(failure, context.deadline).await?,
            }
        }
    }

    /// Counts the results of the events once: not for a retry that was answered from the log.
    fn count_results(&self, committed: &Committed, shape: Shape) {
        let answer = SessionAnswer::from_reader(&mut Reader::new(&committed.results));
        let is_new = answer
            .is_ok_and(|answer| answer.outcome == SessionOutcome::Reply && answer.index == committed.index);
        let end = SESSION_ANSWER_SIZE + shape.events * RESULT_SIZE;
        if is_new && let Some(results) = committed.results.get(SESSION_ANSWER_SIZE..end) {
            self.service.metrics.results(shape.operation, results);
        }
    }

    /// Puts a command in the log.
    pub(super) async fn execute(
        &self,
        command: Command,
        context: &RequestContext,
    ) -> Result<Committed, Failure> {
        loop {
            match self.execute_once(command.clone(), context).await {
                Ok(committed) => return Ok(committed),
                Err(failure) => wait_for_capacity(failure, context.deadline).await?,
            }
        }
    }

    async fn execute_once(&self, command: Command, context: &RequestContext) -> Result<Committed, Failure> {
        let admission = Admission::new(context.budget.share())?;
        admission.take(command.body.len())?;
        let executed = self.service.handle.execute(command, context.deadline).await;
        executed.map_err(|error| failure::of_write(&error))
    }

    /// The context for the second step of a request. That step has the full time again, so that the first
    /// step is not wasted when it had to wait for capacity.
    pub(super) fn renewed(&self, context: &RequestContext) -> RequestContext {
        context.due_by(self.service.limits.default_deadline())
    }
}

/// Waits as long as an overloaded node asks for; returns any other failure, and any failure after the
/// deadline. This protocol has no "retry after", so the listener waits in the client's place.
pub(super) async fn wait_for_capacity(failure: Failure, deadline: Deadline) -> Result<(), Failure> {
    let is_late = || deadline.is_some_and(|deadline| deadline <= Instant::now());
    match failure.retry_after {
        Some(retry_after) if failure.code == ErrorCode::Overloaded && !is_late() => {
            tokio::time::sleep(retry_after).await;
            Ok(())
        }
        _ => Err(failure),
    }
}

const _: () =
    assert!(SESSION_HEAD_SIZE <= bezant_tigerbeetle::HEADER_SIZE, "the head fits in the place of the header");
