//! Creation of accounts and transfers, for the typed calls of gRPC and REST.
//!
//! A request becomes one command. Its results are then interpreted for the client: a linked chain that exists
//! already is reported as existing (`bezant_api::settle`), a key that belongs to another request is refused
//! (`keyed`), and details explain the first few refusals (`explain`). All of that happens after the command, and
//! only where an event was not created. A transfer that succeeds costs none of it.

use bezant_api::idempotency::{IdKind, marks};
use bezant_api::settle::{accounts_to_read, settle_accounts, settle_transfers, transfers_to_read};
use bezant_api::{AccountDraft, ErrorCode, Failure, TransferDraft};
use bezant_ledger::{
    Event, ExtendedAccount, ExtendedTransfer, KeyedHead, LedgerQuery, Operation, TaggedAccount,
    TaggedTransfer, ToKeyedCommand,
};
use bezant_runtime::{Committed, Consistency};
use bezant_storage::HistoryQuery;
use bezant_types::{EventResult, Head, LogIndex, Nanos, Transfer, TransferId, limits};
use bytes::Bytes;

use crate::context::RequestContext;
use crate::failure;
use crate::service::{Ledgers, Service, at_place};
use crate::shared::results_of;

/// The results of the events of a request.
#[derive(Debug)]
pub(crate) struct Outcomes {
    /// The operation that carried the events.
    pub(crate) operation: Operation,
    /// The log entry that carried the events; 0 where nothing was written now.
    pub(crate) index: LogIndex,
    /// Timestamp of the last event.
    pub(crate) time: Nanos,
    /// One result an event, in the order of the events.
    pub(crate) results: Vec<EventResult>,
    /// Details of the first few refused events: the place of the event, and the text.
    pub(crate) details: Vec<(usize, String)>,
}

impl Outcomes {
    /// Outcomes without details, as the ledger returned them.
    pub(crate) fn of(operation: Operation, committed: &Committed) -> Result<Self, Failure> {
        let results = results_of(committed)?.collect();
        let Committed { index, time, .. } = *committed;
        Ok(Self { operation, index, time, results, details: Vec::new() })
    }

    /// The detail of a refused event.
    pub(crate) fn detail(&self, at: usize) -> Option<&str> {
        self.details.iter().find(|(place, _)| *place == at).map(|(_, detail)| detail.as_str())
    }
}

/// The idempotency key of a request, where at least one of its ids is derived from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'request> {
    pub(crate) text: &'request str,
    pub(crate) kind: IdKind,
}

impl Service {
    /// Creates accounts. Uses the records of 128 bytes when no draft has a name or bounds, else those with
    /// tagged fields.
    pub(crate) async fn create_accounts(
        &self,
        drafts: Vec<AccountDraft>,
        key: Option<&str>,
        context: &RequestContext,
    ) -> Result<Outcomes, Failure> {
        let mut events: Vec<ExtendedAccount> = Vec::with_capacity(drafts.len());
        let mut ledgers = Ledgers::default();
        for (at, draft) in drafts.into_iter().enumerate() {
            let mut event = draft.event;
            if let Some(code) = draft.asset {
                let ledger = ledgers.find(self, code, context).await;
                event.account.ledger = ledger.map_err(|error| at_place(error, at))?;
            }
            events.push(event);
        }
        self.settle_names(events.iter_mut().map(|event| &mut event.name).collect(), context).await?;
        let is_plain =
            |event: &ExtendedAccount| event.bounds.is_none() && event.name == [0; limits::NAME_SIZE_MAX];
        let is_extended = !events.iter().all(is_plain);
        let (operation, records) = if is_extended {
            (
                Operation::CreateAccountsTagged,
                TaggedAccount::write_all(&events.iter().copied().map(TaggedAccount).collect::<Vec<_>>()),
            )
        } else {
            let accounts: Vec<_> = events.iter().map(|event| event.account).collect();
            (Operation::CreateAccounts, Event::write_all(&accounts))
        };
        let ids = || events.iter().map(|event| event.account.id.0);
        let key = key.map(|text| Key { text, kind: IdKind::Account });
        let first_form = || match operation {
            Operation::CreateAccountsTagged => (Operation::CreateAccountsExtended, Event::write_all(&events)),
            operation => (operation, records.clone()),
        };
        let marks = key.map(|key| marks_of(key, operation, &first_form()));
        let Some(committed) = self.write_keyed(operation, records, marks, context).await? else {
            return self.earlier_accounts(&events, is_extended, operation, key, context).await;
        };
        let mut outcomes = Outcomes::of(operation, &committed)?;
        let read = accounts_to_read(&events, &outcomes.results);
        if !read.is_empty() {
            let found = self.own_accounts(LedgerQuery::Accounts(read), context).await;
            let found = found.map_err(|failure| unread(&failure).of_events(ids()))?;
            settle_accounts(&events, is_extended, &mut outcomes.results, &found);
        }
        self.explain_accounts(&events, &mut outcomes, context).await;
        Ok(outcomes)
    }

    /// Creates transfers. Uses the records of 128 bytes when no draft has a `prev_hash`, else those with
    /// tagged fields.
    pub(crate) async fn create_transfers(
        &self,
        drafts: Vec<TransferDraft>,
        key: Option<&str>,
        context: &RequestContext,
    ) -> Result<Outcomes, Failure> {
        let events = self.transfers_of(drafts, context).await?;
        let transfers: Vec<_> = events.iter().map(|event| event.transfer).collect();
        let (operation, records) = if events.iter().all(|event| event.prev_hash == Head::NONE) {
            (Operation::CreateTransfers, Event::write_all(&transfers))
        } else {
            (
                Operation::CreateTransfersTagged,
                TaggedTransfer::write_all(&events.iter().copied().map(TaggedTransfer).collect::<Vec<_>>()),
            )
        };
        let ids = || transfers.iter().map(|transfer| transfer.id.0);
        let key = key.map(|text| Key { text, kind: IdKind::Transfer });
        // A single transfer needs no marks: the record under its id shows whether another request made it.
        let marked = key.filter(|_| transfers.len() > 1);
        let first_form = || match operation {
            Operation::CreateTransfersTagged => {
                (Operation::CreateTransfersExtended, Event::write_all(&events))
            }
            operation => (operation, records.clone()),
        };
        let marks = marked.map(|key| marks_of(key, operation, &first_form()));
        let Some(committed) = self.write_keyed(operation, records, marks, context).await? else {
            return self.earlier_transfers(&transfers, operation, key, context).await;
        };
        let mut outcomes = Outcomes::of(operation, &committed)?;
        let read = transfers_to_read(&transfers, &outcomes.results);
        if !read.is_empty() {
            let found = self.own_transfers(read, context).await;
            let found = found.map_err(|failure| unread(&failure).of_events(ids()))?;
            settle_transfers(&transfers, &mut outcomes.results, &found);
        }
        if let (Some(key), [transfer], [result]) = (key, &*transfers, &*outcomes.results)
            && let Some(case) = self.check_key(key, transfer, *result, context).await?
        {
            outcomes.details.push((0, case));
            return Ok(outcomes);
        }
        self.explain_transfers(&events, &mut outcomes, context).await;
        Ok(outcomes)
    }

    /// Replaces names and asset codes by numbers.
    async fn transfers_of(
        &self,
        drafts: Vec<TransferDraft>,
        context: &RequestContext,
    ) -> Result<Vec<ExtendedTransfer>, Failure> {
        let references = drafts.iter().flat_map(|draft| [&draft.debit_account, &draft.credit_account]);
        let names = self.ids_of_names(references, context).await?;
        let mut events = Vec::with_capacity(drafts.len());
        let mut ledgers = Ledgers::default();
        for (at, draft) in drafts.into_iter().enumerate() {
            let mut event = draft.event;
            let place = |error| at_place(error, at);
            event.transfer.debit_account_id =
                names.id_of(&draft.debit_account, "debit_account").map_err(place)?;
            event.transfer.credit_account_id =
                names.id_of(&draft.credit_account, "credit_account").map_err(place)?;
            if let Some(code) = draft.asset {
                event.transfer.ledger = ledgers.find(self, code, context).await.map_err(place)?;
            }
            events.push(event);
        }
        Ok(events)
    }

    /// Puts events in the log, with the marks of their key where they need them. `None`: the key belongs to
    /// another request, and nothing was done.
    async fn write_keyed(
        &self,
        operation: Operation,
        records: Bytes,
        marks: Option<KeyedHead>,
        context: &RequestContext,
    ) -> Result<Option<Committed>, Failure> {
        let Some(marks) = marks else {
            return self.write(operation, records, context).await.map(Some);
        };
        let command = marks.command(&records).map_err(|error| failure::of_records(error, operation))?;
        let committed = self.execute(operation, command, context).await?;
        Ok(Some(committed).filter(|committed| !committed.results.is_empty()))
    }

    /// Reads accounts for the service itself: always linearizable, whatever the request asks for.
    pub(crate) async fn own_accounts(
        &self,
        query: LedgerQuery,
        context: &RequestContext,
    ) -> Result<Vec<bezant_types::AccountView>, Failure> {
        let read = self.handle.query_at(query, Consistency::Linearizable, context.deadline).await;
        match read.map_err(|error| failure::of_read(&error))?.answer {
            bezant_ledger::LedgerAnswer::Accounts(accounts) => Ok(accounts),
            _ => Err(failure::internal("the ledger's answer is of another kind")),
        }
    }

    /// Reads transfers for the service itself: always linearizable, whatever the request asks for.
    pub(crate) async fn own_transfers(
        &self,
        ids: Vec<TransferId>,
        context: &RequestContext,
    ) -> Result<Vec<Transfer>, Failure> {
        let query = HistoryQuery::Transfers(ids);
        let read = self.handle.query_history_at(query, Consistency::Linearizable, context.deadline).await;
        let rows = read.map_err(|error| failure::of_read(&error))?.answer;
        Ok(rows.into_iter().map(|(_, row)| row.transfer).collect())
    }
}

/// The marks of a request. `first` are its operation and bytes as version 0.1 wrote them: a retry has the same
/// marks, whichever version received the first attempt.
fn marks_of(key: Key<'_>, operation: Operation, first: &(Operation, Bytes)) -> KeyedHead {
    KeyedHead { operation, ..marks(key.kind, key.text, first.0, &first.1) }
}

/// The failure of a write that was done while its outcome cannot be read.
fn unread(failure: &Failure) -> Failure {
    let detail =
        format!("the outcome of a linked chain cannot be read ({}): retry with the same ids", failure.detail);
    Failure::new(ErrorCode::Interrupted, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_has_the_marks_that_version_0_1_wrote() {
        let events = [ExtendedTransfer { transfer: Transfer::default(), prev_hash: Head([1; 32]) }; 2];
        let key = Key { text: "order-1", kind: IdKind::Transfer };
        let before =
            marks(key.kind, key.text, Operation::CreateTransfersExtended, &Event::write_all(&events));
        let first = (Operation::CreateTransfersExtended, Event::write_all(&events));
        let now = marks_of(key, Operation::CreateTransfersTagged, &first);
        assert_eq!((now.guard, now.witness), (before.guard, before.witness));
        assert_eq!(now.operation, Operation::CreateTransfersTagged, "of the events that follow");
    }
}
