//! gRPC, REST, metrics and documentation on one port, and TigerBeetle's protocol on another.
//!
//! [`serve`] takes listeners and a node's [`LedgerHandle`] and answers requests until its shutdown future is
//! ready. A connection of the first listener uses HTTP/1.1 or HTTP/2 without encryption; the content type of
//! a request decides whether gRPC or REST answers it. The second listener, which is optional, is for
//! TigerBeetle's clients.
//!
//! The way of a request: `accept` gives a connection its place, and `transport` makes its stream ready. `http`
//! or `tigerbeetle` reads the request and makes its `context`. The protocol (`grpc`, `rest`, `tigerbeetle`)
//! parses it and calls the `service` with that context, and the service calls the node.
//!
//! Always holds: whatever a client can make grow or wait has a limit ([`Limits`]). At the limit the client
//! gets an error, or the server stops reading from it where its protocol has no such error. Never: this crate
//! does not know how the node stores money, and decides nothing about it.

mod accept;
mod answer;
mod body;
mod books;
mod calls;
mod changes;
mod cluster;
mod connection;
mod context;
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
mod transport;
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

/// The handle of a node whose state machine is a ledger.
pub type LedgerHandle = bezant_runtime::Handle<Ledger>;

/// The settings of a server.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// The limits on everything that clients can make grow or wait.
    pub limits: Limits,
    /// Host names that requests may use. A listener on loopback accepts the names and addresses of loopback
    /// and these. Any other listener accepts every host while this list is empty.
    pub allowed_hosts: Vec<HostName>,
    /// The token that a change of the cluster needs on a listener that other machines reach; `None` on a
    /// standalone node.
    pub token: Option<ClusterToken>,
}

/// The listening sockets of a server.
#[derive(Debug)]
pub struct Listeners {
    /// The socket for gRPC, REST and metrics.
    pub http: TcpListener,
    /// The socket for TigerBeetle's clients, and the cluster number that they must send.
    pub tigerbeetle: Option<(TcpListener, u128)>,
}

impl From<TcpListener> for Listeners {
    fn from(http: TcpListener) -> Self {
        Self { http, tigerbeetle: None }
    }
}

/// Why a server cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The listener's address cannot be read.
    #[error("the listener has no address: {0}")]
    Listener(#[source] io::Error),
    /// The built-in descriptors of the gRPC service are damaged: a fault of the build.
    #[error("the descriptors of the service cannot be read: {0}")]
    Descriptors(#[from] tonic_reflection::server::Error),
}

/// Serves until `shutdown` is ready, then finishes the requests in flight, for at most
/// [`Limits::drain_timeout`].
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
    let common = Common::new(Arc::clone(&service), grpc::reflection()?, rest::router(&service, registry));
    let builder = connection::builder(&service.limits);
    let shares = Shares::new(&service.limits);
    let places =
        |budget| Places::new(budget, &shares, service.limits.check_interval, service.limits.head_timeout);
    let (http_places, head_timeout) = (places(Budget::Connections), service.limits.head_timeout);
    let serving_http = accept::run(http, Arc::clone(&service), http_places, Api::Http, |socket, place| {
        let (builder, handler) = (builder.clone(), HttpHandler::new(common.clone(), &place));
        async move {
            if let Some(connected) = transport::open(socket, head_timeout, &place).await {
                connection::serve(connected, builder, handler, &place).await;
            }
        }
    });
    let serving_tigerbeetle = async {
        let Some((socket, cluster)) = tigerbeetle else { return };
        let listener = Arc::new(tigerbeetle::Listener::new(Arc::clone(&service), cluster));
        let places = places(Budget::FrameConnections);
        accept::run(socket, Arc::clone(&service), places, Api::TigerBeetle, |socket, place| {
            Arc::clone(&listener).serve(socket.stream, place)
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
