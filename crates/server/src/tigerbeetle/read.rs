//! Reads: they call the service as every other protocol does, and put the reply in the log so that a retry
//! finds it.
//!
//! The session is checked first: a retry, or a request that the session does not allow, costs neither a read
//! nor an entry in the log. A node that accepts no writes still reads: then the reply is not stored, and a
//! retry reads again.

use std::collections::HashMap;
use std::sync::Arc;

use bezant_api::{ErrorCode, Failure};
use bezant_codec::{
    Batches, account_balance_to_bytes, account_filter_from_bytes, account_to_bytes, put_trailer,
    query_filter_from_bytes, transfer_to_bytes,
};
use bezant_ledger::{LedgerQuery, SESSION_HEAD_SIZE, SessionHead};
use bezant_storage::HistoryQuery;
use bezant_tigerbeetle::{
    CHANGE_FILTER_SIZE, Operation, Reply, Request, change_event_to_bytes, change_filter_from_bytes,
};
use bezant_types::{
    Account, AccountFilter, AccountFlags, AccountId, LogIndex, Movement, MovementFilter, MovementNumber,
    Nanos, QueryFilter, TransferId,
};
use bytes::{Bytes, BytesMut};

use super::Listener;
use super::create::wait_for_capacity;
use super::outbound::Outcome;
use super::request::head;
use crate::answer::{ANSWER_COST, AnswerMemory};
use crate::context::RequestContext;
use crate::shared::balances_of;

/// A reply under construction: space for the head that the log stores, then the results.
struct Results {
    bytes: BytesMut,
    result_size: usize,
}

impl Results {
    fn new(operation: Operation) -> Self {
        Self { bytes: BytesMut::zeroed(SESSION_HEAD_SIZE), result_size: operation.result_size() }
    }

    fn push(&mut self, result: &[u8]) {
        debug_assert_eq!(result.len(), self.result_size, "a result has its size");
        self.bytes.extend_from_slice(result);
    }

    fn count(&self) -> usize {
        (self.bytes.len() - SESSION_HEAD_SIZE) / self.result_size
    }

    fn finish(mut self, head: &SessionHead) -> Bytes {
        self.bytes[..SESSION_HEAD_SIZE].copy_from_slice(&head.to_bytes());
        self.bytes.freeze()
    }
}

/// The content of a request that reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question<'body> {
    /// A lookup or a query, in batches.
    Batches(Operation, Batches<'body>),
    /// A filter of change events.
    Changes(&'body [u8; CHANGE_FILTER_SIZE]),
}

impl Listener {
    /// Answers a question. The answer's bytes count until the returned memory is dropped, which is when they
    /// are sent.
    pub(super) async fn read(
        &self,
        request: &Request,
        question: Question<'_>,
        context: &RequestContext,
    ) -> Result<(Outcome, Arc<AnswerMemory>), Failure> {
        if let Some(outcome) = self.answered_before(request, context).await? {
            let memory = memory(context).await?;
            memory.set(outcome.body_size());
            return Ok((outcome, memory));
        }
        let (found, memory) = loop {
            match self.find_once(question, context).await {
                Ok(found) => break found,
                Err(failure) => wait_for_capacity(failure, context.deadline).await?,
            }
        };
        Ok((self.keep(request, found, &self.renewed(context)).await?, memory))
    }

    /// One try. Each try takes memory anew, because the memory of a try that failed was returned.
    async fn find_once(
        &self,
        question: Question<'_>,
        context: &RequestContext,
    ) -> Result<(Results, Arc<AnswerMemory>), Failure> {
        let memory = AnswerMemory::new(context.budget.share(), ANSWER_COST)?;
        let found = self.find(question, &context.with_memory(&memory)).await?;
        // The rows are now bytes of the reply, which exist in the log and the session and again while they
        // are sent.
        memory.set(found.bytes.len().saturating_mul(2));
        Ok((found, memory))
    }

    /// Puts the reply in the log, if the node accepts writes.
    async fn keep(
        &self,
        request: &Request,
        found: Results,
        context: &RequestContext,
    ) -> Result<Outcome, Failure> {
        let bytes = found.finish(&head(request));
        match self.execute(SessionHead::reply(bytes.clone()), context).await {
            Ok(committed) => Ok(Outcome::of_answer(request, &committed.results, self.cluster)),
            Err(Failure { code: ErrorCode::ReadOnly, .. }) => {
                let reply = Reply {
                    request_checksum: request.checksum,
                    // The session is unchanged: the next request names the same reply.
                    context: request.parent,
                    client: request.client,
                    index: LogIndex(request.session.0),
                    time: Nanos(1),
                    number: request.number,
                    operation: request.operation,
                    release: request.release,
                    view: super::VIEW,
                };
                Ok(Outcome::reply(&reply, bytes.slice(SESSION_HEAD_SIZE..), self.cluster))
            }
            Err(failure) => Err(failure),
        }
    }

    async fn find(&self, question: Question<'_>, context: &RequestContext) -> Result<Results, Failure> {
        match question {
            Question::Batches(operation, batches) => self.find_batches(operation, &batches, context).await,
            Question::Changes(filter) => self.find_changes(filter, context).await,
        }
    }

    async fn find_batches(
        &self,
        operation: Operation,
        batches: &Batches<'_>,
        context: &RequestContext,
    ) -> Result<Results, Failure> {
        let mut results = Results::new(operation);
        let mut sizes = Vec::with_capacity(batches.count());
        match operation {
            Operation::LookupAccounts => {
                let ids = ids_of(batches.payload()).map(AccountId).collect();
                let found = self.service.accounts(LedgerQuery::Accounts(ids), context).await?;
                let found = found.iter().map(|view| (view.account.id.0, account_to_bytes(&view.account)));
                lookup(batches, found, &mut results, &mut sizes);
            }
            Operation::LookupTransfers => {
                let ids = ids_of(batches.payload()).map(TransferId).collect();
                let found = self.service.history(HistoryQuery::Transfers(ids), context).await?;
                let found =
                    found.iter().map(|(_, row)| (row.transfer.id.0, transfer_to_bytes(&row.transfer)));
                lookup(batches, found, &mut results, &mut sizes);
            }
            _ => {
                for batch in batches.iter() {
                    let before = results.count();
                    self.find_by_filter(operation, batch, context, &mut results).await?;
                    sizes.push(results.count() - before);
                }
            }
        }
        put_trailer(&mut results.bytes, &sizes, results.result_size);
        Ok(results)
    }

    /// What one filter finds; nothing when the filter is invalid.
    async fn find_by_filter(
        &self,
        operation: Operation,
        filter: &[u8],
        context: &RequestContext,
        results: &mut Results,
    ) -> Result<(), Failure> {
        match operation {
            Operation::QueryAccounts => {
                let Some(filter) = query_filter(filter) else { return Ok(()) };
                for view in self.service.accounts(LedgerQuery::QueryAccounts(filter), context).await? {
                    results.push(&account_to_bytes(&view.account));
                }
            }
            Operation::QueryTransfers => {
                let Some(filter) = query_filter(filter) else { return Ok(()) };
                for (_, row) in self.service.history(HistoryQuery::QueryTransfers(filter), context).await? {
                    results.push(&transfer_to_bytes(&row.transfer));
                }
            }
            Operation::GetAccountTransfers => {
                let Some(filter) = account_filter(filter) else { return Ok(()) };
                for (_, row) in self.service.history(HistoryQuery::AccountTransfers(filter), context).await? {
                    results.push(&transfer_to_bytes(&row.transfer));
                }
            }
            Operation::GetAccountBalances => {
                let Some(filter) = account_filter(filter) else { return Ok(()) };
                if self.keeps_history(filter.account_id, context).await? {
                    let rows = self.service.history(HistoryQuery::AccountTransfers(filter), context).await?;
                    for balance in balances_of(&rows, filter.account_id) {
                        results.push(&account_balance_to_bytes(&balance));
                    }
                }
            }
            _ => return Err(crate::failure::internal("an operation without a filter")),
        }
        Ok(())
    }

    async fn keeps_history(&self, account: AccountId, context: &RequestContext) -> Result<bool, Failure> {
        let found = self.service.accounts(LedgerQuery::Accounts(vec![account]), context).await?;
        Ok(found.iter().any(|view| view.account.flags.contains(AccountFlags::HISTORY)))
    }

    async fn find_changes(
        &self,
        filter: &[u8; CHANGE_FILTER_SIZE],
        context: &RequestContext,
    ) -> Result<Results, Failure> {
        let mut results = Results::new(Operation::GetChangeEvents);
        let Some(filter) = change_filter_from_bytes(filter).filter(MovementFilter::is_valid) else {
            return Ok(results);
        };
        let rows = self.service.history(HistoryQuery::Movements(filter), context).await?;
        let accounts = self.accounts_of(&rows, context).await?;
        for (_, row) in &rows {
            let of = |id: AccountId| {
                accounts.get(&id).copied().unwrap_or_else(|| Account { id, ..Account::default() })
            };
            let (debit, credit) = (of(row.transfer.debit_account_id), of(row.transfer.credit_account_id));
            results.push(&change_event_to_bytes(row, &debit, &credit));
        }
        Ok(results)
    }

    /// The accounts on either side of the movements.
    async fn accounts_of(
        &self,
        rows: &[(MovementNumber, Movement)],
        context: &RequestContext,
    ) -> Result<HashMap<AccountId, Account>, Failure> {
        let sides = |row: &Movement| [row.transfer.debit_account_id, row.transfer.credit_account_id];
        let mut ids: Vec<AccountId> = rows.iter().flat_map(|(_, row)| sides(row)).collect();
        ids.sort_unstable();
        ids.dedup();
        let found = self.service.accounts(LedgerQuery::Accounts(ids), context).await?;
        Ok(found.into_iter().map(|view| (view.account.id, view.account)).collect())
    }
}

/// Takes the memory of an answer, and waits until there is some.
async fn memory(context: &RequestContext) -> Result<Arc<AnswerMemory>, Failure> {
    loop {
        match AnswerMemory::new(context.budget.share(), ANSWER_COST) {
            Ok(memory) => return Ok(memory),
            Err(failure) => wait_for_capacity(failure, context.deadline).await?,
        }
    }
}

fn ids_of(payload: &[u8]) -> impl Iterator<Item = u128> {
    payload.as_chunks().0.iter().map(|bytes| u128::from_le_bytes(*bytes))
}

/// Distributes the found records to the batches that asked for them. The records are in the order of the ids;
/// unknown ids are left out.
fn lookup<const SIZE: usize>(
    batches: &Batches<'_>,
    found: impl Iterator<Item = (u128, [u8; SIZE])>,
    results: &mut Results,
    sizes: &mut Vec<usize>,
) {
    let mut found = found.peekable();
    for batch in batches.iter() {
        let before = results.count();
        for id in ids_of(batch) {
            if let Some((_, record)) = found.next_if(|(of, _)| *of == id) {
                results.push(&record);
            }
        }
        sizes.push(results.count() - before);
    }
}

fn query_filter(bytes: &[u8]) -> Option<QueryFilter> {
    query_filter_from_bytes(bytes.first_chunk()?).ok().filter(QueryFilter::is_valid)
}

fn account_filter(bytes: &[u8]) -> Option<AccountFilter> {
    account_filter_from_bytes(bytes.first_chunk()?).ok().filter(AccountFilter::is_valid)
}
