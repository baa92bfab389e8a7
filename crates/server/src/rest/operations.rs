//! The paths for operators and readers of the documentation: health, metrics, documentation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use bezant_runtime::{Health, ReadError};
use http::{StatusCode, header};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use super::openapi;
use crate::failure::{self, Refused};
use crate::http::SharedBody;
use crate::service::Service;

const WELCOME: &str = "Bezant, a fault-tolerant ledger of accounts and transfers.

/docs          the REST API, to read
/openapi.json  the REST API, for tools
/v1            the REST API
gRPC           bezant.v1.Ledger, with reflection and health
/metrics       Prometheus
/livez         200 while the process runs
/readyz        200 while it accepts writes and answers all reads
";

/// How long the metrics wait for the ledger; a value that comes later is left out.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(1);

/// The content type of the metrics.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The routes of this module.
pub(super) fn router(registry: Registry) -> Router<Arc<Service>> {
    let registry = Arc::new(registry);
    let document = openapi::document();
    let page = openapi::page();
    Router::new()
        .route("/", get(async || WELCOME))
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route(
            "/metrics",
            get(async move |State(service): State<Arc<Service>>| metrics(&service, &registry).await),
        )
        .route(
            "/openapi.json",
            get(async move || {
                (Extension(SharedBody), [(header::CONTENT_TYPE, "application/json")], document)
            }),
        )
        .route("/docs", get(async move || (Extension(SharedBody), Html(page))))
}

async fn readyz(State(service): State<Arc<Service>>) -> Response {
    if *service.stopping.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server is stopping\n").into_response();
    }
    let cluster = service.handle.cluster();
    match service.handle.health() {
        Health::Serving if !cluster.nodes.is_empty() && cluster.leader.is_none() => {
            let waits = cluster.first_start.map(|waits| format!(": {waits}")).unwrap_or_default();
            (StatusCode::SERVICE_UNAVAILABLE, format!("no node leads{waits}\n")).into_response()
        }
        Health::Serving => "ready\n".into_response(),
        Health::NoState { reason } => {
            Refused(failure::of_read(&ReadError::NoState { reason })).into_response()
        }
        Health::ReadOnly { reason } => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("takes no writes: {reason}\n")).into_response()
        }
        Health::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "the node is stopping\n").into_response(),
    }
}

async fn metrics(service: &Service, registry: &Registry) -> Response {
    let deadline = Instant::now() + LEDGER_TIMEOUT;
    service.metrics.note_expiry(service.expiry_is_paused(Some(deadline)).await);
    let mut body = String::new();
    match text::encode(&mut body, registry) {
        Ok(()) => ([(header::CONTENT_TYPE, METRICS_TYPE)], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
