//! Connections as they come, for both listeners alike: within their number, each a task, drained at a stop.
//! One that waits for its place holds up no other.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::log_rate::LogRate;
use crate::metrics::Api;
use crate::place::{Place, Places, Queue};
use crate::service::Service;

/// After a failed accept (no file handles left, say) nothing tells when it will work again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Gives every connection that gets a place to `serve` until the server stops, then waits for those that are
/// open, within the limit for it.
pub(crate) async fn run<Serving>(
    listener: TcpListener,
    service: Arc<Service>,
    places: Arc<Places>,
    api: Api,
    serve: impl Fn(TcpStream, Place) -> Serving,
) where
    Serving: Future<Output = ()> + Send + 'static,
{
    let (mut connections, mut queue) = (JoinSet::new(), Queue::new(places));
    let mut stopping = service.stopping.subscribe();
    let warnings = LogRate::default();
    loop {
        while connections.try_join_next().is_some() {}
        // What was accepted is not lost: only a stop ends this early.
        let accepted = tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => break,
            admitted = queue.next() => Ok(Some(admitted)),
            accepted = listener.accept() => accepted.map(|(stream, peer)| {
                prepare(&stream, service.limits.keep_alive);
                queue.admit(stream, peer.ip().into())
            }),
        };
        let (stream, place) = match accepted {
            Ok(Some((stream, Ok(place)))) => (stream, place),
            Ok(Some((stream, Err(refused)))) => {
                service.metrics.shed(api, &refused);
                drop(stream);
                continue;
            }
            // It waits.
            Ok(None) => continue,
            Err(error) => {
                if warnings.allows_line() {
                    tracing::warn!(%error, "a connection could not be accepted");
                }
                tokio::select! {
                    _ = stopping.wait_for(|stopping| *stopping) => break,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => continue,
                }
            }
        };
        let (serving, metrics) = (serve(stream, place), Arc::clone(&service.metrics));
        connections.spawn(async move {
            metrics.connections.fetch_add(1, Relaxed);
            serving.await;
            metrics.connections.fetch_sub(1, Relaxed);
        });
    }
    drop((listener, queue));
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(service.limits.drain_timeout, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "cut off what did not end in time");
    }
}

/// Small answers do not wait for more bytes, and a peer that is gone is found.
fn prepare(stream: &TcpStream, keep_alive: Duration) {
    let asks = TcpKeepalive::new().with_time(keep_alive).with_interval(keep_alive / 4).with_retries(3);
    let prepared = stream.set_nodelay(true).and_then(|()| SockRef::from(stream).set_tcp_keepalive(&asks));
    if let Err(error) = prepared {
        tracing::debug!(%error, "a connection keeps the system's settings");
    }
}
