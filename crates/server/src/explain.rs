//! Reads the records that explain the refusals of a request, so that their details name the case.
//!
//! A record that cannot be read is left out, and the answer waits for the reads for at most a second.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bezant_api::explain::{
    TransferFacts, explain_account, explain_transfer, is_about_account, is_about_id, is_of_interest,
};
use bezant_ledger::{ExtendedAccount, ExtendedTransfer, LedgerQuery};
use bezant_types::{
    AccountId, AccountView, CreateAccountStatus, CreateTransferStatus, FetchedTransfer, Transfer, TransferId,
};

use crate::context::{Deadline, RequestContext};
use crate::create::Outcomes;
use crate::service::Service;

/// The most refusals of a request that are explained.
const EXPLAINED_MAX: usize = 8;
/// How long a complete answer waits at most for its explanations.
const EXPLAIN_TIMEOUT: Duration = Duration::from_secs(1);

impl Service {
    /// Adds the details of the first refused transfers.
    pub(crate) async fn explain_transfers(
        &self,
        sent: &[ExtendedTransfer],
        outcomes: &mut Outcomes,
        context: &RequestContext,
    ) {
        let refused = sent.iter().zip(&outcomes.results).enumerate().filter_map(|(at, (event, result))| {
            let status = CreateTransferStatus::from_number(result.status).ok()?;
            is_of_interest(status).then_some((at, event.transfer, status))
        });
        let refused: Vec<_> = refused.take(EXPLAINED_MAX).collect();
        if refused.is_empty() {
            return;
        }
        let context = &context.due_by(explain_deadline(context.deadline));
        let transfers = self.known_transfers(&refused, context).await;
        let accounts = self.known_accounts(&refused, &transfers, context).await;
        let assets = self.assets_for(accounts.values().map(|view| view.account.ledger), context).await;
        for (at, transfer, status) in refused {
            let facts = facts_of(&transfer, &transfers, &accounts);
            if let Some(detail) = explain_transfer(status, &transfer, &facts, &assets) {
                outcomes.details.push((at, detail));
            }
        }
    }

    /// Adds the details of the first refused accounts.
    pub(crate) async fn explain_accounts(
        &self,
        sent: &[ExtendedAccount],
        outcomes: &mut Outcomes,
        context: &RequestContext,
    ) {
        let refused = sent.iter().zip(&outcomes.results).enumerate().filter_map(|(at, (event, result))| {
            let status = CreateAccountStatus::from_number(result.status).ok()?;
            is_about_account(status).then_some((at, event, status))
        });
        let refused: Vec<_> = refused.take(EXPLAINED_MAX).collect();
        if refused.is_empty() {
            return;
        }
        let context = &context.due_by(explain_deadline(context.deadline));
        for (at, event, status) in refused {
            let query = if status == CreateAccountStatus::NameTaken {
                let name = bezant_ledger::name_from_bytes(&event.name).unwrap_or_default();
                LedgerQuery::AccountsByName(vec![name.to_owned()])
            } else {
                LedgerQuery::Accounts(vec![event.account.id])
            };
            let Ok(found) = self.own_accounts(query, context).await else { return };
            let Some(existing) = found.first() else { continue };
            let assets = self.assets_for([existing.account.ledger].into_iter(), context).await;
            if let Some(detail) = explain_account(status, event, existing, &assets) {
                outcomes.details.push((at, detail));
            }
        }
    }

    /// The history's records of the refused transfers, and of the pending transfers that they were to post or
    /// void.
    async fn known_transfers(
        &self,
        refused: &[(usize, Transfer, CreateTransferStatus)],
        context: &RequestContext,
    ) -> HashMap<TransferId, FetchedTransfer> {
        let ids = refused.iter().flat_map(|(_, transfer, status)| {
            [if is_about_id(*status) { transfer.id } else { TransferId(0) }, transfer.pending_id]
        });
        let ids: Vec<_> = ids.filter(|id| id.0 != 0).collect();
        if ids.is_empty() {
            return HashMap::new();
        }
        let found = self.handle.outcomes(&ids, context.deadline).await.unwrap_or_default();
        let id = |found: &FetchedTransfer| match found {
            FetchedTransfer::Applied(_, movement) => movement.transfer.id,
            FetchedTransfer::Refused(refusal) => refusal.id,
        };
        found.into_iter().map(|found| (id(&found), found)).collect()
    }

    /// The accounts of the refused transfers, and of the pending transfers that they were to post or void.
    async fn known_accounts(
        &self,
        refused: &[(usize, Transfer, CreateTransferStatus)],
        transfers: &HashMap<TransferId, FetchedTransfer>,
        context: &RequestContext,
    ) -> HashMap<AccountId, AccountView> {
        let pending = refused.iter().filter_map(|(_, transfer, _)| applied(transfers, transfer.pending_id));
        let all = refused.iter().map(|(_, transfer, _)| *transfer).chain(pending);
        let mut ids: Vec<_> =
            all.flat_map(|transfer| [transfer.debit_account_id, transfer.credit_account_id]).collect();
        ids.sort_unstable();
        ids.dedup();
        let found = self.own_accounts(LedgerQuery::Accounts(ids), context).await.unwrap_or_default();
        found.into_iter().map(|view| (view.account.id, view)).collect()
    }
}

/// The earlier of the call's deadline and [`EXPLAIN_TIMEOUT`] from now.
fn explain_deadline(deadline: Deadline) -> Deadline {
    let latest = Instant::now().checked_add(EXPLAIN_TIMEOUT);
    deadline.into_iter().chain(latest).min()
}

fn applied(transfers: &HashMap<TransferId, FetchedTransfer>, id: TransferId) -> Option<Transfer> {
    match transfers.get(&id)? {
        FetchedTransfer::Applied(_, movement) => Some(movement.transfer),
        FetchedTransfer::Refused(_) => None,
    }
}

fn facts_of(
    transfer: &Transfer,
    transfers: &HashMap<TransferId, FetchedTransfer>,
    accounts: &HashMap<AccountId, AccountView>,
) -> TransferFacts {
    let pending = applied(transfers, transfer.pending_id);
    let of = pending.as_ref().unwrap_or(transfer);
    let refusal = match transfers.get(&transfer.id) {
        Some(FetchedTransfer::Refused(refusal)) => Some(*refusal),
        _ => None,
    };
    TransferFacts {
        debit: accounts.get(&of.debit_account_id).cloned(),
        credit: accounts.get(&of.credit_account_id).cloned(),
        existing: applied(transfers, transfer.id),
        refusal,
        pending,
    }
}
