//! The handlers of `/v1/accounts`.

use axum::response::Response;
use bezant_api::idempotency::IdKind;
use bezant_api::json::{
    AccountReply, AccountsQuery, BalanceReply, ChangeReply, HistoryQuery, HoldsQuery, Page, Problem,
    TransferReply, parse_accounts, parse_bounds, parse_bounds_change, parse_name,
};
use bezant_ledger::{LedgerQuery, Operation, SetBounds, SetName};
use bezant_storage::{HistoryAnswer, HistoryQuery as Rows};
use bezant_types::AccountId;
use http::StatusCode;

use super::request::{Account, JsonBody, Parameters, RestRequest};
use super::{batch_reply, json, single_reply};
use crate::create::Outcomes;
use crate::failure::Refused;
use crate::metrics::{Api, Call};
use crate::service::without_place;
use crate::shared::{balances_of, check_keeps_history};

type Answer = Result<Response, Refused>;

/// Create accounts
///
/// One object answers 201 (created), 200 (exists), 409 or 422 (refused); an array answers 200 with a status
/// for each. With an `Idempotency-Key`, accounts without an id get one that is derived from the key.
#[utoipa::path(post, path = "/v1/accounts", tag = "Accounts", operation_id = "create_accounts",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry return the first outcome")),
    request_body(content = super::openapi::OneOrMany<bezant_api::json::AccountBody>, description = "One account, or an array of up to 8189"),
    responses(
        (status = 201, description = "Created", body = bezant_api::json::EventReply),
        (status = 200, description = "It exists already; for an array: a result for each", body = super::openapi::OneOrBatch),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn create(request: RestRequest, JsonBody(body): JsonBody) -> Answer {
    let RestRequest { service, context, .. } = &request;
    let work = async {
        let mut batch = parse_accounts(&body)?;
        let count = batch.events.len();
        let mut key = None;
        for (at, draft) in batch.events.iter_mut().enumerate().filter(|(_, draft)| !draft.has_id) {
            draft.event.account.id = AccountId(request.id(IdKind::Account, at, count));
            key = request.key.as_deref();
        }
        let ids: Vec<_> = batch.events.iter().map(|draft| draft.event.account.id.0).collect();
        let is_array = batch.is_array;
        let outcomes = service
            .create_accounts(batch.events, key, context)
            .await
            .map_err(|failure| if is_array { failure } else { without_place(failure) })
            .map_err(|failure| failure.of_events(ids.iter().copied()))?;
        match (batch.is_array, ids.first()) {
            (false, Some(id)) => single_reply(*id, &outcomes, Some(format!("/v1/accounts/{id}"))),
            _ => batch_reply(&ids, &outcomes),
        }
    };
    Ok(service.observe(Api::Rest, Call::CreateAccounts, work).await?)
}

/// Show an account, by id or by name
#[utoipa::path(get, path = "/v1/accounts/{account}", tag = "Accounts", operation_id = "get_account",
    params(("account" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The account", body = AccountReply),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show(request: RestRequest, Account(account): Account) -> Answer {
    let RestRequest { service, context, .. } = &request;
    let work = async {
        let view = service.account(&account, context).await?;
        let assets = service.assets_for([view.account.ledger].into_iter(), context).await;
        json(StatusCode::OK, &AccountReply::new(view, &assets))
    };
    Ok(service.observe(Api::Rest, Call::LookupAccounts, work).await?)
}

/// List accounts by their fields
#[utoipa::path(get, path = "/v1/accounts", tag = "Accounts", operation_id = "list_accounts", params(AccountsQuery),
    responses(
        (status = 200, description = "A page", body = Page<AccountReply>),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn query(request: RestRequest, Parameters(query): Parameters<AccountsQuery>) -> Answer {
    let RestRequest { service, context, .. } = &request;
    let work = async {
        let ledger = super::transfers::ledger_of(service, &query, context).await?;
        let paged = query.paged("accounts", ledger)?;
        let mut rows = service.accounts(LedgerQuery::QueryAccounts(paged.filter), context).await?;
        let next_cursor = paged.page(&mut rows, |row| row.account.timestamp);
        let assets = service.assets_for(rows.iter().map(|row| row.account.ledger), context).await;
        let items = rows.into_iter().map(|row| AccountReply::new(row, &assets)).collect();
        json(StatusCode::OK, &Page::new(items, next_cursor))
    };
    Ok(service.observe(Api::Rest, Call::QueryAccounts, work).await?)
}

/// One page of an account's transfers.
struct AccountPage {
    rows: HistoryAnswer,
    next_cursor: Option<String>,
}

async fn page(
    request: &RestRequest,
    list: &str,
    account: AccountId,
    query: &HistoryQuery,
) -> Result<AccountPage, bezant_api::Failure> {
    let paged = query.paged(list, account)?;
    let RestRequest { service, context, .. } = request;
    let mut rows = service.history(Rows::AccountTransfers(paged.filter), context).await?;
    let next_cursor = paged.page(&mut rows, |(_, row)| row.timestamp);
    Ok(AccountPage { rows, next_cursor })
}

/// List the transfers of an account
#[utoipa::path(get, path = "/v1/accounts/{account}/transfers", tag = "Accounts", operation_id = "list_account_transfers",
    params(("account" = String, Path, description = "Id or name"), HistoryQuery),
    responses(
        (status = 200, description = "A page", body = Page<TransferReply>),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn transfers(
    request: RestRequest,
    Account(account): Account,
    Parameters(query): Parameters<HistoryQuery>,
) -> Answer {
    let RestRequest { service, context, .. } = &request;
    let work = async {
        let account = service.account(&account, context).await?.account;
        let paged = query.paged("transfers", account.id)?;
        let mut rows = service.transfers(Rows::AccountTransfers(paged.filter), context).await?;
        let next_cursor = paged.page(&mut rows, |row| row.transfer.timestamp);
        let assets = service.assets_for([account.ledger].into_iter(), context).await;
        let items = rows.iter().map(|row| TransferReply::of(row, &assets)).collect();
        json(StatusCode::OK, &Page::new(items, next_cursor))
    };
    Ok(service.observe(Api::Rest, Call::GetAccountTransfers, work).await?)
}

/// List the open holds of an account: its pending transfers that are neither posted, voided nor expired, on
/// either side
///
/// The next to expire comes first; those that never expire come last.
#[utoipa::path(get, path = "/v1/accounts/{account}/holds", tag = "Accounts", operation_id = "list_account_holds",
    params(("account" = String, Path, description = "Id or name"), HoldsQuery),
    responses(
        (status = 200, description = "A page", body = Page<TransferReply>),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn holds(
    request: RestRequest,
    Account(account): Account,
    Parameters(query): Parameters<HoldsQuery>,
) -> Answer {
    let RestRequest { service, context, .. } = &request;
    let work = async {
        let account = service.account(&account, context).await?.account;
        super::transfers::holds_page(&request, account.id, &query).await
    };
    Ok(service.observe(Api::Rest, Call::ListHolds, work).await?)
}

/// List the balances of an account after each of its transfers
///
/// The account needs the flag `history`.
#[utoipa::path(get, path = "/v1/accounts/{account}/balances", tag = "Accounts", operation_id = "list_account_balances",
    params(("account" = String, Path, description = "Id or name"), HistoryQuery),
    responses(
        (status = 200, description = "A page", body = Page<BalanceReply>),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn balances(
    request: RestRequest,
    Account(account): Account,
    Parameters(query): Parameters<HistoryQuery>,
) -> Answer {
    let RestRequest { service, context, .. } = &request;
    let work = async {
        let account = service.account(&account, context).await?.account;
        check_keeps_history(&account)?;
        let AccountPage { rows, next_cursor } = page(&request, "balances", account.id, &query).await?;
        let assets = service.assets_for([account.ledger].into_iter(), context).await;
        let items = balances_of(&rows, account.id)
            .map(|balance| BalanceReply::new(&balance, account.ledger, &assets))
            .collect();
        json(StatusCode::OK, &Page::new(items, next_cursor))
    };
    Ok(service.observe(Api::Rest, Call::GetAccountBalances, work).await?)
}

/// List the transfers of an account with the heads of its chains, for verification
#[utoipa::path(get, path = "/v1/accounts/{account}/history", tag = "Accounts", operation_id = "list_account_history",
    params(("account" = String, Path, description = "Id or name"), HistoryQuery),
    responses(
        (status = 200, description = "A page", body = Page<ChangeReply>),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn history(
    request: RestRequest,
    Account(account): Account,
    Parameters(query): Parameters<HistoryQuery>,
) -> Answer {
    let RestRequest { service, context, .. } = &request;
    let work = async {
        let account = service.account(&account, context).await?.account;
        let AccountPage { rows, next_cursor } = page(&request, "history", account.id, &query).await?;
        let assets = service.assets_for([account.ledger].into_iter(), context).await;
        let items = rows.iter().map(|(at, row)| ChangeReply::new(*at, row, &assets)).collect();
        json(StatusCode::OK, &Page::new(items, next_cursor))
    };
    Ok(service.observe(Api::Rest, Call::GetAccountMovements, work).await?)
}

/// Replace the least and greatest balance of an account
///
/// A side that is left out or null has no limit afterwards. `PATCH` changes only the sides that it names.
#[utoipa::path(put, path = "/v1/accounts/{account}/bounds", tag = "Accounts", operation_id = "set_account_bounds",
    params(("account" = String, Path, description = "Id or name")),
    request_body = bezant_api::json::BoundsBody,
    responses(
        (status = 200, description = "Changed", body = bezant_api::json::EventReply),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn set_bounds(
    request: RestRequest,
    Account(account): Account,
    JsonBody(body): JsonBody,
) -> Answer {
    let RestRequest { service, context, .. } = &request;
    let work = async {
        let bounds = parse_bounds(&body)?;
        let account_id = service.account_id(&account, context).await?;
        let operation = Operation::SetBounds;
        let committed = service.write_events(operation, &[SetBounds { account_id, bounds }], context).await?;
        single_reply(account_id.0, &Outcomes::of(operation, &committed)?, None)
    };
    Ok(service.observe(Api::Rest, Call::SetAccountBounds, work).await?)
}

/// Change the least or the greatest balance of an account
///
/// A side that is left out stays as it is; null = no limit.
#[utoipa::path(patch, path = "/v1/accounts/{account}/bounds", tag = "Accounts", operation_id = "change_account_bounds",
    params(("account" = String, Path, description = "Id or name")),
    request_body = bezant_api::json::BoundsChangeBody,
    responses(
        (status = 200, description = "Changed", body = bezant_api::json::EventReply),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn change_bounds(
    request: RestRequest,
    Account(account): Account,
    JsonBody(body): JsonBody,
) -> Answer {
    let RestRequest { service, context, .. } = &request;
    let work = async {
        let mut change = parse_bounds_change(&body, AccountId(0))?;
        change.account_id = service.account_id(&account, context).await?;
        let operation = Operation::ChangeBounds;
        let committed = service.write_events(operation, &[change], context).await?;
        single_reply(change.account_id.0, &Outcomes::of(operation, &committed)?, None)
    };
    Ok(service.observe(Api::Rest, Call::SetAccountBounds, work).await?)
}

/// Name an account that has no name
#[utoipa::path(put, path = "/v1/accounts/{account}/name", tag = "Accounts", operation_id = "set_account_name",
    params(("account" = String, Path, description = "Id")),
    request_body = bezant_api::json::NameBody,
    responses(
        (status = 200, description = "Named", body = bezant_api::json::EventReply),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn set_name(
    request: RestRequest,
    Account(account): Account,
    JsonBody(body): JsonBody,
) -> Answer {
    let RestRequest { service, context, .. } = &request;
    let work = async {
        let mut name = parse_name(&body)?;
        service.settle_names(vec![&mut name], context).await?;
        let account_id = service.account_id(&account, context).await?;
        let operation = Operation::SetName;
        let committed = service.write_events(operation, &[SetName { account_id, name }], context).await?;
        single_reply(account_id.0, &Outcomes::of(operation, &committed)?, None)
    };
    Ok(service.observe(Api::Rest, Call::SetAccountName, work).await?)
}
