//! REST under `/v1`, and the paths for operators.

use std::sync::Arc;

use axum::Router;
use prometheus_client::registry::Registry;

use crate::desk::Desk;
use crate::door::{no_method, no_route};

/// Every path that is not gRPC.
pub(crate) fn router(desk: &Arc<Desk>, registry: Registry) -> Router {
    drop(registry);
    Router::new().fallback(no_route).method_not_allowed_fallback(no_method).with_state(Arc::clone(desk))
}
