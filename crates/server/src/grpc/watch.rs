//! The stream of change events over gRPC.

use std::pin::Pin;
use std::sync::Arc;

use bezant_api::{Failure, v1};
use bezant_storage::HistoryAnswer;
use bezant_types::MovementNumber;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use crate::changes::watch;
use crate::failure::to_status;
use crate::service::{Deadline, Service};

/// Change events as the protocol streams them.
pub(super) type ChangeStream = Pin<Box<dyn Stream<Item = Result<v1::ChangeEvent, Status>> + Send>>;

/// Change events from a position on. The deadline is that of the first answer: the stream has none.
pub(super) async fn watch_events(
    service: &Arc<Service>,
    request: v1::WatchEventsRequest,
    deadline: Deadline,
) -> Result<ChangeStream, Failure> {
    let write =
        |rows: HistoryAnswer| std::future::ready(rows.into_iter().map(v1::ChangeEvent::from).collect());
    let changes = watch(service, request.from.map(MovementNumber), deadline, write).await?;
    Ok(Box::pin(changes.map(|event| event.map_err(to_status))))
}
