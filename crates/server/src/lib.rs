//! gRPC, REST, metrics and documentation on one port, and TigerBeetle's protocol on another.
//!
//! [`serve`] takes listeners and a node's [`LedgerHandle`] and answers until it is told to stop. A connection of the first
//! speaks HTTP/1.1 or HTTP/2 without encryption; a request is shown to gRPC or to REST by its content type.
//! The second, where there is one, is for TigerBeetle's clients. All ask the same service, which asks the node.
//!
//! Always holds: what a client can make grow or wait has a limit ([`Limits`]), and at it the client is told
//! so, or held up where its protocol has no word for it. Never: this room does not know how the node keeps money,
//! and nothing here decides about it.

mod accept;
mod answer;
mod body;
mod changes;
mod cluster;
mod connection;
mod create;
mod explain;
mod failure;
mod freshness;
mod grpc;
mod guard;
mod http;
mod http1;
mod keyed;
mod limits;
mod log_rate;
mod metrics;
mod names;
mod place;
mod rest;
mod service;
mod share;
mod shared;
mod tigerbeetle;
mod upload;

use std::io;
use std::sync::Arc;

use bezant_ledger::Ledger;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::net::TcpListener;

use crate::guard::Guard;
pub use crate::guard::{ClusterToken, HostName, HostNameError};
use crate::http::{Common, HttpHandler};
pub use crate::limits::Limits;
use crate::metrics::Api;
use crate::place::Places;
use crate::service::Service;
use crate::share::{Budget, Shares};

/// The door to a node that keeps a ledger.
pub type LedgerHandle = bezant_runtime::Handle<Ledger>;

/// How a server behaves.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// What clients can make grow or wait.
    pub limits: Limits,
    /// Hosts that requests may name. A listener on loopback answers for the names and addresses of loopback and for
    /// these; another one for any host, until there is one here.
    pub allowed_hosts: Vec<HostName>,
    /// What a change of the cluster needs on a listener that other machines reach; `None` on a node that is alone.
    pub token: Option<ClusterToken>,
}

/// Where a server listens.
#[derive(Debug)]
pub struct Listeners {
    /// For gRPC, REST and metrics.
    pub http: TcpListener,
    /// For TigerBeetle's clients, and the number of the cluster that they must name.
    pub tigerbeetle: Option<(TcpListener, u128)>,
}

impl From<TcpListener> for Listeners {
    fn from(http: TcpListener) -> Self {
        Self { http, tigerbeetle: None }
    }
}

/// Why a server does not serve.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The listener's address cannot be read.
    #[error("the listener has no address: {0}")]
    Listener(#[source] io::Error),
    /// The descriptors of the service are damaged: a fault of the build.
    #[error("the descriptors of the service cannot be read: {0}")]
    Descriptors(#[from] tonic_reflection::server::Error),
}

/// Serves until `shutdown` is ready, then finishes what is in flight, within the limit for it.
pub async fn serve(
    listeners: impl Into<Listeners>,
    handle: LedgerHandle,
    options: ServerOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let Listeners { http, tigerbeetle } = listeners.into();
    let address = http.local_addr().map_err(ServeError::Listener)?;
    let mut registry = Registry::default();
    handle.register_metrics(&mut registry);
    let guard = Guard::new(address, options.allowed_hosts, options.token);
    let service = Arc::new(Service::new(handle, options.limits, guard));
    service.metrics.register(&mut registry);
    let (standard, rest) = (grpc::standard(Arc::clone(&service))?, rest::router(&service, registry));
    let common = Common::new(Arc::clone(&service), standard, rest);
    let builder = connection::builder(&service.limits);
    let shares = Shares::new(&service.limits);
    let places =
        |budget| Places::new(budget, &shares, service.limits.check_interval, service.limits.head_timeout);
    let http_places = places(Budget::Connections);
    let serving_http = accept::run(http, Arc::clone(&service), http_places, Api::Http, |stream, place| {
        let (builder, handler) = (builder.clone(), HttpHandler::new(common.clone(), &place));
        async move { connection::serve(stream, builder, handler, &place).await }
    });
    let serving_tigerbeetle = async {
        let Some((socket, cluster)) = tigerbeetle else { return };
        let listener = Arc::new(tigerbeetle::Listener::new(Arc::clone(&service), cluster));
        let places = places(Budget::FrameConnections);
        accept::run(socket, Arc::clone(&service), places, Api::TigerBeetle, |stream, place| {
            Arc::clone(&listener).serve(stream, place)
        })
        .await;
    };
    tracing::debug!(%address, "serving");
    let stop = async {
        shutdown.await;
        service.stopping.send_replace(true);
    };
    tokio::join!(serving_http, serving_tigerbeetle, stop);
    Ok(())
}
