//! An `Idempotency-Key` belongs to one request: what the server answers when another request has the same key,
//! and when version 0.1 wrote the first request.
//!
//! Nothing here writes: the ledger has already refused the request as a whole, or its only event. Source:
//! `docs/decisions/0020-a-key-belongs-to-one-request.md`.

use std::collections::HashMap;

use bezant_api::idempotency::{IdKind, event_id};
use bezant_api::{ErrorCode, Failure, show_moment};
use bezant_ledger::{ExtendedAccount, LedgerQuery, Operation, compare_accounts, compare_transfers};
use bezant_types::{
    CreateAccountStatus, CreateTransferStatus, EventResult, FetchedTransfer, LogIndex, Nanos, Transfer,
    TransferId,
};

use crate::context::RequestContext;
use crate::create::{Key, Outcomes};
use crate::failure;
use crate::service::Service;

impl Service {
    /// Checks the key of a single transfer that was not created. An error when another request had used the
    /// key. Returns the detail of the refusal when the transfer was refused earlier.
    ///
    /// The ledger keeps no record of the content of a refused transfer. So another body with its key cannot
    /// be told apart from a retry.
    pub(crate) async fn check_key(
        &self,
        key: Key<'_>,
        transfer: &Transfer,
        result: EventResult,
        context: &RequestContext,
    ) -> Result<Option<String>, Failure> {
        let status = CreateTransferStatus::from_number(result.status);
        let Ok(status) = status else { return Ok(None) };
        if let Some(field) = status.name().strip_prefix("exists_with_different_") {
            let what = format!("it made transfer {}, which has another value of `{field}`", transfer.id);
            return Err(reused(key, &what));
        }
        if status == CreateTransferStatus::IdAlreadyFailed {
            // When the records cannot be read, the client gets the ledger's answer without a detail.
            let found = self.handle.outcomes(&[transfer.id], context.deadline).await.unwrap_or_default();
            let Some(FetchedTransfer::Refused(refusal)) = found.first() else { return Ok(None) };
            if refusal.status == CreateTransferStatus::IdempotencyKeyUsed {
                return Err(reused(key, "it had several events"));
            }
            let (name, meaning) = (refusal.status.name(), refusal.status.meaning());
            let time = show_moment(refusal.timestamp);
            return Ok(Some(format!(
                "The key '{}' is used up: transfer {} was first refused with {name} at {time}: {meaning}",
                key.text, transfer.id
            )));
        }
        Ok(None)
    }

    /// The outcomes of transfers that version 0.1 created. The ledger has records under the key, and no mark of
    /// this request, because that version stored no marks. When the records differ from these transfers, the
    /// key belongs to another request, and this is an error.
    pub(crate) async fn earlier_transfers(
        &self,
        sent: &[Transfer],
        operation: Operation,
        key: Option<Key<'_>>,
        context: &RequestContext,
    ) -> Result<Outcomes, Failure> {
        let Some(key) = key else { return Err(failure::internal("a write has no results")) };
        let count = sent.len();
        let earlier: Vec<Transfer> = sent
            .iter()
            .enumerate()
            .map(|(at, event)| {
                let is_derived = event.id.0 == event_id(IdKind::Transfer, key.text, at, count);
                let id = event_id(IdKind::Transfer, key.text, at, 1);
                Transfer { id: if is_derived { TransferId(id) } else { event.id }, ..*event }
            })
            .collect();
        let wanted: Vec<_> =
            earlier.iter().flat_map(|event| [event.id, event.pending_id]).filter(|id| id.0 != 0).collect();
        let read = self.handle.outcomes(&wanted, context.deadline).await;
        let found: HashMap<TransferId, FetchedTransfer> =
            read.map_err(|error| failure::of_read(&error))?.into_iter().map(|it| (id_of(&it), it)).collect();
        let results: Option<Vec<_>> = earlier.iter().map(|event| result_of(event, &found)).collect();
        results
            .map(|results| of_earlier(operation, results))
            .ok_or_else(|| reused(key, "it was not this one"))
    }

    /// The same for accounts.
    pub(crate) async fn earlier_accounts(
        &self,
        sent: &[ExtendedAccount],
        is_extended: bool,
        operation: Operation,
        key: Option<Key<'_>>,
        context: &RequestContext,
    ) -> Result<Outcomes, Failure> {
        let Some(key) = key else { return Err(failure::internal("a write has no results")) };
        let error = || reused(key, "it was not this one");
        let guard = TransferId(event_id(IdKind::Account, key.text, 0, 1));
        let marks = self.handle.outcomes(&[guard], context.deadline).await;
        if !marks.map_err(|error| failure::of_read(&error))?.is_empty() {
            return Err(error());
        }
        let ids = sent.iter().map(|event| event.account.id).collect();
        let found = self.own_accounts(LedgerQuery::Accounts(ids), context).await?;
        let is_same = found.len() == sent.len()
            && sent.iter().zip(&found).all(|(event, existing)| {
                compare_accounts(event, is_extended, existing) == CreateAccountStatus::Exists
            });
        let status = CreateAccountStatus::Exists.number();
        let results = found.iter().map(|it| EventResult { timestamp: it.account.timestamp, status });
        if is_same { Ok(of_earlier(operation, results.collect())) } else { Err(error()) }
    }
}

/// The outcome of an event that version 0.1 wrote; `None` where the recorded event differs from the one sent
/// now.
fn result_of(event: &Transfer, found: &HashMap<TransferId, FetchedTransfer>) -> Option<EventResult> {
    let recorded = |id: &TransferId| match found.get(id)? {
        FetchedTransfer::Applied(_, movement) => Some(movement.transfer),
        FetchedTransfer::Refused(_) => None,
    };
    match found.get(&event.id)? {
        FetchedTransfer::Refused(refusal) => (refusal.status != CreateTransferStatus::IdempotencyKeyUsed)
            .then_some(EventResult {
                timestamp: refusal.timestamp,
                status: CreateTransferStatus::IdAlreadyFailed.number(),
            }),
        FetchedTransfer::Applied(_, movement) => {
            let pending = if event.pending_id.0 == 0 { None } else { Some(recorded(&event.pending_id)?) };
            let status = compare_transfers(event, &movement.transfer, |_| pending.unwrap_or_default());
            (status == CreateTransferStatus::Exists)
                .then_some(EventResult { timestamp: movement.timestamp, status: status.number() })
        }
    }
}

const fn id_of(found: &FetchedTransfer) -> TransferId {
    match found {
        FetchedTransfer::Applied(_, movement) => movement.transfer.id,
        FetchedTransfer::Refused(refusal) => refusal.id,
    }
}

/// Outcomes of an earlier request; index 0, because nothing was written now.
fn of_earlier(operation: Operation, results: Vec<EventResult>) -> Outcomes {
    let time = results.iter().map(|result| result.timestamp).max().unwrap_or(Nanos(0));
    Outcomes { operation, index: LogIndex(0), time, results, details: Vec::new() }
}

fn reused(key: Key<'_>, what: &str) -> Failure {
    let kind = match key.kind {
        IdKind::Account => "accounts",
        IdKind::Transfer => "transfers",
    };
    let detail = format!(
        "the Idempotency-Key '{}' belongs to another request for {kind}: {what}. Nothing was done. Send that request \
         as it was, or this one with a new key",
        key.text
    );
    Failure::new(ErrorCode::IdempotencyKeyReused, detail)
}
