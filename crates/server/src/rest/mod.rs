//! REST under `/v1`, and the paths for operators.
//!
//! Every handler is thin: it parses the request, calls the service, and writes JSON. An error is problem+json
//! with a stable code, and so is a refused event that was sent alone.

mod accounts;
mod books;
mod events;
mod openapi;
mod operations;
mod request;
mod transfers;

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use bezant_api::json::{BatchReply, EventReply, Problem, Text64};
use bezant_api::{ErrorCode, Failure};
use http::{StatusCode, header};
use prometheus_client::registry::Registry;
use serde::Serialize;

pub(crate) use self::request::RestRequest;
use crate::create::Outcomes;
use crate::failure::{internal, problem};
use crate::service::Service;

/// The router of every path that is not gRPC.
pub(crate) fn router(service: &Arc<Service>, registry: Registry) -> Router {
    let v1 = Router::new()
        .route("/accounts", get(accounts::query).post(accounts::create))
        .route("/accounts/{account}", get(accounts::show))
        .route("/accounts/{account}/transfers", get(accounts::transfers))
        .route("/accounts/{account}/holds", get(accounts::holds))
        .route("/accounts/{account}/balances", get(accounts::balances))
        .route("/accounts/{account}/history", get(accounts::history))
        .route("/accounts/{account}/bounds", put(accounts::set_bounds).patch(accounts::change_bounds))
        .route("/accounts/{account}/name", put(accounts::set_name).patch(accounts::set_name))
        .route("/transfers", get(transfers::query).post(transfers::create))
        .route("/transfers/{id}", get(transfers::show))
        .route("/transfers/{id}/post", post(transfers::post))
        .route("/transfers/{id}/void", post(transfers::void))
        .route("/holds", get(transfers::holds))
        .route("/assets", get(books::assets).post(books::register))
        .route("/cluster", get(books::cluster).post(books::change))
        .route("/events", get(events::list))
        .route("/events/stream", get(events::stream))
        .merge(crate::books::routes());
    Router::new()
        .nest("/v1", v1)
        .merge(operations::router(registry))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(Arc::clone(service))
}

/// The answer to a path that does not exist.
async fn no_route(uri: http::Uri) -> crate::failure::Refused {
    Failure::new(ErrorCode::RouteNotFound, format!("there is nothing at {}: see /docs", uri.path())).into()
}

/// The answer to a method that a path does not support.
async fn no_method(method: http::Method, uri: http::Uri) -> crate::failure::Refused {
    let detail = format!("{method} is not a method of {}: see /docs", uri.path());
    Failure::new(ErrorCode::MethodNotAllowed, detail).into()
}

/// A JSON response.
pub(crate) fn json<Value: Serialize>(status: StatusCode, value: &Value) -> Result<Response, Failure> {
    let body = serde_json::to_vec(value).map_err(|_| internal("an answer cannot be encoded"))?;
    Ok((status, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn event_reply(id: u128, at: usize, outcomes: &Outcomes) -> Option<EventReply> {
    let result = outcomes.results.get(at)?;
    Some(EventReply::new(outcomes.operation, id, *result, outcomes.detail(at)))
}

/// The reply to an array of events: always 200, with a status for each event.
fn batch_reply(ids: &[u128], outcomes: &Outcomes) -> Result<Response, Failure> {
    let results: Vec<_> =
        ids.iter().enumerate().filter_map(|(at, id)| event_reply(*id, at, outcomes)).collect();
    let reply = BatchReply {
        log_index: outcomes.index.0,
        timestamp: Text64(outcomes.time.0),
        created: results.iter().filter(|result| result.is_created()).count(),
        refused: results.iter().filter(|result| result.is_refused()).count(),
        results,
    };
    json(StatusCode::OK, &reply)
}

/// The reply to a single event: 201 created, 200 exists, 409 or 422 refused.
fn single_reply(id: u128, outcomes: &Outcomes, location: Option<String>) -> Result<Response, Failure> {
    let reply = event_reply(id, 0, outcomes).ok_or_else(|| internal("a result is missing"))?;
    if reply.is_refused() {
        return Ok(problem(&Problem::from(reply)));
    }
    let is_new = reply.is_created() && location.is_some();
    let mut response = json(if is_new { StatusCode::CREATED } else { StatusCode::OK }, &reply)?;
    if let Some(location) = location.and_then(|location| location.parse().ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}
