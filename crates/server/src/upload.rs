//! The body of a request, which is read to its end even when the answer comes first.
//!
//! Many clients lose the answer when a server answers before it has the whole body and then closes the
//! connection or resets the stream: they go on sending and then fail on the reset. So what the reader of a
//! body leaves is read and dropped, within limits of bytes and of time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::connection::{Activity, OpenRequest};

/// The most bytes that are read and dropped after an answer. A client that sends more may not receive the
/// answer.
pub(crate) const UNREAD_SIZE_MAX: usize = 64 << 20;

/// A request's body. See the module.
#[derive(Debug)]
pub(crate) struct Upload {
    /// `None` once the body has ended.
    body: Option<Incoming>,
    /// The client sends the body only after a `100 Continue`, which was not sent yet.
    waits: bool,
    activity: Arc<Activity>,
    linger_timeout: Duration,
}

impl Upload {
    pub(crate) fn new(
        body: Incoming,
        headers: &HeaderMap,
        activity: &Arc<Activity>,
        linger_timeout: Duration,
    ) -> Self {
        let waits = headers.contains_key(header::EXPECT);
        Self { body: Some(body), waits, activity: Arc::clone(activity), linger_timeout }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.waits = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !self.waits && !body.is_end_stream()) else { return };
        // Outside of a runtime no task serves the connection any more.
        if let Ok(runtime) = Handle::try_current() {
            let reading = read_rest(body, OpenRequest::new(&self.activity));
            runtime.spawn(timeout(self.linger_timeout, reading));
        }
    }
}

/// Reads and drops the rest of the body. The request counts as open meanwhile, because these bytes are no
/// head of another one.
async fn read_rest(mut body: Incoming, open: OpenRequest) {
    let mut left = UNREAD_SIZE_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let size = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(size) {
            Some(less) => left = less,
            None => break,
        }
    }
    drop(open);
}
