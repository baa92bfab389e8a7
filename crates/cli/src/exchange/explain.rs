//! The details of an import's refusals: the account, the bound or flag, the requested and the actual value.
//!
//! An import sends its rows in calls that answer with statuses alone. So the details of a batch's refusals are
//! read after it, in a few calls for all of them together. A detail that cannot be read is left out: the
//! refusal itself is known.

use std::collections::{BTreeMap, BTreeSet};

use bezant_api::assets::AssetBook;
use bezant_api::explain::{
    TransferFacts, explain_account, explain_transfer, is_about_account, is_about_id, is_of_interest,
};
use bezant_client::{
    AccountId, AccountView, ClientError, CreateAccountStatus, CreateTransferStatus, NewAccount, NewTransfer,
    Transfer, TransferFlags, TransferId,
};
use bezant_ledger::{ExtendedAccount, name_to_bytes};

use crate::session::Session;

/// How many ids of a batch that earlier refusals have used up are looked up, at most. Each takes a separate
/// call, since no batch read returns them. The import reports how many others have no detail.
pub(super) const USED_UP_MAX: usize = 100;

/// A refused row of a batch: its index in the batch, the event that was sent, and the status.
type Refused<'batch, New, Status> = (usize, &'batch New, Status);

/// The details of refused transfers, by their index in the batch.
pub(super) async fn transfers(
    session: &Session,
    refused: &[Refused<'_, NewTransfer, CreateTransferStatus>],
) -> BTreeMap<usize, String> {
    let refused: Vec<_> = refused.iter().filter(|(_, _, status)| is_of_interest(*status)).copied().collect();
    if refused.is_empty() {
        return BTreeMap::new();
    }
    let known = known_transfers(session, &refused).await.unwrap_or_default();
    let pending = |new: &NewTransfer| known.get(&new.transfer.pending_id).copied();
    let accounts = refused.iter().flat_map(|(_, new, _)| {
        let of = pending(new).unwrap_or(new.transfer);
        [of.debit_account_id, of.credit_account_id]
    });
    let accounts = known_accounts(session, accounts.collect()).await.unwrap_or_default();
    let assets = assets(session).await;
    let mut cases = BTreeMap::new();
    for (at, new, status) in &refused {
        let sent = &new.transfer;
        let of = pending(new).unwrap_or(*sent);
        let facts = TransferFacts {
            debit: accounts.get(&of.debit_account_id).cloned(),
            credit: accounts.get(&of.credit_account_id).cloned(),
            existing: known.get(&sent.id).copied(),
            refusal: None,
            pending: pending(new),
        };
        cases.extend(explain_transfer(*status, sent, &facts, &assets).map(|case| (*at, case)));
    }
    let used_up = refused.iter().filter(|(_, _, status)| *status == CreateTransferStatus::IdAlreadyFailed);
    for (at, new, _) in used_up.take(USED_UP_MAX) {
        let Some(case) = first_refusal(session, new).await else { break };
        cases.insert(*at, case);
    }
    cases
}

/// The server's explanation for an id that a refusal has used up. No transfer can be created with such an
/// id any more, so it is safe to send this one again.
async fn first_refusal(session: &Session, new: &NewTransfer) -> Option<String> {
    let flags = new.transfer.flags.without(TransferFlags::LINKED);
    let new = NewTransfer { transfer: Transfer { flags, ..new.transfer }, ..*new };
    let (_, case) = session.client.create_transfer_explained(&new).await.ok()?;
    Some(case).filter(|case| !case.is_empty())
}

/// The details of refused accounts, by their index in the batch.
pub(super) async fn accounts(
    session: &Session,
    refused: &[Refused<'_, NewAccount, CreateAccountStatus>],
) -> BTreeMap<usize, String> {
    let refused: Vec<_> =
        refused.iter().filter(|(_, _, status)| is_about_account(*status)).copied().collect();
    if refused.is_empty() {
        return BTreeMap::new();
    }
    let (named, others): (Vec<_>, Vec<_>) =
        refused.iter().partition(|(_, _, status)| *status == CreateAccountStatus::NameTaken);
    let names: Vec<&str> = named.iter().map(|(_, new, _)| new.name.as_str()).collect();
    // An account that was found by another spelling of its name has the normal form of that name.
    let normal = |name: &str| bezant_api::name::normalized(name).map(std::borrow::Cow::into_owned);
    let by_name = session.client.lookup_accounts_by_name(&names).await.unwrap_or_default();
    let by_name: BTreeMap<_, _> = by_name.into_iter().map(|view| (view.name.clone(), view)).collect();
    let by_id = known_accounts(session, others.iter().map(|(_, new, _)| new.account.id).collect()).await;
    let by_id = by_id.unwrap_or_default();
    let assets = assets(session).await;
    let cases = refused.into_iter().filter_map(|(at, new, status)| {
        let existing = if status == CreateAccountStatus::NameTaken {
            by_name.get(&new.name).or_else(|| by_name.get(&normal(&new.name)?))?
        } else {
            by_id.get(&new.account.id)?
        };
        let name = name_to_bytes(&new.name)?;
        let sent = ExtendedAccount { account: new.account, bounds: new.bounds, name };
        explain_account(status, &sent, existing, &assets).map(|case| (at, case))
    });
    cases.collect()
}

async fn known_transfers(
    session: &Session,
    refused: &[Refused<'_, NewTransfer, CreateTransferStatus>],
) -> Result<BTreeMap<TransferId, Transfer>, ClientError> {
    let ids = refused.iter().flat_map(|(_, new, status)| {
        [if is_about_id(*status) { new.transfer.id } else { TransferId(0) }, new.transfer.pending_id]
    });
    let ids: BTreeSet<_> = ids.filter(|id| id.0 != 0).collect();
    let ids: Vec<_> = ids.into_iter().collect();
    let found = session.client.lookup_transfers(&ids).await?;
    Ok(found.into_iter().map(|view| (view.transfer.id, view.transfer)).collect())
}

async fn known_accounts(
    session: &Session,
    ids: BTreeSet<AccountId>,
) -> Result<BTreeMap<AccountId, AccountView>, ClientError> {
    let ids: Vec<_> = ids.into_iter().filter(|id| id.0 != 0).collect();
    let found = session.client.lookup_accounts(&ids).await?;
    Ok(found.into_iter().map(|view| (view.account.id, view)).collect())
}

/// The server's assets; none when they cannot be read.
async fn assets(session: &Session) -> AssetBook {
    let known = session.assets().await;
    known.map_or_else(|_| AssetBook::default(), |assets| assets.all().iter().copied().collect())
}
