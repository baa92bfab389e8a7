//! The gRPC calls that only read.

use bezant_api::message::{
    account_filter, account_reference, hold_filter, movements_from, number, query_filter,
};
use bezant_api::token::{EventsFrom, LEDGER_GROUP};
use bezant_api::{AccountReference, ErrorCode, Failure, v1};
use bezant_ledger::LedgerQuery;
use bezant_storage::HistoryQuery;
use bezant_types::{
    AccountBalance, AccountFilter, AccountId, AccountView, HoldFilter, HoldPlace, MovementFilter,
    MovementNumber, Nanos, QueryFilter, TransferId, TransferView, limits,
};

use crate::cluster::cluster_reply;
use crate::context::RequestContext;
use crate::service::Service;
use crate::shared::{balances_of, check_keeps_history};

pub(super) async fn lookup_accounts(
    service: &Service,
    request: v1::LookupAccountsRequest,
    context: &RequestContext,
) -> Result<v1::AccountsReply, Failure> {
    check_count(request.accounts.len())?;
    let (mut ids, mut names) = (Vec::new(), Vec::new());
    for reference in request.accounts {
        match account_reference(Some(reference)) {
            AccountReference::None => {}
            AccountReference::Id(id) => ids.push(id),
            AccountReference::Name(name) => names.push(name),
        }
    }
    let mut found = Vec::new();
    if !ids.is_empty() {
        found = service.accounts(LedgerQuery::Accounts(ids), context).await?;
    }
    if !names.is_empty() {
        found.extend(service.accounts_named(names, context).await?);
    }
    Ok(accounts_reply(found, false))
}

pub(super) async fn lookup_transfers(
    service: &Service,
    request: v1::LookupTransfersRequest,
    context: &RequestContext,
) -> Result<v1::TransfersReply, Failure> {
    check_count(request.ids.len())?;
    let ids = request.ids.into_iter().map(|id| TransferId(number(Some(id)))).collect();
    Ok(transfers_reply(service.transfers(HistoryQuery::Transfers(ids), context).await?, false))
}

pub(super) async fn get_account_transfers(
    service: &Service,
    request: v1::AccountFilter,
    context: &RequestContext,
) -> Result<v1::TransfersReply, Failure> {
    let filter = filter_of(service, request, context).await?;
    let rows = service.transfers(HistoryQuery::AccountTransfers(filter), context).await?;
    let last = last_of_full(&rows, filter.limit_capped(), |row| row.transfer.timestamp);
    let has_more = has_more_of_account(service, last, filter, context).await?;
    Ok(transfers_reply(rows, has_more))
}

pub(super) async fn get_account_balances(
    service: &Service,
    mut request: v1::AccountFilter,
    context: &RequestContext,
) -> Result<v1::AccountBalancesReply, Failure> {
    let account = service.account(&account_reference(request.account.take()), context).await?.account;
    check_keeps_history(&account)?;
    let filter = account_filter(&request, account.id)?;
    let rows = service.history(HistoryQuery::AccountTransfers(filter), context).await?;
    let last = last_of_full(&rows, filter.limit_capped(), |(_, row)| row.timestamp);
    let has_more = has_more_of_account(service, last, filter, context).await?;
    let balances = balances_of(&rows, account.id).map(|balance: AccountBalance| balance.into()).collect();
    Ok(v1::AccountBalancesReply { balances, has_more })
}

pub(super) async fn get_account_movements(
    service: &Service,
    request: v1::AccountFilter,
    context: &RequestContext,
) -> Result<v1::MovementsReply, Failure> {
    let mut filter = filter_of(service, request, context).await?;
    filter.limit = capped(filter.limit);
    let rows = service.history(HistoryQuery::AccountTransfers(filter), context).await?;
    let last = last_of_full(&rows, filter.limit_capped(), |(_, row)| row.timestamp);
    let has_more = has_more_of_account(service, last, filter, context).await?;
    Ok(v1::MovementsReply { has_more, ..rows.into_iter().collect() })
}

pub(super) async fn query_accounts(
    service: &Service,
    request: v1::QueryFilter,
    context: &RequestContext,
) -> Result<v1::AccountsReply, Failure> {
    let filter = query_filter(&request)?;
    let found = service.accounts(LedgerQuery::QueryAccounts(filter), context).await?;
    let last = found.last().filter(|_| found.len() >= filter.limit_capped());
    let has_more = match last.and_then(|last| filter.after(last.account.timestamp)) {
        Some(rest) => {
            let rest = LedgerQuery::QueryAccounts(QueryFilter { limit: 1, ..rest });
            !service.accounts(rest, context).await?.is_empty()
        }
        None => false,
    };
    Ok(accounts_reply(found, has_more))
}

pub(super) async fn query_transfers(
    service: &Service,
    request: v1::QueryFilter,
    context: &RequestContext,
) -> Result<v1::TransfersReply, Failure> {
    let filter = query_filter(&request)?;
    let rows = service.transfers(HistoryQuery::QueryTransfers(filter), context).await?;
    let last = last_of_full(&rows, filter.limit_capped(), |row| row.transfer.timestamp);
    let has_more = match last.and_then(|last| filter.after(last)) {
        Some(rest) => {
            let rest = HistoryQuery::QueryTransfers(QueryFilter { limit: 1, ..rest });
            !service.history(rest, context).await?.is_empty()
        }
        None => false,
    };
    Ok(transfers_reply(rows, has_more))
}

pub(super) async fn list_holds(
    service: &Service,
    mut request: v1::ListHoldsRequest,
    context: &RequestContext,
) -> Result<v1::TransfersReply, Failure> {
    let account_id = match account_reference(request.account.take()) {
        AccountReference::None => AccountId(0),
        account => service.account_id(&account, context).await?,
    };
    let filter = hold_filter(&request, account_id);
    let rows = service.holds(filter, context).await?;
    let has_more = match rows.last().filter(|_| rows.len() >= filter.limit_capped()) {
        Some(last) => {
            let rest = HoldFilter { after: HoldPlace::of(last), limit: 1, ..filter };
            !service.holds(rest, context).await?.is_empty()
        }
        None => false,
    };
    Ok(transfers_reply(rows.into_iter().map(TransferView::pending).collect(), has_more))
}

pub(super) async fn list_assets(
    service: &Service,
    _: v1::ListAssetsRequest,
    context: &RequestContext,
) -> Result<v1::ListAssetsReply, Failure> {
    let assets = service.list_assets(context).await?;
    Ok(v1::ListAssetsReply { assets: assets.iter().copied().map(v1::Asset::from).collect() })
}

pub(super) async fn get_cluster(
    service: &Service,
    _: v1::GetClusterRequest,
    _: &RequestContext,
) -> Result<v1::GetClusterReply, Failure> {
    Ok(cluster_reply(service))
}

pub(super) async fn get_movements(
    service: &Service,
    request: v1::GetMovementsRequest,
    context: &RequestContext,
) -> Result<v1::MovementsReply, Failure> {
    let from = match movements_from(&request)? {
        EventsFrom::At(position) => position,
        EventsFrom::Now => service.end_of_events(context).await?,
    };
    let filter = MovementFilter {
        from: service.row_at(&from, context).await?,
        timestamp_min: Nanos(request.timestamp_min),
        timestamp_max: Nanos(request.timestamp_max),
        limit: capped(request.limit),
    };
    let rows = service.history(HistoryQuery::Movements(filter), context).await?;
    let mut next = from;
    if let Some((last, _)) = rows.last() {
        next.move_after(LEDGER_GROUP, *last);
    } else if request.timestamp_min > 0 {
        next.merge(&service.events_since(filter.timestamp_min, context).await?);
    }
    let last = rows.last().filter(|_| rows.len() >= filter.limit_capped());
    let has_more = match last {
        Some((last, _)) => {
            let from = MovementNumber(last.0.saturating_add(1));
            let rest = HistoryQuery::Movements(MovementFilter { from, limit: 1, ..filter });
            !service.history(rest, context).await?.is_empty()
        }
        None => false,
    };
    Ok(v1::MovementsReply { has_more, next: next.to_string(), ..rows.into_iter().collect() })
}

async fn filter_of(
    service: &Service,
    mut request: v1::AccountFilter,
    context: &RequestContext,
) -> Result<AccountFilter, Failure> {
    let account = account_reference(request.account.take());
    let account_id = service.account_id(&account, context).await?;
    Ok(account_filter(&request, account_id)?)
}

/// The timestamp of the last row of a full answer, after which more rows may follow; `None` = the answer is
/// not full.
fn last_of_full<Row>(rows: &[Row], limit: usize, timestamp: impl Fn(&Row) -> Nanos) -> Option<Nanos> {
    rows.last().filter(|_| rows.len() >= limit).map(timestamp)
}

/// True when the account has rows after `last`, the last row of a full answer.
async fn has_more_of_account(
    service: &Service,
    last: Option<Nanos>,
    filter: AccountFilter,
    context: &RequestContext,
) -> Result<bool, Failure> {
    let Some(rest) = last.and_then(|last| filter.after(last)) else { return Ok(false) };
    let rest = HistoryQuery::AccountTransfers(AccountFilter { limit: 1, ..rest });
    Ok(!service.history(rest, context).await?.is_empty())
}

fn accounts_reply(found: Vec<AccountView>, has_more: bool) -> v1::AccountsReply {
    v1::AccountsReply { accounts: found.into_iter().map(v1::Account::from).collect(), has_more }
}

fn transfers_reply(rows: Vec<TransferView>, has_more: bool) -> v1::TransfersReply {
    v1::TransfersReply { transfers: rows.into_iter().map(v1::Transfer::from).collect(), has_more }
}

fn check_count(count: usize) -> Result<(), Failure> {
    if count <= limits::RESULTS_MAX {
        return Ok(());
    }
    let detail = format!("{count} are too many: ask for at most {}", limits::RESULTS_MAX);
    Err(Failure::new(ErrorCode::TooManyEvents, detail))
}

/// Limits a number of movements to the most that one answer may have; 0 = the most.
fn capped(limit: u32) -> u32 {
    let most = u32::try_from(limits::MOVEMENTS_MAX).unwrap_or(u32::MAX);
    if limit == 0 { most } else { limit.min(most) }
}
