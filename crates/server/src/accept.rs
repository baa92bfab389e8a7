//! Connections as they come, for every door alike: within their number, each a task, drained at a stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::desk::Desk;
use crate::seldom::Seldom;

/// After a failed accept (no file handles left, say) nothing tells when it will work again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Gives every connection to `serve` until the server stops, then waits for those that are open, within the
/// limit for it. Past `connections_max` new ones wait in the system's backlog.
pub(crate) async fn run<Serving>(
    listener: TcpListener,
    desk: Arc<Desk>,
    connections_max: usize,
    serve: impl Fn(TcpStream) -> Serving,
) where
    Serving: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(connections_max));
    let mut connections = JoinSet::new();
    let mut stopping = desk.stopping.subscribe();
    let warnings = Seldom::default();
    loop {
        let accepted = tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => break,
            accepted = accept(&listener, &places, desk.limits.keep_alive) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if warnings.may_speak() {
                    tracing::warn!(%error, "a connection could not be accepted");
                }
                // Not in the select above, where every connection that ends would cut the pause short.
                tokio::select! {
                    _ = stopping.wait_for(|stopping| *stopping) => break,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => continue,
                }
            }
        };
        let (serving, metrics) = (serve(stream), Arc::clone(&desk.metrics));
        connections.spawn(async move {
            metrics.connections.fetch_add(1, Relaxed);
            serving.await;
            metrics.connections.fetch_sub(1, Relaxed);
            drop(place);
        });
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(desk.limits.drain_timeout, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "cut off what did not end in time");
    }
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

/// Small answers do not wait for more bytes, and a peer that is gone is found.
fn prepare(stream: &TcpStream, keep_alive: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let asks = TcpKeepalive::new().with_time(keep_alive).with_interval(keep_alive / 4).with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&asks)
}
