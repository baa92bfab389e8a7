//! The handlers of `/v1/transfers` and `/v1/holds`.

use axum::response::Response;
use bezant_api::idempotency::IdKind;
use bezant_api::json::{
    AccountsQuery, HoldsQuery, Page, Problem, ResolutionBody, TransferReply, TransfersQuery,
    parse_resolution, parse_transfers,
};
use bezant_api::{AccountReference, ErrorCode, Failure, TransferDraft};
use bezant_ledger::ExtendedTransfer;
use bezant_storage::HistoryQuery as Rows;
use bezant_types::{
    AccountId, Head, LedgerNumber, Transfer as Record, TransferFlags, TransferId, TransferView,
};
use bytes::Bytes;
use http::StatusCode;

use super::request::{JsonBody, Parameters, RestRequest, Transfer};
use super::{batch_reply, json, single_reply};
use crate::context::RequestContext;
use crate::failure::Refused;
use crate::metrics::{Api, Call};
use crate::service::{Service, without_place};

type Answer = Result<Response, Refused>;

/// Create transfers
///
/// One object answers 201 (created), 200 (exists), 409 or 422 (refused); an array answers 200 with a status
/// for each. With an `Idempotency-Key`, transfers without an id get one that is derived from the key.
#[utoipa::path(post, path = "/v1/transfers", tag = "Transfers", operation_id = "create_transfers",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry return the first outcome")),
    request_body(content = super::openapi::OneOrMany<bezant_api::json::TransferBody>, description = "One transfer, or an array of up to 8189"),
    responses(
        (status = 201, description = "Created", body = bezant_api::json::EventReply),
        (status = 200, description = "It exists already; for an array: a result for each", body = super::openapi::OneOrBatch),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn create(request: RestRequest, JsonBody(body): JsonBody) -> Answer {
    let RestRequest { service, context, .. } = &request;
    let work = async {
        let mut batch = parse_transfers(&body)?;
        let count = batch.events.len();
        let mut key = None;
        for (at, draft) in batch.events.iter_mut().enumerate().filter(|(_, draft)| !draft.has_id) {
            draft.event.transfer.id = TransferId(request.id(IdKind::Transfer, at, count));
            key = request.key.as_deref();
        }
        let ids: Vec<_> = batch.events.iter().map(|draft| draft.event.transfer.id.0).collect();
        let is_array = batch.is_array;
        let outcomes = service
            .create_transfers(batch.events, key, context)
            .await
            .map_err(|failure| if is_array { failure } else { without_place(failure) })
            .map_err(|failure| failure.of_events(ids.iter().copied()))?;
        match (batch.is_array, ids.first()) {
            (false, Some(id)) => {
                let location = Some(format!("/v1/transfers/{id}"));
                single_reply(*id, &outcomes, location)
            }
            _ => batch_reply(&ids, &outcomes),
        }
    };
    Ok(service.observe(Api::Rest, Call::CreateTransfers, work).await?)
}

/// Show a transfer
#[utoipa::path(get, path = "/v1/transfers/{id}", tag = "Transfers", operation_id = "get_transfer",
    params(("id" = String, Path, description = "Id")),
    responses(
        (status = 200, description = "The transfer", body = TransferReply),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show(request: RestRequest, Transfer(id): Transfer) -> Answer {
    let RestRequest { service, context, .. } = &request;
    let work = async {
        let rows = service.transfers(Rows::Transfers(vec![id]), context).await?;
        let row = rows.first().ok_or_else(|| {
            Failure::new(ErrorCode::TransferNotFound, format!("there is no transfer with the id {id}"))
        })?;
        let assets = service.assets_for([row.transfer.ledger].into_iter(), context).await;
        json(StatusCode::OK, &TransferReply::of(row, &assets))
    };
    Ok(service.observe(Api::Rest, Call::LookupTransfers, work).await?)
}

/// List transfers by their fields
#[utoipa::path(get, path = "/v1/transfers", tag = "Transfers", operation_id = "list_transfers", params(TransfersQuery),
    responses(
        (status = 200, description = "A page", body = Page<TransferReply>),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn query(request: RestRequest, Parameters(query): Parameters<TransfersQuery>) -> Answer {
    let RestRequest { service, context, .. } = &request;
    let work = async {
        let paged = query.paged("transfers", ledger_of(service, &query, context).await?)?;
        let mut rows = service.transfers(Rows::QueryTransfers(paged.filter), context).await?;
        let next_cursor = paged.page(&mut rows, |row| row.transfer.timestamp);
        let assets = service.assets_for(rows.iter().map(|row| row.transfer.ledger), context).await;
        let items = rows.iter().map(|row| TransferReply::of(row, &assets)).collect();
        json(StatusCode::OK, &Page::new(items, next_cursor))
    };
    Ok(service.observe(Api::Rest, Call::QueryTransfers, work).await?)
}

/// List the open holds: pending transfers that are neither posted, voided nor expired
///
/// The next to expire comes first; those that never expire come last.
#[utoipa::path(get, path = "/v1/holds", tag = "Transfers", operation_id = "list_holds", params(HoldsQuery),
    responses(
        (status = 200, description = "A page", body = Page<TransferReply>),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn holds(request: RestRequest, Parameters(query): Parameters<HoldsQuery>) -> Answer {
    let service = &request.service;
    let work = holds_page(&request, AccountId(0), &query);
    Ok(service.observe(Api::Rest, Call::ListHolds, work).await?)
}

/// One page of the open holds of an account; 0 = of all accounts.
pub(super) async fn holds_page(
    request: &RestRequest,
    account_id: AccountId,
    query: &HoldsQuery,
) -> Result<Response, Failure> {
    let RestRequest { service, context, .. } = request;
    let paged = query.paged(account_id)?;
    let mut rows = service.holds(paged.filter, context).await?;
    let next_cursor = paged.page(&mut rows);
    let assets = service.assets_for(rows.iter().map(|transfer| transfer.ledger), context).await;
    let items = rows.into_iter().map(|it| TransferReply::of(&TransferView::pending(it), &assets)).collect();
    json(StatusCode::OK, &Page::new(items, next_cursor))
}

/// Post a pending transfer: move what it reserved
#[utoipa::path(post, path = "/v1/transfers/{id}/post", tag = "Transfers", operation_id = "post_transfer",
    params(("id" = String, Path, description = "Id of the pending transfer"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry return the first outcome")),
    request_body(content = ResolutionBody, description = "May be empty: posts the whole amount"),
    responses(
        (status = 201, description = "Posted", body = bezant_api::json::EventReply),
        (status = 200, description = "It exists already: a retry", body = bezant_api::json::EventReply),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn post(request: RestRequest, Transfer(id): Transfer, JsonBody(body): JsonBody) -> Answer {
    resolve(request, id, TransferFlags::POST_PENDING, body).await
}

/// Void a pending transfer: release what it reserved
#[utoipa::path(post, path = "/v1/transfers/{id}/void", tag = "Transfers", operation_id = "void_transfer",
    params(("id" = String, Path, description = "Id of the pending transfer"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry return the first outcome")),
    request_body(content = ResolutionBody, description = "May be empty"),
    responses(
        (status = 201, description = "Voided", body = bezant_api::json::EventReply),
        (status = 200, description = "It exists already: a retry", body = bezant_api::json::EventReply),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn void(request: RestRequest, Transfer(id): Transfer, JsonBody(body): JsonBody) -> Answer {
    resolve(request, id, TransferFlags::VOID_PENDING, body).await
}

async fn resolve(request: RestRequest, pending_id: TransferId, flags: TransferFlags, body: Bytes) -> Answer {
    let RestRequest { service, context, .. } = &request;
    let work = async {
        let body = parse_resolution(&body)?;
        let all = if flags.contains(TransferFlags::POST_PENDING) { u128::MAX } else { 0 };
        let key = request.key.as_deref().filter(|_| body.id.is_none());
        let id = body.id.map_or_else(|| request.id(IdKind::Transfer, 0, 1), |id| id.0);
        let transfer = Record {
            id: TransferId(id),
            amount: body.amount.map_or(all, |amount| amount.0),
            pending_id,
            user_data_128: body.user_data_128.0,
            user_data_64: body.user_data_64.0,
            user_data_32: body.user_data_32,
            flags,
            ..Record::default()
        };
        let draft = TransferDraft {
            event: ExtendedTransfer { transfer, prev_hash: Head::NONE },
            debit_account: AccountReference::None,
            credit_account: AccountReference::None,
            asset: None,
            has_id: true,
        };
        let outcomes = service
            .create_transfers(vec![draft], key, context)
            .await
            .map_err(|failure| without_place(failure).of_events([id]))?;
        let location = Some(format!("/v1/transfers/{id}"));
        single_reply(id, &outcomes, location)
    };
    Ok(service.observe(Api::Rest, Call::CreateTransfers, work).await?)
}

/// The ledger that a list is limited to, by number or by asset; 0 = all ledgers.
pub(super) async fn ledger_of(
    service: &Service,
    query: &AccountsQuery,
    context: &RequestContext,
) -> Result<LedgerNumber, Failure> {
    match (&query.asset, query.ledger) {
        (Some(_), Some(_)) => {
            Err(Failure::new(ErrorCode::InvalidQuery, "asset replaces ledger: send one of them"))
        }
        (Some(code), None) => service.ledger_of(code, context).await,
        (None, ledger) => Ok(LedgerNumber(ledger.unwrap_or(0))),
    }
}
