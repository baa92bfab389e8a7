//! Request and response bodies, and their limits.
//!
//! The bytes of a request body count against the limit of one body and against the memory that all bodies
//! share, and must arrive within a timeout. A response body reports to its connection when it has ended.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use bezant_api::{ErrorCode, Failure};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::Sleep;

use crate::answer::AnswerMemory;
use crate::connection::OpenRequest;
use crate::limits::Limits;
use crate::share::{Budget, Share};
use crate::upload::Upload;

/// A request's part of the budgets; returned when dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    share: Arc<Share>,
    bytes: AtomicUsize,
}

impl Admission {
    /// Takes a place among the requests in flight, or refuses.
    pub(crate) fn new(share: &Arc<Share>) -> Result<Self, Failure> {
        share.take(Budget::Requests, 1)?;
        Ok(Self { share: Arc::clone(share), bytes: AtomicUsize::new(0) })
    }

    /// Takes `size` bytes of the budget for bodies.
    pub(crate) fn take(&self, size: usize) -> Result<(), Failure> {
        self.share.take(Budget::BodyBytes, size)?;
        self.bytes.fetch_add(size, Relaxed);
        Ok(())
    }

    /// The same for a piece of a body, which also counts against the limit of one body.
    fn take_piece(&self, size: usize, limits: &Limits) -> Result<(), Failure> {
        if self.bytes.load(Relaxed).saturating_add(size) > limits.body_size_max {
            return Err(too_large(limits));
        }
        self.take(size)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.share.give(Budget::Requests, 1);
        let bytes = *self.bytes.get_mut();
        if bytes > 0 {
            self.share.give(Budget::BodyBytes, bytes);
        }
    }
}

fn too_large(limits: &Limits) -> Failure {
    let detail = format!("the request is larger than {} bytes: split it", limits.body_size_max);
    Failure::new(ErrorCode::RequestTooLarge, detail)
}

/// The body of a request.
#[derive(Debug)]
pub(crate) struct Inbound {
    body: Upload,
    admission: Arc<Admission>,
    limits: Arc<Limits>,
    /// Set when the body is first waited for: most bodies are complete at once.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Inbound {
    /// Fails at once when the head announces a body above the limit.
    pub(crate) fn new(body: Upload, admission: Arc<Admission>, limits: Arc<Limits>) -> Result<Self, Failure> {
        let announced = body.size_hint().lower();
        if usize::try_from(announced).map_or(true, |size| size > limits.body_size_max) {
            return Err(too_large(&limits));
        }
        Ok(Self { body, admission, limits, timer: None })
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let size = frame.data_ref().map_or(0, Bytes::len);
                Poll::Ready(Some(this.admission.take_piece(size, &this.limits).map(|()| frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let failure = Failure::new(ErrorCode::InvalidMessage, format!("the body broke off: {error}"));
                Poll::Ready(Some(Err(failure)))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let timeout = this.limits.body_timeout;
                let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
                timer.as_mut().poll(context).map(|()| {
                    let detail = format!("the body did not arrive within {} ms", timeout.as_millis());
                    Some(Err(Failure::new(ErrorCode::RequestTimeout, detail)))
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Reads a whole body; copies nothing where it came in one piece.
pub(crate) async fn collect<B>(mut body: B) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes, Error = Failure> + Unpin,
{
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if first.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// The body of a response of gRPC or of REST.
#[derive(Debug)]
pub(crate) struct Outbound {
    body: Inner,
    /// Dropped when the answer has been sent or abandoned.
    _open: OpenRequest,
    /// The memory of the answer, which stays counted until its bytes are sent. `None` for a request that was
    /// not admitted.
    memory: Option<Arc<AnswerMemory>>,
}

#[derive(Debug)]
enum Inner {
    /// One message and the trailers after it.
    Unary(Option<Bytes>, Option<HeaderMap>),
    Grpc(tonic::body::Body),
    Rest(axum::body::Body),
}

impl Outbound {
    /// The body of an answer of gRPC that is one message.
    pub(crate) fn unary(message: Bytes, trailers: HeaderMap, open: OpenRequest) -> Self {
        Self { body: Inner::Unary(Some(message), Some(trailers)), _open: open, memory: None }
    }

    /// The body of an answer of gRPC.
    pub(crate) fn grpc(body: tonic::body::Body, open: OpenRequest) -> Self {
        Self { body: Inner::Grpc(body), _open: open, memory: None }
    }

    /// The body of an answer of REST.
    pub(crate) fn rest(body: axum::body::Body, open: OpenRequest) -> Self {
        Self { body: Inner::Rest(body), _open: open, memory: None }
    }

    /// Keeps the memory counted until the last byte of the body is sent.
    pub(crate) fn counted_in(mut self, memory: Arc<AnswerMemory>) -> Self {
        self.memory = Some(memory);
        self
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let frame = match &mut this.body {
            Inner::Unary(message, trailers) => {
                let frame = message.take().map(Frame::data).or_else(|| trailers.take().map(Frame::trailers));
                Poll::Ready(frame.map(Ok))
            }
            Inner::Grpc(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Inner::Rest(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        };
        let Some(memory) = &this.memory else { return frame };
        frame.map_ok(|frame| frame.map_data(|data| memory.attach(data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Inner::Unary(message, trailers) => message.is_none() && trailers.is_none(),
            Inner::Grpc(body) => body.is_end_stream(),
            Inner::Rest(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Inner::Unary(..) => SizeHint::default(),
            Inner::Grpc(body) => body.size_hint(),
            Inner::Rest(body) => body.size_hint(),
        }
    }
}
