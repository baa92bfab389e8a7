//! One connection, of HTTP/1.1 or HTTP/2 as the client chooses, and the timeouts that end it.
//!
//! hyper reads and writes. This module ends a connection whose head does not arrive, which has no requests, or
//! whose peer is gone or reads nothing. It checks these timeouts every [`Limits::check_interval`] and not for
//! each request, so they cost a request nothing.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::http::HttpHandler;
use crate::http1::Strict;
use crate::limits::{FRAME_SIZE_MAX, HEAD_SIZE_MAX, HEADERS_MAX, Limits, SEND_BUFFER_SIZE, WINDOW_SIZE};
use crate::place::{Place, Usage};
use crate::transport::{Connected, Transport};

/// What the requests of a connection report for its timeouts.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    usage: Arc<Usage>,
    /// Open requests that are streams, which may send nothing for long.
    streams: AtomicUsize,
    /// The peer takes no more bytes for now.
    blocked: AtomicBool,
    /// Bytes moved since the last check.
    moved: AtomicBool,
    /// Bytes came that have not become a request yet.
    unanswered: AtomicBool,
    /// The whole preface of HTTP/2 has come.
    is_http2: Arc<AtomicBool>,
}

impl Activity {
    pub(crate) fn new(usage: Arc<Usage>) -> Self {
        Self { usage, ..Self::default() }
    }
}

/// A request whose answer is not sent in full; reports its end to the connection when dropped.
#[derive(Debug)]
pub(crate) struct OpenRequest {
    activity: Arc<Activity>,
    is_stream: bool,
}

impl OpenRequest {
    pub(crate) fn new(activity: &Arc<Activity>) -> Self {
        activity.usage.open.fetch_add(1, Relaxed);
        activity.unanswered.store(false, Relaxed);
        Self { activity: Arc::clone(activity), is_stream: false }
    }

    /// Marks the answer as an endless stream.
    pub(crate) fn mark_stream(&mut self) {
        if !self.is_stream {
            self.is_stream = true;
            self.activity.streams.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.activity.usage.touch();
        if self.is_stream {
            self.activity.streams.fetch_sub(1, Relaxed);
        }
        self.activity.usage.open.fetch_sub(1, Relaxed);
    }
}

/// A stream that records in [`Activity`] when bytes move.
#[derive(Debug)]
struct Observed<Stream> {
    stream: Stream,
    activity: Arc<Activity>,
}

impl<Stream: Transport> AsyncRead for Observed<Stream> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        let new = buffer.filled().get(before..).unwrap_or_default();
        if !new.is_empty() {
            self.activity.moved.store(true, Relaxed);
            // While a request is open, bytes belong to its body and not to an unfinished head.
            if self.activity.usage.open.load(Relaxed) == 0 {
                self.activity.unanswered.store(true, Relaxed);
            }
        }
        result
    }
}

impl<Stream: Transport> AsyncWrite for Observed<Stream> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(&result);
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl<Stream> Observed<Stream> {
    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        self.activity.blocked.store(result.is_pending(), Relaxed);
        if matches!(result, Poll::Ready(Ok(1..))) {
            self.activity.moved.store(true, Relaxed);
        }
    }
}

/// The settings with which hyper serves every connection.
pub(crate) fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_buf_size(usize::try_from(HEAD_SIZE_MAX).unwrap_or(usize::MAX));
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW_SIZE)
        .initial_connection_window_size(WINDOW_SIZE)
        .max_frame_size(FRAME_SIZE_MAX)
        .max_send_buf_size(SEND_BUFFER_SIZE)
        .max_header_list_size(HEAD_SIZE_MAX)
        .max_concurrent_streams(limits.streams_max);
    builder
}

/// The decision of a check of the timeouts.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Stay,
    /// Finish the open requests and start none.
    Leave,
    /// Close at once: the peer did not send or read within a timeout.
    Cut,
}

/// The times that the timeouts of one connection are measured from.
#[derive(Debug)]
struct Clocks {
    begun_at: Instant,
    /// The last check that found moved bytes.
    moved_at: Instant,
    /// The last check that found an open request, or one that was answered since the check before.
    used_at: Instant,
    /// The first check that found the unfinished head; `None` while no head is unfinished.
    head_since: Option<Instant>,
    /// At least one request has come.
    has_asked: bool,
}

impl Clocks {
    fn new(now: Instant) -> Self {
        Self { begun_at: now, moved_at: now, used_at: now, head_since: None, has_asked: false }
    }

    fn check(&mut self, now: Instant, activity: &Activity, limits: &Limits) -> Verdict {
        if activity.moved.swap(false, Relaxed) {
            self.moved_at = now;
        }
        let open = activity.usage.open.load(Relaxed);
        let is_used = open > 0;
        let owes_bytes = open > activity.streams.load(Relaxed) || activity.blocked.load(Relaxed);
        if is_used || activity.usage.served.swap(false, Relaxed) {
            self.used_at = now;
            self.has_asked = true;
        }
        // Over HTTP/2, bytes that belong to no request are normal: settings and pings.
        let is_head = !is_used && !activity.is_http2.load(Relaxed) && activity.unanswered.load(Relaxed);
        self.head_since = is_head.then(|| self.head_since.unwrap_or(now));
        let is_late = |since: Instant, limit: Duration| now.duration_since(since) >= limit;
        let never_asked = !self.has_asked && is_late(self.begun_at, limits.head_timeout);
        let has_no_head = self.head_since.is_some_and(|since| is_late(since, limits.head_timeout));
        if never_asked || has_no_head || (owes_bytes && is_late(self.moved_at, limits.stall_timeout)) {
            Verdict::Cut
        } else if !is_used && is_late(self.used_at, limits.idle_timeout) {
            Verdict::Leave
        } else {
            Verdict::Stay
        }
    }
}

/// Serves a connection until it ends, a timeout ends it, or the server stops.
///
/// hyper runs in a separate task, so that the checks cost the requests nothing.
pub(crate) async fn serve<Stream: Transport>(
    connected: Connected<Stream>,
    builder: Builder<TokioExecutor>,
    handler: HttpHandler,
    place: &Place,
) {
    let service = Arc::clone(handler.service());
    let limits = &service.limits;
    let activity = Arc::clone(&handler.activity);
    let Connected { stream, peer } = connected;
    let stream = Observed { stream, activity: Arc::clone(&activity) };
    let stream = Strict::new(stream, limits.linger_timeout, Arc::clone(&activity.is_http2));
    let (leave, leaves) = oneshot::channel();
    let mut leave = Some(leave);
    let mut serving = JoinSet::new();
    serving.spawn(drive(stream, peer, builder, handler, leaves));
    let mut stopping = service.stopping.subscribe();
    let mut clocks = Clocks::new(Instant::now());
    let mut ticks = interval(limits.check_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let verdict = tokio::select! {
            _ = serving.join_next() => return,
            _ = stopping.wait_for(|stopping| *stopping), if leave.is_some() => Verdict::Leave,
            now = ticks.tick() => clocks.check(now, &activity, limits),
            () = place.lost() => Verdict::Cut,
        };
        match verdict {
            Verdict::Stay => {}
            // Dropping the sender makes hyper finish the open requests. The second such verdict closes.
            Verdict::Leave if leave.take().is_some() => clocks.used_at = Instant::now(),
            Verdict::Leave | Verdict::Cut => return,
        }
    }
}

/// Reads and writes until the connection ends. Once the sender of `leaves` is dropped, it only finishes the
/// open requests.
async fn drive(
    stream: impl Transport,
    peer: SocketAddr,
    builder: Builder<TokioExecutor>,
    handler: HttpHandler,
    leaves: oneshot::Receiver<()>,
) {
    let broken = Arc::clone(handler.broken());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), handler));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        _ = leaves => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection broke off");
        if is_protocol_violation(&*error) && broken.allows_line() {
            tracing::warn!(%peer, "a client violated HTTP/2 and was disconnected");
        }
    }
}

/// True when h2 closed the connection because of what the peer sent, such as streams that it opened and reset
/// at once.
fn is_protocol_violation(error: &(dyn Error + 'static)) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<h2::Error>().is_some_and(h2::Error::is_library) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            head_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_mins(1),
            stall_timeout: Duration::from_secs(90),
            ..Limits::default()
        }
    }

    #[test]
    fn a_connection_without_any_request_is_cut_despite_its_bytes() {
        let (activity, start) = (Arc::new(Activity::default()), Instant::now());
        let mut clocks = Clocks::new(start);
        activity.is_http2.store(true, Relaxed);
        activity.moved.store(true, Relaxed);
        assert_eq!(clocks.check(start + Duration::from_secs(4), &activity, &limits()), Verdict::Stay);
        activity.moved.store(true, Relaxed);
        assert_eq!(clocks.check(start + Duration::from_secs(5), &activity, &limits()), Verdict::Cut);
        let mut clocks = Clocks::new(start);
        drop(OpenRequest::new(&activity));
        assert_eq!(clocks.check(start + Duration::from_secs(4), &activity, &limits()), Verdict::Stay);
        assert_eq!(clocks.check(start + Duration::from_secs(9), &activity, &limits()), Verdict::Stay);
    }

    #[test]
    fn a_head_that_does_not_end_is_cut() {
        let (activity, start) = (Arc::new(Activity::default()), Instant::now());
        let mut clocks = Clocks::new(start);
        drop(OpenRequest::new(&activity));
        activity.unanswered.store(true, Relaxed);
        assert_eq!(clocks.check(start, &activity, &limits()), Verdict::Stay);
        activity.moved.store(true, Relaxed);
        assert_eq!(clocks.check(start + Duration::from_secs(5), &activity, &limits()), Verdict::Cut);
        activity.is_http2.store(true, Relaxed);
        assert_eq!(clocks.check(start + Duration::from_secs(9), &activity, &limits()), Verdict::Stay);
    }

    #[test]
    fn a_connection_without_requests_leaves_and_a_used_one_stays() {
        let (activity, start) = (Arc::new(Activity::default()), Instant::now());
        let mut clocks = Clocks::new(start);
        let open = OpenRequest::new(&activity);
        let minute = Duration::from_mins(1);
        assert_eq!(clocks.check(start + minute, &activity, &limits()), Verdict::Stay);
        drop(open);
        activity.moved.store(true, Relaxed);
        assert_eq!(clocks.check(start + 2 * minute, &activity, &limits()), Verdict::Stay);
        activity.moved.store(true, Relaxed);
        assert_eq!(clocks.check(start + 3 * minute, &activity, &limits()), Verdict::Leave);
    }

    #[test]
    fn a_peer_that_reads_nothing_is_cut_despite_open_requests() {
        let (activity, start) = (Arc::new(Activity::default()), Instant::now());
        let mut clocks = Clocks::new(start);
        let mut open = OpenRequest::new(&activity);
        let late = start + Duration::from_secs(90);
        assert_eq!(clocks.check(late, &activity, &limits()), Verdict::Cut);
        open.mark_stream();
        assert_eq!(clocks.check(late, &activity, &limits()), Verdict::Stay, "a stream may send nothing");
        activity.blocked.store(true, Relaxed);
        assert_eq!(clocks.check(late, &activity, &limits()), Verdict::Cut, "but not with bytes to send");
    }
}
