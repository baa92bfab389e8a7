//! The standard health service: reports the node's health at the time of the request.

use std::pin::Pin;
use std::sync::Arc;

use bezant_runtime::Health as NodeHealth;
use tokio_stream::{Stream, StreamExt, wrappers::WatchStream};
use tonic::{Request, Response, Status, async_trait};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

use crate::context::RequestContext;
use crate::failure::to_status;
use crate::metrics::Api;
use crate::service::Service;

/// The names of the services that a client may ask about: the server as a whole, and the ledger.
const SERVICES: [&str; 2] = ["", "bezant.v1.Ledger"];

/// The health service for one request. See the module.
#[derive(Debug)]
pub(crate) struct Health {
    pub(super) service: Arc<Service>,
    pub(super) context: RequestContext,
}

fn response(health: &NodeHealth) -> HealthCheckResponse {
    let status = match health {
        NodeHealth::Serving => ServingStatus::Serving,
        NodeHealth::NoState { .. } | NodeHealth::ReadOnly { .. } | NodeHealth::Stopping => {
            ServingStatus::NotServing
        }
    };
    HealthCheckResponse { status: status.into() }
}

#[async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !SERVICES.contains(&request.get_ref().service.as_str()) {
            return Err(Status::not_found("no such service: ask for '' or 'bezant.v1.Ledger'"));
        }
        let is_stopping = *self.service.stopping.borrow();
        let health = if is_stopping { NodeHealth::Stopping } else { self.service.handle.health() };
        Ok(Response::new(response(&health)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        if !SERVICES.contains(&request.get_ref().service.as_str()) {
            let status = ServingStatus::ServiceUnknown.into();
            return Ok(Response::new(Box::pin(tokio_stream::once(Ok(HealthCheckResponse { status })))));
        }
        let place = self.context.budget.stream_place().map_err(|failure| {
            self.service.metrics.shed(Api::Grpc, &failure);
            to_status(failure)
        })?;
        let changes = WatchStream::new(self.service.handle.watch_health()).map(Some);
        let stops = WatchStream::from_changes(self.service.stopping.subscribe()).map(|_| None);
        let until_stop = changes.merge(stops).map_while(|health| health);
        let responses = until_stop.map(move |health| {
            // The place is returned when the stream is dropped.
            let _place = &place;
            Ok(response(&health))
        });
        Ok(Response::new(Box::pin(responses)))
    }
}
