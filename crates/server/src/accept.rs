//! Connections as they come, for every door alike: within their number, each a task, drained at a stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bezant_api::Failure;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::desk::Desk;
use crate::metrics::Api;
use crate::place::{Place, Places};
use crate::seldom::Seldom;

/// After a failed accept (no file handles left, say) nothing tells when it will work again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Gives every connection that gets a place to `serve` until the server stops, then waits for those that are open,
/// within the limit for it.
pub(crate) async fn run<Serving>(
    listener: TcpListener,
    desk: Arc<Desk>,
    places: Arc<Places>,
    api: Api,
    serve: impl Fn(TcpStream, Place) -> Serving,
) where
    Serving: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut stopping = desk.stopping.subscribe();
    let warnings = Seldom::default();
    loop {
        while connections.try_join_next().is_some() {}
        // What was accepted is not lost: only a stop ends this early.
        let accepted = tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => break,
            accepted = accept(&listener, &places, desk.limits.keep_alive) => accepted,
        };
        let (stream, place) = match accepted {
            Ok((stream, Ok(place))) => (stream, place),
            Ok((stream, Err(refused))) => {
                desk.metrics.shed(api, &refused);
                drop(stream);
                continue;
            }
            Err(error) => {
                if warnings.may_speak() {
                    tracing::warn!(%error, "a connection could not be accepted");
                }
                tokio::select! {
                    _ = stopping.wait_for(|stopping| *stopping) => break,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => continue,
                }
            }
        };
        let (serving, metrics) = (serve(stream, place), Arc::clone(&desk.metrics));
        connections.spawn(async move {
            metrics.connections.fetch_add(1, Relaxed);
            serving.await;
            metrics.connections.fetch_sub(1, Relaxed);
        });
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(desk.limits.drain_timeout, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "cut off what did not end in time");
    }
}

/// The next connection, and its place or why it has none.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Places>,
    keep_alive: Duration,
) -> io::Result<(TcpStream, Result<Place, Failure>)> {
    let (stream, peer) = listener.accept().await?;
    let place = places.admit(peer.ip().into()).await;
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
