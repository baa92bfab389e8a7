//! The stream of change events in gRPC.

use std::pin::Pin;
use std::sync::Arc;

use bezant_api::message::watch_from;
use bezant_api::{Failure, v1};
use bezant_storage::HistoryAnswer;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use crate::changes::watch;
use crate::context::RequestContext;
use crate::failure::to_status;
use crate::service::Service;

/// The stream of change events that gRPC sends.
pub(super) type ChangeStream = Pin<Box<dyn Stream<Item = Result<v1::ChangeEvent, Status>> + Send>>;

/// Streams change events from a position on. The deadline applies to the start of the stream, which itself
/// has none.
pub(super) async fn watch_events(
    service: &Arc<Service>,
    request: v1::WatchEventsRequest,
    context: &RequestContext,
) -> Result<ChangeStream, Failure> {
    let write =
        |rows: HistoryAnswer| std::future::ready(rows.into_iter().map(v1::ChangeEvent::from).collect());
    let changes = watch(service, &watch_from(&request)?, context, write).await?;
    Ok(Box::pin(changes.map(|event| event.map_err(to_status))))
}
