//! gRPC, REST, metrics and documentation on one port.
//!
//! [`serve`] takes a listener and a node's [`Handle`] and answers until it is told to stop. A connection
//! speaks HTTP/1.1 or HTTP/2 without encryption; a request is shown to gRPC or to REST by its content type.
//! Both ask the same desk, which asks the node.
//!
//! Always holds: what a client can make grow or wait has a limit ([`Limits`]), and at it the client is told
//! so. Never: this room does not know how the node keeps money, and nothing here decides about it.

mod answer;
mod body;
mod changes;
mod connection;
mod desk;
mod door;
mod failure;
mod grpc;
mod limits;
mod metrics;
mod rest;
mod shared;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bezant_runtime::Handle;
use prometheus_client::registry::Registry;
use socket2::{SockRef, TcpKeepalive};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::desk::Desk;
use crate::door::Door;
pub use crate::limits::Limits;

/// How a server behaves.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// What clients can make grow or wait.
    pub limits: Limits,
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

/// After a failed accept (no file handles left, say) nothing tells when it will work again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often the log hears that connections cannot be accepted.
const WARN_INTERVAL: Duration = Duration::from_secs(1);

/// Serves until `shutdown` is ready, then finishes what is in flight, within the limit for it.
pub async fn serve(
    listener: TcpListener,
    handle: Handle,
    options: ServerOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let address = listener.local_addr().map_err(ServeError::Listener)?;
    let mut registry = Registry::default();
    handle.register_metrics(&mut registry);
    let desk = Arc::new(Desk::new(handle, options.limits));
    desk.metrics.register(&mut registry);
    let door =
        Door::new(Arc::clone(&desk), grpc::standard(Arc::clone(&desk))?, rest::router(&desk, registry));
    let builder = connection::builder(&desk.limits);
    let places = Arc::new(Semaphore::new(desk.limits.connections_max));
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let mut warned_at = None;
    tracing::debug!(%address, "serving");
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &places, desk.limits.keep_alive) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn_at_most_once_a_second(&mut warned_at, &error);
                // Not in the select above, where every connection that ends would cut the pause short.
                tokio::select! {
                    () = &mut shutdown => break,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => continue,
                }
            }
        };
        let (builder, door) = (builder.clone(), door.of_connection());
        let metrics = Arc::clone(&desk.metrics);
        connections.spawn(async move {
            metrics.connections.fetch_add(1, Relaxed);
            connection::serve(stream, builder, door).await;
            metrics.connections.fetch_sub(1, Relaxed);
            drop(place);
        });
    }
    drop(listener);
    desk.stopping.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(desk.limits.drain_timeout, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "cut off what did not end in time");
    }
    Ok(())
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    keep_alive: Duration,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    if let Err(error) = prepare(&stream, keep_alive) {
        tracing::debug!(%error, "a connection keeps the system's settings");
    }
    Ok((stream, place))
}

/// What does not work stays so for a while, and the log need not hear it ten times a second.
fn warn_at_most_once_a_second(warned_at: &mut Option<Instant>, error: &io::Error) {
    if warned_at.is_none_or(|warned_at| warned_at.elapsed() >= WARN_INTERVAL) {
        tracing::warn!(%error, "a connection could not be accepted");
        *warned_at = Some(Instant::now());
    }
}

/// Small answers do not wait for more bytes, and a peer that is gone is found.
fn prepare(stream: &TcpStream, keep_alive: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let asks = TcpKeepalive::new().with_time(keep_alive).with_interval(keep_alive / 4).with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&asks)
}
