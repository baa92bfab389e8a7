//! The accept loop of both listeners: it bounds the number of connections, spawns one task for each, and
//! drains them at a stop. A connection that waits for its place does not delay the others.

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
use crate::transport::Connected;

/// The pause after a failed accept, for example because no file handle is left: the system does not report
/// when accept will work again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Calls `serve` for every connection that gets a place, until the server stops. Then waits for the open
/// connections, for at most the drain timeout.
pub(crate) async fn run<Serving>(
    listener: TcpListener,
    service: Arc<Service>,
    places: Arc<Places>,
    api: Api,
    serve: impl Fn(Connected<TcpStream>, Place) -> Serving,
) where
    Serving: Future<Output = ()> + Send + 'static,
{
    let (mut connections, mut queue) = (JoinSet::new(), Queue::new(places));
    let mut stopping = service.stopping.subscribe();
    let warnings = LogRate::default();
    loop {
        while connections.try_join_next().is_some() {}
        // `next` and `accept` lose no connection when another branch is ready first.
        let accepted = tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => break,
            admitted = queue.next() => Ok(Some(admitted)),
            accepted = listener.accept() => accepted.map(|(stream, peer)| {
                prepare(&stream, service.limits.keep_alive);
                queue.admit(Connected { stream, peer }, peer.ip().into())
            }),
        };
        let (socket, place) = match accepted {
            Ok(Some((socket, Ok(place)))) => (socket, place),
            Ok(Some((socket, Err(refused)))) => {
                service.metrics.shed(api, &refused);
                drop(socket);
                continue;
            }
            // The connection waits in the queue.
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
        let (serving, metrics) = (serve(socket, place), Arc::clone(&service.metrics));
        connections.spawn(async move {
            metrics.connections.fetch_add(1, Relaxed);
            serving.await;
            metrics.connections.fetch_sub(1, Relaxed);
        });
    }
    drop((listener, queue));
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(service.limits.drain_timeout, drained).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "closed connections that did not end within the drain timeout"
        );
    }
}

/// Sends small answers without delay (Nagle's algorithm is off), and lets the kernel find peers that are gone.
fn prepare(stream: &TcpStream, keep_alive: Duration) {
    let options = TcpKeepalive::new().with_time(keep_alive).with_interval(keep_alive / 4).with_retries(3);
    let prepared = stream.set_nodelay(true).and_then(|()| SockRef::from(stream).set_tcp_keepalive(&options));
    if let Err(error) = prepared {
        tracing::debug!(%error, "the options of a connection's socket could not be set");
    }
}
